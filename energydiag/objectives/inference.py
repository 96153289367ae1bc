"""Which objective a log or a checkpoint was trained with: as the user says, as its settings say, or as it shows."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import NamedTuple

from energydiag.discovery import discover
from energydiag.errors import UsageError
from energydiag.objectives.objective import Clues, Objective
from energydiag.objectives.unknown import UNKNOWN, either_of

_SETTINGS = ("objective", "loss", "loss_type", "loss_fn", "criterion", "contrast")


class Inferred(NamedTuple):
    """An objective and how it is known.

    Attributes:
        objective: Which one; `UNKNOWN`, or one that stands for several, where that is open.
        how: Why, in words.
        fitting: Names of those that fit, where they are several.
    """

    objective: Objective
    how: str
    fitting: tuple[str, ...] = ()

    @property
    def is_known(self) -> bool:
        """Whether it is one that can be named."""
        return bool(self.objective.name)


def objectives() -> Mapping[str, Objective]:
    """All objectives by name."""
    found = discover("energydiag.objectives", "OBJECTIVE", Objective).values()
    return {one.name: one for one in sorted(found, key=lambda one: one.name)}


def objective_named(text: str) -> Objective:
    """The objective of this name, or of what people's settings call it.

    Raises:
        UsageError: There is none.
    """
    found = _of_setting(text)
    if found is None:
        raise UsageError(f"No objective is called {text!r}.", f"use one of: --objective {', '.join(objectives())}.")
    return found


def _of_setting(text: str) -> Objective | None:
    plain = re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_").removesuffix("_loss")
    for one in objectives().values():
        if plain == one.name or plain in {alias.replace("-", "_") for alias in one.aliases}:
            return one
    return None


def infer(stated: str | None, settings: Mapping[str, str], clues: Clues | None = None) -> Inferred:
    """The objective: as stated, else as a setting names it, else the one that fits what is seen best.

    Args:
        stated: What the user says, or None.
        settings: Of the run or the checkpoint.
        clues: What the log shows; None where there is no log.

    Raises:
        UsageError: ``stated`` names none.
    """
    if stated is not None:
        return Inferred(objective_named(stated), "as given")
    for name in _SETTINGS:
        found = _of_setting(settings[name]) if name in settings else None
        if found is not None:
            return Inferred(found, f"the settings say {name} = {settings[name]}")
    if clues is None:
        return Inferred(UNKNOWN, "nothing says which")
    fits = {name: one.fits(clues) for name, one in objectives().items()}
    strongest = max(fit.strength for fit in fits.values())
    best = [name for name, fit in fits.items() if fit.strength == strongest]
    if strongest == 0:
        return Inferred(UNKNOWN, "no column and no first value tells it")
    if len(best) == 1:
        return Inferred(objectives()[best[0]], f"inferred: {fits[best[0]].reason}")
    fitting = [objectives()[name] for name in best]
    return Inferred(either_of(fitting), f"inferred: {fits[best[0]].reason}", tuple(best))
