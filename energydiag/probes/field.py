"""Where the energy leads: its gradient field around the expert's action, and what following it does.

On at most 256 samples, spread over the episodes; a* is the expert's action, a_BC the policy's.

* ``field.alignment.*``: mean cosine of −∇E(a) and a* − a, at a_BC and at a* plus noise. By chance it is 0 with standard
  deviation 1/√(H·A).
* ``field.spearman``: rank correlation, within a sample, of E(a* + ε) and ‖ε‖ over a ladder of noise.
* ``field.monotonicity_violations``: share of steps on the straight ways from a* to a_BC and from a* to noise at which E
  falls.
* ``field.trust_ratio``: the fall of E over a step from a_BC of a tenth of the policy's error, over the fall that the
  gradient promises; median.
* ``field.correction_gain.kN``: relative fall of the mean absolute action error after N normalised steps from a_BC. The
  step length is the best of a ladder scaled to the policy's error, chosen on one half of the episodes and measured on
  the other, both ways round. The ladder has no zero, so a negative value says that following the energy hurts at every
  length. ``field.correction_energy.kN`` is the change of E beside it, at the same lengths. Both are left out where the
  gradient is zero at every policy action: nothing can be followed there.
* ``field.spurious_minimum_rate``: share of eight-step descents (from a*, a_BC and far noise, steps of a fifth of the
  policy's error) that end lower than E(a*), yet farther from a* than they began and than a_BC is.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from energydiag.energies.descent import Path, directions, follow
from energydiag.energies.gradients import action_gradients
from energydiag.energies.memory import gathered, run_in_pieces
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import each_context_once, pair_table
from energydiag.negatives.noise import SIGMAS, noisy
from energydiag.precision import kept
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.results import Curve, Measurement, Skipped
from energydiag.statistics import Estimate, FloatArray, Resampler

MOST_SAMPLES = 256
STEPS = 8
_EVERY_STEP = range(1, STEPS + 1)
_CORRECTED = ("gain", "energy")
STEP_LADDER = (0.02, 0.05, 0.1, 0.2, 0.4)
"""Step lengths in units of the policy's mean Euclidean error."""

_NOISE_LADDER = (0.025, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5)
_WAY_POINTS = 6
_FAR_NOISE = 0.5
_SHORT = 0.1
"""Length of the step whose trust ratio is measured, in units of the policy's error: one of the ladder (a guess)."""

_DESCENT_LENGTH = 0.2
"""Step length of descents that look for spurious minima: eight of them reach beyond the policy's error (a guess)."""


@dataclass(frozen=True)
class _Samples:
    """What the field is measured on: n samples."""

    hidden: Tensor
    expert: Tensor
    policy: Tensor | None
    pad_mask: Tensor | None
    resampler: Resampler
    halves: np.ndarray


def _samples(evidence: Evidence) -> _Samples:
    batch = evidence.batch
    chosen = batch.spread(MOST_SAMPLES)
    part = batch.select(chosen)
    groups = part.groups.numpy()
    names = np.unique(groups)
    half = np.random.default_rng(evidence.settings.seed).permutation(len(names)) % 2
    return _Samples(
        part.hidden,
        part.actions,
        part.policy_actions,
        part.pad_mask,
        Resampler(groups, evidence.settings.seed),
        half[np.searchsorted(names, groups)].astype(bool),
    )


@dataclass(frozen=True)
class _Points:
    """Actions ``[n, …, H, A]`` that the field is looked at in; all are drawn before anything is computed.

    Attributes:
        near: Where directions are compared, by name.
        ladder: Noise of growing size around the expert's action.
        ways: On the straight ways from the expert's action, one way after the other.
        starts: Of the descents that look for spurious minima, the expert's action first.
    """

    near: dict[str, Tensor]
    ladder: Tensor
    ways: Tensor
    starts: Tensor


