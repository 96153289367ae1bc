"""Contrastive divergence, plain and persistent (Hinton 2002; Tieleman 2008; JEM, 1912.03263; 2012.01316).

``E(x₊) − E(x₋) [+ α(E₊² + E₋²)]`` with x₋ from Langevin dynamics on E. A loss near 0 is healthy; one that falls without
end is divergence: the gradient is ±1 always, and nothing but α, a norm or clipping stops the growth.
"""

from __future__ import annotations

from energydiag.objectives.objective import (
    NO_FIT,
    NO_IN_BATCH_NEGATIVES,
    NO_TEMPERATURE,
    Clues,
    Fit,
    Objective,
    Setting,
    no_chance,
)


def _floor(setting: Setting) -> float | None:
    return None if setting.reach is None else -setting.reach


def _fits(clues: Clues) -> Fit:
    if name := clues.named("pos_out", "neg_out", "f(x_p_d)", "f(x_q)", "langevin", "sgld", "replay_buffer"):
        return Fit(3, f"`{name}` was logged")
    if name := clues.named("cd_loss", "loss_cd", "contrastive_divergence"):
        return Fit(3, f"`{name}` was logged")
    if clues.lowest is not None and clues.lowest < 0 and {"energy_positive", "energy_negative"} & clues.columns.keys():
        return Fit(2, f"the loss is below 0 ({clues.lowest:.3g}) beside energies")
    if clues.lowest is not None and clues.lowest < 0 and not clues.named("nll", "likelihood", "elbo"):
        return Fit(1, f"the loss is below 0 ({clues.lowest:.3g})")
    return NO_FIT


OBJECTIVE = Objective(
    name="cd",
    title="contrastive divergence",
    aliases=("cd", "pcd", "contrastive-divergence", "contrastive_divergence", "jem", "mle", "langevin"),
    formula="E(x₊) − E(x₋) [+ α(E₊² + E₋²)]",
    chances=no_chance,
    floor=_floor,
    improved="samples come closer to the data; never the loss: about 0 is healthy, falling without end is divergence",
    fits=_fits,
    learned=None,
    starts_at_chance=False,
    may_be_negative=True,
    loss_improves=False,
    gap_improves=False,
    not_asked={
        "ED103": "its loss is no InfoNCE",
        "ED701": "a loss near 0 is healthy",
        "ED702": "its loss has no floor that it should leave",
        "ED706": "samples come as close to the data as the model learns",
        "ED710": "its loss may rise from below 0 towards 0",
        **NO_TEMPERATURE,
        **NO_IN_BATCH_NEGATIVES,
    },
)
