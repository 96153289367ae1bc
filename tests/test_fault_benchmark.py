"""The fault benchmark: a small part of it for real, and its arithmetic on tables made by hand."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from safetensors import safe_open

from benchmarks.faults import run as command
from benchmarks.faults import starts
from benchmarks.faults.architectures import ARCHITECTURES, Shape, action_layers, build, first_layers, last_layer
from benchmarks.faults.catalogue import CELLS, FAULTS, HELD_OUT, PAIRS, Run, runs
from benchmarks.faults.data import TASKS, Choice, dump, training_samples, validation_samples
from benchmarks.faults.facts import is_well, of_data
from benchmarks.faults.recipe import Recipe
from benchmarks.faults.report import verdicts_of, write_results
from benchmarks.faults.saturation import raw_outputs, slopes
from benchmarks.faults.score import (
    Named,
    Verdict,
    confusion,
    f1,
    macro,
    precision_of_fault,
    precisions,
    proportion,
    recalls,
    summary,
    wilson,
)
from benchmarks.faults.work import load_run, measure_run, read_facts, train_run
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import read_head
from energydiag.rules.rule import rules

# A small part of it, for real

CHOSEN = {"sign-flipped": 60, "nan-rows": 2, "copied-optimiser": 2, "healthy-0": 60}
"""Runs and their steps."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with four runs of two towers, trained and measured."""
    out = tmp_path_factory.mktemp("runs")
    for run in _chosen():
        train_run(run, out, replace(run.recipe, steps=CHOSEN[run.name]))
        measure_run(out / run.id)
    return out


def _chosen() -> list[Run]:
    cell = next(cell for cell in CELLS if cell.architecture == "two-tower")
    return [run for run in runs() if run.cell == cell and run.name in CHOSEN]


def test_the_truth_of_a_run_is_measured_beside_the_diagnosis(finished: Path) -> None:
    facts = {run.name: read_facts(finished / run.id) for run in _chosen()}
    assert facts["sign-flipped"]["auroc"] < 0.2
    assert facts["copied-optimiser"]["moved"] == 0
    assert facts["nan-rows"]["broken_rows"] == pytest.approx(0.05, abs=0.01)
    assert facts["healthy-0"]["auroc"] > 0.8
    effective = {run.name: run.took_effect(facts[run.name]) for run in _chosen()}
    # sixty steps make no control healthy
    assert effective == {**dict.fromkeys(CHOSEN, (True,)), "healthy-0": (False,)}


def test_injected_faults_are_found(finished: Path) -> None:
    found = {v.truth or ("healthy",): v for v in verdicts_of(finished, "both")}
    assert len(found) == 4
    assert found[("sign-flipped",)].root == "ED202"
    assert found[("nan-rows",)].named("nan-rows")
    assert found[("copied-optimiser",)].named("copied-optimiser")
    assert not any(v.failed for v in found.values())


def test_results_are_written_and_keep_what_others_wrote(finished: Path, tmp_path: Path) -> None:
    results = tmp_path / "results.json"
    results.write_text(json.dumps({"peers": {"someone": 1}, "test": {"as": "before"}}))
    lines = write_results(finished, results)
    found = json.loads(results.read_text())
    assert len(lines) == 1
    assert found["peers"] == {"someone": 1}
    assert found["repair"] == {}
    told = found["calibration"]
    assert told["macro_recall"]["value"] == 1
    assert told["macro_recall"]["n"] == 3
    assert set(told["faults"]) == {"sign-flipped", "nan-rows", "copied-optimiser"}
    assert told["not_effective"] == {"healthy": 1}
    assert told["log_only"]["faults"].keys() == {"sign-flipped", "copied-optimiser"}
    assert found["test"] == {"as": "before"}  # the folder holds none of its runs
    assert (tmp_path / "confusion-calibration.png").read_bytes()[1:4] == b"PNG"


def test_a_run_comes_out_the_same_again(finished: Path, tmp_path: Path) -> None:
    run = next(run for run in _chosen() if run.name == "nan-rows")
    train_run(run, tmp_path, replace(run.recipe, steps=2))
    for name in ("checkpoint.pt", "metrics.csv", "truth.json", "config.json"):
        assert (tmp_path / run.id / name).read_bytes() == (finished / run.id / name).read_bytes()


