"""Joints that track moving targets: demonstrations that every case is trained and measured on.

Shapes: N samples, S context tokens, D context width, H action steps, A action dimensions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

Dump = dict[str, Tensor]


@dataclass(frozen=True)
class World:
    """What the samples of a case look like.

    Attributes:
        dims: Joints.
        horizon: Steps of a chunk; 0: one action without a step axis.
        tokens: Context tokens; 0: pooled contexts.
        width: Width of a context, or of each token.
        episodes: Held-out episodes.
        length: Samples of an episode.
        noise: How far experts differ from the ideal action.
        padded: Whether some tokens are hidden, and hold nonsense.
        policy: Whether the dump says what a policy would have done.
        informative: Whether contexts belong to their actions.
        seed: Draws what links scenes, contexts and actions.
    """

    dims: int = 4
    horizon: int = 5
    tokens: int = 0
    width: int = 32
    episodes: int = 20
    length: int = 12
    noise: float = 0.05
    padded: bool = False
    policy: bool = False
    informative: bool = True
    seed: int = 17

    @property
    def chunk(self) -> int:
        """Numbers in an action."""
        return self.dims * max(self.horizon, 1)


def demonstrations(world: World, episodes: int, seed: int, first_episode: int = 0) -> Dump:
    """Whole episodes; those of another seed are others of the same world."""
    link, draw = torch.Generator().manual_seed(world.seed), torch.Generator().manual_seed(seed)
    rate = 0.25 + 0.5 * torch.rand(world.dims, generator=link)
    scene = _scenes(world, episodes, rate, draw)
    actions = _chunks(world, scene, rate)
    actions = actions + world.noise * torch.randn(actions.shape, generator=draw)
    shown = scene if world.informative else scene[torch.randperm(len(scene), generator=draw)]
    dump = {
        "hidden": _contexts(world, shown, link, draw),
        "actions": actions,
        "episode": torch.arange(episodes).repeat_interleave(world.length) + first_episode,
        "step": torch.arange(world.length).repeat(episodes),
    }
    if world.padded:
        dump["pad_mask"] = torch.rand(len(scene), world.tokens, generator=draw) < 0.3
        dump["pad_mask"][:, 0] = False
        nonsense = 2 * torch.randn(dump["hidden"].shape, generator=draw)
        dump["hidden"] = torch.where(dump["pad_mask"][..., None], nonsense, dump["hidden"])
    if world.policy:
        dump["policy_actions"] = actions + _slips(actions, draw)
    return dump


def training_and_heldout(world: World, training_episodes: int = 150, seed: int = 0) -> tuple[Dump, Dump]:
    """Samples to learn from, and the dump of held-out episodes."""
    training = demonstrations(World(**{**vars(world), "policy": False}), training_episodes, 1000 + seed)
    return training, demonstrations(world, world.episodes, 2000 + seed, first_episode=5000)


def _scenes(world: World, episodes: int, rate: Tensor, draw: torch.Generator) -> Tensor:
    """Sine and cosine of every joint's swing, ``[N, 2·dims]``."""
    amplitude = 0.5 + 0.9 * torch.rand(episodes, 1, world.dims, generator=draw)
    phase = 2 * math.pi * torch.rand(episodes, 1, world.dims, generator=draw)
    phase = phase + rate * 1.7 * torch.arange(world.length).view(1, -1, 1)
    phase = phase + 0.2 * torch.randn(episodes, world.length, world.dims, generator=draw)
    return torch.cat((amplitude * phase.sin(), amplitude * phase.cos()), -1).flatten(0, 1)


def _chunks(world: World, scene: Tensor, rate: Tensor) -> Tensor:
    """The next velocity commands; neighboring joints pull at each other a little."""
    sine, cosine = scene.chunk(2, -1)
    turn = rate * torch.arange(max(world.horizon, 1)).view(-1, 1)
    swing = sine[:, None] * turn.cos() + cosine[:, None] * turn.sin()
    actions = swing - 0.15 * swing.roll(1, -1) ** 2
    return actions if world.horizon else actions[:, 0]


def _contexts(world: World, scene: Tensor, link: torch.Generator, draw: torch.Generator) -> Tensor:
    """Waves of the scene, some of them slow, beside a few numbers that say nothing."""
    tokens = max(world.tokens, 1)
    waves = torch.randn(scene.shape[1], tokens * world.width, generator=link) * 0.9 / math.sqrt(world.dims)
    shift = 2 * math.pi * torch.rand(tokens * world.width, generator=link)
    hidden = (scene @ waves + shift).sin().view(len(scene), tokens, world.width)
    hidden = hidden + 0.05 * torch.randn(hidden.shape, generator=draw)
    hidden[..., -2:] = torch.randn(*hidden.shape[:2], 2, generator=draw)
    return hidden if world.tokens else hidden[:, 0]


def _slips(actions: Tensor, draw: torch.Generator) -> Tensor:
    """A policy's errors: one offset for the whole chunk, a slower swing, and a little noise."""
    offset = 0.2 * torch.randn(len(actions), *[1] * (actions.dim() - 2), actions.shape[-1], generator=draw)
    return offset - 0.12 * actions + 0.02 * torch.randn(actions.shape, generator=draw)
