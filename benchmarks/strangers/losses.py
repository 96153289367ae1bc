"""One function for each objective: the loss of a batch, and what its owner would log beside it.

B: batch, M: negatives a context, E: energies (low is right, whatever the sign of the module).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from .world import Dump

Stats = dict[str, float]


@dataclass
class Scene:
    """What a loss sees.

    Attributes:
        module: The network.
        batch: Samples.
        draw: For noise.
        sign: -1 where the module gives a score.
        options: Settings of the objective.
        memory: Kept from step to step: queues, chains, momentum copies.
        step: Number of the step.
    """

    module: nn.Module
    batch: Dump
    draw: torch.Generator
    sign: float
    options: Mapping[str, Any]
    memory: dict[str, Any] = field(default_factory=dict)
    step: int = 0

    @property
    def rest(self) -> list[Tensor]:
        """Arguments after the action."""
        return [self.batch["pad_mask"]] if "pad_mask" in self.batch else []

    def energy(self, actions: Tensor) -> Tensor:
        """``[B]`` for one action a context, ``[B, M]`` for ``[B, M, …]``."""
        hidden = self.batch["hidden"]
        if actions.dim() == self.batch["actions"].dim():
            return self.sign * self.module(hidden, actions, *self.rest)
        many = actions.shape[1]
        rest = [value.repeat_interleave(many, 0) for value in self.rest]
        flat = self.module(hidden.repeat_interleave(many, 0), actions.flatten(0, 1), *rest)
        return self.sign * flat.view(len(hidden), many)

    def table(self) -> Tensor:
        """Energies of every context with every action, ``[B, B]``."""
        if hasattr(self.module, "table"):
            return self.sign * self.module.table(self.batch["hidden"], self.batch["actions"], *self.rest)
        actions = self.batch["actions"]
        return self.energy(actions.expand(len(actions), *actions.shape))

    def noised(self, count: int, sizes: tuple[float, ...]) -> Tensor:
        """The experts' actions with noise of several sizes, ``[B, count, …]``."""
        actions = self.batch["actions"][:, None]
        shape = (len(actions), count, *actions.shape[2:])
        size = torch.tensor(sizes)[torch.arange(count) % len(sizes)].view(1, count, *[1] * (actions.dim() - 2))
        return actions + size * torch.randn(shape, generator=self.draw).to(actions.dtype)

    def others(self, count: int) -> Tensor:
        """Actions of other samples of the batch, ``[B, count, …]``."""
        size = len(self.batch["actions"])
        shift = 1 + torch.stack([torch.randperm(size - 1, generator=self.draw)[:count] for _ in range(size)])
        return self.batch["actions"][(torch.arange(size)[:, None] + shift) % size]


Loss = Callable[[Scene], tuple[Tensor, Stats]]


def _ranking(logits: Tensor, label: Tensor) -> Stats:
    """What is logged of logits ``[B, 1 + N]`` whose right column is ``label``."""
    with torch.no_grad():
        own = logits.gather(1, label[:, None])
        better, ties = (logits > own).sum(1), (logits == own).sum(1) - 1
        wrong = (logits.sum(1) - own[:, 0]) / max(logits.shape[1] - 1, 1)
        return {
            "top1": ((better == 0) & (ties == 0)).float().mean().item(),
            "top5": (better + ties < 5).float().mean().item(),
            "logits_pos": own.mean().item(),
            "logits_neg": wrong.mean().item(),
            "logsumexp": logits.logsumexp(1).mean().item(),
        }


def infonce(scene: Scene) -> tuple[Tensor, Stats]:
    """In-batch; both ways where ``symmetric``, with ``noised`` actions beside where asked for."""
    options, label = scene.options, torch.arange(len(scene.batch["actions"]))
    if options.get("alone"):  # no negatives at all
        logits = -scene.energy(scene.batch["actions"])[:, None]
        label = torch.zeros_like(label)
    else:
        logits = -scene.table() / options.get("temperature", 1.0)
    if options.get("detached"):
        logits = logits.detach() * scene.module.logit_scale.exp() / 10.0
    if options.get("noised"):
        extra = scene.energy(scene.noised(options["noised"], (0.1, 0.3, 0.6)))
        logits = torch.cat((logits, -extra / options.get("temperature", 1.0)), 1)
    if scene.step == options.get("overflow_at"):
        logits = logits * math.inf
    stats = _ranking(logits, label)
    target = (label + options.get("shifted", 0)) % len(label)
    loss = functional.cross_entropy(logits, target)
    if options.get("symmetric"):
        loss = (loss + functional.cross_entropy(logits.T, target)) / 2
    if options.get("cut_off"):
        loss = loss.detach() + 0.0 * next(iter(scene.module.parameters())).sum()
    held = options.get("anchor", 0.0) * logits.pow(2).mean()
    return loss + held, stats | _scale(scene.module)


