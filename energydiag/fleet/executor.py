"""What runs jobs: it is given a function and its arguments, and hands back answers as they come."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

TRIES = 2
"""How often a job is begun at most, where the process that had it died: a job that kills every process must end."""


@dataclass(frozen=True)
class Done:
    """What became of one job.

    Attributes:
        index: Its place among the tasks.
        answer: What the work answered, or None.
        failure: Why there is no answer, in a sentence without its full stop; empty where there is one.
    """

    index: int
    answer: str | None
    failure: str = ""


class Executor(Protocol):
    """Where jobs run."""

    def run(self, work: Callable[[Any], str], tasks: Sequence[Any]) -> Generator[Done, None, None]:
        """Does the work on every task, and hands back each once, as soon as it is done.

        Closing the generator ends what still runs; so does an interrupt while it waits.

        Args:
            work: A function at the top level of a module, so that other processes find it. It is expected not to raise.
            tasks: Its arguments, which can be pickled.
        """
        ...
