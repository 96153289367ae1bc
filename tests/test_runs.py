"""Training logs: whatever stands in a file comes out as it was or is told; statistics against slow or known answers."""

from __future__ import annotations

import csv
import io
import itertools
import json
import math
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from energydiag.discovery import discover
from energydiag.errors import EnergydiagError, UnreadableFile, UsageError
from energydiag.heads import ALL_FORMS, head_form
from energydiag.models.energy_head import activate
from energydiag.objectives import infonce_floor
from energydiag.pipeline import inspect_run
from energydiag.results import Diagnosis, Measurement
from energydiag.runs import NAMES, RunLog, Series, Told, limits_of, measure_run, read_run
from energydiag.runs.names import matched
from energydiag.runs.source import Source
from energydiag.runs.table import Format, Table
from energydiag.runs.trends import change, mean, oscillation, repeats, spikes, tail

ROOT = Path(__file__).resolve().parent.parent
SCRATCH = tempfile.TemporaryDirectory()
FORMATS = discover("energydiag.runs", "FORMAT", Format)

names = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=8).filter(
    lambda name: name == name.strip() and not name.isnumeric()
)
cells = st.none() | st.floats(width=64)
tables = st.lists(names, min_size=1, max_size=4, unique=True).flatmap(
    lambda columns: st.tuples(
        st.just(["step", *(f"x{name}" for name in columns)]),
        st.lists(st.tuples(*[cells] * (len(columns) + 1)), min_size=1, max_size=12),
    )
)


def as_csv(header: list[str], rows: list[tuple[float | None, ...]], delimiter: str = ",") -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, delimiter=delimiter)
    writer.writerow(header)
    writer.writerows([["" if cell is None else repr(cell) for cell in row] for row in rows])
    return text.getvalue().encode()


def as_jsonl(header: list[str], rows: list[tuple[float | None, ...]]) -> bytes:
    lines = ({k: v for k, v in zip(header, row, strict=True) if v is not None} for row in rows)
    return "\n".join(json.dumps(line) for line in lines).encode()


def numbers(table: Table) -> dict[str, list[float]]:
    return {name: column.value.tolist() for name, column in table.columns.items() if len(column.row)}


def expected(header: list[str], rows: list[tuple[float | None, ...]]) -> dict[str, list[float]]:
    columns = {name: [row[i] for row in rows if row[i] is not None] for i, name in enumerate(header)}
    return {name: values for name, values in columns.items() if values}


def parsed(content: bytes, name: str) -> Table:
    path = written(content)
    assert [known.name for known in FORMATS.values() if known.recognises(path, content)] == [name]
    return FORMATS[name].read(path, Source(path))


@settings(deadline=None)
@given(tables, st.sampled_from(",;\t"))
def test_any_table_comes_back_from_csv(table: tuple[list[str], list[tuple[float | None, ...]]], delimiter: str) -> None:
    content = as_csv(*table, delimiter)
    read = parsed(content, "csv")
    np.testing.assert_equal(numbers(read), expected(*table))
    assert not read.wordy
    assert not read.notes


@settings(deadline=None)
@given(tables)
def test_any_table_comes_back_from_jsonl(table: tuple[list[str], list[tuple[float | None, ...]]]) -> None:
    content = as_jsonl(*table)
    read = parsed(content, "jsonl")
    np.testing.assert_equal(numbers(read), expected(*table))
    assert read.rows == len(table[1])


def written(content: bytes | str, name: str = "log") -> Path:
    path = Path(SCRATCH.name) / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def refuse(constant: str) -> float:
    raise AssertionError(f"{constant} is no JSON")


PIECES = ["loss", "step", "e_pos", "gap", "1", "2.5", "-3e307", "nan", "inf", "0", ",", ",", ";", "\n", "\n", '"']
PIECES += [
    "\t",
    '{"loss": 1}\n',
    '{"loss": {"total": 1e999}, "step": 3}\n',
    '{"loss":',
    "[",
    "\r",
    "\0",
    "\ufeff",
    "é",
    " ",
]
GARBAGE = st.binary(max_size=200) | st.lists(st.sampled_from(PIECES), max_size=40).map(lambda x: "".join(x).encode())
ROWS = st.lists(
    st.tuples(*[st.sampled_from(["", "0", "1", "1.5", "nan", "inf", "1e308", "-1e308", "7"])] * 4), max_size=40
)