def queue(scene: Scene) -> tuple[Tensor, Stats]:
    """Keys of earlier batches as negatives, both ways, embedded by slow copies of the towers."""
    options, memory = scene.options, scene.memory
    if "slow" not in memory:
        memory["slow"] = {name: value.detach().clone() for name, value in scene.module.named_parameters()}
        shape = (2, options["queue"], scene.module.context[-1].out_features)
        memory["queues"] = functional.normalize(torch.randn(shape, generator=scene.draw), dim=2)
    asked = scene.module.embed(scene.batch["hidden"], scene.batch["actions"], *scene.rest)
    with torch.no_grad():
        for name, value in scene.module.named_parameters():
            memory["slow"][name].lerp_(value, 1 - options.get("momentum", 0.9))
        slow = {f"towers.{name}": value for name, value in memory["slow"].items()}
        keys = torch.func.functional_call(_Embed(scene.module), slow, (scene.batch,))
        if scene.step == 1 and options.get("full_of_keys"):
            memory["queues"] = torch.stack([key[:1].expand(options["queue"], -1) for key in keys[::-1]])
    losses, label = [], torch.zeros(len(asked[0]), dtype=torch.long)
    found = []
    for way, left in enumerate(asked):
        right, waiting = keys[1 - way], memory["queues"][way]
        logits = torch.cat(((left * right).sum(1, keepdim=True), left @ waiting.T), 1) / options["temperature"]
        losses.append(functional.cross_entropy(logits, label))
        found.append(logits)
    filled = [torch.cat((keys[1 - way], memory["queues"][way]))[: options["queue"]] for way in (0, 1)]
    memory["queues"] = torch.stack(filled)
    return (losses[0] + losses[1]) / 2, _ranking(found[0].detach(), label)


class _Embed(nn.Module):
    """Towers whose ``forward`` embeds, so that it can be called with other weights."""

    def __init__(self, towers: nn.Module) -> None:
        super().__init__()
        self.towers = towers

    def forward(self, batch: Dump) -> tuple[Tensor, Tensor]:
        return self.towers.embed(batch["hidden"], batch["actions"])


def bce(scene: Scene) -> tuple[Tensor, Stats]:
    """A right pair or a wrong one: ``negatives`` others a context, noised ones where ``noise_only``."""
    options = scene.options
    count = options.get("negatives", 1)
    if options.get("noise_only"):
        wrong = scene.energy(scene.noised(count, (1.0,)))
    elif options.get("in_batch"):
        table = scene.table()
        wrong = table[~torch.eye(len(table), dtype=torch.bool)].view(len(table), -1)
    else:
        wrong = scene.energy(scene.others(count))
    if options.get("near"):
        wrong = torch.cat((wrong, scene.energy(scene.noised(options["near"], (0.15, 0.3, 0.6)))), 1)
    right = scene.energy(scene.batch["actions"])
    if options.get("balanced", True):
        loss = (functional.softplus(right).mean() + functional.softplus(-wrong).mean()) / 2
    else:  # noise contrastive: every pair counts alike, one in 1 + K is right
        loss = (functional.softplus(right).sum() + functional.softplus(-wrong).sum()) / (right.numel() + wrong.numel())
    stats = {
        "accuracy": ((right < 0).float().mean().item() + (wrong > 0).float().mean().item()) / 2,
        "pos_prob": torch.sigmoid(-right).mean().item(),
        "neg_prob": torch.sigmoid(-wrong).mean().item(),
        "logits_pos": -right.mean().item(),
        "logits_neg": -wrong.mean().item(),
    }
    return loss, stats


