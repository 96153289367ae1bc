"""Results in JSON: built and checked from their types alone, also those of schema 1."""

from __future__ import annotations

import copy
import json
import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from report_parts import compared, diagnosis, drawn_diagnosis, fleet, repair, run_diagnosis
from typer.testing import CliRunner

from energydiag.cli.app import app
from energydiag.metrics import names
from energydiag.results import Cause, CheckpointDiagnosis, CheckpointFacts, Curve, Open, Use
from energydiag.results.codec import built, plain
from energydiag.results.saved import Saved, saved_result

ROOT = Path(__file__).resolve().parent.parent
OLD = sorted((Path(__file__).resolve().parent / "schema1").glob("*.json"))
NEW: dict[str, Saved] = {
    "diagnosis": diagnosis(),
    "drawn": drawn_diagnosis(),
    "run": run_diagnosis(),
    "fleet": fleet(),
    "comparison": compared(),
    "repair": repair(),
}


@pytest.mark.parametrize("name", NEW)
def test_what_is_saved_comes_back(name: str) -> None:
    told = json.loads(NEW[name].to_json())
    assert (told["schema_version"], told["kind"]) == (2, NEW[name].kind)
    again = saved_result(told)
    assert type(again) is type(NEW[name])
    assert again.to_json() == NEW[name].to_json()


def test_there_is_room_for_what_could_not_be_answered_for_causes_and_for_uses() -> None:
    found = CheckpointDiagnosis(
        verdict="undetermined",
        checkpoint=CheckpointFacts(),
        batch=diagnosis().batch,
        open=(Open("does it rank?", "the policy's actions", "dump policy_actions"),),
        causes=(Cause("sign turned", names("proof")[0], 0.1, 0.9, (0.7, 0.9), ("ED204",)),),
        uses=(Use("correct", "undetermined", "no policy's actions"),),
    )
    assert saved_result(json.loads(found.to_json())) == found


@pytest.mark.parametrize("name", NEW)
def test_the_schema_describes_what_is_saved(name: str) -> None:
    schema = json.loads((ROOT / "docs" / "result.schema.json").read_text())
    validator = Draft202012Validator(schema)
    told = json.loads(NEW[name].to_json())
    assert not [error.message for error in validator.iter_errors(told)]
    del told["verdict"]
    assert not validator.is_valid(told)


def test_a_curve_that_diverged_is_json() -> None:
    curve = Curve("run.loss", (0.0, 1.0, 2.0), (1.0, math.inf, math.nan))
    told = json.loads(replace(diagnosis(), curves=(curve,)).to_json(), parse_constant=pytest.fail)
    assert told["curves"][0]["y"] == [1.0, None, None]
    again = saved_result(told).curves[0].y  # type: ignore[union-attr]
    assert again[0] == 1.0
    assert all(math.isnan(value) for value in again[1:])


def test_what_stands_in_front_has_to_be_that_of_the_result() -> None:
    told = json.loads(fleet().to_json())
    for path, value in (
        (("verdict",), "healthy"),
        (("rows", 0, "diagnosis", "subject"), "run"),
        (("rows", 0, "diagnosis", "kind"), "repair"),
        (("rows", 0, "diagnosis", "schema_version"), 1),
    ):
        forged = copy.deepcopy(told)
        inside = forged
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = value
        with pytest.raises(TypeError, match=str(path[-1])):
            saved_result(forged)


def test_no_number_is_text() -> None:
    told = diagnosis().to_dict()
    assert told["batch"]["samples"] == 320
    assert told["batch"]["hidden"] == [320, 16, 64]
    assert told["checkpoint"]["parameters"] == 47177
    assert CheckpointFacts.of({"nhead": "8", "tau": "0.5", "width": "64"}) == CheckpointFacts(
        nhead=8, tau=0.5, settings={"width": "64"}
    )
    assert CheckpointFacts.of({"nhead": "many"}).settings == {"nhead": "many"}


