"""Gradients of the energy with respect to actions and contexts, and of the training loss with respect to parameters.

Shapes: B contexts, N candidates, S tokens, H steps, A action dimensions, P parameters.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag.energies.memory import DEFAULT_BUDGET, gathered, run_in_pieces
from energydiag.energies.merged_calls import merged_calls
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.models.energy_function import EnergyFunction


@dataclass(frozen=True)
class ActionGradients:
    """Energies and their slopes in the action.

    Attributes:
        energy: ``[B, N]``.
        gradient: dE/da, ``[B, N, H, A]`` (H missing where actions have no steps).
    """

    energy: Tensor
    gradient: Tensor


def action_gradients(
    energy: EnergyFunction, pairs: Pairs, memory_budget: int | None = DEFAULT_BUDGET
) -> ActionGradients:
    """Energies and dE/da of every candidate, each context's work done once.

    Args:
        energy: The function; its parameters get no gradient.
        pairs: Contexts and candidates; shared candidates get a gradient per context.
        memory_budget: Bytes that a piece, its backward pass included, may take.

    Raises:
        ModelFailed: The model raised.
    """

    def run(part: slice) -> tuple[Tensor, Tensor]:
        chunk = pairs.rows(part).to(energy.device, energy.dtype)
        actions = chunk.actions
        if chunk.shared:
            actions = actions[None].expand(chunk.contexts, *actions.shape)
        leaf = actions.detach().clone().requires_grad_(True)
        own = Pairs(chunk.hidden, leaf, chunk.pad_mask, shared=False)
        table = pair_table(energy, lambda h, a, m: (energy(h, a, m),), own, memory_budget=None)
        if not table.values[0].requires_grad:  # the energy does not depend on the action at all
            return table.values[0], torch.zeros_like(leaf)
        gradient = torch.autograd.grad(table.values[0].sum(), leaf, allow_unused=True)[0]
        return table.values[0].detach(), torch.zeros_like(leaf) if gradient is None else gradient

    with torch.enable_grad(), frozen_parameters(energy), sdpa_kernel(SDPBackend.MATH):
        values, gradient = gathered(run_in_pieces(run, pairs.contexts, memory_budget), pairs.contexts)
    return ActionGradients(values, gradient)


def ranking_gradients(
    energy: EnergyFunction,
    pairs: Pairs,
    memory_budget: int | None = DEFAULT_BUDGET,
) -> Tensor:
    """d(E(h, a₂) − E(h, a₁))/dh, ``[B, S, D]``: where a context must move to change which of two actions is better.

    Args:
        energy: The function; its parameters get no gradient.
        pairs: B contexts with two candidates each, not shared.
        memory_budget: Bytes that a piece, its backward pass included, may take.

    Raises:
        ModelFailed: The model raised.
    """

    def run(part: slice) -> tuple[Tensor]:
        chunk = pairs.rows(part).to(energy.device, energy.dtype)
        leaf = chunk.hidden.detach().clone().requires_grad_(True)
        own = Pairs(leaf, chunk.actions, chunk.pad_mask, shared=False)
        table = pair_table(energy, lambda h, a, m: (energy(h, a, m),), own, memory_budget=None).values[0]
        if not table.requires_grad:  # the energy does not depend on the context at all
            return (torch.zeros_like(leaf),)
        gradient = torch.autograd.grad((table[:, 1] - table[:, 0]).sum(), leaf, allow_unused=True)[0]
        return (torch.zeros_like(leaf) if gradient is None else gradient,)

    with torch.enable_grad(), frozen_parameters(energy), sdpa_kernel(SDPBackend.MATH):
        return gathered(run_in_pieces(run, pairs.contexts, memory_budget), pairs.contexts)[0]


@contextmanager
def frozen_parameters(energy: EnergyFunction) -> Iterator[None]:
    """Parameters without gradients for a while, so that a backward pass does not pay for them."""
    learning = [p for p in energy.module.parameters() if p.requires_grad]
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)


@dataclass(frozen=True)
class ParameterGradients:
    """Gradients of the InfoNCE loss over one swap set.

    Attributes:
        loss: Of each row, ``[B]``.
        by_parameter: Norm of the mean loss's gradient for every parameter, by name.
        sample_norm: Norm of every row's own gradient, ``[B]``.
    """

    loss: Tensor
    by_parameter: dict[str, float]
    sample_norm: Tensor


def parameter_gradients(
    energy: EnergyFunction, pairs: Pairs, tau: float, memory_budget: int | None = DEFAULT_BUDGET
) -> ParameterGradients:
    """Gradients of the swap InfoNCE loss, for the mean over the rows and for each row.

    The mean's gradient is the mean of the rows' gradients. A row's loss touches its own context alone, so each row is
    differentiated on its own, many at once under `torch.func.vmap`.

    Args:
        energy: The function; all its floating parameters are looked at, also those that were frozen.
        pairs: B contexts with the same B candidates, candidate i being context i's own.
        tau: Temperature of the loss.
        memory_budget: Bytes that a piece may take.

    Raises:
        ModelFailed: The model raised.
    """
    pairs = pairs.to(energy.device, energy.dtype)
    called = _Callable(energy)
    parameters = {n: p.detach() for n, p in called.named_parameters() if p.is_floating_point()}

    def row_loss(
        values: dict[str, Tensor], hidden: Tensor, mask: Tensor | None, target: Tensor
    ) -> tuple[Tensor, Tensor]:
        def one(action: Tensor) -> Tensor:
            inputs = (hidden[None], action[None], None if mask is None else mask[None])
            return torch.func.functional_call(called, values, inputs)[0]  # type: ignore[no-any-return]

        energy_N = torch.func.vmap(one, randomness="different")(pairs.actions)
        loss = torch.nn.functional.cross_entropy(-energy_N / tau, target)
        return loss, loss

    in_dims = (None, 0, None if pairs.pad_mask is None else 0, 0)
    by_row = torch.func.vmap(torch.func.grad(row_loss, has_aux=True), in_dims=in_dims, randomness="different")
    targets = torch.arange(pairs.contexts, device=energy.device)

    def run(part: slice) -> RowGradients:
        mask = None if pairs.pad_mask is None else pairs.pad_mask[part]
        gradients, loss = by_row(parameters, pairs.hidden[part], mask, targets[part])
        return _summed(gradients, loss)

    with merged_calls(), sdpa_kernel(SDPBackend.MATH), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="There is a performance drop")
        try:
            found = _joined(run_in_pieces(run, pairs.contexts, memory_budget))
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError):
            found = _joined(_one_row(energy, pairs, tau, row) for row in range(pairs.contexts))
    norms = {name.removeprefix("module."): float(total.norm()) / pairs.contexts for name, total in found.total.items()}
    return ParameterGradients(found.loss, norms, found.square_norm.sqrt())


@dataclass(frozen=True)
class RowGradients:
    """Some rows' losses ``[n]`` and squared gradient norms ``[n]``, and the sum of their gradients by parameter."""

    loss: Tensor
    square_norm: Tensor
    total: dict[str, Tensor]


