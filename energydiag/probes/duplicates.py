"""Which rows of a tensor repeat an earlier one bit for bit, without comparing all of them in full.

Shapes: N samples, S context tokens, D context width.
"""

from __future__ import annotations

import hashlib
from collections import Counter

import numpy as np
import torch
from torch import Tensor

from energydiag.batch import Batch, blocks

GLIMPSE = 512
"""Values of a context that are looked at first; only contexts that agree in them are read whole."""


def numbered(keys: list[bytes]) -> np.ndarray:
    """The same number for equal keys, ``[N]`` int, counted in order of first appearance."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)


def repeats(numbers_N: np.ndarray) -> np.ndarray:
    """Whether a sample's number stands at an earlier sample too, ``[N]`` bool."""
    again = np.ones(len(numbers_N), dtype=bool)
    again[np.unique(numbers_N, return_index=True)[1]] = False
    return again


def equals(numbers_N: np.ndarray) -> np.ndarray:
    """How many samples have each sample's number, itself included, ``[N]`` int."""
    counts: np.ndarray = np.bincount(numbers_N)[numbers_N]
    return counts


def row_keys(values: Tensor) -> list[bytes]:
    """A key for each row of ``[N, …]``, equal where the rows are."""
    rows = values.detach().cpu().contiguous().flatten(1)
    return [hashlib.blake2b(row.data, digest_size=16).digest() for row in rows.view(torch.uint8).numpy()]


def context_keys(batch: Batch) -> list[bytes]:
    """A key for each context, equal where the visible tokens and the mask are; hidden tokens do not count.

    Contexts can be megabytes each, so a few of their values come first, and the whole of them, one at a time, only
    where those agree.
    """
    glimpses = _glimpses(batch)
    often = Counter(glimpses)
    return [glimpse + (_whole_key(batch, i) if often[glimpse] > 1 else b"") for i, glimpse in enumerate(glimpses)]


def _glimpses(batch: Batch) -> list[bytes]:
    size, width = batch.hidden[0].numel(), batch.hidden.shape[-1]
    places = torch.linspace(0, size - 1, min(size, GLIMPSE), dtype=torch.float64).long()
    keys: list[bytes] = []
    for block in blocks(batch.hidden):
        values = block.flatten(1)[:, places]
        if batch.pad_mask is not None:
            mask = batch.pad_mask[len(keys) : len(keys) + len(block)]
            values = values.masked_fill(mask[:, places // width], 0)
        keys += row_keys(values)
    return keys


def _whole_key(batch: Batch, index: int) -> bytes:
    context = batch.hidden[index]
    if batch.pad_mask is None:
        return row_keys(context[None])[0]
    mask = batch.pad_mask[index]
    return b"".join(row_keys(part[None])[0] for part in (context.masked_fill(mask[:, None], 0), mask))
