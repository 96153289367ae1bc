"""Gradients: with respect to candidates, to parameters, and their norms for every sample, beside the plain ways.

Shapes: B contexts and as many candidates, H action steps, A action dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import cross_entropy

from energydiag.energies.gradients import action_gradients, frozen_parameters, parameter_gradients
from energydiag.energies.pairs import Pairs

from .arithmetic import expanded_bytes, peak_bytes
from .figure import Row, at_least
from .policy import TAU, TINY, Case, Size, expanded, largest_difference, make_case, ours
from .side_by_side import Way, does_not_fit, fits, take_turns

SIZES = (Size(64, 32, 128), Size(32, 128, 1024), Size(64, 128, 1024))

_SAMPLES = 8
"""Samples of the plain ways that are run; all of them cost the same."""

_SAME = 1e-3
"""Largest relative difference between the ways' gradients: sums of a hundred thousand terms in single precision."""


def measure(repeats: int, small: bool = False) -> list[Row]:
    rows = []
    for size in (TINY,) if small else SIZES:
        rows += _of_candidates(size, repeats)
        rows += _of_parameters(size, repeats)
        rows += _of_samples(size, repeats)
    return rows


def _pairs(case: Case) -> Pairs:
    return Pairs(case.hidden, case.actions, case.mask, shared=True)


# --- dE/da of every pair


def _expanded_slopes(model: nn.Module, hidden: Tensor, actions: Tensor, mask: Tensor) -> Tensor:
    """dE/da of every pair ``[b, N, H, A]``, the contexts repeated for every candidate."""
    contexts, candidates = len(hidden), len(actions)
    leaf = actions.expand(contexts, *actions.shape).clone().requires_grad_(True)
    with torch.enable_grad():
        energy = model(
            hidden.repeat_interleave(candidates, 0), leaf.flatten(0, 1), mask.repeat_interleave(candidates, 0)
        )
        return torch.autograd.grad(energy.sum(), leaf)[0]


def _of_candidates(size: Size, repeats: int) -> list[Row]:
    case = make_case(size)
    with frozen_parameters(case.energy):
        needed = expanded_bytes(case, _expanded_slopes)
        ways: dict[str, Way] = {"ours": lambda: action_gradients(case.energy, _pairs(case))}
        if fits(needed):
            ways["expanded"] = lambda: _expanded_slopes(case.model, case.hidden, case.actions, case.mask)
            _must_agree(action_gradients(case.energy, _pairs(case)).gradient, ways["expanded"]())  # type: ignore[arg-type]
        turns = take_turns(ways, repeats)
    return [
        Row(
            "gradients of candidates, expanded to B² rows / ours",
            str(size),
            turns.median("ours"),
            turns.median("expanded"),
            turns.ratio("expanded", "ours"),
            note="" if "expanded" in turns else does_not_fit(needed),
        )
    ]


# --- d(mean InfoNCE)/d(parameters)


def _expanded_loss(model: nn.Module, hidden: Tensor, actions: Tensor, mask: Tensor) -> None:
    """Forward and backward over some contexts; the gradients add up in the parameters."""
    own = torch.arange(len(hidden)).clamp_max(len(actions) - 1)
    cross_entropy(-expanded(model, hidden, actions, mask) / TAU, own, reduction="sum").backward()


def _our_loss(case: Case) -> None:
    case.model.zero_grad()
    own = torch.arange(len(case.hidden))
    cross_entropy(-ours(case, memory_budget=None) / TAU, own, reduction="sum").backward()


def gradient_of(model: nn.Module) -> Tensor:
    """All parameters' gradients as one vector."""
    return torch.cat([p.grad.reshape(-1) for p in model.parameters() if p.grad is not None])


