"""Runs side by side: where numbers are taken, what may be compared, and what exit code CI sees."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_cli import run

from energydiag.errors import UnreadableFile, UsageError
from energydiag.pipeline import compare_runs
from energydiag.pipeline.naming import distinct_names
from energydiag.results import Comparison
from energydiag.runs.log import Series
from energydiag.runs.places import at_best, at_end, at_step, step_at_time

CONFIG = {"head": "linear", "tau": 0.5, "batch_size": 64}


def write_run(
    folder: Path,
    seed: int = 0,
    *,
    steps: int = 1000,
    auroc: float = 0.9,
    loss: float = 1.0,
    offset: float = 0.0,
    seconds_a_step: float = 1.0,
    config: dict[str, Any] | None = None,
    change: Callable[[dict[str, float]], dict[str, float]] = dict,
) -> Path:
    """A run as a trainer logs it, every tenth step; ``offset`` is what its seed does."""
    settings = {**CONFIG, "seed": seed, **(config or {})}
    chance = math.log(settings["batch_size"])
    dice = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    rows = []
    for step in range(0, steps, 10):
        early = math.exp(-step / 150)
        rows.append(
            change(
                {
                    "step": step,
                    "seconds": step * seconds_a_step,
                    "loss": loss * (1 + offset) * (1 - early) + chance * early + 0.03 * dice.standard_normal(),
                    "auroc": min(auroc + offset * 0.05 - 0.3 * early + 0.01 * dice.standard_normal(), 1),
                    "gap": 2 - 1.8 * early + 0.05 * dice.standard_normal(),
                }
            )
        )
    with (folder / "metrics.csv").open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    (folder / "config.json").write_text(json.dumps(settings))
    return folder


def verdicts(compared: Comparison) -> dict[str, str]:
    return {row.name: row.verdict for row in compared.judged}


# --- places


@given(st.lists(st.floats(-10, 10), min_size=1, max_size=60), st.booleans())
def test_the_best_place_is_that_of_a_slow_search(values: list[float], higher: bool) -> None:
    series = Series(np.arange(len(values), dtype=float), np.array(values))
    found = at_best(series, higher=higher)
    means = [float(np.mean(values[i : i + found.points])) for i in range(len(values) - found.points + 1)]
    assert found.value == pytest.approx(max(means) if higher else min(means), abs=1e-9)
    assert at_end(series).value == pytest.approx(np.mean(values[-at_end(series).points :]))


def test_a_place_is_the_mean_of_the_tenth_before_it() -> None:
    series = Series(np.arange(0.0, 1000, 10), np.arange(100.0))
    assert at_end(series).value == pytest.approx(np.arange(90, 100).mean())
    found = at_step(series, 505)
    assert found is not None
    assert (found.step, found.points, found.value) == (500, 5, pytest.approx(48))
    assert at_step(series, -1) is None
    assert step_at_time(Series(series.step, series.value * 2), 21) == 100


@pytest.mark.parametrize("likeness", [0.0, 0.6])
def test_the_error_is_how_far_the_mean_is_off(likeness: float) -> None:
    dice = np.random.default_rng(0)
    means, errors = [], []
    for _ in range(300):
        noise = dice.standard_normal(600)
        for place in range(1, 600):
            noise[place] += likeness * noise[place - 1]
        found = at_end(Series(np.arange(600.0), 0.01 * np.arange(600) + noise))
        means.append(found.value)
        errors.append(found.error)
    assert np.mean(np.array(errors, dtype=float)) == pytest.approx(np.std(means), rel=0.2)


# --- what is compared


def test_a_better_run_is_called_better_where_both_had_come(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 2, steps=2000, auroc=0.97, loss=0.7)]
    found = compare_runs(paths)
    assert found.verdict == "improved"
    assert found.at == "equal step"
    assert {"loss", "auroc"} <= {name for name, told in verdicts(found).items() if told == "improved"}
    row = found.metric("auroc")
    assert row is not None
    assert row.values == pytest.approx({"a": 0.9, "b": 0.97}, abs=0.01)
    assert any("Equal step: 990" in note for note in found.notes)
    assert {row.at for row in found.metrics} == {"equal step", "last", "best", "equal time"}
    assert compare_runs(paths, at="best").at == "best"
    assert compare_runs(paths[::-1]).verdict == "regressed"


def test_at_equal_time_a_slow_run_is_taken_early(tmp_path: Path) -> None:
    slow = write_run(tmp_path / "slow", 1, seconds_a_step=4.0)
    found = compare_runs([write_run(tmp_path / "fast", 2), slow], at="equal time")
    row = found.metric("auroc")
    assert row is not None
    assert row.values["fast"] == pytest.approx(0.9, abs=0.01)
    assert row.values["slow"] == pytest.approx(0.9 - 0.3 * math.exp(-240 / 150), abs=0.02)
    with pytest.raises(UsageError, match="equal step"):
        compare_runs([tmp_path / "fast", slow], at="equal step")


@pytest.mark.parametrize(
    ("config", "told", "left"),
    [
        ({"head": "original"}, "head is linear here and original there", {"auroc"}),
        ({"tau": 0.3}, "τ is 0.5 here and 0.3 there", {"auroc"}),
        ({"batch_size": 32}, "negatives is 63 here and 31 there", {"auroc", "gap"}),
    ],
)
def test_losses_of_different_heads_temperatures_and_batches_are_not_compared(
    tmp_path: Path, config: dict[str, Any], told: str, left: set[str]
) -> None:
    found = compare_runs([write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 2, auroc=0.99, config=config)])
    row = found.metric("loss")
    assert row is not None
    assert row.verdict == "incomparable"
    assert told in row.reason
    assert {row.name for row in found.judged if row.verdict != "incomparable"} - {"finite_share"} == left
    assert found.verdict == "improved"
    assert {d.name for d in found.differences} == {"seed", *config}


def test_a_run_that_ends_in_nan_is_worse(tmp_path: Path) -> None:
    def broken(row: dict[str, float]) -> dict[str, float]:
        return {**row, "loss": math.nan} if row["step"] > 900 else row

    found = compare_runs([write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 2, change=broken)])
    assert verdicts(found)["finite_share"] == "regressed"
    assert found.verdict == "regressed"


def test_what_one_side_did_not_log_is_told(tmp_path: Path) -> None:
    def bare(row: dict[str, float]) -> dict[str, float]:
        return {name: value for name, value in row.items() if name != "auroc"}

    found = compare_runs([write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 2, change=bare)])
    assert "auroc" not in verdicts(found)


def test_seeds_are_one_side(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / f"old-s{seed}", seed, offset=0.02 * (seed - 1)) for seed in range(3)]
    paths += [
        write_run(tmp_path / f"new-s{seed}", seed, auroc=0.97, offset=0.02 * (seed - 1), config={"lr": 1})
        for seed in range(3)
    ]
    found = compare_runs(paths, group_by="seed")
    assert [side.name for side in found.sides] == ["old (3 runs)", "new (3 runs)"]
    row = found.metric("auroc")
    assert row is not None
    assert row.verdict == "improved"
    assert [d.name for d in found.differences] == ["lr"]
    with pytest.raises(UsageError, match="does not tell its 'colour'"):
        compare_runs(paths, group_by="colour")
    with pytest.raises(UsageError, match="one side only"):
        compare_runs(paths[:3], group_by="seed")


def test_many_runs_are_ranked(tmp_path: Path) -> None:
    paths = [write_run(tmp_path / name, n, auroc=0.9 + 0.02 * n) for n, name in enumerate("abc")]
    found = compare_runs(paths)
    (ranking,) = (one for one in found.rankings if one.name == "auroc")
    assert list(ranking.values) == ["c", "b", "a"]
    assert {row.side for row in found.metrics} == {"b", "c"}


def test_runs_that_differ_by_their_seed_alone_are_seldom_called_different(tmp_path: Path) -> None:
    dice = np.random.default_rng(0)
    called = 0
    for pair in range(60):
        sides = [
            write_run(tmp_path / f"{pair}{name}", 100 * pair + n, offset=float(dice.normal(0, 0.03)))
            for n, name in enumerate("ab")
        ]
        called += compare_runs(sides).verdict in ("improved", "regressed", "mixed")
    assert called <= 3


def test_names_are_as_long_as_it_takes() -> None:
    assert distinct_names(["runs/a/metrics.csv", "runs/b/metrics.csv"]) == ["a", "b"]
    assert distinct_names(["x/run/1.csv", "y/run/1.csv"]) == ["x", "y"]
    assert distinct_names(["x/a.csv", "y/a.csv", "y/b.csv"]) == ["x/a.csv", "y/a.csv", "y/b.csv"]
    assert distinct_names(["a.csv", "a.csv"]) == ["a.csv#1", "a.csv#2"]


def test_the_result_survives_json(tmp_path: Path) -> None:
    found = compare_runs([write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 2)])
    again = Comparison.from_dict(json.loads(found.to_json()))
    assert again.to_json() == found.to_json()
    assert len(found.to_frame()) == len(found.metrics)


# --- in CI


def test_exit_codes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 2, auroc=0.8)
    same = write_run(tmp_path / "c", 3)
    assert run(monkeypatch, "compare", "runs", a, b) == 1
    assert run(monkeypatch, "compare", "runs", b, a) == 0
    assert run(monkeypatch, "compare", "runs", a, same, "--inconclusive-fails") == 3
    limit = ("--max-regression", "auroc=20%")
    assert run(monkeypatch, "compare", "runs", a, b, *limit) == 0
    assert run(monkeypatch, "compare", "runs", a, b, "--max-regression", "auroc=5%") == 1
    capsys.readouterr()
    for wrong, told in (
        (("--max-regression", "auroc"), "METRIC=LIMIT"),
        (("--max-regression", "auroc=much"), "no number or percentage"),
        (("--max-regression", "nothing=5%"), "no such metric"),
        (("--metric", "nothing"), "no metric in common"),
        (("--baseline", tmp_path / "none.json"), "none.json"),
    ):
        assert run(monkeypatch, "compare", "runs", a, b, *wrong) == 2
        assert told in capsys.readouterr().err


def test_a_baseline_is_kept_and_compared_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    a, b, kept = write_run(tmp_path / "a", 1), write_run(tmp_path / "b", 2, auroc=0.8), tmp_path / "known.json"
    assert run(monkeypatch, "compare", "runs", a, "--save-baseline", kept) == 0
    assert run(monkeypatch, "compare", "runs", b, "--baseline", kept, "--format", "json") == 1
    found = json.loads(capsys.readouterr().out)
    direct = compare_runs([a, b], at="last")
    assert found["at"] == "last"
    row = next(m for m in found["metrics"] if (m["name"], m["at"]) == ("auroc", "last"))
    wanted = direct.metric("auroc")
    assert wanted is not None
    assert row["delta"] == pytest.approx(wanted.delta)
    assert row["ci95"] == pytest.approx(wanted.ci95)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", UnreadableFile),
        ("[]", UnreadableFile),
        ('{"kind": "diagnosis", "schema_version": 1}', UnreadableFile),
        ("[" * 100_000, UnreadableFile),
        ('{"kind": "baseline", "schema_version": 1, "side": {"name": "\\u001b[2J", "paths": [], "facts": {}},'
         ' "subject": "checkpoints", "made_with": {}, "numbers": []}', UsageError),
        ('{"kind": "baseline", "schema_version": 1, "side": {"name": 1, "paths": [], "facts": {}},'
         ' "subject": "runs", "made_with": {}, "numbers": []}', UnreadableFile),
    ],
)  # fmt: skip
def test_what_is_no_baseline_is_told(tmp_path: Path, text: str, error: type[Exception]) -> None:
    (tmp_path / "known.json").write_text(text)
    with pytest.raises(error):
        compare_runs([write_run(tmp_path / "a")], baseline=tmp_path / "known.json")
