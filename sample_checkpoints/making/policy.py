"""A small transformer policy over entity and action tokens that predicts an action chunk after every layer.

Shapes: N time steps, E entity tokens, H action tokens (one a step of the chunk), S = E + H tokens,
F features an entity, D width, L layers, A action dims.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

ENTITIES = (
    "task",
    "hand",
    "object 1",
    "object 2",
    "goal",
    "hand, previous frame",
    "object 1, previous frame",
    "object 2, previous frame",
)
E = len(ENTITIES)
F = 10
D = 64
LAYERS = 4
HEADS = 4
H = 8
S = E + H
TOKENS = (*ENTITIES, *(f"action {step}" for step in range(H)))
A = 4
DROPOUT = 0.05
# Light weights keep the early layers rough, so that the layers' chunks really differ.
LAYER_WEIGHTS = (0.05, 0.1, 0.2, 1.0)
BATCH = 128
TRAIN_STEPS = 400
WARMUP_STEPS = 60
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 0.05
THREADS = 2


class Outputs(NamedTuple):
    """hidden: [N, S, D], last hidden states after the final LayerNorm; layer_actions: [N, L, H, A]."""

    hidden: Tensor
    layer_actions: Tensor


def entity_features(obs: NDArray[np.float32]) -> NDArray[np.float32]:
    """Splits observations [N, 39] into token features [N, E, F], zero where a token has fewer than F.

    An object's token holds its position, its orientation, and its position relative to the hand of
    the same frame; the hand's token of the previous frame also holds the hand's motion since then.
    """
    features = np.zeros((len(obs), E, F), dtype=np.float32)
    now, previous, goal = obs[:, :18], obs[:, 18:36], obs[:, 36:39]
    for frame, hand, first, second in ((now, 1, 2, 3), (previous, 5, 6, 7)):
        features[:, hand, :4] = frame[:, :4]
        for token, start in ((first, 4), (second, 11)):
            features[:, token, :7] = frame[:, start : start + 7]
            features[:, token, 7:10] = frame[:, start : start + 3] - frame[:, :3]
    features[:, 4, :3] = goal
    features[:, 4, 3:6] = goal - now[:, :3]
    features[:, 5, 4:8] = now[:, :4] - previous[:, :4]
    return features


def padding(obs: NDArray[np.float32], step: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Returns [N, S] bool, True for tokens that do not exist: no second object, no previous frame."""
    pad = np.zeros((len(obs), S), dtype=np.bool_)
    # Meta-World fills the place of a missing second object with zeros.
    missing = ~obs[:, 11:18].any(axis=1)
    pad[:, 3] = missing
    pad[:, 7] = missing
    pad[step == 0, 5:8] = True
    return pad


def action_chunks(action: NDArray[np.float32], episode: NDArray[np.int32]) -> NDArray[np.float32]:
    """Returns [T, H, A], the next H actions from each step on; an episode's last action is repeated."""
    index = np.arange(len(action))
    last = np.searchsorted(episode, episode, side="right") - 1
    chunks: NDArray[np.float32] = action[np.minimum(index[:, None] + np.arange(H), last[:, None])]
    return chunks


