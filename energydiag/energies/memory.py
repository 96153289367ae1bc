"""How much is done at once: one piece is watched, and its peak decides the size of the others.

Nothing has to be known of the model for that.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from energydiag.energies.operations import OperationsMode, makes_memory, tensors_in

Piece = TypeVar("Piece")

DEFAULT_BUDGET = 1 << 29
"""Bytes of intermediate results, 512 MiB: what a small machine can spare beside a model and its batch (a guess)."""


class PeakBytes(OperationsMode):  # type: ignore[no-untyped-call]
    """Counts the bytes of tensors that are alive at the same time among those made while it is active."""

    def __init__(self) -> None:
        super().__init__()
        self.peak: int = 0
        self._alive = 0
        self._sizes: dict[int, int] = {}

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        answer = func(*args, **(kwargs or {}))
        if makes_memory(func, args, answer):
            for tensor in tensors_in(answer):
                self._count(tensor.untyped_storage())
        return answer

    def _count(self, storage: torch.UntypedStorage) -> None:
        key = storage._cdata
        if key in self._sizes:
            return
        self._sizes[key] = storage.nbytes()
        self._alive += storage.nbytes()
        self.peak = max(self.peak, self._alive)
        weakref.finalize(storage, self._forget, key)

    def _forget(self, key: int) -> None:
        self._alive -= self._sizes.pop(key, 0)


def bytes_of_one(run: Callable[[slice], object]) -> int:
    """Bytes that the first item takes at its peak, 1 at least; its answer is thrown away."""
    with PeakBytes() as watch:
        run(slice(0, 1))
    return watch.peak or 1


def run_in_pieces(run: Callable[[slice], Piece], total: int, budget: int | None) -> Iterator[Piece]:
    """Answers of ``run`` for consecutive slices that cover ``range(total)``.

    The first slice has length 1 and is watched; its peak decides the length of the others, and no work is done twice.

    Args:
        run: Does one slice; its memory is taken to grow in proportion to the slice's length.
        total: How many there are.
        budget: Bytes that a slice may take at its peak; None does all at once, unwatched.
    """
    if budget is None:
        yield run(slice(0, total))
        return
    with PeakBytes() as watch:
        piece = run(slice(0, 1))
    yield piece
    del piece
    for part in parts(total, max(1, budget // max(watch.peak, 1)), start=1):
        yield run(part)


def parts(total: int, size: int, start: int = 0) -> Iterator[slice]:
    """Consecutive slices of at most this size that cover ``range(start, total)``.

    All are of one length, so that what was learned from one holds for the others, where less than twice as many as
    are needed make them so. Else the last is shorter.
    """
    whole = total - start
    fewest = max(1, -(-whole // size))
    count = next((n for n in range(fewest, 2 * fewest) if whole % n == 0), fewest)
    length = max(1, -(-whole // count))
    for begin in range(start, total, length):
        yield slice(begin, min(begin + length, total))


def gathered(pieces: Iterable[Sequence[Tensor]], total: int) -> tuple[Tensor, ...]:
    """Pieces that follow each other along the first dimension, as one.

    Each is copied into its place as soon as it is there. Small answers that were kept between large intermediate
    results would hold the memory of all these (measured: 3.8 GiB over 10,240 contexts). What has a history of gradients
    is kept and concatenated.

    Args:
        pieces: At least one, each with as many tensors, ``[n_i, …]``.
        total: Sum of the n_i.
    """
    whole: tuple[Tensor, ...] = ()
    kept: list[Sequence[Tensor]] = []
    start = 0
    for piece in pieces:
        if any(value.requires_grad for value in piece) or kept:
            kept.append(piece)
            continue
        if len(piece[0]) == total:
            return tuple(piece)
        if not whole:
            whole = tuple(torch.empty((total, *v.shape[1:]), dtype=v.dtype, device=v.device) for v in piece)
        for into, value in zip(whole, piece, strict=True):
            into[start : start + len(value)] = value
        start += len(piece[0])
    return tuple(torch.cat(column) for column in zip(*kept, strict=True)) if kept else whole
