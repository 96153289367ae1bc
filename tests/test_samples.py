"""The samples get the diagnosis that their makers know to be right."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import pytest

from energydiag.pipeline import ModelOptions, inspect_checkpoint
from energydiag.results import Diagnosis

SAMPLES = Path(__file__).resolve().parent.parent / "sample_checkpoints"
OPTIONS = {
    "original.pt": (ModelOptions(head="original", nhead=8), 0.5),
    "collapsed.pt": (ModelOptions(head="original", nhead=8), 0.5),
    "rescaled.safetensors": (ModelOptions(), None),
    "inverted.pt": (ModelOptions(head="linear", nhead=8), 1.0),
    "healthy.safetensors": (ModelOptions(), None),
}


def diagnose(file: str) -> Diagnosis:
    model, tau = OPTIONS[file]
    return inspect_checkpoint(SAMPLES / file, SAMPLES / "heldout-batch.safetensors", model, tau=tau, limit=512)


def codes(diagnosis: Diagnosis) -> list[str]:
    return [finding.code for finding in diagnosis.findings]


def test_original_is_a_flat_line_at_its_floor() -> None:
    found = diagnose("original.pt")
    assert found.verdict == "critical"
    assert codes(found)[0] == "ED103"
    assert {"ED101", "ED303"} <= set(codes(found))
    # the LayerNorm over the raw action is a fault of its own
    apart = {finding.code for finding in found.findings if finding.explained_by != "ED103"}
    assert apart == {"ED103", "ED503"}


def test_collapsed_is_dead_before_anything_else() -> None:
    found = diagnose("collapsed.pt")
    assert found.verdict == "critical"
    assert codes(found)[0] == "ED102"
    assert all(finding.explained_by == "ED102" for finding in found.findings[1:])
    zero = found.measurement("head.zero_slope_fraction")
    assert zero is not None
    assert zero.value == 1


def test_inverted_is_inverted_before_anything_else() -> None:
    found = diagnose("inverted.pt")
    assert found.verdict == "critical"
    assert codes(found)[0] == "ED202"


def test_rescaled_separates_weakly() -> None:
    found = diagnose("rescaled.safetensors")
    assert found.verdict == "warning"
    assert {"ED201", "ED503"} == {f.code for f in found.findings if f.explained_by is None}


def test_healthy_has_no_critical_finding() -> None:
    found = diagnose("healthy.safetensors")
    assert "critical" not in {finding.severity for finding in found.findings}
    assert not found.notes


@pytest.mark.parametrize("file", OPTIONS)
def test_every_sample_has_the_log_of_its_training(file: str) -> None:
    with (SAMPLES / "runs" / Path(file).stem / "metrics.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) > 10
    assert all(math.isfinite(float(row["loss"])) for row in rows)
    assert int(rows[-1]["step"]) >= 199


def test_everything_together_stays_small() -> None:
    assert sum(p.stat().st_size for p in SAMPLES.rglob("*") if p.is_file()) < 16e6
