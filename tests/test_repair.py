"""The proof: what counts as a repair, and one small repair from files to files."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parts import make_batch, make_head

from energydiag.batch import Batch
from energydiag.errors import InvalidBatch, UsageError
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import RepairOptions, fix_and_retrain, inspect, load_checkpoint
from energydiag.pipeline.proof import judge_repair
from energydiag.pipeline.repair_files import empty_folder
from energydiag.pipeline.splitting import check_apart, split_by_episode
from energydiag.plan import TrainingPlan
from energydiag.results import Comparison, Diagnosis, Measurement, MetricChange, Repair
from energydiag.results.comparison import Change

SMALL = TrainingPlan(steps=6, batch_size=8, validate_every=3, log_every=2)


def compared(*verdicts: tuple[str, Change]) -> Comparison:
    metrics = tuple(MetricChange(name, {}, 0.0, None, "higher", verdict) for name, verdict in verdicts)
    return Comparison(("a", "b"), "unchanged", metrics)


def diagnosed(*measurements: Measurement) -> Diagnosis:
    return Diagnosis("healthy", {}, {}, measurements, (), ())


BETTER = compared(("top1.swap", "improved"))
SAME = compared(("top1.swap", "unchanged"))
WORSE = compared(("top1.swap", "improved"), ("auroc.swap", "regressed"))
ASTRAY = Measurement("field.correction_gain.k8", -0.3, "1", 10, (-0.4, -0.2))


@pytest.mark.parametrize(
    ("before", "control", "after", "verdict"),
    [
        (BETTER, BETTER, diagnosed(), "healed"),
        (SAME, BETTER, diagnosed(), "not-improved"),
        (BETTER, SAME, diagnosed(), "not-improved"),
        (WORSE, BETTER, diagnosed(), "harmed"),
        (BETTER, WORSE, diagnosed(), "not-improved"),
        (BETTER, BETTER, diagnosed(ASTRAY), "not-improved"),
    ],
)
def test_what_counts(before: Comparison, control: Comparison, after: Diagnosis, verdict: str) -> None:
    assert judge_repair(before, control, after, diverged=False)[0] == verdict
    assert judge_repair(before, control, after, diverged=True)[0] == "diverged"


def batches() -> tuple[Batch, Batch]:
    return split_by_episode(make_batch(80), 0.4, seed=0)


def test_split_keeps_episodes_whole() -> None:
    larger, smaller = batches()
    assert larger.episode is not None
    assert smaller.episode is not None
    assert not set(larger.episode.tolist()) & set(smaller.episode.tolist())
    assert len(larger) + len(smaller) == 80
    assert 0.3 < len(smaller) / 80 < 0.5


def test_the_same_episode_on_both_sides_is_refused() -> None:
    larger, _ = batches()
    with pytest.raises(InvalidBatch, match="episodes are in the training batch"):
        check_apart(larger, larger.take(torch.arange(4)))


def test_a_folder_that_holds_something_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "precious").touch()
    with pytest.raises(UsageError, match="not empty"):
        empty_folder(tmp_path, resume=False)
    with pytest.raises(UsageError, match="holds 'precious'"):
        empty_folder(tmp_path, resume=True)
    assert (tmp_path / "precious").exists()


def test_a_folder_with_a_repair_is_gone_on_with_when_asked_and_tidied_up(tmp_path: Path) -> None:
    unfinished = tmp_path / "runs" / ".state.pt.unfinished-x.pt"
    unfinished.parent.mkdir()
    unfinished.touch()
    (tmp_path / "result.json").touch()
    with pytest.raises(UsageError, match="--resume"):
        empty_folder(tmp_path, resume=False)
    empty_folder(tmp_path, resume=True)
    assert not unfinished.exists()
    assert (tmp_path / "result.json").exists()


def test_a_small_repair_from_beginning_to_end(tmp_path: Path) -> None:
    larger, smaller = batches()
    energy = EnergyFunction(make_head("original"), "cross-attention", {"head": "original", "nhead": "2"})
    weights = {key: value.clone() for key, value in energy.module.state_dict().items()}
    options = RepairOptions(SMALL, ("linear-head", "mixed-negatives"), seeds=2, ablate=True)
    repair = fix_and_retrain(energy, larger, smaller, options, out=tmp_path)
    assert all(torch.equal(weights[key], value) for key, value in energy.module.state_dict().items())
    assert set(repair.arms) == {"before", "control", "after"}
    assert [applied.fix for applied in repair.applied] == ["linear-head", "mixed-negatives"]
    assert len(repair.ablation) == 4
    assert Repair.from_dict(repair.to_dict()).to_dict() == repair.to_dict()
    assert {p.name for p in (tmp_path / "runs").iterdir()} >= {"control-0", "control-1", "after-0", "after-1"}
    loaded = load_checkpoint(repair.checkpoint)
    assert loaded.settings["head"] == "linear"
    assert inspect(loaded, smaller).measurement("auroc.swap") is not None


def test_nothing_is_trained_where_nothing_needs_fixing(tmp_path: Path) -> None:
    larger, smaller = batches()

    class Knows(torch.nn.Module):
        """Energy: the distance from the action that the context holds in full."""

        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.ones(2))

        def forward(self, hidden: torch.Tensor, actions: torch.Tensor, _mask: torch.Tensor | None) -> torch.Tensor:
            wanted = hidden[:, 0, : actions.shape[1] * actions.shape[2]].reshape(actions.shape)
            return self.weight.prod() * (actions - wanted - 0.01).abs().sum(dim=(1, 2))

    def told(batch: Batch) -> Batch:
        hidden = torch.zeros(len(batch), 2, 12)
        hidden[:, 0] = batch.actions.flatten(1)
        return Batch(hidden, batch.actions, episode=batch.episode)

    repair = fix_and_retrain(
        EnergyFunction(Knows(), "own"), told(larger), told(smaller), RepairOptions(SMALL), out=tmp_path
    )
    assert repair.accepted
    assert not repair.applied
    assert not list(tmp_path.iterdir())
