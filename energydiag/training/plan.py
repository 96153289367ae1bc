"""What a training run does, as one frozen value."""

from __future__ import annotations

from dataclasses import dataclass

from energydiag.negatives.adversarial import Descent


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides a run besides the data and the starting weights.

    Attributes:
        steps: Optimiser steps.
        batch_size: Contexts per step; in-batch negatives are the other contexts' expert actions.
        learning_rate: Peak, for AdamW.
        schedule: ``"constant"`` or ``"cosine"`` (to zero).
        clip_norm: Largest gradient norm, or None.
        weight_decay: Of AdamW.
        tau: Temperature of InfoNCE.
        sign: −1 trains with the sign error that turns energies round; 1 otherwise.
        swap: Whether the other contexts' expert actions are negatives.
        sources: Names of negative sources that are mixed in.
        improved_negatives: Whether the design's middle layer and noise are mixed in.
        descent: How adversarial negatives are found, or None for none.
        alignment: Weight of 1 − cos(−∇E(a), a* − a) at the mixed-in actions.
        ranking: Weight of the pairwise ranking of mixed-in actions by their distance to the expert's.
        anchor: Weight of the mean squared energy, which keeps an unbounded head from drifting.
        seed: Of batches, dropout and noise.
        log_every: Steps between two rows of the log.
    """

    steps: int = 1000
    batch_size: int = 64
    learning_rate: float = 1e-3
    schedule: str = "constant"
    clip_norm: float | None = 1.0
    weight_decay: float = 0.01
    tau: float = 0.5
    sign: int = 1
    swap: bool = True
    sources: tuple[str, ...] = ()
    improved_negatives: bool = False
    descent: Descent | None = None
    alignment: float = 0.0
    ranking: float = 0.0
    anchor: float = 0.0
    seed: int = 0
    log_every: int = 10
