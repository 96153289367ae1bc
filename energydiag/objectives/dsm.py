"""Denoising score matching (Vincent 2011): the energy's gradient learns to point from a noised action back.

``‖σ·∇E(a + σε) − ε‖²/d``: 1 for a constant energy, and above 0 always: the posterior variance of ε. A network of ReLUs
has no second derivative and learns nothing. Sums over dimensions and weights of noise levels change the unit: then only
a fall shows something.
"""

from __future__ import annotations

from energydiag.objectives.objective import NO_FIT, ONLY_NEAR, Chance, Clues, Fit, Objective, Setting, no_floor


def _chances(_setting: Setting) -> tuple[Chance, ...]:
    return (Chance(1.0, "1, that of a constant energy"),)


def _fits(clues: Clues) -> Fit:
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.named("dsm", "score_matching", "denois", "score_loss"):
        return Fit(3, f"`{name}` was logged")
    return NO_FIT


OBJECTIVE = Objective(
    name="dsm",
    title="denoising score matching",
    aliases=("dsm", "score-matching", "score_matching", "denoising", "diffusion"),
    formula="‖σ·∇E(a + σε) − ε‖²/d",
    chances=_chances,
    floor=no_floor,
    improved="the loss at each noise level falls, and denoised actions come closer to the data",
    fits=_fits,
    learned=0.9,
    starts_within=1.5,
    not_asked=ONLY_NEAR,
)
