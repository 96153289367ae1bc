"""The stages together: what `inspect` says of its inputs, and that it says the same twice."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from parts import ConcatMLP, make_batch, make_head
from torch import Tensor, nn

from energydiag.errors import InvalidBatch, ModelFailed, UsageError
from energydiag.losses import info_nce_per_row
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect
from energydiag.probes.temperature import best_temperature
from energydiag.results import (
    CheckpointDiagnosis,
)


class LooksAtActions(ConcatMLP):
    """Takes one decision for a whole batch."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer = super().forward(hidden, actions, pad_mask)
        return 2 * answer if actions.sum() > 0 else answer


class Sigmoid(ConcatMLP):
    """A sigmoid at the end, in place, far out."""

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        return super().forward(hidden, actions, pad_mask).add_(20).sigmoid_()


def diagnose(model: nn.Module, samples: int = 12, **options: float) -> CheckpointDiagnosis:
    return inspect(EnergyFunction(model, "test"), make_batch(samples), **options)


def value(diagnosis: CheckpointDiagnosis, name: str) -> float:
    found = diagnosis.measurement(name)
    assert found is not None, name
    return found.value


def test_the_same_seed_gives_the_same_diagnosis() -> None:
    first, again, other = (diagnose(make_head(), seed=seed) for seed in (0, 0, 1))
    assert first.measurements == again.measurements
    assert first.measurements != other.measurements


def test_json_holds_the_diagnosis_without_loss() -> None:
    diagnosis = diagnose(make_head("original"))
    plain = json.loads(diagnosis.to_json())
    assert CheckpointDiagnosis.from_dict(plain) == diagnosis
    assert all(math.isfinite(m["value"]) for m in plain["measurements"])


def test_a_dead_head_is_the_root_cause_also_where_the_sigmoid_is_in_place() -> None:
    diagnosis = diagnose(Sigmoid())
    assert value(diagnosis, "head.zero_slope_fraction") == 1
    assert (diagnosis.verdict, diagnosis.findings[0].code) == ("critical", "ED102")


def test_a_model_that_runs_row_by_row_is_told() -> None:
    notes = [note for note in diagnose(LooksAtActions()).notes if "row by row" in note]
    assert len(notes) == 1


def test_without_a_temperature_the_best_one_is_taken_and_not_judged() -> None:
    best, given = diagnose(make_head(), objective="infonce"), diagnose(make_head(), tau=0.3)
    assert any("which suits them best, and no rule judges it" in " ".join(note.split()) for note in best.notes)
    assert not any("suits" in note for note in given.notes)
    assert (best.checkpoint.temperature, given.checkpoint.temperature) == ("best", "given")
    assert value(best, "loss.swap") <= value(given, "loss.swap")
    reasons = {skipped.name: skipped.reason for skipped in best.skipped}
    assert all("temperature of training is not known" in reasons[code] for code in ("ED103", "ED204", "ED205"))


def test_the_best_temperature_is_that_of_a_fine_grid() -> None:
    table = torch.randn(2, 9, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    table = table - 2 * torch.eye(9)
    grid = torch.logspace(-3, 3, 4001, dtype=torch.float64)
    losses = [float(torch.stack([info_nce_per_row(one, tau) for one in table]).mean()) for tau in grid]
    assert best_temperature(1000 * table + 5) == pytest.approx(1000 * float(grid[int(np.argmin(losses))]), rel=0.01)
    assert best_temperature(torch.zeros(1, 4, 4)) == 1.0


def test_energies_that_are_not_finite_are_found_and_the_rest_is_skipped() -> None:
    model = make_head()
    with torch.no_grad():
        model.prediction_head.fc2.bias.fill_(torch.nan)
    diagnosis = diagnose(model)
    # the head is as it was drawn, but for the NaN
    assert [(f.code, f.explained_by) for f in diagnosis.findings] == [("ED104", None), ("ED309", "ED104")]
    assert {"separation", "saturation"} <= {skipped.name for skipped in diagnosis.skipped}


def test_a_model_that_raises_is_told() -> None:
    with pytest.raises(ModelFailed, match="cannot be multiplied"):
        diagnose(WrongWidth())


class WrongWidth(nn.Module):
    """Made for contexts of another width."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Linear(99, 1)

    def forward(self, hidden: Tensor, _actions: Tensor, _mask: Tensor | None) -> Tensor:
        return self.net(hidden).mean(dim=(1, 2))


@pytest.mark.parametrize("tau", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_cannot_be(tau: float) -> None:
    with pytest.raises(UsageError, match="temperature"):
        diagnose(make_head(), tau=tau)


@pytest.mark.parametrize("size", [0, 1])
def test_a_swap_set_without_negatives(size: int) -> None:
    with pytest.raises(UsageError, match="two contexts"):
        diagnose(make_head(), swap_size=size)


def test_a_limit_takes_samples_of_all_episodes() -> None:
    diagnosis = diagnose(make_head(), samples=12, limit=6)
    assert (diagnosis.batch.samples_used, diagnosis.batch.episodes) == (6, 6)
    with pytest.raises(InvalidBatch):
        diagnose(make_head(), limit=1)
