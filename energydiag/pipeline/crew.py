"""How the first of several processes leads the others through a repair.

It alone measures and decides. Before every arm it says what is trained next, then all train it together, and at the end
it says that there is nothing more.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from energydiag.plan import TrainingPlan
from energydiag.training.ranks import Ranks


class Crew:
    """The other processes as the first one sees them: waiting for a job, or at one together with it.

    Args:
        ranks: All processes.
    """

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        self._waits = True

    @contextmanager
    def at_work(self, name: str, plan: TrainingPlan) -> Iterator[None]:
        """Has the others train this arm too, while the block does."""
        self._ranks.text_of_first(json.dumps({"name": name, "plan": asdict(plan)}))
        self._waits = False
        yield
        self._waits = True

    def dismiss(self) -> None:
        """Tells the others that there is nothing more; where training failed, they know or torchrun ends them."""
        if self._waits:
            self._ranks.text_of_first("")


@contextmanager
def leading(ranks: Ranks) -> Iterator[Crew]:
    """The crew, which is dismissed at the end, also after an error."""
    crew = Crew(ranks)
    try:
        yield crew
    except Exception:
        crew.dismiss()
        raise
    crew.dismiss()


def jobs(ranks: Ranks) -> Iterator[tuple[str, TrainingPlan]]:
    """In the other processes: what is to be trained next, until there is nothing more."""
    while text := ranks.text_of_first(""):
        job = json.loads(text)
        yield job["name"], TrainingPlan.from_dict(job["plan"])
