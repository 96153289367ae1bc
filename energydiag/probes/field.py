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

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from energydiag.energies.descent import directions, follow
from energydiag.energies.gradients import action_gradients
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.negatives.noise import SIGMAS, noisy
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
"""Length of the step whose trust ratio is measured, in units of the policy's error (a guess)."""

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
    part = batch.take(chosen)
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


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    samples = _samples(evidence)
    generator = torch.Generator().manual_seed(evidence.settings.seed * 1009 + 500)
    found = _alignment(evidence, samples, generator)
    found.append(_spearman(evidence, samples, generator))
    found.append(_monotonicity(evidence, samples, generator))
    found.append(_spurious(evidence, samples, generator))
    if samples.policy is None:
        names = ("field.alignment.policy", "field.trust_ratio", "field.correction_gain.k1", "field.correction_gain.k4")
        return Answer(tuple(found), skipped=tuple(Skipped(n, "the dump has no `policy_actions`") for n in names))
    gradient = _gradient(evidence, samples, samples.policy[:, None])
    if not gradient.any():
        # no step is taken, and a gain of exactly 0 would look better than that of any field which errs a little
        idle = ["field.trust_ratio", *(f"field.correction_{what}.k{k}" for what in _CORRECTED for k in _EVERY_STEP)]
        reason = "the gradient is zero at every policy action"
        return Answer(tuple(found), skipped=tuple(Skipped(name, reason) for name in idle))
    trust = _trust(evidence, samples, samples.policy, gradient)
    gains, curves = _correction(evidence, samples, samples.policy)
    if trust.n == 0:
        skipped = (Skipped(trust.name, "the policy's actions are the expert's own"),)
        return Answer((*found, *gains), curves=curves, skipped=skipped)
    return Answer((*found, trust, *gains), curves=curves)


def _gradient(evidence: Evidence, samples: _Samples, actions_NMHA: Tensor) -> Tensor:
    pairs = Pairs(samples.hidden, actions_NMHA, samples.pad_mask, shared=False)
    return action_gradients(evidence.energy, pairs, evidence.settings.memory_budget).gradient.cpu().double()


def _energies(evidence: Evidence, samples: _Samples, actions_NMHA: Tensor) -> Tensor:
    pairs = Pairs(samples.hidden, actions_NMHA, samples.pad_mask, shared=False)
    with torch.no_grad():
        table = pair_table(
            evidence.energy, lambda h, a, m: (evidence.energy(h, a, m),), pairs, evidence.settings.memory_budget
        )
    return table.values[0].float().cpu()


def _alignment(evidence: Evidence, samples: _Samples, generator: torch.Generator) -> list[Measurement]:
    points = {f"noise_{sigma:g}": noisy(samples.expert, sigma, 1, generator) for sigma in SIGMAS}
    if samples.policy is not None:
        points["policy"] = samples.policy[:, None]
    actions = torch.cat(list(points.values()), dim=1)
    gradient = _gradient(evidence, samples, actions)
    way = samples.expert[:, None] - actions
    # a zero vector has no direction and counts as 0; the library's own cosine also fades for very short ones
    cosine = -(directions(gradient) * directions(way.double())).flatten(2).sum(dim=2).numpy()
    found = [
        measured(f"field.alignment.{name}", samples.resampler.mean(cosine[:, i]), "1") for i, name in enumerate(points)
    ]
    chance = 1 / float(np.sqrt(samples.expert[0].numel()))
    return [*found, Measurement("field.alignment.chance_std", chance, "1", len(samples.expert))]


def _spearman(evidence: Evidence, samples: _Samples, generator: torch.Generator) -> Measurement:
    ladder = torch.cat([noisy(samples.expert, sigma, 1, generator) for sigma in _NOISE_LADDER], dim=1)
    energy = _energies(evidence, samples, torch.cat((samples.expert[:, None], ladder), dim=1)).numpy()
    distance = (ladder - samples.expert[:, None]).flatten(2).norm(dim=2).numpy()
    distance = np.concatenate((np.zeros((len(distance), 1)), distance), axis=1)
    return measured("field.spearman", samples.resampler.mean(rank_correlation(energy, distance)), "1")


def rank_correlation(x_NM: np.ndarray, y_NM: np.ndarray) -> FloatArray:
    """Spearman's correlation within each row, ``[N]``; ties share their mean rank, a constant row gives 0."""
    import pandas

    ranks = [pandas.DataFrame(values).rank(axis=1).to_numpy() for values in (x_NM, y_NM)]
    x, y = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    norm = np.sqrt(np.square(x).sum(axis=1) * np.square(y).sum(axis=1))
    return np.asarray(np.divide((x * y).sum(axis=1), norm, out=np.zeros(len(x)), where=norm > 0))


def _monotonicity(evidence: Evidence, samples: _Samples, generator: torch.Generator) -> Measurement:
    ends = [noisy(samples.expert, SIGMAS[-1], 1, generator)]
    if samples.policy is not None:
        ends.append(samples.policy[:, None])
    share = torch.linspace(0, 1, _WAY_POINTS)
    expert = samples.expert[:, None]
    ways = torch.cat([expert + s * (end - expert) for end in ends for s in share], dim=1)
    energy = _energies(evidence, samples, ways).reshape(len(expert), len(ends), _WAY_POINTS)
    falls = (energy.diff(dim=2) < 0).float().mean(dim=(1, 2)).numpy()
    return measured("field.monotonicity_violations", samples.resampler.mean(falls), "1")


