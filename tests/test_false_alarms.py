"""Findings that a healthy energy must not get, and its faulty twin must: whole inspections of small exact energies."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect
from energydiag.probes import Evidence, MeasuringSettings, action_gradients, parameter_gradients, untouched, weights
from energydiag.results import CheckpointDiagnosis

SAMPLES, TOKENS, STEPS, ACTION = 96, 8, 4, 3
WIDTH = STEPS * ACTION


def batch_of(hidden_tokens: int = 0, *, policy: bool = False, seed: int = 0) -> Batch:
    """Every visible token holds the expert's action; the first ``hidden_tokens`` are hidden and hold noise."""
    generator = torch.Generator().manual_seed(seed)
    actions = torch.randn(SAMPLES, STEPS, ACTION, generator=generator)
    hidden = actions.flatten(1)[:, None].expand(-1, TOKENS, -1).clone()
    hidden[:, :hidden_tokens] = torch.randn(SAMPLES, hidden_tokens, WIDTH, generator=generator)
    mask = torch.zeros(SAMPLES, TOKENS, dtype=torch.bool)
    mask[:, :hidden_tokens] = True
    return Batch(
        hidden,
        actions,
        pad_mask=mask if hidden_tokens else None,
        policy_actions=actions + 0.2 * torch.randn(actions.shape, generator=generator) if policy else None,
        episode=torch.arange(SAMPLES) // 4,
    )


class Well(nn.Module):
    """Squared distance to what the context says, in some form; the expert's action is the minimum."""

    def __init__(self, *, scale: float = 1.0, level: float = 0.0, power: float = 1.0, read: str = "visible") -> None:
        super().__init__()
        self.scale, self.level, self.power, self.read = nn.Parameter(torch.tensor(scale)), level, power, read

    def told(self, hidden: Tensor, pad_mask: Tensor | None) -> Tensor:
        if self.read == "first" or pad_mask is None:
            return hidden[:, 0]
        seen = (pad_mask if self.read == "hidden" else ~pad_mask).to(hidden.dtype)[..., None]
        return (hidden * seen).sum(dim=1) / seen.sum(dim=1)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        square = (actions.flatten(1) - self.told(hidden, pad_mask)).square().sum(dim=1)
        return self.scale * square**self.power + self.level