def _of_parameters(size: Size, repeats: int) -> list[Row]:
    case = make_case(size)
    needed = expanded_bytes(case, _expanded_loss)
    _our_loss(case)
    mine, taken = gradient_of(case.model), peak_bytes(lambda: _our_loss(case))

    def naive() -> None:
        case.model.zero_grad()
        _expanded_loss(case.model, case.hidden, case.actions, case.mask)

    ways: dict[str, Way] = {"ours": lambda: _our_loss(case)}
    if fits(needed):
        ways["expanded"] = naive
        naive()
        _must_agree(mine, gradient_of(case.model))
    turns = take_turns(ways, repeats)
    return [
        Row(
            "gradients of parameters, expanded to B² rows / ours",
            str(size),
            turns.median("ours"),
            turns.median("expanded"),
            turns.ratio("expanded", "ours"),
            note=f"peak of tensors {needed / taken:.0f} times ours"
            if "expanded" in turns
            else f"{does_not_fit(needed)}, ours {taken / (1 << 30):.1f}",
        )
    ]


# --- the norm of every sample's own gradient


def _loop(case: Case, samples: int) -> Tensor:
    """One backward pass a sample, its context repeated for every candidate."""
    norms = []
    for row in range(samples):
        energy = expanded(case.model, case.hidden[row : row + 1], case.actions, case.mask[row : row + 1])
        loss = cross_entropy(-energy / TAU, torch.tensor([row]))
        found = torch.autograd.grad(loss, list(case.model.parameters()))
        norms.append(torch.stack([g.square().sum() for g in found]).sum().sqrt())
    return torch.stack(norms)


def _mapped(case: Case, samples: int, chunk: int) -> Tensor:
    """``vmap`` over ``grad`` of a sample's loss, as torch.func's page on per-sample gradients writes it."""
    weights = {name: p.detach() for name, p in case.model.named_parameters()}
    candidates = len(case.actions)

    def loss_of(values: dict[str, Tensor], hidden: Tensor, mask: Tensor, target: Tensor) -> Tensor:
        inputs = (hidden.expand(candidates, -1, -1), case.actions, mask.expand(candidates, -1))
        energy = torch.func.functional_call(case.model, values, inputs)
        return cross_entropy(-energy / TAU, target)

    by_sample = torch.func.vmap(torch.func.grad(loss_of), in_dims=(None, 0, 0, 0), chunk_size=chunk)
    with warnings.catch_warnings(), sdpa_kernel(SDPBackend.MATH):
        warnings.filterwarnings("ignore", message="There is a performance drop")
        found = by_sample(weights, case.hidden[:samples], case.mask[:samples], torch.arange(samples))
    squares = [g.reshape(samples, -1).square().sum(dim=1) for g in found.values()]
    return torch.stack(squares).sum(dim=0).sqrt()


def _of_samples(size: Size, repeats: int) -> list[Row]:
    case = make_case(size)
    samples = min(_SAMPLES, size.contexts)
    one = peak_bytes(lambda: _mapped(case, 1, 1))
    chunk = next((c for c in (samples, samples // 2, samples // 4) if c and fits(c * one)), 1)

    def mine() -> Tensor:
        return parameter_gradients(case.energy, _pairs(case), TAU).sample_norm

    norms = mine()[:samples]
    _must_agree(norms, _loop(case, samples))
    _must_agree(norms, _mapped(case, samples, chunk))
    ways: dict[str, Callable[[], object]] = {
        "ours": mine,
        "loop": lambda: _loop(case, samples),
        "mapped": lambda: _mapped(case, samples, chunk),
    }
    parts = size.contexts / samples
    turns = take_turns(ways, repeats, {"loop": parts, "mapped": parts})
    told = f"{samples} of {size.contexts} samples run"
    goal = at_least(5) if size.contexts == 64 else None
    return [
        Row(
            f"gradient norms of samples, {name} / ours",
            str(size),
            turns.median("ours"),
            turns.median(way),
            turns.ratio(way, "ours"),
            "s",
            goal if way == "loop" else None,
            note,
        )
        for name, way, note in (
            ("loop over samples", "loop", told),
            ("torch.func's vmap over grad", "mapped", f"{told}, {chunk} at once"),
        )
    ]


def _must_agree(one: Tensor, other: Tensor) -> None:
    difference = largest_difference(one, other)
    if not difference < _SAME:
        raise AssertionError(f"two ways differ by {difference:.1e}")
