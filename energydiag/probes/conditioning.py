"""What the energy listens to: the context, the action, and every direction of the action.

All effects are mean absolute changes of E over the standard deviation of E over all swap pairs; a* is the expert's
action, h its context. On at most 256 samples, except where the swap tables hold the energies already.

* ``conditioning.context_use``: mean |E(h', a*) − E(h, a*)| over the other contexts h' of the swap set, and
  ``conditioning.action_use``: mean |E(h, a') − E(h, a*)| over the other actions. 0 where E ignores the context, or the
  action. ``conditioning.interaction``: root mean square of what is left of a swap table when the means of its rows and
  of its columns are taken away. An energy f(h) + g(a) has none: both matter, but the context cannot change which action
  is the best.
* ``conditioning.blind.*``: a* changed in one way: ``scale`` (× 1.3), ``shift`` (all values + 0.3 standard deviations),
  ``permutation`` (steps backwards), ``sign`` (− a*). ``conditioning.blind.min`` is the smallest of them.
  ``conditioning.blind.NAME.against_noise`` is the effect over that of Gaussian noise that is as long in every sample: 1
  for a direction like any other, 0 for one that is not seen. A LayerNorm directly over the raw action hides scale and
  shift.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import energy_table
from energydiag.probes.attempt import attempt
from energydiag.probes.effects import CONSTANT, MOST_SAMPLES, energy_spread
from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe, joined, measured
from energydiag.results import Measurement, Skipped
from energydiag.statistics import FloatArray, Resampler

SCALE = 1.3
SHIFT = 0.3
"""In standard deviations of the actions: about as far as the scale goes (a guess)."""

_SEED = 601


def _measure(evidence: Evidence) -> Answer:
    evidence.require_finite()
    spread = energy_spread(evidence.swap.energy)
    if spread == 0:
        ignored = tuple(
            Measurement.of(f"conditioning.{name}", 0.0, evidence.swap.positive.shape[0])
            for name in ("context_use", "action_use", "interaction")
        )
        return Answer(ignored, skipped=(Skipped("conditioning", CONSTANT),))
    blind = attempt(("conditioning.blind.min",), lambda: _blind(evidence, spread))
    return joined((_use(evidence, spread), blind))


def _use(evidence: Evidence, spread: float) -> Answer:
    context_use, action_use = shuffling_effects(evidence.swap.energy)
    left = interaction_squares(evidence.swap.energy)
    resampler = evidence.swap_samples
    strength = resampler.of_means(left[:, None], lambda m: np.sqrt(m[..., 0]) / spread)
    return Answer(
        (
            measured("conditioning.context_use", resampler.mean(context_use / spread)),
            measured("conditioning.action_use", resampler.mean(action_use / spread)),
            measured("conditioning.interaction", strength),
        )
    )


def shuffling_effects(energy_KCC: Tensor) -> tuple[FloatArray, FloatArray]:
    """Mean absolute change of a sample's energy over all other contexts and over all other actions, ``[K·C]`` each."""
    table = energy_KCC.double()
    own = table.diagonal(dim1=1, dim2=2)
    others = table.shape[1] - 1
    by_context = (table - own[:, None, :]).abs().sum(dim=1) / others
    by_action = (table - own[:, :, None]).abs().sum(dim=2) / others
    return by_context.reshape(-1).numpy(), by_action.reshape(-1).numpy()


def interaction_squares(energy_KCC: Tensor) -> FloatArray:
    """Mean square, over the actions, of E without the means of its row and its column, for every context, ``[K·C]``."""
    table = energy_KCC.double()
    left = (
        table
        - table.mean(dim=1, keepdim=True)
        - table.mean(dim=2, keepdim=True)
        + table.mean(dim=(1, 2))[:, None, None]
    )
    squares: FloatArray = left.square().mean(dim=2).reshape(-1).numpy()
    return squares


def changed_actions(actions: Tensor) -> dict[str, Tensor]:
    """The actions ``[n, H, A]`` or ``[n, A]`` changed in one way each, by its name."""
    changed = {
        "scale": SCALE * actions,
        "shift": actions + SHIFT * float(actions.double().std(correction=0)),
        "sign": -actions,
    }
    if actions.dim() == 3 and actions.shape[1] > 1:
        changed["permutation"] = actions.flip(1)
    return changed


def as_long_noise(way: Tensor, generator: torch.Generator) -> Tensor:
    """Gaussian noise ``[n, …]`` with the Euclidean length that each sample of ``way [n, …]`` has."""
    noise = torch.randn(way.shape, generator=generator)
    factor: Tensor = way.flatten(1).norm(dim=1) / noise.flatten(1).norm(dim=1)
    return noise * factor.reshape(-1, *[1] * (way.dim() - 1))


def _blind(evidence: Evidence, spread: float) -> Answer:
    part = evidence.batch.select(evidence.batch.spread(MOST_SAMPLES))
    actions = part.actions
    changed = changed_actions(actions)
    generator = torch.Generator().manual_seed(evidence.settings.seed * 1009 + _SEED)
    noisy = [actions + as_long_noise(other - actions, generator) for other in changed.values()]
    candidates = torch.stack([actions, *changed.values(), *noisy], dim=1)
    pairs = Pairs(part.hidden, candidates, part.pad_mask, shared=False)
    energy = energy_table(evidence.energy, pairs, evidence.settings.memory_budget)
    effect = (energy[:, 1:] - energy[:, :1]).abs().numpy() / spread
    resampler = Resampler(part.groups.numpy(), evidence.settings.seed)
    found, compared, skipped = [], [], []
    for i, name in enumerate(changed):
        found.append(measured(f"conditioning.blind.{name}", resampler.mean(effect[:, i])))
        columns = effect[:, [i, i + len(changed)]]
        if columns[:, 1].any():
            ratio = resampler.of_means(columns, lambda m: m[..., 0] / np.where(m[..., 1] > 0, m[..., 1], np.nan))
            compared.append(measured(f"conditioning.blind.{name}.against_noise", ratio))
        else:
            reason = "noise of this length does not change the energy either"
            skipped.append(Skipped(f"conditioning.blind.{name}.against_noise", reason))
    if "permutation" not in changed:
        skipped.append(Skipped("conditioning.blind.permutation", "the actions have no steps"))
    least = min(found, key=lambda m: m.value)
    return Answer((*found, *compared, replace(least, name="conditioning.blind.min")), skipped=tuple(skipped))


PROBE = Probe("conditioning", _measure)