def _points(samples: _Samples, generator: torch.Generator) -> _Points:
    expert = samples.expert[:, None]
    policy = [] if samples.policy is None else [samples.policy[:, None]]
    near = {f"noise_{sigma:g}": noisy(samples.expert, sigma, 1, generator) for sigma in SIGMAS}
    if policy:
        near["policy"] = policy[0]
    ladder = torch.cat([noisy(samples.expert, sigma, 1, generator) for sigma in _NOISE_LADDER], dim=1)
    ends = [noisy(samples.expert, SIGMAS[-1], 1, generator), *policy]
    ways = [expert + share * (end - expert) for end in ends for share in torch.linspace(0, 1, _WAY_POINTS)]
    starts = [expert, noisy(samples.expert, _FAR_NOISE, 1, generator), *policy]
    return _Points(near, ladder, torch.cat(ways, dim=1), torch.cat(starts, dim=1))


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    samples = _samples(evidence)
    points = _points(samples, torch.Generator().manual_seed(evidence.settings.seed * 1009 + 500))
    seen = _look(evidence, samples, points)
    gradient = dict(zip(points.near, torch.split(seen.gradient, 1, dim=1), strict=True))
    rungs = 1 + points.ladder.shape[1]
    count = points.starts.shape[1]
    descents, corrections = seen.path.columns(slice(count)), seen.path.columns(slice(count, None))
    found = [
        *_alignment(samples, points.near, gradient),
        _spearman(samples, seen.energy[:, :rungs], points.ladder),
        _monotonicity(samples, seen.energy[:, rungs:]),
        _spurious(samples, descents),
    ]
    if samples.policy is None or not gradient["policy"].any():
        return Answer(tuple(found), skipped=_not_followed(samples.policy is not None))
    gains, curves = _correction(samples, corrections)
    trust = _trust(samples, gradient["policy"], corrections)
    if trust.n == 0:
        skipped = (Skipped(trust.name, "the policy's actions are the expert's own"),)
        return Answer((*found, *gains), curves=curves, skipped=skipped)
    return Answer((*found, trust, *gains), curves=curves)


def _not_followed(has_policy: bool) -> tuple[Skipped, ...]:
    if not has_policy:
        names = ("field.alignment.policy", "field.trust_ratio", "field.correction_gain.k1", "field.correction_gain.k4")
        return tuple(Skipped(name, "the dump has no `policy_actions`") for name in names)
    # no step is taken, and a gain of exactly 0 would look better than that of any field which errs a little
    idle = ["field.trust_ratio", *(f"field.correction_{what}.k{k}" for what in _CORRECTED for k in _EVERY_STEP)]
    return tuple(Skipped(name, "the gradient is zero at every policy action") for name in idle)


@dataclass(frozen=True)
class _Seen:
    """What the model told of the samples.

    Attributes:
        gradient: dE/da at the points where directions are compared, ``[n, P, H, A]``.
        energy: Of the expert's action, the ladder and the ways, ``[n, M]``.
        path: Of the descents that look for spurious minima, then of the policy's action with every length of step.
    """

    gradient: Tensor
    energy: Tensor
    path: Path


def _look(evidence: Evidence, samples: _Samples, points: _Points) -> _Seen:
    """Everything in one pass over the contexts: each context's work is done once."""
    near = torch.cat(list(points.near.values()), dim=1)
    known = torch.cat((samples.expert[:, None], points.ladder, points.ways), dim=1)
    starts, lengths = points.starts, torch.full((points.starts.shape[1],), _DESCENT_LENGTH)
    if samples.policy is not None:
        lengths = torch.cat((lengths, torch.tensor(STEP_LADDER)))
        policy = samples.policy[:, None].expand(-1, len(STEP_LADDER), *samples.policy.shape[1:])
        starts = torch.cat((starts, policy), dim=1)
    lengths = lengths * _policy_error(samples)
    pairs = Pairs(samples.hidden, starts, samples.pad_mask, shared=False)
    energy, budget = evidence.energy, evidence.settings.memory_budget

    def run(part: slice) -> tuple[Tensor, ...]:
        chunk = pairs.rows(part).to(energy.device, energy.dtype)
        with each_context_once(energy, chunk):
            slopes = action_gradients(energy, replace(chunk, actions=near[part].to(chunk.actions)), None)
            with torch.no_grad():
                there = replace(chunk, actions=known[part].to(chunk.actions))
                table = pair_table(energy, lambda h, a, m: (energy(h, a, m),), there, None)
            path = follow(energy, chunk.hidden, chunk.actions, chunk.pad_mask, lengths, STEPS, None)
        found = (slopes.gradient, table.values[0], path.actions.transpose(0, 1), path.energy.transpose(0, 1))
        return tuple(kept(tensor).cpu() for tensor in found)

    gradient, value, actions, energies = gathered(run_in_pieces(run, pairs.contexts, budget), pairs.contexts)
    return _Seen(gradient.double(), value, Path(actions.transpose(0, 1), energies.transpose(0, 1)))


