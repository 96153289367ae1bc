"""What happens inside the model: units that are flat, off or always the same, and how many directions are left.

Every activation is caught while it is called, as a module or as a function, on at most 256 samples, each with its
expert's action and with another sample's. The one that produces the energy is left out; so is what torch computes in
one piece, as the gates of an LSTM. A unit is a place in the last dimension (behind a convolution: a channel). Where
the context has hidden tokens, visible ones of the same sample stand in their places.

* ``hidden.saturated_fraction``: tanh, sigmoid, hardtanh, hardsigmoid, softsign: share of the inputs at which a unit's
  slope is below a tenth of the steepest (tanh: |u| > 1.82; sigmoid: |u| > 3.64), averaged over these units.
* ``hidden.dead_units``: relu, gelu, silu, elu, softplus and their like: share of the units that are off at every
  input, their slope below two rounding steps of float32 (2.4e-7). A relu is off below 0, a silu below about −18. Of
  ``.worst``, the lower end of the interval is 0 where n samples are too few to tell a dead unit from one that is on in
  2 % of them: a unit that is off in all of them is on in at most 1 − .05^(1/n), about 3/n, with 95 % confidence.
* ``hidden.constant_units``: share of all units whose value is the same for every sample, in each position by itself, to
  within a millionth of their largest.
* ``….worst`` is the largest share in one layer, ``….layer.NAME`` that of the activation in this module, where it was
  called.
* ``hidden.effective_rank``: of what enters the last linear layer, ``hidden.width`` wide: the exponential of the entropy
  of the singular values as shares of their sum (Roy and Vetterli 2007, eq. 2 to 4), of the samples' inputs without the
  mean of their position. 1 where a single direction is left, 0 where nothing changes with the sample.
* ``separation.table_rank``: the same of the swap table E(h_i, a_j) without the means of its rows and of its columns,
  averaged over the swap sets. 1 where the energy is f(h) + g(a) + u(h)·v(a): contexts can then order actions in one way
  or its reverse only. ``separation.action_rank``: the same of the actions of these sets, which a quadratic energy
  cannot exceed by much: with one direction in the data, one is enough.

Singular values below rounding do not count.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from energydiag.energies.memory import run_in_pieces
from energydiag.errors import EnergydiagError, first_line
from energydiag.probes.activation_calls import OTHER_CALLS, Call, Layout, layouts, run_watched
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.results import Measurement, Skipped
from energydiag.statistics import FloatArray, Resampler

MOST_SAMPLES = 256
MOST_POSITIONS = 64
"""Of one activation: steps, tokens or pixels, spread evenly over all."""

MOST_ROWS = 1024
"""Whose rank is measured: its cost grows with the cube (a guess)."""

SATURATED_BELOW = 0.1
"""Share of the steepest slope, as for the energy's own activation."""

OFF_BELOW = 2 * torch.finfo(torch.float32).eps
SAME_WITHIN = 1e-6
ACTIVE_ABOVE = 0.02
"""Share of the samples in which a unit that is not dead is on: one in fifty (heuristic)."""


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    ranks = _table_ranks(evidence)
    try:
        inside = _inside(evidence)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # what a stranger's module raises may be anything; the table is measured all the same
        reason = error.message if isinstance(error, EnergydiagError) else first_line(error)
        inside = Answer(skipped=(Skipped("hidden", reason),))
    return Answer((*inside.measurements, *ranks.measurements), skipped=(*inside.skipped, *ranks.skipped))


def effective_rank(singular: Tensor, rounding: float = 0.0) -> float:
    """Exponential of the entropy of the singular values as shares of their sum; 0 where none exceeds the rounding."""
    kept = singular[singular > rounding].double()
    if not len(kept):
        return 0.0
    share = kept / kept.sum()
    return math.exp(float(-(share * share.log()).sum()))


def _table_ranks(evidence: Evidence) -> Answer:
    tables, index = evidence.swap.energy.double(), evidence.swap.index
    eps = torch.finfo(evidence.energy.dtype).eps
    tables_found = [_table_rank(table, eps) for table in tables]
    actions = evidence.batch.actions.flatten(1).double()
    of_actions = [effective_rank(torch.linalg.svdvals(part - part.mean(dim=0))) for part in actions[index]]
    found = [Measurement.of("separation.action_rank", float(np.mean(of_actions)), index.numel())]
    with_any = [rank for rank in tables_found if rank > 0]
    if not with_any:
        alone = Skipped("separation.table_rank", "no interaction of context and action exceeds rounding")
        return Answer(tuple(found), skipped=(alone,))
    table = Measurement.of("separation.table_rank", float(np.mean(with_any)), index[0].numel() * len(with_any))
    return Answer((*found, table))


