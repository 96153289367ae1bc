"""The expert's action changed in one way that a robot would notice.

It comes one step early or late, is too weak or too strong, goes backwards, or has the gripper the other way round.
Unlike noise, these are smooth and plausible, and each tests one thing that an energy may be blind to. All dimensions
are scaled together in ``amplitude_*``, since that is the change that a LayerNorm over the raw action hides. Actions
that such a change leaves as they are (a shift of an action that does not move) are ties with the expert's.

Shapes: N samples, H action steps, A action dimensions, the last one being the gripper where A > 1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from energydiag.batch import Batch
from energydiag.negatives.source import NegativeSource

AMPLITUDES = (0.5, 1.5)
"""Factors on the whole chunk (a guess: well outside of a policy's own error, well inside of what is possible)."""


def shifted(actions_NHA: Tensor, by: int) -> Tensor:
    """The chunk one step later (``by = 1``) or earlier (``by = -1``); the step at the open end stands twice."""
    if by > 0:
        return torch.cat((actions_NHA[:, :1], actions_NHA[:, :-1]), dim=1)
    return torch.cat((actions_NHA[:, 1:], actions_NHA[:, -1:]), dim=1)


def reversed_direction(actions: Tensor) -> Tensor:
    """Every dimension but the gripper with the opposite sign."""
    turned = -actions
    if actions.shape[-1] > 1:
        turned[..., -1] = actions[..., -1]
    return turned


def flipped_gripper(actions: Tensor) -> Tensor:
    """The last dimension mirrored: ``1 − g`` where it is nowhere negative in the batch (coded 0 and 1), else ``−g``."""
    flipped = actions.clone()
    gripper = actions[..., -1]
    flipped[..., -1] = 1 - gripper if bool((gripper >= 0).all()) else -gripper
    return flipped


def _make(batch: Batch, _generator: torch.Generator) -> dict[str, Tensor]:
    actions = batch.actions
    made = {}
    if actions.dim() == 3 and actions.shape[1] > 1:
        made["shift_late"] = shifted(actions, 1)
        made["shift_early"] = shifted(actions, -1)
    made |= {f"amplitude_{factor:g}": factor * actions for factor in AMPLITUDES}
    made["direction"] = reversed_direction(actions)
    if actions.shape[-1] > 1:
        made["gripper_flip"] = flipped_gripper(actions)
    return {name: value[:, None] for name, value in made.items()}


SOURCE = NegativeSource("structured", needs=(), make=_make)
