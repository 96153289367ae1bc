"""`inspect run`: the samples' logs get the diagnosis that their makers know to be right, and sick logs theirs."""

from __future__ import annotations

import csv
import json
import math
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energydiag.cli import main
from energydiag.pipeline import inspect_run
from energydiag.results import Diagnosis

RUNS = Path(__file__).resolve().parent.parent / "sample_checkpoints" / "runs"


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


def test_original_is_a_plateau_at_its_floor() -> None:
    found = inspect_run(RUNS / "original")
    assert codes(found) == ["ED702"]
    assert found.verdict == "critical"


def test_collapsed_is_frozen_at_chance() -> None:
    found = inspect_run(RUNS / "collapsed")
    assert codes(found) == ["ED711", "ED701"]
    assert found.verdict == "critical"
    assert found.findings[1].explained_by == "ED711"
    assert "dead" in found.findings[0].cause


def test_inverted_is_inverted_though_its_loss_falls() -> None:
    found = inspect_run(RUNS / "inverted")
    assert codes(found) == ["ED706"]
    assert found.verdict == "critical"


@pytest.mark.parametrize("name", ["healthy", "rescaled"])
def test_what_trained_well_has_no_finding(name: str) -> None:
    found = inspect_run(RUNS / name)
    assert (found.findings, found.verdict) == ((), "healthy")
    assert inspect_run(RUNS / name, negatives=73 if name == "healthy" else 3).findings == ()


def test_the_file_says_as_much_as_the_folder() -> None:
    folder, file = inspect_run(RUNS / "original"), inspect_run(RUNS / "original" / "metrics.csv")
    assert folder.measurements == file.measurements
    assert folder.run == file.run
    assert {curve.name for curve in folder.curves} == {
        "run.info_nce",
        "run.gap",
        "run.auroc",
        "run.chance",
        "run.floor",
    }


def test_other_rules_are_neither_asked_nor_told() -> None:
    found = inspect_run(RUNS / "healthy")
    assert all(s.name.startswith(("ED7", "run.")) for s in found.skipped)
    assert codes(inspect_run(RUNS / "collapsed", select=["ED701"])) == ["ED701"]
    assert codes(inspect_run(RUNS / "collapsed", ignore=["ED711"])) == ["ED701"]


def test_without_settings_the_floor_is_asked_for_and_can_be_told(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text((RUNS / "original" / "metrics.csv").read_text())
    found = inspect_run(log)
    assert codes(found) == []
    assert found.measurement("run.objective.chance").value == pytest.approx(math.log(64))  # where the loss begins
    assert any("--head" in note for note in found.notes)
    assert codes(inspect_run(log, batch_size=64, head="original")) == ["ED702"]  # τ stands in the log
    assert codes(inspect_run(log, batch_size=64, head="original", tau=0.1)) == []  # the floor would be 0.003


def test_a_false_number_of_negatives_is_noticed() -> None:
    found = inspect_run(RUNS / "original", negatives=5000)
    assert any("The loss begins at 4.16; an untrained model would have about 8.52" in note for note in found.notes)


# sick logs, made here


def write_log(path: Path, **columns: np.ndarray) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["step", *columns])
        writer.writerows([i, *row] for i, row in enumerate(zip(*columns.values(), strict=True)))
    return path


def falling(n: int = 80, end: float = 1.0, scale: float = 0.03) -> np.ndarray:
    time = np.arange(n) / n
    return end + (4.1 - end) * np.exp(-5 * time) + np.random.default_rng(0).normal(0, scale, n)


N = 80
TIME = np.arange(N)
GAP = np.linspace(0, 5, N)
SICK: dict[str, tuple[dict[str, np.ndarray], str]] = {
    "NaN at the end": ({"loss": np.where(TIME < 60, falling(), math.nan)}, "ED703"),
    "swinging": ({"loss": falling() + 0.3 * np.cos(np.pi * TIME)}, "ED704"),
    "drifting": (
        {"loss": falling(), "e_pos": np.linspace(0, 90, N) - GAP / 2, "e_neg": np.linspace(0, 90, N) + GAP / 2},
        "ED705",
    ),
    "shrinking gap": ({"loss": falling(), "gap": GAP[::-1] + 1}, "ED706"),
    "exploding": ({"loss": falling(), "grad_norm": np.exp(TIME / 8)}, "ED707"),
    "overfitting": ({"loss": falling(end=0.3), "val_loss": 1.5 + np.abs(TIME - 30) / 40}, "ED708"),
    "too slow": ({"loss": 4.1 + falling(end=4.0, scale=0.001) / 1e3, "update_ratio": np.full(N, 1e-7)}, "ED709"),
    "rising": ({"loss": falling() + TIME / 40, "update_ratio": np.full(N, 0.3)}, "ED710"),
    "not in the optimiser": ({"loss": falling(end=4.0), "weight_norm": np.full(N, 12.5)}, "ED711"),
    "the same batches, frozen": ({"loss": np.tile(falling(10, 4.0), 8)}, "ED711"),
    "short": ({"loss": falling(12)}, "ED712"),
    "always clipped": (
        {"loss": falling(), "gradient_norm": np.full(N, 40.0), "max_grad_norm": np.full(N, 0.3)},
        "ED713",
    ),
    "by heart": ({"loss": falling(end=0.05, scale=0.01), "val_loss": np.full(N, 4.1)}, "ED714"),
    "warm-up without an end": ({"loss": falling(), "lr": np.linspace(1e-5, 1e-3, N)}, "ED720"),
    "thrown at the start": (
        {"loss": falling() + 9 * np.isin(TIME, (2, 3, 4)), "lr": np.linspace(1e-3, 0, N)},
        "ED720",
    ),
    "spiky": ({"loss": falling() + 5.0 * np.isin(TIME, (40, 55, 61))}, "ED715"),
}