def test_a_finished_run_is_rebuilt_from_its_folder(finished: Path) -> None:
    run = next(run for run in _chosen() if run.name == "sign-flipped")
    recipe, module = load_run(finished / run.id)
    assert recipe == replace(run.recipe, steps=CHOSEN["sign-flipped"])
    assert not module.training


def test_a_failed_measurement_is_a_result(finished: Path, tmp_path: Path) -> None:
    run = next(run for run in _chosen() if run.name == "nan-rows")
    folder = tmp_path / run.id
    folder.mkdir()
    for name in ("checkpoint.pt", "config.json", "truth.json"):
        (folder / name).write_bytes((finished / run.id / name).read_bytes())
    _, of_log = measure_run(folder)  # without metrics.csv
    assert of_log["kind"] == "failure"
    assert "metrics.csv" in of_log["error"]
    (verdict,) = verdicts_of(tmp_path, "both")
    assert verdict.failed
    assert verdict.named("nan-rows")


def test_the_command_resumes_and_shards(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command.main(["train", "--out", str(finished), "--only", ",".join(run.id for run in _chosen())])
    assert capsys.readouterr().out == ""
    command.main(["measure", "--out", str(finished), "--shard", "2/4", "--again"])
    assert len(capsys.readouterr().out.splitlines()) == 1
    with pytest.raises(SystemExit):
        command.main(["measure", "--out", str(finished), "--shard", "5/4"])


# What is run


def test_there_are_enough_runs_and_no_two_are_the_same() -> None:
    every = runs()
    assert len({run.id for run in every}) == len(every)
    assert len(FAULTS) >= 32
    assert len(PAIRS) >= 12
    assert sum(run.kind == "healthy" for run in every) >= 60
    for name in FAULTS:
        own = [run.cell for run in every if run.name == name]
        assert len({cell.seed for cell in own}) >= 3
        assert len({cell.architecture for cell in own}) >= 3
    assert {run.id for run in every} == {run.id for part in ("calibration", "test") for run in runs(part)}


def test_calibration_sees_no_task_no_seed_and_no_held_out_architecture_of_the_test() -> None:
    calibration, test = runs("calibration"), runs("test")
    assert not {run.cell.architecture for run in calibration} & set(HELD_OUT)
    assert {run.cell.architecture for run in test} >= set(HELD_OUT)
    assert not {run.cell.seed for run in calibration} & {run.cell.seed for run in test}
    seen, unseen = ({run.recipe.data.tasks for run in some} for some in (calibration, test))
    assert not {TASKS[name] for name in seen} & {TASKS[name] for name in unseen}
    assert not {TASKS[name][0] for name in seen} & {TASKS[name][0] for name in unseen}  # the files of other tasks
    names = {}
    for folder in {TASKS[name][0] for name in seen | unseen}:
        with safe_open(folder / "train-batch.safetensors", "pt") as file:
            names[folder] = set(json.loads(file.metadata()["tasks"]))
    assert not set.intersection(*names.values())
    for name, (_, tasks) in TASKS.items():
        samples = dump(Choice(tasks=name), 0)
        assert samples.task is not None
        assert set(samples.task.tolist()) == set(tasks)


def test_every_recipe_goes_through_json_and_every_code_is_a_rule_or_a_name() -> None:
    for run in runs():
        assert Recipe.from_dict(json.loads(json.dumps(run.recipe.to_dict()))) == run.recipe
    known = rules()
    for fault in FAULTS.values():
        assert set(fault.visible_in) <= {"checkpoint", "log"}
        assert all(code in known for code in fault.codes if code.startswith("ED"))


def test_faults_that_need_layers_or_tokens_get_them() -> None:
    for run in runs():
        if any(fault.needs_layers for fault in run.faults):
            assert run.recipe.data.layers
        if any(fault.needs_tokens for fault in run.faults):
            assert not run.recipe.data.pooled


# Its parts


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("head", ["linear", "original", "rescaled", "softplus"])
def test_architectures_answer_with_an_energy_and_tell_their_raw_output(architecture: str, head: str) -> None:
    torch.manual_seed(0)
    module = build(Shape(architecture, width=8, head=head, pooling="attention")).eval()
    batch = dump(Choice(), 0).take(torch.arange(5))
    with torch.no_grad():
        energy, raw = module(batch.hidden, batch.actions, batch.pad_mask), raw_outputs(module, batch)
    assert energy.shape == raw.shape == (5,)
    reading = read_head(EnergyFunction(module, "own"), batch.hidden, batch.actions, batch.pad_mask)
    slope = slopes(raw, head)
    if head == "linear":
        assert torch.equal(slope, torch.ones(5))
        torch.testing.assert_close(energy, raw)
    else:
        assert reading.activation is not None
        assert reading.activation.relative_slope is not None
        own = reading.activation.relative_slope(reading.inner_scale * raw + reading.inner_offset)
        torch.testing.assert_close(slope, own, atol=1e-5, rtol=1e-4)
    assert last_layer(module).out_features == 1
    assert action_layers(module)[0] in first_layers(module)


def test_a_hidden_token_is_not_seen_and_a_pooled_context_is_its_mean() -> None:
    tokens, pooled = (dump(Choice(pooled=p), 0).take(torch.arange(4)) for p in (False, True))
    module = build(Shape("concat-mlp", width=8)).eval()
    assert tokens.pad_mask is not None
    garbage = torch.where(tokens.pad_mask[..., None], torch.tensor(99.0), tokens.hidden)
    energies = [
        module(tokens.hidden, tokens.actions, tokens.pad_mask),
        module(garbage, tokens.actions, tokens.pad_mask),
        module(pooled.hidden, pooled.actions, None),
    ]
    torch.testing.assert_close(energies[0], energies[1])
    torch.testing.assert_close(energies[0], energies[2], atol=1e-5, rtol=1e-4)


def test_flaws_of_the_data_are_what_they_say() -> None:
    def facts(flaw: str) -> dict[str, float]:
        return of_data(dump(Choice(dump_flaws=(flaw,) if flaw else ()), 0))

    plain = facts("")
    assert plain["broken_rows"] == plain["hidden_rows"] == plain["constant_dimensions"] == plain["duplicates"] == 0
    assert facts("scaled-dimension")["action_scale_ratio"] > 20 > plain["action_scale_ratio"]
    assert facts("outlier-context")["context_scale_ratio"] > 100 > plain["context_scale_ratio"]
    assert facts("constant-dimension")["constant_dimensions"] == 1
    assert facts("duplicates")["duplicates"] == pytest.approx(0.4, abs=0.01)
    assert facts("misaligned")["shift_gain"] > 0.02 > plain["shift_gain"]
    assert facts("idle-frames")["false_negatives"] > 0.15 > plain["false_negatives"]
    assert facts("all-padded")["hidden_rows"] > 0
    assert len(training_samples(Choice(training_flaws=("few-samples",)), 0)) == 64
    assert len(validation_samples(Choice(training_flaws=("few-samples",)), 0)) > 64


def test_starts_do_what_they_say() -> None:
    module = build(Shape("film", width=8))
    for start in ("constant=0.5", "hidden-biases=-20", "last-bias=3"):
        starts.apply(module, start)
    assert bool((last_layer(module).bias == 3).all())
    assert bool((action_layers(module)[0].weight == 0.5).all())
    assert bool((action_layers(module)[0].bias == -20).all())


def test_what_a_healthy_control_is() -> None:
    well = {"auroc": 0.95, "top1": 0.4, "top1_chance": 1 / 64, "policy": 0.7, "gain_4": 0.01}
    assert is_well(well)
    for worse in ({"auroc": 0.89}, {"top1": 0.05}, {"policy": 0.59}, {"gain_4": -0.01}, {"policy": math.nan}):
        assert not is_well(well | worse)


# Its arithmetic


def run_of(
    truth: str, *codes: str, effective: bool = True, accepted: Sequence[str] = (), critical: bool = True
) -> Verdict:
    """A single-fault run, or a control where there is no truth, with findings of these codes."""
    return Verdict(
        id="",
        kind="fault" if truth else "healthy",
        truth=(truth,) if truth else (),
        accepted=(tuple(accepted) or (truth.upper(),),) if truth else (),
        effective=(effective,),
        found=tuple(Named(code, f"name-of-{code}", critical) for code in codes),
    )


TABLE = [
    run_of("a", "A"),
    run_of("a", "B", "A"),
    run_of("a", "C"),
    run_of("a"),
    run_of("a", "A", effective=False),
    run_of("b", "B"),
    run_of("b", "A"),
    run_of("", "A", critical=False),
    run_of(""),
    run_of("", "C"),
    run_of("", "C", effective=False),
]


def test_recall_precision_and_the_first_finding_by_hand() -> None:
    assert {name: r["value"] for name, r in recalls(TABLE).items()} == {"a": 0.5, "b": 0.5}
    # roots among the runs that count: A (right), B (wrong), C (wrong), B (right), A (wrong), A on a control, C on one
    assert {code: (p["value"], p["n"]) for code, p in precisions(TABLE).items()} == {
        "A": (pytest.approx(1 / 3, abs=1e-4), 3),
        "B": (0.5, 2),
        "C": (0, 2),
    }
    assert precision_of_fault(TABLE, "a")["value"] == pytest.approx(1 / 3, abs=1e-4)
    found = summary(TABLE)
    assert found["root_cause_top1"]["value"] == pytest.approx(2 / 6, abs=1e-4)
    assert found["macro_recall"]["value"] == 0.5
    assert found["macro_precision"]["value"] == pytest.approx((1 / 3 + 1 / 2) / 3, abs=1e-3)
    assert found["healthy_without_critical"]["value"] == pytest.approx(2 / 3, abs=1e-4)
    assert found["healthy_without_finding"]["value"] == pytest.approx(1 / 3, abs=1e-4)
    assert found["not_effective"] == {"a": 1, "healthy": 1}
    assert found["faults"]["a"]["f1"] == pytest.approx(2 * (1 / 3) * 0.5 / (1 / 3 + 0.5), abs=1e-3)
    low, high = found["macro_recall"]["ci95"]
    assert low < 0.5 < high


def test_a_rule_may_be_accepted_by_its_name() -> None:
    verdict = run_of("a", "ED999", accepted=("name-of-ED999",))
    assert verdict.root_is_right
    assert verdict.named("a")


def test_pairs_stand_apart() -> None:
    pair = Verdict(
        "", "pair", ("a", "b"), (("A",), ("B",)), (True, True), (Named("C", "c", True), Named("B", "b", True))
    )
    found = summary([*TABLE, pair])
    assert found["macro_recall"] == summary(TABLE)["macro_recall"]
    assert [found["pairs"][k]["value"] for k in ("top1", "both_named", "one_named")] == [0, 0, 1]
    assert summary([replace(pair, effective=(True, False))])["pairs"]["one_named"]["n"] == 0


def test_the_confusion_matrix_by_hand() -> None:
    truths, roots, counts = confusion(TABLE)
    assert (truths, roots) == (["a", "b", "healthy"], ["A", "B", "C", "none"])
    assert counts.tolist() == [[1, 1, 1, 1], [1, 1, 0, 0], [1, 0, 1, 1]]


def test_wilson_intervals() -> None:
    # Newcombe (1998), table I: 81 of 263
    assert wilson(81, 263) == (pytest.approx(0.2553, abs=1e-4), pytest.approx(0.3662, abs=1e-4))
    assert wilson(0, 0) == (0, 1)
    assert wilson(10, 10)[1] == pytest.approx(1)
    rng = np.random.default_rng(0)
    inside = [low <= 0.3 <= high for low, high in (wilson(int(k), 40) for k in rng.binomial(40, 0.3, 500))]
    assert 0.9 < sum(inside) / 500 < 0.99


def test_empty_tables() -> None:
    assert proportion([]) == {"value": None, "ci95": [0.0, 1.0], "n": 0}
    assert macro({}) is None
    assert (f1(None, 1.0), f1(0.0, 0.0), f1(1.0, 0.5)) == (None, 0.0, 0.6667)
    found = summary([])
    assert found["macro_recall"] == {"value": None, "ci95": [0.0, 1.0], "n": 0}