def _policy_error(samples: _Samples) -> float:
    """Mean Euclidean distance of the policy's action from the expert's; where there is none, that of noise .05."""
    if samples.policy is None:
        return SIGMAS[0] * float(np.sqrt(samples.expert[0].numel()))
    return float((samples.policy - samples.expert).flatten(1).norm(dim=1).mean())


def _trust(evidence: Evidence, samples: _Samples, policy: Tensor, gradient_N1HA: Tensor) -> Measurement:
    length = _SHORT * _policy_error(samples)
    unit = directions(gradient_N1HA)
    step = (length * unit).to(policy.dtype)
    energy = _energies(evidence, samples, torch.cat((policy[:, None], policy[:, None] - step), dim=1))
    promised = length * (unit * gradient_N1HA).flatten(1).sum(dim=1).numpy()
    actual = (energy[:, 0] - energy[:, 1]).numpy()
    ratio = np.divide(actual, promised, out=np.full(len(actual), np.nan), where=promised > 0)
    return measured("field.trust_ratio", samples.resampler.quantile(ratio, 0.5), "1")


def _spurious(evidence: Evidence, samples: _Samples, generator: torch.Generator) -> Measurement:
    starts = [samples.expert[:, None], noisy(samples.expert, _FAR_NOISE, 1, generator)]
    if samples.policy is not None:
        starts.append(samples.policy[:, None])
    start = torch.cat(starts, dim=1)
    error = _policy_error(samples)
    length = _DESCENT_LENGTH * error
    path = follow(
        evidence.energy,
        samples.hidden,
        start,
        samples.pad_mask,
        torch.full((start.shape[1],), length),
        STEPS,
        memory_budget=evidence.settings.memory_budget,
    )
    end, ended = path.actions[-1].float().cpu(), path.energy[-1].float().cpu()
    expert = path.energy[0, :, :1].float().cpu()
    before = (start - samples.expert[:, None]).flatten(2).norm(dim=2)
    after = (end - samples.expert[:, None]).flatten(2).norm(dim=2)
    distance = torch.full_like(ended[:, :1], error)
    if samples.policy is not None:
        distance = (samples.policy - samples.expert).flatten(1).norm(dim=1, keepdim=True)
    astray = ((ended < expert) & (after > before) & (after > distance)).float().mean(dim=1)
    return measured("field.spurious_minimum_rate", samples.resampler.mean(astray.numpy()), "1")


def _correction(evidence: Evidence, samples: _Samples, policy: Tensor) -> tuple[list[Measurement], tuple[Curve, ...]]:
    lengths = torch.tensor(STEP_LADDER) * _policy_error(samples)
    starts = policy[:, None].expand(-1, len(lengths), *policy.shape[1:])
    path = follow(
        evidence.energy,
        samples.hidden,
        starts,
        samples.pad_mask,
        lengths,
        STEPS,
        memory_budget=evidence.settings.memory_budget,
    )
    error_KNL = (path.actions.float().cpu() - samples.expert[None, :, None]).abs().flatten(3).mean(dim=3).numpy()
    energy_KNL = path.energy.float().cpu().numpy()
    found = []
    gains = [0.0]
    for k in _EVERY_STEP:
        chosen = best_length(error_KNL[k], samples.halves)
        rows = np.arange(len(chosen))
        gain = relative_fall(samples.resampler, error_KNL[0, rows, chosen], error_KNL[k, rows, chosen])
        change = samples.resampler.mean(energy_KNL[k, rows, chosen] - energy_KNL[0, rows, chosen])
        found.append(measured(f"field.correction_gain.k{k}", gain, "1"))
        found.append(measured(f"field.correction_energy.k{k}", change, "energy"))
        gains.append(gain.value)
    steps = tuple(float(k) for k in range(STEPS + 1))
    curves = [Curve("field.correction_gain", steps, tuple(gains))]
    base = error_KNL[0].mean()
    for i, multiple in enumerate(STEP_LADDER):
        errors = 1 - error_KNL[:, :, i].mean(axis=1) / base if base > 0 else np.zeros(STEPS + 1)
        curves.append(Curve(f"field.correction_gain.length_{multiple:g}", steps, tuple(float(e) for e in errors)))
    return found, tuple(curves)


def best_length(error_NL: np.ndarray, half_N: np.ndarray) -> np.ndarray:
    """For every sample, the length that is best on the half of the samples to which it does not belong, ``[N]`` int."""
    chosen = np.zeros(len(error_NL), dtype=np.int64)
    for side in (False, True):
        others = half_N != side
        if not others.any():  # one episode alone cannot be split
            others = np.ones_like(half_N)
        chosen[half_N == side] = int(error_NL[others].mean(axis=0).argmin())
    return chosen


def relative_fall(resampler: Resampler, before_N: np.ndarray, after_N: np.ndarray) -> Estimate:
    """``1 − mean after / mean before``; 0 where there was no error to begin with."""

    def fall(means: FloatArray) -> FloatArray:
        safe = np.where(means[..., 0] > 0, means[..., 0], 1.0)
        return np.where(means[..., 0] > 0, 1 - means[..., 1] / safe, 0.0)

    return resampler.of_means(np.stack((before_N, after_N), axis=1), fall)


PROBE = Probe("field", _measure)
