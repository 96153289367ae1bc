"""The temperature of a step: fixed, learnt, or chosen from the energy gap.

The adaptive rule is the design's: half the base where the gap is small, twice the base where it is large. It knows the
gap's size alone, so an inverted gap (negatives lower than positives) counts like a right one; the reason says so.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from energydiag.negatives.part import Part, own_pairs
from energydiag.plan import TrainingPlan

BASE_TAU = 0.5
SMALL_GAP, LARGE_GAP = 0.1, 1.0
SHARPEN, SOFTEN = 0.5, 2.0
ADAPTIVE_RANGE = (0.1, 2.0)
"""The design's constants."""

LEARNABLE_RANGE = (0.01, 10.0)
"""Where a learnt temperature may go; CLIP (Radford et al. 2021, §2.5) has the same lower end."""

Branch = Literal["kept", "sharpened", "softened", "no negatives", "not finite"]


@dataclass(frozen=True)
class TemperatureChoice:
    """The temperature of one step and why.

    Attributes:
        base: What it was chosen from.
        gap: Mean E₋ − mean E₊ over the whole swap table, signed, in energy units; NaN where it cannot be told.
        tau: The temperature.
        branch: Which branch of the rule.
        reason: The same in words.
    """

    base: float
    gap: float
    tau: float
    branch: Branch = "kept"
    reason: str = ""

    @property
    def case(self) -> str:
        """What makes this choice another one than the step's before; a change of it is worth telling."""
        return f"{self.branch}{', inverted' if self.gap < 0 else ''}"


def swap_gap(swap_bB: Tensor, part: Part | None = None) -> float:
    """Mean of the entries that are no sample's own pair minus mean of the own pairs; NaN for one action alone.

    Args:
        swap_bB: Energies of own contexts (rows) and all samples' actions (columns).
        part: Which of the step's samples the rows are; None: all.
    """
    if swap_bB.shape[1] < 2:
        return math.nan
    first = 0 if part is None else part.first
    positive = swap_bB.diagonal(first).mean()
    gap = swap_bB[~own_pairs(swap_bB, first)].mean() - positive
    return float(gap if part is None else part.average(gap))


def adaptive_temperature(swap_bB: Tensor, base: float = BASE_TAU, part: Part | None = None) -> TemperatureChoice:
    """The design's rule: |gap| < 0.1 halves the base, |gap| > 1.0 doubles it; clamped to [0.1, 2.0].

    Args:
        swap_bB: Energies of own contexts (rows) and all samples' actions (columns).
        base: Temperature to choose from.
        part: Which of the step's samples the rows are; None: all.

    Returns:
        The choice. With one context alone, or a gap that is not finite, the base is kept as it is.
    """
    gap = swap_gap(swap_bB.detach(), part)
    if swap_bB.shape[1] < 2:
        return TemperatureChoice(base, gap, base, "no negatives", "one context alone has no negatives; τ stays")
    if not math.isfinite(gap):
        return TemperatureChoice(base, gap, base, "not finite", f"the energy gap is {gap}; τ stays")
    low, high = ADAPTIVE_RANGE
    branch: Branch = "kept"
    wanted, why = base, f"is between {SMALL_GAP} and {LARGE_GAP}: τ stays"
    if abs(gap) < SMALL_GAP:
        branch, wanted, why = "sharpened", base * SHARPEN, f"is below {SMALL_GAP}: τ × {SHARPEN}"
    elif abs(gap) > LARGE_GAP:
        branch, wanted, why = "softened", base * SOFTEN, f"is above {LARGE_GAP}: τ × {SOFTEN:g}"
    tau = min(max(wanted, low), high)
    reason = f"the energy gap {gap:.3g} {why}"
    if gap < 0:
        reason = f"the energy gap {gap:.3g} is inverted (negatives are lower), its size {why}"
    if tau != wanted:
        reason += f", clamped to {tau:g}"
    return TemperatureChoice(base, gap, tau, branch, reason)


def new_log_tau(plan: TrainingPlan, device: torch.device) -> Tensor | None:
    """The parameter ``log τ`` of a learnable temperature, clamped; None for the others."""
    if plan.temperature != "learnable":
        return None
    parameter = torch.tensor(math.log(plan.tau), device=device, requires_grad=True)
    clamp_log_tau(parameter)
    return parameter


def clamp_log_tau(log_tau: Tensor) -> None:
    """Brings the parameter itself back into the range, in place, so that its gradient never is cut off."""
    low, high = (math.log(end) for end in LEARNABLE_RANGE)
    with torch.no_grad():
        log_tau.clamp_(low, high)


def choose(plan: TrainingPlan, swap_bB: Tensor, log_tau: Tensor | None, part: Part | None = None) -> TemperatureChoice:
    """The temperature of a step under a plan; see `adaptive_temperature`."""
    if plan.temperature == "adaptive":
        return adaptive_temperature(swap_bB, plan.tau, part)
    tau = plan.tau if log_tau is None else float(log_tau.detach().exp())
    return TemperatureChoice(plan.tau, swap_gap(swap_bB.detach(), part), tau)
