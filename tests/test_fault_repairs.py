"""The repair benchmark: three treatments of one small model for real, and its arithmetic on outcomes made by hand."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks.faults.catalogue import CELLS, Run
from benchmarks.faults.data import dump, training_samples
from benchmarks.faults.repairs import run as command
from benchmarks.faults.repairs.tally import tally
from benchmarks.faults.repairs.treatments import (
    FAILED,
    NOTHING_PLANNED,
    REFUSED,
    TREATMENTS,
    Clinic,
    automatic,
    drawn,
    shuffled,
    treated,
)
from benchmarks.faults.repairs.work import diagnosable, owner_plan, repair_run
from benchmarks.faults.work import load_run, measure_run, train_run
from energydiag.errors import UsageError
from energydiag.fixes import fixes
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import RepairOptions, fix_and_retrain
from energydiag.pipeline.proof import proof_names

STEPS = 6
CELL = next(cell for cell in CELLS if cell.architecture == "two-tower")
SICK = Run("fault", "leads-astray", CELL)
TURNED = Run("fault", "sign-flipped", CELL)


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two faulty runs of two towers."""
    out = tmp_path_factory.mktemp("runs")
    for run in (SICK, TURNED):
        train_run(run, out, replace(run.recipe, steps=60))
        measure_run(out / run.id)
    return out


@pytest.fixture(scope="module")
def clinics(finished: Path) -> dict[str, Clinic]:
    """Their clinics, by the run's name."""
    return {run.name: _clinic(finished / run.id) for run in (SICK, TURNED)}


def _clinic(folder: Path) -> Clinic:
    recipe, module = load_run(folder)
    energy = EnergyFunction(module, recipe.shape.architecture, {"tau": str(recipe.tau)})
    training, heldout = training_samples(recipe.data, recipe.seed), dump(recipe.data, recipe.seed)
    return Clinic(energy, training, heldout, owner_plan(recipe, STEPS))


@pytest.mark.slow
@pytest.mark.parametrize("name", [SICK.name, TURNED.name])
def test_auto_is_what_fix_and_retrain_does(clinics: dict[str, Clinic], name: str) -> None:
    clinic = clinics[name]
    outcome = automatic(clinic)
    repair = fix_and_retrain(clinic.energy, clinic.training, clinic.heldout, RepairOptions(clinic.base))
    assert outcome.fixes == tuple(applied.fix for applied in repair.applied)
    assert (outcome.verdict, outcome.accepted, outcome.reasons) == (repair.verdict, repair.accepted, repair.reasons)
    assert outcome.steps == repair.plan["steps"]
    after = {n: m.value for n in proof_names(clinic.heldout) if (m := repair.arms["after"].measurement(n))}
    assert outcome.numbers == {name: pytest.approx(value, abs=1e-5) for name, value in after.items()}
    assert repair.comparison is not None
    worse = [m.name for m in repair.comparison.metrics if m.verdict == "regressed"]
    assert list(outcome.below_control) == worse


def test_the_control_is_judged_against_before_alone(clinics: dict[str, Clinic]) -> None:
    clinic = clinics[SICK.name]
    outcome = clinic.control_outcome()
    assert outcome.fixes == ()
    assert outcome.steps == STEPS
    assert outcome.accepted == outcome.recovered
    assert clinic.control is clinic.control


def test_a_fix_that_cannot_be_applied_is_drawn_again(clinics: dict[str, Clinic]) -> None:
    clinic = clinics[SICK.name]
    # no LayerNorm over actions; the energies are not inverted
    outcome = drawn(clinic, ["remove-action-norm", "negate-sign", "no-dropout"])
    assert (outcome.fixes, outcome.draws) == (("no-dropout",), 3)
    nothing = drawn(clinic, ["remove-action-norm"])
    assert nothing.verdict == NOTHING_PLANNED
    assert "LayerNorm" in nothing.reasons[0]


def test_draws_depend_on_the_name_alone() -> None:
    assert shuffled(SICK.id) == shuffled(SICK.id)
    assert sorted(shuffled(SICK.id)) == sorted(fixes())
    assert len({shuffled(f"run {i}")[0] for i in range(40)}) > 10


