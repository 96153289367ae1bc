"""A head and a batch of the sizes of real policies, and the ways to compute the energies of all pairs.

Shapes: B contexts and as many candidates, S tokens, D context width, W hidden width, H action steps, A action
dimensions, d width of an attention head.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from energydiag import pairwise_energies
from energydiag.batch import Batch
from energydiag.energies.memory import DEFAULT_BUDGET
from energydiag.energies.pairs import CPU_PIECE
from energydiag.models.cross_attention import CrossAttentionEnergy, sinusoidal_code
from energydiag.models.energy_function import EnergyFunction

STEPS, DIMENSIONS, TAU = 8, 7, 0.5
"""H, A, and the temperature of every loss here."""


@dataclass(frozen=True)
class Size:
    """B, S, D, W and the number of attention heads."""

    contexts: int
    tokens: int
    width: int
    hidden: int = 512
    heads: int = 8

    def __str__(self) -> str:
        return f"{self.contexts}, {self.tokens}, {self.width}"


TINY = Size(4, 6, 16, 16, 2)
"""For a test: nothing is learned from it but that all of it runs."""


@dataclass(frozen=True)
class Case:
    """A head in eval mode, contexts ``[B, S, D]``, candidates ``[B, H, A]``, mask ``[B, S]``."""

    size: Size
    model: nn.Module
    hidden: Tensor
    actions: Tensor
    mask: Tensor

    @property
    def energy(self) -> EnergyFunction:
        """The head as energydiag takes it."""
        return EnergyFunction(self.model, type(self.model).__name__, widths=(self.size.width, DIMENSIONS))

    @property
    def input_bytes(self) -> int:
        """Of contexts, candidates and mask."""
        return self.hidden.nbytes + self.actions.nbytes + self.mask.nbytes

    @property
    def weight_bytes(self) -> int:
        """Of the parameters."""
        return sum(p.nbytes for p in self.model.parameters())

    def batch(self) -> Batch:
        """The same as samples on the CPU, every one an episode of its own."""
        return Batch(
            hidden=self.hidden.cpu(),
            actions=self.actions.cpu(),
            pad_mask=self.mask.cpu(),
            episode=torch.arange(len(self.hidden)),
        )

    @property
    def device(self) -> str:
        """Where the model and its inputs are."""
        return self.hidden.device.type


def devices() -> tuple[str, ...]:
    """The CPU, and a GPU where there is one."""
    return ("cpu", "cuda") if torch.cuda.is_available() else ("cpu",)


def place(device: str) -> str:
    """What the name of a figure begins with."""
    return "" if device == "cpu" else "on the GPU: "


def make_case(
    size: Size, make: Callable[[Size], nn.Module] | None = None, device: str = "cpu", samples: int | None = None
) -> Case:
    """Random weights and inputs, always the same; the last eighth of every context is padding.

    Args:
        size: See `Size`.
        make: What to make in place of the reference head.
        device: Where.
        samples: How many contexts and candidates, where that is not B.
    """
    torch.manual_seed(0)
    # of the published orders the costliest: the prediction head runs on every step, and raw values are averaged
    made = make(size) if make else CrossAttentionEnergy(size.width, DIMENSIONS, size.hidden, size.heads, "original-raw")
    count = samples or size.contexts
    mask = torch.zeros(count, size.tokens, dtype=torch.bool)
    mask[:, size.tokens - size.tokens // 8 :] = True
    hidden, actions = torch.randn(count, size.tokens, size.width), torch.randn(count, STEPS, DIMENSIONS)
    return Case(size, made.eval().to(device), hidden.to(device), actions.to(device), mask.to(device))


def ours(case: Case, memory_budget: int | None = DEFAULT_BUDGET) -> Tensor:
    """``[B, B]`` as energydiag computes it."""
    return pairwise_energies(case.model, case.hidden, case.actions, case.mask, memory_budget=memory_budget)


def expanded(model: nn.Module, hidden_BSD: Tensor, actions_NHA: Tensor, mask_BS: Tensor) -> Tensor:
    """``[B, N]`` as the design writes it: contexts and candidates both repeated to B·N rows, one call."""
    contexts, candidates = len(hidden_BSD), len(actions_NHA)
    rows = contexts * candidates
    energy: Tensor = model(
        hidden_BSD[:, None].expand(-1, candidates, -1, -1).reshape(rows, *hidden_BSD.shape[1:]),
        actions_NHA[None].expand(contexts, -1, -1, -1).reshape(rows, *actions_NHA.shape[1:]),
        mask_BS[:, None].expand(-1, candidates, -1).reshape(rows, -1),
    )
    return energy.reshape(contexts, candidates)


def row_by_row(case: Case, pairs: int) -> Tensor:
    """The first ``pairs`` of all pairs, spread over the contexts, one call each."""
    count = len(case.hidden)
    found = [
        case.model(case.hidden[b : b + 1], case.actions[n : n + 1], case.mask[b : b + 1])
        for b, n in ((i % count, (i // count + i) % count) for i in range(pairs))
    ]
    return torch.cat([answer.reshape(1) for answer in found])


def hand_factorised(case: Case) -> Tensor:
    """``[B, B]`` as somebody writes it who knows this head: what energydiag finds by itself is written out.

    The state stack runs once a context and the action stack once a candidate. Keys and values are one projection. The
    queries of all candidates are those of one attention call, ``[B, heads, B·H, d]`` against ``[B, heads, S, d]``. As
    many contexts are done at once as energydiag takes on a CPU, which is faster than all at once.
    """
    model, size = case.model, case.size
    assert isinstance(model, CrossAttentionEnergy)
    heads, hidden = size.heads, size.hidden
    of_pair = 4 * hidden * STEPS * 4  # bytes: four tensors of the hidden width are alive at once
    of_context = 4 * size.tokens * (size.width + 3 * hidden) + len(case.actions) * of_pair
    at_once = max(1, CPU_PIECE // of_context)
    weight, bias = model.cross.in_proj_weight, model.cross.in_proj_bias
    action_NHW = model.action_linear(case.actions)
    action_NHW = action_NHW + sinusoidal_code(STEPS, hidden, action_NHW)
    query = functional.linear(action_NHW, weight[:hidden], bias[:hidden])
    query = query.reshape(-1, heads, hidden // heads).transpose(0, 1)  # [heads, N·H, d]
    parts = []
    for start in range(0, len(case.hidden), at_once):
        part = slice(start, start + at_once)
        context_bSW = model.state_linear(case.hidden[part])
        both = functional.linear(context_bSW, weight[hidden:], bias[hidden:])
        key, value = both.unflatten(-1, (2, heads, -1)).permute(2, 0, 3, 1, 4)
        visible = ~case.mask[part, None, None]
        seen = functional.scaled_dot_product_attention(query.expand(len(key), -1, -1, -1), key, value, visible)
        seen = seen.transpose(1, 2).reshape(len(key), len(case.actions), STEPS, hidden)
        parts.append(model.head(model.cross.out_proj(seen), model.prediction_head))
    return torch.cat(parts)


def largest_difference(one: Tensor, other: Tensor) -> float:
    """Relative to the largest value."""
    return float((one - other).abs().max() / other.abs().max())