def _table_rank(energy_CC: Tensor, eps: float) -> float:
    """Effective rank of a table without its rows' and columns' means; values that rounding alone would give left out.

    Independent errors of standard deviation s give a C × C table a largest singular value of 2·s·√C.
    """
    centred = energy_CC - energy_CC.mean(dim=0) - energy_CC.mean(dim=1, keepdim=True) + energy_CC.mean()
    rounding = 2 * math.sqrt(len(energy_CC)) * eps * float(energy_CC.abs().max())
    return effective_rank(torch.linalg.svdvals(centred), rounding)


@dataclass
class _Layer:
    """What is known so far of one activation.

    Attributes:
        saturated: Share of saturated units per sample and pass, for activations that are flat at both ends.
        off: Whether a unit was off at every input yet, ``[W]``, for the one-sided ones.
        low: Lowest value of every position and unit, ``[P, W]``.
        high: Highest.
    """

    saturated: list[Tensor] = field(default_factory=list)
    off: Tensor | None = None
    low: Tensor | None = None
    high: Tensor | None = None

    def add(self, steepest: float | None, value: Tensor, slope: Tensor) -> None:
        """Takes in values and slopes, ``[n, P, W]``."""
        low, high = value.amin(dim=0), value.amax(dim=0)
        self.low = low if self.low is None else torch.minimum(self.low, low)
        self.high = high if self.high is None else torch.maximum(self.high, high)
        if steepest is not None:
            flat = slope.abs() < SATURATED_BELOW * steepest
            self.saturated.append(flat.float().mean(dim=(1, 2)).cpu())
        else:
            off = (slope.abs() < OFF_BELOW).all(dim=1).all(dim=0)
            self.off = off if self.off is None else self.off & off

    @property
    def constant(self) -> Tensor:
        """Whether a unit's value does not change with the sample, ``[W]``."""
        assert self.low is not None
        assert self.high is not None
        largest = torch.maximum(self.low.abs(), self.high.abs()).amax(dim=0)
        return (self.high - self.low).amax(dim=0) <= SAME_WITHIN * largest


class _Collector:
    """Sorts the calls of a forward pass to the layers that they belong to.

    Args:
        layouts: Of every call, in order.
        most_rows: Positions of one sample that are kept of what enters the last linear layer.
    """

    def __init__(self, layouts: Sequence[Layout | None], most_rows: int) -> None:
        self._layouts, self._most_rows = layouts, most_rows
        self._number = self._count = 0
        known = {i: layout for i, layout in enumerate(layouts) if layout}
        self._layers = {i: (layout, _Layer()) for i, layout in known.items() if layout.call.name != "linear"}
        self._last = max((i for i, layout in known.items() if layout.call.name == "linear"), default=None)
        self._inputs: list[Tensor] = []

    def run(self, evidence: Evidence, contexts: Tensor, actions: Tensor) -> None:
        """One forward pass.

        Raises:
            ValueError: The calls are not those that were seen with two samples.
        """
        self._number, self._count = 0, len(contexts)
        run_watched(evidence, contexts, actions, self._seen)
        if self._number != len(self._layouts):
            raise ValueError(OTHER_CALLS)

    def _seen(self, call: Call, value: Tensor, again: Callable[[Tensor], Tensor]) -> None:
        number, self._number = self._number, self._number + 1
        if number >= len(self._layouts):
            raise ValueError(OTHER_CALLS)
        layout = self._layouts[number]
        if layout is None:
            return
        if (layout.call.name, layout.call.place) != (call.name, call.place):
            raise ValueError(OTHER_CALLS)
        if number in self._layers:
            arranged = layout.arrange(value, self._count, MOST_POSITIONS)
            self._layers[number][1].add(call.steepest, *value_and_slope(again, arranged))
        elif number == self._last:
            self._inputs.append(layout.arrange(value, self._count, self._most_rows).double().cpu())

    @property
    def layers(self) -> list[tuple[Layout, _Layer]]:
        """The activations, in the order of the calls."""
        return list(self._layers.values())

    @property
    def last_inputs(self) -> Tensor | None:
        """What entered the last linear layer, ``[2·n, P, W]``, or None where there is none."""
        return torch.cat(self._inputs) if self._inputs else None


def value_and_slope(function: Callable[[Tensor], Tensor], at: Tensor) -> tuple[Tensor, Tensor]:
    """An elementwise function and its derivative, as automatic differentiation computes it, in float32 at least."""
    with torch.inference_mode(False), torch.enable_grad():
        precise = at.to(torch.promote_types(at.dtype, torch.float32)).detach().clone().requires_grad_()
        value = function(precise.clone())  # it may work in place
        (slope,) = torch.autograd.grad(value.sum(), precise)
    return value.detach(), slope


