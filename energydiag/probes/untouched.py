"""Which layers are still as PyTorch drew them: training never reached them.

``weights.untouched_fraction`` is the share of such layers among those of which it can be told,
``weights.untouched_fraction.entries`` the same share of their single numbers, and ``weights.untouched.layer.NAME`` is 1
for a layer that is as drawn and 0 for one that was changed.

* Linear and bilinear layers and convolutions are drawn uniformly from -b to b with b = 1/√inputs, biases likewise;
  attention's input projections with b = √(6 / (inputs + all outputs)) (Glorot and Bengio 2010) and a bias of 0. The n
  weights of a layer, each over b, are as drawn where none is beyond 1.002 (bfloat16 rounds by less), the largest is not
  below 1 - 10/n, and their Kolmogorov-Smirnov distance from the uniform distribution is at most 2.2/√n; of ten thousand
  fresh layers two fail. The bias of a linear layer must be as drawn by itself, or everywhere below a thousandth of b,
  since many set it to 0.
* Where steps moved the numbers by d·b on average, none is beyond b with a probability of about exp(-n·d/4). So a layer
  with fewer than 512 numbers may tell that it was changed, but not that it was not, and is left out then.
* Layer, group, batch and RMS norms are as drawn where every scale is 1 and every shift is 0, to within 1e-4.

Embeddings, recurrent layers and single parameters are left out, since they are drawn in other ways. A layer that was
drawn in a way of its own looks changed, and so does one that only weight decay has shrunk. A layer that training moved
by less than about 30/n of b, by too short steps or too small gradients, looks as drawn: that is told, not its reason.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe
from energydiag.probes.unused_modules import is_part_of
from energydiag.probes.weights import matrices
from energydiag.results import Measurement, Skipped

FEWEST_ENTRIES = 512
"""Of a layer that is called untouched."""

_BEYOND = 1.002
_SHORT = 10.0
_FARTHEST = 2.2
_ZERO = 1e-3
_EXACT = 1e-4
_NORMS: tuple[type[nn.Module], ...] = (
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
    nn.modules.batchnorm._NormBase,
)


@dataclass(frozen=True)
class Layer:
    """One layer, and whether training left it as it was.

    Attributes:
        name: Path of the module, and what distinguishes this part of it.
        entries: How many numbers it holds.
        untouched: Whether they are as PyTorch draws them.
    """

    name: str
    entries: int
    untouched: bool


def layers(model: nn.Module) -> Iterator[Layer]:
    """All layers of which it can be told, each once."""
    for matrix in matrices(model):
        if matrix.bound is not None and bool(torch.isfinite(matrix.weight).all()):
            fresh = is_fresh(matrix.weight.flatten() / matrix.bound) and _starts(matrix.bias, matrix.bound)
            entries = matrix.weight.numel() + (0 if matrix.bias is None else len(matrix.bias))
            if not fresh or entries >= FEWEST_ENTRIES:
                yield Layer(matrix.name, entries, fresh)
    for path, module in model.named_modules():
        if isinstance(module, _NORMS):
            scale, shift = module._parameters.get("weight"), module._parameters.get("bias")
            if scale is not None:
                off = torch.cat([scale.detach().flatten() - 1, *([] if shift is None else [shift.detach().flatten()])])
                yield Layer(path or "model", off.numel(), bool((off.abs() <= _EXACT).all()))


def _starts(bias: Tensor | None, bound: float) -> bool:
    """Whether a bias may be one from which training starts: none, zero, or drawn."""
    return bias is None or bool((bias.abs() <= _ZERO * bound).all()) or is_fresh(bias / bound)


def is_fresh(drawn: Tensor) -> bool:
    """Whether numbers ``[n]`` may have been drawn uniformly from -1 to 1."""
    n, largest = len(drawn), float(drawn.abs().max())
    if not 1 - _SHORT / n <= largest <= _BEYOND:
        return False
    below = (drawn.sort().values.clamp(-1, 1) + 1) / 2
    count = torch.arange(n + 1, dtype=below.dtype) / n
    distance = float(torch.maximum(count[1:] - below, below - count[:-1]).max())
    return distance <= _FARTHEST / math.sqrt(n)


def _measure(evidence: Evidence) -> Answer:
    every = list(layers(evidence.energy.module))
    found = [layer for layer in every if not is_part_of(layer.name, evidence.unused)]
    if not found:
        why = "the model has no layer whose fresh weights are known"
        return Answer(skipped=(Skipped("weights.untouched_fraction", why),))
    entries = sum(layer.entries for layer in found)
    fresh = [layer for layer in found if layer.untouched]
    share = sum(layer.entries for layer in fresh) / entries
    return Answer(
        (
            Measurement.of("weights.untouched_fraction", len(fresh) / len(found), len(found)),
            Measurement.of("weights.untouched_fraction.entries", share, entries),
            *(
                Measurement.of(f"weights.untouched.layer.{layer.name}", float(layer.untouched), layer.entries)
                for layer in found
            ),
        )
    )


PROBE = Probe("untouched", _measure)
