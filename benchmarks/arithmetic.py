"""What the energies of all pairs cost at least: multiplications that cannot be spared, at the rate the machine has.

Shapes: B contexts, N candidates, S tokens, D context width, W hidden width, H action steps, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode, sdpa_flop_count

from energydiag.energies.memory import PeakBytes

from .policy import DIMENSIONS, STEPS, Case, Size, expanded

_ROWS = 1 << 14
"""Rows of a matrix at once; more make a product no faster."""

Shape = tuple[int, int, int]
"""Rows, inner size and columns of a product."""


def context_matmuls(size: Size) -> list[Shape]:
    """Of one pass over all contexts: into the hidden width, a block, out, and keys with values.

    Per token ``2·(D·W + W² + W² + 2·W²) = 2·W·(D + 4·W)`` FLOPs.
    """
    rows, width, hidden = size.contexts * size.tokens, size.width, size.hidden
    return [(rows, width, hidden), (rows, hidden, hidden), (rows, hidden, hidden), (rows, hidden, 2 * hidden)]


def action_matmuls(size: Size) -> list[Shape]:
    """Of one pass over all candidates: into the hidden width, a block, out, and queries.

    Per step ``2·W·(A + 3·W)`` FLOPs.
    """
    rows, hidden = size.contexts * STEPS, size.hidden
    return [(rows, DIMENSIONS, hidden), *[(rows, hidden, hidden)] * 3]


def pair_matmuls(size: Size) -> list[Shape]:
    """Of all pairs, besides attention: the attention's output, into the prediction head, a block, and the raw value.

    Per step of a pair ``2·W·(3·W + 1)`` FLOPs.
    """
    rows, hidden = size.contexts**2 * STEPS, size.hidden
    return [(rows, hidden, hidden)] * 3 + [(rows, hidden, 1)]


def attention_flops(size: Size) -> int:
    """Scores and weighted values: per step of a pair ``2·S·W`` each."""
    return size.contexts**2 * STEPS * 4 * size.tokens * size.hidden


def flops(matmuls: list[Shape]) -> int:
    """Two for every multiplication with an addition."""
    return sum(2 * rows * inner * columns for rows, inner, columns in matmuls)


def factorised_flops(size: Size) -> int:
    """What cannot be spared: contexts once, candidates once, and of pairs what depends on both."""
    linear = context_matmuls(size) + action_matmuls(size) + pair_matmuls(size)
    return flops(linear) + attention_flops(size)


def expanded_flops(size: Size) -> int:
    """What the expansion to B² rows does: everything once a pair."""
    pairs = flops(context_matmuls(size)) + flops(action_matmuls(size))
    return size.contexts * pairs + flops(pair_matmuls(size)) + attention_flops(size)


def counted_flops(work: Callable[[], object]) -> int:
    """FLOPs of the products that torch runs while it works."""

    def fused(query: list[int], key: list[int], value: list[int], *_args: object, **_kwargs: object) -> int:
        return sdpa_flop_count(query, key, value)

    # torch does not count the kernel for CPUs, only that for GPUs
    more = {torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: fused}
    with FlopCounterMode(display=False, custom_mapping=more) as counter:
        work()
    return int(counter.get_total_flops())


def context_share(size: Size) -> float:
    """Of the arithmetic that cannot be spared, the contexts' part."""
    return flops(context_matmuls(size)) / factorised_flops(size)


def matmul_way(size: Size) -> tuple[Callable[[], None], int]:
    """Does the linear layers' products and nothing else, on the same numbers again and again; and their FLOPs."""
    # the product with a single column is bound by memory, and says nothing of the rate
    shapes = [s for s in context_matmuls(size) + pair_matmuls(size) if s[2] > 1]
    operands = [
        (torch.randn(min(rows, _ROWS), inner), torch.randn(inner, columns), torch.empty(min(rows, _ROWS), columns))
        for rows, inner, columns in shapes
    ]

    def run() -> None:
        for (rows, _, _), (left, right, out) in zip(shapes, operands, strict=True):
            for start in range(0, rows, _ROWS):
                some = min(_ROWS, rows - start)
                torch.mm(left[:some], right, out=out[:some])

    return run, flops(shapes)


def peak_bytes(work: Callable[[], object]) -> float:
    """Bytes of tensors that are alive at once among those that the work makes."""
    with PeakBytes() as watch:
        kept = work()
    del kept
    return float(watch.peak)


def expanded_bytes(case: Case, run: Callable[[nn.Module, Tensor, Tensor, Tensor], object] = expanded) -> float:
    """What the expansion to B² rows will take: measured on few and on twice as many rows, and drawn on as a line.

    Args:
        case: Whose B² rows.
        run: What is done with some contexts and some candidates.
    """
    contexts, most = (
        min(2, len(case.hidden)),
        min(16, len(case.actions)),
    )  # one context alone is repeated without copies

    def peak(candidates: int) -> float:
        inputs = case.hidden[:contexts], case.actions[:candidates], case.mask[:contexts]
        return peak_bytes(lambda: run(case.model, *inputs))

    peak(contexts)  # gradients that add up are there from now on
    few, many = peak(most // 2), peak(most)
    by_row = (many - few) / (contexts * (most - most // 2))
    return many + by_row * (len(case.hidden) * len(case.actions) - contexts * most)
