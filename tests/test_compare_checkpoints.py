"""Checkpoints side by side on the same samples: pairs, limits, baselines."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_cli import run

import energydiag
from energydiag.errors import UsageError
from energydiag.pipeline import ModelOptions, compare_checkpoints

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"
DUMP = SAMPLES / "heldout-batch.safetensors"
FAST = {"limit": 96, "swap_size": 32}
ORIGINAL = ModelOptions(head="original", nhead=8)
OF_ORIGINAL = {"head": "original", "nhead": 8}
WORDS = ("--batch", DUMP, "--limit", 96, "--swap-size", 32, "--quiet")


@pytest.fixture(scope="module")
def found() -> energydiag.Comparison:
    return compare_checkpoints(
        [SAMPLES / "original.pt", SAMPLES / "healthy.safetensors"], DUMP, [ORIGINAL, ModelOptions()], **FAST
    )


def test_the_healthy_one_is_better_and_its_losses_are_another_scales(found: energydiag.Comparison) -> None:
    assert found.verdict == "improved"
    assert [side.name for side in found.sides] == ["original.pt", "healthy.safetensors"]
    rows = {row.name: row for row in found.metrics}
    assert rows["field.correction_gain.k1"].verdict == "improved"
    assert rows["head.slope_saturated_fraction"].verdict == "improved"
    assert rows["loss.swap"].verdict == "incomparable"
    assert "head is original here and linear there" in rows["loss.swap"].reason
    assert "head" in {difference.name for difference in found.differences}


def test_each_change_is_that_of_two_inspections_draw_by_draw(found: energydiag.Comparison) -> None:
    batch = energydiag.load_batch(DUMP)
    sides = [
        energydiag.inspect(energydiag.load_checkpoint(SAMPLES / name, **of), batch, **FAST)
        for name, of in (("original.pt", OF_ORIGINAL), ("healthy.safetensors", {}))
    ]
    for row in found.metrics:
        one, other = (side.measurement(row.name) for side in sides)
        assert one is not None
        assert other is not None
        assert row.delta == pytest.approx(other.value - one.value)
        if row.ci95 is not None and one.draws is not None and other.draws is not None:
            assert row.ci95 == pytest.approx(tuple(np.percentile(other.draws - one.draws, [2.5, 97.5])))
    assert energydiag.compare(*sides).verdict == found.verdict


def test_the_same_checkpoint_twice_is_unchanged() -> None:
    same = compare_checkpoints([SAMPLES / "healthy.safetensors"] * 2, DUMP, metrics=["auroc.*", "top1.*"], **FAST)
    assert same.verdict == "unchanged"
    assert {row.delta for row in same.metrics} == {0.0}
    assert {row.name.partition(".")[0] for row in same.metrics} == {"auroc", "top1"}


def test_a_baseline_is_paired_where_it_was_made_alike(
    found: energydiag.Comparison, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "known.json"
    known = ("compare", "checkpoints", SAMPLES / "original.pt", "--head", "original", "--nhead", 8, *WORDS)
    assert run(monkeypatch, *known, "--save-baseline", kept) == 0
    words = ("compare", "checkpoints", SAMPLES / "healthy.safetensors", *WORDS, "--baseline", kept)
    assert run(monkeypatch, *words, "--format", "json") == 0
    again = json.loads(capsys.readouterr().out)
    rows = {row.name: row for row in found.metrics}
    for row in again["metrics"]:
        assert row["verdict"] == rows[row["name"]].verdict
        if row["ci95"]:
            assert row["ci95"] == pytest.approx(rows[row["name"]].ci95, rel=1e-4, abs=1e-6)
    assert run(monkeypatch, *words, "--seed", 1) == 2
    assert "not measured alike: their seed is" in capsys.readouterr().err


@pytest.mark.slow
def test_a_regression_ends_with_1_unless_it_is_allowed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("compare", "checkpoints", SAMPLES / "healthy.safetensors", SAMPLES / "inverted.pt", *WORDS)
    words += ("--of", "2.head=linear", "--of", "2.nhead=8")
    assert run(monkeypatch, *words) == 1
    assert run(monkeypatch, *words, "--max-regression", "auroc.swap=100%") == 0
    assert run(monkeypatch, *words, "--max-regression", "auroc.swap=5%", "--sort", "chance") == 1
    assert "auroc.swap" in capsys.readouterr().out
    for wrong, told in (
        (("--of", "3.head=linear"), "N from 1 to 2"),
        (("--of", "2.nhead=many"), "nhead is a number"),
        (("--max-regression", "loss.swap=1%", "--of", "2.head=original"), "cannot be compared"),
    ):
        capsys.readouterr()
        assert run(monkeypatch, *words, *wrong) == 2
        assert told in capsys.readouterr().err


def test_every_checkpoint_may_have_options_of_its_own() -> None:
    with pytest.raises(UsageError, match="2 models are described for 3 checkpoints"):
        compare_checkpoints([SAMPLES / "original.pt"] * 3, DUMP, [ModelOptions(), ModelOptions()], **FAST)
    with pytest.raises(UsageError, match="one side only"):
        compare_checkpoints([SAMPLES / "original.pt"], DUMP, **FAST)
