"""The mini-batch that is looked at again and again, and what is seen on it.

Shapes: n samples, S context tokens, D context width, H action steps, A action dimensions.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.batches import load_batch
from energydiag.batches.named import as_batch, checked, resolve
from energydiag.energies.descent import directions
from energydiag.energies.gradients import action_gradients
from energydiag.energies.memory import DEFAULT_BUDGET, PeakBytes
from energydiag.energies.pairs import Answers, Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.errors import InvalidBatch
from energydiag.heads import HeadActivation, HeadForm, Pooling
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import HeadReading, read_head, with_activation_input
from energydiag.monitor.undisturbed import undisturbed
from energydiag.monitor.user_hooks import has_forward_hooks, writes
from energydiag.negatives.noise import SIGMAS, noisy
from energydiag.probes.saturation import SATURATED_BELOW
from energydiag.training.validation import swap_ranks

_NOISE = SIGMAS[1]
_SEED = 602

Answer = TypeVar("Answer")

Given = Batch | str | Path | Mapping[str, Any]
"""What a user has in hand: a batch, the path of a dump, or tensors by the names that a dump uses."""


@dataclass(frozen=True)
class HeldOut:
    """Samples that stay the same for a whole run.

    Attributes:
        batch: At least two of them, on the CPU.
        beside: Where the field is looked at, ``[n, 1, H, A]``: the policy's actions, or the expert's with noise of .15.
    """

    batch: Batch
    beside: Tensor


def held_out_of(given: Given, most: int) -> HeldOut:
    """The samples to look at, spread evenly over the episodes.

    Args:
        given: See `Given`.
        most: At most so many samples are kept.

    Raises:
        InvalidBatch: Shapes do not fit each other, or fewer than two samples are usable.
        UnreadableFile: As `load_batch`.
    """
    batch = _batch(given)
    some = batch.take(batch.spread(most))
    some = replace(some, **{name: value.detach().cpu() for name, value in some.present().items()})
    broken, hidden = some.unusable()
    some = some.take((~broken & ~hidden).nonzero()[:, 0])
    if len(some) < 2:
        raise InvalidBatch(
            f"Of the held-out samples, {len(some)} can be used; two at least are needed.",
            "give samples with finite values and visible context tokens.",
        )
    generator = torch.Generator().manual_seed(_SEED)
    actions = noisy(some.actions, _NOISE, 1, generator) if some.policy_actions is None else some.policy_actions[:, None]
    return HeldOut(some, actions)


def _batch(given: Given) -> Batch:
    if isinstance(given, Batch):
        return given
    if isinstance(given, str | Path):
        return load_batch(given)
    where = "the held-out batch"
    named, unknown = resolve({key: _tensor(value) for key, value in given.items() if value is not None}, where)
    if unknown:
        raise InvalidBatch(f"{where} holds `{unknown[0]}`, which means nothing in a dump.", "leave it out.")
    return as_batch(checked(named, where))


def _tensor(value: Any) -> Any:
    return value if isinstance(value, Tensor | list | tuple) else torch.as_tensor(value)


class Looker:
    """One energy function on the same samples, again and again.

    How the head ends, and how much memory a look takes, is found out once: later looks are made in one piece, without
    being watched, where that fits.

    Args:
        energy: The function; its module is to be in eval mode whenever something is asked.
        held_out: The samples.
    """

    def __init__(self, energy: EnergyFunction, held_out: HeldOut) -> None:
        self._energy = energy
        self._held_out = held_out
        self._budgets: dict[str, int | None] = {}

    @functools.cached_property
    def reading(self) -> HeadReading:
        """What stands at the end of the module."""
        pairs = self._two()
        return read_head(self._energy, pairs.hidden, pairs.actions, pairs.pad_mask)

    def assumed_sign(self) -> str:
        """What is assumed of the energy's sign, in words, the first time; see `EnergyFunction.with_sign`."""
        pairs = self._two()
        self._energy, assumed = self._energy.with_sign(pairs.hidden, pairs.actions, pairs.pad_mask)
        return assumed

    def _two(self) -> Pairs:
        """Two samples, where and as the module wants them."""
        some = self._held_out.batch.take(torch.arange(2))
        return Pairs(some.hidden, some.actions, some.pad_mask, shared=True).to(self._energy.device, self._energy.dtype)

    @functools.cached_property
    def needs_hooks(self) -> bool:
        """Whether the user's forward hooks change the energy; those that do not, or that raise, are left out."""
        module, pairs = self._energy.module, self._two()
        if not has_forward_hooks(module):
            return False

        def energies() -> Tensor:
            with torch.no_grad():
                return self._energy(pairs.hidden, pairs.actions, pairs.pad_mask)

        with undisturbed(module):
            try:
                found, wrote = writes(module, energies)
            except Exception:  # what a user's hook raises may be anything
                return False
        with undisturbed(module, with_hooks=False):
            try:
                return wrote or not torch.equal(found, energies())
            except Exception:  # the module needs them
                return True

    @property
    def known_reading(self) -> HeadReading | None:
        """The same if it was asked for before, else None."""
        return self.__dict__.get("reading")

    def separation(self) -> dict[str, float]:
        """Energies of every sample's action in every sample's context, and how much slope the head has left there.

        ``saturation`` is left out where the head's slope is not known.

        Raises:
            ModelFailed: The module raised, or answered with something that is no energy.
        """
        batch, reading = self._held_out.batch, self.reading

        def run(pairs: Pairs, budget: int | None) -> Answers:
            with torch.no_grad():
                return pair_table(self._energy, with_activation_input(self._energy, reading), pairs, budget).values

        values = self._in_memory("separation", run, Pairs(batch.hidden, batch.actions, batch.pad_mask, shared=True))
        table = values[0].cpu().double()
        own = torch.eye(len(batch), dtype=torch.bool)
        positive, negative = float(table[own].mean()), float(table[~own].mean())
        auroc, top1 = swap_ranks(table)
        found = {
            "energy_positive": positive,
            "energy_negative": negative,
            "gap": negative - positive,
            "auroc": auroc,
            "top1": top1,
            "nonfinite_energies": float((~torch.isfinite(table)).double().mean()),
        }
        if reading.activation is None and not reading.stopped_at:
            found["saturation"] = 0.0
        elif reading.activation is not None and reading.activation.relative_slope is not None and len(values) > 1:
            flat = reading.activation.relative_slope(values[1]) < SATURATED_BELOW
            finite = bool(torch.isfinite(values[1]).all())
            found["saturation"] = float(flat.double().mean()) if finite else math.nan
        return found

    def alignment(self) -> dict[str, float]:
        """Mean cosine of −∇E with the way to the expert's action; a gradient of exactly zero counts as 0.

        Raises:
            ModelFailed: As `separation`.
        """
        batch, beside = self._held_out.batch, self._held_out.beside

        def run(pairs: Pairs, budget: int | None) -> Tensor:
            return action_gradients(self._energy, pairs, budget).gradient

        gradient = self._in_memory("alignment", run, Pairs(batch.hidden, beside, batch.pad_mask, shared=False))
        way = (batch.actions[:, None] - beside).double()
        cosine = -(directions(gradient.cpu().double()) * directions(way)).flatten(1).sum(dim=1)
        return {"alignment": float(cosine.mean())}

    def _in_memory(self, name: str, run: Callable[[Pairs, int | None], Answer], pairs: Pairs) -> Answer:
        """Asks for all pairs in one piece if one context's share, times their number, is within the memory budget."""
        if name in self._budgets:
            return run(pairs, self._budgets[name])
        answer = run(pairs, DEFAULT_BUDGET)
        with PeakBytes() as watch:
            run(pairs.rows(slice(0, 1)), None)
        self._budgets[name] = None if watch.peak * pairs.contexts <= DEFAULT_BUDGET else DEFAULT_BUDGET
        return answer


def head_kind(reading: HeadReading) -> str | None:
    """The name of the published head that a module's own is like, else its formula; None where it is like none."""
    found = reading.activation
    if reading.stopped_at:
        return None
    if found is None:
        return "linear"
    scale, inner, offset = abs(reading.scale), abs(reading.inner_scale), reading.offset
    if found.name == "tanh":  # tanh(u) = 2·sigmoid(2·u) − 1
        scale, inner, offset = 2 * scale, 2 * inner, offset - scale
    elif found.outer not in ("sigmoid", "softplus"):
        return None
    if found.clip is not None:
        inner = 1.0 if math.isclose(inner * found.clip, 1.0) else inner * found.clip
    outer = "sigmoid" if found.name == "tanh" else found.outer
    pool: Pooling = {"before": "raw", "after": "energy"}.get(reading.pooled, "features")  # type: ignore[assignment]
    return HeadForm(HeadActivation(outer, scale, inner, offset, found.clip), pool).name
