"""torchmortem in the loop, as its README says: ``Autopsy(model, optimizer=…)``, and ``autopsy.step(loss=…)`` per step.

Sampling is its default, "balanced". One thing is spared: it takes singular values in every forward pass and throws away
all but those of every fiftieth step; here it takes those alone. What it reports is the same.

Its own order is the report's: by severity, then by detector. Its insights, which say how findings go together, come
last: its executive summary takes the top recommendation from the first finding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from energydiag.batch import Batch

from ..loop import Row
from .watching import Found, Watcher

_TITLES = {
    "Vanishing gradients": "vanishing-gradients",
    "Exploding gradients": "exploding-gradients",
    "Gradient stalling": "gradient-stalling",
    "High gradient noise": "gradient-noise",
    "Dead units": "dead-units",
    "Activation saturation": "saturation",
    "Update ratio too low": "update-ratio-low",
    "Update ratio too high": "update-ratio-high",
    "Training divergence": "divergence",
    "Loss plateau": "plateau",
    "Catapult phase": "catapult",
    "Edge of stability": "edge-of-stability",
    "Rank collapse": "rank-collapse",
    "Weight norm explosion": "weight-explosion",
    "Stagnant weight norms": "weight-stagnation",
    "Inter-layer weight norm imbalance": "weight-imbalance",
}
"""How a finding's title begins, and what kind that is here; the rest names a layer."""


class Torchmortem(Watcher):
    """An autopsy from before the first step until after the last."""

    def __init__(self) -> None:
        self.autopsy: Any = None

    def attach(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        from torchmortem import Autopsy

        self.autopsy = Autopsy(module, optimizer=optimiser)
        for collector in self.autopsy._collectors:
            if collector.name == "rank":
                _spare(collector, self.autopsy)
        self.autopsy.attach()

    def after_step(self, loss: Tensor) -> None:
        self.autopsy.step(loss=loss.item())

    def detach(self) -> None:
        if self.autopsy is not None:
            self.autopsy.detach()

    def findings(self, rows: Sequence[Row], module: nn.Module, dump: Batch) -> list[Found]:  # noqa: ARG002
        report = self.autopsy.get_report()
        single = [(kind_of(f.title), f.severity.name, int(f.step_range[0]), f.summary) for f in report.findings]
        insights = [(f"insight:{i.rule_name}", "INSIGHT", None, i.summary) for i in report.insights]
        return together([*single, *insights])


def kind_of(title: str) -> str:
    """The kind of a finding; an unknown title is its own kind."""
    return next((kind for start, kind in _TITLES.items() if title.lower().startswith(start.lower())), title)


def together(told: Sequence[tuple[str, str, int | None, str]]) -> list[Found]:
    """``(kind, severity, step, words)`` in the peer's order, to one entry for each kind and severity in that order."""
    groups: dict[tuple[str, str], list[tuple[int | None, str]]] = {}
    for kind, severity, step, words in told:
        groups.setdefault((kind, severity), []).append((step, words))
    return [
        Found(kind, severity, len(group), min((s for s, _ in group if s is not None), default=None), group[0][1])
        for (kind, severity), group in groups.items()
    ]


def _spare(collector: Any, autopsy: Any) -> None:
    make: Callable[[str], Any] = collector._make_hook

    def make_spared(layer: str) -> Any:
        hook = make(layer)

        def spared(module: nn.Module, given: Any, output: Any) -> None:
            if autopsy._sampling.should_collect(collector.name, collector.cost, autopsy._step_count):
                hook(module, given, output)

        return spared

    collector._make_hook = make_spared
