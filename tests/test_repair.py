"""The proof: what counts as a repair, and one small repair from files to files."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors
import torch
from parts import make_batch, make_head

from energydiag.batch import Batch
from energydiag.errors import InvalidBatch, UsageError
from energydiag.fixes import plan_from
from energydiag.metrics import proof, smallest_change
from energydiag.models.energy_function import EnergyFunction
from energydiag.negatives.noise import SIGMAS
from energydiag.pipeline import RepairOptions, fix_and_retrain, inspect, load_checkpoint
from energydiag.pipeline.arms import Arm, unkept
from energydiag.pipeline.proof import indifferent, judge_repair, lost, proof_names
from energydiag.pipeline.repair_files import own_folder
from energydiag.pipeline.repairing import Examined, examine, plan_repair
from energydiag.pipeline.splitting import check_apart, split_by_episode
from energydiag.plan import TrainingPlan
from energydiag.results import (
    BatchFacts,
    Changes,
    CheckpointDiagnosis,
    CheckpointFacts,
    Measurement,
    MetricChange,
    Repair,
)
from energydiag.results.changes import Change
from energydiag.statistics.verdicts import compare
from energydiag.training import loop
from energydiag.training.loop import TrainingOutcome
from energydiag.training.validation import Look

SMALL = TrainingPlan(steps=6, batch_size=8, validate_every=3, log_every=2)


def compared(*verdicts: tuple[str, Change]) -> Changes:
    metrics = tuple(MetricChange(name, {}, 0.0, None, "higher", verdict) for name, verdict in verdicts)
    return Changes(("a", "b"), "unchanged", metrics)


def diagnosed(*measurements: Measurement) -> CheckpointDiagnosis:
    return CheckpointDiagnosis(
        verdict="healthy",
        checkpoint=CheckpointFacts(),
        batch=BatchFacts(samples_used=10),
        measurements=measurements,
    )


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
def test_what_counts(before: Changes, control: Changes, after: CheckpointDiagnosis, verdict: str) -> None:
    assert judge_repair(before, control, after, diverged=False)[0] == verdict
    assert judge_repair(before, control, after, diverged=True)[0] == "diverged"


def test_what_could_be_measured_before_and_cannot_be_after_forbids_acceptance() -> None:
    dead, alive = diagnosed(), diagnosed(replace(ASTRAY, value=0.2, ci95=(0.1, 0.3)))
    names = ("field.correction_gain.k8", "auroc.swap")
    assert lost(alive, dead, names) == ("field.correction_gain.k8",)
    assert lost(dead, alive, names) == lost(alive, alive, names) == ()
    verdict, reasons = judge_repair(BETTER, BETTER, dead, diverged=False, lost=lost(alive, dead, names))
    assert verdict == "not-improved"
    assert "field.correction_gain.k8" in reasons[0]


def test_a_dead_energy_that_learns_is_not_harmed_and_one_that_then_leads_astray_is_not_accepted() -> None:
    before = [Measurement("auroc.swap", 0.5, "1", 10, draws=np.full(9, 0.5))]
    after = [Measurement("auroc.swap", 0.95, "1", 10, draws=np.full(9, 0.95)), ASTRAY]
    against = compare(diagnosed(*before), diagnosed(*after), ("before", "after"), proof(True))
    assert judge_repair(against, against, diagnosed(*after[:1]), diverged=False)[0] == "healed"
    assert judge_repair(against, against, diagnosed(*after), diverged=False)[0] == "not-improved"


def test_an_energy_without_any_preference_has_none_to_lose() -> None:
    tied = [Measurement("auroc.policy", 0.5, "1", 10, (0.5, 0.5), draws=np.full(9, 0.5))]
    torn = [Measurement("auroc.policy", 0.5, "1", 10, (0.4, 0.6), draws=np.full(9, 0.5))]
    after = [Measurement("auroc.policy", 0.4, "1", 10, (0.3, 0.45), draws=np.full(9, 0.4))]
    for before, verdict in ((tied, "not-improved"), (torn, "harmed")):
        against = compare(diagnosed(*before), diagnosed(*after), ("before", "after"), proof(True))
        idle = indifferent(diagnosed(*before), proof(True))
        assert judge_repair(against, BETTER, diagnosed(*after), diverged=False, indifferent=idle)[0] == verdict
    fell = Look({"auroc.policy": torch.full((4,), 0.4)}).fallen
    assert fell({"auroc.policy": torch.full((4,), 0.5)}) == ()
    assert fell({"auroc.policy": torch.tensor([0.0, 0.5, 0.5, 1.0])}) == ("auroc.policy",)


def test_the_field_around_the_expert_is_looked_at_where_no_policy_is_known() -> None:
    batch = make_batch(6)
    assert proof_names(batch) == proof(True)
    names = set(proof_names(replace(batch, policy_actions=None))) - set(proof(True))
    assert names == {"field.spearman", *(f"field.alignment.noise_{sigma:g}" for sigma in SIGMAS)}
    assert all(smallest_change(name) for name in names)


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
        own_folder(tmp_path, resume=False)
    with pytest.raises(UsageError, match="holds 'precious'"):
        own_folder(tmp_path, resume=True)
    assert (tmp_path / "precious").exists()


def test_a_folder_with_a_repair_is_gone_on_with_when_asked_and_tidied_up(tmp_path: Path) -> None:
    unfinished = tmp_path / "runs" / ".state.pt.unfinished-x.pt"
    unfinished.parent.mkdir()
    unfinished.touch()
    (tmp_path / "result.json").touch()
    with pytest.raises(UsageError, match="--resume"):
        own_folder(tmp_path, resume=False)
    own_folder(tmp_path, resume=True)
    assert not unfinished.exists()
    assert (tmp_path / "result.json").exists()


def test_a_small_repair_from_beginning_to_end(tmp_path: Path) -> None:
    larger, smaller = batches()
    energy = EnergyFunction(make_head("original"), "cross-attention", {"head": "original", "nhead": "2"})
    weights = {key: value.clone() for key, value in energy.module.state_dict().items()}
    # six steps on random actions make nothing better, and a guarded repair would be taken back
    base = replace(SMALL, guarded=False)
    options = RepairOptions(base, ("linear-head", "mixed-negatives"), seeds=2, ablate=True)
    repair = fix_and_retrain(energy, larger, smaller, options, out=tmp_path)
    assert all(torch.equal(weights[key], value) for key, value in energy.module.state_dict().items())
    assert set(repair.arms) == {"before", "control", "after"}
    assert [applied.fix for applied in repair.applied] == ["linear-head", "mixed-negatives"]
    assert len(repair.ablation) == 4
    # more contexts are part of what `mixed-negatives` mends, and each arm has its own floor and chance
    assert repair.plan["batch_size"] == 32
    levels = {curve.name: curve.y[0] for curve in repair.curves}
    assert levels["chance"] == pytest.approx(np.log(8))
    assert levels["after.chance"] == pytest.approx(np.log(32))
    assert Repair.from_dict(repair.to_dict()).to_dict() == repair.to_dict()
    assert {p.name for p in (tmp_path / "runs").iterdir()} >= {"control-0", "control-1", "after-0", "after-1"}
    loaded = load_checkpoint(repair.checkpoint)
    assert loaded.settings["head"] == "linear-features"
    assert inspect(loaded, smaller).measurement("auroc.swap") is not None


class Knows(torch.nn.Module):
    """Energy: the distance from the action that the context holds in full, or minus that."""

    def __init__(self, sign: float = 1.0) -> None:
        super().__init__()
        self.sign = sign
        self.weight = torch.nn.Linear(2, 1, bias=False)
        torch.nn.init.ones_(self.weight.weight)

    def forward(self, hidden: torch.Tensor, actions: torch.Tensor, _mask: torch.Tensor | None) -> torch.Tensor:
        wanted = hidden[:, 0, : actions.shape[1] * actions.shape[2]].reshape(actions.shape)
        distance = (actions - wanted - 0.01).abs().sum(dim=(1, 2))
        return self.sign * self.weight(torch.stack((distance, distance), dim=1))[:, 0]


def test_a_repair_that_costs_something_everywhere_leaves_the_model_as_it_was(tmp_path: Path) -> None:
    larger, smaller = (told(batch) for batch in batches())
    knows = Knows()
    # the fresh weights of this seed turn the sign round, and six steps do not turn it back
    options = RepairOptions(replace(SMALL, seed=3), ("fresh-weights",))
    repair = fix_and_retrain(EnergyFunction(knows, "own"), larger, smaller, options, out=tmp_path)
    assert repair.verdict == "not-improved"
    assert any(reason.startswith("The model was left as it was") for reason in repair.reasons)
    with safetensors.safe_open(repair.checkpoint, "pt") as file:
        assert torch.equal(file.get_tensor("weight.weight"), knows.weight.weight)
        assert json.loads(file.metadata()["fixes"]) == []


def test_what_training_takes_for_better_is_tried_on_validation_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    larger, smaller = (told(batch) for batch in batches())
    rising = itertools.count()
    monkeypatch.setattr(loop, "look", lambda *_: Look({"auroc.swap": torch.full((8,), float(next(rising)))}))
    options = RepairOptions(replace(SMALL, seed=3), ("fresh-weights",))
    repair = fix_and_retrain(EnergyFunction(Knows(), "own"), larger, smaller, options)
    assert repair.verdict == "not-improved"
    assert "all that was tried is worse in auroc.swap, field.alignment.noise_0.05" in repair.reasons[-1]


def told(batch: Batch) -> Batch:
    hidden = torch.zeros(len(batch), 2, 12)
    hidden[:, 0] = batch.actions.flatten(1)
    return Batch(hidden, batch.actions, episode=batch.episode)


def test_nothing_is_trained_where_nothing_needs_fixing(tmp_path: Path) -> None:
    larger, smaller = batches()
    repair = fix_and_retrain(
        EnergyFunction(Knows(), "own"), told(larger), told(smaller), RepairOptions(SMALL), out=tmp_path
    )
    assert (repair.verdict, repair.accepted) == ("healed", True)
    assert not repair.applied
    assert not list(tmp_path.iterdir())


def test_a_finding_that_no_fix_handles_is_not_called_healed(tmp_path: Path) -> None:
    larger, smaller = (told(batch) for batch in batches())
    for batch in (larger, smaller):
        batch.actions[:, 0, 0] = 1.0  # a constant dimension: mend your data
        batch.actions[:, 1:, 0] = 1.0
        batch.hidden[:, 0] = batch.actions.flatten(1)
    repair = fix_and_retrain(EnergyFunction(Knows(), "own"), larger, smaller, RepairOptions(SMALL), out=tmp_path)
    assert repair.arms["before"].verdict != "critical"
    assert [f.code for f in repair.arms["before"].findings] == ["ED605"]
    assert (repair.verdict, repair.accepted) == ("not-improved", True)
    assert "ED605" in repair.reasons[0]


def turned_round(*, sign: float) -> tuple[EnergyFunction, Batch, Examined]:
    """Energies, and what an examination says that has found them inverted."""
    energy, batch = EnergyFunction(Knows(sign), "own"), told(batches()[0])
    examined = examine(EnergyFunction(Knows(-1.0), "own"), batch, RepairOptions(SMALL))
    assert "ED202" in [finding.code for finding in examined.patient.findings]
    return energy, batch, examined


def test_an_operation_that_needs_no_training_is_taken_where_validation_samples_agree() -> None:
    planned = plan_repair(*turned_round(sign=-1.0), RepairOptions(SMALL))
    assert (planned.plan.surgery, planned.plan.steps) == (("negate",), 0)


def test_an_operation_that_makes_validation_samples_worse_is_trained_after() -> None:
    planned = plan_repair(*turned_round(sign=1.0), RepairOptions(SMALL))
    assert planned.plan.steps == SMALL.steps
    assert planned.plan.surgery[0] == "negate"
    assert {"mixed-negatives", "alignment-loss", "no-dropout"} <= {applied.fix for applied in planned.applied}
    reason = planned.skipped[-1].reason
    assert reason.startswith("negate-sign: alone it brings the validation score from 0.9")
    assert "auroc.swap" in reason
    forced = plan_repair(*turned_round(sign=1.0), RepairOptions(SMALL, ("negate-sign",)))
    assert forced.plan.steps == 0


def test_samples_that_are_left_to_train_on_are_counted() -> None:
    batch = make_batch(20)  # ten episodes, of which one decides when to stop
    examined = examine(EnergyFunction(make_head(), "own"), batch, RepairOptions(SMALL))
    assert examined.patient.samples == 18
    one = replace(batch, episode=torch.zeros(20, dtype=torch.int64))
    assert examine(EnergyFunction(make_head(), "own"), one, RepairOptions(SMALL)).patient.samples == 20


class Deaf(torch.nn.Module):
    """Energy of the context and of the action times a number."""

    def __init__(self, volume: float) -> None:
        super().__init__()
        self.volume = volume
        self.net = torch.nn.Sequential(torch.nn.Linear(24, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))

    def forward(self, hidden: torch.Tensor, actions: torch.Tensor, _mask: torch.Tensor | None) -> torch.Tensor:
        inputs = torch.cat((hidden.mean(dim=1), self.volume * actions.flatten(1)), dim=1)
        return self.net(inputs)[:, 0]


@pytest.mark.parametrize(("volume", "dead", "cut_off"), [(0.0, False, True), (1.0, True, False), (1.0, False, False)])
def test_an_action_is_cut_off_where_fresh_weights_do_not_hear_it_either(
    volume: float, dead: bool, cut_off: bool
) -> None:
    model = Deaf(volume)
    if dead:
        torch.nn.init.constant_(model.net[0].bias, -1e6)
    weights = {key: value.clone() for key, value in model.state_dict().items()}
    examined = examine(EnergyFunction(model, "own"), make_batch(20), RepairOptions(SMALL))
    assert examined.patient.action_cut_off == cut_off
    assert all(torch.equal(weights[key], value) for key, value in model.state_dict().items())
    planned = plan_from(examined.patient, SMALL)
    assert bool(planned.applied) != cut_off


def test_training_that_was_for_nothing_is_told() -> None:
    energy = EnergyFunction(make_head(), "own")
    outcome = TrainingOutcome((), (), 0, 0.5, 9, "finished", 0.5, fallen=("top1.swap", "auroc.swap"))
    arms = [Arm(energy, outcome, diagnosed()), Arm(energy, None, diagnosed())]
    (sentence,) = unkept(arms)
    assert sentence.endswith("were worse in auroc.swap, top1.swap.")
    assert unkept(arms[1:]) == ()