def _alignment(samples: _Samples, points: dict[str, Tensor], gradient: dict[str, Tensor]) -> list[Measurement]:
    found = []
    for name, actions in points.items():
        way = (samples.expert[:, None] - actions).double()
        # a zero vector has no direction and counts as 0; the library's own cosine also fades for very short ones
        cosine = -(directions(gradient[name]) * directions(way)).flatten(1).sum(dim=1).numpy()
        found.append(measured(f"field.alignment.{name}", samples.resampler.mean(cosine)))
    chance = 1 / float(np.sqrt(samples.expert[0].numel()))
    return [*found, Measurement.of("field.alignment.chance_std", chance, len(samples.expert))]


def _spearman(samples: _Samples, energy_NM: Tensor, ladder: Tensor) -> Measurement:
    distance = (ladder - samples.expert[:, None]).flatten(2).norm(dim=2).numpy()
    distance = np.concatenate((np.zeros((len(distance), 1)), distance), axis=1)
    energy = np.where(torch.isfinite(energy_NM).all(dim=1, keepdim=True), energy_NM.numpy(), np.nan)
    return measured("field.spearman", samples.resampler.mean(rank_correlation(energy, distance)))


def rank_correlation(x_NM: np.ndarray, y_NM: np.ndarray) -> FloatArray:
    """Spearman's correlation within each row, ``[N]``; ties share their mean rank, a constant row gives 0."""
    x, y = (r - r.mean(axis=1, keepdims=True) for r in map(_ranks, (x_NM, y_NM)))
    norm = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    return np.asarray(np.divide((x * y).sum(axis=1), norm, out=np.zeros(len(x)), where=~(norm <= 0)))


def _ranks(values_NM: np.ndarray) -> FloatArray:
    """Rank within a row from 1, ties sharing their mean; by counting, since a row has a few values. NaN has none."""
    own, other = values_NM[:, :, None], values_NM[:, None, :]
    rank = (other < own).sum(axis=2) + ((other == own).sum(axis=2) + 1) / 2
    return np.where(np.isnan(values_NM), np.nan, rank)


def _monotonicity(samples: _Samples, energy_NM: Tensor) -> Measurement:
    along = energy_NM.reshape(len(energy_NM), -1, _WAY_POINTS)
    falls = (along.diff(dim=2) < 0).double().mean(dim=(1, 2))
    falls[~torch.isfinite(along).all(dim=2).all(dim=1)] = torch.nan
    return measured("field.monotonicity_violations", samples.resampler.mean(falls.numpy()))


def _policy_error(samples: _Samples) -> float:
    """Mean Euclidean distance of the policy's action from the expert's; where there is none, that of noise .05."""
    if samples.policy is None:
        return SIGMAS[0] * float(np.sqrt(samples.expert[0].numel()))
    return float((samples.policy - samples.expert).flatten(1).norm(dim=1).mean())


