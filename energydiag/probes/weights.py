"""What the parameters alone tell: layers that decayed, exploded, are zero, or hold the same unit many times.

Matrices are the weights of linear and bilinear layers, convolutions (both as ``[out, everything else]``) and
embeddings, the three parts of an attention's input projection, and any other parameter with two dimensions above 1.
Where a weight is computed, as by weight normalisation, the computed one counts.

* ``weights.rms_relative``: root mean square times √(3·inputs): 1 for weights as PyTorch draws them, uniform in
  ±1/√inputs. Far below 1 a layer has decayed, far above 1 it has exploded. ``.min``, ``.median`` and ``.max``
  are over all layers, ``.layer.NAME`` is each. An embedding has one input.
* ``weights.zero_layers``: share of the matrices that are all zero.
* ``weights.symmetric_units``: share of the units in linear layers with at least 4 of them whose weights and bias equal
  another unit's of the layer to within a millionth. Such units compute the same for ever, unless what follows tells
  them apart. The largest share in one layer is ``.worst``.
* ``weights.stable_rank_min``: the smallest ‖W‖_F² / ‖W‖_2² as a share of the smaller dimension (Rudelson and Vershynin
  2007, §1): 1 where all directions are passed on alike, 1/n where only one of n is; a quarter for a random square.
  Layers with a dimension of 1 are left out. ``weights.biggest_spectral_norm``: the largest ‖W‖_2.
* ``weights.nonfinite``: share of the single parameters that are NaN or infinite. A matrix that holds one is left out of
  all others.

Modules that no forward pass enters and no energy depends on are named once, as skipped, and left out of every number
here, among the gradients and among the untouched layers.

Above 1024 in both dimensions ‖W‖_2 comes from ten rounds of subspace iteration, accurate to about 1 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import median

import torch
from torch import Tensor, nn

from energydiag.probes.evidence import Evidence
from energydiag.probes.probe import Answer, Probe
from energydiag.probes.unused_modules import is_part_of
from energydiag.results import Measurement, Skipped

SAME_WITHIN = 1e-6
FEWEST_UNITS = 4
"""In a layer whose units are compared: of two or three outputs, equal ones may be meant."""

EXACT_UP_TO = 1024
_DIRECTIONS, _ROUNDS = 8, 10
_WITH_WEIGHT = (nn.Linear, nn.Bilinear, nn.Embedding, nn.EmbeddingBag, nn.modules.conv._ConvNd)


@dataclass(frozen=True)
class Matrix:
    """One layer's weights.

    Attributes:
        name: Path of the module, and what distinguishes this matrix in it.
        weight: ``[out, in]``.
        inputs: How many numbers an output sums over.
        bias: ``[out]`` where the outputs are units of a layer, or None.
        units: Whether the rows are the units of a linear layer.
        bound: PyTorch draws fresh weights uniformly from -bound to bound; None where it does not, or it is not known.
    """

    name: str
    weight: Tensor
    inputs: int
    bias: Tensor | None = None
    units: bool = False
    bound: float | None = None


def matrices(model: nn.Module) -> Iterator[Matrix]:
    """All weight matrices, one after another, each once, in float64 on the CPU."""
    seen: set[int] = set()
    for path, module in model.named_modules():
        if "parametrizations" not in path.split("."):  # what a weight is computed from
            yield from _of_module(path or "model", module, seen)


def _of_module(path: str, module: nn.Module, seen: set[int]) -> Iterator[Matrix]:
    if isinstance(module, _WITH_WEIGHT):
        if _is_new(module._parameters.get("weight"), seen):
            yield from _of_layer(path, module)
        return
    for name, parameter in module._parameters.items():
        if parameter is None or parameter.dim() != 2 or min(parameter.shape) < 2 or not parameter.is_floating_point():
            continue
        if not _is_new(parameter, seen):
            continue
        if isinstance(module, nn.MultiheadAttention) and name == "in_proj_weight":
            yield from _of_attention(path, module)
        else:
            yield Matrix(f"{path}.{name}", _plain(parameter), parameter.shape[1])


def _of_layer(path: str, module: nn.Module) -> Iterator[Matrix]:
    weight = module.weight  # not always a parameter: computed where it is normalised
    if not isinstance(weight, Tensor) or not weight.is_floating_point() or weight.numel() == 0:
        return
    flat = _plain(weight).flatten(1)
    if isinstance(module, nn.Linear):
        bias = None if module.bias is None else _plain(module.bias)
        yield Matrix(path, flat, flat.shape[1], bias, units=True, bound=flat.shape[1] ** -0.5)
    elif isinstance(module, nn.Embedding | nn.EmbeddingBag):
        yield Matrix(path, flat, 1)
    else:  # torch draws a bilinear layer's weights for its first input alone
        inputs = weight.shape[1] if isinstance(module, nn.Bilinear) else flat.shape[1]
        yield Matrix(path, flat, inputs, bound=inputs**-0.5)


def _of_attention(path: str, module: nn.MultiheadAttention) -> Iterator[Matrix]:
    weights = _plain(module.in_proj_weight).tensor_split(3)
    biases = (None,) * 3 if module.in_proj_bias is None else _plain(module.in_proj_bias).tensor_split(3)
    bound = math.sqrt(6 / sum(module.in_proj_weight.shape))
    for name, weight, bias in zip(("query", "key", "value"), weights, biases, strict=True):
        yield Matrix(f"{path}.{name}", weight, weight.shape[1], bias, units=True, bound=bound)


def _is_new(parameter: Tensor | None, seen: set[int]) -> bool:
    """Whether a parameter was not met yet under another name; what is computed always is new."""
    known = parameter is not None and id(parameter) in seen
    seen.add(id(parameter))
    return not known


def _plain(value: Tensor) -> Tensor:
    return value.detach().double().cpu()


@dataclass(frozen=True)
class _Facts:
    """What is kept of a matrix: its own numbers are many."""

    name: str
    relative: float
    norm: float
    stable: float | None
    twins: Tensor | None


def _facts(matrix: Matrix) -> _Facts:
    weight, norm = matrix.weight, spectral_norm(matrix.weight)
    compared = matrix.units and len(weight) >= FEWEST_UNITS
    return _Facts(
        matrix.name,
        float(weight.square().mean().sqrt()) * math.sqrt(3 * matrix.inputs),
        norm,
        float((weight / norm).square().sum()) / min(weight.shape) if norm > 0 and min(weight.shape) > 1 else None,
        twin_units(matrix) if compared else None,
    )


def _measure(evidence: Evidence) -> Answer:
    model, unused = evidence.energy.module, evidence.unused
    named = [(name, p.detach()) for name, p in model.named_parameters() if p.is_floating_point()]
    floating = [p for name, p in named if not is_part_of(name, unused)]
    total = sum(p.numel() for p in floating)
    if not total:
        return Answer(skipped=(Skipped("weights", "the model has no parameters"),))
    broken = sum(int((~torch.isfinite(p)).sum()) for p in floating)
    nonfinite = Measurement.of("weights.nonfinite", broken / total, total)
    facts, skipped = [], []
    if unused:
        left_out = f"no energy depends on {', '.join(sorted(unused))}: they are in no number"
        skipped.append(Skipped("weights.unused_modules", left_out))
    for matrix in matrices(model):
        if is_part_of(matrix.name, unused):
            continue
        if bool(torch.isfinite(matrix.weight).all()):
            facts.append(_facts(matrix))
        else:
            skipped.append(Skipped(f"weights.rms_relative.layer.{matrix.name}", "it holds NaN or infinite weights"))
    if not facts:
        none = Skipped("weights.rms_relative", "no layer has a matrix of finite weights")
        return Answer((nonfinite,), skipped=(*skipped, none))
    parts = (_sizes(facts), _ranks(facts), _symmetry(facts))
    return Answer(
        (nonfinite, *(m for part in parts for m in part.measurements)),
        skipped=(*skipped, *(s for part in parts for s in part.skipped)),
    )


def _sizes(facts: Sequence[_Facts]) -> Answer:
    relative, count = [one.relative for one in facts], len(facts)
    return Answer(
        (
            Measurement.of("weights.rms_relative.min", min(relative), count),
            Measurement.of("weights.rms_relative.median", median(relative), count),
            Measurement.of("weights.rms_relative.max", max(relative), count),
            *(Measurement.of(f"weights.rms_relative.layer.{one.name}", one.relative, 1) for one in facts),
            Measurement.of("weights.zero_layers", relative.count(0.0) / count, count),
        )
    )


def _ranks(facts: Sequence[_Facts]) -> Answer:
    biggest = Measurement.of("weights.biggest_spectral_norm", max(one.norm for one in facts), len(facts))
    stable = [one.stable for one in facts if one.stable is not None]
    if not stable:
        none = Skipped("weights.stable_rank_min", "every matrix is zero or has a dimension of 1")
        return Answer((biggest,), skipped=(none,))
    return Answer((biggest, Measurement.of("weights.stable_rank_min", min(stable), len(stable))))


def _symmetry(facts: Sequence[_Facts]) -> Answer:
    name = "weights.symmetric_units"
    twins = [one.twins for one in facts if one.twins is not None]
    if not twins:
        return Answer(skipped=(Skipped(name, f"no linear layer has {FEWEST_UNITS} units or more"),))
    together, worst = torch.cat(twins), max(float(layer.double().mean()) for layer in twins)
    return Answer(
        (
            Measurement.of(name, float(together.double().mean()), len(together)),
            Measurement.of(f"{name}.worst", worst, len(together)),
        )
    )


def spectral_norm(weight: Tensor) -> float:
    """The largest singular value of ``[out, in]``."""
    scale = float(weight.abs().max())
    if scale == 0:
        return 0.0
    scaled = weight / scale
    if min(scaled.shape) <= EXACT_UP_TO:
        gram = scaled @ scaled.T if scaled.shape[0] <= scaled.shape[1] else scaled.T @ scaled
        return scale * math.sqrt(float(torch.linalg.eigvalsh(gram)[-1]))
    scaled = scaled.float()
    basis = torch.randn((scaled.shape[1], _DIRECTIONS), generator=torch.Generator().manual_seed(0))
    for _ in range(_ROUNDS):
        basis = torch.linalg.qr(scaled.T @ (scaled @ basis)).Q
    return scale * float(torch.linalg.matrix_norm(scaled @ basis, ord=2))


def twin_units(layer: Matrix) -> Tensor:
    """Whether a unit's weights and bias equal another's, ``[out]``, relative to the larger of the two units' largest.

    Units are put in order along one random direction. Equal ones lie together there, so few pairs are compared.
    """
    rows = layer.weight if layer.bias is None else torch.cat((layer.weight, layer.bias[:, None]), dim=1)
    direction = torch.randn(rows.shape[1], dtype=rows.dtype, generator=torch.Generator().manual_seed(0))
    projected, order = (rows @ direction).sort()
    largest = rows.abs().amax(dim=1)
    reach = (
        2 * SAME_WITHIN * float(direction.abs().sum())
    )  # no pair that is equal lies farther apart, rounding included
    twin = torch.zeros(len(rows), dtype=torch.bool)
    for offset in range(1, len(rows)):
        near = projected[offset:] - projected[:-offset] <= reach * float(largest.max())
        if not bool(near.any()):
            break
        one, other = order[:-offset], order[offset:]
        unsettled = near & ~(twin[one] & twin[other])
        one, other = one[unsettled], other[unsettled]
        scale = torch.maximum(largest[one], largest[other])
        same = (rows[one] - rows[other]).abs().amax(dim=1) <= SAME_WITHIN * scale
        twin[one[same]] = True
        twin[other[same]] = True
    return twin


PROBE = Probe("weights", _measure)