@pytest.mark.parametrize("saved", OLD, ids=lambda path: path.stem)
@pytest.mark.parametrize("format", ["text", "md", "html", "junit", "sarif", "github"])
def test_results_of_schema_1_are_drawn(saved: Path, format: str) -> None:
    done = CliRunner().invoke(app, ["report", str(saved), "--format", format])
    assert done.exit_code == 0
    assert len(done.stdout) > 100


@pytest.mark.parametrize("saved", OLD, ids=lambda path: path.stem)
def test_a_result_of_schema_1_says_the_same_in_schema_2(saved: Path) -> None:
    old = json.loads(saved.read_text())
    new = saved_result(copy.deepcopy(old)).to_dict()
    for key in ("verdict", "findings", "measurements", "skipped", "metrics", "reasons", "provenance", "created"):
        if key in old:
            now = (
                [{k: v for k, v in one.items() if k != "failed"} for one in new[key]] if key == "skipped" else new[key]
            )
            assert now == old[key] or _numbers_alike(now, old[key])
    assert [one["code"] for one in new.get("open", ())] == [one["name"] for one in old.get("inconclusive", ())]
    if saved.stem == "run":
        assert (new["run"]["rows"], new["run"]["last_step"]) == (121, 1199)
    if saved.stem == "checkpoint":
        assert (new["checkpoint"]["nhead"], new["batch"]["episodes"]) == (8, 72)


def _numbers_alike(one: Any, other: Any) -> bool:
    return bool(json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True))


def places(told: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = told.items() if isinstance(told, dict) else enumerate(told) if isinstance(told, list) else ()
    return [found for key, value in inner for found in [(*path, key), *places(value, (*path, key))]]


@pytest.mark.parametrize("name", NEW)
def test_whatever_is_wrong_in_it_is_refused_or_drawn(name: str, tmp_path: Path) -> None:
    whole = json.loads(NEW[name].to_json())
    every = places(whole)
    for number, path in enumerate(every[:: max(1, len(every) // 60)]):
        changed = copy.deepcopy(whole)
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = (None, [], {}, "x", -1, math.nan, True, [[1]], 10**30)[number % 9]
        (tmp_path / "saved.json").write_text(json.dumps(changed))
        done = CliRunner().invoke(app, ["report", str(tmp_path / "saved.json"), "--format", "html"])
        assert done.exit_code == 0 or type(done.exception).__name__ == "UnreadableFile", path


def test_the_place_of_what_does_not_fit_is_told() -> None:
    told = diagnosis().to_dict()
    told["measurements"][1]["value"] = "0.5"
    with pytest.raises(TypeError, match=r"CheckpointDiagnosis\.measurements\[1\]\.value"):
        built(CheckpointDiagnosis, told)
    for one in fields(CheckpointFacts):
        assert one.name in plain(CheckpointFacts())


@pytest.mark.parametrize("number", ["Infinity", "1e999", "null", '"x"', "[1]", "-1", "2.5"])
def test_numbers_of_schema_1_that_are_none(number: str, tmp_path: Path) -> None:
    whole = next(path for path in OLD if path.stem == "checkpoint").read_text()
    for name in ("samples", "episodes", "hidden"):
        saved = tmp_path / "saved.json"
        saved.write_text(re.sub(rf'"{name}": "[^"]*"', f'"{name}": {number}', whole, count=1))
        done = CliRunner().invoke(app, ["report", str(saved)])
        assert done.exit_code == 0 or type(done.exception).__name__ == "UnreadableFile"


def test_a_schema_that_is_not_known_yet_is_refused(tmp_path: Path) -> None:
    for version in (3, 0, "2", None, True, 1.0, [1]):
        saved = tmp_path / "saved.json"
        saved.write_text(json.dumps({**diagnosis().to_dict(), "schema_version": version}))
        told = CliRunner().invoke(app, ["report", str(saved)]).exception
        assert type(told).__name__ == "UnreadableFile"