def _inside(evidence: Evidence) -> Answer:
    index = evidence.batch.spread(MOST_SAMPLES)
    others = index.roll(len(index) // 2)  # in most dumps samples of an episode lie together
    collector = _Collector(layouts(evidence), max(1, MOST_ROWS // (2 * len(index))))

    def both(part: slice) -> None:
        for actions in (index, others):
            collector.run(evidence, index[part], actions[part])

    for _ in run_in_pieces(both, len(index), evidence.settings.memory_budget):
        pass
    answers = (
        _saturated(evidence, index, collector.layers),
        _dead(len(index), collector.layers),
        _constant(len(index), collector.layers),
        _rank(len(index), collector.last_inputs),
    )
    return Answer(
        tuple(m for answer in answers for m in answer.measurements),
        skipped=tuple(s for answer in answers for s in answer.skipped),
    )


Layers = Sequence[tuple[Layout, _Layer]]


def _saturated(evidence: Evidence, index: Tensor, watched: Layers) -> Answer:
    name = "hidden.saturated_fraction"
    layers = [(layout, layer) for layout, layer in watched if layer.saturated]
    if not layers:
        return Answer(skipped=(Skipped(name, "no tanh, sigmoid or the like was seen inside the model"),))
    columns = np.stack([_per_sample(layer.saturated) for _, layer in layers], axis=1)
    widths = np.array([layout.width for layout, _ in layers], dtype=np.float64)
    resampler = Resampler(evidence.batch.groups[index].numpy(), evidence.settings.seed)
    whole = resampler.mean(columns @ (widths / widths.sum()))
    worst = resampler.mean(columns[:, columns.mean(axis=0).argmax()])
    single = [
        Measurement.of(f"{name}.layer.{layout.label}", float(columns[:, i].mean()), len(index))
        for i, (layout, _) in enumerate(layers)
    ]
    return Answer((measured(name, whole), measured(f"{name}.worst", worst), *single))


def _per_sample(pieces: Sequence[Tensor]) -> FloatArray:
    """Mean over the two passes, ``[n]``: the pieces hold some samples with the experts' actions, then with others'."""
    mean = [(own + other) / 2 for own, other in zip(pieces[::2], pieces[1::2], strict=True)]
    together: FloatArray = torch.cat(mean).double().numpy()
    return together


def _dead(count: int, watched: Layers) -> Answer:
    name = "hidden.dead_units"
    layers = [(layout.label, layer.off) for layout, layer in watched if layer.off is not None]
    if not layers:
        return Answer(skipped=(Skipped(name, "no relu, silu, gelu or the like was seen inside the model"),))
    single = [Measurement.of(f"{name}.layer.{label}", float(off.double().mean()), count) for label, off in layers]
    whole, worst = _shares(name, [off for _, off in layers], count)
    # where the samples are too few, all of these units may be on now and then
    sure = worst.value if rarest_activity(count) <= ACTIVE_ABOVE else 0.0
    return Answer((whole, replace(worst, ci95=(sure, worst.value)), *single))


def rarest_activity(count: int) -> float:
    """How often a unit is on at most, with 95 % confidence, that was off in all of so many samples: about 3/n."""
    return float(1 - 0.05 ** (1 / count))


def _constant(count: int, watched: Layers) -> Answer:
    name = "hidden.constant_units"
    if not watched:
        return Answer(skipped=(Skipped(name, "no activation was seen inside the model"),))
    return Answer(_shares(name, [layer.constant for _, layer in watched], count))


def _shares(name: str, marked: Sequence[Tensor], count: int) -> tuple[Measurement, ...]:
    """Share of the units that are marked, over all layers and in the worst."""
    worst = max(float(layer.double().mean()) for layer in marked)
    return (
        Measurement.of(name, float(torch.cat(list(marked)).double().mean()), count),
        Measurement.of(f"{name}.worst", worst, count),
    )


def _rank(count: int, inputs: Tensor | None) -> Answer:
    if inputs is None:
        return Answer(skipped=(Skipped("hidden.effective_rank", "no linear layer was seen at work"),))
    return Answer(
        (
            Measurement.of("hidden.effective_rank", feature_rank(inputs), count),
            Measurement.of("hidden.width", inputs.shape[-1], count),
        )
    )


def feature_rank(features: Tensor) -> float:
    """Effective rank of ``[n, P, W]`` without each position's mean over the samples."""
    rows = (features - features.mean(dim=0)).flatten(0, 1)
    small = rows @ rows.T if rows.shape[0] < rows.shape[1] else rows.T @ rows
    singular = torch.linalg.eigvalsh(small).clamp(min=0).sqrt()
    rounding = torch.finfo(torch.float32).eps * float(features.norm())
    return effective_rank(singular, rounding)


PROBE = Probe("activations", _measure)
