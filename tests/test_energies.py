"""Energies of all pairs equal those of the plain way, one row a pair, for any module and any memory budget."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import ACTION, CONTEXT, STEPS, TOKENS, ConcatMLP, make_batch, make_head, pooled
from torch import Tensor, nn

from energydiag.energies import PairTable, pairwise_energies
from energydiag.energies.memory import PeakBytes, parts
from energydiag.energies.pairs import Pairs
from energydiag.energies.pairwise import pair_table
from energydiag.errors import ModelFailed
from energydiag.heads import PUBLISHED
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.models.energy_function import EnergyFunction


class TwoTowers(nn.Module):
    """Two towers and a bilinear form; answers with a 0-d tensor for a batch of one."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.context, self.action = nn.Linear(CONTEXT, 8), nn.Linear(STEPS * ACTION, 8)
        self.bilinear = nn.Bilinear(8, 8, 1)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        towers = self.context(pooled(hidden, pad_mask)), self.action(actions.flatten(1))
        return self.bilinear(*towers).squeeze()


class EinsumAttention(nn.Module):
    """Attention written by hand with einsum and masked_fill."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.query, self.key, self.value = nn.Linear(ACTION, 8), nn.Linear(CONTEXT, 8), nn.Linear(CONTEXT, 8)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        query = self.query(actions)
        score = torch.einsum("bhd,bsd->bhs", query, self.key(hidden))
        if pad_mask is not None:
            score = score.masked_fill(pad_mask[:, None], -torch.inf)
        seen = torch.einsum("bhs,bsd->bhd", score.softmax(dim=-1), self.value(hidden))
        return (seen - query).square().sum(dim=(1, 2))


class InPlace(ConcatMLP):
    """Scales its energy and fills a buffer in place."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        joined = torch.cat((pooled(hidden, pad_mask), actions.flatten(1)), dim=-1)
        joined *= 2
        joined[..., 0] = 1.0
        return self.net(joined).squeeze(-1).mul_(3).add_(1)


class Normed(ConcatMLP):
    """BatchNorm with statistics of its own, in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(CONTEXT + STEPS * ACTION, 16), nn.BatchNorm1d(16), nn.Linear(16, 1))
        self.net[1].running_mean.normal_()
        self.net[1].running_var.uniform_(0.5, 2)
        self.eval()


class LooksAtMask(ConcatMLP):
    """Asks Python whether anything is padded: fine row by row, impossible under vmap."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, pad_mask if pad_mask is not None and pad_mask.any() else None)


class LooksAtActions(ConcatMLP):
    """Takes one decision for a whole batch: right only when it is called with one row at a time."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer = super().forward(hidden, actions, pad_mask)
        return 2 * answer if actions.sum() > 0 else answer


class MixesRows(ConcatMLP):
    """Subtracts the batch's mean: no energy of one pair exists but that of a batch of one."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer = super().forward(hidden, actions, pad_mask)
        return answer - 0.5 * answer.mean()


MODULES: dict[str, Callable[[], nn.Module]] = {
    **{name: lambda name=name: make_head(name) for name in (form.name for form in PUBLISHED)},
    **{kind.__name__: kind for kind in (ConcatMLP, TwoTowers, EinsumAttention, InPlace, Normed, LooksAtMask)},
}


def naive(model: nn.Module, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Tensor:
    """``[B, N]`` by expanding everything to B·N rows."""
    contexts = hidden.shape[0]
    own = actions if actions.dim() == 4 else actions.expand(contexts, *actions.shape)
    many = own.shape[1]
    rows = model(
        hidden.repeat_interleave(many, 0),
        own.flatten(0, 1),
        None if mask is None else mask.repeat_interleave(many, 0),
    )
    return rows.reshape(contexts, many)


def assert_close(got: Tensor, wanted: Tensor, tolerance: float = 1e-5) -> None:
    assert got.shape == wanted.shape
    assert float((got - wanted).abs().max()) <= tolerance * float(wanted.abs().max())


def table(model: nn.Module, pairs: Pairs) -> PairTable:
    energy = EnergyFunction(model, "test")
    with torch.no_grad():
        return pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs)


@pytest.mark.parametrize("budget", [1, 1 << 30])
@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("name", MODULES)
@torch.no_grad()
def test_equals_the_expanded_computation(name: str, shared: bool, masked: bool, budget: int) -> None:
    batch, model = make_batch(), MODULES[name]()
    actions = batch.actions if shared else batch.layer_actions
    mask = batch.pad_mask if masked else None
    got = pairwise_energies(model, batch.hidden, actions, mask, memory_budget=budget)
    assert_close(got, naive(model, batch.hidden, actions, mask))


