"""Peers on the fault benchmark: how they are attached, what counts as right, and how it is counted."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.faults import loop
from benchmarks.faults.architectures import Shape, build
from benchmarks.faults.catalogue import FAULTS, Run, runs
from benchmarks.faults.data import Choice, dump
from benchmarks.faults.loop import Row
from benchmarks.faults.peers import debugger, mapping, scoring
from benchmarks.faults.peers import run as command
from benchmarks.faults.peers.audit import TorchAudit, at_default_interval, in_order
from benchmarks.faults.peers.debugger import Debugger, judge_losses, stalled
from benchmarks.faults.peers.mortem import Torchmortem, kind_of, together
from benchmarks.faults.peers.watching import Found, Watcher, plain_rows
from benchmarks.faults.peers.work import as_module, digest, is_done, train_again
from benchmarks.faults.recipe import Recipe
from benchmarks.faults.score import Named, Verdict
from benchmarks.faults.work import train_run
from energydiag import pairwise_energies
from energydiag.batch import Batch


def recipe_of(name: str, architecture: str = "two-tower", **changes: object) -> Recipe:
    """The recipe of a run of the test part, made short."""
    run = next(run for run in runs("test") if run.name == name and run.cell.architecture == architecture)
    return replace(run.recipe, **{"steps": 22, "batch_size": 6, **changes})


# In the loop


class Counting(Watcher):
    """Counts what it sees."""

    def __init__(self) -> None:
        self.seen = {"attach": 0, "backward": 0, "step": 0, "detach": 0}
        self.losses: list[float] = []

    def attach(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        self.seen["attach"] += 1

    def after_backward(self, loss: Tensor) -> None:
        self.seen["backward"] += 1
        self.losses.append(float(loss))

    def after_step(self, loss: Tensor) -> None:
        self.seen["step"] += float(loss) == self.losses[-1]

    def detach(self) -> None:
        self.seen["detach"] += 1


@pytest.mark.parametrize("architecture", ["two-tower", "cross-attention"])
def test_watching_changes_nothing(architecture: str) -> None:
    recipe, counting = recipe_of("wrong-positives", architecture), Counting()
    alone, _, rows = train_again(recipe, [])
    watched, began, watched_rows = train_again(recipe, [counting, Debugger()])
    assert digest(alone) == digest(watched) != digest(build(recipe.shape))
    assert rows == watched_rows
    assert counting.seen == {"attach": 1, "backward": 22, "step": 22, "detach": 1}
    assert counting.losses[20] == rows[2]["loss"]
    assert set(began) == set(watched.state_dict())
    assert not any(part._forward_hooks or part._forward_pre_hooks for part in watched.modules())


def test_the_loop_is_as_it_was_also_where_training_fails() -> None:
    names = (loop.contrast, loop.energies, torch.optim.AdamW)

    class Failing(Counting):
        def after_step(self, loss: Tensor) -> None:
            raise ValueError(f"at {loss}")

    failing = Failing()
    with pytest.raises(ValueError, match="at "):
        train_again(recipe_of("wrong-positives"), [failing])
    assert failing.seen["detach"] == 1
    assert (loop.contrast, loop.energies, torch.optim.AdamW) == names


@pytest.mark.parametrize("architecture", ["cross-attention", "film"])
def test_plain_rows_are_the_energies(architecture: str) -> None:
    torch.manual_seed(0)
    module = build(Shape(architecture, width=8, pooling="attention")).eval()
    batch = dump(Choice(), 0).take(torch.arange(4))
    near = batch.actions[:, None] + torch.randn(4, 3, *batch.actions.shape[1:])
    for actions in (batch.actions[:2], near):
        expected = pairwise_energies(module, batch.hidden, actions, batch.pad_mask)
        torch.testing.assert_close(plain_rows(module, batch.hidden, actions, batch.pad_mask), expected)


# The rules of SageMaker Debugger


def met(recipe: Recipe, dumped: Batch | None = None) -> dict[str, Found]:
    """What the rules say of a run."""
    watcher = Debugger()
    module, _, rows = train_again(recipe, [watcher])
    found = watcher.findings(rows, module, as_module(dumped or dump(recipe.data, recipe.seed), module))
    assert [f.kind for f in found] == [rule for rule in debugger.RULES if rule in {f.kind for f in found}]
    return {f.kind: f for f in found}


def test_rules_about_tensors() -> None:
    dead = met(recipe_of("dead-relus"))
    assert dead["DeadRelu"].step == 0
    assert "DeadRelu" not in met(recipe_of("dead-relus", starts=(), steps=9))
    copied = met(recipe_of("copied-optimiser"))
    assert copied["WeightUpdateRatio"].step == 0
    assert copied["UnchangedTensor"].step == 10  # the third that was saved
    assert not copied.keys() & {"DeadRelu", "ExplodingTensor", "VanishingGradient", "AllZero"}
    zero = met(recipe_of("zero-weights"))
    assert {"AllZero", "VanishingGradient", "PoorWeightInitialization"} <= zero.keys()


@pytest.mark.parametrize("architecture", ["two-tower", "cross-attention"])
def test_a_sigmoid_that_makes_the_energy_is_shown(architecture: str) -> None:
    assert "SaturatedActivation" in met(recipe_of("saturated-high", architecture, starts=("last-bias=30",)))
    assert "SaturatedActivation" not in met(recipe_of("saturated-high", architecture, starts=()))
    assert "SaturatedActivation" not in met(recipe_of("wrong-positives", architecture))


def test_numbers_that_are_not_finite() -> None:
    recipe = recipe_of("wrong-positives", steps=2)
    assert "ExplodingTensor" not in met(recipe)
    broken = dump(replace(recipe.data, dump_flaws=("nan-rows",)), 0)
    assert met(recipe, broken)["ExplodingTensor"].step is None
    assert met(recipe_of("half-precision"))["ExplodingTensor"].step == 0


def log(loss: Sequence[float], validation: Sequence[float] = ()) -> list[Row]:
    """Rows of a log, one every tenth step."""
    pairs = zip(loss, validation or loss, strict=True)
    return [{"step": 10.0 * i, "loss": a, "info_nce": a, "validation_loss": b} for i, (a, b) in enumerate(pairs)]


def test_rules_about_losses_by_hand() -> None:
    falling = [4 * 0.9**i for i in range(12)]
    assert judge_losses(log(falling)) == {}
    # less than 0.1 % lower; up to 5 % higher is let pass, more is not
    assert judge_losses(log([4, 3.9995]))["LossNotDecreasing"][0] == 10
    assert judge_losses(log([4, 4.1])) == {}
    assert judge_losses(log([4, 3, 3.2]))["LossNotDecreasing"][0] == 20
    # means: 0.06 and then 0.11 and 0.15 above
    assert judge_losses(log([1, 0.9, 0.8, 0.7], [1, 1.01, 1, 1]))["Overfit"][0] == 30
    assert "Overfit" not in judge_losses(log([1, 0.9, 0.8], [1, 1.01, 1]))
    assert judge_losses(log([3, *[2] * 11]))["Overtraining"][0] == 110
    assert "Overtraining" not in judge_losses(log([3, *[2] * 11], falling))
    assert judge_losses(log([4, 2, 2, 2]))["UnchangedTensor"][0] == 30
    assert judge_losses(log([math.nan] * 4)) == {}


def test_stalled_counts_what_is_no_new_optimum() -> None:
    assert [stalled(losses, 0.01) for losses in ([], [1], [1, 0.995], [1, 0.5, 0.6, 0.495], [1, 0.5, 0.4])] == [
        0,
        0,
        1,
        2,
        0,
    ]


# What counts as right


def test_tables_name_faults_that_there_are() -> None:
    for peer in mapping.PEERS:
        assert peer.scope <= FAULTS.keys()
        assert all(peer.accepted(fault) for fault in peer.scope)
        assert not any(peer.accepted(fault) for fault in FAULTS.keys() - peer.scope)
    assert set(mapping.DEBUGGER) == set(debugger.RULES)
    assert set(dict(mapping.PEERS[0].table)) >= {
        kind_of("Dead units in net.1"),
        kind_of("Vanishing gradients detected"),
    }


def test_findings_of_one_kind_stand_together_in_the_peers_order() -> None:
    found = together(
        [("b", "CRITICAL", 5, "x"), ("a", "WARNING", None, "y"), ("b", "CRITICAL", 3, "z"), ("b", "WARNING", 9, "w")]
    )
    assert found == [
        Found("b", "CRITICAL", 2, 3, "x"),
        Found("a", "WARNING", 1, None, "y"),
        Found("b", "WARNING", 1, 9, "w"),
    ]
    assert kind_of("Rank collapse in fc1") == "rank-collapse"
    assert kind_of("Something new") == "Something new"


def test_torch_audit_goes_by_severity_and_then_by_rule() -> None:
    told = [Found("TA103", "INFO", 9, 4, ""), Found("TA402", "WARN", 1, 0, ""), Found("TA100", "ERROR", 1, None, "")]
    assert [f.kind for f in in_order([*told, Found("TA102", "WARN", 1, 7, "")])] == ["TA100", "TA102", "TA402", "TA103"]
    assert [f.kind for f in at_default_interval(told)] == ["TA402", "TA100"]


# How it is counted


def write(finished: Path, folder: Path, run: Run, findings: dict[str, list[Found]], **more: object) -> None:
    """A run's file as training with peers leaves it."""
    config = hashlib.sha256((finished / run.id / "config.json").read_bytes()).hexdigest()
    plain = {name: [f.to_dict() for f in found] for name, found in findings.items()}
    told = {"id": run.id, "config": config, "versions": {"torchmortem": "1"}, "findings": plain, **more}
    (folder / f"{run.id}.json").write_text(json.dumps(told))


