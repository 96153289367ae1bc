"""What a finished run is like, measured without energydiag's probes: did a fault take hold, is a control well.

The numbers are plain and point-like; they decide which runs count, never what a diagnosis says.

Shapes: N samples, B contexts, H action steps, A action dimensions.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag import pairwise_energies
from energydiag.batch import Batch
from energydiag.training.validation import swap_ranks

from .architectures import ACTIVATIONS, first_layers, last_layer
from .loop import Row, energies
from .recipe import Recipe
from .saturation import raw_outputs, slopes

SET = 64
MOST = 128

Weights = Mapping[str, Tensor]


def facts(
    recipe: Recipe, module: nn.Module, start: Weights, rows: Sequence[Row], training: Batch, dump: Batch
) -> dict[str, float]:
    """All facts by name; one that cannot be told is NaN.

    Args:
        recipe: Of the run.
        module: As the run left it.
        start: The weights that it began with.
        rows: Its log.
        training: What it was trained on.
        dump: What it is inspected on, with the policy's actions.
    """
    module.eval()
    found = of_data(dump) | of_log(rows) | of_weights(module, start)
    found |= {"tau": recipe.tau, "chance": math.log(SET), "floor": _floor(recipe)}
    usable = torch.nonzero(~torch.logical_or(*dump.unusable())).reshape(-1)
    order = usable[torch.randperm(len(usable), generator=torch.Generator().manual_seed(0))][:MOST]
    part = _as_module(dump.take(order), module)
    found |= _of_energies(recipe, module, part)
    if not found["nonfinite"]:
        found |= _of_field(module, part, found["energy_std"])
        found |= _of_inputs(module, part, found["energy_std"])
        found |= _of_units(module, part)
        found |= _of_modes(module, part, found["energy_std"])
        some = training.take(torch.arange(min(32, len(training))))
        found["first_last"] = _first_last(recipe, module, _as_module(some, module))
    return found


def is_well(found: Mapping[str, float]) -> bool:
    """What makes a control a healthy one.

    AUROC against other contexts' actions at least .9, top-1 at least five times chance, the expert above the policy in
    at least .6 of the samples, and four steps down the energy, each a twentieth of the policy's error long, do not make
    the policy's action worse.
    """
    return (
        found["auroc"] >= 0.9
        and found["top1"] >= 5 * found["top1_chance"]
        and found["policy"] >= 0.6
        and found["gain_4"] >= 0
    )


def of_data(dump: Batch) -> dict[str, float]:
    """Facts of the dump alone."""
    broken, hidden = dump.unusable()
    fine = dump.take(torch.nonzero(~broken).reshape(-1))
    flat = fine.actions.flatten(1)
    deviation = fine.actions.flatten(0, 1).std(dim=0)
    context = fine.hidden.reshape(-1, fine.hidden.shape[-1]).std(dim=0)
    found = {
        "broken_rows": float(broken.float().mean()),
        "hidden_rows": float(hidden.float().mean()),
        "constant_dimensions": float((deviation == 0).sum()),
        "action_scale_ratio": float(deviation.max() / deviation.median()),
        "context_scale_ratio": float(context.max() / context.median()),
        "duplicates": 1 - len(torch.unique(torch.cat((flat, fine.hidden.flatten(1)), dim=1), dim=0)) / len(flat),
    }
    policy = fine.policy_actions
    if policy is not None:
        error = (policy - fine.actions).abs()
        near = torch.cdist(flat, flat, p=1) / flat.shape[1] < error.mean()
        found["false_negatives"] = float((near.sum() - len(flat)) / (len(flat) * (len(flat) - 1)))
        shifted = (policy[:, 1:] - fine.actions[:, :-1]).abs().mean()
        found["shift_gain"] = float(1 - shifted / error[:, 1:].mean())
    return found


def of_log(rows: Sequence[Row]) -> dict[str, float]:
    """Facts of the training log alone."""
    late = rows[-max(1, len(rows) // 5) :]
    norms = [row["gradient_norm"] for row in rows]
    return {
        "info_nce_last": _median([row["info_nce"] for row in late]),
        "auroc_last": _median([row["auroc"] for row in late]),
        "validation_gap": _median([row["validation_loss"] - row["info_nce"] for row in late]),
        "gradient_norm_median": _median(norms),
        "gradient_norm_growth": _median(norms[-3:]) / max(_median(norms[:3]), 1e-30),
        "update_ratio_first": rows[0]["update_ratio"],
        "weight_norm_ratio": rows[-1]["weight_norm"] / max(rows[0]["weight_norm"], 1e-30),
    }


def of_weights(module: nn.Module, start: Weights) -> dict[str, float]:
    """How far the weights have moved, and how many of them have not."""
    pairs = [(start[name].float(), value.detach().float()) for name, value in module.named_parameters()]
    moved = math.sqrt(sum(float((b - a).square().sum()) for a, b in pairs))
    size = math.sqrt(sum(float(a.square().sum()) for a, _ in pairs))
    still = sum(a.numel() for a, b in pairs if torch.equal(a, b))
    return {
        "moved": moved / size if size else math.nan,
        "unmoved_share": still / sum(a.numel() for a, _ in pairs),
        "twin_units": _twins([layer.weight.detach().float() for layer in first_layers(module)]),
    }


def _twins(matrices: Sequence[Tensor]) -> float:
    """Share of the rows of these matrices that equal the row before to within a thousandth of its norm."""
    same = [(m[1:] - m[:-1]).norm(dim=1) <= 1e-3 * m[1:].norm(dim=1) for m in matrices]
    return float(torch.cat(same).float().mean())


def _of_energies(recipe: Recipe, module: nn.Module, part: Batch) -> dict[str, float]:
    """Separation, scale and saturation."""
    with torch.no_grad():
        size = min(SET, len(part))
        tables = [_table(module, part.take(index)) for index in torch.arange(len(part) // size * size).split(size)]
        raw = raw_outputs(module, part).float()
        own = module(part.hidden, part.actions, part.pad_mask).float()
    every = torch.stack(tables)
    ranks = [swap_ranks(table) for table in tables]
    slope = slopes(raw, recipe.shape.head)
    found = {
        "nonfinite": 1 - float(torch.isfinite(every).float().mean()),
        "auroc": sum(a for a, _ in ranks) / len(ranks),
        "top1": sum(t for _, t in ranks) / len(ranks),
        "top1_chance": 1 / size,
        "energy_mean": float(every.mean()),
        "energy_std": float(every.std()),
        "loss": float(
            torch.stack([functional.cross_entropy(-t / recipe.tau, torch.arange(size)) for t in tables]).mean()
        ),
        "saturated_high": float(((slope < 0.1) & (raw > 0)).float().mean()),
        "saturated_low": float(((slope < 0.1) & (raw < 0)).float().mean()),
        "dead": float((slope < 1e-7).float().mean()),
    }
    noise = 0.1 * torch.randn(part.actions.shape, generator=torch.Generator().manual_seed(1)).to(part.actions)
    with torch.no_grad():
        found["near"] = _above(module(part.hidden, part.actions + noise, part.pad_mask).float(), own)
        if part.policy_actions is not None:
            found["policy"] = _above(module(part.hidden, part.policy_actions, part.pad_mask).float(), own)
    return found


def _table(module: nn.Module, part: Batch) -> Tensor:
    return pairwise_energies(module, part.hidden, part.actions, part.pad_mask).float()


def _above(other: Tensor, own: Tensor) -> float:
    return float(((other > own).float() + 0.5 * (other == own).float()).mean())


def _context_rank(module: nn.Module, part: Batch) -> float:
    """In how many directions of the context the energy changes: participation ratio of the spectrum of ∂E/∂h."""
    leaf = part.hidden.detach().clone().requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):
        energy = module(leaf, part.actions, part.pad_mask)
    slope = torch.autograd.grad(energy.sum(), leaf, materialize_grads=True)[0].reshape(-1, leaf.shape[-1])
    squares = torch.linalg.svdvals(slope.double()).square()
    return float(squares.sum().square() / squares.square().sum()) if squares.sum() > 0 else math.nan


def _slope(module: nn.Module, part: Batch, actions: Tensor) -> Tensor:
    leaf = actions.detach().clone().requires_grad_(True)
    with sdpa_kernel(SDPBackend.MATH):
        energy = module(part.hidden, leaf, part.pad_mask)
    return torch.autograd.grad(energy.sum(), leaf, materialize_grads=True)[0].float()


def _of_field(module: nn.Module, part: Batch, spread: float) -> dict[str, float]:
    """The gradient in the action, and where following it leads."""
    here = _slope(module, part, part.actions)
    noise = torch.randn(part.actions.shape, generator=torch.Generator().manual_seed(2)).to(part.actions)
    beside = _slope(module, part, part.actions + 0.02 * noise)
    deviation = float(part.actions.float().std(dim=0).square().mean().sqrt())
    cosine = functional.cosine_similarity(here.flatten(1), beside.flatten(1), dim=1)
    found = {
        "slope_relative": float(here.flatten(1).norm(dim=1).median()) * deviation / max(spread, 1e-30),
        "coherence": float(cosine.mean()),
        "context_rank": _context_rank(module, part),
    }
    if part.policy_actions is not None:
        found |= {f"gain_{k}": gain for k, gain in _gains(module, part, part.policy_actions).items()}
    return found


def _gains(module: nn.Module, part: Batch, policy: Tensor) -> dict[int, float]:
    """Relative fall of the mean absolute action error after k steps of a twentieth of the policy's error."""
    error = (policy - part.actions).abs().mean()
    length = 0.05 * (policy - part.actions).flatten(1).norm(dim=1).mean()
    found, actions = {}, policy
    for k in range(1, 9):
        slope = _slope(module, part, actions).to(actions)
        norm = slope.flatten(1).norm(dim=1).clamp_min(1e-30)[:, None, None]
        actions = actions - length * slope / norm
        found[k] = float(1 - (actions - part.actions).abs().mean() / error)
    return {k: found[k] for k in (1, 4, 8)}