@pytest.mark.parametrize("without_gradients", [torch.no_grad, torch.inference_mode])
@pytest.mark.parametrize("name", MODULES)
def test_pieces_of_turned_contexts_after_a_small_call(
    name: str, without_gradients: Callable[[], AbstractContextManager[None]]
) -> None:
    batch, model = make_batch(13), MODULES[name]()
    hidden = torch.randn(CONTEXT, *batch.hidden.shape[:2]).permute(1, 2, 0)
    with without_gradients():
        for samples in (2, 13):  # the first has no pieces; what is found out of the module there must hold for both
            part = hidden[:samples], batch.actions, batch.pad_mask[:samples]
            got = pairwise_energies(model, *part, memory_budget=20_000 if samples > 2 else None)
            assert_close(got, naive(model, *part))


@given(
    contexts=st.integers(1, 5),
    candidates=st.integers(1, 5),
    tokens=st.integers(1, 4),
    steps=st.integers(1, 3),
    shared=st.booleans(),
    budget=st.sampled_from([1, 100_000, 1 << 30]),
    name=st.sampled_from([form.name for form in PUBLISHED]),
)
@torch.no_grad()
def test_equals_the_expanded_computation_for_any_shape(
    contexts: int, candidates: int, tokens: int, steps: int, shared: bool, budget: int, name: str
) -> None:
    torch.manual_seed(contexts * 5 + candidates)
    hidden = torch.randn(contexts, tokens, CONTEXT)
    actions = torch.randn(*([] if shared else [contexts]), candidates, steps, ACTION)
    mask = torch.rand(contexts, tokens) > 0.5
    mask[:, 0] = False
    model = make_head(name)
    got = pairwise_energies(model, hidden, actions, mask, memory_budget=budget)
    assert_close(got, naive(model, hidden, actions, mask))


@pytest.mark.parametrize("kind", [ConcatMLP, TwoTowers, Normed])
@torch.no_grad()
def test_pooled_contexts(kind: Callable[[], nn.Module]) -> None:
    hidden, actions, model = torch.randn(4, CONTEXT), make_batch().actions, kind().eval()
    assert_close(pairwise_energies(model, hidden, actions), naive(model, hidden, actions, None))


@torch.no_grad()
def test_more_candidates_than_one_block(head: CrossAttentionEnergy) -> None:
    hidden, actions = torch.randn(2, TOKENS, CONTEXT), torch.randn(300, STEPS, ACTION)
    assert_close(pairwise_energies(head, hidden, actions), naive(head, hidden, actions, None))


@torch.no_grad()
def test_contexts_in_bfloat16_are_computed_in_the_models_type(head: CrossAttentionEnergy) -> None:
    batch = make_batch()
    small = batch.hidden.bfloat16()
    got = pairwise_energies(head, small, batch.actions, batch.pad_mask)
    assert got.dtype == torch.float32
    assert_close(got, naive(head, small.float(), batch.actions, batch.pad_mask))


@pytest.mark.parametrize("shared", [False, True])
def test_is_differentiable(head: CrossAttentionEnergy, shared: bool) -> None:
    batch = make_batch(3)
    actions = (batch.actions if shared else batch.layer_actions).requires_grad_()
    inputs = (actions, *head.parameters())
    got = torch.autograd.grad(pairwise_energies(head, batch.hidden, actions, batch.pad_mask).sum(), inputs)
    wanted = torch.autograd.grad(naive(head, batch.hidden, actions, batch.pad_mask).sum(), inputs)
    largest = max(float(w.abs().max()) for w in wanted)
    assert all(torch.allclose(g, w, rtol=1e-4, atol=1e-5 * largest) for g, w in zip(got, wanted, strict=True))


@pytest.mark.parametrize("name", [name for name in MODULES if name != "LooksAtMask"])
def test_is_batched_and_says_nothing(name: str) -> None:
    batch = make_batch()
    found = table(MODULES[name]().eval(), Pairs(batch.hidden, batch.actions, batch.pad_mask, shared=True))
    assert (found.method, found.reason) == ("vmap", None)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_batched_too(head: CrossAttentionEnergy, dtype: torch.dtype) -> None:
    batch = make_batch(16)
    assert table(head.to(dtype), Pairs(batch.hidden, batch.actions, batch.pad_mask, shared=True)).method == "vmap"


def test_data_dependent_control_flow_goes_by_rows_and_says_so() -> None:
    batch, model = make_batch(), LooksAtMask()
    pairs = Pairs(batch.hidden, batch.actions, batch.pad_mask, shared=True)
    for _ in range(2):
        found = table(model, pairs)
        assert found.method == "rows"
        assert "data-dependent control flow" in (found.reason or "")


def test_says_so_also_where_only_a_later_call_needs_rows() -> None:
    batch, model = make_batch(), LooksAtMask()
    assert table(model, Pairs(batch.hidden, batch.actions, None, shared=True)).method == "vmap"
    found = table(model, Pairs(batch.hidden, batch.actions, batch.pad_mask, shared=True))
    assert found.method == "rows"
    assert found.reason


