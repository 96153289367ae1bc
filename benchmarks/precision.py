"""What the type of numbers moves energies by: the figures in docs/identity.md.

    python -m benchmarks.precision

For every sample head, energies of 256 held-out samples in another precision beside those in float32: the largest
difference and the root mean square, in standard deviations of the energies, in percent.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from energydiag.batches import load_batch
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import load_checkpoint

SAMPLES = Path(__file__).resolve().parent.parent / "sample_checkpoints"
HEADS = {
    "original": ("original.pt", "original", 8),
    "rescaled": ("rescaled.safetensors", None, None),
    "inverted": ("inverted.pt", "linear", 8),
    "healthy": ("healthy.safetensors", None, None),
}
COUNT = 256


def energies(energy: EnergyFunction, dtype: torch.dtype, contexts: torch.dtype, cast: torch.dtype | None) -> Tensor:
    """``[n]``: weights and actions in one type, contexts first rounded to another, perhaps under autocast."""
    batch = load_batch(SAMPLES / "heldout-batch.safetensors")
    batch = batch.take(batch.spread(COUNT))
    # the dump holds bfloat16 contexts; a little noise makes float32 ones that rounding changes
    noise = torch.randn(batch.hidden.shape, generator=torch.Generator().manual_seed(0))
    hidden = (batch.hidden.float() * (1 + 2**-9 * noise)).to(contexts).to(dtype)
    energy.module.to(dtype)
    with torch.no_grad(), torch.autocast("cpu", cast or torch.bfloat16, enabled=cast is not None):
        return energy(hidden, batch.actions.to(dtype), batch.pad_mask).double()


def rows() -> Iterator[tuple[str, list[str]]]:
    """A head and its cells."""
    kinds = (
        (torch.float32, torch.bfloat16, None),
        (torch.float32, torch.float16, None),
        (torch.bfloat16, torch.float32, None),
        (torch.float16, torch.float32, None),
        (torch.float32, torch.float32, torch.bfloat16),
    )
    for name, (file, head, nhead) in HEADS.items():
        plain = energies(load_checkpoint(SAMPLES / file, head=head, nhead=nhead), torch.float32, torch.float32, None)
        cells = []
        for kind in kinds:
            other = energies(load_checkpoint(SAMPLES / file, head=head, nhead=nhead), *kind)
            away = (other - plain) / plain.std()
            cells.append(f"{100 * float(away.abs().max()):.2g} ({100 * float(away.square().mean().sqrt()):.2g})")
        rounded = {dtype: (plain.to(dtype).double() - plain) / plain.std() for dtype in (torch.bfloat16, torch.float16)}
        cells += [
            f"{100 * float(away.abs().max()):.2g} ({100 * float(away.square().mean().sqrt()):.2g})"
            for away in rounded.values()
        ]
        yield name, cells


if __name__ == "__main__":
    titles = ("bf16 contexts", "fp16 contexts", "bf16", "fp16", "autocast bf16", "stored bf16", "stored fp16")
    print(f"| head | {' | '.join(titles)} |\n|---|{'---|' * len(titles)}")
    for name, cells in rows():
        print(f"| {name} | {' | '.join(cells)} |")
