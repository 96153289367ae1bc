"""What depends on the contexts alone is computed once, to the same bits, and what must be computed anew is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, make_head
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from energydiag.energies.descent import follow
from energydiag.energies.pairwise import pairwise_energies
from energydiag.energies.remembered import remembered
from energydiag.models.energy_function import EnergyFunction


class _Counted(TorchDispatchMode):
    """Counts the operations that really run."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func._schema.name.removeprefix("aten::")
        self.calls[name] += 1
        if args and isinstance(args[0], Tensor):
            self.calls[f"{name} of {args[0].shape[-1] if args[0].dim() else 0}"] += 1
        return func(*args, **(kwargs or {}))


@contextmanager
def counted() -> Iterator[Counter[str]]:
    with _Counted() as mode:
        yield mode.calls


def test_only_what_is_known_is_kept() -> None:
    layer, known, other = nn.Linear(4, 3), torch.randn(5, 4), torch.randn(5, 4)
    with counted() as calls, remembered(layer, known), torch.no_grad():
        answers = [layer(known).relu() for _ in range(3)]
        assert (calls["addmm"], calls["relu"]) == (1, 1)
        for _ in range(3):
            layer(other)
            layer(known + other)
    assert calls["addmm"] == 1 + 6
    assert all(torch.equal(answer, layer(known).relu()) for answer in answers)


@pytest.mark.parametrize("what", ["input", "weight", "result"])
def test_a_change_in_place_is_seen(what: str) -> None:
    layer, known = nn.Linear(4, 3), torch.randn(5, 4)
    with remembered(layer, known), torch.no_grad():
        first = layer(known)
        {"input": known, "weight": layer.weight, "result": first}[what].mul_(2)
        assert torch.equal(layer(known), nn.functional.linear(known, layer.weight, layer.bias))


