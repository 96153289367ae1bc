"""Modules that a model holds and that no energy depends on: never entered, or what they give is thrown away.

What is said of a layer by its weights and gradients says nothing of the energy if the layer takes no part in it. A
layer that no gradient reaches may still take part, behind a ``detach()``: then other weights give other energies.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor

from energydiag.energies.pairs import Pairs
from energydiag.models.energy_function import EnergyFunction


def entered_modules(energy: EnergyFunction, pairs: Pairs) -> tuple[tuple[str, ...], Tensor]:
    """Names of modules in the order in which a forward pass enters them, and its energies ``[n]``, with their history.

    Args:
        energy: The function.
        pairs: A few contexts with one action each.

    Raises:
        ModelFailed: The module raised.
    """
    entered: list[str] = []

    def note(name: str) -> Callable[..., None]:
        return lambda *_: entered.append(name)

    named = [(name, module) for name, module in energy.module.named_modules() if name]
    hooks = [module.register_forward_pre_hook(note(name)) for name, module in named]
    try:
        with torch.enable_grad(), energy.failures(pairs.hidden, pairs.actions, pairs.pad_mask):
            energies = energy(pairs.hidden, pairs.actions, pairs.pad_mask)
    finally:
        for hook in hooks:
            hook.remove()
    return tuple(dict.fromkeys(entered)), energies


def unused_modules(energy: EnergyFunction, pairs: Pairs, entered: tuple[str, ...], energies: Tensor) -> frozenset[str]:
    """Names of the modules with parameters of their own that take no part in these energies.

    Args:
        energy: Whose.
        pairs: What `entered_modules` was given.
        entered: What it found.
        energies: Likewise.
    """
    named = {name: p for name, p in energy.module.named_parameters() if p.requires_grad and p.is_floating_point()}
    if not energies.requires_grad or not named:
        return frozenset()
    found = torch.autograd.grad(energies.sum(), list(named.values()), allow_unused=True)
    reached = {name.rpartition(".")[0] for name, gradient in zip(named, found, strict=True) if gradient is not None}
    inside = {".".join(name.split(".")[:depth]) for name in entered for depth in range(1, name.count(".") + 2)}
    owners = {name.rpartition(".")[0] for name in named}

    def takes_part(module: str) -> bool:
        # attention's output layer is never entered itself, but gradients reach it
        if module == "" or module in reached:
            return True
        own = [p for name, p in named.items() if name.rpartition(".")[0] == module]
        return module in inside and _matters(energy, pairs, own, energies)

    return frozenset(module for module in owners if not takes_part(module))


def _matters(energy: EnergyFunction, pairs: Pairs, parameters: Sequence[Tensor], energies: Tensor) -> bool:
    """Whether other values of these parameters give other energies; they are put back to the bit."""
    before = [p.detach().clone() for p in parameters]
    generator = torch.Generator().manual_seed(0)
    try:
        with torch.no_grad():
            for p in parameters:
                p.add_(torch.randn(p.shape, generator=generator).to(p) * (1 + p.abs().mean()))
            with energy.failures(pairs.hidden, pairs.actions, pairs.pad_mask):
                moved = energy(pairs.hidden, pairs.actions, pairs.pad_mask)
    finally:
        with torch.no_grad():
            for p, own in zip(parameters, before, strict=True):
                p.copy_(own)
    return not torch.equal(moved, energies.detach())


def is_part_of(name: str, modules: Collection[str]) -> bool:
    """Whether a layer, or a parameter, by its path is one of these modules or inside of one."""
    return any(name == module or name.startswith((f"{module}.", f"{module}[")) for module in modules)
