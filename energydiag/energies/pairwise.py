"""Energies of many candidate actions per context: the public door to the measuring core."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from weakref import WeakKeyDictionary, WeakSet

import torch
from torch import Tensor, nn

from energydiag.energies.memory import DEFAULT_BUDGET
from energydiag.energies.pairs import Known, Pairs, PairTable, RowFunction, map_pairs
from energydiag.energies.remembered import remembered
from energydiag.models.energy_function import EnergyFunction

_CHECK_TOLERANCE = 1e-3
"""Largest difference, relative to the largest energy, before batching is called wrong; rounding stays below 1e-5."""

_CHECK_ROUNDINGS = 16
"""The same in units of the model's own rounding, which decides for half precision (a guess)."""

_why_rows: WeakKeyDictionary[nn.Module, str] = WeakKeyDictionary()
"""Why a module cannot be batched over pairs, or an empty text: found out once per module."""

_alone: WeakSet[nn.Module] = WeakSet()
"""Modules whose answer for one row depends on the other rows of a call: they get one row at a time."""

_known: WeakKeyDictionary[nn.Module, Known] = WeakKeyDictionary()
"""What need not be found out again."""

_CHECKED_PAIRS = 16
"""How many pairs, spread over the table, are compared with a plain call (a guess)."""


def pairwise_energies(
    model: nn.Module | EnergyFunction,
    hidden: Tensor,
    actions: Tensor,
    pad_mask: Tensor | None = None,
    memory_budget: int | None = DEFAULT_BUDGET,
) -> Tensor:
    """Energies of every candidate in every context.

    Args:
        model: Any module called as ``model(hidden, actions, pad_mask)`` that answers with ``[B]``. It is used in
            the mode it is in; dropout then draws anew for every pair.
        hidden: Contexts, ``[B, S, D]`` or ``[B, D]``.
        actions: Candidates, ``[N, H, A]`` (the same for all contexts) or ``[B, N, H, A]``.
        pad_mask: ``[B, S]``, True where a context token is hidden.
        memory_budget: Bytes that intermediate results may take. It bounds inference; with gradients, what autograd
            keeps for the backward pass comes on top.

    Returns:
        ``[B, N]``, low = fits. Differentiable.

    Raises:
        ModelFailed: The model raised, or answered with something that is no energy.
    """
    energy = model if isinstance(model, EnergyFunction) else EnergyFunction(model, type(model).__name__)
    pairs = Pairs(hidden, actions, pad_mask, shared=actions.dim() <= 3)
    return pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs, memory_budget).values[0]


def energy_table(energy: EnergyFunction, pairs: Pairs, memory_budget: int | None = DEFAULT_BUDGET) -> Tensor:
    """Energies of all pairs ``[B, N]`` to compute with: without gradients, on the CPU, in float64.

    Raises:
        ModelFailed: The module raised even when called row by row.
    """
    with torch.no_grad():
        table = pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs, memory_budget)
    return table.values[0].cpu().double()


@contextmanager
def each_context_once(energy: EnergyFunction, pairs: Pairs) -> Iterator[None]:
    """While it lasts, what the module computes from these contexts alone is computed once, whatever it is asked for.

    Args:
        energy: Whose module is asked.
        pairs: Contexts as the module gets them: on its device, in its type, and always in this tensor.
    """
    if _why_rows.get(energy.module):  # contexts are repeated there for every candidate: too much to keep
        yield
        return
    with remembered(energy.module, pairs.hidden, pairs.pad_mask, limit=DEFAULT_BUDGET):
        yield


def pair_table(
    energy: EnergyFunction, function: RowFunction, pairs: Pairs, memory_budget: int | None = DEFAULT_BUDGET
) -> PairTable:
    """What ``function`` computes with the energy's module for all pairs, batched where the module allows it.

    Args:
        energy: Whose module, device and type are used.
        function: What to compute per row; its first answer must be the energy ``[n]``.
        pairs: Contexts and candidates.
        memory_budget: Bytes that intermediate results may take at once.

    Raises:
        ModelFailed: The module raised even when called row by row.
    """
    run = functools.partial(
        map_pairs,
        function,
        pairs,
        device=energy.device,
        dtype=energy.dtype,
        known=_known.setdefault(energy.module, Known()),
    )
    with energy.failures(pairs.hidden, pairs.actions, pairs.pad_mask):
        why = _why_rows.get(energy.module)
        budget = 0 if energy.module in _alone else memory_budget  # 0: one row at a time
        table = run(memory_budget=budget, method="rows" if why else "vmap")
        if why is None or (table.method == "rows" and not why):
            why = table.reason or _difference(energy, function, pairs, table)
            if why and table.method == "vmap":
                table = run(memory_budget=memory_budget, method="rows")
            if why and _difference(energy, function, pairs, table):
                _alone.add(energy.module)
                why += " (one at a time, since a row's energy depends on the other rows of a call)"
                table = run(memory_budget=0, method="rows")
            _why_rows[energy.module] = why
    return replace(table, reason=why or None)


def _difference(energy: EnergyFunction, function: RowFunction, pairs: Pairs, table: PairTable) -> str:
    """Compares pairs spread over the table with plain calls of one row; why they differ, or an empty text.

    A module that keeps state between calls can pass through vmap without an error, and one that lets the rows of a
    batch decide together can be called with many.
    """
    if energy.module.training:
        return ""
    worst = 0.0
    alone = []
    with torch.no_grad():
        scale = float(table.values[0].detach().abs().max())
        for row, column in _spread(pairs.contexts, pairs.candidates):
            one = pairs.rows(slice(row, row + 1)).columns(slice(column, column + 1)).to(energy.device, energy.dtype)
            actions = one.actions if one.shared else one.actions[0]
            plain = function(one.hidden, actions, one.pad_mask)[0]
            alone.append((one.hidden, actions, one.pad_mask, plain))
            worst = max(worst, float((plain[0] - table.values[0][row, column]).abs()))
        together = function(
            torch.cat([a[0] for a in alone]),
            torch.cat([a[1] for a in alone]),
            None if pairs.pad_mask is None else torch.cat([a[2] for a in alone if a[2] is not None]),
        )[0]
        mixed = float((together - torch.cat([a[3] for a in alone])).abs().max())
        scale = max(scale, float(together.abs().max()))
    if mixed > max(_CHECK_TOLERANCE, _CHECK_ROUNDINGS * torch.finfo(table.values[0].dtype).eps) * scale:
        return "the energies that one call answers with depend on each other; each was computed in a call of its own"
    if worst > max(_CHECK_TOLERANCE, _CHECK_ROUNDINGS * torch.finfo(table.values[0].dtype).eps) * scale:
        return f"batched energies differ from single ones by up to {worst:.1g} (the largest is {scale:.1g})"
    return ""


def _spread(contexts: int, candidates: int) -> list[tuple[int, int]]:
    """Pairs along the table's diagonal, from the first to the last, none twice."""
    last = _CHECKED_PAIRS - 1
    return list(dict.fromkeys((i * (contexts - 1) // last, i * (candidates - 1) // last) for i in range(last + 1)))