def test_equal_arguments_of_other_types_are_others() -> None:
    known = torch.tensor([1.0, -1.0])
    with remembered(nn.Identity(), known):
        zeros = [(known * 0.0), (known * -0.0)]
        kinds = [torch.div(known, 2), torch.div(known, 2.0), known.to(torch.int64) // 2]
        rows = [known.sum(), known.sum(0, keepdim=True), known.sum(0, keepdim=False)]
    assert [z.signbit().tolist() for z in zeros] == [[False, True], [True, False]]
    assert [k.dtype for k in kinds] == [torch.float32, torch.float32, torch.int64]
    assert [tuple(r.shape) for r in rows] == [(), (1,), ()]


def test_random_numbers_are_drawn_anew() -> None:
    known = torch.ones(64)
    with remembered(nn.Identity(), known):
        drops = [nn.functional.dropout(known) for _ in range(2)]
        noise = [torch.randn_like(known) for _ in range(2)]
        attention = [
            nn.functional.scaled_dot_product_attention(*[known.reshape(1, 1, 8, 8)] * 3, dropout_p=0.5)
            for _ in range(2)
        ]
    assert all(not torch.equal(*pair) for pair in (drops, noise, attention))


def test_a_gradient_asked_of_an_answer_stays_with_it() -> None:
    known = torch.randn(3)
    with remembered(nn.Identity(), known):
        first = (2 * known).requires_grad_()
        (first**2).sum().backward()
        second = 2 * known
        assert not second.requires_grad
        third = (2 * known).requires_grad_()
        (third**3).sum().backward()
    assert torch.allclose(first.grad, 4 * known)
    assert torch.allclose(third.grad, 12 * known**2)


def test_learning_parameters_get_their_gradients_each_time() -> None:
    layer, known = nn.Linear(4, 1), torch.randn(5, 4)
    with remembered(layer, known):
        for _ in range(2):
            layer(known).sum().backward()
    assert torch.allclose(layer.weight.grad, 2 * known.sum(dim=0, keepdim=True))


def test_the_limit_bounds_what_is_kept() -> None:
    known = torch.randn(1000)
    with counted() as calls, remembered(nn.Identity(), known, limit=4 * 1500):
        for _ in range(2):
            known.exp()
            known.sin()
    assert (calls["exp"], calls["sin"]) == (1, 2)


def test_tensors_of_inference_are_left_alone() -> None:
    with torch.inference_mode():
        known = torch.randn(4)
    with remembered(nn.Identity(), known):
        assert torch.equal(known.exp(), known.exp())


def test_a_block_within_uses_what_the_outer_one_knows() -> None:
    layer, known = nn.Linear(4, 3), torch.randn(5, 4)
    with counted() as calls, torch.no_grad(), remembered(layer, known):
        for _ in range(2):
            with remembered(layer, known[:5]):
                layer(known)
    assert calls["addmm"] == 1


class _Counting(nn.Module):
    """The sample head, with a module in the context's way that has a state of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.head = make_head()
        self.calls = 0

    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor | None = None) -> Tensor:
        self.calls += 1
        answer: Tensor = self.head(hidden * (1 + 1e-3 * self.calls * torch.arange(CONTEXT)), actions, mask)
        return answer


@pytest.mark.parametrize(("budget", "pieces"), [(0, 6), (None, 1)])
def test_a_descent_is_what_it_was_and_works_on_contexts_once(budget: int | None, pieces: int) -> None:
    model = make_head().eval()
    energy = EnergyFunction(model, "test")
    hidden, starts = torch.randn(6, 5, CONTEXT), torch.randn(6, 3, STEPS, ACTION)
    mask = torch.zeros(6, 5, dtype=torch.bool)
    mask[:, 3:] = True
    lengths = torch.tensor([0.1, 0.2, 0.3])
    follow(energy, hidden, starts, mask, lengths, 1)  # batched energies are compared with single ones once
    with counted() as calls:
        path = follow(energy, hidden, starts, mask, lengths, 4, budget)
    assert calls[f"native_layer_norm of {CONTEXT}"] == pieces
    actions = starts
    for step in range(4):  # the slow obvious way: one sample, one start, one step
        assert torch.allclose(path.actions[step], actions, atol=1e-5)
        moved = torch.empty_like(actions)
        for i in range(6):
            for j in range(3):
                leaf = actions[i, j].clone().requires_grad_()
                value = model(hidden[i : i + 1], leaf[None], mask[i : i + 1])
                slope = torch.autograd.grad(value.sum(), leaf)[0]
                assert torch.allclose(path.energy[step, i, j], value[0], atol=1e-5)
                moved[i, j] = actions[i, j] - lengths[j] * slope / slope.norm()
        actions = moved
    assert torch.allclose(path.actions[-1], actions, atol=1e-5)


@torch.no_grad()
def test_candidates_that_all_contexts_meet_are_worked_on_once() -> None:
    model, budget = make_head().eval(), 200_000
    hidden, actions = torch.randn(40, 5, CONTEXT), torch.randn(7, STEPS, ACTION)
    pairwise_energies(model, hidden, actions, memory_budget=budget)  # finds out how much a context takes
    with counted() as calls:
        energies = pairwise_energies(model, hidden, actions, memory_budget=budget)
    assert calls[f"native_layer_norm of {CONTEXT}"] > 1
    assert calls[f"native_layer_norm of {ACTION}"] == 1
    assert torch.allclose(energies, pairwise_energies(model, hidden, actions, memory_budget=None), atol=1e-6)


def test_a_module_with_a_state_of_its_own_is_not_taken_for_one_without() -> None:
    model = _Counting().eval()
    hidden, action = torch.randn(2, 5, CONTEXT), torch.randn(2, STEPS, ACTION)
    with torch.no_grad(), remembered(model, hidden):
        first, second = model(hidden, action), model(hidden, action)
    model.calls = 0
    with torch.no_grad():
        assert torch.equal(first, model(hidden, action))
        assert torch.equal(second, model(hidden, action))
    assert not torch.equal(first, second)