def test_peers_are_counted_as_energydiag_is(tmp_path: Path) -> None:
    finished, out, results = tmp_path / "runs", tmp_path / "out", tmp_path / "results.json"
    out.mkdir()
    chosen = {run.name: run for run in scoring.chosen_runs() if run.cell.architecture == "two-tower"}
    steps = {"copied-optimiser": 2, "nan-rows": 2, "healthy-0": 2}
    for name, count in steps.items():
        train_run(chosen[name], finished, replace(chosen[name].recipe, steps=count))
    stagnant, dead = Found("weight-stagnation", "WARNING", 1, 0, ""), Found("dead-units", "CRITICAL", 1, 9, "")
    write(finished, out, chosen["copied-optimiser"], {"torchmortem": [dead, stagnant]}, effective=False)
    write(finished, out, chosen["nan-rows"], {}, failed="ValueError: no")
    write(finished, out, chosen["healthy-0"], {"torchmortem": [dead]}, effective=False)
    results.write_text(json.dumps({"test": 1, "peers": {"someone": 2}}))
    command.main(["score", "--runs", str(finished), "--out", str(out), "--results", str(results)])
    found = json.loads(results.read_text())
    assert found["test"] == 1
    assert found["peers"]["someone"] == 2
    mine = found["peers"]["torchmortem"]
    assert mine["macro_recall"]["value"] == 0.5  # the copied optimiser is named, the broken rows are not
    assert mine["root_cause_top1"] == {"value": 0.0, "ci95": [0.0, 0.6576], "n": 2}
    assert mine["in_its_scope"]["macro_recall"]["value"] == 1
    assert mine["healthy_without_critical"]["n"] == 0  # two steps make no control healthy
    assert mine["not_effective"] == {"healthy": 1}
    assert mine["failed"] == 1
    assert mine["runs"] == {"watched": 3, "of": len(scoring.chosen_runs())}
    assert mine["effective_as_in_the_stored_run"] == {"runs": 1, "of": 2}  # the third could not be trained
    assert found["peers"]["sagemaker-debugger-rules"]["macro_recall"]["value"] == 0


