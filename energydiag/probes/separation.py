"""How well the expert's action is told from negatives, for each source of negatives.

Within a context, the expert's action competes with that context's negatives: AUROC is the share of negatives with a
higher energy, a tie counting half; top-1 the share of contexts where nothing has a lower energy (with k others on the
same energy, 1/(k+1), as if the tie were broken at random); MRR the mean of 1/rank, a tie counting half a place. The
gap is the mean energy of negatives minus that of positives, and the standardised gap that over their pooled standard
deviation. All but the gap in energy units stay the same when energies are scaled. A context with an energy that is not
finite among a source's negatives is left out of that source's numbers.

Two numbers say what InfoNCE has left to learn from the negatives, at the temperature of training: they change when
energies are scaled. ``npc.*`` is the negative-positive coupling ``q = 1 − p₊`` (Yeh et al. 2022, Proposition 1), p₊
being the expert's share of the softmax of −E/τ over its action and the context's negatives: every gradient of the loss
is multiplied by it. Near 0 these negatives teach nothing any more; without any knowledge it is M/(M+1) for M negatives.
``effective_negatives.*`` is the exponential of the entropy of the softmax over the negatives alone: how many of the M
share the gradient.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from energydiag.probes.evidence import Evidence, histogram_edges
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.results import Distribution, Measurement
from energydiag.statistics import FloatArray, Resampler


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    swap = evidence.swap
    tau = evidence.settings.tau
    measurements = _separation("swap", swap.positive.numpy(), swap.negative.numpy(), evidence.swap_samples, tau)
    candidates = swap.energy.shape[1]
    count = swap.positive.shape[0]
    measurements += [
        Measurement.of("top1.swap.chance", 1 / candidates, count),
        Measurement.of("mrr.swap.chance", sum(1 / rank for rank in range(1, candidates + 1)) / candidates, count),
    ]
    by_source, skipped = evidence.by_source
    positive = evidence.positive.numpy()
    for name, energy in by_source.items():
        measurements += _separation(name, positive, energy.numpy(), evidence.all_samples, tau)
    energies = {"positive": swap.positive.numpy(), "swap": swap.negative.numpy()} | {
        name: energy.numpy() for name, energy in by_source.items()
    }
    return Answer(tuple(measurements), _histograms(energies), skipped=skipped)


def ranks(positive_N: np.ndarray, negative_NM: np.ndarray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """``(auroc, top1, mrr)`` of every context, ``[N]`` each; NaN where an energy is not finite."""
    finite = np.isfinite(positive_N) & np.isfinite(negative_NM).all(axis=1)
    lower = np.where(finite, (negative_NM < positive_N[:, None]).sum(axis=1), np.nan)
    equal = np.where(finite, (negative_NM == positive_N[:, None]).sum(axis=1), np.nan)
    auroc = 1 - (lower + 0.5 * equal) / negative_NM.shape[1]
    return auroc, np.where(lower > 0, 0.0, 1 / (1 + equal)), 1 / (1 + lower + 0.5 * equal)


def auroc_of(energy_CC: Tensor) -> FloatArray:
    """AUROC within each context of a swap table, ``[C]``."""
    size = energy_CC.shape[0]
    others = energy_CC[~torch.eye(size, dtype=torch.bool)].reshape(size, size - 1)
    return ranks(energy_CC.diagonal().numpy(), others.numpy())[0]


def coupling(positive_N: np.ndarray, negative_NM: np.ndarray, tau: float) -> tuple[FloatArray, FloatArray]:
    """``(1 − p₊, effective number of negatives)`` of every context, ``[N]`` each."""
    score_NM = -negative_NM.astype(np.float64) / tau
    own_N = -positive_N.astype(np.float64) / tau
    top_N = score_NM.max(axis=1)
    weight_NM = np.exp(score_NM - top_N[:, None])
    total_N = weight_NM.sum(axis=1)
    others_N = top_N + np.log(total_N)
    entropy_N = np.log(total_N) - (weight_NM * (score_NM - top_N[:, None])).sum(axis=1) / total_N
    with np.errstate(invalid="ignore"):  # rows of NaN, which are left out
        return np.exp(others_N - np.logaddexp(own_N, others_N)), np.exp(entropy_N)


def _separation(
    name: str, positive_N: np.ndarray, negative_NM: np.ndarray, resampler: Resampler, tau: float
) -> list[Measurement]:
    finite = np.isfinite(positive_N) & np.isfinite(negative_NM).all(axis=1)
    if not finite.any():
        return []
    # a row of NaN is left out of every mean
    positive_N = np.where(finite, positive_N, np.nan)
    negative_NM = np.where(finite[:, None], negative_NM, np.nan)
    auroc, top1, mrr = ranks(positive_N, negative_NM)
    positive, negative = around_their_mean(positive_N, negative_NM)
    moments = np.stack(
        (negative.mean(axis=1), np.square(negative).mean(axis=1), positive, np.square(positive)),
        axis=1,
    )
    found = [
        measured(f"gap.{name}", resampler.of_means(moments, lambda m: m[..., 0] - m[..., 2])),
        measured(f"gap_std.{name}", resampler.of_means(moments, _standardised)),
        measured(f"auroc.{name}", resampler.mean(auroc)),
    ]
    coupled, effective = coupling(positive_N, negative_NM, tau)
    found.append(measured(f"npc.{name}", resampler.mean(coupled)))
    if negative_NM.shape[1] > 1:
        found += [
            measured(f"top1.{name}", resampler.mean(top1)),
            measured(f"mrr.{name}", resampler.mean(mrr)),
            measured(f"effective_negatives.{name}", resampler.mean(effective)),
        ]
    return found


def around_their_mean(positive_N: np.ndarray, negative_NM: np.ndarray) -> tuple[FloatArray, FloatArray]:
    """Both less the mean of the negatives, since an offset would drown the spread in the rounding of its square.

    In float64; all 0 where they differ by the rounding of their own type alone.
    """
    center = float(np.nanmean(negative_NM, dtype=np.float64))
    positive, negative = positive_N.astype(np.float64) - center, negative_NM.astype(np.float64) - center
    farthest = max(float(np.nanmax(np.abs(positive))), float(np.nanmax(np.abs(negative))))
    if farthest <= np.finfo(positive_N.dtype).eps * abs(center):
        return np.zeros_like(positive), np.zeros_like(negative)
    return positive, negative


def _standardised(means: FloatArray) -> FloatArray:
    """Gap over the pooled standard deviation, from the means of E₋, E₋², E₊, E₊²; 0 where all energies are one."""
    negative, positive = means[..., 0], means[..., 2]
    variance = (means[..., 1] - negative**2 + means[..., 3] - positive**2) / 2
    # below this the difference of two large squares is rounding
    rounding = 1e-12 * (means[..., 1] + means[..., 3])
    safe = np.where(variance > rounding, variance, 1.0)
    return np.asarray(np.where(variance > rounding, (negative - positive) / np.sqrt(safe), 0.0))


def _histograms(energies: dict[str, np.ndarray]) -> tuple[Distribution, ...]:
    edges = histogram_edges(list(energies.values()))
    return tuple(
        Distribution(
            f"energy.{name}",
            "energy",
            tuple(edges.tolist()),
            tuple(int(c) for c in np.histogram(v[np.isfinite(v)], edges)[0]),
        )
        for name, v in energies.items()
    )


PROBE = Probe("separation", _measure)