def _trust(samples: _Samples, gradient_N1HA: Tensor, path: Path) -> Measurement:
    column = STEP_LADDER.index(_SHORT)
    promised = (
        _SHORT * _policy_error(samples) * (directions(gradient_N1HA) * gradient_N1HA).flatten(1).sum(dim=1).numpy()
    )
    actual = (path.energy[0, :, column] - path.energy[1, :, column]).double().numpy()
    ratio = np.divide(actual, promised, out=np.full(len(actual), np.nan), where=promised > 0)
    return measured("field.trust_ratio", samples.resampler.quantile(ratio, 0.5))


def _spurious(samples: _Samples, path: Path) -> Measurement:
    start, end, ended = path.actions[0], path.actions[-1], path.energy[-1]
    expert = path.energy[0, :, :1]
    before = (start - samples.expert[:, None]).flatten(2).norm(dim=2)
    after = (end - samples.expert[:, None]).flatten(2).norm(dim=2)
    distance = torch.full_like(ended[:, :1], _policy_error(samples))
    if samples.policy is not None:
        distance = (samples.policy - samples.expert).flatten(1).norm(dim=1, keepdim=True)
    astray = ((ended < expert) & (after > before) & (after > distance)).double().mean(dim=1)
    astray[~(torch.isfinite(ended) & torch.isfinite(after)).all(dim=1)] = torch.nan
    return measured("field.spurious_minimum_rate", samples.resampler.mean(astray.numpy()))


def _correction(samples: _Samples, path: Path) -> tuple[list[Measurement], tuple[Curve, ...]]:
    error_KNL = (path.actions - samples.expert[None, :, None]).abs().flatten(3).mean(dim=3).numpy()
    energy_KNL = path.energy.numpy()
    found = []
    gains = [0.0]
    for k in _EVERY_STEP:
        chosen = best_length(error_KNL[k], samples.halves)
        rows = np.arange(len(chosen))
        gain = relative_fall(samples.resampler, error_KNL[0, rows, chosen], error_KNL[k, rows, chosen])
        change = samples.resampler.mean(energy_KNL[k, rows, chosen] - energy_KNL[0, rows, chosen])
        found.append(measured(f"field.correction_gain.k{k}", gain))
        found.append(measured(f"field.correction_energy.k{k}", change))
        gains.append(gain.value)
    steps = tuple(float(k) for k in range(STEPS + 1))
    curves = [Curve("field.correction_gain", steps, tuple(gains))]
    finite = np.isfinite(error_KNL).all(axis=(0, 2))
    base = error_KNL[0, finite].mean() if finite.any() else 0.0
    for i, multiple in enumerate(STEP_LADDER):
        errors = 1 - error_KNL[:, finite, i].mean(axis=1) / base if base > 0 else np.zeros(STEPS + 1)
        curves.append(Curve(f"field.correction_gain.length_{multiple:g}", steps, tuple(float(e) for e in errors)))
    return found, tuple(curves)


def best_length(error_NL: np.ndarray, half_N: np.ndarray) -> np.ndarray:
    """For every sample, the length that is best on the half of the samples to which it does not belong, ``[N]`` int.

    Samples whose errors are not finite have no say.
    """
    chosen = np.zeros(len(error_NL), dtype=np.int64)
    finite = np.isfinite(error_NL).all(axis=1)
    if not finite.any():
        return chosen
    for side in (False, True):
        others = half_N != side
        if not (others & finite).any():  # one episode alone cannot be split
            others = np.ones_like(half_N)
        chosen[half_N == side] = int(error_NL[others & finite].mean(axis=0).argmin())
    return chosen


def relative_fall(resampler: Resampler, before_N: np.ndarray, after_N: np.ndarray) -> Estimate:
    """``1 − mean after / mean before``; 0 where there was no error to begin with."""

    def fall(means: FloatArray) -> FloatArray:
        safe = np.where(means[..., 0] > 0, means[..., 0], 1.0)
        return np.where(means[..., 0] > 0, 1 - means[..., 1] / safe, 0.0)

    return resampler.of_means(np.stack((before_N, after_N), axis=1), fall)


PROBE = Probe("field", _measure)