def siglip(scene: Scene) -> tuple[Tensor, Stats]:
    """Every pair of the batch for itself; the sum over a row's pairs, or the mean."""
    logits = -scene.table()
    signs = 2 * torch.eye(len(logits)) - 1
    pairs = functional.softplus(-signs * logits)
    loss = pairs.mean() if scene.options.get("mean") else pairs.sum(1).mean()
    return loss, _ranking(logits, torch.arange(len(logits))) | _scale(scene.module)


def margin(scene: Scene) -> tuple[Tensor, Stats]:
    """Wrong actions must be ``margin`` above the right one."""
    right = scene.energy(scene.batch["actions"])[:, None]
    wrong = torch.cat((scene.energy(scene.others(6)), scene.energy(scene.noised(3, (0.5, 0.8, 1.2)))), 1)
    missing = functional.relu(scene.options["margin"] + right - wrong)
    return missing.mean(), {"active": (missing > 0).float().mean().item(), "gap": (wrong - right).mean().item()}


def triplet(scene: Scene) -> tuple[Tensor, Stats]:
    """Distances of embeddings: all violating triplets, or each context's hardest; a margin, or softplus."""
    options, table = scene.options, scene.table()
    same = torch.eye(len(table), dtype=torch.bool)
    own = table.diagonal()[:, None]
    wrong = table[~same].view(len(table), -1)
    if options.get("noised"):
        wrong = torch.cat((wrong, scene.energy(scene.noised(options["noised"], (0.4, 0.8)))), 1)
    if scene.step >= options.get("hard_from", 10**9):
        wrong = wrong.min(1, keepdim=True).values
    apart = own - wrong
    if options.get("soft"):
        loss = functional.softplus(apart).mean()
    else:
        missing = functional.relu(apart + options["margin"])
        loss = (
            missing.mean() if options.get("all") or wrong.shape[1] == 1 else missing.sum() / ((missing > 0).sum() + 1)
        )
    share = (apart + options.get("margin", 0.0) > 0).float().mean().item()
    stats = {"positive_triplets": share, "mean_dist": table.mean().item()}
    return loss, stats | _ranking(-table.detach(), torch.arange(len(table)))


def preferences(scene: Scene) -> tuple[Tensor, Stats]:
    """Chosen above rejected, Bradley and Terry's way."""
    options, actions = scene.options, scene.batch["actions"]
    rejected = scene.others(1)[:, 0]
    if options.get("near"):
        near = scene.noised(1, (0.5,))[:, 0]
        pick = torch.rand(len(actions), generator=scene.draw) < options["near"]
        rejected = torch.where(pick.view(-1, *[1] * (actions.dim() - 1)), near, rejected)
    if "rejected" in scene.batch:
        rejected = scene.batch["rejected"]
    chosen_reward, rejected_reward = -scene.energy(actions), -scene.energy(rejected)
    delta = chosen_reward - rejected_reward
    if scene.step == options.get("overflow_at"):
        delta = delta * math.inf
    if options.get("coin"):
        delta = torch.where(torch.rand(len(delta), generator=scene.draw) < 0.5, delta, -delta)
    stats = {
        "chosen": chosen_reward.mean().item(),
        "rejected": rejected_reward.mean().item(),
        "gap": delta.mean().item(),
        "accuracy": (delta > 0).float().mean().item(),
    }
    return functional.softplus(-delta).mean(), stats


def divergence(scene: Scene) -> tuple[Tensor, Stats]:
    """Contrastive divergence against the model's own samples; chains go on from step to step where ``persistent``."""
    options, actions = scene.options, scene.batch["actions"]
    start = 1.2 * torch.randn(actions.shape, generator=scene.draw)
    if options.get("from_others"):
        start = scene.others(1)[:, 0] + 0.3 * torch.randn(actions.shape, generator=scene.draw)
    if scene.step % 2 and not options.get("persistent"):
        start = actions + 0.5 * torch.randn(actions.shape, generator=scene.draw)
    samples = start
    if options.get("persistent") and "rows" in scene.batch:
        chains = scene.memory.setdefault(
            "chains", 1.2 * torch.randn(options["size"], *actions.shape[1:], generator=scene.draw)
        )
        fresh = torch.rand(len(actions), generator=scene.draw) < 0.1
        samples = torch.where(fresh.view(-1, *[1] * (actions.dim() - 1)), start, chains[scene.batch["rows"]])
    for _ in range(options.get("chain", 8)):
        samples = samples.detach().requires_grad_()
        (slope,) = torch.autograd.grad(scene.energy(samples).sum(), samples)
        noise = options.get("jitter", 0.02) * torch.randn(actions.shape, generator=scene.draw)
        samples = samples - options.get("length", 0.05) * slope.clamp(-4, 4) + noise
    samples = samples.detach()
    if options.get("persistent") and "rows" in scene.batch:
        scene.memory["chains"][scene.batch["rows"]] = samples
    right, wrong = scene.energy(actions), scene.energy(samples)
    loss = right.mean() - wrong.mean() + options["alpha"] * (right.pow(2) + wrong.pow(2)).mean()
    return loss, {
        "pos_out": right.mean().item(),
        "neg_out": wrong.mean().item(),
        "gap": (wrong.mean() - right.mean()).item(),
    }