@pytest.mark.parametrize("kind", [LooksAtActions, MixesRows])
@pytest.mark.parametrize("shared", [False, True])
@torch.no_grad()
def test_a_pairs_energy_is_that_of_a_batch_of_one(kind: type[ConcatMLP], shared: bool) -> None:
    batch, model = make_batch(), kind()
    actions = batch.actions if shared else batch.layer_actions
    got = pairwise_energies(model, batch.hidden, actions, batch.pad_mask)
    for i, j in ((i, j) for i in range(got.shape[0]) for j in range(got.shape[1])):
        action = actions[j] if shared else actions[i, j]
        alone = model(batch.hidden[i : i + 1], action[None], batch.pad_mask[i : i + 1])
        assert_close(got[i, j].reshape(1, 1), alone)


@torch.no_grad()
def test_a_score_is_turned_round(head: CrossAttentionEnergy) -> None:
    batch = make_batch()
    score = EnergyFunction(head, "test", sign="score")
    inputs = batch.hidden, batch.actions, batch.pad_mask
    assert torch.equal(pairwise_energies(score, *inputs), -pairwise_energies(head, *inputs))


@torch.no_grad()
def test_memory_does_not_grow_with_the_product_of_contexts_and_candidates() -> None:
    model, tokens, width = CrossAttentionEnergy(128, ACTION, hidden=16, nhead=2).eval(), 32, 128
    samples, budget = 48, 1 << 20
    hidden, actions = torch.randn(samples, tokens, width), torch.randn(samples, STEPS, ACTION)
    with PeakBytes() as watch:
        pairwise_energies(model, hidden, actions, memory_budget=budget)
    assert watch.peak < 2 * budget
    assert watch.peak < samples * samples * tokens * width * hidden.element_size() / 10


def test_peak_bytes_counts_what_is_alive_at_once() -> None:
    with PeakBytes() as watch:
        first = torch.zeros(1000)
        second = first + 1
        del first
        third = second.view(10, 100) * 2
    assert third.shape == (10, 100)
    assert watch.peak == 2 * 4000


def test_peak_bytes_does_not_count_what_was_there_before() -> None:
    given = torch.zeros(10, 100)
    with PeakBytes() as watch:
        given.t()[3:].add_(1)
    assert watch.peak == 0


@given(total=st.integers(0, 50), size=st.integers(1, 60), start=st.integers(0, 5))
def test_parts_cover_all_and_are_alike_where_they_can_be(total: int, size: int, start: int) -> None:
    found = list(parts(start + total, size, start))
    assert [i for part in found for i in range(part.start, part.stop)] == list(range(start, start + total))
    lengths = [part.stop - part.start for part in found]
    fewest = -(-total // size)
    assert max(lengths, default=0) <= size
    assert len(set(lengths[:-1])) <= 1
    assert lengths[-1:] <= lengths[:1]
    assert fewest <= len(found) < 2 * max(fewest, 1)
    if any(total % count == 0 for count in range(max(fewest, 1), 2 * fewest)):
        assert len(set(lengths)) <= 1


class NoEnergy(nn.Module):
    """Answers with as many numbers as told, for every row."""

    def __init__(self, numbers: int) -> None:
        super().__init__()
        self.numbers = numbers

    def forward(self, hidden: Tensor, _actions: Tensor, _mask: Tensor | None) -> Tensor:
        return torch.zeros(hidden.shape[0] * self.numbers)


@pytest.mark.parametrize("numbers", [0, 2])
def test_an_answer_that_is_no_energy_is_refused(numbers: int) -> None:
    batch = make_batch()
    with pytest.raises(ModelFailed, match="one energy per sample"):
        pairwise_energies(NoEnergy(numbers), batch.hidden, batch.actions)


def test_what_the_model_raises_is_told_with_the_shapes(head: CrossAttentionEnergy) -> None:
    with pytest.raises(ModelFailed, match=r"raised RuntimeError, called with hidden \[2, 5, 13\], actions \[2, 4, 3\]"):
        pairwise_energies(head, torch.randn(2, TOKENS, 13), torch.randn(2, STEPS, ACTION))


def test_energies_that_depend_on_each_other_are_told() -> None:
    class Centred(nn.Module):
        def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
            energy = hidden.mean(dim=(1, 2)) * actions.sum(dim=(1, 2))
            return energy - energy.mean()

    batch, energy = make_batch(), EnergyFunction(Centred().eval(), "own")
    pairs = Pairs(batch.hidden, batch.actions, batch.pad_mask, shared=True)
    table = pair_table(energy, lambda h, a, m: (energy(h, a, m),), pairs)
    assert table.reason is not None
    assert "depend on each other" in table.reason
