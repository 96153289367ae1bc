"""What an objective says of itself: its loss, what the loss can be, and what its values mean.

Throughout, s = −E/τ is the score of a pair, s₊ that of the expert's action, and N negatives stand against each anchor.
Nothing here needs torch, so that a training log can be read without it; a loss gets tensors and calls their methods.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Setting:
    """What the values of a loss depend on; None where it is not known.

    Attributes:
        negatives: N, negatives per anchor.
        batch_size: B, anchors per step.
        reach: R, highest minus lowest score s that the head can give; infinite for an unbounded one.
        cosine: Whether s is a cosine over the temperature; R is then 2/τ, and the floor is higher than R alone says.
        margin: m of a hinge.
    """

    negatives: int | None = None
    batch_size: int | None = None
    reach: float | None = None
    cosine: bool = False
    margin: float | None = None


class Chance(NamedTuple):
    """The loss of a model that cannot tell positives from negatives.

    Attributes:
        value: In nats, or the loss's own unit.
        formula: Where it comes from, such as ``log 64``.
        negatives: N that it stands for; None where that has no meaning.
    """

    value: float
    formula: str
    negatives: int | None = None


@dataclass(frozen=True)
class Clues:
    """What a log shows of the objective that wrote it.

    Attributes:
        columns: Our names of its series, to their names in the file.
        unread: Columns that have no name of ours.
        first: First loss, where the log begins at the beginning.
        last: Loss at the end.
        lowest: Lowest loss.
        top1: First top-1, if the log begins at the beginning.
        setting: What is known of negatives and batch size.
        constant_end: Whether the loss ends constant, digit by digit.
        softmax: A known setting that only a softmax over negatives has, in words; empty where there is none.
    """

    columns: Mapping[str, str] = field(default_factory=dict)
    unread: Sequence[str] = ()
    first: float | None = None
    last: float | None = None
    lowest: float | None = None
    top1: float | None = None
    setting: Setting = Setting()
    constant_end: bool = False
    softmax: str = ""

    def named(self, *parts: str) -> str:
        """The first column whose name, in lower case, holds one of these; empty where none does."""
        names = (*self.columns.values(), *self.unread)
        return next((name for name in names if any(part in name.lower() for part in parts)), "")

    def starts_at(self, value: float, within: float = 0.03) -> bool:
        """Whether the first loss lies within a share of a value (heuristic: 3 %, initial scores are not all equal)."""
        return self.first is not None and abs(self.first - value) <= within * abs(value)


class Fit(NamedTuple):
    """Why a log could be one of an objective: the stronger, the more it excludes others.

    Attributes:
        strength: 3 a column that no other objective has; 2 the loss's name; 1 the loss's first value; 0 does not fit.
        reason: In words.
    """

    strength: int
    reason: str = ""


NO_FIT = Fit(0)


@dataclass(frozen=True)
class Objective:
    """A training objective of an energy.

    Attributes:
        name: What ``--objective`` takes.
        title: What reports call it.
        aliases: What metadata and settings call it, in lower case.
        formula: The loss, in s₊ and s₋.
        chances: What the loss of a model that cannot tell can be, the usual one first; empty where it has no such
            value, or what decides it is not known.
        floor: The lowest loss that scores in a range reach; None where that is not known.
        improved: What "improved" means, in words.
        fits: How well a log fits.
        learned: Fraction of chance, or of the first loss, below which the loss alone shows that the model learned
            (heuristic); None where the loss never shows it.
        starts_at_chance: Whether an untrained model has about the loss of chance.
        starts_within: Where it does, the factor that the first loss is within of it; a log that begins elsewhere has
            another unit, such as a sum over dimensions. None: an untrained model may be far above.
        may_be_negative: Whether the loss can be below 0.
        loss_improves: Whether a lower loss is a better model, at the same setting.
        gap_improves: Whether a larger gap is a better model, at the same head and temperature.
        silent_above_chance: Whether a loss above chance says nothing: a bias alone brings it down to chance.
        not_asked: Rules that do not apply, by code, and why.
        milder: Rules that are warnings at most, and only where the ranking is poor.
        loss: Loss per anchor, ``[B]``, from scores s₊ ``[B]`` and s₋ ``[B, N]``; None where it takes more than scores.
    """

    name: str
    title: str
    aliases: tuple[str, ...]
    formula: str
    chances: Callable[[Setting], tuple[Chance, ...]]
    floor: Callable[[Setting], float | None]
    improved: str
    fits: Callable[[Clues], Fit]
    learned: float | None = 1 / 3
    starts_at_chance: bool = True
    starts_within: float | None = None
    may_be_negative: bool = False
    loss_improves: bool = True
    gap_improves: bool = True
    silent_above_chance: bool = False
    not_asked: Mapping[str, str] = field(default_factory=dict)
    milder: frozenset[str] = frozenset()
    loss: Callable[[Tensor, Tensor], Tensor] | None = None


def no_chance(_setting: Setting) -> tuple[Chance, ...]:
    """For objectives whose loss says nothing of chance."""
    return ()


def no_floor(_setting: Setting) -> float | None:
    """For objectives whose lowest loss does not follow from the range."""
    return None


NO_TEMPERATURE: Mapping[str, str] = dict.fromkeys(
    ("ED204", "ED205", "ED718", "ED724"), "it has no softmax whose temperature could be wrong"
)
"""Rules of the temperature, for objectives without one."""

NO_IN_BATCH_NEGATIVES: Mapping[str, str] = dict.fromkeys(
    ("ED206", "ED207", "ED719"), "its negatives are not other contexts' actions"
)
"""Rules of in-batch negatives, for objectives that were trained on others."""

ONLY_NEAR: Mapping[str, str] = {
    "ED103": "its loss is no InfoNCE",
    "ED201": "actions far from the expert's were never trained",
    "ED202": "actions far from the expert's were never trained",
    **NO_TEMPERATURE,
    **NO_IN_BATCH_NEGATIVES,
}
"""Rules that ask for a ranking of far actions, for objectives that train the energy near the expert's action alone."""
