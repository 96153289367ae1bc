"""Objectives: losses, chances and floors against slow oracles, and which one a log shows."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional

from energydiag.errors import UsageError
from energydiag.losses import contrastive_per_row
from energydiag.objectives import (
    UNKNOWN,
    Clues,
    Setting,
    candidates_of,
    infer,
    infer_of_model,
    infonce_floor,
    objective_named,
    objectives,
)
from energydiag.pipeline.inspecting_run import inspect_run
from energydiag.rules import rules

NAMES = ["bce", "bt", "cd", "dsm", "infonce", "margin", "regression", "siglip", "unrolled"]


def test_every_objective_is_found_and_its_rules_exist() -> None:
    assert list(objectives()) == NAMES
    for one in (*objectives().values(), UNKNOWN):
        assert one.not_asked.keys() | one.milder <= set(rules()) | {"ED404"}
        assert one.improved
    assert objective_named("Bradley-Terry").name == "bt"
    assert objective_named("info_nce").name == objective_named("NT-Xent").name == "infonce"
    with pytest.raises(UsageError, match="use one of: --objective bce, bt, cd"):
        objective_named("magic")


def test_losses_are_torchs_own() -> None:
    generator = torch.Generator().manual_seed(0)
    positive, negative = (torch.randn(5, *n, generator=generator, dtype=torch.float64) for n in ((), (7,)))
    both = torch.cat((positive[:, None], negative), dim=1)
    right = torch.zeros(5, dtype=torch.long)
    oracle = {
        "infonce": functional.cross_entropy(both, right, reduction="none"),
        "bce": functional.binary_cross_entropy_with_logits(
            both, functional.one_hot(right, 8).double(), reduction="none"
        ).mean(dim=1),
        "bt": -functional.logsigmoid(positive[:, None] - negative).mean(dim=1),
        "margin": functional.soft_margin_loss(
            positive[:, None] - negative, torch.ones_like(negative), reduction="none"
        ).mean(dim=1),
    }
    for name, expected in oracle.items():
        loss = objectives()[name].loss
        assert loss is not None
        torch.testing.assert_close(loss(positive, negative), expected)


@pytest.mark.parametrize("contrast", ["bce", "bt", "margin"])
def test_training_has_the_same_losses_and_leaves_masked_negatives_out(contrast: str) -> None:
    generator = torch.Generator().manual_seed(0)
    positive, negative = (torch.randn(5, *n, generator=generator, requires_grad=True) for n in ((), (7,)))
    kept = torch.ones(5, 7, dtype=torch.bool)
    loss = objectives()[contrast].loss
    assert loss is not None
    every = contrastive_per_row(positive, negative, kept, 0.1, contrast)  # type: ignore[arg-type]
    torch.testing.assert_close(every, loss(-positive, -negative))
    kept[:, 3:] = False
    kept[4] = False
    some = contrastive_per_row(positive, negative, kept, 0.1, contrast)  # type: ignore[arg-type]
    some.sum().backward()
    assert negative.grad is not None
    assert bool((negative.grad[:, 3:] == 0).all())
    assert bool(torch.isfinite(negative.grad).all() and torch.isfinite(positive.grad).all())  # type: ignore[arg-type]
    assert float(some[4]) == 0


@pytest.mark.parametrize(("name", "value"), [("infonce", math.log(64)), ("bt", math.log(2)), ("dsm", 1.0)])
def test_chance_is_the_loss_of_equal_scores(name: str, value: float) -> None:
    (chance, *_) = objectives()[name].chances(Setting(negatives=63, batch_size=64))
    assert chance.value == pytest.approx(value)
    loss = objectives()[name].loss
    if loss is not None:
        assert float(loss(torch.zeros(1), torch.zeros(1, 63))) == pytest.approx(value)


def test_chance_of_bce_and_siglip_is_that_of_the_best_bias() -> None:
    biases = np.linspace(-8, 2, 20001)
    soft = np.logaddexp(0, -biases), np.logaddexp(0, biases)
    (bce, *_) = objectives()["bce"].chances(Setting(negatives=15))
    assert bce.value == pytest.approx(float(((soft[0] + 15 * soft[1]) / 16).min()), rel=1e-6)
    (siglip,) = objectives()["siglip"].chances(Setting(batch_size=64))
    assert siglip.value == pytest.approx(float((soft[0] + 63 * soft[1]).min()), rel=1e-6)
    assert siglip.value == pytest.approx(math.log(64) + 63 * math.log(64 / 63))


@given(st.integers(1, 5000), st.floats(0.01, 40.0))
def test_floors_lie_between_0_and_chance(negatives: int, reach: float) -> None:
    setting = Setting(negatives, negatives + 1, reach)
    for name in ("infonce", "bce", "bt", "siglip"):
        one = objectives()[name]
        floor, (chance, *_) = one.floor(setting), one.chances(setting)
        assert floor is not None
        assert -1e-9 <= floor <= (chance.value if name != "bce" else math.log(2)) + 1e-9
    assert infonce_floor(negatives, reach, cosine=True) >= infonce_floor(negatives, reach) - 1e-12
    assert infonce_floor(negatives, math.inf) == 0.0


def test_floor_of_siglip_by_free_unit_vectors() -> None:
    """No eight pairs of unit vectors with a scale of 4 get below the simplex bound, and free ones reach it."""
    generator = torch.Generator().manual_seed(0)
    left, right = (torch.randn(8, 16, generator=generator, requires_grad=True) for _ in range(2))
    bias = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.Adam([left, right, bias], lr=0.05)
    sign = 2 * torch.eye(8) - 1
    for _ in range(1500):
        cosine = functional.normalize(left, dim=1) @ functional.normalize(right, dim=1).T
        loss = -functional.logsigmoid(sign * (4 * cosine + bias)).sum() / 8
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    floor = objectives()["siglip"].floor(Setting(batch_size=8, reach=8.0))
    assert float(loss) == pytest.approx(floor, rel=2e-3)


@pytest.mark.parametrize(
    ("clues", "name", "how"),
    [
        (Clues({"info_nce": "train/nce_loss"}, first=5.0, lowest=0.3), "infonce", "`train/nce_loss` was logged"),
        (Clues({"loss": "loss"}, first=4.17, lowest=0.3, setting=Setting(63, 64)), "infonce", "about log 64"),
        (Clues({"loss": "loss"}, first=3.47, setting=Setting(63, 64), lowest=0.1), "infonce", "1/2 of the batch"),
        (Clues({"loss": "loss"}, first=4.155, lowest=0.3), "infonce", "about log 64"),
        (Clues({"loss": "loss", "top1": "acc"}, first=2.485, top1=0.08, lowest=0.1), "infonce", "about log 12"),
        (Clues({"loss": "loss"}, ("logit_bias",), first=10.0, lowest=1.0), "", "no column"),
        (Clues({"loss": "loss", "logit_bias": "b"}, first=10.0, lowest=1.0), "siglip", "`b` was logged"),
        (Clues({"loss": "loss", "energy_positive": "pos_out"}, first=0.0, lowest=-9.0), "cd", "`pos_out` was logged"),
        (Clues({"loss": "loss"}, ("mean_dist",), first=1.1, lowest=0.5), "margin", "`mean_dist` was logged"),
        (Clues({"loss": "loss"}, first=1.1, last=0.2, lowest=0.2, constant_end=True), "margin", "a usual margin"),
        (Clues({"gap": "rewards/margins", "loss": "loss"}, first=0.69, lowest=0.1), "bt", "rewards/margins"),
        (Clues({"final_loss": "final_step_loss"}, first=3.0, lowest=0.1), "unrolled", "`final_step_loss`"),
        (Clues({"loss": "loss"}, ("dsm_sigma_1",), first=1.0, lowest=0.4), "dsm", "`dsm_sigma_1`"),
        (Clues({"loss": "val_mse"}, first=3.0, lowest=0.1), "regression", "`val_mse`"),
        (Clues({"loss": "loss"}, first=0.7, lowest=0.1, softmax="a temperature is known"), "infonce", "temperature"),
        (Clues({"loss": "loss"}, first=3.0, lowest=0.1), "", "no column and no first value"),
    ],
)
def test_an_objective_is_inferred_and_said(clues: Clues, name: str, how: str) -> None:
    found = infer(None, {}, clues)
    assert (found.objective.name, how in found.how) == (name, True), found.how


def test_two_that_fit_stay_open_and_share_what_they_share() -> None:
    found = infer(None, {}, Clues({"loss": "loss"}, first=0.69, lowest=0.1))
    assert found.fitting == ("bce", "bt", "margin")
    assert not found.is_known
    assert [chance.value for chance in found.objective.chances(Setting())] == [pytest.approx(math.log(2))]
    assert "ED204" in found.objective.not_asked


def test_what_is_stated_comes_before_settings_and_these_before_what_is_seen() -> None:
    clues = Clues({"info_nce": "nce"}, first=4.0)
    assert infer("triplet", {"objective": "bce"}, clues).objective.name == "margin"
    assert infer(None, {"loss_type": "sigmoid_loss"}, clues).objective.name == "siglip"
    assert infer(None, {"loss": "0.3"}, clues).objective.name == "infonce"


def test_a_checkpoint_tells_by_its_parameters() -> None:
    def told(*parameters: str, built_in: bool = False, has_temperature: bool = False) -> str:
        return infer_of_model(None, {}, parameters, built_in=built_in, has_temperature=has_temperature).objective.name

    assert told("head.logit_scale", "head.logit_bias") == "siglip"
    assert told("logit_scale") == told(built_in=True) == told(has_temperature=True) == "infonce"
    assert told("net.step_size") == "unrolled"
    assert told("net.weight") == ""


def test_candidates_are_a_power_of_two_where_one_is_near() -> None:
    assert candidates_of(4.15) == 64  # log 63 is as near
    assert candidates_of(math.log(12)) == 12


# logs


def logged(path: Path, **columns: object) -> Path:
    values = {name: np.broadcast_to(np.asarray(column, dtype=float), 100) for name, column in columns.items()}
    lines = [",".join(["step", *values])]
    lines += [",".join([str(10 * i), *(f"{column[i]:.6g}" for column in values.values())]) for i in range(100)]
    path.write_text("\n".join(lines))
    return path


T = np.linspace(0, 1, 100)
NOISE = np.random.default_rng(0).normal(0, 0.01, 100)
FALLING = 4 * np.exp(-5 * T) + 0.1 + NOISE


@pytest.mark.parametrize(
    ("columns", "first"),
    [
        ({"loss": 4.5 + NOISE}, "ED721"),  # flat, and no batch size is known
        ({"loss": 0.0, "grad_norm": 0.0}, "ED721"),
        ({"loss": 0.37, "lr": 1e-3}, "ED721"),
        ({"train/nce_loss": 4.159 + NOISE}, "ED701"),
        ({"loss": np.where(T < 0.1, 1.2 - 7 * T, 0.5), "mean_dist": T + 1}, "ED701"),
        ({"info_nce": FALLING - 0.5}, "ED722"),
        ({"loss": FALLING, "accuracy": 0.2 + T}, "ED722"),
        ({"loss": 5.16 + 5 * np.exp(-30 * T) + NOISE, "logit_bias": -8 - T, "val/R@5": 0.02}, "ED723"),
        ({"loss": FALLING, "val_auroc": 0.5 + NOISE}, "ED723"),
        ({"mse": 4 + 40 * np.exp(-9 * T), "r2": NOISE / 10 - 3 * np.exp(-9 * T)}, "ED723"),
        ({"nce_loss": 4.85 - 0.95 * (1 - np.exp(-20 * T)), "top1": np.minimum(0.9, 10 * T)}, "ED724"),
        ({"loss": -np.exp(20 * T), "pos_out": -np.exp(20 * T), "neg_out": 2 * np.exp(20 * T)}, "ED725"),
    ],
)
def test_a_broken_log_is_named(tmp_path: Path, columns: dict[str, object], first: str) -> None:
    found = inspect_run(logged(tmp_path / "log.csv", **columns))
    assert found.findings[0].code == first


@pytest.mark.parametrize(
    "columns",
    [
        {"loss": FALLING},
        {"loss": 0.69 * np.exp(-4 * T) + 0.01, "eval_accuracy": 0.5 + 0.49 * T},
        {"loss": 10 * np.exp(-6 * T) + 1, "logit_bias": -10 - T, "val/R@5": 0.05 + 0.7 * T},
        {"iter_loss": FALLING, "train_loss": FALLING, "Acc@1": 80 * T},
        {"loss": 0.4 + 0.4 * T, "mean_dist": 1 + 20 * T, "val_mAP": 0.6 + 0.15 * T},
        {"loss": 0.02 * np.sin(40 * T), "pos_out": 0.1 + NOISE, "neg_out": 0.12 - NOISE},
        {"initial_loss": 3 + NOISE, "final_step_loss": 3 * np.exp(-5 * T) + 0.2},
        {"top1": 0.9 * T, "grad_norm": 1.0 + NOISE},
        {"train_nll": 23 - 36 * (1 - np.exp(-5 * T)) + NOISE},
        {"losses/qf_loss": FALLING, "losses/q_values": T},
        {"distance/mse": FALLING},
        {"dsm_loss": 20 - 7 * (1 - np.exp(-4 * T)) + NOISE},  # a sum over 20 dimensions
        {"rewards/chosen": 2 * T, "rewards/rejected": -T, "rewards/accuracies": 0.5 + 0.5 * T},
    ],
)
def test_a_sound_log_of_any_objective_is_healthy(tmp_path: Path, columns: dict[str, object]) -> None:
    found = inspect_run(logged(tmp_path / "log.csv", **columns))
    assert (found.verdict, [finding.code for finding in found.findings]) == ("healthy", [])


@pytest.mark.parametrize(
    ("columns", "missing"),
    [
        ({"loss": 5.2 - 1.6 * (1 - np.exp(-9 * T)) + NOISE}, "no top-1 accuracy"),
        ({"mse": 4 + 40 * np.exp(-30 * T) + NOISE}, "no top-1 accuracy"),
        ({"loss": np.where(T < 0.35, FALLING, np.nan), "lr": 1e-3}, "34% of the logged steps"),
    ],
)
def test_what_a_log_does_not_answer_is_open(tmp_path: Path, columns: dict[str, object], missing: str) -> None:
    path = logged(tmp_path / "log.csv", **columns)
    path.write_text(path.read_text().replace(",nan,", ",,"))
    found = inspect_run(path)
    assert found.verdict == "undetermined"
    assert missing in found.open[0].missing


def test_a_run_that_begins_at_another_chance_and_ends_at_its_own_is_at_chance(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.csv", loss=math.log(128) + math.log(255 / 128) * np.exp(-50 * T) + NOISE)
    assert inspect_run(path, batch_size=128).findings[0].code == "ED701"


def test_one_row_is_never_healthy_and_never_critical(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("step,loss\n100,0.2\n")
    assert inspect_run(path).verdict == "undetermined"


def test_a_log_that_is_the_tail_of_a_run_does_not_begin_at_chance(tmp_path: Path) -> None:
    path = logged(tmp_path / "log.csv", loss=1.9 + NOISE)
    path.write_text("\n".join(["step,loss", *(f"{48000 + i},{1.9 + NOISE[i]:.5f}" for i in range(100))]))
    found = inspect_run(path)
    assert found.verdict == "undetermined"
    assert found.measurement("run.objective.first") is None
    assert any("begins at step 48000" in question.missing for question in found.open)


@pytest.mark.parametrize(("grew", "said"), [(False, "Nothing grew before it"), (True, "something overflowed")])
def test_the_first_nan_is_explained_by_what_was_before_it(tmp_path: Path, grew: bool, said: str) -> None:
    norm = np.where(T > 0.45, 1e3 ** (20 * (T - 0.45)), 1.0) if grew else 1.0 + NOISE
    broken = T > 0.55
    path = logged(
        tmp_path / "log.csv", loss=np.where(broken, np.nan, FALLING), grad_norm=np.where(broken, np.nan, norm)
    )
    (finding, *_) = [one for one in inspect_run(path).findings if one.code == "ED703"]
    assert said in finding.cause
    assert bool(finding.fixes) == grew


def test_a_loss_beside_a_nan_norm_is_none(tmp_path: Path) -> None:
    broken = T > 0.4
    path = logged(tmp_path / "log.csv", loss=np.where(broken, 0.0, FALLING), grad_norm=np.where(broken, np.nan, 1.0))
    found = inspect_run(path)
    assert found.findings[0].code == "ED703"
    assert "0.0 is no loss" in found.findings[0].summary
    assert found.verdict == "critical"


def test_steps_that_are_all_the_same_are_counted(tmp_path: Path) -> None:
    path = tmp_path / "log.csv"
    path.write_text("\n".join(["step,loss", *(f"0,{value:.4f}" for value in FALLING)]))
    found = inspect_run(path)
    assert (found.run.axis, found.run.last_step, found.verdict) == ("row", 99, "healthy")
