"""A comparison of runs says no more than their logs do: broken runs never win, and either order says the same."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_cli import run
from test_compare_runs import write_run

from energydiag.pipeline import compare_runs
from energydiag.reports import reports
from energydiag.reports.report import Look
from energydiag.results import Comparison
from energydiag.results.changes import Change

MIRRORED: Mapping[Change, Change] = {"improved": "regressed", "regressed": "improved"}

Columns = Mapping[str, Sequence[float | str]]


def write(path: Path, columns: Columns, config: Mapping[str, Any] | None = None) -> Path:
    """A log with these columns, in a folder of its own."""
    path.mkdir(parents=True)
    with (path / "log.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    if config is not None:
        (path / "config.json").write_text(json.dumps(config))
    return path


def falling(start: float, end: float, points: int = 100, noise: float = 0.01, seed: int = 0) -> list[float]:
    dice = np.random.default_rng(seed)
    place = np.linspace(0, 1, points)
    values = end + (start - end) * np.exp(-6 * place) + noise * dice.standard_normal(points)
    return [float(value) for value in values]


def both_ways(one: Path, other: Path, **options: Any) -> tuple[Comparison, Comparison]:
    """A against B, and B against A, after a look at whether these say the same."""
    there, back = compare_runs([one, other], **options), compare_runs([other, one], **options)
    assert back.verdict == MIRRORED.get(there.verdict, there.verdict)
    ours, theirs = ({(m.name, m.at): (m.verdict, m.p, m.matters) for m in found.metrics} for found in (there, back))
    assert ours.keys() == theirs.keys()
    for key, (verdict, p, matters) in ours.items():
        assert theirs[key][0] == MIRRORED.get(verdict, verdict), key
        assert theirs[key][1:] == pytest.approx((p, matters)), key
    return there, back


def first_lines(compared: Comparison) -> str:
    text = reports()["text"].render(compared, Look(width=400))
    return "\n".join(text.splitlines()[:8])


# --- either order says the same


@st.composite
def logs(draw: st.DrawFn) -> tuple[Columns, Mapping[str, Any]]:
    """A log of any kind that there is: sound or broken, of any objective, by step or by epoch."""
    points = draw(st.sampled_from([5, 40, 60]))
    spacing = draw(st.sampled_from([1, 10]))
    end = draw(st.sampled_from([0.02, 0.5, 0.52, 2.0, 4.1]))
    columns: dict[str, Sequence[float | str]] = {
        draw(st.sampled_from(["step", "epoch"])): [spacing * n for n in range(points)],
        draw(st.sampled_from(["loss", "info_nce", "cd_loss"])): falling(
            draw(st.sampled_from([4.16, 2.77, 0.69])), end, points, seed=draw(st.integers(0, 3))
        ),
    }
    dies = draw(st.sampled_from(["", "NaN", "0.0", "blank"]))
    if dies:
        name = list(columns)[1]
        bad = {"NaN": math.nan, "0.0": 0.0, "blank": ""}[dies]
        columns[name] = [value if n < points // 2 else bad for n, value in enumerate(columns[name])]
        columns["grad_norm"] = [1.0 if n < points // 2 or dies == "blank" else math.nan for n in range(points)]
    for name, last in (("auroc", 0.9), ("val_acc", 0.7), ("energy_negative", 3.0), ("energy_positive", 1.0)):
        if draw(st.booleans()):
            columns[name] = falling(0.5, last + draw(st.sampled_from([-0.1, 0.0, 0.05])), points)
    config: dict[str, Any] = draw(
        st.fixed_dictionaries(
            {}, optional={"batch_size": st.sampled_from([16, 64]), "tau": st.just(0.5), "head": st.just("linear")}
        )
    )
    return columns, config


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(logs(), logs())
def test_either_order_says_the_same(
    one: tuple[Columns, Mapping[str, Any]], other: tuple[Columns, Mapping[str, Any]]
) -> None:
    losses = [next(name for name in columns if name in ("loss", "info_nce", "cd_loss")) for columns, _ in (one, other)]
    if losses[0] != losses[1]:
        other = ({losses[0] if name == losses[1] else name: v for name, v in other[0].items()}, other[1])
    with TemporaryDirectory() as folder:
        both_ways(write(Path(folder, "one"), *one), write(Path(folder, "other"), *other))


# --- broken runs never win


def sound(folder: Path, **config: Any) -> Path:
    columns = {"step": range(100), "loss": falling(4.16, 1.0), "auroc": falling(0.5, 0.9)}
    return write(folder, columns, {"batch_size": 64, "head": "linear", "tau": 0.5, **config})


BROKEN: Mapping[str, tuple[Columns, str]] = {
    "dead, NaN": ({"loss": [*falling(4.16, 0.5)[:60], *[math.nan] * 40]}, "ED703"),
    "dead, logged as 0": (
        {"loss": [*falling(4.16, 0.5)[:60], *[0.0] * 40], "grad_norm": [*[1.0] * 60, *[math.nan] * 40]},
        "ED703",
    ),
    "ends early": ({"loss": [*falling(4.16, 0.5)[:60], *[""] * 40], "grad_norm": [1.0] * 100}, "no value after 60%"),
    "flat": ({"loss": falling(4.16, 4.16), "auroc": falling(0.5, 0.5)}, "ED701"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_a_broken_run_never_wins(kind: str, tmp_path: Path) -> None:
    columns, told = BROKEN[kind]
    best = {"step": range(100), "auroc": falling(0.5, 0.95), **columns}
    broken = write(tmp_path / "broken", best, {"batch_size": 64, "head": "linear", "tau": 0.5})
    found, _ = both_ways(sound(tmp_path / "sound"), broken)
    assert found.verdict == "regressed"
    assert "broken is broken: " in first_lines(found)
    assert told in first_lines(found)
    assert "improved" not in {m.verdict for m in found.metrics}
    neither, _ = both_ways(broken, write(tmp_path / "another", best, {"batch_size": 64, "seed": 1}))
    assert neither.verdict == "inconclusive"
    assert neither.outcomes[0].reason.count("is broken") == 2


def test_a_loss_that_was_put_in_the_place_of_nan_is_not_used(tmp_path: Path) -> None:
    columns, _ = BROKEN["dead, logged as 0"]
    dead = write(tmp_path / "dead", {"step": range(100), **columns}, {"batch_size": 64})
    found = compare_runs([sound(tmp_path / "sound"), dead])
    assert found.metric("loss") is None
    assert any(one.name == "dead.loss" and "step 59" in one.reason for one in found.skipped)
    share = found.metric("finite_share")
    assert share is not None
    assert share.verdict == "regressed"


def test_an_undetermined_run_can_only_be_worse(tmp_path: Path) -> None:
    few = {"step": range(0, 100, 20), "loss": falling(4.16, 0.3, 5), "auroc": falling(0.5, 0.99, 5, 0.001)}
    short = write(tmp_path / "short", few, {"batch_size": 64, "head": "linear", "tau": 0.5})
    found, _ = both_ways(sound(tmp_path / "sound"), short)
    assert found.verdict == "inconclusive"
    assert "Whether short is sound is not known" in first_lines(found)
    vague = {"step": range(100), "loss": falling(5.3, 3.9)}
    worse, _ = both_ways(
        write(tmp_path / "learned", {"step": range(100), "loss": falling(5.3, 0.5)}), write(tmp_path / "vague", vague)
    )
    assert worse.verdict == "regressed"


def test_a_broken_run_breaks_a_limit_that_its_numbers_keep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, _ = BROKEN["dead, NaN"]
    dead = write(tmp_path / "dead", {"step": range(100), "auroc": falling(0.5, 0.95), **columns}, {"batch_size": 64})
    words = ("compare", "runs", sound(tmp_path / "sound"), dead, "--max-regression")
    assert run(monkeypatch, *words, "auroc=5%") == 1
    assert run(monkeypatch, *words, "loss=5%") == 1


def test_a_baseline_keeps_whether_its_run_was_sound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, _ = BROKEN["dead, NaN"]
    dead, kept = write(tmp_path / "dead", {"step": range(100), **columns}, {"batch_size": 64}), tmp_path / "kept.json"
    assert run(monkeypatch, "compare", "runs", dead, "--save-baseline", kept) == 0
    found = compare_runs([sound(tmp_path / "sound")], baseline=kept)
    assert found.verdict == "improved"
    assert "dead is broken: ED703" in found.outcomes[0].reason
    old = json.loads(kept.read_text())
    del old["side"]["facts"]["state"]
    kept.write_text(json.dumps(old))
    assert any("older version" in note for note in compare_runs([tmp_path / "sound"], baseline=kept).notes)


# --- what cannot be compared


def test_steps_and_epochs_are_not_matched(tmp_path: Path) -> None:
    by_step = write(tmp_path / "by_step", {"step": range(0, 2000, 10), "loss": falling(0.69, 0.4, 200)})
    by_epoch = write(tmp_path / "by_epoch", {"epoch": range(20), "loss": falling(0.69, 0.3, 20)})
    found, _ = both_ways(by_step, by_epoch)
    assert found.verdict == "incomparable"
    assert found.at == "last"
    assert "the log's axis is the step here and the epoch there" in first_lines(found)
    assert both_ways(by_step, by_epoch, at="best")[0].verdict == "incomparable"


@pytest.mark.parametrize(
    ("ours", "theirs", "told"),
    [
        ({"objective": "infonce"}, {"objective": "bce"}, "objective is infonce here and bce there"),
        ({"sampler": "random"}, {"sampler": "hardest"}, "sampling of negatives is sampler=random here"),
        ({"batch_size": 64}, {"batch_size": 16}, "negatives is 63 here and 15 there"),
    ],
)
def test_losses_of_other_objectives_negatives_and_samplers_are_not_compared(
    ours: Mapping[str, Any], theirs: Mapping[str, Any], told: str, tmp_path: Path
) -> None:
    columns = {"step": range(100), "loss": falling(4.16, 1.0)}
    other = {"step": range(100), "loss": falling(4.16 if "batch_size" not in theirs else 2.77, 0.5)}
    found, _ = both_ways(write(tmp_path / "one", columns, ours), write(tmp_path / "other", other, theirs))
    row = found.metric("loss")
    assert row is not None
    assert told in row.reason
    assert found.verdict == "incomparable"


def test_first_losses_that_are_far_apart_tell_other_settings(tmp_path: Path) -> None:
    one = write(tmp_path / "one", {"step": range(100), "loss": falling(5.3, 1.0, noise=0.0)})
    other = write(tmp_path / "other", {"step": range(100), "loss": falling(2.5, 0.5, noise=0.0)})
    found, _ = both_ways(one, other)
    assert found.verdict == "incomparable"
    assert "the losses begin at 5.3 here and 2.5 there" in first_lines(found)
    near = write(tmp_path / "near", {"step": range(100), "loss": falling(5.1, 0.5, noise=0.0)})
    assert both_ways(one, near)[0].verdict == "improved"


# --- what better means


@pytest.mark.parametrize("objective", ["margin", "cd"])
def test_a_loss_without_direction_leaves_it_to_the_rankings(objective: str, tmp_path: Path) -> None:
    def side(name: str, loss: float, ranking: float) -> Path:
        columns = {"step": range(100), "loss": falling(1.2, loss), "val_acc": falling(0.2, ranking)}
        return write(tmp_path / name, columns)

    lower, better = side("lower", 0.2, 0.7), side("better", 0.6, 0.95)
    found, _ = both_ways(lower, better, told=_told(objective))
    assert found.verdict == "improved"
    row = found.metric("loss")
    assert row is not None
    assert row.better == "none"
    assert "has no direction" in row.reason


def test_what_a_bias_does_is_no_improvement(tmp_path: Path) -> None:
    def side(name: str, loss: float) -> Path:
        columns = {"step": range(100), "siglip_loss": falling(10, loss), "val_recall@5": falling(0.1, 0.7)}
        return write(tmp_path / name, columns, {"batch_size": 64})

    above, nearer, below = side("above", 8.0), side("nearer", 6.5), side("below", 1.0)
    assert both_ways(above, nearer)[0].verdict not in ("improved", "regressed", "mixed")
    found, _ = both_ways(above, below)
    row = found.metric("objective_loss")
    assert row is not None
    assert (row.verdict, round(row.values["above"], 2)) == ("improved", 5.15)
    assert "cut at 5.151" in row.reason


def _told(objective: str) -> Any:
    from energydiag.runs import Told

    return Told(objective=objective)


# --- mixed


def mixed(tmp_path: Path) -> tuple[Path, Path]:
    def change(row: dict[str, float]) -> dict[str, float]:
        return {**row, "saturation": 0.3}

    old = write_run(tmp_path / "old", 1, change=lambda row: {**row, "saturation": 0.01})
    return old, write_run(tmp_path / "new", 2, auroc=0.98, loss=0.6, change=change)


def test_some_better_and_some_worse_is_mixed(tmp_path: Path) -> None:
    found, back = both_ways(*mixed(tmp_path))
    assert found.verdict == back.verdict == "mixed"
    for name, report in reports().items():
        text = report.render(found, Look(width=200, details=True))
        assert "mixed" in text.lower() or name == "sarif", name
        assert "saturation" in text
    assert "MIXED: better in loss, auroc; worse in saturation (new against old)" in first_lines(found)
    again = Comparison.from_dict(json.loads(found.to_json()))
    assert again.to_json() == found.to_json()


def test_exit_codes_and_the_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, "compare", "runs", *mixed(tmp_path)) == 1
    assert capsys.readouterr().err == ""
    one, other = sound(tmp_path / "one"), write_run(tmp_path / "other", 3, config={"batch_size": 16, "tau": 0.1})
    words = ("compare", "runs", one, other, "--metric", "loss", "--quiet")
    assert run(monkeypatch, *words) == 0
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("not an all-clear: whether other is as good as one is not known (--inconclusive-fails")
    assert run(monkeypatch, *words, "--inconclusive-fails") == 3
    assert capsys.readouterr().err == ""
    same = sound(tmp_path / "same", seed=1)
    assert run(monkeypatch, "compare", "runs", one, same, "--metric", "loss", "--objective", "cd") == 0
    assert "contrastive divergence has no direction" in " ".join(capsys.readouterr().out.split())


# --- energies in so many words


@pytest.mark.parametrize(
    ("names", "sign"),
    [(("energy_positive", "energy_negative"), 1), (("rewards/chosen", "rewards/rejected"), -1)],
)
def test_energies_are_told_in_a_sentence(names: tuple[str, str], sign: int, tmp_path: Path) -> None:
    def side(name: str, positive: float, negative: float) -> Path:
        columns = {
            "step": range(100),
            "loss": falling(0.69, 0.1),
            names[0]: falling(0, sign * positive, noise=0),
            names[1]: falling(0, sign * negative, noise=0),
            "grad_norm": falling(2, 0.5, noise=0),
        }
        return write(tmp_path / name, columns)

    found = compare_runs([side("old", -1, 1), side("new", -2, 3)])
    text = reports()["text"].render(found, Look(width=300))
    assert "old and new: positive energy -0.997 and -1.99, negative energy 0.997 and 2.99, gap 1.99 and 4.98" in text
    assert "gradient norm 0.505 and 0.505." in text
    gap = found.metric("gap")
    assert gap is not None
    assert gap.verdict == "improved"
    norm = found.metric("gradient_norm")
    assert norm is not None
    assert norm.better == "none"
