"""Whether the energy tells an action where to go: dE/da at the expert's action.

At inference actions are moved along −dE/da. ``norm_*`` are its Euclidean norms over the chunk, in energy per action
unit. ``relative_median`` compares them with what the energy distinguishes: the change of E over one standard deviation
of the actions, in units of the standard deviation of E over swap pairs. ``relative_away`` is the same away from the
expert's action, where a well has a slope that has none at its bottom: at the expert's action plus noise of half the
standard deviation of each dimension, on at most 64 samples. ``share.*`` is the part of the squared norm in one action
dimension or one step, averaged over samples with any gradient, and ``share_max`` the largest dimension's.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from energydiag.energies.gradients import action_gradients
from energydiag.energies.pairs import Pairs
from energydiag.precision import kept
from energydiag.probes.attempt import attempt
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.results import Distribution, Measurement, Skipped
from energydiag.statistics import Resampler

AWAY = 0.5
"""Noise in standard deviations of the actions: outside of a narrow well, inside the data (heuristic)."""

MOST_AWAY = 64
"""Samples whose slope away from the expert's action is measured: a median needs no more (a guess)."""

_AWAY = "gradient.actions.relative_away"
_SEED = 300

_QUANTILES = {"q05": 0.05, "median": 0.5, "q95": 0.95}


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    gradient = evidence.expert_gradient.gradient[:, 0].numpy().astype(np.float64)
    if gradient.ndim == 2:
        gradient = gradient[:, None]
    finite = np.isfinite(gradient).all(axis=(1, 2))
    broken = Measurement.of("gradient.actions.nonfinite_fraction", float((~finite).mean()), len(gradient))
    if not finite.any():
        return Answer((broken,), skipped=(Skipped("gradient.actions.norm_median", "no gradient is finite"),))
    gradient[~finite] = np.nan  # left out of every number
    norm = np.sqrt(np.square(gradient).sum(axis=(1, 2)))
    resampler = evidence.all_samples
    found = [measured(f"gradient.actions.norm_{k}", resampler.quantile(norm, q)) for k, q in _QUANTILES.items()]
    found.append(broken)
    spread = float(evidence.swap.energy.double().std())
    action_std = float(evidence.batch.actions.double().std(dim=0).square().mean().sqrt())
    if spread > 0:
        found.append(measured("gradient.actions.relative_median", resampler.quantile(norm * action_std / spread, 0.5)))
    else:
        found.append(Measurement.of("gradient.actions.relative_median", 0.0, len(norm)))
    away = attempt((_AWAY,), lambda: _away(evidence, action_std / spread if spread > 0 else 0.0))
    found += away.measurements
    skipped: tuple[Skipped, ...] = away.skipped
    if (norm > 0).any():
        found += _shares(evidence, gradient, norm)
    else:
        skipped += (Skipped("gradient.actions.share_max", "the gradient is zero at every expert action"),)
    return Answer(tuple(found), _histogram(norm), skipped=skipped)


def _away(evidence: Evidence, unit: float) -> Answer:
    part = evidence.batch.take(evidence.batch.spread(MOST_AWAY))
    generator = torch.Generator().manual_seed(evidence.settings.seed * 1009 + _SEED)
    pairs = Pairs(part.hidden, away_from(part.actions, generator)[:, None], part.pad_mask, shared=False)
    gradient = action_gradients(evidence.energy, pairs, evidence.settings.memory_budget).gradient
    norm = kept(gradient).cpu().double().flatten(1).norm(dim=1).numpy()
    resampler = Resampler(part.groups.numpy(), evidence.settings.seed)
    return Answer((measured(_AWAY, resampler.quantile(norm * unit, 0.5)),))


def away_from(actions: Tensor, generator: torch.Generator) -> Tensor:
    """The actions ``[n, …, A]`` with noise of half of each dimension's standard deviation."""
    over = tuple(range(actions.dim() - 1))
    deviation = actions.double().std(dim=over, correction=0).to(actions.dtype)
    return actions + AWAY * deviation * torch.randn(actions.shape, generator=generator)


def _shares(evidence: Evidence, gradient_NHA: np.ndarray, norm_N: np.ndarray) -> list[Measurement]:
    with np.errstate(invalid="ignore", divide="ignore"):
        share_NHA = np.square(gradient_NHA / norm_N[:, None, None])
    by_dimension, by_step = share_NHA.sum(axis=1), share_NHA.sum(axis=2)
    resampler = evidence.all_samples
    found = [
        measured(f"gradient.actions.share.dimension_{i}", resampler.mean(by_dimension[:, i]))
        for i in range(by_dimension.shape[1])
    ]
    found += [
        measured(f"gradient.actions.share.step_{i}", resampler.mean(by_step[:, i])) for i in range(by_step.shape[1])
    ]
    largest = max(found[: by_dimension.shape[1]], key=lambda m: m.value)
    found.append(Measurement.of("gradient.actions.share_max", largest.value, largest.n, largest.ci95))
    return found


def _histogram(norm_N: np.ndarray) -> tuple[Distribution, ...]:
    positive = norm_N[norm_N > 0]
    if not len(positive):
        return ()
    edges = np.geomspace(positive.min() * 0.99, positive.max() * 1.01, 41)
    counts = np.histogram(positive, edges)[0]
    return (
        Distribution("gradient.actions.norm", "energy/action", tuple(edges.tolist()), tuple(int(c) for c in counts)),
    )


PROBE = Probe("action gradients", _measure)
