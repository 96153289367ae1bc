"""When to look next: every so many steps, or less often where looking would cost too much of the time."""

from __future__ import annotations

import math
from dataclasses import dataclass

_LONGEST = 1000
"""How many times the interval that was asked for is the longest (a guess)."""


@dataclass
class Pace:
    """The steps at which a look is due.

    Attributes:
        every: Steps between two looks, as asked for.
        most: Largest share of the time that looking may take.
        due: The next step of a look.
    """

    every: int
    most: float
    due: int = 0

    def looked(self, step: int, spent: float, step_seconds: float | None) -> int:
        """Decides when the next look is due.

        Args:
            step: Of this look.
            spent: Seconds that it took.
            step_seconds: What a step takes without looking; None where it is not known.

        Returns:
            Steps to the next look, a multiple of ``every``.
        """
        interval = self.every
        if step_seconds is not None and step_seconds > 0 and self.most > 0:
            # spent / (spent + steps · step_seconds) shall be `most` at most
            needed = spent * (1 / self.most - 1) / step_seconds
            interval *= max(1, min(_LONGEST, math.ceil(needed / self.every)))
        self.due = (step // self.every) * self.every + interval
        return interval
