"""Attention and linear layers inside of the two maps over pairs, each as one call instead of one per pair.

`torch.func.vmap` has no rule for the fused attention and calls it pair by pair, and it takes a linear layer apart into
a product and an addition over all pairs. Here the queries of all candidates of a context become the queries of one
call, with keys and values projected once, and contexts become its batch.

While `merged_calls` is active, `torch.nn.functional.scaled_dot_product_attention` and ``linear`` are these versions,
which do what the originals do and hand on to them whatever is not mapped over. A module that has imported the originals
under names of its own keeps them: right, but slower.

Shapes: n mapped over, L queries, S keys, d width of a head, i and o widths of a linear layer.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import Tensor
from torch._C._functorch import (
    _add_batch_dim,
    get_unwrapped,
    is_batchedtensor,
    is_gradtrackingtensor,
    maybe_get_bdim,
    maybe_get_level,
)
from torch.nn import functional

_Four = tuple[Tensor, Tensor, Tensor, Tensor | None]
_Places = tuple[int | None, int | None, int | None, int | None]

_attention, _linear = functional.scaled_dot_product_attention, functional.linear
_lock, _users = threading.Lock(), 0


@contextmanager
def merged_calls() -> Iterator[None]:
    """Merges calls for a while, in all threads; elsewhere nothing is mapped over and the originals run."""
    _count(+1)
    try:
        yield
    finally:
        _count(-1)


def _count(change: int) -> None:
    global _users
    with _lock:
        _users += change
        functional.scaled_dot_product_attention = attention if _users else _attention
        functional.linear = linear if _users else _linear


def _level(*values: Tensor | None) -> int:
    """Of the innermost map that any of these is mapped over by; 0: none is, or `torch.func.grad` is further in.

    What is differentiated further in may not be taken out of a map around it.
    """
    there = [value for value in values if value is not None]
    mapped = max((maybe_get_level(value) for value in there if is_batchedtensor(value)), default=0)
    differentiated = max((maybe_get_level(value) for value in there if is_gradtrackingtensor(value)), default=0)
    return mapped if mapped > differentiated else 0


def _taken_out(value: Tensor | None, level: int) -> tuple[Tensor | None, int | None]:
    """The value as it is outside of the map of this level, and the dimension that the map goes over, if it does."""
    if value is None or not is_batchedtensor(value) or maybe_get_level(value) != level:
        return value, None
    return get_unwrapped(value), maybe_get_bdim(value)


def _in_front(value: Tensor, place: int) -> Tensor:
    return value.movedim(place, 0) if place else value  # most are: an operation that does nothing takes time as well


def linear(input: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """As `torch.nn.functional.linear`; ``input [..., i]``, ``weight [o, i]``, ``bias [o]``."""
    level = _level(input, weight, bias)
    if not level or _level(weight, bias):
        return _linear(input, weight, bias)
    outside, place = _taken_out(input, level)
    assert outside is not None
    assert place is not None
    inner = _in_front(outside, place)
    merged = linear if _level(inner, weight, bias) else _rows_linear
    return _add_batch_dim(merged(inner, weight, bias), 0, level)


def _rows_linear(input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """The original on rows, where the bias is part of the product."""
    if bias is None or input.dim() <= 2:
        return _linear(input, weight, bias)
    rows = _linear(input.flatten(0, -2), weight, bias)
    return rows.reshape(*input.shape[:-1], rows.shape[-1])


def attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attn_mask: Tensor | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    scale: float | None = None,
    enable_gqa: bool = False,
) -> Tensor:
    """As `torch.nn.functional.scaled_dot_product_attention`; ``query [..., L, d]``, the others ``[..., S, d]``."""
    # what these options do depends on which query is which
    if dropout_p or is_causal or enable_gqa or not _level(query, key, value, attn_mask):
        return _attention(query, key, value, attn_mask, dropout_p, is_causal, scale=scale, enable_gqa=enable_gqa)
    return _merged(query, key, value, attn_mask, scale)


def _merged(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """Attention outside of all maps that any of these is mapped over by."""
    level = _level(query, key, value, mask)
    if not level:
        return _folded(query, key, value, mask, scale)
    taken, places = zip(*(_taken_out(each, level) for each in (query, key, value, mask)), strict=True)
    answer, place = _without_map(taken, places, scale)
    return _add_batch_dim(answer, place, level)


def _without_map(taken: _Four, places: _Places, scale: float | None) -> tuple[Tensor, int]:
    """Attention on what was taken out of a map: the answer, and its dimension that the map goes over."""
    query, key, value, mask = taken
    count = next(
        each.shape[place] for each, place in zip(taken, places, strict=True) if each is not None and place is not None
    )
    if places[0] is not None and places[1] is None and places[2] is None and query.dim() > 3:
        return _more_queries(count, (places[0], places[3]), query, key, value, mask, scale)
    return _larger_batch(count, places, query, key, value, mask, scale), 0


def _folded(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scale: float | None) -> Tensor:
    """The original, which has fast kernels for ``[batch, heads, L, d]`` alone."""
    lead = query.shape[:-3]
    if query.dim() <= 4 or key.shape[:-3] != lead or value.shape[:-3] != lead:
        return _attention(query, key, value, attn_mask=mask, scale=scale)
    if mask is not None:
        mask = mask.expand(*lead, *mask.shape[-3:]) if mask.dim() >= 3 else mask
        mask = mask.flatten(0, len(lead) - 1) if mask.dim() > 4 else mask
    query, key, value = (each.flatten(0, len(lead) - 1) for each in (query, key, value))
    answer = _attention(query, key, value, attn_mask=mask, scale=scale)
    return answer.reshape(*lead, *answer.shape[1:])


def _more_queries(
    count: int,
    places: tuple[int, int | None],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float | None,
) -> tuple[Tensor, int]:
    """``n`` times L queries for the same keys: ``[..., n·L, d]``; the answer, and where it is mapped over."""
    query = query.movedim(places[0], -3) if places[0] != query.dim() - 3 else query
    length = query.shape[-2]
    if mask is not None:
        if places[1] is not None:
            mask = _aligned(mask, places[1], query.dim()).movedim(0, -3)
            mask = mask.expand(*mask.shape[:-2], length, mask.shape[-1]).flatten(-3, -2)
        elif mask.dim() > 1 and mask.shape[-2] > 1:
            rows = mask.unsqueeze(-3)
            mask = rows.expand(*rows.shape[:-3], count, *rows.shape[-2:]).flatten(-3, -2)
    answer = _merged(query.flatten(-3, -2), key, value, mask, scale)
    return answer.reshape(*answer.shape[:-2], count, length, answer.shape[-1]), answer.dim() - 2


def _larger_batch(
    count: int,
    places: tuple[Any, ...],
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scale: float | None,
) -> Tensor:
    """``[n, ..., L, d]``: what is not mapped over is repeated, without being copied."""
    queries, keys, values = (
        tensor.expand(count, *tensor.shape) if place is None else _in_front(tensor, place)
        for tensor, place in zip((query, key, value), places[:3], strict=True)
    )
    if mask is not None and places[3] is not None:
        mask = _aligned(mask, places[3], queries.dim())
    return _merged(queries, keys, values, mask, scale)


def _aligned(mask: Tensor, place: int, dimensions: int) -> Tensor:
    """A mask that is mapped over, with that in front, and as many dimensions as the queries have with it in front."""
    first = _in_front(mask, place)
    return first.reshape(len(first), *[1] * (dimensions - first.dim()), *first.shape[1:])
