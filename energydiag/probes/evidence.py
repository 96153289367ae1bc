"""What the probes look at, computed once and only when a probe asks for it.

Shapes: N samples, K swap sets, C contexts in a set, M negatives per sample, H action steps, A action dimensions.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.gradients import ActionGradients, ParameterGradients, parameter_gradients
from energydiag.energies.memory import DEFAULT_BUDGET
from energydiag.energies.pairs import Pairs
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import HeadReading, read_head
from energydiag.negatives.source import sources
from energydiag.negatives.swap import swap_sets
from energydiag.probes.context_pass import ContextPass
from energydiag.probes.finite import nonfinite_samples
from energydiag.probes.unused_modules import entered_modules, unused_modules
from energydiag.results import Skipped
from energydiag.statistics import Resampler


@dataclass(frozen=True)
class MeasuringSettings:
    """What decides the measurements besides model and batch.

    Attributes:
        tau: Temperature of the InfoNCE loss.
        swap_size: C, contexts in a swap set.
        seed: Of swap sets, noise and resampling.
        memory_budget: Bytes that intermediate results may take.
    """

    tau: float = 0.5
    swap_size: int = 64
    seed: int = 0
    memory_budget: int = DEFAULT_BUDGET


@dataclass(frozen=True)
class SwapTables:
    """Every context of a set with every expert action of the set.

    Attributes:
        index: Sample at every place, ``[K, C]``.
        energy: ``[K, C, C]``; the diagonal holds the positives.
        inner: What the head's activation was given, ``[K, C, C, …]``, or None where there is no activation.
    """

    index: Tensor
    energy: Tensor
    inner: Tensor | None

    @property
    def positive(self) -> Tensor:
        """Energies of the expert's actions, ``[K·C]``."""
        return self.energy.diagonal(dim1=1, dim2=2).reshape(-1)

    @property
    def negative(self) -> Tensor:
        """Energies of the others' actions, ``[K·C, C−1]``."""
        sets, size, _ = self.energy.shape
        others = ~torch.eye(size, dtype=torch.bool)
        return self.energy[:, others].reshape(sets * size, size - 1)


_Own = tuple[Tensor, Mapping[str, int], tuple[Skipped, ...]]
"""Every sample's own candidates ``[N, 1 + M, H, A]``, the expert's action and every source's negatives; how many there
are of each source, and the sources that this dump cannot feed."""


@dataclass(frozen=True)
class _Pass:
    """What one pass over the contexts of a batch told.

    Attributes:
        sets: Which samples meet which, ``[K, C]``.
        own: Makes the samples' own candidates.
        contexts: The pass.
    """

    sets: Tensor
    own: Callable[[], _Own]
    contexts: ContextPass

    def tables(self) -> SwapTables:
        """Energies over the swap sets."""
        found = [table.reshape(*self.sets.shape, *table.shape[1:]) for table in self.contexts.swap.whole()]
        return SwapTables(self.sets, found[0], found[1] if len(found) > 1 else None)


