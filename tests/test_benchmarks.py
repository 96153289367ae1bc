"""The speed benchmark at sizes that show nothing but that it runs, and its arithmetic; no times."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from benchmarks import arithmetic, backward, energies, inspection, picture, run, start_up, training_step
from benchmarks.figure import Row, at_least, at_most, number
from benchmarks.other_modules import OTHERS
from benchmarks.policy import TINY, expanded, hand_factorised, largest_difference, make_case, ours, row_by_row
from benchmarks.side_by_side import Turns, resident_peak, take_turns


@torch.no_grad()
def test_all_ways_give_the_same_energies() -> None:
    case = make_case(TINY)
    table = expanded(case.model, case.hidden, case.actions, case.mask)
    assert largest_difference(ours(case), table) < 1e-5
    assert largest_difference(hand_factorised(case), table) < 1e-5
    looped = row_by_row(case, 16)
    wanted = torch.stack([table[i % 4, (i // 4 + i) % 4] for i in range(16)])
    assert largest_difference(looped, wanted) < 1e-5
    assert len({(i % 4, (i // 4 + i) % 4) for i in range(16)}) == 16
    for make in OTHERS:
        other = make_case(TINY, make)
        wanted = expanded(other.model, other.hidden, other.actions, other.mask)
        assert largest_difference(ours(other), wanted) < 1e-5


@torch.no_grad()
def test_the_arithmetic_is_what_torch_counts() -> None:
    case = make_case(TINY)

    counted = arithmetic.counted_flops
    assert counted(lambda: hand_factorised(case)) == arithmetic.factorised_flops(TINY)
    ours(case)  # how the module can be batched is found out once
    # contexts are done in several pieces, and the candidates' part in each; at this size that is much
    assert counted(lambda: ours(case)) < 1.5 * arithmetic.factorised_flops(TINY)
    naive = counted(lambda: expanded(case.model, case.hidden, case.actions, case.mask))
    assert naive == arithmetic.expanded_flops(TINY)


def test_memory_is_drawn_on_from_few_rows() -> None:
    case = make_case(TINY, samples=40)
    with torch.no_grad():
        told = arithmetic.expanded_bytes(case)
        seen = arithmetic.peak_bytes(lambda: expanded(case.model, case.hidden, case.actions, case.mask))
    assert told == pytest.approx(seen, rel=0.05)


def test_ratios_are_those_within_a_turn() -> None:
    turns = Turns({"ours": (1.0, 10.0, 2.0), "other": (3.0, 40.0, 10.0)})
    assert turns.median("ours") == 2
    assert turns.ratio("other", "ours") == 4
    assert math.isnan(turns.ratio("none", "ours"))
    calls: list[str] = []
    took = take_turns({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2, {"b": 3.0})
    assert calls == ["a", "b"] * 3
    assert len(took.seconds["b"]) == 2


def test_goals_and_numbers() -> None:
    assert at_least(2).met(2)
    assert not at_most(2).met(2.1)
    assert str(at_most(1.5)) == "≤ 1.5"
    assert Row("x", "", 1, 2, math.nan, goal=at_least(1)).verdict == ""
    assert Row("x", "", 1, 2, 0.5, goal=at_least(1)).plain()["verdict"] == "missed"
    assert Row("x", "", 1, math.nan, 2).plain()["other"] is None
    assert [number(v) for v in (None, 12345.6, 0.123456)] == ["—", "12,346", "0.123"]
    assert inspection.exponent((1, 2, 4), (3, 12, 48)) == pytest.approx(2)


@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux tells it")
def test_growth_of_the_process_is_seen() -> None:
    assert 60 << 20 < resident_peak(lambda: torch.ones(16 << 20)) < 200 << 20


@pytest.mark.parametrize("family", [energies, backward, training_step])
def test_a_family_runs(family: object) -> None:
    rows = family.measure(1, small=True)  # type: ignore[attr-defined]
    assert rows
    for row in rows:
        assert math.isfinite(row.ratio), row
        json.dumps(row.plain(), allow_nan=False)


def test_an_inspection_is_measured_and_its_growth_fitted(monkeypatch: pytest.MonkeyPatch) -> None:
    tensors = inspection._memory(TINY, small=True)[0]
    assert 0.1 < tensors.ours < 100
    # the exponents of something that is known
    monkeypatch.setattr(inspection, "_inspection", lambda case: lambda: case.hidden.repeat(len(case.hidden), 1, 1))
    for axis, wanted in (("N", 2), ("S", 1)):
        rows = inspection._growth(axis, (8, 16, 32), 1, TINY, 8)
        assert [row.size for row in rows] == ["8 … 32"] * 2
        assert len(rows[1].points) == 3
        assert rows[1].ratio == pytest.approx(wanted)


def test_start_up_loads_nothing_heavy() -> None:
    for arguments in (["--help"], ["rules"]):
        assert not set(start_up._loaded(arguments)) & set(start_up.HEAVY)


def test_what_was_measured_is_written_drawn_and_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        monkeypatch.setenv(name, "1")  # so that what the run sets is taken back
    row = Row("a, exponent of time in S", "8", 1.0, math.nan, 2.0, goal=at_least(1), points=((1.0, 2.0), (2.0, 4.0)))

    def pretended(_function: object, family: str, repeats: int, _small: bool) -> object:
        if family == "backward":
            raise RuntimeError("on purpose")
        return [row.plain()], {**run.machine(), "cores": repeats}

    monkeypatch.setattr(run, "alone", pretended)
    page, out = tmp_path / "page.md", tmp_path / "results.json"
    page.write_text("before\n<!-- bench -->\nold\n<!-- /bench -->\nafter\n")
    options = ["--repeats", "3", "--out", str(out), "--page", str(page), "--picture", str(tmp_path / "p.png")]
    run.main(["energies", *options])
    with pytest.raises(SystemExit, match="backward"):
        run.main(["backward", "start_up", *options])
    with pytest.raises(SystemExit):
        run.main(["nonsense", *options])
    families = json.loads(out.read_text())["families"]
    assert list(families) == ["energies", "start_up"]
    assert families["energies"]["machine"]["cores"] == 3
    text = page.read_text()
    assert text.startswith("before\n<!-- bench -->\n\n## Energies")
    assert text.endswith("<!-- /bench -->\nafter\n")
    assert "| a, exponent of time in S | 8 | 1 | — | s | 2 | ≥ 1 | met |  |" in text
    assert "old" not in text
    assert (tmp_path / "p.png").stat().st_size > 1000
    assert "met" in capsys.readouterr().out
    assert not picture.draw([], tmp_path / "none.png")
