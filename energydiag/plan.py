"""What a training run does, as one frozen value that fixes edit and the training loop obeys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Schedule = Literal["constant", "cosine", "progressive"]
Temperature = Literal["fixed", "adaptive", "learnable"]
Contrast = Literal["joint", "decoupled", "debiased", "bce", "bt", "margin"]
Autocast = Literal["bfloat16"]


@dataclass(frozen=True)
class Descent:
    """How the energy is followed to find adversarial negatives.

    Attributes:
        steps: How many.
        length: Euclidean length of a step over the whole chunk, in action units.
        noise: Standard deviation of what is added to every entry at each step.
    """

    steps: int = 5
    length: float = 0.07
    noise: float = 0.01


@dataclass(frozen=True)
class TrainingPlan:
    """Everything that decides a run besides the data and the starting weights.

    Attributes:
        steps: Optimiser steps.
        batch_size: Contexts per step, over all processes; in-batch negatives are the other contexts' expert actions.
        seed: Of batches, dropout and noise.
        log_every: Steps between two rows of the log.
        validate_every: Steps between two looks at the validation samples, where there are any.
        patience: Validations without a better score after which training stops, or None to go on to the end.
        guarded: Whether weights are kept only if no part of the validation score is clearly worse than at the start; a
            control is not guarded, so that it is the best that training alone comes to.
        learning_rate: Peak, for AdamW.
        schedule: ``"constant"``, ``"cosine"`` (to zero), or ``"progressive"`` (the design's three phases, scaled to
            ``steps``).
        clip_norm: Largest gradient norm, or None. The progressive schedule has its own.
        weight_decay: Of AdamW.
        dropout: Probability that every dropout module gets while training, or None to leave them as they are.
        tau: Temperature of InfoNCE (the first one, where it changes).
        temperature: ``"fixed"``, ``"adaptive"`` (the design's rule) or ``"learnable"`` (in [0.01, 10], on a log scale).
        contrast: ``"joint"`` InfoNCE, ``"decoupled"`` (the positive is left out of the denominator, Yeh 2022), or
            ``"debiased"`` (Chuang 2020: the share of false negatives is taken out of the denominator); or the objective
            ``"bce"``, ``"bt"`` or ``"margin"`` (soft) of `energydiag.objectives`, which have no temperature.
        sign: −1 trains with the sign error that turns energies round; 1 otherwise.
        swap: Whether the other contexts' expert actions are negatives.
        false_negative_radius: Swap pairs whose actions differ by less than this (mean absolute) are no negatives.
        sources: Names of negative sources that are mixed in.
        improved_negatives: Whether the design's middle layer and noise are mixed in.
        descent: How adversarial negatives are found, or None for none.
        alignment: Weight of 1 − cos(−∇E(a), a* − a) at the mixed-in actions.
        ranking: Weight of the pairwise ranking of mixed-in actions by their distance to the expert's.
        margin: Weight of the hinge that asks for an energy gap in proportion to the distance.
        gradient_penalty: Weight of the hinge on the norm of ∇_a E beyond 1 energy standard deviation per policy error.
        anchor: Weight of the mean squared energy, which keeps an unbounded head from drifting.
        autocast: Type that the module's matrix products are computed in while training (`torch.autocast`), or None for
            the module's own. Weights and losses keep the module's type.
        surgery: What is done to the model before training, in order; see `energydiag.models.surgery`.
    """

    steps: int = 1000
    batch_size: int = 64
    seed: int = 0
    log_every: int = 10
    validate_every: int = 50
    patience: int | None = None
    guarded: bool = True
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"
    clip_norm: float | None = 1.0
    weight_decay: float = 0.01
    dropout: float | None = None
    tau: float = 0.5
    temperature: Temperature = "fixed"
    contrast: Contrast = "joint"
    sign: int = 1
    swap: bool = True
    false_negative_radius: float | None = None
    sources: tuple[str, ...] = ()
    improved_negatives: bool = False
    descent: Descent | None = None
    alignment: float = 0.0
    ranking: float = 0.0
    margin: float = 0.0
    gradient_penalty: float = 0.0
    anchor: float = 0.0
    autocast: Autocast | None = None
    surgery: tuple[str, ...] = ()

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> TrainingPlan:
        """The plan of which `dataclasses.asdict` made plain values, also after a way through JSON.

        Raises:
            KeyError, TypeError: It is not one.
        """
        descent = plain["descent"]
        lists = {name: tuple(plain[name]) for name in ("sources", "surgery")}
        return cls(**{**plain, **lists, "descent": None if descent is None else Descent(**descent)})