def _joined(pieces: Iterable[RowGradients]) -> RowGradients:
    """All rows together; the sums are as large as the model and are added up as they come."""
    losses, squares = [], []
    total: dict[str, Tensor] = {}
    for piece in pieces:
        losses.append(piece.loss)
        squares.append(piece.square_norm)
        total = {name: total[name] + value if name in total else value for name, value in piece.total.items()}
    return RowGradients(torch.cat(losses), torch.cat(squares), total)


class _Callable(nn.Module):
    """An energy function as a module, so that its parameters can be handed in from outside."""

    def __init__(self, energy: EnergyFunction) -> None:
        super().__init__()
        self.module = energy.module
        self._energy = energy

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None) -> Tensor:
        return self._energy(hidden, actions, pad_mask)


def _summed(gradients: dict[str, Tensor], loss_n: Tensor) -> RowGradients:
    square = torch.zeros_like(loss_n)
    for gradient in gradients.values():
        square = square + torch.linalg.vector_norm(gradient.reshape(len(gradient), -1), dim=1).square()
    return RowGradients(loss_n.detach(), square, {name: g.sum(dim=0) for name, g in gradients.items()})


def _one_row(energy: EnergyFunction, pairs: Pairs, tau: float, row: int) -> RowGradients:
    """A row's gradient by a plain backward pass, for models that cannot be batched."""
    named = {f"module.{n}": p for n, p in energy.module.named_parameters() if p.is_floating_point()}
    frozen = [p for p in named.values() if not p.requires_grad]
    for parameter in frozen:
        parameter.requires_grad_(True)
    try:
        with torch.enable_grad():
            part = pairs.rows(slice(row, row + 1))
            table = pair_table(energy, lambda h, a, m: (energy(h, a, m),), part, memory_budget=None)
            target = torch.tensor([row], device=energy.device)
            loss = torch.nn.functional.cross_entropy(-table.values[0] / tau, target)
            found = torch.autograd.grad(loss, list(named.values()), allow_unused=True)
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    gradients = {
        name: (torch.zeros_like(p) if g is None else g)[None] for (name, p), g in zip(named.items(), found, strict=True)
    }
    return _summed(gradients, loss.detach()[None])
