"""Time and peak memory of `pairwise_energies` against expanding everything to B·B rows.

``make bench`` runs it. The two ways take turns; medians are printed. Memory is the peak of the tensors alive at once
that a call makes.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

SIZES = ((8, 512, 4096, 512, 8), (32, 128, 1024, 512, 8), (64, 32, 128, 64, 4))
"""B contexts, S tokens, D context width, hidden width, attention heads."""

STEPS, DIMENSIONS = 8, 7


def prepare(size: tuple[int, int, int, int, int], way: str) -> Callable[[], object]:
    import torch

    from energydiag import pairwise_energies
    from energydiag.models.cross_attention import CrossAttentionEnergy

    contexts, tokens, width, hidden, heads = size
    torch.manual_seed(0)
    model = CrossAttentionEnergy(width, DIMENSIONS, hidden, heads).eval().requires_grad_(False)
    context = torch.randn(contexts, tokens, width)
    actions = torch.randn(contexts, STEPS, DIMENSIONS)
    mask = torch.zeros(contexts, tokens, dtype=torch.bool)
    mask[:, -tokens // 8 :] = True

    def expanded() -> object:
        rows = contexts * contexts
        return model(
            context[:, None].expand(-1, contexts, -1, -1).reshape(rows, tokens, width),
            actions[None].expand(contexts, -1, -1, -1).reshape(rows, STEPS, DIMENSIONS),
            mask[:, None].expand(-1, contexts, -1).reshape(rows, tokens),
        ).view(contexts, contexts)

    def ours() -> object:
        return pairwise_energies(model, context, actions, mask)

    if way == "both":
        a, b = expanded(), ours()
        return lambda: float((a - b).abs().max() / a.abs().max())  # type: ignore[operator]
    return ours if way == "ours" else expanded


def time_both(size: tuple[int, int, int, int, int], repeats: int) -> dict[str, float]:
    """Median seconds of each way and the median of their ratios, pair by pair, and the largest relative difference."""
    import torch

    ways = [prepare(size, "expanded"), prepare(size, "ours")]
    torch.set_grad_enabled(False)
    for way in ways:
        way()
    seconds: list[list[float]] = [[], []]
    for _ in range(repeats):
        for way, spent in zip(ways, seconds, strict=True):
            start = time.perf_counter()
            way()
            spent.append(time.perf_counter() - start)
    ratios = [a / b for a, b in zip(*seconds, strict=True)]
    return {
        "expanded_seconds": statistics.median(seconds[0]),
        "ours_seconds": statistics.median(seconds[1]),
        "speedup": statistics.median(ratios),
        "relative_difference": prepare(size, "both")(),  # type: ignore[dict-item]
    }


def peak_memory(size: tuple[int, int, int, int, int], way: str) -> float:
    """Bytes of tensors that one call holds at its peak, beside model and inputs."""
    import torch

    from energydiag.energies.memory import PeakBytes

    run = prepare(size, way)
    run()
    with torch.no_grad(), PeakBytes() as watch:
        run()
    return watch.peak


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--json", help="write the figures to this file")
    arguments = parser.parse_args()
    results = []
    print(f"{'B, S, D':>16} {'expanded':>10} {'ours':>8} {'speed-up':>9} {'of B':>6} {'memory':>17} {'difference':>11}")
    for size in SIZES:
        figures = time_both(size, arguments.repeats)
        memory = {way: peak_memory(size, way) / 2**20 for way in ("expanded", "ours")}
        results.append({"size": size[:3], **figures, **{f"{k}_mib": v for k, v in memory.items()}})
        print(
            f"{', '.join(map(str, size[:3])):>16} {figures['expanded_seconds']:9.2f}s {figures['ours_seconds']:7.3f}s "
            f"{figures['speedup']:8.1f}x {figures['speedup'] / size[0]:6.2f} "
            f"{memory['expanded']:7.0f} > {memory['ours']:3.0f} MiB "
            f"{figures['relative_difference']:11.1e}"
        )
    if arguments.json:
        Path(arguments.json).write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
