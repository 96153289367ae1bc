"""What was written down of one piece gives, for others, what the function itself gives, to the bit."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable, Hashable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import ACTION, CONTEXT, STEPS, TOKENS, make_head
from test_remembered import counted
from torch import Tensor, nn

from energydiag.energies.memory import PeakBytes
from energydiag.energies.pairwise import pairwise_energies
from energydiag.energies.replay import Replayed

Function = Callable[..., tuple[Tensor, ...]]

_FIXED = torch.linspace(-1, 1, 12).reshape(3, 4)
_STATE = torch.zeros(3, 4)
_SPARSE = torch.eye(4).to_sparse()


def _in_place_on_a_view(pool: list[Tensor]) -> Tensor:
    copied = pool[-1].clone()
    copied[1:, ::2].mul_(3)
    return copied


def _state(pool: list[Tensor]) -> Tensor:
    _STATE.add_(pool[-1])
    return _STATE * 2


def _turned_in_place(pool: list[Tensor]) -> Tensor:
    square = pool[-1] @ pool[0].t()
    square.transpose_(0, 1)
    return (square.softmax(1) - square.t().softmax(1)) @ pool[-1]


def _constant_changed_in_place(pool: list[Tensor]) -> Tensor:
    factors = torch.tensor([1.0, 2.0, 4.0, 8.0])
    factors *= 3
    return pool[-1] * factors


def _filled_factory(pool: list[Tensor]) -> Tensor:
    made = torch.zeros(3, 4)
    made[:, 1] += pool[-1][:, 0]
    return made


def _constant_made_on_the_way(pool: list[Tensor]) -> Tensor:
    return pool[-1] * torch.tensor([1.0, -2.0, 0.5, 3.0])


_OPERATIONS: list[Callable[[list[Tensor]], Tensor]] = [
    lambda pool: pool[-1] + _FIXED,
    lambda pool: pool[-1].t().contiguous().t(),
    lambda pool: pool[-1].flip(0),
    lambda pool: torch.cat([pool[-1][:, 2:], pool[0][:, :2]], dim=1),
    lambda pool: torch.stack(pool[-1].unbind(1), dim=1).sin(),
    lambda pool: sum(pool[-1].split(1, dim=0)) + pool[0],  # type: ignore[no-any-return]
    lambda pool: pool[-1].view(2, 6).reshape(4, 3).t() @ torch.eye(4),
    lambda pool: pool[-1].relu_() - (_FIXED @ _FIXED.t())[:, :1],
    lambda pool: nn.functional.layer_norm(pool[-1], (4,)),
    lambda pool: torch.where(pool[-1] > 0, pool[-1], pool[0]),
    lambda pool: pool[-1].topk(4, dim=1).values,
    lambda pool: pool[-1].view(torch.int32).view(torch.float32) * 1.5,
    lambda pool: pool[-1].expand(2, 3, 4)[1].squeeze().unsqueeze(0)[0],
    lambda pool: pool[len(pool) // 2].detach().clone(),
    lambda pool: pool[-1][torch.arange(3).flip(0), torch.tensor([0, 2, 1])][:, None] * pool[0],
    lambda pool: torch.view_as_complex(pool[-1].reshape(3, 2, 2).contiguous()).conj().imag.repeat(1, 2) + 0,
    _in_place_on_a_view,
    _turned_in_place,
    _constant_changed_in_place,
    _state,
    _filled_factory,
    _constant_made_on_the_way,
]


_WITHOUT_GRADIENTS = (torch.no_grad, torch.inference_mode)


@pytest.mark.parametrize("without_gradients", _WITHOUT_GRADIENTS)
@pytest.mark.parametrize("number", range(len(_OPERATIONS)))
def test_any_operation(number: int, without_gradients: Callable[[], Any]) -> None:
    _must_be_the_same([number], 0, without_gradients)


@given(
    st.lists(st.sampled_from(range(len(_OPERATIONS))), min_size=2, max_size=12),
    st.integers(0, 1000),
    st.sampled_from(_WITHOUT_GRADIENTS),
)
@settings(max_examples=100)
def test_any_sequence_of_operations(chosen: list[int], seed: int, without_gradients: Callable[[], Any]) -> None:
    _must_be_the_same(chosen, seed, without_gradients)


def _must_be_the_same(chosen: list[int], seed: int, without_gradients: Callable[[], Any]) -> None:
    def function(varying: Tensor, fixed: Tensor) -> tuple[Tensor, ...]:
        pool = [fixed * 2, varying.clone()]
        for number in chosen:
            pool.append(_OPERATIONS[number](pool))
        return pool[-1], pool[len(pool) // 2] + 1

    torch.manual_seed(seed)
    pieces, fixed = torch.randn(4, 3, 4), torch.randn(3, 4)
    found = []
    with without_gradients():
        # trusted from the start: this is not about the comparison that would find a difference out
        for run in (function, Replayed(function, varying=(0,), trusted={None: True})):
            _STATE.zero_()
            found.append([tuple(value.clone() for value in run(piece.clone(), fixed)) for piece in pieces])
            found[-1].append((_STATE.clone(),))
    for plain, replayed in zip(*found, strict=True):
        assert all(torch.equal(a, b) for a, b in zip(plain, replayed, strict=True))


def test_what_stays_the_same_is_computed_once() -> None:
    layer, fixed = nn.Linear(4, 3), torch.randn(5, 4)
    run = Replayed(lambda piece, same: (piece + layer(same).relu(),), varying=(0,), trusted={None: True})
    pieces = torch.randn(4, 5, 3)
    with torch.no_grad(), counted() as calls:
        answers = [run(piece, fixed)[0] for piece in pieces]
    assert (calls["addmm"], calls["relu"], calls["add"]) == (1, 1, 4)
    assert torch.equal(torch.stack(answers), pieces + layer(fixed).relu())


def test_what_is_kept_is_limited() -> None:
    fixed = torch.randn(100)
    run = Replayed(
        lambda piece, same: (piece + same.sin() + same.cos(),), varying=(0,), limit=500, trusted={None: True}
    )
    with torch.no_grad(), counted() as calls:
        answers = [run(piece, fixed)[0] for piece in torch.zeros(3, 100)]
    assert sorted([calls["sin"], calls["cos"]]) == [1, 3]
    assert all(torch.equal(answer, fixed.sin() + fixed.cos()) for answer in answers)


def test_what_is_drawn_is_drawn_anew() -> None:
    for draw in (lambda piece: nn.functional.dropout(piece, 0.5), lambda piece: piece * torch.rand(100)):
        trusted: dict[Hashable, bool] = {}
        run = Replayed(lambda piece, draw=draw: (draw(piece),), varying=(0,), trusted=trusted)
        with torch.no_grad():
            first, second, third = (run(torch.ones(100))[0] for _ in range(3))
        assert not torch.equal(first, second)
        assert not torch.equal(second, third)
        assert not trusted  # two draws differ, which says nothing of the other operations


def test_what_has_a_history_keeps_it() -> None:
    layer = nn.Linear(3, 3)

    def function(piece: Tensor) -> tuple[Tensor, ...]:
        with torch.enable_grad():
            return (layer(piece),)

    run = Replayed(function, varying=(0,), trusted={None: True})
    with torch.no_grad():
        assert all(run(piece)[0].requires_grad for piece in torch.randn(3, 2, 3))


def test_what_differs_is_found_out_and_run_itself() -> None:
    def through_numpy(piece: Tensor) -> tuple[Tensor, ...]:
        return (torch.tensor(np.sort(piece.numpy())) * 2,)

    calls: list[int] = []

    def with_state(piece: Tensor) -> tuple[Tensor, ...]:
        calls.append(1)
        return (piece + len(calls),)

    trusted: dict[Hashable, bool] = {}
    with torch.no_grad():
        for name, function in (("numpy", through_numpy), ("state", with_state)):
            for _ in range(2):
                run = Replayed(function, varying=(0,), trusted=trusted, kind=name)
                for piece in torch.randn(4, 5):
                    found = run(piece)[0]
                    assert torch.equal(found, through_numpy(piece)[0] if name == "numpy" else piece + len(calls))
    assert trusted == {"numpy": False, "state": False}


def test_what_is_the_same_is_found_out_once() -> None:
    calls: list[int] = []

    def function(piece: Tensor) -> tuple[Tensor, ...]:
        calls.append(1)
        return (piece * 2,)

    trusted: dict[Hashable, bool] = {}
    with torch.no_grad():
        for _ in range(2):
            run = Replayed(function, varying=(0,), trusted=trusted)
            assert all(torch.equal(run(piece)[0], piece * 2) for piece in torch.randn(5, 3))
    assert trusted == {None: True}
    assert len(calls) == 3  # written down, compared, written down


def test_what_was_written_down_is_let_go() -> None:
    memories = []

    def function(piece: Tensor, same: Tensor) -> tuple[Tensor, ...]:
        between = same * 3
        needed = between * 2
        memories.extend(weakref.ref(tensor.untyped_storage()) for tensor in (between, needed))
        return (piece + needed,)

    run = Replayed(function, varying=(0,))
    gc.disable()  # nothing may wait for it
    try:
        with torch.no_grad():
            run(torch.randn(50), torch.randn(50))
        assert [memory() is None for memory in memories] == [True, False]
        del run
        assert memories[1]() is None
    finally:
        gc.enable()


def test_shared_candidates_in_blocks_keep_no_more_than_allowed() -> None:
    blocks = torch.randn(10, 100)
    run = Replayed(lambda piece, same: (piece + same.sin(),), varying=(0,), limit=1000)
    with torch.no_grad():
        for piece in torch.zeros(3, 100):
            for block in blocks:
                run(piece, block)
    assert run._left is not None
    assert 0 <= run._left <= 1000 - 2 * 400
    held = {t.untyped_storage()._cdata for tape, _ in run._tapes.values() for t in tape._kept.values()}  # type: ignore[union-attr]
    assert len(held - {blocks.untyped_storage()._cdata}) == 2


def test_a_function_that_looks_at_values_is_run_itself() -> None:
    def function(piece: Tensor) -> tuple[Tensor, ...]:
        return (piece + 1 if piece.sum().item() > 0 else piece - 1,)

    run = Replayed(function, varying=(0,))
    with torch.no_grad():
        assert [run(torch.full((2,), sign))[0][0].item() for sign in (1.0, -1.0, 1.0)] == [2, -2, 2]


@pytest.mark.parametrize(
    "of",
    [
        lambda piece: piece.to_sparse().to_dense() * 2,
        lambda piece: torch.sparse.mm(_SPARSE, piece),
        lambda piece: torch.complex(piece, piece).conj().imag * 2,
        lambda piece: piece[piece > 0].sum()[None],
    ],
    ids=["sparse on the way", "a sparse constant", "complex", "a size that depends on values"],
)
def test_what_cannot_be_written_down_is_run_itself(of: Callable[[Tensor], Tensor]) -> None:
    run = Replayed(lambda piece: (of(piece),), varying=(0,))
    with torch.no_grad():
        for piece in torch.randn(3, 4, 4):
            assert torch.equal(run(piece)[0], of(piece))


def test_arguments_in_one_memory() -> None:
    memory = torch.randn(8, 3, 6)  # pieces and what belongs to them, side by side
    run = Replayed(lambda piece, own, same: (piece.t() @ own.flip(0).t().t() + same.t()[:3],), varying=(0, 1))
    with torch.no_grad():
        for piece in memory:
            answer = run(piece[:, :3], piece[:, 3:], memory[0, :, 1:4])[0]
            assert torch.equal(answer, piece[:, :3].t() @ piece[:, 3:].flip(0) + memory[0, :, 1:4].t()[:3])


def test_conversions_of_autocast_are_neither_lost_nor_doubled() -> None:
    layer = nn.Linear(8, 8)

    def function(piece: Tensor) -> tuple[Tensor, ...]:
        low = layer(piece)
        with torch.autocast("cpu", enabled=False):
            return low.float(), layer(piece)

    run, pieces = Replayed(function, varying=(0,)), torch.randn(3, 4, 8)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        found = [(run(piece), function(piece)) for piece in pieces]
    for replayed, plain in found:
        assert all(torch.equal(a, b) and a.dtype == b.dtype for a, b in zip(replayed, plain, strict=True))
    assert not torch.equal(*found[2][0])


def test_writing_down_and_doing_again_take_no_more_memory() -> None:
    def function(piece: Tensor) -> tuple[Tensor, ...]:
        for _ in range(20):
            piece = (piece * 2).view(-1).view(1000, 50).tanh()
        return (piece.sum(),)

    def peak(run: Function) -> int:
        given = torch.randn(1000, 50)
        with PeakBytes() as watch:
            run(given)
        return watch.peak

    run = Replayed(function, varying=(0,))
    with torch.no_grad():
        plain, first, second = peak(function), peak(run), peak(run)
    assert first <= plain
    assert second <= plain


def test_new_shapes_and_other_fixed_arguments_are_seen() -> None:
    run = Replayed(lambda piece, same: (piece * same.sum() * len(piece),), varying=(0,))
    one, two = torch.ones(3), torch.full((3,), 2.0)
    with torch.no_grad():
        values = [
            run(piece, same)[0].sum().item() for same in (one, two, one) for piece in (torch.ones(2), torch.ones(4))
        ]
    assert values == [12, 48, 24, 96, 12, 48]


def test_energies_are_done_again_for_equal_pieces() -> None:
    model = make_head()
    hidden, actions = torch.randn(24, TOKENS, CONTEXT), torch.randn(7, STEPS, ACTION)
    mask = torch.zeros(24, TOKENS, dtype=torch.bool)
    mask[::3, -1] = True
    with torch.no_grad():
        whole = pairwise_energies(model, hidden, actions, mask, memory_budget=None)
        with counted() as calls:
            pieces = pairwise_energies(model, hidden, actions, mask, memory_budget=100_000)
    assert torch.allclose(pieces, whole, rtol=1e-5, atol=1e-6)
    # of the actions' places: to see how much memory a context takes, to write down, and to compare with
    assert calls["sin"] == 3
