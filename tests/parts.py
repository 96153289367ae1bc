"""Small real parts that several test files share: tiny energy heads, a random batch, user-written modules, evidence."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.heads import HeadForm
from energydiag.models.cross_attention import CrossAttentionEnergy
from energydiag.models.energy_function import EnergyFunction
from energydiag.probes import Evidence, MeasuringSettings, Probe
from energydiag.results import Measurement

CONTEXT, ACTION, STEPS, TOKENS = 12, 3, 4, 5
"""D, A, H and S of everything here."""

SAMPLES = 12
"""Of the batch that evidence is of, where no other is given."""


def make_batch(samples: int = 6, seed: int = 0) -> Batch:
    """A random batch with a padding mask, layer actions and two samples an episode."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    # over one visible token alone, attention gives the same whatever the action
    visible = torch.randint(2, TOKENS + 1, (samples,), generator=generator)
    actions = normal(samples, STEPS, ACTION)
    layers = actions[:, None] + 0.3 * normal(samples, 3, STEPS, ACTION)
    return Batch(
        hidden=normal(samples, TOKENS, CONTEXT),
        actions=actions,
        pad_mask=torch.arange(TOKENS) >= visible[:, None],
        layer_actions=layers,
        policy_actions=layers[:, -1],
        episode=torch.arange(samples) // 2,
    )


def make_head(head: HeadForm | str = "rescaled", seed: int = 0) -> CrossAttentionEnergy:
    """The reference architecture, tiny, in eval mode."""
    torch.manual_seed(seed)
    return CrossAttentionEnergy(CONTEXT, ACTION, hidden=16, nhead=2, head=head).eval()


def pooled(hidden: Tensor, mask: Tensor | None) -> Tensor:
    """Mean of the visible context tokens, ``[B, D]``; a context that is pooled already is left alone."""
    if hidden.dim() == 2:
        return hidden
    if mask is None:
        return hidden.mean(dim=1)
    seen = (~mask).to(hidden.dtype)[..., None]
    return (hidden * seen).sum(dim=1) / seen.sum(dim=1)


class ConcatMLP(nn.Module):
    """What most people write first: pooled context and flat action, one MLP, ``[B, 1]`` as its answer."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.net = nn.Sequential(nn.Linear(CONTEXT + STEPS * ACTION, 16), nn.ReLU(), nn.Linear(16, 1))
        self.eval()

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer: Tensor = self.net(torch.cat((pooled(hidden, pad_mask), actions.flatten(1)), dim=-1))
        return answer


class Constant(ConcatMLP):
    """The same energy everywhere."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return 0 * super().forward(hidden, actions, pad_mask) + 2


def half_padded(samples: int = SAMPLES) -> Batch:
    """Every sample has hidden and visible tokens."""
    batch = make_batch(samples)
    mask = torch.zeros(batch.hidden.shape[:2], dtype=torch.bool)
    mask[:, 3:] = True
    return replace(batch, pad_mask=mask)


def evidence(model: nn.Module, batch: Batch | None = None, seed: int = 0) -> Evidence:
    """In swap sets of 6; of samples with hidden and visible tokens each, where no batch is given."""
    given = batch if batch is not None else half_padded()
    return Evidence(EnergyFunction(model.eval(), "test"), given, given, MeasuringSettings(swap_size=6, seed=seed))


def numbers_of(probe: Probe, given: Evidence) -> dict[str, Measurement]:
    """What a probe measures, by the names behind ``conditioning.``."""
    return {m.name.removeprefix("conditioning."): m for m in probe.measure(given).measurements}


def reasons_of(probe: Probe, given: Evidence) -> dict[str, str]:
    """Why the others are skipped, by the same names."""
    return {s.name.removeprefix("conditioning."): s.reason for s in probe.measure(given).skipped}


def single(
    model: nn.Module, batch: Batch, index: int, hidden: Tensor | None = None, actions: Tensor | None = None
) -> float:
    """The energy of one sample, called alone."""
    h = batch.hidden[index] if hidden is None else hidden
    a = batch.actions[index] if actions is None else actions
    mask = None if batch.pad_mask is None else batch.pad_mask[index][None]
    dtype = next(model.parameters()).dtype
    with torch.no_grad():
        return float(model(h[None].to(dtype), a[None].to(dtype), mask).reshape(()))