@settings(deadline=None, max_examples=150)
@given(GARBAGE | ROWS.map(lambda rows: "\n".join(map(",".join, [("step", "loss", "e_pos", "e_neg"), *rows])).encode()))
def test_garbage_is_an_error_that_says_what_to_do_or_a_diagnosis(content: bytes) -> None:
    path = written(content)
    found: Diagnosis | EnergydiagError
    try:
        found = inspect_run(path, batch_size=4, head="original", tau=0.5)
    except EnergydiagError as error:
        found = error
    if isinstance(found, EnergydiagError):
        assert found.next_step
        assert str(path) in found.message
    else:
        json.loads(found.to_json(), parse_constant=refuse)


def series(log: RunLog) -> dict[str, list[tuple[float, float]]]:
    return {name: list(zip(s.step.tolist(), s.value.tolist(), strict=True)) for name, s in log.series.items()}


def test_rows_of_one_step_are_joined_and_columns_keep_their_own_steps() -> None:
    """As Lightning writes them: training and validation in rows of their own."""
    text = "epoch,step,train_loss,val_loss\n0,0,3.0,\n0,10,2.5,\n0,10,,2.7\n1,20,2.0,\n1,20,,2.6\n"
    log = read_run(written(text))
    assert series(log) == {
        "loss": [(0, 3.0), (10, 2.5), (20, 2.0)],
        "validation_loss": [(10, 2.7), (20, 2.6)],
    }
    assert log.names == {"loss": "train_loss", "validation_loss": "val_loss"}
    assert "loss = `train_loss`, validation_loss = `val_loss`" in log.notes[0]


def test_a_resumed_run_counts_its_later_rows() -> None:
    log = read_run(written("step,loss\n0,3\n1,2\n2,9\n1,2.5\n2,1\n"))
    assert series(log) == {"loss": [(0, 3), (1, 2.5), (2, 1)]}
    assert "2 steps logged more than once; the later value was taken." in log.notes


def test_an_export_of_wandb_is_read_without_its_bounds() -> None:
    header = '"Step","fine-1 - train/loss","fine-1 - train/loss__MIN","fine-1 - train/loss__MAX"'
    text = header + '\n"1","2","0","9"\n"2","1","0","9"\n'
    log = read_run(written(text))
    assert series(log) == {"loss": [(1, 2), (2, 1)]}
    assert any("`fine-1 - train/loss__MIN`" in note for note in log.notes)


def test_what_is_not_understood_is_told() -> None:
    text = "step,loss,mood,loss\n0,1,good,9\n1,oops,bad,9\n,3,,9\n2,2,fine,9,9\n3,2"
    log = read_run(written(text))
    assert series(log) == {"loss": [(0, 1)]}
    told = " ".join(log.notes)
    for part in ("`mood`", "`loss`: 1 cell", "2 rows left out, with more or fewer", "twice", "without a step"):
        assert part in told
    assert log.rows == 3


def test_lines_that_are_no_json_are_counted() -> None:
    log = read_run(written('{"step": 0, "train": {"loss": 2}}\n3\n{"loss\n{"step": 1, "train": {"loss": true}}\n'))
    assert series(log) == {"loss": [(0, 2), (1, 1)]}
    assert "2 lines left out, no JSON object." in log.notes


def test_epochs_are_steps_only_where_each_is_one_row() -> None:
    assert series(read_run(written("epoch,loss\n0,3\n1,2\n")))["loss"] == [(0, 3), (1, 2)]
    log = read_run(written("epoch,loss\n0,3\n0,2\n1,1\n"))
    assert series(log)["loss"] == [(0, 3), (1, 2), (2, 1)]
    assert any("rows are counted" in note for note in log.notes)


def test_names_are_told_apart_by_form_and_then_by_alias() -> None:
    found, notes = matched(["Step", "Train/Loss_epoch", "loss/total", "eval/loss", "lr-AdamW", "Positive_Energy"], {})
    assert found == {
        "step": "Step",
        "loss": "loss/total",
        "validation_loss": "eval/loss",
        "learning_rate": "lr-AdamW",
        "energy_positive": "Positive_Energy",
    }
    assert len(notes) == 1
    assert "`Train/Loss_epoch` would fit as well" in notes[0]
    assert matched(["loss", "other"], {"loss": "other"})[0] == {"loss": "other"}
    assert matched(["train_loss_epoch", "train_loss_step"], {})[0] == {"loss": "train_loss_step"}


