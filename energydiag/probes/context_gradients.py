"""What of the context decides between two actions: d(E(h, a') − E(h, a*))/dh, a' being another sample's action.

On at most 128 samples, spread over the episodes; the gradient of a sample is summed over its tokens.

* ``gradient.context.zero_fraction``: share of the samples in which it is exactly 0, so that no change of the context,
  however large its values, changes which action is better.
* ``gradient.context.effective_rank``: of these gradients, each brought to length 1: the exponential of the entropy of
  the singular values as shares of their sum (Roy and Vetterli 2007, eq. 2 to 4). It counts the directions of the
  context that the order of actions listens to: 1 where everything goes through one linear number.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.gradients import ranking_gradients
from energydiag.energies.pairs import Pairs
from energydiag.precision import kept
from energydiag.probes.activations import effective_rank
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured
from energydiag.results import Measurement, Skipped
from energydiag.statistics import Resampler

MOST_SAMPLES = 128


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    part = evidence.batch.select(evidence.batch.spread(MOST_SAMPLES))
    zero_n, summed_nD = _over_tokens(evidence, part)
    if not bool(torch.isfinite(summed_nD).all()):
        return Answer(skipped=(Skipped("gradient.context.zero_fraction", "some gradients are not finite"),))
    resampler = Resampler(part.groups.numpy(), evidence.settings.seed)
    zero = measured("gradient.context.zero_fraction", resampler.mean(zero_n.double().numpy()))
    rank = direction_rank(summed_nD)
    if rank is None:
        nothing = Skipped("gradient.context.effective_rank", "no context changes which action is better")
        return Answer((zero,), skipped=(nothing,))
    return Answer((zero, Measurement.of("gradient.context.effective_rank", rank, len(part))))


def _over_tokens(evidence: Evidence, part: Batch) -> tuple[Tensor, Tensor]:
    """Whether a sample's gradient is zero ``[n]``, and its sum over the tokens ``[n, D]``.

    A gradient is as large as its context in float32, and that of all samples may be larger than the memory.
    """
    actions = torch.stack((part.actions, part.actions.roll(1, dims=0)), dim=1)
    pairs = Pairs(part.hidden, actions, part.pad_mask, shared=False)
    size = 4 * math.prod(part.hidden.shape[1:])
    rows = max(1, evidence.settings.memory_budget // (4 * size))
    zero, summed = [], []
    for start in range(0, len(part), rows):
        some = pairs.rows(slice(start, start + rows))
        gradient = ranking_gradients(evidence.energy, some, evidence.settings.memory_budget)
        gradient = kept(gradient).cpu()
        zero.append(gradient.flatten(1).eq(0).all(dim=1))
        summed.append(gradient.flatten(1, -2).sum(dim=1) if gradient.dim() > 2 else gradient)
    return torch.cat(zero), torch.cat(summed)


def direction_rank(vectors_nD: Tensor) -> float | None:
    """Effective rank of the directions of some vectors, each counting the same; None where all of them are 0."""
    long = vectors_nD.double()
    norms = torch.linalg.vector_norm(long, dim=1)
    long = long[norms > 0] / norms[norms > 0, None]
    if not len(long):
        return None
    singular = torch.linalg.svdvals(long)
    rounding = torch.finfo(torch.float32).eps * max(long.shape) * float(singular[0])
    return effective_rank(singular, rounding)


PROBE = Probe("context gradients", _measure)