def test_what_stands_on_healthy_runs_is_told_and_left_out_once() -> None:
    peer = mapping.PEERS[0]

    def said(truth: tuple[str, ...], *kinds: str) -> Verdict:
        accepted = tuple(peer.accepted(fault) for fault in truth)
        found = tuple(Named(kind, kind, True) for kind in kinds)
        return Verdict("", "fault" if truth else "healthy", truth, accepted, (True,), found)

    every = [
        said(("dead-relus",), "plateau", "dead-units"),
        said(("sign-flipped",), "plateau"),
        said((), "plateau"),
        said((), "plateau"),
        said(()),
    ]
    found = scoring.score(peer, every)
    assert found["kinds_on_healthy"] == {"plateau": 0.6667}
    assert found["macro_recall"]["value"] == 1
    assert found["quiet_on_healthy"]["macro_recall"]["value"] == 0.5
    assert found["quiet_on_healthy"]["root_cause_top1"]["value"] == 0.5
    assert scoring.kinds_on_healthy([]) == {}


def test_the_command_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = next(run for run in scoring.chosen_runs() if run.name == "nan-rows")
    finished, out = tmp_path / "runs", tmp_path / "out"
    train_run(run, finished, replace(run.recipe, steps=2))
    out.mkdir()
    module, _, _ = train_again(replace(run.recipe, steps=2), [])
    write(finished, out, run, {}, weights=digest(module))
    for action in ("train", "check"):
        command.main([action, "--runs", str(finished), "--out", str(out)])
    assert capsys.readouterr().out == f"{run.id} same weights\n"
    assert is_done(finished / run.id, out / f"{run.id}.json")
    config = finished / run.id / "config.json"
    config.write_text(config.read_text().replace('"seed": ', '"seed": 1'))  # trained anew by another recipe
    assert not is_done(finished / run.id, out / f"{run.id}.json")


# With the peers themselves, where they are installed


def test_torchmortem_in_the_loop() -> None:
    pytest.importorskip("torchmortem")
    recipe, watcher = recipe_of("dead-relus", steps=60), Torchmortem()
    module, _, rows = train_again(recipe, [watcher])
    assert digest(module) == digest(train_again(recipe, [])[0])
    found = watcher.findings(rows, module, dump(recipe.data, recipe.seed))
    assert "dead-units" in {f.kind for f in found}
    assert watcher.autopsy.get_report().collector_states["rank"].steps.tolist() == [0, 50]


def test_torch_audit_in_the_loop() -> None:
    pytest.importorskip("torch_audit")
    recipe, watcher = recipe_of("zero-weights"), TorchAudit()
    module, _, rows = train_again(recipe, [watcher])
    assert digest(module) == digest(train_again(recipe, [])[0])
    found = watcher.findings(rows, module, dump(recipe.data, recipe.seed))
    assert "TA103" in {f.kind for f in found}
    assert not any(f.kind.startswith("TA2") for f in found)
    assert "TA000" not in {f.kind for f in found}  # no validator of its own failed
