"""Unrolled descent, as energy-based transformers train it (2507.02092): the error after K steps down E is the loss.

``y ← y − α∇E`` K times, then the task's loss. There are no negatives. The loss at step 0 is that of a model that
descends nowhere; a network of ReLUs, detached steps or a huge α leave it there.
"""

from __future__ import annotations

from energydiag.objectives.objective import NO_FIT, ONLY_NEAR, Clues, Fit, Objective, no_chance, no_floor


def _fits(clues: Clues) -> Fit:
    if clues.lowest is not None and clues.lowest < 0:
        return NO_FIT
    if name := clues.named("initial_loss", "final_step_loss", "initial_final_pred_energies_gap", "mcmc_step"):
        return Fit(3, f"`{name}` was logged")
    return NO_FIT


OBJECTIVE = Objective(
    name="unrolled",
    title="unrolled descent",
    aliases=("unrolled", "ebt", "energy-based-transformer", "optimization", "descent"),
    formula="task loss after K steps y ← y − α∇E",
    chances=no_chance,
    floor=no_floor,
    improved="the loss after K steps falls against that at step 0, at the trained α and K",
    fits=_fits,
    learned=0.9,
    not_asked=ONLY_NEAR,
)
