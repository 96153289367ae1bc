"""Jobs one after the other, in this process."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

from energydiag.fleet.executor import Done


class Here:
    """For debuggers, and where no other process may be started; a job that kills its process kills this one."""

    def run(self, work: Callable[[Any], str], tasks: Sequence[Any]) -> Generator[Done, None, None]:
        """As `Executor.run`."""
        for index, task in enumerate(tasks):
            yield Done(index, work(task))