@pytest.mark.parametrize("name", SICK)
def test_a_sick_log_gets_its_finding(name: str, tmp_path: Path) -> None:
    columns, code = SICK[name]
    found = inspect_run(write_log(tmp_path / "metrics.csv", **columns), batch_size=64, head="linear", tau=1.0)
    assert codes(found)[0] == code


@settings(deadline=None, max_examples=40)
@given(
    st.integers(20, 200),
    st.floats(0.1, 3.0),
    st.floats(0.01, 0.15),
    st.floats(2.0, 20.0),
    st.integers(0, 2**16),
)
def test_an_ordinary_log_has_no_finding(
    tmp_path_factory: pytest.TempPathFactory, n: int, end: float, scale: float, rate: float, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    time = np.arange(n) / n
    fall = np.exp(-rate * time)
    loss = np.abs(end + (4.16 - end) * fall + generator.normal(0, scale * end, n))
    log = write_log(
        tmp_path_factory.mktemp("run") / "metrics.csv",
        loss=loss,
        val_loss=loss + 0.1 + generator.normal(0, scale * end, n),
        e_pos=-5 * (1 - fall) + generator.normal(0, 0.3, n),
        e_neg=5 * (1 - fall) + generator.normal(0, 0.3, n),
        grad_norm=generator.lognormal(1, 0.5, n),
        update_ratio=np.full(n, 1e-3),
    )
    assert codes(inspect_run(log, batch_size=64, head="linear", tau=1.0)) == []


# the command


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["energydiag", *map(str, arguments)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert isinstance(stopped.value.code, int)
    return stopped.value.code


def test_the_report_names_run_cause_and_what_to_type_next(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "inspect", "run", RUNS / "original") == 1
    shown = capsys.readouterr().out
    for part in (
        *("plateau-at-floor", "original/metrics.csv", "121 rows of csv", "steps 0 to 1199", "run.floor_gap"),
        "energydiag inspect checkpoint CHECKPOINT --batch DUMP --head original --tau 0.5",
    ):
        assert part in " ".join(shown.split()) or part in "".join(shown.split()).replace("│", "")
    assert run(monkeypatch, "inspect", "run", RUNS / "healthy") == 0
    assert "energydiag inspect checkpoint" in capsys.readouterr().out


def test_fail_on_and_ignore_decide_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    job = ("inspect", "run", RUNS / "collapsed", "-q")
    assert run(monkeypatch, *job, "--fail-on", "never") == 0
    assert run(monkeypatch, *job, "--ignore", "ED7") == 0
    assert run(monkeypatch, *job, "--select", "ED702") == 0
    assert run(monkeypatch, *job, "--select", "ED70") == 1


def test_every_format_and_the_figures_and_the_saved_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved, plots = tmp_path / "result.json", tmp_path / "plots"
    formats = [f"--format={name}={tmp_path / name}" for name in ("md", "junit")]
    job = ("inspect", "run", RUNS / "inverted", "--format", "text", f"--format=json={saved}", *formats)
    assert run(monkeypatch, *job, "--plots", plots, "--details") == 1
    text = capsys.readouterr().out.partition("\nNext ")[0]
    assert {p.name for p in plots.glob("*.png")} == {"overview.png", "run_losses.png", "run_ranking.png"}
    result = json.loads(saved.read_text())
    assert "checkpoint" not in result
    assert result["provenance"]["negatives"] == 63
    assert result["provenance"]["command"][1:3] == ["inspect", "run"]
    assert "ED706" in (tmp_path / "md").read_text()
    assert "ED706" in (tmp_path / "junit").read_text()
    assert run(monkeypatch, "report", saved, "--details") == 0
    assert capsys.readouterr().out == text + "\n"


def test_columns_are_named_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = write_log(tmp_path / "log.csv", objective=falling(), score=GAP)
    assert run(monkeypatch, "inspect", "run", log) == 2
    assert "--map loss=NAME" in capsys.readouterr().err
    assert run(monkeypatch, "inspect", "run", log, "--map", "loss=objective", "--map", "gap=score") == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "Names in the log: loss = `objective`, gap = `score`." in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("nowhere",), "No training log at nowhere"),
        ((RUNS,), "holds no metrics.csv"),
        ((RUNS / "healthy", "--map", "loss"), "OURS=THEIRS"),
        ((RUNS / "healthy", "--map", "loss=a", "--map", "loss=b"), "loss twice"),
        ((RUNS / "healthy", "--map", "lost=loss"), "did you mean loss?"),
        ((RUNS / "healthy", "--head", "cubic"), "No head is called 'cubic'"),
        ((RUNS / "healthy", "--select", "FOO"), "FOO"),
        ((RUNS.parent / "original.pt",), "no known format"),
    ],
)
def test_mistakes_are_told_in_two_lines(
    arguments: tuple[object, ...],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, "inspect", "run", *arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert len(error.splitlines()) == 2
    assert "  next: " in error
