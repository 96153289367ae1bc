"""A training loop as a stranger might have written it, with places where things go wrong.

It is not energydiag's loop: no check for NaN, no best weights, a loss written out. ``Recipe.slips`` names what goes
wrong:

* ``rolled-labels``: the positive of row i is column i + 1;
* ``shuffled-contexts``: contexts are shuffled against actions in every batch;
* ``same-batch``: every step sees the first step's samples;
* ``neighbours``: a batch is one random sample and those whose actions are nearest to its own;
* ``other-tasks``: a batch holds samples of as many different tasks;
* ``no-zero-grad``: gradients of all steps add up;
* ``copied-optimiser``: the optimiser holds the parameters of a copy of the model;
* ``last-layer-only``, ``without-actions``: the optimiser lacks all but the last layer, or the action's own layers;
* ``frozen-actions``: the layers that the action meets first are not trained;
* ``drift=X``: X is added to the last layer's bias at every step;
* ``half``: model, inputs and optimiser in float16.

Shapes: B contexts, M other actions per context, N = B + M candidates, H action steps, A action dimensions.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag import pairwise_energies
from energydiag.batch import Batch
from energydiag.losses import alignment_cosine, ranking_loss
from energydiag.training.validation import swap_ranks

from .architectures import action_layers, action_tower, last_layer
from .recipe import Recipe
from .saturation import saturated_share

LOG_EVERY = 10
VALIDATED = 64

Row = dict[str, float]


def train(recipe: Recipe, module: nn.Module, training: Batch, validation: Batch) -> list[Row]:
    """Trains the module in place, leaves it in eval mode, and returns the rows of its log."""
    draws = torch.Generator().manual_seed(recipe.seed)
    if "half" in recipe.slips:
        module.half()
    kind = torch.optim.SGD if recipe.optimiser == "sgd" else torch.optim.AdamW
    optimiser = kind(_trained(recipe, module), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    chosen = _Chooser(recipe, training, draws)
    watched = validation.take(validation.spread(VALIDATED))
    rows: list[Row] = []
    last = round(recipe.share_done * recipe.steps) - 1
    for step in range(last + 1):
        rate = recipe.learning_rate * 0.5 * (1 + math.cos(math.pi * step / recipe.steps))
        for group in optimiser.param_groups:
            group["lr"] = rate
        if "same-batch" not in recipe.slips or step == 0:
            part = _fitting(training.take(chosen(step)), module)
        if "shuffled-contexts" in recipe.slips:
            order = torch.randperm(len(part), generator=draws)
            part = _with_contexts(part, order)
        module.train()
        if "no-zero-grad" not in recipe.slips:
            module.zero_grad()
        with sdpa_kernel(SDPBackend.MATH):  # the other kernels have no second derivative
            loss = contrast(recipe, module, part, draws)
            loss["loss"].backward()
        norm = float(nn.utils.clip_grad_norm_(module.parameters(), recipe.clip or math.inf))
        logged = step % LOG_EVERY == 0 or step == last
        before = [p.detach().clone() for p in module.parameters()] if logged else []
        optimiser.step()
        _drift(recipe, module)
        if logged:
            row = {"step": step, "learning_rate": rate, "tau": recipe.tau, "gradient_norm": norm}
            row |= {"clip_norm": recipe.clip or math.inf, "clipped": float(norm > (recipe.clip or math.inf))}
            rows.append(row | _numbers(recipe, module, part, loss, before) | _validated(recipe, module, watched))
    module.eval()
    return rows


def contrast(recipe: Recipe, module: nn.Module, part: Batch, draws: torch.Generator) -> dict[str, Tensor]:
    """The loss of one step and its parts."""
    near = near_negatives(recipe, part, draws).requires_grad_(recipe.alignment > 0)
    swap_BB = energies(module, part.hidden, part.actions, part.pad_mask)
    near_BM = energies(module, part.hidden, near, part.pad_mask) if near.shape[1] else swap_BB[:, :0]
    target = torch.arange(len(part))
    if "rolled-labels" in recipe.slips:
        target = target.roll(-1)
    if recipe.swap:
        logits = -recipe.sign * torch.cat((swap_BB, near_BM), dim=1) / recipe.tau
    else:
        logits = -recipe.sign * torch.cat((swap_BB.diagonal()[:, None], near_BM), dim=1) / recipe.tau
        target = torch.zeros_like(target)
    info_nce = functional.cross_entropy(logits, target)
    total = info_nce + recipe.anchor * torch.cat((swap_BB, near_BM), dim=1).square().mean()
    if near.shape[1] and recipe.alignment > 0:
        slope = torch.autograd.grad(near_BM.sum(), near, create_graph=True, materialize_grads=True)[0]
        way = part.actions[:, None] - near.detach()
        total = total + recipe.alignment * (1 - alignment_cosine(recipe.sign * slope, way)).mean()
    if near.shape[1] and recipe.ranking > 0:
        distance = (near.detach() - part.actions[:, None]).flatten(2).norm(dim=2)
        distance = torch.cat((torch.zeros_like(distance[:, :1]), distance), dim=1)
        ordered = torch.cat((swap_BB.diagonal()[:, None], near_BM), dim=1)
        total = total + recipe.ranking * ranking_loss(recipe.sign * ordered, distance)
    return {"loss": total, "info_nce": info_nce.detach(), "swap": swap_BB.detach()}


def near_negatives(recipe: Recipe, part: Batch, draws: torch.Generator) -> Tensor:
    """``[B, M, H, A]``: the policy's layers' actions and noisy copies of the expert's."""
    found = [part.layer_actions] if recipe.layers and part.layer_actions is not None else []
    for sigma in recipe.noise:
        noise = torch.randn(part.actions.shape, generator=draws).to(part.actions)
        found.append((part.actions + sigma * noise)[:, None])
    return torch.cat(found, dim=1).detach() if found else part.actions[:, None][:, :0]


