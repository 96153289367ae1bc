"""Whether the expert's chunk begins at the step at which the policy's does.

What is measured, and how, stands in the documentation of the probe ``data``.

Shapes: N samples, H steps, A dimensions, W weights.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from energydiag.batch import Batch
from energydiag.probes.attempt import all_skipped
from energydiag.probes.probe import Answer, measured
from energydiag.results import Measurement
from energydiag.statistics import FloatArray, Resampler

NAMES = ("data.chunk_misalignment", "data.chunk_lag")

_REACH = 2
"""Steps to each side that have a weight: beyond, few steps of a chunk of eight are left to fit them on (a guess)."""

_RIDGE = 1e-6
"""Added to the squares of the expert's actions, relative to their mean: tells nothing apart, but can be inverted."""

_FOLLOWED = 0.05
"""Sum of the weights below which the policy does not follow the expert at all (a guess)."""


def misalignment(batch: Batch, resampler: Resampler) -> Answer:
    """The measurements of one batch with finite values.

    Args:
        batch: N samples.
        resampler: Of them.
    """
    if batch.policy_actions is None:
        return all_skipped(NAMES, "the dump has no `policy_actions`")
    if batch.actions.dim() != 3 or batch.actions.shape[1] < 2:
        return all_skipped(NAMES, "the actions have no steps")
    if bool((batch.policy_actions == batch.actions).all()):
        return all_skipped(NAMES, "the policy does exactly what the expert does")
    policy, expert = alike(batch.policy_actions.double().numpy(), batch.actions.double().numpy())
    if not expert.shape[2]:
        return all_skipped(NAMES, "no dimension varies in both the policy's and the expert's actions")
    falls = _falls(policy, expert, resampler)
    if not falls:
        return all_skipped(NAMES, "the policy does what the expert does, in other units")
    larger = max(falls, key=lambda m: m.value)
    fall = Measurement.of(NAMES[0], larger.value, larger.n, larger.ci95, draws=larger.draws)
    return Answer((fall, *falls, *_lag(policy, expert, resampler)))


def alike(policy_NHA: FloatArray, expert_NHA: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both standardized by dimension, without the dimensions that are constant in one of them, and with one sign."""
    (policy, moves), (expert, shown) = _standardized(policy_NHA), _standardized(expert_NHA)
    policy, expert = policy[:, :, moves & shown], expert[:, :, moves & shown]
    sign = np.where((policy * expert).mean(axis=(0, 1)) < 0, -1.0, 1.0)
    return policy * sign, expert


def _standardized(values_NHA: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    around = values_NHA - values_NHA.mean(axis=(0, 1))
    deviation = around.std(axis=(0, 1))
    varies = deviation > 1e-9 * np.abs(values_NHA).max(axis=(0, 1))
    return around / np.where(varies, deviation, 1.0), varies


def _falls(policy: FloatArray, expert: FloatArray, resampler: Resampler) -> list[Measurement]:
    sides = {
        "late": (policy[:, :-1], expert[:, :-1], expert[:, 1:]),
        "early": (policy[:, 1:], expert[:, 1:], expert[:, :-1]),
    }
    found = []
    for side, (own, there, moved) in sides.items():
        columns = np.stack([np.abs(own - other).mean(axis=(1, 2)) for other in (there, moved)], axis=1)
        if columns[:, 0].max() < 1e-9:
            return []
        fall = resampler.of_means(columns, lambda m: 1 - m[..., 1] / np.where(m[..., 0] > 0, m[..., 0], np.nan))
        found.append(measured(f"{NAMES[0]}.{side}", fall))
    return found


def _lag(policy: FloatArray, expert: FloatArray, resampler: Resampler) -> list[Measurement]:
    squares, products = normal_equations(policy, expert)
    count = products.shape[1]
    if count < 3:
        return []
    places = np.arange(count) - count // 2
    columns = np.concatenate((squares.reshape(len(squares), -1), products), axis=1)

    def lag(means: FloatArray) -> FloatArray:
        return _ratio(_weights(means, count), places)

    estimate = resampler.of_means(columns, lag)
    if not np.isfinite(estimate.value):
        return []
    side = places if estimate.value > 0 else -places
    between = (side == 0) * 1.0 - (side > 1) * 1.0
    beside = resampler.of_means(columns, lambda means: _ratio(_weights(means, count), between))
    return [measured(NAMES[1], estimate), measured(f"{NAMES[1]}.between", beside)]


def normal_equations(policy_NHA: FloatArray, expert_NHA: FloatArray) -> tuple[FloatArray, FloatArray]:
    """``(X'X [N, W, W], X'y [N, W])`` of every sample, each a mean over the inner steps and the dimensions."""
    steps = expert_NHA.shape[1]
    reach = min(_REACH, (steps - 1) // 2)
    inner = steps - 2 * reach
    moved = np.stack([expert_NHA[:, place : place + inner] for place in range(2 * reach + 1)], axis=3)
    own = policy_NHA[:, reach : reach + inner]
    entries = own[0].size
    squares = np.einsum("nhai,nhaj->nij", moved, moved) / entries
    return squares, np.einsum("nhai,nha->ni", moved, own) / entries


def _weights(means: FloatArray, count: int) -> FloatArray:
    """From the means of the normal equations, ``[…, W² + W]``, to weights ``[…, W]``."""
    squares = means[..., : count * count].reshape(*means.shape[:-1], count, count)
    ridge = _RIDGE * np.trace(squares, axis1=-2, axis2=-1)[..., None, None] / count
    found: FloatArray = np.linalg.solve(squares + ridge * np.eye(count), means[..., count * count :, None])[..., 0]
    return found


def _ratio(weights: FloatArray, factors: FloatArray) -> FloatArray:
    total = weights.sum(axis=-1)
    followed = total > _FOLLOWED
    return np.where(followed, (weights * factors).sum(axis=-1) / np.where(followed, total, 1.0), np.nan)
