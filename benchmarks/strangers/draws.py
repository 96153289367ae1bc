"""Dumps whose actions are drawn from an exact energy."""

from __future__ import annotations

import torch
from torch import Tensor

from .exact import MODES, WAYS, Exact
from .world import Dump

ELEMENTWISE = {"student": 4.0, "huber": 3.0, "logcosh": 3.0, "von-mises": 3.14159}
"""Kinds whose energy is a sum over single joints, and how far from zero these are looked for."""


def exact_dump(
    module: Exact,
    *,
    width: int = 24,
    tokens: int = 5,
    padded: bool = False,
    policy: bool = True,
    episodes: int = 24,
    length: int = 12,
    dtype: torch.dtype = torch.float32,
) -> Dump:
    """Contexts that resemble each other within an episode, and actions that are right for them."""
    draw = torch.Generator().manual_seed(31)
    shape = (tokens, width) if tokens else (width,)
    hidden = torch.randn(episodes, 1, *shape, generator=draw) * 0.7
    hidden = (hidden + 0.7 * torch.randn(episodes, length, *shape, generator=draw)).flatten(0, 1).to(dtype)
    dump = {"hidden": hidden}
    if padded:
        dump["pad_mask"] = torch.rand(len(hidden), tokens, generator=draw) < 0.25
        dump["pad_mask"][:, 0] = False
    with torch.no_grad():
        context = module.context(hidden, dump.get("pad_mask"))
        dump["actions"] = _drawn(module, context, draw)
    if policy:
        error = 2.5 * module.sigma * torch.randn(len(hidden), *dump["actions"].shape[1:], generator=draw)
        dump["policy_actions"] = dump["actions"] + error.to(dtype)
    dump["episode"] = torch.arange(episodes).repeat_interleave(length)
    dump["step"] = torch.arange(length).repeat(episodes)
    return dump


def _drawn(module: Exact, context: Tensor, draw: torch.Generator) -> Tensor:
    mean, sigma = module.mean(context), module.sigma
    noise = torch.randn(mean.shape, generator=draw).to(mean.dtype)
    if module.kind in ("modes", "nearest"):
        ways = module.ways(context, MODES if module.kind == "modes" else WAYS)
        mean = ways[torch.arange(len(ways)), torch.randint(0, ways.shape[1], (len(ways),), generator=draw)]
        return mean + sigma * noise * (1 if module.kind == "modes" else 2**-0.5)
    if module.kind == "experts":
        return mean + sigma * noise / torch.tensor([(k % 3 + 1) ** 0.5 for k in range(module.dims)])
    if module.kind == "precision":
        return mean + sigma * torch.linalg.solve(module.factor(context), noise, left=False)
    if module.kind == "discounted":
        return mean + sigma * noise * 0.8 ** (-torch.arange(module.horizon)[:, None] / 2)
    if module.kind in ELEMENTWISE:
        return mean + _element(module, ELEMENTWISE[module.kind], mean.numel(), draw).view_as(mean)
    if module.kind == "basis":
        inside = torch.einsum("hk,jk->hj", module.basis, module.basis)
        return mean + sigma * torch.einsum("hj,bja->bha", inside + (torch.eye(len(inside)) - inside) * 0.3**-0.5, noise)
    return mean + sigma * noise


def _element(module: Exact, reach: float, count: int, draw: torch.Generator) -> Tensor:
    """Differences of single joints from what is asked for, by their cumulated density on a grid."""
    grid = torch.linspace(-reach, reach, 20_001, dtype=torch.float64)
    one = Exact(module.kind, width=1, dims=1, horizon=0, sigma=module.sigma)
    with torch.no_grad():
        energy = one.energy(torch.zeros(len(grid), 1), grid[:, None] + one.mean(torch.zeros(len(grid), 1)))
    density = torch.exp(energy.min() - energy)
    places = torch.searchsorted(density.cumsum(0) / density.sum(), torch.rand(count, generator=draw).double())
    return grid[places.clamp_max(len(grid) - 1)].float()
