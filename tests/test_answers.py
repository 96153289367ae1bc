"""What modules answer with: the energy in it is found, and its sign is given, or assumed by its name and told."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import pytest
import torch
from parts import ConcatMLP, make_batch
from torch import Tensor
from transformers.modeling_outputs import SequenceClassifierOutput
from typer.testing import CliRunner

from energydiag.cli.app import app
from energydiag.energies import pairwise_energies
from energydiag.models.answers import energy_in
from energydiag.models.energy_function import EnergyFunction
from energydiag.monitor import Monitor
from energydiag.pipeline import RepairOptions, fix_and_retrain, inspect, load_checkpoint
from energydiag.pipeline.splitting import split_by_episode
from energydiag.plan import TrainingPlan


class Steps(NamedTuple):
    steps: Tensor
    energies: Tensor


@dataclass
class Judged:
    value: Tensor
    hidden: Tensor | None = None


@dataclass
class Rewarded:
    reward: Tensor
    energy: Tensor


ANSWERS: dict[str, tuple[Callable[[Tensor], Any], str, bool]] = {
    "[B]": (lambda e: e, "", False),
    "[B, 1]": (lambda e: e[:, None], "", False),
    "[B, 1, 1]": (lambda e: e[:, None, None], "", False),
    "tuple": (lambda e: (e, e[:, None].expand(-1, 4)), "[0]", False),
    "dict": (lambda e: {"loss": None, "energy": e[:, None]}, "['energy']", False),
    "dict of scores": (lambda e: {"aux": e, "scores": e}, "['scores']", True),
    "ModelOutput": (
        lambda e: SequenceClassifierOutput(loss=e.mean(), logits=e[:, None]),  # type: ignore[arg-type]
        "['logits']",
        True,
    ),
    "named tuple": (lambda e: Steps(e[:, None].expand(-1, 4), e), ".energies", False),
    "dataclass": (lambda e: Judged(e), ".value", True),
    "energy beside a reward": (lambda e: Rewarded(-e, e), ".energy", False),
    "object": (lambda e: SimpleNamespace(reward=e), ".reward", True),
    "another name": (lambda e: {"head": e}, "['head']", False),
}


class Answering(ConcatMLP):
    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Any:
        return ANSWERS[self.name][0](super().forward(hidden, actions, pad_mask)[:, 0])


@pytest.mark.parametrize("name", ANSWERS)
def test_the_energy_is_found_and_its_sign_is_that_of_its_name(name: str) -> None:
    make, where, is_score = ANSWERS[name]
    found = energy_in(make(torch.arange(3.0)), 3)
    assert found.energy.tolist() == [0, 1, 2]
    assert (found.where, found.is_score) == (where, is_score)
    batch = make_batch()
    given = (batch.hidden, batch.actions, batch.pad_mask)
    plain = pairwise_energies(ConcatMLP(), *given)
    for sign, factor in ((None, -1 if is_score else 1), ("energy", 1), ("score", -1)):
        energy = EnergyFunction(Answering(name), "own", sign=sign)  # type: ignore[arg-type]
        assert torch.allclose(pairwise_energies(energy, *given), factor * plain)
        settled, note = energy.with_sign(*given)
        assert settled.sign == ("energy" if factor == 1 else "score")
        assert bool(note) is (sign is None and is_score)


def test_an_inspection_says_what_it_assumed() -> None:
    batch = make_batch(12)
    assumed = inspect(EnergyFunction(Answering("ModelOutput"), "own"), batch, tau=0.5)
    stated = inspect(EnergyFunction(Answering("ModelOutput"), "own", sign="score"), batch, tau=0.5)
    assert [note for note in assumed.notes if "`logits`" in note and "--sign energy" in note]
    assert not [note for note in stated.notes if "`logits`" in note]
    assert assumed.measurement("auroc.swap") == stated.measurement("auroc.swap")


def _factory(folder: Path, name: str) -> str:
    (folder / "own.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from test_answers import Answering\ndef build():\n    return Answering({name!r})\n"
    )
    return f"{folder / 'own.py'}:build"


@pytest.mark.parametrize(("words", "is_score"), [((), True), (("--sign", "energy"), False)])
def test_the_sign_from_the_command_line(tmp_path: Path, words: tuple[str, ...], is_score: bool) -> None:
    batch = make_batch(12)
    torch.save(ConcatMLP().state_dict(), tmp_path / "head.pt")
    torch.save({"hidden": batch.hidden, "actions": batch.actions, "pad_mask": batch.pad_mask}, tmp_path / "dump.pt")
    own = [str(tmp_path / "head.pt"), "--batch", str(tmp_path / "dump.pt"), "--model", _factory(tmp_path, "dataclass")]
    found = CliRunner().invoke(
        app, ["inspect", "checkpoint", *own, *words, "--format", "json", "--fail-on", "never", "--quiet"]
    )
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout)
    assert any("returns `value`" in note for note in told["notes"]) is is_score
    assert ("scores (−E)" in told["checkpoint"]["identity_told"]) is is_score


def test_a_repair_keeps_the_sign_that_was_assumed(tmp_path: Path) -> None:
    larger, smaller = split_by_episode(make_batch(40), 0.4, seed=0)
    torch.save(ConcatMLP().state_dict(), tmp_path / "head.pt")
    model = _factory(tmp_path, "ModelOutput")
    energy = load_checkpoint(tmp_path / "head.pt", model=model)
    plan = TrainingPlan(steps=2, batch_size=8, guarded=False)
    repair = fix_and_retrain(energy, larger, smaller, RepairOptions(plan, ("softplus-head",)), out=tmp_path / "out")
    assert any("`logits`" in note for note in repair.arms["before"].notes)
    again = load_checkpoint(repair.checkpoint, model=model)  # type: ignore[arg-type]
    assert again.sign == "score"
    found, wanted = inspect(again, smaller).measurement("auroc.swap"), repair.arms["after"].measurement("auroc.swap")
    assert found is not None
    assert wanted is not None
    assert found.value == pytest.approx(wanted.value)


def test_the_monitor_says_once_what_it_assumed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    batch, model = make_batch(12), Answering("object")
    with Monitor(model, batch, tmp_path / "run", every=1, most_overhead=0) as monitor:
        for _ in range(3):
            monitor.step(loss=1.0)
        scores = model(batch.hidden, batch.actions, batch.pad_mask).reward
        assert monitor.verify(-scores, batch.hidden, batch.actions, batch.pad_mask)
    assert len([record for record in caplog.records if "`reward`" in record.message]) == 1
