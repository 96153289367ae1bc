"""What can be said of the batch itself, without any model: its size, broken values, padding, scales, wrong pairs.

``data.nonfinite_fraction`` and ``data.all_padded_fraction`` are shares of samples; these samples are left out of every
other measurement, here too. ``data.padding_fraction`` is the share of context tokens that are hidden.

* ``data.policy_error``: mean absolute difference between the policy's action and the expert's, in action units.
* ``data.false_negative_rate``: share of swap pairs (an expert's action and that of another sample) that differ less,
  mean absolute, than the policy's action does from the expert's on average. InfoNCE pushes these apart although the
  policy could not tell them apart. All pairs of at most 1024 samples are counted.
* ``data.duplicate_rate``: share of samples whose visible context and action repeat an earlier sample's bit for bit;
  ``data.duplicate_contexts``: the same for the context alone.
* ``data.constant_dimensions``: action dimensions whose standard deviation, over samples and steps, is below a millionth
  of the largest absolute action. ``data.dimension_scale_ratio``: the largest standard deviation of an action dimension
  over the median one, constant dimensions left out.
* ``data.context_rms``: root mean square of the visible context values. ``data.context_scale_ratio``: the largest
  standard deviation of a context dimension, over samples and visible tokens, over the median one; the largest of many
  has no honest bootstrap interval, so it has none. Both on at most 256 samples.
* ``data.chunk_overlap_error``: where two samples of an episode are s < H steps apart, their chunks share H − s actions;
  the mean absolute difference of those, over the standard deviation of the actions. 0 where chunks were cut from one
  recording and ``step`` counts what the chunk counts. A shift that all chunks share is not seen here.
* ``data.chunk_misalignment`` and ``data.chunk_lag``: whether the expert's chunk begins when the policy's does. Both
  are standardized by dimension, so that other units, offsets and signs make no difference. The first is how much
  smaller the policy's error becomes when the expert's chunk is moved by one step (``.late``: it lags behind,
  ``.early``: it runs ahead; the larger of the two). The second is by how many steps the expert's chunk lags behind
  the policy's, from the least-squares weights w of ``policy[t] ≈ Σ w[s]·expert[t + s]``, s from −2 to 2: ``Σ s·w[s] /
  Σ w[s]``; a policy that is smooth has its weights on both sides of 0. ``data.chunk_lag.between`` is the weight of
  step 0, less that beyond one step on the side of the lag, over the sum: above 0 for a policy that lags by a part of
  a step.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from torch import Tensor

from energydiag.batch import Batch, blocks
from energydiag.losses import false_negatives
from energydiag.probes.chunks import misalignment
from energydiag.probes.duplicates import context_keys, equals, numbered, repeats, row_keys
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, measured, with_source
from energydiag.results import Measurement, Skipped
from energydiag.statistics import FloatArray, Resampler

MOST_PAIRED = 1024
"""Samples whose pairs are counted as false negatives: half a million pairs."""

MOST_SCALED = 256
"""Samples whose contexts are read for their scale."""

CONSTANT_BELOW = 1e-6
"""Standard deviation of a constant dimension, relative to the largest absolute action (a guess: float32 rounding)."""

_TABLE_BYTES = 1 << 26
"""Bytes of contexts that are converted to float64 at once."""


def data_answer(batch: Batch, seed: int) -> Answer:
    """Every measurement of the data alone.

    Args:
        batch: As it was dumped.
        seed: Of resampling.
    """
    nonfinite, all_hidden = batch.unusable()
    usable = torch.nonzero(~(nonfinite | all_hidden)).reshape(-1)
    sizes = _sizes(batch, nonfinite, all_hidden, seed)
    if len(usable) == 0:
        return Answer(tuple(sizes), skipped=(Skipped("data.policy_error", "no sample can be used"),))
    fine = batch.select(usable)
    resampler = Resampler(fine.groups.numpy(), seed)
    parts = (
        _false_negatives(fine, seed),
        _duplicates(fine, resampler),
        _action_scales(fine, resampler),
        _context_scales(fine, seed),
        misalignment(fine, resampler),
        _overlap(fine, resampler),
    )
    return Answer(
        (*sizes, *(m for part in parts for m in part.measurements)),
        skipped=tuple(s for part in parts for s in part.skipped),
    )


def _sizes(batch: Batch, nonfinite: Tensor, all_hidden: Tensor, seed: int) -> list[Measurement]:
    count, actions = len(batch), batch.actions.shape
    facts = {
        "data.samples": count,
        "data.episodes": len(torch.unique(batch.groups)),
        "data.steps": actions[1] if len(actions) == 3 else 1,
        "data.action_dimensions": actions[-1],
        "data.context_tokens": batch.hidden.shape[1] if batch.hidden.dim() == 3 else 1,
        "data.nonfinite_fraction": float(nonfinite.float().mean()),
        "data.all_padded_fraction": float(all_hidden.float().mean()),
    }
    found = [Measurement.of(name, float(value), count) for name, value in facts.items()]
    if batch.pad_mask is not None:
        share = torch.cat([mask.float().mean(dim=1) for mask in blocks(batch.pad_mask)]).numpy()
        found.append(measured("data.padding_fraction", Resampler(batch.groups.numpy(), seed).mean(share)))
    return found


def _false_negatives(batch: Batch, seed: int) -> Answer:
    names = ("data.policy_error", "data.false_negative_rate")
    if batch.policy_actions is None:
        return _none(names, "the dump has no `policy_actions`")
    error = (batch.policy_actions - batch.actions).abs().flatten(1).mean(dim=1)
    found = [measured(names[0], Resampler(batch.groups.numpy(), seed).mean(error.numpy()))]
    if len(batch) < 2:
        return Answer(tuple(found), skipped=(Skipped(names[1], "one sample has no swap pairs"),))
    some = batch.spread(MOST_PAIRED)
    near = false_negatives(batch.actions[some], float(error.mean()))
    share = near.sum(dim=1).double() / (len(some) - 1)
    found.append(measured(names[1], Resampler(batch.groups[some].numpy(), seed).mean(share.numpy())))
    return Answer(tuple(found))


def _duplicates(batch: Batch, resampler: Resampler) -> Answer:
    contexts, actions = context_keys(batch), row_keys(batch.actions)
    pairs = [context + action for context, action in zip(contexts, actions, strict=True)]
    named = {"data.duplicate_rate": pairs, "data.duplicate_contexts": contexts}
    found = [measured(name, resampler.mean(repeats(numbered(keys)).astype(np.float64))) for name, keys in named.items()]
    if len(batch) > 1:
        elsewhere = equals(numbered(actions)) - equals(numbered(pairs))
        found.append(measured("data.repeated_actions", resampler.mean(elsewhere / (len(batch) - 1))))
        found.append(Measurement.of("data.distinct_actions", float(len(set(actions))), len(batch)))
    return Answer(tuple(found))


def _action_scales(batch: Batch, resampler: Resampler) -> Answer:
    actions = batch.actions.double().reshape(len(batch), -1, batch.actions.shape[-1])
    deviation = actions.flatten(0, 1).std(dim=0, correction=0)
    varying = deviation > CONSTANT_BELOW * actions.abs().max()
    constant = Measurement.of("data.constant_dimensions", float((~varying).sum()), len(batch))
    if not bool(varying.any()):
        return Answer((constant,), skipped=(Skipped("data.dimension_scale_ratio", "every dimension is constant"),))
    centred = actions[:, :, varying] - actions[:, :, varying].mean(dim=(0, 1))
    moments = torch.cat((centred.mean(dim=1), centred.square().mean(dim=1)), dim=1).numpy()
    ratio = measured("data.dimension_scale_ratio", resampler.of_means(moments, _largest_over_median))
    return Answer((constant, ratio))


def _largest_over_median(means: FloatArray) -> FloatArray:
    """Of the standard deviations of k dimensions, from the means of their k values and their k squares."""
    dimensions = means.shape[-1] // 2
    deviation = np.sqrt(np.maximum(means[..., dimensions:] - means[..., :dimensions] ** 2, 0))
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(deviation.max(axis=-1) / np.median(deviation, axis=-1))


def _context_scales(batch: Batch, seed: int) -> Answer:
    part = batch.select(batch.spread(MOST_SCALED))
    width = part.hidden.shape[-1]
    counts, sums, squares, own = [], torch.zeros(width).double(), torch.zeros(width).double(), []
    for values, seen in _visible(part):
        of_sample = values.square().sum(dim=1)
        counts.append(seen * width)
        own.append(of_sample.sum(dim=1))
        sums += values.sum(dim=(0, 1))
        squares += of_sample.sum(dim=0)
    values_n, squares_n = torch.cat(counts), torch.cat(own)
    rms = Resampler(part.groups.numpy(), seed).of_means(
        torch.stack((squares_n, values_n), dim=1).numpy(), lambda m: np.asarray(np.sqrt(m[..., 0] / m[..., 1]))
    )
    found = [measured("data.context_rms", rms)]
    tokens = float(values_n.sum()) / width
    deviation = (squares / tokens - (sums / tokens).square()).clamp_min(0).sqrt()
    middle = float(deviation.quantile(0.5))
    name = "data.context_scale_ratio"
    if middle == 0:
        return Answer(tuple(found), skipped=(Skipped(name, "half of the context's dimensions are constant"),))
    found.append(Measurement.of(name, float(deviation.max()) / middle, len(part)))
    return Answer(tuple(found))


def _visible(batch: Batch) -> Iterable[tuple[Tensor, Tensor]]:
    """Contexts ``[n, S, D]`` in float64, zero where hidden, and how many tokens are visible ``[n]``, in pieces."""
    rows = max(1, _TABLE_BYTES // (8 * batch.hidden[0].numel()))
    for start in range(0, len(batch), rows):
        values = batch.hidden[start : start + rows].double()
        values = values.reshape(len(values), -1, values.shape[-1])
        if batch.pad_mask is None:
            yield values, torch.full((len(values),), values.shape[1], dtype=torch.float64)
        else:
            mask = batch.pad_mask[start : start + rows]
            yield values.masked_fill(mask[:, :, None], 0), (~mask).sum(dim=1).double()


def _overlap(batch: Batch, resampler: Resampler) -> Answer:
    name = "data.chunk_overlap_error"
    if batch.episode is None or batch.step is None:
        return _none((name,), f"the dump has no `{'step' if batch.step is None else 'episode'}`")
    if batch.actions.dim() != 3 or batch.actions.shape[1] < 2:
        return _none((name,), "the actions have no steps")
    error = overlap_errors(batch.actions, batch.episode, batch.step)
    if not np.isfinite(error).any():
        return _none((name,), "no two samples of an episode are less than a chunk apart")
    spread = float(batch.actions.double().std(dim=(0, 1), correction=0).square().mean().sqrt())
    return Answer((measured(name, resampler.mean(error / spread if spread > 0 else error)),))


def overlap_errors(actions_NHA: Tensor, episode_N: Tensor, step_N: Tensor) -> FloatArray:
    """Mean absolute difference of what a sample's chunk and the next one of its episode both tell, ``[N]``.

    NaN where no later sample of the episode is less than H steps away.
    """
    order = torch.from_numpy(np.lexsort((step_N.numpy(), episode_N.numpy())))
    this, following = order[:-1], order[1:]
    apart = torch.where(episode_N[this] == episode_N[following], step_N[following] - step_N[this], 0)
    steps = actions_NHA.shape[1]
    error = np.full(len(order), np.nan)
    for lag in range(1, steps):
        here = apart == lag
        difference = actions_NHA[this[here], lag:] - actions_NHA[following[here], : steps - lag]
        error[this[here].numpy()] = difference.double().abs().mean(dim=(1, 2)).numpy()
    return error


def _none(names: Iterable[str], reason: str) -> Answer:
    return Answer(skipped=tuple(Skipped(name, reason) for name in names))


def measure_data(batch: Batch, seed: int) -> Answer:
    """`data_answer` as a diagnosis wants it: with its source, and values that are not finite as skipped."""
    return with_source(data_answer(batch, seed), "data")


def _measure(evidence: Evidence) -> Answer:
    return data_answer(evidence.whole, evidence.settings.seed)


PROBE = Probe("data", _measure)