def energies(module: nn.Module, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Tensor:
    """``[B, N]``; a module whose rows see each other gets all of them in one call."""
    if not any(isinstance(part, nn.BatchNorm1d) for part in module.modules()):
        return pairwise_energies(module, hidden, actions, mask, memory_budget=None)
    count = actions.shape[1] if actions.dim() == 4 else len(actions)
    every = actions.flatten(0, 1) if actions.dim() == 4 else actions.repeat(len(hidden), 1, 1)
    wide = hidden.repeat_interleave(count, dim=0)
    answer: Tensor = module(wide, every, None if mask is None else mask.repeat_interleave(count, dim=0))
    return answer.reshape(len(hidden), count)


def _trained(recipe: Recipe, module: nn.Module) -> list[nn.Parameter]:
    if "copied-optimiser" in recipe.slips:
        return list(copy.deepcopy(module).parameters())
    if "last-layer-only" in recipe.slips:
        return list(last_layer(module).parameters())
    left_out: set[int] = set()
    if "without-actions" in recipe.slips:
        left_out = {id(p) for p in action_tower(module)}
    if "frozen-actions" in recipe.slips:
        left_out = {id(p) for layer in action_layers(module) for p in layer.parameters()}
    return [p for p in module.parameters() if id(p) not in left_out]


class _Chooser:
    """Which samples a step sees: shuffled epochs, or what a slip makes of them."""

    def __init__(self, recipe: Recipe, training: Batch, draws: torch.Generator) -> None:
        self.recipe, self.training, self.draws = recipe, training, draws
        self.size = min(recipe.batch_size, len(training))
        self.left = torch.empty(0, dtype=torch.long)

    def __call__(self, _step: int) -> Tensor:
        if "neighbours" in self.recipe.slips:
            flat = self.training.actions.flatten(1)
            seed = torch.randint(len(flat), (1,), generator=self.draws)
            return (flat - flat[seed]).abs().mean(dim=1).argsort()[: self.size]
        if "other-tasks" in self.recipe.slips:
            assert self.training.task is not None
            order = torch.randperm(len(self.training), generator=self.draws)
            tasks = self.training.task[order]
            first = torch.tensor([int((tasks == task).nonzero()[0]) for task in tasks.unique()])
            return order[first[torch.randperm(len(first), generator=self.draws)[: self.size]]]
        if len(self.left) < self.size:
            self.left = torch.randperm(len(self.training), generator=self.draws)
        found, self.left = self.left[: self.size], self.left[self.size :]
        return found


def _fitting(part: Batch, module: nn.Module) -> Batch:
    dtype = next(module.parameters()).dtype
    changed = {n: v.to(dtype) if v.is_floating_point() else v for n, v in part.present().items()}
    return Batch(**changed)


def _with_contexts(part: Batch, order: Tensor) -> Batch:
    mask = None if part.pad_mask is None else part.pad_mask[order]
    return Batch(**{**part.present(), "hidden": part.hidden[order], "pad_mask": mask})


def _drift(recipe: Recipe, module: nn.Module) -> None:
    for slip in recipe.slips:
        if slip.startswith("drift="):
            with torch.no_grad():
                last_layer(module).bias.add_(float(slip.removeprefix("drift=")))


def _numbers(recipe: Recipe, module: nn.Module, part: Batch, loss: dict[str, Tensor], before: list[Tensor]) -> Row:
    swap = loss["swap"].float()
    auroc, top1 = swap_ranks(swap)
    size = len(swap)
    positive = float(swap.diagonal().mean())
    negative = float((swap.sum() - swap.diagonal().sum()) / (size * (size - 1)))
    now = [p.detach() for p in module.parameters()]
    weight = math.sqrt(sum(float(p.float().square().sum()) for p in now))
    moved = math.sqrt(sum(float((p - b).float().square().sum()) for p, b in zip(now, before, strict=True)))
    return {
        "loss": float(loss["loss"].detach()),
        "info_nce": float(loss["info_nce"]),
        "energy_positive": positive,
        "energy_negative": negative,
        "gap": negative - positive,
        "auroc": auroc,
        "top1": top1,
        "slope_saturated_fraction": saturated_share(module, recipe.shape.head, part),
        "update_ratio": moved / weight if weight else math.nan,
        "weight_norm": weight,
    }


def _validated(recipe: Recipe, module: nn.Module, watched: Batch) -> Row:
    module.eval()
    part = _fitting(watched, module)
    draws = torch.Generator().manual_seed(0)
    losses = []
    for index in torch.arange(len(part)).split(min(recipe.batch_size, len(part))):
        if len(index) > 1:
            some = part.take(index)
            with torch.no_grad():
                losses.append(float(_plain_contrast(recipe, module, some, draws)))
    return {"validation_loss": sum(losses) / len(losses)}


def _plain_contrast(recipe: Recipe, module: nn.Module, part: Batch, draws: torch.Generator) -> Tensor:
    """The contrastive part alone, with right labels."""
    near = near_negatives(recipe, part, draws)
    swap_BB = energies(module, part.hidden, part.actions, part.pad_mask)
    near_BM = energies(module, part.hidden, near, part.pad_mask) if near.shape[1] else swap_BB[:, :0]
    own_B = swap_BB.diagonal()[:, None]
    logits = torch.cat((swap_BB, near_BM) if recipe.swap else (own_B, near_BM), dim=1)
    target = torch.arange(len(part)) if recipe.swap else torch.zeros(len(part), dtype=torch.long)
    return functional.cross_entropy(-recipe.sign * logits.float() / recipe.tau, target)