def feature_scale(
    features: NDArray[np.float32], pad: NDArray[np.bool_]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Returns mean and standard deviation [E, F] of the unpadded features [N, E, F]."""
    weight = (~pad[:, :E])[..., None].astype(np.float64)
    count = np.maximum(weight.sum(axis=0), 1.0)
    mean = (features * weight).sum(axis=0) / count
    std = np.sqrt(((features - mean) ** 2 * weight).sum(axis=0) / count)
    # A feature that never changes carries nothing; dividing by its rounding error would blow it up.
    std[std < 1e-4] = 1.0
    return mean.astype(np.float32), std.astype(np.float32)


class Block(nn.Module):
    """Pre-norm transformer layer; padded tokens are never attended to."""

    def __init__(self) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(D)
        self.qkv = nn.Linear(D, 3 * D)
        self.attention_out = nn.Linear(D, D)
        self.mlp_norm = nn.LayerNorm(D)
        self.mlp = nn.Sequential(nn.Linear(D, 4 * D), nn.GELU(), nn.Linear(4 * D, D))
        self.dropout = nn.Dropout(DROPOUT)

    def forward(self, x: Tensor, visible: Tensor) -> Tensor:
        """x: [N, S, D]; visible: [N, 1, 1, S] bool. Returns [N, S, D]."""
        n = x.shape[0]
        qkv = self.qkv(self.attention_norm(x)).view(n, S, 3, HEADS, D // HEADS)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=visible)
        x = x + self.dropout(self.attention_out(mixed.transpose(1, 2).reshape(n, S, D)))
        mlp: Tensor = self.dropout(self.mlp(self.mlp_norm(x)))
        return x + mlp


class EntityPolicy(nn.Module):
    """Entity and action tokens in, one chunk per layer out; the last layer's chunk is the policy's action."""

    mean: Tensor
    std: Tensor

    def __init__(self, tasks: int, mean: Tensor, std: Tensor) -> None:
        """tasks: number of tasks; mean, std: [E, F], scale of the features."""
        super().__init__()
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.task_embedding = nn.Embedding(tasks, D)
        self.token_type = nn.Parameter(torch.randn(S, D) * 0.02)
        self.embed = nn.ModuleList(nn.Linear(F, D) for _ in range(E))
        self.blocks = nn.ModuleList(Block() for _ in range(LAYERS))
        self.norms = nn.ModuleList(nn.LayerNorm(D) for _ in range(LAYERS))
        self.heads = nn.ModuleList(nn.Linear(D, A) for _ in range(LAYERS))

    def tokens(self, features: Tensor, pad: Tensor, task: Tensor) -> Tensor:
        """features: [N, E, F]; pad: [N, S] bool; task: [N]. Returns [N, S, D]."""
        scaled = ((features - self.mean) / self.std).masked_fill(pad[:, :E, None], 0.0)
        embedded = torch.stack([layer(scaled[:, s]) for s, layer in enumerate(self.embed)], dim=1)
        task_token = functional.pad(self.task_embedding(task)[:, None], (0, 0, 0, S - 1))
        return functional.pad(embedded, (0, 0, 0, H)) + self.token_type + task_token

    def forward(self, features: Tensor, pad: Tensor, task: Tensor) -> Outputs:
        """features: [N, E, F]; pad: [N, S] bool, True = hidden; task: [N]."""
        x = self.tokens(features, pad, task)
        visible = ~pad[:, None, None, :]
        chunks = []
        normed = x
        for block, norm, head in zip(self.blocks, self.norms, self.heads, strict=True):
            x = block(x, visible)
            normed = norm(x)
            chunks.append(head(normed[:, E:]))
        return Outputs(normed, torch.stack(chunks, dim=1))


class Examples(NamedTuple):
    """features: [N, E, F]; pad: [N, S] bool; task: [N] int64; chunk: [N, H, A]."""

    features: Tensor
    pad: Tensor
    task: Tensor
    chunk: Tensor

    def at(self, index: Tensor) -> Examples:
        """Returns the examples at `index`, an int64 or bool tensor."""
        return Examples(self.features[index], self.pad[index], self.task[index], self.chunk[index])


def learning_rate_factor(update: int) -> float:
    """Linear warm-up, then cosine decay to zero."""
    if update < WARMUP_STEPS:
        return (update + 1) / WARMUP_STEPS
    return 0.5 * (1.0 + math.cos(math.pi * (update - WARMUP_STEPS) / (TRAIN_STEPS - WARMUP_STEPS)))


def train(examples: Examples, tasks: int, seed: int) -> EntityPolicy:
    """Trains a policy on `examples`, an L1 loss after each layer; the same seed gives the same weights."""
    torch.set_num_threads(THREADS)
    torch.use_deterministic_algorithms(True)
    torch.manual_seed(seed)
    mean, std = feature_scale(examples.features.numpy(), examples.pad.numpy())
    policy = EntityPolicy(tasks, torch.from_numpy(mean), torch.from_numpy(std))
    layer_weights = torch.tensor(LAYER_WEIGHTS)
    optimizer = torch.optim.AdamW(policy.parameters(), lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, learning_rate_factor)
    order = torch.empty(0, dtype=torch.int64)
    policy.train()
    for _ in range(TRAIN_STEPS):
        if len(order) < BATCH:
            order = torch.randperm(len(examples.task))
        batch, order = examples.at(order[:BATCH]), order[BATCH:]
        chunks = policy(batch.features, batch.pad, batch.task).layer_actions
        error = (chunks - batch.chunk[:, None]).abs().mean(dim=(0, 2, 3))
        optimizer.zero_grad()
        (error * layer_weights).sum().backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return policy.eval()


@torch.inference_mode()
def run_policy(policy: EntityPolicy, examples: Examples, batch: int = 1024) -> Outputs:
    """Returns the policy's outputs for all examples, computed `batch` at a time."""
    parts = [
        policy(examples.features[i : i + batch], examples.pad[i : i + batch], examples.task[i : i + batch])
        for i in range(0, len(examples.task), batch)
    ]
    return Outputs(torch.cat([p.hidden for p in parts]), torch.cat([p.layer_actions for p in parts]))


def layer_errors(outputs: Outputs, examples: Examples) -> list[float]:
    """Returns the mean L1 error of each layer's chunk, L numbers."""
    error = (outputs.layer_actions - examples.chunk[:, None]).abs().mean(dim=(0, 2, 3))
    return [float(e) for e in error]