def test_failures_of_a_treatment_are_results(clinics: dict[str, Clinic], monkeypatch: pytest.MonkeyPatch) -> None:
    clinic = clinics[SICK.name]

    def fails(error: Exception) -> None:
        def outcome(*_: object) -> None:
            raise error

        monkeypatch.setattr(Clinic, "outcome", outcome)

    fails(UsageError("It does not fit.", "give up."))
    assert treated(clinic, "x")["auto"].verdict == REFUSED
    fails(ZeroDivisionError("by zero"))
    found = treated(clinic, "x")
    assert found["auto"].verdict == found["random"].verdict == FAILED
    assert found["auto"].reasons == ("ZeroDivisionError: by zero",)
    assert found["control"].verdict not in (FAILED, REFUSED)


@pytest.mark.slow
def test_the_command_treats_what_is_diagnosable_and_merges_its_numbers(finished: Path, tmp_path: Path) -> None:
    out, results = tmp_path / "repairs", tmp_path / "results.json"
    assert TURNED.id in {run.id for run in diagnosable(finished, CELL.part)}
    assert not diagnosable(finished, ({"test", "calibration"} - {CELL.part}).pop())
    arguments = ["--runs", str(finished), "--out", str(out), "--part", CELL.part, "--steps", str(STEPS)]
    arguments += ["--only", TURNED.id]
    command.main(["repair", *arguments])
    (path,) = out.glob("*.json")
    told = json.loads(path.read_text())
    assert set(told["treatments"]) == set(TREATMENTS)
    assert told["treatments"]["auto"]["fixes"] == ["negate-sign"]
    assert told["treatments"]["auto"]["accepted"]
    path.write_text(json.dumps({**told, "seconds": -1.0}))
    command.main(["repair", *arguments])
    assert json.loads(path.read_text())["seconds"] == -1.0  # it was left alone
    results.write_text(json.dumps({"test": {"kept": True}, "repair": {"old": 1}}))
    command.main(["score", "--out", str(out), "--part", CELL.part, "--results", str(results)])
    found = json.loads(results.read_text())
    assert found["test"] == {"kept": True}
    assert found["repair"]["auto"]["accepted"]["value"] == 1
    assert found["repair"]["by_fault"]["sign-flipped"]["auto"]["accepted"]["n"] == 1
    assert "old" not in found["repair"]


def test_a_run_that_cannot_be_treated_is_a_result(finished: Path, tmp_path: Path) -> None:
    (run,) = (run for run in diagnosable(finished, CELL.part) if run.id == TURNED.id)
    told = json.loads(repair_run(run, tmp_path / "nowhere", tmp_path / "out", STEPS).read_text())
    assert "FileNotFoundError" in told["error"]
    assert tally([told])["auto"]["failed"] == 1


def _told(fault: str, steps: int = 300, **auto: object) -> dict[str, object]:
    idle = {"verdict": "not-improved", "accepted": False, "recovered": False, "harmed": [], "fixes": ["x"], "draws": 2}
    treatments = {"auto": {**idle, **auto}, "random": idle, "control": {**idle, "draws": 0, "fixes": []}}
    about = {"fault": fault, "root": "ED1", "architecture": "film", "part": "test", "steps": steps}
    return {**about, "treatments": treatments}


def test_shares_are_counted_over_all_runs() -> None:
    found = tally(
        [
            _told("a", accepted=True, recovered=True, verdict="healed"),
            _told("a", harmed=["auroc.swap"], verdict="harmed"),
            _told("b", verdict=NOTHING_PLANNED, fixes=[]),
            _told("b", verdict=REFUSED, fixes=[]),
        ]
    )
    auto = found["auto"]
    shares = {key: auto[key]["value"] for key in ("accepted", "harmed", "recovered", "nothing_planned", "refused")}
    assert shares == dict.fromkeys(shares, 0.25)
    assert auto["accepted"]["n"] == 4
    assert auto["by_fix"] == {"x": {"runs": 2, "accepted": 1, "harmed": 1}}
    assert found["random"]["mean_draws"] == 2
    assert found["auto_over_random"] is None  # nothing divides by no acceptance
    assert found["by_fault"]["a"]["auto"]["accepted"]["value"] == 0.5
    assert found["by_fault"]["b"]["auto"]["harmed"]["value"] == 0
    with pytest.raises(ValueError, match="different numbers of steps"):
        tally([_told("a"), _told("a", steps=500)])
