"""The training loop: seeded, logged row by row, stopped at the first loss that is not finite."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag.batch import Batch
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import ActivationProbe, read_head
from energydiag.training.objective import step_loss
from energydiag.training.plan import TrainingPlan


@dataclass(frozen=True)
class LogRow:
    """One row of a training log; the field names are its columns.

    Energies, gap, AUROC and top-1 are over the step's own swap table, before the update.
    """

    step: int
    loss: float
    info_nce: float
    learning_rate: float
    tau: float
    energy_positive: float
    energy_negative: float
    gap: float
    auroc: float
    top1: float
    slope_saturated_fraction: float
    gradient_norm: float
    alignment: float
    seconds: float


def train(energy: EnergyFunction, batch: Batch, plan: TrainingPlan) -> Iterator[LogRow]:
    """Trains the module in place and yields a row every ``plan.log_every`` steps.

    Args:
        energy: Its module is put in training mode and left in eval mode.
        batch: Training samples; contexts may be of a smaller type than the module.
        plan: What to do.
    """
    torch.manual_seed(plan.seed)
    generator = torch.Generator().manual_seed(plan.seed)
    module, started = energy.module, time.perf_counter()
    optimiser = torch.optim.AdamW(module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay)
    batch = _as_module_wants(batch, energy)
    order = _epochs(len(batch), plan.batch_size, generator)
    module.train()
    for step in range(plan.steps):
        rate = plan.learning_rate * (
            0.5 * (1 + math.cos(math.pi * step / plan.steps)) if plan.schedule == "cosine" else 1.0
        )
        optimiser.param_groups[0]["lr"] = rate
        part = batch.take(next(order))
        with sdpa_kernel(SDPBackend.MATH):
            loss = step_loss(energy, part, plan, generator)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss.total)
        norm = float(torch.nn.utils.clip_grad_norm_(module.parameters(), plan.clip_norm or math.inf))
        if step % plan.log_every == 0 or step == plan.steps - 1 or not math.isfinite(norm):
            swap = loss.swap
            positive = swap.diagonal()
            others = swap[~torch.eye(len(swap), dtype=torch.bool)].reshape(len(swap), -1)
            wins = (others > positive[:, None]).float() + 0.5 * (others == positive[:, None]).float()
            yield LogRow(
                step=step,
                loss=float(loss.total.detach()),
                info_nce=float(loss.info_nce.detach()),
                learning_rate=rate,
                tau=plan.tau,
                energy_positive=float(positive.mean()),
                energy_negative=float(others.mean()),
                gap=float(others.mean() - positive.mean()),
                auroc=float(wins.mean()),
                top1=float((positive[:, None] < others).all(dim=1).float().mean()),
                slope_saturated_fraction=_saturation(energy, part),
                gradient_norm=norm,
                alignment=math.nan if loss.alignment is None else loss.alignment,
                seconds=time.perf_counter() - started,
            )
        if not math.isfinite(norm):
            break
        optimiser.step()
    module.eval()


def _as_module_wants(batch: Batch, energy: EnergyFunction) -> Batch:
    values = {name: getattr(batch, name) for name in Batch.__dataclass_fields__}
    return Batch(
        **{
            name: value.to(energy.device, energy.dtype)
            if isinstance(value, Tensor) and value.is_floating_point()
            else value
            for name, value in values.items()
        }
    )


def _epochs(samples: int, size: int, generator: torch.Generator) -> Iterator[Tensor]:
    while True:
        order = torch.randperm(samples, generator=generator)
        for start in range(0, samples - min(size, samples) + 1, size):
            yield order[start : start + size]


def _saturation(energy: EnergyFunction, batch: Batch) -> float:
    """Share of raw values at the expert's actions whose slope is below a tenth of the steepest."""
    reading = read_head(
        energy, batch.hidden[:2], batch.actions[:2], None if batch.pad_mask is None else batch.pad_mask[:2]
    )
    if reading.activation is None or reading.activation.relative_slope is None:
        return 0.0
    with torch.no_grad(), ActivationProbe(reading) as probe:
        energy(batch.hidden, batch.actions, batch.pad_mask)
    if probe.activation_input is None:
        return math.nan
    return float((reading.activation.relative_slope(probe.activation_input) < 0.1).float().mean())