def test_no_name_means_two_things() -> None:
    every = [alias for aliases in NAMES.values() for alias in aliases]
    assert len(every) == len(set(every))
    for ours, aliases in NAMES.items():
        for alias in aliases:
            assert matched([alias], {})[0] == {ours: alias}


@pytest.mark.parametrize(
    ("content", "given", "message"),
    [
        ("", {}, "is empty"),
        ("step,reward\n0,1\n", {}, "known as the loss"),
        ("step,loss\n", {}, "holds no numbers"),
        ("1,2\n3,4\n", {}, "numbers in its first row"),
        ("\x00\x01\x02", {}, "no known format"),
        ("[1, 2]", {}, "no known format"),
        ("{\n", {}, "no line that is a JSON object"),
        ("step,loss\n0,1\n", {"los": "loss"}, "none of our names"),
        ("step,loss\n0,1\n", {"gap": "gapp"}, "no column 'gapp'"),
        ("step,loss\n,1\n0,\n", {}, "both a loss and a step"),
    ],
)
def test_a_log_that_cannot_be_used_is_told(content: str, given: dict[str, str], message: str) -> None:
    with pytest.raises(EnergydiagError, match=message):
        read_run(written(content), given)


def test_a_folder_is_asked_for_its_log(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match="no CSV or JSONL file"):
        read_run(tmp_path)
    with pytest.raises(UnreadableFile, match="No training log"):
        read_run(tmp_path / "nowhere")
    (tmp_path / "history.csv").write_text("step,loss\n0,1\n")
    assert read_run(tmp_path).path.endswith("history.csv")
    (tmp_path / "other.jsonl").write_text('{"loss": 1}')
    with pytest.raises(UnreadableFile, match=r"2 logs: history\.csv, other\.jsonl"):
        read_run(tmp_path)
    (tmp_path / "metrics.csv").write_text("step,loss\n0,2\n")
    (tmp_path / "config.json").write_text('{"model": {"head": "linear"}, "tau": 0.3, "sources": []}')
    log = read_run(tmp_path)
    assert log.path.endswith("metrics.csv")
    assert log.config == {"model.head": "linear", "tau": "0.3", "sources": "[]"}
    (tmp_path / "config.json").write_text("{")
    assert any("config.json was not read" in note for note in read_run(tmp_path).notes)


