"""How much of its slope the energy head has left.

The activation that produces the energy is found by watching a forward pass. Its input is kept for every context and
candidate of the swap sets, the pairs that the training loss is made of. A raw value is *slope-saturated* where the
activation's slope is below a tenth of its steepest (sigmoid: |r| > 3.64; 2·sigmoid(r/2): |r| > 7.27), and has *zero
slope* where the slope is exactly zero in the model's own arithmetic: no gradient passes there, whatever the loss.
A *dead slope* is below two rounding steps of that arithmetic (2.4e-7 of the steepest in float32), which is where the
upper end of a sigmoid becomes exactly flat; the lower end goes on to fall without ever being exactly zero.

``head.energy_mean`` and ``head.energy_std`` are mean and standard deviation of E over all swap pairs. InfoNCE sees
differences only, so nothing in it holds the mean. ``head.rounding`` is how far apart two neighboring numbers of the
model's own type are at the median of |E|, over that standard deviation. ``head.energy_spread`` is the standard
deviation over the temperature of training, in nat: how much the logits of the softmax differ.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from energydiag.models.activations import Activation
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.results import Curve, Distribution, Measurement, Skipped

SATURATED_BELOW = 0.1
"""Share of the steepest slope (the design's definition)."""

_QUANTILES = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    reading, inner = evidence.reading, evidence.swap.inner
    contexts = evidence.swap.positive.shape[0]
    facts = _scale(evidence)
    if reading.stopped_at:
        reason = f"the energy ends in `{reading.stopped_at}`, whose slope is not known"
        names = ["head.slope_saturated_fraction", "head.zero_slope_fraction"]
        use = _range_use(evidence)
        names += [] if use else ["head.range_use"]
        return Answer(measurements=(*facts, *use), skipped=tuple(Skipped(name, reason) for name in names))
    if reading.activation is None or inner is None:
        zero = tuple(
            Measurement.of(name, 0.0, contexts)
            for name in ("head.slope_saturated_fraction", "head.zero_slope_fraction")
        )
        unbounded = Skipped("head.range_use", "the energy is linear in the raw output and has no range")
        return Answer(measurements=(*facts, *zero), skipped=(unbounded,))
    slope = reading.activation.relative_slope
    if slope is None:
        return Answer(
            measurements=tuple(facts),
            skipped=(Skipped("head.slope_saturated_fraction", f"{reading.activation.name} has no steepest slope"),),
        )
    relative = slope(inner)
    raw = (inner.double() - reading.inner_offset) / reading.inner_scale
    return Answer(
        measurements=(
            *facts,
            *_shares(evidence, relative, inner, reading.activation),
            *_range_use(evidence),
            *(
                Measurement.of(f"head.raw_q{round(100 * q):02d}", float(np.quantile(raw.numpy(), q)), contexts)
                for q in _QUANTILES
            ),
        ),
        distributions=_raw_histograms(evidence, raw),
        curves=_curves(evidence, reading.activation, raw),
    )


def _scale(evidence: Evidence) -> list[Measurement]:
    energy = evidence.swap.energy.double()
    tau, middle = evidence.settings.tau, energy.mean()
    around = energy - middle  # an offset would drown the spread in the rounding of its square
    moments = torch.stack((around.mean(dim=2), around.square().mean(dim=2)), dim=-1).reshape(-1, 2).numpy()
    spread = evidence.swap_samples.of_means(
        moments, lambda m: np.asarray(np.sqrt(np.maximum(m[..., 1] - m[..., 0] ** 2, 0)) / tau)
    )
    return [
        measured("head.energy_mean", evidence.swap_samples.mean(energy.mean(dim=2).reshape(-1).numpy())),
        Measurement.of("head.energy_std", float(energy.std()), len(moments)),
        *_rounding(evidence, energy),
        measured("head.energy_spread", spread),
    ]


def _rounding(evidence: Evidence, energy: Tensor) -> list[Measurement]:
    """How far apart the model's own numbers are at the energies' level, beside the energies' differences."""
    spread = float(energy.std(correction=0))
    step = torch.finfo(evidence.energy.dtype).eps * float(energy.abs().median())
    return [Measurement.of("head.rounding", step / spread, evidence.swap.positive.shape[0])] if spread > 0 else []


def _shares(evidence: Evidence, relative: Tensor, inner: Tensor, activation: Activation) -> list[Measurement]:
    saturated = relative < SATURATED_BELOW
    diagonal = torch.eye(inner.shape[1], dtype=torch.bool)
    parts = {
        "head.slope_saturated_fraction": saturated,
        "head.slope_saturated_fraction.low": saturated & (inner < activation.steepest),
        "head.slope_saturated_fraction.high": saturated & (inner > activation.steepest),
        "head.zero_slope_fraction": relative == 0,
        "head.dead_slope_fraction": relative < 2 * torch.finfo(relative.dtype).eps,
    }
    found = [measured(name, evidence.swap_samples.mean(_per_context(hit))) for name, hit in parts.items()]
    for name, where in (("positive", diagonal), ("negative", ~diagonal)):
        share = saturated[:, where].float().reshape(len(saturated), inner.shape[1], -1).mean(dim=2).reshape(-1)
        estimate = evidence.swap_samples.mean(share.numpy())
        found.append(measured(f"head.slope_saturated_fraction.{name}", estimate))
    return found


def _per_context(hit_KCC: Tensor) -> np.ndarray:
    return hit_KCC.float().flatten(2).mean(dim=2).reshape(-1).numpy()


def _range_use(evidence: Evidence) -> list[Measurement]:
    limits = evidence.reading.energy_range
    if limits is None:
        return []
    spread = float(evidence.swap.energy.max() - evidence.swap.energy.min())
    width = limits[1] - limits[0]
    count = evidence.swap.positive.shape[0]
    return [
        Measurement.of("head.range_use", spread / width, count),
        Measurement.of("head.energy_range", width, count),
    ]


def _drawn_range(evidence: Evidence, raw: Tensor) -> tuple[float, float]:
    """Raw values from the lowest to the highest, and the steep part of the activation with them."""
    reach = 8.0 / abs(evidence.reading.inner_scale)
    return min(float(raw.min()), -reach), max(float(raw.max()), reach)


def _raw_histograms(evidence: Evidence, raw: Tensor) -> tuple[Distribution, ...]:
    diagonal = torch.eye(raw.shape[1], dtype=torch.bool)
    edges = np.linspace(*_drawn_range(evidence, raw), 121)
    return tuple(
        Distribution(
            f"head.raw.{name}",
            "raw",
            tuple(edges.tolist()),
            tuple(int(c) for c in np.histogram(raw[:, where].numpy(), edges)[0]),
        )
        for name, where in (("positive", diagonal), ("negative", ~diagonal))
    )


def _curves(evidence: Evidence, activation: Activation, raw: Tensor) -> tuple[Curve, ...]:
    reading = evidence.reading
    x = torch.linspace(*_drawn_range(evidence, raw), 200, dtype=torch.float64)
    inner = reading.inner_scale * x + reading.inner_offset
    energy = reading.scale * activation.value(inner) + reading.offset
    curves = [Curve("head.energy", tuple(x.tolist()), tuple(energy.tolist()))]
    if activation.relative_slope is not None:
        slope = activation.relative_slope(inner)
        curves.append(Curve("head.relative_slope", tuple(x.tolist()), tuple(slope.tolist())))
    return tuple(curves)


PROBE = Probe("saturation", _measure)