class Flat(Well):
    """Ranks by a staircase: its slope is 0 wherever it is not infinite."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        square = super().forward(hidden, actions, pad_mask)
        return square.floor() + 1e-9 * square


def diagnosed(model: nn.Module, batch: Batch) -> CheckpointDiagnosis:
    return inspect(EnergyFunction(model, "own"), batch, tau=1.0)


def codes(diagnosis: CheckpointDiagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


def value(diagnosis: CheckpointDiagnosis, name: str) -> float:
    found = diagnosis.measurement(name)
    assert found is not None
    return found.value


@pytest.mark.parametrize("factor", [1.0, 40.0, 1e-3])
def test_the_bottom_of_a_well_is_no_dead_gradient_whatever_the_units(factor: float) -> None:
    batch = batch_of()
    batch = replace(batch, hidden=factor * batch.hidden, actions=factor * batch.actions)
    diagnosis = diagnosed(Well(), batch)
    assert value(diagnosis, "gradient.actions.relative_median") == 0
    assert value(diagnosis, "gradient.actions.relative_away") > 0.1
    assert "ED303" not in codes(diagnosis)


def test_an_energy_that_is_flat_everywhere_has_a_dead_gradient() -> None:
    assert "ED303" in codes(diagnosed(Flat(), batch_of()))


def test_the_slope_away_from_the_expert_against_a_loop() -> None:
    batch = batch_of()
    given = Evidence(EnergyFunction(Well(), "own"), batch, batch, MeasuringSettings())
    found = {m.name: m.value for m in action_gradients.PROBE.measure(given).measurements}
    part = batch.take(batch.spread(action_gradients.MOST_AWAY))
    deviation = [float(part.actions[:, :, d].double().std(correction=0)) for d in range(ACTION)]
    noise = torch.randn(part.actions.shape, generator=torch.Generator().manual_seed(action_gradients._SEED))
    norms = []
    for i in range(len(part)):
        # of the squared distance the slope is twice the way
        way = [0.5 * deviation[d] * float(noise[i, t, d]) for t in range(STEPS) for d in range(ACTION)]
        norms.append(2 * sum(w * w for w in way) ** 0.5)
    unit = float(batch.actions.double().std(dim=0).square().mean().sqrt()) / float(given.swap.energy.double().std())
    middle = sorted(norms)[(len(norms) - 1) // 2]
    assert found["gradient.actions.relative_away"] == pytest.approx(middle * unit, rel=1e-5)


@pytest.mark.parametrize("hidden_tokens", [2, 6])
def test_a_model_that_takes_the_mask_for_its_opposite(hidden_tokens: int) -> None:
    batch = batch_of(hidden_tokens)
    assert codes(diagnosed(Well(), batch)) == []
    diagnosis = diagnosed(Well(read="hidden"), batch)
    first = diagnosis.findings[0]
    assert (first.code, first.severity) == ("ED505", "critical")
    assert f"{hidden_tokens / TOKENS:.0%}".replace("%", " %") in first.summary
    assert {f.code: f.explained_by for f in diagnosis.findings}["ED504"] == "ED505"


@pytest.mark.parametrize("hidden_tokens", [2, 6])
def test_a_score_read_at_a_padding_position_is_a_leak_and_no_inverted_mask(hidden_tokens: int) -> None:
    """Whatever the mask says, the first token is read; inverting the mask changes nothing."""
    diagnosis = diagnosed(Well(read="first"), batch_of(hidden_tokens))
    first = diagnosis.findings[0]
    assert (first.code, first.severity) == ("ED504", "critical")
    assert "position" in first.cause
    assert "ED505" not in codes(diagnosis)


@pytest.mark.parametrize(
    ("dtype", "level", "found"),
    [
        (torch.float32, 1e3, False),
        (torch.float32, 1e7, True),
        (torch.float64, 1e7, False),
        (torch.bfloat16, 0.0, False),
        (torch.bfloat16, 100.0, True),
    ],
)
def test_an_offset_is_a_finding_only_where_precision_is_lost(dtype: torch.dtype, level: float, found: bool) -> None:
    batch = batch_of()
    diagnosis = diagnosed(Well(level=level).to(dtype), batch)
    step = torch.finfo(dtype).eps * level / value(diagnosis, "head.energy_std")
    assert value(diagnosis, "head.rounding") == pytest.approx(step, rel=0.5, abs=0.02)
    assert ("ED107" in codes(diagnosis)) == found


def test_inverted_energies_with_a_small_gap_are_inverted() -> None:
    """Tails so heavy that the standard deviation is many times the gap: ranks say it all the same."""
    diagnosis = diagnosed(Well(scale=-1e-7, power=6.0), batch_of())
    gap = value(diagnosis, "gap_std.swap")
    assert -0.5 < gap < -0.1
    assert value(diagnosis, "auroc.swap") == 0
    assert "ED202" in codes(diagnosis)
    assert "ED201" not in codes(diagnosis)


class WithSpares(nn.Module):
    """A small network that holds two modules which no forward pass enters: one fresh, one all zero, one NaN."""

    def __init__(self, *, spares: bool) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.one, self.two = nn.Linear(2 * WIDTH, 32), nn.Linear(32, 1)
        if spares:
            self.fresh, self.zero, self.broken = nn.Linear(64, 64), nn.Linear(8, 8), nn.Linear(4, 4)
            self.zero.weight.data.zero_()
            self.broken.weight.data.fill_(torch.nan)

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        joined = torch.cat((hidden[:, 0], actions.flatten(1)), dim=1)
        energy: Tensor = self.two(torch.tanh(self.one(joined)))[:, 0]
        return energy


def test_modules_that_are_never_run_are_named_once_and_in_no_number() -> None:
    batch = batch_of()
    found, skipped = [], []
    for spares in (True, False):
        given = Evidence(EnergyFunction(WithSpares(spares=spares), "own"), batch, batch, MeasuringSettings())
        answers = [probe.PROBE.measure(given) for probe in (weights, untouched, parameter_gradients)]
        found.append({m.name: (m.value, m.n) for answer in answers for m in answer.measurements})
        skipped.append({s.name: s.reason for answer in answers for s in answer.skipped})
    assert found[0] == found[1]
    assert skipped[1] == {}
    (reason,) = skipped[0].values()
    assert all(name in reason for name in ("fresh", "zero", "broken"))


class Collapsed(WithSpares):
    """Its energies differ by a millionth of their level; dropout moves them by far more."""

    def __init__(self) -> None:
        super().__init__(spares=False)
        self.drop = nn.Dropout(0.5)

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None = None) -> Tensor:
        own = super().forward(hidden, actions)
        return 1e-4 * own + self.drop(torch.ones_like(own))


def test_ratios_to_a_spread_that_is_gone_name_no_cause() -> None:
    diagnosis = diagnosed(Collapsed(), batch_of())
    assert value(diagnosis, "conditioning.train_eval_shift") > 100
    assert "ED506" not in codes(diagnosis)
    assert "ED201" in codes(diagnosis)


class AllButOne(Well):
    """Far too sharp for its temperature, and wrong in the contexts that begin with the mark."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        wrong = torch.where(hidden[:, 0, 0] == 55.0, -1.0, 1.0)
        return 1e4 * wrong * super().forward(hidden, actions, pad_mask)


def test_a_set_that_is_fitted_has_no_vanishing_gradient_whatever_the_others_lose() -> None:
    batch = batch_of()
    plain = diagnosed(AllButOne(), batch)
    assert value(plain, "gradient.parameters.norm") == 0
    assert "ED301" not in codes(plain)
    # one sample of the second swap set is wrong: the loss over both is far above 0, the gradient is that of the first
    given = Evidence(EnergyFunction(AllButOne(), "own"), batch, batch, MeasuringSettings(swap_size=32))
    hidden = batch.hidden.clone()
    hidden[given.swap.index[1, 0], 0, 0] = 55.0
    found = inspect(EnergyFunction(AllButOne(), "own"), replace(batch, hidden=hidden), tau=1.0, swap_size=32)
    assert value(found, "loss.swap") > 1
    assert value(found, "gradient.parameters.norm") == 0
    assert "ED301" not in codes(found)
