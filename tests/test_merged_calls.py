"""Attention and linear layers merged over pairs: the same numbers as one call a pair, whatever is mapped over."""

from __future__ import annotations

import threading

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import vmap
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag import pairwise_energies
from energydiag.energies.merged_calls import merged_calls

SIZES = st.integers(1, 4)


def one_call_a_pair(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None) -> Tensor:
    """``query [B, N, L, d]``, the others ``[B, …]``."""

    def one(b: int, n: int) -> Tensor:
        own = None if mask is None else mask[b][None]
        return functional.scaled_dot_product_attention(query[b, n][None], key[b][None], value[b][None], own)[0]

    contexts, candidates = query.shape[:2]
    return torch.stack([torch.stack([one(b, n) for n in range(candidates)]) for b in range(contexts)])


@settings(deadline=None)
@given(
    sizes=st.tuples(*[SIZES] * 6),
    kernel=st.sampled_from([SDPBackend.MATH, SDPBackend.FLASH_ATTENTION]),
    mask=st.sampled_from(["none", "keys", "rows", "bool"]),
    shared=st.booleans(),
)
def test_attention_over_both_maps(sizes: tuple[int, ...], kernel: SDPBackend, mask: str, shared: bool) -> None:
    contexts, candidates, heads, length, keys, width = sizes
    torch.manual_seed(sum(sizes))
    query = torch.randn(contexts, candidates, heads, length, width)
    query = query[:1].expand_as(query) if shared else query
    key, value = (torch.randn(contexts, heads, keys, width) for _ in range(2))
    masks = {
        "none": None,
        "keys": torch.randn(contexts, 1, 1, keys),
        "rows": torch.randn(contexts, heads, length, keys),
        "bool": torch.rand(contexts, 1, 1, keys) > 0.3,
    }
    given_mask = masks[mask]
    if mask == "bool":
        assert given_mask is not None
        given_mask[..., 0] = True

    def one(q: Tensor, k: Tensor, v: Tensor, m: Tensor | None) -> Tensor:
        return functional.scaled_dot_product_attention(q[None], k[None], v[None], None if m is None else m[None])[0]

    at_mask = None if given_mask is None else 0
    both = vmap(vmap(one, in_dims=(0, None, None, None)), in_dims=(None if shared else 0, 0, 0, at_mask))
    with sdpa_kernel([kernel, SDPBackend.MATH]):
        wanted = one_call_a_pair(query, key, value, given_mask)
        with merged_calls():
            got = both(query[0] if shared else query, key, value, given_mask)
    assert torch.allclose(got, wanted, atol=1e-6)


@pytest.mark.parametrize("mapped", ["mask", "key", "value", "weight"])
def test_whatever_else_is_mapped_over(mapped: str) -> None:
    torch.manual_seed(0)
    query, key, value = torch.randn(2, 3, 4), torch.randn(2, 5, 4), torch.randn(2, 5, 4)
    weight, mask = torch.randn(4, 4), torch.randn(3, 5)
    inputs = {"query": query, "key": key, "value": value, "mask": mask, "weight": weight}
    inputs[mapped] = torch.stack([inputs[mapped], inputs[mapped] + 1, inputs[mapped] * 2])

    def one(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
        return functional.scaled_dot_product_attention(functional.linear(query, weight), key, value, mask)

    with merged_calls():
        got = vmap(one, in_dims=tuple(0 if name == mapped else None for name in inputs))(*inputs.values())
    wanted = [one(**{**inputs, mapped: inputs[mapped][i]}) for i in range(3)]
    assert torch.allclose(got, torch.stack(wanted), atol=1e-6)


def test_what_is_differentiated_further_in_is_not_taken_out_of_a_map_around_it() -> None:
    weight, bias, inputs = torch.randn(3, 4), torch.randn(3), torch.randn(5, 2, 4)

    def of_linear(x: Tensor) -> Tensor:
        found: Tensor = torch.func.grad(lambda w: nn.functional.linear(x, w, bias).square().sum())(weight)
        return found

    def of_attention(x: Tensor) -> Tensor:
        found: Tensor = torch.func.grad(
            lambda w: nn.functional.scaled_dot_product_attention(w[None], x[None], x[None]).square().sum()
        )(weight)
        return found

    def both() -> list[Tensor]:
        return [torch.func.vmap(each)(inputs) for each in (of_linear, of_attention)]

    plain = both()
    with merged_calls():
        merged = both()
    for one, other in zip(merged, plain, strict=True):
        torch.testing.assert_close(one, other)


class Deep(nn.Module):
    """Two attention layers: the second one's keys depend on the action, and causal and shared calls are mixed in."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.attend = nn.Linear(3, 8), nn.MultiheadAttention(8, 2, batch_first=True)
        self.layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, dropout=0.0)
        self.end = nn.Linear(8, 1)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        tokens = self.lift(actions)
        tokens = tokens + self.attend(tokens, hidden, hidden, pad_mask, need_weights=False)[0]
        q = tokens[:, None]
        tokens = tokens + functional.scaled_dot_product_attention(q, q, q, is_causal=True)[:, 0]
        return self.end(self.layer(tokens)).mean(dim=(1, 2))


def test_energies_and_both_derivatives_of_a_deep_model() -> None:
    torch.manual_seed(0)
    model = Deep().eval()
    hidden, actions = torch.randn(4, 6, 8), torch.randn(5, 7, 3, requires_grad=True)
    mask = torch.arange(6) >= torch.tensor([[6], [4], [5], [3]])
    rows = [(b, n) for b in range(4) for n in range(5)]
    with sdpa_kernel(SDPBackend.MATH):
        plain = model(hidden[[b for b, _ in rows]], actions[[n for _, n in rows]], mask[[b for b, _ in rows]])
        merged = pairwise_energies(model, hidden, actions, mask).reshape(-1)
        assert torch.allclose(merged, plain, atol=1e-6)
        slopes = [torch.autograd.grad(e.square().sum(), actions, create_graph=True)[0] for e in (plain, merged)]
        assert torch.allclose(*slopes, atol=1e-5)
        curves = [
            torch.autograd.grad(slope.square().sum(), list(model.parameters()), allow_unused=True) for slope in slopes
        ]
    for one, other in zip(*curves, strict=True):
        assert (one is None) == (other is None)
        assert one is None or other is None or torch.allclose(one, other, atol=1e-4)


def test_the_originals_are_back_afterwards_also_after_an_error_and_with_several_threads() -> None:
    originals = functional.linear, functional.scaled_dot_product_attention
    inside, leave = threading.Event(), threading.Event()

    def other() -> None:
        with merged_calls():
            inside.set()
            leave.wait(30)

    thread = threading.Thread(target=other)
    thread.start()
    inside.wait(30)
    with pytest.raises(ValueError, match="on purpose"), merged_calls():
        raise ValueError("on purpose")
    assert functional.linear is not originals[0]
    leave.set()
    thread.join()
    assert (functional.linear, functional.scaled_dot_product_attention) == originals