class Evidence:
    """One model on one batch; each property is computed at its first use.

    Args:
        energy: The function in eval mode.
        batch: Samples without non-finite values or contexts that are all hidden. Those that have energies that are not
            finite are left out of what is measured.
        whole: The batch as it was dumped, for the probes of the data.
        settings: See `MeasuringSettings`.
    """

    def __init__(self, energy: EnergyFunction, batch: Batch, whole: Batch, settings: MeasuringSettings) -> None:
        self.energy = energy
        self.given = batch
        self.whole = whole
        self.settings = settings

    @functools.cached_property
    def broken(self) -> Tensor:
        """Which samples of the batch that was given have an energy that is not finite, ``[N]`` bool."""
        try:
            swap, own = self.asked
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whoever asks for the energies themselves is told why there are none
            return torch.zeros(len(self.given), dtype=torch.bool)
        return nonfinite_samples(swap.energy, swap.index, own[:, 0])

    @functools.cached_property
    def batch(self) -> Batch:
        """The samples that are measured: those with finite energies, where these are the most; else all."""
        whole = ~self.broken
        if bool(whole.all()) or int(whole.sum()) < max(2, len(whole) / 2):
            return self.given
        return self.given.select(torch.nonzero(whole).reshape(-1))

    def _generator(self, purpose: int) -> torch.Generator:
        return torch.Generator().manual_seed(self.settings.seed * 1009 + purpose)

    @functools.cached_property
    def reading(self) -> HeadReading:
        """What stands at the end of the model."""
        return read_head(self.energy, self._some.hidden, self._some.actions, self._some.pad_mask)

    @functools.cached_property
    def _some(self) -> Pairs:
        """The first two samples with the expert's actions."""
        some = self.given.take(torch.arange(min(2, len(self.given))))
        return Pairs(some.hidden, some.actions, some.pad_mask, shared=True).to(self.energy.device, self.energy.dtype)

    @functools.cached_property
    def _entered(self) -> tuple[tuple[str, ...], Tensor]:
        return entered_modules(self.energy, self._some)

    @property
    def entered(self) -> tuple[str, ...]:
        """Names of modules in the order in which a forward pass enters them."""
        return self._entered[0]

    @functools.cached_property
    def unused(self) -> frozenset[str]:
        """Names of modules that take no part in the energy; none where the model does not run."""
        try:
            return unused_modules(self.energy, self._some, *self._entered)
        except torch.OutOfMemoryError:
            raise
        except Exception:  # whoever asks for energies is told
            return frozenset()

    def _pass_over(self, batch: Batch) -> _Pass:
        sets = swap_sets(len(batch), self.settings.swap_size, self._generator(1))
        own = functools.cache(lambda: self._candidates(batch))
        budget = self.settings.memory_budget
        return _Pass(sets, own, ContextPass(self.energy, batch, sets, lambda: own()[0], self.reading, budget))

    @functools.cached_property
    def _first(self) -> _Pass:
        return self._pass_over(self.given)

    @functools.cached_property
    def _contexts(self) -> _Pass:
        return self._first if self.batch is self.given else self._pass_over(self.batch)

    @property
    def batching(self) -> str | None:
        """Why pairs are computed row by row, or None where they are batched."""
        return self._first.contexts.reason

    @property
    def asked(self) -> tuple[SwapTables, Tensor]:
        """What all samples that were given answered, finite or not: swap tables, and the own candidates' ``[N, M]``."""
        return self._first.tables(), self._first.contexts.own.whole()[0]

    @functools.cached_property
    def swap(self) -> SwapTables:
        """Energies over the swap sets."""
        return self._contexts.tables()

    @property
    def positive(self) -> Tensor:
        """Energies of the expert's actions for all samples, ``[N]``."""
        return self._contexts.contexts.own.whole()[0][:, 0]

    @property
    def by_source(self) -> tuple[Mapping[str, Tensor], tuple[Skipped, ...]]:
        """Energies ``[N, M]`` of each source's negatives, and the sources that this dump cannot feed."""
        _, counts, skipped = self._contexts.own()
        energies = torch.split(self._contexts.contexts.own.whole()[0], [1, *counts.values()], dim=1)
        return dict(zip(counts, energies[1:], strict=True)), skipped

    @property
    def expert_gradient(self) -> ActionGradients:
        """Energies and dE/da at the expert's actions, with one candidate per sample."""
        return ActionGradients(*self._contexts.contexts.slope.whole())

    def _candidates(self, batch: Batch) -> _Own:
        made: dict[str, Tensor] = {}
        skipped = []
        for number, source in enumerate(sources().values()):
            reason = source.lacks(batch)
            if reason:
                skipped.append(Skipped(f"separation.{source.name}", reason))
                continue
            made |= source.make(batch, self._generator(100 + number))
        together = torch.cat([batch.actions[:, None], *made.values()], dim=1)
        return together, {name: value.shape[1] for name, value in made.items()}, tuple(skipped)

    @functools.cached_property
    def parameter_gradient(self) -> ParameterGradients:
        """Gradients of the swap loss on the first swap set."""
        part = self.batch.take(self.swap.index[0])
        pairs = Pairs(part.hidden, part.actions, part.pad_mask, shared=True).to(self.energy.device, self.energy.dtype)
        return parameter_gradients(self.energy, pairs, self.settings.tau)

    @functools.cached_property
    def all_samples(self) -> Resampler:
        """Draws for statistics over the N samples."""
        return Resampler(self.batch.groups.numpy(), self.settings.seed)

    @functools.cached_property
    def swap_samples(self) -> Resampler:
        """Draws for statistics over the K·C contexts of the swap sets."""
        return Resampler(self.batch.groups[self.swap.index.reshape(-1)].numpy(), self.settings.seed)

    @functools.cached_property
    def gradient_samples(self) -> Resampler:
        """Draws for statistics over the C contexts of the first swap set."""
        return Resampler(self.batch.groups[self.swap.index[0]].numpy(), self.settings.seed)

    def require_finite(self) -> None:
        """Raises ValueError where energies are not finite: nothing else can then be measured."""
        broken = 1 - float(torch.isfinite(self.swap.energy).float().mean())
        if broken:
            raise ValueError(f"{broken:.0%} of the energies are not finite")


def histogram_edges(values: list[np.ndarray], bins: int = 60) -> np.ndarray:
    """``bins`` equal bins from the lowest to the highest finite value; a constant gets a bin around it."""
    together = np.concatenate([np.asarray(v, dtype=np.float64).ravel() for v in values])
    together = together[np.isfinite(together)]
    low, high = (float(together.min()), float(together.max())) if len(together) else (0.0, 1.0)
    if high - low <= 1e-12 * max(abs(low), abs(high), 1e-12):
        margin = max(abs(low) * 1e-3, 1e-6)
        low, high = low - margin, high + margin
    return np.linspace(low, high, bins + 1)
