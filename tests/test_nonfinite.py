"""Energies that are NaN or infinite: counted, told, and kept out of everything else."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from parts import ConcatMLP, evidence, half_padded, make_batch
from torch import Tensor, nn

from energydiag.batch import Batch
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect
from energydiag.probes import action_gradients, field, nonfinite, parameter_gradients, separation
from energydiag.probes.finite import nonfinite_samples
from energydiag.results import Measurement

MARK = 77.0


class Broken(ConcatMLP):
    """NaN where the context begins with the mark, infinite where the action does."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        energy = super().forward(hidden, actions, pad_mask)[:, 0]
        energy = torch.where(hidden[:, 0, 0] == MARK, torch.nan, energy)
        return torch.where(actions[:, 0, 0] == MARK, torch.inf, energy)


def marked(batch: Batch, contexts: tuple[int, ...] = (), actions: tuple[int, ...] = ()) -> Batch:
    hidden, own = batch.hidden.clone(), batch.actions.clone()
    hidden[list(contexts), 0, 0] = MARK
    own[list(actions), 0, 0] = MARK
    return replace(batch, hidden=hidden, actions=own)


def numbers(probe: object, given: object) -> dict[str, Measurement]:
    return {m.name: m for m in probe.PROBE.measure(given).measurements}  # type: ignore[attr-defined]


@pytest.mark.parametrize(("contexts", "actions"), [((3,), ()), ((), (5,)), ((3, 4), (5,)), ((2,), (2,))])
def test_as_few_samples_as_needed_are_left_out(contexts: tuple[int, ...], actions: tuple[int, ...]) -> None:
    batch = marked(half_padded(), contexts, actions)
    given = evidence(Broken(), batch)
    broken = sorted({*contexts, *actions})
    assert torch.nonzero(given.broken).reshape(-1).tolist() == broken
    found = numbers(nonfinite, given)
    pairs = [(i, j) for row in given.asked[0].index.tolist() for i in row for j in row]
    bad = sum(i in contexts or j in actions for i, j in pairs) + len(broken)
    assert found["head.nonfinite_fraction"].value == pytest.approx(bad / (len(pairs) + len(batch)))
    assert found["head.nonfinite_samples"].value == len(broken)
    assert found["head.nonfinite_samples"].n == len(batch)


def test_a_single_pair_costs_one_sample_and_none_costs_none() -> None:
    table = torch.zeros(2, 3, 3)
    index = torch.tensor([[4, 1, 2], [0, 3, 5]])
    assert not nonfinite_samples(table, index, torch.zeros(7)).any()
    table[1, 0, 2] = torch.nan
    found = nonfinite_samples(table, index, torch.zeros(7))
    assert int(found.sum()) == 1
    assert bool(found[0] | found[5])
    own = torch.zeros(7)
    own[6] = -torch.inf  # in no set
    assert nonfinite_samples(torch.zeros(2, 3, 3), index, own).tolist() == [False] * 6 + [True]


@pytest.mark.parametrize("probe", [separation, action_gradients, parameter_gradients, field])
def test_other_numbers_are_those_of_the_dump_without_these_samples(probe: object) -> None:
    batch = marked(make_batch(24), contexts=(3, 4), actions=(9,))
    keep = torch.tensor([i for i in range(24) if i not in (3, 4, 9)])
    found, wanted = (numbers(probe, evidence(Broken(), part)) for part in (batch, batch.take(keep)))
    assert found.keys() == wanted.keys()
    for name, measurement in found.items():
        assert measurement.value == pytest.approx(wanted[name].value, rel=1e-5, abs=1e-6), name


def test_one_broken_sample_is_a_finding_and_the_others_are_measured() -> None:
    batch = marked(make_batch(48), contexts=(3,))
    diagnosis = inspect(EnergyFunction(Broken(), "test"), batch)
    told = {f.code: f for f in diagnosis.findings}["ED104"]
    assert told.severity == "critical"
    assert "1 of 48 samples" in told.summary
    names = {m.name for m in diagnosis.measurements}
    assert {"auroc.swap", "gradient.actions.norm_median", "field.alignment.policy", "loss.swap"} <= names
    others = torch.tensor([i for i in range(48) if i != 3])
    without = inspect(EnergyFunction(Broken(), "test"), batch.take(others))
    assert {f.code for f in without.findings} == {f.code for f in diagnosis.findings} - {"ED104"}


def test_where_most_samples_are_broken_nothing_else_is_measured() -> None:
    diagnosis = inspect(EnergyFunction(Broken(), "test"), marked(make_batch(24), contexts=tuple(range(13))))
    assert [f.code for f in diagnosis.findings if f.severity == "critical"] == ["ED104"]
    assert "auroc.swap" not in {m.name for m in diagnosis.measurements}


class Narrow(ConcatMLP):
    """Overflows for actions that are larger than those of the dump."""

    limit = 0.0

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        energy = super().forward(hidden, actions, pad_mask)[:, 0]
        return torch.where(actions.flatten(1).abs().amax(dim=1) > self.limit, torch.inf, energy)


def test_an_overflow_beside_the_experts_actions_is_a_finding_and_no_win() -> None:
    batch = make_batch(48)
    model = Narrow()
    model.limit = float(batch.actions.abs().max())
    given = evidence(model, batch)
    larger = 1.5 * batch.actions.flatten(1).abs().amax(dim=1) > model.limit
    counted = numbers(separation, given)
    assert counted["auroc.amplitude_1.5"].n == int((~larger).sum())
    assert counted["auroc.amplitude_0.5"].n == 48
    assert 0 < numbers(nonfinite, given)["head.nonfinite_nearby"].value < 1
    (told,) = [f for f in inspect(EnergyFunction(model, "test"), batch).findings if f.code == "ED104"]
    assert told.severity == "warning"


class Steep(ConcatMLP):
    """Finite energies whose slope is not: the root of zero."""

    def __init__(self, *, in_action: bool) -> None:
        super().__init__()
        self.zero, self.in_action = nn.Parameter(torch.zeros(())), in_action

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        rooted = 0 * actions.sum(dim=(1, 2)) if self.in_action else self.zero
        return super().forward(hidden, actions, pad_mask)[:, 0] + rooted.sqrt()


@pytest.mark.parametrize("in_action", [True, False])
def test_a_gradient_that_overflows_is_an_exploding_one(in_action: bool) -> None:
    diagnosis = inspect(EnergyFunction(Steep(in_action=in_action).eval(), "test"), make_batch(48))
    (told,) = [f for f in diagnosis.findings if f.code == "ED302"]
    assert told.severity == "critical"
    assert "NaN or infinite" in told.summary
