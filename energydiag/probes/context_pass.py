"""All that is asked of every sample's context, in one pass over them: each context's work is done once for it.

Shapes: N samples, K swap sets, C contexts in a set, M candidates of a sample's own, H action steps, A dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.energies.gradients import action_gradients
from energydiag.energies.memory import run_in_pieces
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import each_context_once, pair_table
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import HeadReading, with_activation_input
from energydiag.precision import kept
from energydiag.probes.filling import Filling


class ContextPass:
    """What the pass found; a part that cannot be had raises its own reason when it is asked for.

    Args:
        energy: What is asked, in eval mode.
        batch: N samples.
        sets: Which samples meet which, ``[K, C]``, none twice; a sample may be in none.
        own: Gives the candidates that each sample meets alone, ``[N, M, H, A]``, the expert's action first.
        reading: What stands at the end of the model.
        memory_budget: Bytes that intermediate results may take.

    Attributes:
        swap: Energies of a set's actions in a set's contexts ``[K·C, C]``, in the sets' order, and what the head's
            activation was given there, if there is one.
        own: Energies ``[N, M]``.
        slope: Energies ``[N, 1]`` and dE/da ``[N, 1, H, A]`` at the expert's actions.
        reason: Why pairs are computed row by row, or None where they are batched.
    """

    def __init__(
        self,
        energy: EnergyFunction,
        batch: Batch,
        sets: Tensor,
        own: Callable[[], Tensor],
        reading: HeadReading,
        memory_budget: int,
    ) -> None:
        self.swap, self.own, self.slope = Filling(sets.numel()), Filling(len(batch)), Filling(len(batch))
        self.reason: str | None = None
        self._energy, self._own, self._budget = energy, own, memory_budget
        self._energies = with_activation_input(energy, reading)
        for number, members in enumerate(sets):
            self._ask(batch, members, number)
        in_none = torch.ones(len(batch), dtype=torch.bool)
        in_none[sets] = False
        if in_none.any():
            self._ask(batch, torch.nonzero(in_none).reshape(-1), None)

    def _ask(self, batch: Batch, members: Tensor, number: int | None) -> None:
        """One set's contexts; samples without a number are in no set."""
        part = batch.take(members)
        pairs = Pairs(part.hidden, part.actions, part.pad_mask, shared=True)

        def run(piece: slice) -> None:
            chunk = pairs.rows(piece).to(self._energy.device, self._energy.dtype)
            rows = members[piece]
            with each_context_once(self._energy, chunk):
                if number is not None:
                    first = number * len(members)
                    places = slice(first + piece.start, first + min(piece.stop, len(members)))
                    self.swap.put(places, lambda: self._swap_table(chunk))
                self.own.put(rows, lambda: self._own_energies(chunk, self._own()[rows]))
                self.slope.put(rows, lambda: self._slopes(chunk, part.actions[piece, None]))

        for _ in run_in_pieces(run, len(members), self._budget):
            pass

    def _swap_table(self, chunk: Pairs) -> tuple[Tensor, ...]:
        with torch.no_grad():
            table = pair_table(self._energy, self._energies, chunk, None)
        self.reason = table.reason
        return kept(table.values[0]), *table.values[1:]

    def _own_energies(self, chunk: Pairs, candidates: Tensor) -> tuple[Tensor]:
        pairs = replace(chunk, actions=candidates.to(chunk.actions), shared=False)
        with torch.no_grad():
            table = pair_table(self._energy, lambda h, a, m: (self._energy(h, a, m),), pairs, None)
        return (kept(table.values[0]),)

    def _slopes(self, chunk: Pairs, experts: Tensor) -> tuple[Tensor, Tensor]:
        pairs = replace(chunk, actions=experts.to(chunk.actions), shared=False)
        found = action_gradients(self._energy, pairs, None)
        return kept(found.energy), kept(found.gradient)