def denoising(scene: Scene) -> tuple[Tensor, Stats]:
    """Denoising score matching at one or several noise levels."""
    actions, sizes = scene.batch["actions"], torch.tensor(scene.options["sizes"])
    size = sizes[torch.randint(0, len(sizes), (len(actions),), generator=scene.draw)].view(
        -1, *[1] * (actions.dim() - 1)
    )
    noise = torch.randn(actions.shape, generator=scene.draw)
    noisy = (actions + size * noise).requires_grad_()
    (slope,) = torch.autograd.grad(scene.energy(noisy).sum(), noisy, create_graph=True)
    return (size * slope - noise).pow(2).mean(), {}


def regression(scene: Scene) -> tuple[Tensor, Stats]:
    """The energy is to be the distance of any action from the expert's, or minus the return that it brings."""
    actions, options = scene.batch["actions"], scene.options
    every = torch.cat((actions[:, None], scene.others(3), scene.noised(6, (0.1, 0.2, 0.4, 0.8))), 1)
    apart = (every - actions[:, None]).flatten(2)
    if options.get("returns"):
        target = -10 * torch.exp(-apart.pow(2).mean(2) / 0.5) + 0.3 * torch.randn(apart.shape[:2], generator=scene.draw)
    else:
        target = apart.norm(dim=2)
    found = scene.energy(every)
    loss = (found - target).pow(2).mean()
    stats = {
        "r2": 1 - (loss / target.var()).item(),
        "variance": target.var().item(),
        "found": -found.mean().item(),
        "target": -target.mean().item(),
    }
    return loss, stats


def unrolled(scene: Scene) -> tuple[Tensor, Stats]:
    """The error of an action after K steps down the energy, from noise."""
    actions, options = scene.batch["actions"], scene.options
    action = 0.8 * torch.randn(actions.shape, generator=scene.draw).requires_grad_()
    initial, energies = functional.mse_loss(action, actions), []
    rate = scene.module.alpha if hasattr(scene.module, "alpha") else options["rate"]
    for _ in range(options["steps_down"]):
        energy = scene.energy(action)
        energies.append(energy.mean().item())
        (slope,) = torch.autograd.grad(energy.sum(), action, create_graph=True)
        action = action - rate * (slope.detach() if options.get("detached") else slope)
    energies.append(scene.energy(action).mean().item())
    final = functional.mse_loss(action, actions)
    if options.get("detached"):
        final = final + 0.0 * energy.sum()
    stats = {"initial": initial.item(), "final": final.item(), "energy_fall": energies[0] - energies[-1]}
    return final, stats


def likelihood(scene: Scene) -> tuple[Tensor, Stats]:
    """Minus the log of the density, which the energy is."""
    return scene.energy(scene.batch["actions"]).mean(), {}


def _scale(module: nn.Module) -> Stats:
    if not hasattr(module, "logit_scale"):
        return {}
    return {"logit_scale": module.logit_scale.exp().item(), "logit_bias": module.logit_bias.item()}


LOSSES: dict[str, Loss] = {
    "infonce": infonce,
    "queue": queue,
    "bce": bce,
    "siglip": siglip,
    "margin": margin,
    "triplet": triplet,
    "bradley-terry": preferences,
    "contrastive-divergence": divergence,
    "dsm": denoising,
    "regression": regression,
    "unrolled": unrolled,
    "nll": likelihood,
}