def test_reading_and_measuring_load_no_torch() -> None:
    code = (
        "import sys; from energydiag.runs import *\n"
        "log = read_run('sample_checkpoints/runs/original'); measure_run(log, limits_of(log, Told()))\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=ROOT)


# limits


def log_of(config: dict[str, str] | None = None, **columns: list[float]) -> RunLog:
    n = len(next(iter(columns.values())))
    step = np.arange(n, dtype=np.float64)
    made = {name: Series(step, np.array(values, dtype=np.float64)) for name, values in columns.items()}
    return RunLog(made, {name: name for name in made}, config or {}, "log", "csv", "", n)


def test_the_ranges_are_those_of_the_heads() -> None:
    ends = torch.tensor([-1e4, 1e4], dtype=torch.float64)
    for form in ALL_FORMS:
        low, high = activate(form.activation, ends).tolist()
        reach = form.activation.energy_range
        assert high - low == pytest.approx(reach) if reach is not None else high - low > 1e3


@pytest.mark.parametrize("head", [form.name for form in ALL_FORMS])
def test_limits_are_those_of_the_losses(head: str) -> None:
    log = log_of({"batch_size": "64", "head": head, "tau": "0.3"}, loss=[1.0])
    limits, reach = limits_of(log, Told()), head_form(head).activation.energy_range
    assert limits.chance is not None
    assert limits.chance.value == pytest.approx(math.log(64))
    assert limits.floor == pytest.approx(infonce_floor(63, (reach or math.inf) / 0.3))
    assert not limits.unknown


@pytest.mark.parametrize(
    ("config", "told", "negatives"),
    [
        ({"batch_size": "64"}, Told(batch_size=8), 7),
        ({"batch_size": "64", "sources": "[]", "descent": "null", "swap": "true"}, Told(), 63),
        ({"batch_size": "64", "sources": '["noise"]'}, Told(), None),
        ({"batch_size": "64", "sources": '["noise"]'}, Told(batch_size=64), None),
        ({"batch_size": "64", "sources": '["noise"]'}, Told(negatives=66), 66),
        ({"batch_size": "64", "swap": "false"}, Told(), None),
        ({"batch_size": "64", "contrast": "decoupled"}, Told(), None),
        ({"batch_size": "many"}, Told(), None),
        ({}, Told(), None),
    ],
)
def test_negatives_are_known_or_the_reason_is_told(config: dict[str, str], told: Told, negatives: int | None) -> None:
    limits = limits_of(log_of(config, loss=[1.0]), replace(told, objective="infonce"))
    assert limits.negatives == negatives
    assert (limits.chance is None) == (negatives is None)
    assert any("Chance and floor" in text for text in limits.unknown) == (negatives is None)


def test_the_head_is_the_last_one_made_and_the_logged_temperature_counts() -> None:
    config = {"head": "original", "surgery": '["head=rescaled", "fresh-weights", "head=linear"]', "tau": "0.5"}
    limits = limits_of(log_of(config, loss=[1.0] * 40, tau=[0.5] * 20 + [0.1] * 20), Told(negatives=3))
    assert (limits.head, limits.tau, limits.floor) == ("linear", pytest.approx(0.1), 0.0)
    assert limits_of(log_of(config, loss=[1.0], tau=[0.5]), Told(tau=0.2)).tau == 0.2


@pytest.mark.parametrize("told", [Told(batch_size=0), Told(negatives=0), Told(tau=0.0), Told(head="cubic")])
def test_what_cannot_be_is_refused(told: Told) -> None:
    with pytest.raises(UsageError):
        limits_of(log_of(loss=[1.0]), told)


# statistics


def noise(n: int, seed: int = 0, scale: float = 1.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, scale, n)


def points(values: np.ndarray) -> Series:
    return Series(np.arange(len(values), dtype=np.float64), values)


@given(st.integers(1, 500))
def test_the_tail_is_a_tenth_but_ten_at_least_and_half_at_most(n: int) -> None:
    count = len(tail(points(np.zeros(n))))
    assert 1 <= count <= max(1, n // 2)
    assert count == max(1, n // 2) or count >= max(10, n / 10)


@pytest.mark.parametrize(("memory", "least"), [(0.0, 0.9), (0.5, 0.8)])
@pytest.mark.parametrize("n", [12, 100])
def test_intervals_of_means_cover_about_as_often_as_they_say(n: int, memory: float, least: float) -> None:
    covered = 0
    for seed in range(300):
        steps = noise(n + 50, seed)
        values = np.zeros(n + 50)
        for i in range(1, n + 50):
            values[i] = memory * values[i - 1] + steps[i]
        low, high = mean(values[50:]).ci95 or (0, 0)
        covered += low <= 0 <= high
    assert covered / 300 >= least - (0.15 if n == 12 and memory else 0.02)


@pytest.mark.parametrize("seed", range(5))
def test_trends_are_theil_and_sens(seed: int) -> None:
    values = 0.03 * np.arange(40) + noise(40, seed)
    found = change(points(values))
    slope, _, low, high = scipy.stats.theilslopes(values, np.arange(40))
    assert found is not None
    assert found.ci95 is not None
    assert found.value == pytest.approx(39 * slope)
    assert found.ci95[0] <= 39 * low
    assert found.ci95[1] >= 39 * high
    assert found.ci95[1] - found.ci95[0] < 2 * 39 * (high - low)  # wider only where neighbours resemble each other


def test_a_trend_survives_spikes_and_many_points() -> None:
    values = np.linspace(3, 2, 5000) + noise(5000, scale=0.05)
    values[::97] += 50
    found = change(points(values))
    assert found is not None
    assert found.value == pytest.approx(-1, abs=0.05)
    assert change(points(np.zeros(7))) is None


def test_trends_of_noise_are_seldom_told() -> None:
    away = 0
    for seed in range(300):
        low, high = change(points(noise(30, seed))).ci95  # type: ignore[union-attr, misc]
        away += not low <= 0 <= high
    assert away / 300 <= 0.07


def test_noise_does_not_oscillate_and_waves_do() -> None:
    alarms = 0
    for seed in range(1000):
        share, limit, *_ = oscillation(noise(61, seed)) or (1, 0)
        alarms += share > limit
    assert alarms <= 5
    time = np.arange(80)
    walk = np.zeros((200, 80))
    for i in range(1, 80):
        walk[:, i] = 0.8 * walk[:, i - 1] + np.random.default_rng(i).normal(0, 1, 200)
    assert sum((found := oscillation(row)) is not None and found[0] > found[1] for row in walk) <= 4
    for period in (2, 5, 8, 16):
        wave = 0.3 * np.cos(2 * np.pi * time / period) + 0.01 * time + noise(80, scale=0.1)
        share, limit, found, amplitude = oscillation(wave) or (0, 1, 0, 0)
        assert share > limit
        assert found == pytest.approx(period, rel=0.05)
        assert amplitude == pytest.approx(0.3, rel=0.2) or period == 2  # between two bins there, and smeared
    assert oscillation(noise(14)) is None
    assert (oscillation(np.full(40, 4.15888)) or (1,))[0] == 0


def test_spikes_are_what_stands_out() -> None:
    values = 1.2 + noise(200, scale=0.05)
    assert spikes(values) == (0, 0.0)
    values[[50, 120]] = 2.4, 3.6
    count, height = spikes(values)
    assert count == 2
    assert height == pytest.approx(2.0, rel=0.1)
    assert spikes(np.exp(-np.arange(100) / 5)) == (0, 0.0)  # falling is no spike


def test_repeats_are_counted_by_a_slow_oracle() -> None:
    generator = np.random.default_rng(0)
    for values in (generator.integers(0, 3, 60).astype(float), np.tile([3.0, 1.0, 2.0], 20), np.full(30, 4.2)):
        seen: set[tuple[float, ...]] = set()
        again = 0
        for i in range(len(values) - 3):
            window = tuple(values[i : i + 4].tolist())
            if all(a != b for a, b in itertools.pairwise(window)):
                again += window in seen
                seen.add(window)
        assert repeats(values) == pytest.approx(again / (len(values) - 3))
    assert repeats(np.tile([3.0, 1.0, 2.0], 20)) > 0.9


# measurements


def measured(log: RunLog, told: Told | None = None) -> dict[str, Measurement]:
    return {m.name: m for m in measure_run(log, limits_of(log, told or Told())).measurements}


def test_losses_by_hand() -> None:
    loss = [4.0] * 10 + [3.0] * 10 + [2.0] * 10 + [1.0] * 10
    found = measured(log_of(loss=loss), Told(negatives=3, head="original", tau=0.5))
    assert found["run.loss.first"].value == found["run.objective.first"].value == 4
    assert found["run.loss.last"].value == found["run.loss.best"].value == 1
    assert found["run.loss.fall"].value == pytest.approx(0.75)
    assert found["run.points"].value == 40
    assert found["run.steps"].value == 39
    assert found["run.loss.early_rise"].value == 0
    assert measured(log_of(loss=[2.0, 5.0, *[1.0] * 38]))["run.loss.early_rise"].value == pytest.approx(1.5)
    chance, floor = math.log(4), math.log1p(3 * math.exp(-2))
    assert found["run.chance_gap"].value == pytest.approx((chance - 1) / chance)
    assert found["run.floor_gap"].value == pytest.approx((1 - floor) / (chance - floor))


def test_a_loss_below_the_floor_is_told() -> None:
    log = log_of(loss=[0.1] * 40)
    answer = measure_run(log, limits_of(log, Told(negatives=63, head="original", tau=0.5)))
    reasons = {s.name: s.reason for s in answer.skipped}
    assert "below the floor of 2.25 for InfoNCE" in reasons["run.floor_gap"]


def test_non_finite_values_are_counted_where_they_matter() -> None:
    nan = math.nan
    found = measured(log_of(loss=[3.0, 2.0, nan, 2.0, nan, math.inf], gap=[nan] * 6))
    assert found["run.nonfinite"].value == 3
    assert found["run.nonfinite.at_end"].value == 2
    assert found["run.last_finite_step"].value == 1
    assert found["run.points"].value == 3
    assert "run.gap.last" not in found
    assert "run.last_finite_step" not in measured(log_of(loss=[nan, 1.0]))


def test_energies_by_hand() -> None:
    half = np.linspace(0, 4, 20).tolist()
    low, high = [-1.0] * 20 + [x - 1 for x in half], [1.0] * 20 + [x + 1 for x in half]
    found = measured(log_of(loss=[1.0] * 40, energy_positive=low, energy_negative=high, gap=[-2.0] * 40))
    assert found["run.gap.last"].value == 2  # from the energies, whatever the logged gap's sign
    assert found["run.gap.trend"].value == pytest.approx(0)
    assert found["run.energy_drift"].value == pytest.approx(2)
    assert found["run.energy_scale_growth"].value > 1.5
    assert measured(log_of(loss=[1.0] * 40, gap=[-2.0] * 40))["run.gap.last"].value == -2


def test_the_optimiser_by_hand() -> None:
    norm = [1.0] * 30 + [50.0] * 10
    log = log_of(
        {"clip_norm": "0.5"},
        **{"loss": [1.0] * 40, "gradient_norm": norm, "learning_rate": [1e-4, *[1e-3] * 39]},
        **{"update_ratio": [1e-3] * 39 + [1.0], "weight_norm": [2.0] * 39 + [2.5]},
    )
    found = measured(log)
    assert found["run.gradient.norm.last"].value == found["run.gradient.norm.max"].value == 50
    assert found["run.gradient.norm.median"].value == 1
    assert found["run.gradient.growth"].value == found["run.gradient.growth_from_start"].value == 50
    assert found["run.gradient.rises"].value == 1
    assert found["run.clipping_share"].value == 1
    assert found["run.clipping_factor"].value == 2
    assert found["run.update_ratio.median"].value == found["run.update_ratio.first"].value == 1e-3
    assert found["run.weight_norm.change"].value == pytest.approx(0.25)
    assert found["run.weight_norm.last"].value == pytest.approx(1.25)
    assert found["run.learning_rate.warmup"].value == pytest.approx(0.1)
    assert found["run.learning_rate.peak_at"].value == pytest.approx(1 / 39)


def test_the_logged_limit_counts_and_an_infinite_one_clips_nothing() -> None:
    columns = {"loss": [1.0] * 4, "gradient_norm": [1.0, 3.0, 3.0, 1.0]}
    found = measured(log_of(**columns, clip_norm=[2.0] * 4))
    assert found["run.clipping_share"].value == 0.5
    assert "run.clipping_share" not in measured(log_of(**columns, clip_norm=[math.inf] * 4))
    assert measured(log_of(loss=[1.0] * 4, clipped=[1.0, 0, 0, 0]))["run.clipping_share"].value == 0.25


def test_validation_by_hand() -> None:
    held_out = [4.0, 3.0, 2.0, 2.0, 2.0, *np.linspace(2, 3, 20)]
    log = log_of(loss=np.linspace(4, 0.5, 25).tolist(), validation_loss=held_out)
    found = measured(log, Told(negatives=63))
    assert found["run.validation_rise"].value == pytest.approx(0.5, rel=0.2)
    assert found["run.validation_gap"].value > 1
    assert (
        measured(log_of(loss=[1.0] * 20, validation_loss=np.linspace(4, 2, 20).tolist()))["run.validation_rise"].value
        == 0
    )


def test_gradients_that_rise_are_counted_and_zeros_are_not() -> None:
    columns = {"loss": [1.0] * 6, "weight_norm": [4.0, 6.0, 2.0, 1.0, 1.0, 1.0]}
    found = measured(log_of(**columns, gradient_norm=[2.0, 3.0, 3.0, 1.0, 4.0, 4.0]))
    assert found["run.gradient.rises"].value == pytest.approx(4 / 5)  # as long as before counts
    assert found["run.gradient.growth_from_start"].value == 2
    assert found["run.weight_norm.last"].value == 0.25
    dead = measured(log_of(**columns, gradient_norm=[2.0, 1.0, 0.0, 0.0, 0.0, 0.0]))
    assert "run.gradient.rises" not in dead
    assert "run.gradient.growth_from_start" not in dead
