"""What is true of a model and of a log, by plain loops and without energydiag."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .case import Case, Facts
from .fit import Row
from .world import Dump

SET = 64
FEW = 48

RANKING = {
    "infonce",
    "bce",
    "siglip",
    "margin",
    "triplet",
    "bradley-terry",
    "contrastive-divergence",
    "nll",
    "exact",
    "regression",
}
"""Objectives whose energies must rank other samples' actions below the right one."""


def of_model(module: nn.Module, dump: Dump, sign: str) -> Facts:
    """Ranking in sets of 64, share of finite energies, what a few small steps down do to a wrong action."""
    module.eval()
    turn = -1.0 if sign == "score" else 1.0

    def energy(context: Tensor, actions: Tensor) -> Tensor:
        rest = [dump["pad_mask"][context]] if "pad_mask" in dump else []
        return turn * module(dump["hidden"][context], actions, *rest).double().reshape(-1)

    everything = torch.arange(len(dump["actions"]))
    with torch.no_grad():
        own = torch.cat([energy(part, dump["actions"][part]) for part in everything.split(SET)])
        found: Facts = {"finite_share": float(torch.isfinite(own).double().mean())}
        if found["finite_share"] < 1:
            return found
        found |= _ranking(energy, dump) | {"batch_dependence": _dependence(energy, dump)}
        draw = torch.Generator().manual_seed(1)
        size = 0.2 * dump["actions"].std()
        noised = dump["actions"] + size * torch.randn(dump["actions"].shape, generator=draw).to(dump["actions"].dtype)
        above = torch.cat([energy(part, noised[part]) for part in everything.split(SET)])
        found["expert_below_noised"] = float((own < above).double().mean())
    start = dump.get("policy_actions", noised)
    return {name: round(value, 6) for name, value in (found | _descent(energy, dump["actions"], start)).items()}


def of_log(rows: Sequence[Row]) -> Facts:
    """First and last loss, largest and last gradient, share of rows with a finite loss."""
    losses = [row["loss"] for row in rows if "loss" in row]
    norms = [row["grad_norm"] for row in rows if "grad_norm" in row]
    found = {"first_loss": losses[0], "last_loss": losses[-1], "highest_loss": max(losses), "rows": len(rows)}
    found |= {"first_gradient": norms[0], "last_gradient": norms[-1], "longest_gradient": max(norms)}
    for name in (
        "top1",
        "accuracy",
        "gap",
        "val_loss",
        "val_accuracy",
        "val_top1",
        "initial",
        "variance",
        "weight_norm",
        "r2",
    ):
        values = [row[name] for row in rows if name in row]
        if values:
            found |= {f"first_{name}": values[0], f"last_{name}": values[-1], f"lowest_{name}": min(values)}
    return {name: round(value, 6) if math.isfinite(value) else value for name, value in found.items()}


def is_well(case: Case, facts: Facts) -> bool:
    """Whether a healthy case is one."""
    learned = case.recipe is None or _has_learned(case, facts)
    if case.checkpoint is None:
        return learned
    ranks = facts["auroc"] > 0.9 and facts["top1"] > 5 / SET
    leads = facts["error_reduction_1"] > 0 and facts["error_reduction_4"] > 0 and facts["expert_below_noised"] > 0.6
    return learned and facts["finite_share"] == 1 and leads and (ranks or case.objective not in RANKING)


def _has_learned(case: Case, facts: Facts) -> bool:
    if case.objective == "contrastive-divergence":
        return abs(facts["last_gap"]) < 1 and facts["highest_loss"] < 5
    if case.objective == "triplet":
        return facts["last_top1"] > 0.6
    if case.objective == "nll":
        return facts["last_val_loss"] < facts["first_loss"] - 5
    if case.objective == "regression":
        return facts["last_r2"] > 0.7
    if case.objective == "unrolled":
        return facts["last_loss"] < 0.5 * facts["last_initial"]
    return facts["last_loss"] < 0.6 * facts["first_loss"]


def _ranking(energy, dump: Dump) -> Facts:
    size = min(SET, len(dump["actions"]))
    rows = torch.randperm(len(dump["actions"]), generator=torch.Generator().manual_seed(0))
    auroc, top1, spread, level = [], [], [], []
    for part in [rows[i : i + size] for i in range(0, len(rows) - size + 1, size)][:3]:
        table = torch.stack([energy(context.expand(size), dump["actions"][part]) for context in part])
        own = table.diagonal()[:, None]
        above = (table > own).double() + 0.5 * (table == own).double()
        auroc.append((above.sum(1) - 0.5).mean() / (size - 1))
        top1.append(((table < own).sum(1) + ((table == own).sum(1) - 1) == 0).double().mean())
        spread.append(table.std())
        level.append(table.mean())
    named = {"auroc": auroc, "top1": top1, "energy_std": spread, "energy_mean": level}
    return {name: float(torch.stack(values).mean()) for name, values in named.items()}


def _dependence(energy, dump: Dump) -> float:
    """How much energies change, in parts of their spread, when samples are asked for two at a time."""
    few = torch.arange(0, len(dump["actions"]), max(1, len(dump["actions"]) // FEW))[:FEW]
    together = energy(few, dump["actions"][few])
    by_twos = torch.cat([energy(two, dump["actions"][two]) for two in few.split(2)])
    return float((together - by_twos).abs().max() / together.std().clamp_min(1e-12))


def _descent(energy, actions: Tensor, start: Tensor) -> Facts:
    """By what share one and four steps, each a tenth of the error long, bring ``start`` nearer to the right action."""
    few = torch.arange(0, len(actions), max(1, len(actions) // (4 * FEW)))[: 4 * FEW]
    actions, action = actions[few], start[few]
    before = (action - actions).flatten(1).norm(dim=1)
    result: Facts = {}
    for count in range(1, 5):
        action = action.detach().requires_grad_()
        (slope,) = torch.autograd.grad(energy(few, action).sum(), action, allow_unused=True)
        slope = torch.zeros_like(action) if slope is None else slope
        norm = slope.flatten(1).norm(dim=1).clamp_min(1e-20).view(-1, *[1] * (slope.dim() - 1))
        action = (action - before.mean() / 10 * slope / norm).detach()
        if count in (1, 4):
            after = (action - actions).flatten(1).norm(dim=1)
            result[f"error_reduction_{count}"] = float(1 - after.mean() / before.mean())
    return result
