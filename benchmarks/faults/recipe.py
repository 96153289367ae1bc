"""Everything that decides a run, as one frozen value that faults edit and the loop obeys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from .architectures import Shape
from .data import Choice

POLICY_LAYERS = 4
"""Layers of the policy whose actions the samples tell."""


@dataclass(frozen=True)
class Recipe:
    """How one run is trained. The defaults are the recipe that is known to be good.

    Attributes:
        shape: The model.
        data: The samples.
        seed: Of weights, batches and noise.
        steps: Length of the schedule.
        share_done: Share of the steps after which training stops.
        batch_size: Contexts per step.
        optimiser: ``"adamw"`` or ``"sgd"``.
        learning_rate: Peak, falling to zero along a cosine.
        weight_decay: Of the optimiser.
        clip: Largest gradient norm, or None.
        tau: Temperature.
        sign: −1 trains with E / τ where −E / τ is right.
        swap: Whether the other contexts' actions are negatives.
        layers: Whether what the policy's layers would do are negatives.
        noise: Strengths of noisy negatives.
        alignment: Weight of 1 − cos(−∇E(a), a* − a) at the layers' and noisy actions.
        ranking: Weight of the ranking of those actions by their distance from the expert's.
        anchor: Weight of the mean squared energy.
        starts: What is done to the fresh weights, keys of `benchmarks.faults.starts.STARTS`, or ``key=number``.
        slips: What goes wrong in the loop, see `benchmarks.faults.loop`.
    """

    shape: Shape = field(default_factory=Shape)
    data: Choice = field(default_factory=Choice)
    seed: int = 0
    steps: int = 250
    share_done: float = 1.0
    batch_size: int = 32
    optimiser: str = "adamw"
    learning_rate: float = 4e-3
    weight_decay: float = 0.01
    clip: float | None = 1.0
    tau: float = 1.0
    sign: int = 1
    swap: bool = True
    layers: bool = True
    noise: tuple[float, ...] = (0.05, 0.15, 0.3)
    alignment: float = 1.0
    ranking: float = 0.0
    anchor: float = 1e-3
    starts: tuple[str, ...] = ()
    slips: tuple[str, ...] = ()

    @property
    def negatives(self) -> int:
        """Negatives per context in the contrastive loss."""
        others = self.batch_size - 1 if self.swap else 0
        return others + len(self.noise) + (POLICY_LAYERS if self.layers else 0)

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        return asdict(self)

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> Recipe:
        """The recipe that `to_dict` told, also after a way through JSON."""
        shape, data = _with_tuples(plain["shape"]), _with_tuples(plain["data"])
        rest = {key: value for key, value in _with_tuples(plain).items() if key not in ("shape", "data")}
        return cls(shape=Shape(**shape), data=Choice(**data), **rest)


def _with_tuples(plain: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in plain.items()}