def _of_inputs(module: nn.Module, part: Batch, spread: float) -> dict[str, float]:
    """How much energies change, in units of their spread, when one thing in the input changes."""
    with torch.no_grad():
        own = module(part.hidden, part.actions, part.pad_mask).float()

        def change(hidden: Tensor, actions: Tensor) -> float:
            other = module(hidden, actions, part.pad_mask).float()
            return float((other - own).square().mean().sqrt()) / max(spread, 1e-30)

        mask = part.pad_mask
        # a whole context with its mask moves on by one
        moved = module(part.hidden.roll(1, 0), part.actions, None if mask is None else mask.roll(1, 0)).float()
        found = {
            "context_effect": float((moved - own).square().mean().sqrt()) / max(spread, 1e-30),
            "action_effect": change(part.hidden, part.actions.roll(1, 0)),
            "scale_effect": change(part.hidden, 1.3 * part.actions + 0.1),
        }
        if mask is not None and bool(mask.any()):
            noise = torch.randn(part.hidden.shape, generator=torch.Generator().manual_seed(3)).to(part.hidden)
            found["padding_effect"] = change(torch.where(mask[..., None], noise, part.hidden), part.actions)
            found["visible_effect"] = change(torch.where(mask[..., None], part.hidden, noise), part.actions)
    return found


def _of_units(module: nn.Module, part: Batch) -> dict[str, float]:
    """Shares of tanh outputs at their ends, and of relu units that are never on."""
    ends: list[Tensor] = []
    off: list[Tensor] = []

    def look(unit: nn.Module, _inputs: object, output: Tensor) -> None:
        flat = output.reshape(-1, output.shape[-1])
        if isinstance(unit, nn.Tanh):
            ends.append((flat.abs() > 0.99).float().mean(dim=0))
        if isinstance(unit, nn.ReLU):
            off.append((flat <= 0).all(dim=0).float())

    units = [m for m in module.modules() if isinstance(m, tuple(ACTIVATIONS.values()))]
    hooks = [unit.register_forward_hook(look) for unit in units]
    with torch.no_grad():
        module(part.hidden, part.actions, part.pad_mask)
    for hook in hooks:
        hook.remove()
    return {
        "hidden_saturated": float(torch.cat(ends).mean()) if ends else math.nan,
        "dead_units": float(torch.cat(off).mean()) if off else math.nan,
    }


def _of_modes(module: nn.Module, part: Batch, spread: float) -> dict[str, float]:
    """How far training mode and eval mode are apart."""
    other = copy.deepcopy(module).train()
    some = part.take(torch.arange(min(32, len(part))))
    with torch.no_grad():
        trained = energies(other, some.hidden, some.actions, some.pad_mask).float()
        used = _table(module, some)
    difference = trained - used
    auroc, _ = swap_ranks(trained)
    return {
        "train_eval": float((difference - difference.mean()).square().mean().sqrt()) / max(spread, 1e-30),
        "auroc_training_mode": auroc,
    }


def _first_last(recipe: Recipe, module: nn.Module, part: Batch) -> float:
    """Norm of the loss's gradient in the first layer of the context or action, over that in the last layer."""
    parameters = dict(module.named_parameters())
    if not all(p.requires_grad for p in parameters.values()):
        return math.nan
    table = energies(module, part.hidden, part.actions, part.pad_mask)
    loss = functional.cross_entropy(-table / recipe.tau, torch.arange(len(table)))
    found = dict(
        zip(parameters, torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True), strict=True)
    )
    last = float(found[_name_of(parameters, last_layer(module).weight)].norm())
    matrices = [name for name, p in parameters.items() if p.dim() >= 2]
    first = [matrices[0]] + [_name_of(parameters, layer.weight) for layer in first_layers(module)]
    # where not even the last layer gets a gradient, nothing arrives anywhere
    return min(float(found[name].norm()) for name in first) / last if last > 0 else 0.0


def _name_of(parameters: Mapping[str, Tensor], wanted: Tensor) -> str:
    return next(name for name, p in parameters.items() if p is wanted)


def _floor(recipe: Recipe) -> float:
    width = {"original": 1.0, "rescaled": 2.0}.get(recipe.shape.head)
    return 0.0 if width is None else math.log1p((SET - 1) * math.exp(-width / recipe.tau))


def _as_module(batch: Batch, module: nn.Module) -> Batch:
    dtype = next(module.parameters()).dtype
    return Batch(**{n: v.to(dtype) if v.is_floating_point() else v for n, v in batch.present().items()})


def _median(values: Sequence[float]) -> float:
    finite = sorted(v for v in values if not math.isnan(v))
    return finite[len(finite) // 2] if finite else math.nan
