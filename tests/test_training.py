"""The design's constants, branch by branch; the loop's promises: seeded, stopped, restored, early."""

from __future__ import annotations

import csv
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from parts import make_batch, make_head
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag.batch import Batch
from energydiag.errors import UsageError
from energydiag.models.energy_function import EnergyFunction
from energydiag.plan import Descent, TrainingPlan
from energydiag.training import loop
from energydiag.training.log import COLUMNS, LogRow
from energydiag.training.loop import TrainingOutcome, train
from energydiag.training.objective import step_loss
from energydiag.training.randomness import members
from energydiag.training.schedule import pace
from energydiag.training.state import digest
from energydiag.training.temperature import adaptive_temperature, choose, clamp_log_tau, new_log_tau
from energydiag.training.validation import Look, look, swap_ranks

SHORT = TrainingPlan(steps=12, batch_size=6, log_every=4, validate_every=4, tau=0.5)


def run(plan: TrainingPlan, module: nn.Module | None = None, **options: object) -> tuple[nn.Module, TrainingOutcome]:
    module = make_head("linear") if module is None else module
    return module, train(EnergyFunction(module, "test"), make_batch(20), plan, **options)  # type: ignore[arg-type]


# The progressive schedule


@pytest.mark.parametrize(
    ("step", "factor", "clip"),
    [
        *((0, 0.1, 0.3), (4_999, 0.1, 0.3), (5_000, 0.1, 0.5), (10_000, 0.3, 0.5)),
        *((14_999, 0.49996, 0.5), (15_000, 0.5, 0.5), (39_999, 0.5, 0.5)),
    ],
)
@pytest.mark.parametrize("steps", [20_000, 40_000])
def test_the_progressive_schedule_has_the_designs_phases(steps: int, step: int, factor: float, clip: float) -> None:
    plan = TrainingPlan(steps=steps, schedule="progressive", learning_rate=2.0)
    assert pace(plan, step) == (pytest.approx(2 * factor), clip)


@pytest.mark.parametrize(
    ("step", "factor", "clip"),
    [(0, 0.1, 0.3), (249, 0.1, 0.3), (250, 0.1, 0.5), (500, 0.3, 0.5), (750, 0.5, 0.5), (999, 0.5, 0.5)],
)
def test_a_short_run_has_the_phases_at_a_quarter_and_three_quarters(step: int, factor: float, clip: float) -> None:
    plan = TrainingPlan(steps=1_000, schedule="progressive", learning_rate=1.0)
    assert pace(plan, step) == (pytest.approx(factor), clip)


def test_the_other_schedules_keep_the_plans_clipping() -> None:
    plan = TrainingPlan(steps=100, learning_rate=0.2, clip_norm=None)
    assert pace(plan, 99) == (0.2, None)
    cosine = replace(plan, schedule="cosine", clip_norm=0.7)
    assert [pace(cosine, s) for s in (0, 50)] == [(0.2, 0.7), (pytest.approx(0.1), 0.7)]


# The temperature


def table(gap: float) -> Tensor:
    return 3 + gap * (1 - torch.eye(4, dtype=torch.float64))


@pytest.mark.parametrize(
    ("gap", "base", "tau", "branch"),
    [
        *((0.05, 0.5, 0.25, "sharpened"), (0.5, 0.5, 0.5, "kept"), (1.5, 0.5, 1.0, "softened")),
        *((-0.05, 0.5, 0.25, "sharpened"), (-0.5, 0.5, 0.5, "kept"), (-1.5, 0.5, 1.0, "softened")),
        *((0.05, 0.15, 0.1, "sharpened"), (1.5, 1.5, 2.0, "softened")),
    ],
)
def test_the_adaptive_temperature(gap: float, base: float, tau: float, branch: str) -> None:
    choice = adaptive_temperature(table(gap), base)
    assert (choice.base, choice.tau, choice.branch) == (base, tau, branch)
    assert choice.gap == pytest.approx(gap)
    assert ("inverted" in choice.reason) == (gap < 0)
    assert ("clamped" in choice.reason) == (tau in (0.1, 2.0))


def test_the_borders_of_the_gap_keep_the_base_and_the_base_is_one_half() -> None:
    for gap in (0.125, 1.0):
        swap = torch.tensor([[0.0, gap], [gap, 0.0]])
        assert adaptive_temperature(swap) == replace(adaptive_temperature(swap, 0.5), branch="kept", tau=0.5)


def test_no_gap_and_no_number_keep_the_base_and_say_so() -> None:
    alone = adaptive_temperature(torch.ones(1, 1), 0.5)
    assert (alone.tau, alone.branch, math.isnan(alone.gap)) == (0.5, "no negatives", True)
    broken = adaptive_temperature(table(math.nan), 0.5)
    assert (broken.tau, broken.branch) == (0.5, "not finite")
    assert "nan" in broken.reason


def test_a_learnt_temperature_is_clamped_and_learns() -> None:
    plan = TrainingPlan(temperature="learnable", tau=1e3)
    log_tau = new_log_tau(plan, torch.device("cpu"))
    assert log_tau is not None
    assert choose(plan, table(1), log_tau).tau == pytest.approx(10)
    log_tau.data.fill_(-99)
    clamp_log_tau(log_tau)
    assert choose(plan, table(1), log_tau).tau == pytest.approx(0.01)
    _, outcome = run(replace(SHORT, temperature="learnable", learning_rate=1e-2))
    assert outcome.tau != pytest.approx(0.5, abs=1e-3)
    assert {row.base_tau for row in outcome.rows} == {0.5}


def test_switches_of_the_adaptive_temperature_are_told() -> None:
    _, outcome = run(replace(SHORT, temperature="adaptive", steps=40, learning_rate=1e-2, log_every=1))
    taus = [row.tau for row in outcome.rows]
    assert len(set(taus)) > 1
    assert set(taus) <= {0.25, 0.5, 1.0}
    told = {event.step for event in outcome.events}
    assert {s for s in range(1, 40) if taus[s] != taus[s - 1]} <= told
    assert all(row.base_tau == 0.5 for row in outcome.rows)


# The loop


def test_an_epoch_takes_every_sample_at_most_once_and_in_another_order() -> None:
    first, second = (torch.cat([members(20, 6, 0, s) for s in steps]) for steps in (range(3), range(3, 6)))
    assert len(first.unique()) == len(second.unique()) == 18
    assert not torch.equal(first, second)
    assert torch.equal(members(20, 6, 0, 4), members(20, 6, 0, 4))
    assert sorted(members(4, 64, 1, 7).tolist()) == [0, 1, 2, 3]


def test_rows_say_what_happened_and_the_caller_keeps_its_randomness(tmp_path: Path) -> None:
    module = make_head("linear")
    before = torch.get_rng_state()
    seen: list[LogRow] = []
    _, outcome = run(SHORT, module, folder=tmp_path, progress=seen.append, validation=make_batch(8, seed=1))
    assert torch.equal(torch.get_rng_state(), before)
    assert tuple(seen) == outcome.rows
    assert [row.step for row in seen] == [0, 3, 4, 7, 8, 11]
    assert [math.isfinite(row.validation_score) for row in seen] == [False, True, False, True, False, True]
    assert seen[0].energy_negative - seen[0].energy_positive == pytest.approx(seen[0].gap)
    assert (outcome.stopped, outcome.steps_done, module.training) == ("finished", 12, False)
    with (tmp_path / "metrics.csv").open() as stream:
        columns, *lines = list(csv.reader(stream))
    assert tuple(columns) == COLUMNS
    assert columns[-1] == "seconds"
    assert [int(line[0]) for line in lines] == [0, 3, 4, 7, 8, 11]


def test_it_is_left_with_the_best_weights_on_validation() -> None:
    validation = make_batch(20)  # what it is trained on: random actions of others cannot be learned
    module, outcome = run(replace(SHORT, steps=40, learning_rate=0.01), validation=validation)
    scores = {row.step + 1: row.validation_score for row in outcome.rows if math.isfinite(row.validation_score)}
    start = look(EnergyFunction(make_head("linear"), "test"), validation, 0)
    kept = look(EnergyFunction(module, "test"), validation, 0)
    assert outcome.best_score == kept.score == scores.get(outcome.best_step, start.score)
    assert outcome.best_score > start.score
    assert not kept.fallen(start.values)


def scripted(monkeypatch: pytest.MonkeyPatch, *looks: tuple[float, float]) -> None:
    """AUROC and top-1 that the validations find, one after the other, the start's first."""
    left = iter(looks)
    monkeypatch.setattr(loop, "look", lambda *_: seen(*next(left)))


def seen(auroc: float, top1: float) -> Look:
    """All samples alike, so that every difference is sure."""
    values = {"auroc.swap": torch.full((8,), auroc), "top1.swap": torch.full((8,), top1)}
    return Look(values)


def test_weights_that_pay_for_one_part_with_another_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (0.9, 0.5), (0.93, 0.49), (0.99, 0.47), (0.8, 0.9))
    _, outcome = run(SHORT, validation=make_batch(8, seed=1))
    # top-1 may fall by .02, AUROC by .005; the last two have the better means
    assert (outcome.best_step, outcome.best_score, outcome.fallen) == (4, pytest.approx(0.71), ())
    assert not outcome.events


def test_a_control_keeps_the_best_mean_whatever_it_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (0.9, 0.5), (0.93, 0.49), (0.99, 0.47), (0.8, 0.9))
    _, outcome = run(replace(SHORT, guarded=False), validation=make_batch(8, seed=1))
    assert (outcome.best_score, outcome.fallen) == (pytest.approx(0.85), ())


def test_the_start_is_kept_and_told_where_every_better_score_has_its_price(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (0.9, 0.5), (0.89, 0.6), (0.8, 0.4), (0.99, 0.45))
    module, outcome = run(SHORT, validation=make_batch(8, seed=1))
    assert (outcome.best_step, outcome.fallen) == (0, ("auroc.swap", "top1.swap"))
    assert digest(module.state_dict()) == digest(make_head("linear").state_dict())
    assert outcome.events[-1].text.endswith("had fallen in auroc.swap, top1.swap")


def test_a_start_that_has_lost_something_gives_way_to_weights_that_have_not(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (0.5, 0.9), (0.9, 0.2), (0.7, 0.4), (0.9, 0.3), (0.91, 0.2))
    origin = EnergyFunction(make_head("original"), "test")
    _, outcome = run(SHORT, validation=make_batch(8, seed=1), origin=origin)
    # the start has the best mean; the last two have lost nothing of the origin's .9 and .2
    assert (outcome.best_step, outcome.reverted) == (8, False)
    assert outcome.best_score == pytest.approx(0.6)


def test_where_all_is_worse_than_the_origin_that_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    origin = EnergyFunction(make_head("original"), "test")
    looks = ((0.5, 0.9), (0.9, 0.2), (0.7, 0.4), (0.8, 0.3), (0.7, 0.2))
    scripted(monkeypatch, *looks)
    _, outcome = run(SHORT, validation=make_batch(8, seed=1), origin=origin)
    assert (outcome.best_step, outcome.reverted, outcome.fallen) == (0, True, ("auroc.swap",))
    assert "none was kept" in outcome.events[-1].text
    unguarded = replace(SHORT, guarded=False)
    scripted(monkeypatch, *looks)
    assert not run(unguarded, validation=make_batch(8, seed=1), origin=origin)[1].reverted


def test_what_was_not_finite_at_the_start_cannot_fall(monkeypatch: pytest.MonkeyPatch) -> None:
    scripted(monkeypatch, (math.nan, math.nan), (0.6, 0.1), (0.5, 0.1), (math.nan, 0.9))
    assert run(SHORT, validation=make_batch(8, seed=1))[1].best_step == 4


def test_patience_ends_the_run() -> None:
    plan = replace(SHORT, steps=400, learning_rate=0.0, weight_decay=0.0, patience=2)
    module, outcome = run(plan, validation=make_batch(10, seed=1))
    assert (outcome.stopped, outcome.steps_done, outcome.best_step) == ("early", 8, 0)
    assert digest(module.state_dict()) == digest(make_head("linear").state_dict())


class BreaksAt(nn.Module):
    """An energy head whose answer is NaN from the k-th training step on."""

    def __init__(self, step: int, *, slope_only: bool = False) -> None:
        super().__init__()
        self.net, self.step, self.slope_only, self.calls = make_head("linear"), step, slope_only, 0

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        energy: Tensor = self.net(hidden, actions, pad_mask)
        if not self.training:
            return energy
        self.calls += 1
        if self.calls <= self.step:
            return energy
        # the square root has a slope of infinity at 0, times 0 in the chain
        return energy + (0 * energy).abs().sqrt() if self.slope_only else energy * math.nan


@pytest.mark.parametrize("slope_only", [False, True])
def test_it_stops_where_something_is_not_finite_and_restores_the_last_good_weights(slope_only: bool) -> None:
    broken, outcome = run(SHORT, BreaksAt(5, slope_only=slope_only))
    assert (outcome.stopped, outcome.best_step, outcome.steps_done) == ("non-finite", 4, 5)
    assert outcome.rows[-1].step == 5
    assert "step 5" in outcome.events[-1].text
    whole, _ = run(replace(SHORT, steps=4), BreaksAt(99))
    assert digest(broken.state_dict()) == digest(whole.state_dict())


def test_dropout_is_set_while_training_and_restored() -> None:
    seen = []
    module = make_head("linear")
    module.position_dropout.register_forward_hook(lambda m, *_: seen.append((m.p, m.training)))
    run(replace(SHORT, dropout=0.0, log_every=99), module)
    assert module.position_dropout.p == 0.2
    assert (0.0, True) in seen
    assert all(p == 0 for p, _ in seen)


def test_no_steps_change_nothing() -> None:
    module, outcome = run(replace(SHORT, steps=0))
    assert (outcome.stopped, outcome.rows, outcome.steps_done) == ("finished", (), 0)
    assert digest(module.state_dict()) == digest(make_head("linear").state_dict())


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"sources": ("supplied",)}, "no `negatives`"),
        ({"sources": ("nonsense",)}, "nonsense"),
        ({"swap": False}, "no negatives"),
        ({"batch_size": 1}, "no negatives"),
        ({"alignment": 1.0, "margin": 1.0}, "alignment and margin"),
    ],
)
def test_a_plan_that_cannot_be_carried_out_is_refused(changes: dict[str, object], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        run(replace(SHORT, **changes))  # type: ignore[arg-type]


def test_everything_at_once_lowers_the_loss() -> None:
    plan = TrainingPlan(
        steps=60, batch_size=10, tau=1.0, learning_rate=1e-2, sources=("layers", "policy", "noise", "structured"),
        improved_negatives=True, descent=Descent(steps=2), alignment=0.5, ranking=1.0, margin=0.1, dropout=0.0,
        gradient_penalty=0.1, anchor=1e-3, temperature="learnable", contrast="debiased", false_negative_radius=0.1,
    )  # fmt: skip
    _, outcome = run(plan)
    assert outcome.stopped == "finished"
    assert outcome.rows[-1].loss < 0.95 * outcome.rows[0].loss
    assert outcome.rows[-1].auroc > outcome.rows[0].auroc


# Half precision


EVERYTHING = replace(
    SHORT, steps=30, log_every=1, learning_rate=3e-3, sources=("layers", "noise"), improved_negatives=True,
    descent=Descent(2), alignment=0.5, ranking=0.5, gradient_penalty=0.1, anchor=0.01, dropout=0.0,
)  # fmt: skip


def test_training_in_bfloat16_is_finite_and_close_to_float32() -> None:
    seen = {}
    for name, plan in (("float32", EVERYTHING), ("bfloat16", replace(EVERYTHING, autocast="bfloat16"))):
        module, outcome = run(plan)
        assert outcome.stopped == "finished"
        assert all(p.dtype == torch.float32 and bool(torch.isfinite(p).all()) for p in module.parameters())
        seen[name] = torch.tensor([[row.loss, row.gradient_norm, row.alignment] for row in outcome.rows])
    assert not torch.equal(seen["float32"], seen["bfloat16"])
    torch.testing.assert_close(seen["bfloat16"][:, 0], seen["float32"][:, 0], rtol=0.05, atol=0.0)


@pytest.mark.parametrize("seed", range(4))
def test_the_first_gradient_in_bfloat16_is_close_to_float32(seed: int) -> None:
    # without descents and cosines of slopes, which amplify any rounding; still, the last layer answers with eight bits,
    # as in any loop under autocast, and that moves the norm by up to a fifth (measured over 12 seeds)
    plan = replace(SHORT, steps=1, seed=seed, sources=("layers", "noise"), dropout=0.0)
    rows = [run(replace(plan, autocast=name))[1].rows[0] for name in (None, "bfloat16")]
    exact, rounded = (torch.tensor([row.loss, row.gradient_norm]) for row in rows)
    torch.testing.assert_close(rounded[0], exact[0], rtol=0.02, atol=0.0)
    torch.testing.assert_close(rounded[1], exact[1], rtol=0.3, atol=0.0)


def test_in_bfloat16_energies_are_rounded_and_every_weight_learns() -> None:
    tables = []
    for plan in (EVERYTHING, replace(EVERYTHING, autocast="bfloat16")):
        energy = EnergyFunction(make_head("linear"), "test")
        with sdpa_kernel(SDPBackend.MATH):
            loss = step_loss(energy, make_batch(6), plan, torch.Generator().manual_seed(0))
            torch.autograd.backward(loss.total)
        assert {loss.total.dtype, loss.info_nce.dtype, loss.swap.dtype} == {torch.float32}
        # also those that descents and layers' energies have seen without gradients before
        assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in energy.module.parameters())
        tables.append(loss.swap)
    assert 1e-4 < float((tables[0] - tables[1]).abs().max()) < 0.02


# Validation


def test_swap_ranks_by_hand() -> None:
    assert swap_ranks(torch.tensor([[0.0, 1, 0], [9, 5, 4], [3, 3, 2]])) == (
        pytest.approx((1 + 0.5 + 1 + 0 + 1 + 1) / 6),
        pytest.approx((1 / 2 + 0 + 1) / 3),
    )
    assert all(math.isnan(x) for x in (*swap_ranks(torch.ones(1, 1)), *swap_ranks(torch.full((2, 2), math.nan))))


class Distance(nn.Module):
    """Squared distance from the action that the context names, or minus that."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        self.sign = nn.Parameter(torch.tensor(sign))

    def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None) -> Tensor:
        return self.sign * (actions - hidden).square().flatten(1).sum(dim=1)


@pytest.mark.parametrize(("sign", "score"), [(1.0, 1.0), (-1.0, 0.0), (math.nan, math.nan)])
def test_the_validation_score_of_a_perfect_an_inverted_and_a_broken_energy(sign: float, score: float) -> None:
    actions = make_batch(10).actions
    batch = Batch(actions, actions, policy_actions=actions + 0.3 * torch.randn(actions.shape))
    energy = EnergyFunction(Distance(sign), "test")
    assert look(energy, batch, 0).score == pytest.approx(score, abs=1e-6, nan_ok=True)
    names = {"auroc.swap", "top1.swap", "auroc.policy", "field.alignment.policy"}
    assert set(look(energy, batch, 0).values) == names
    blind = replace(batch, policy_actions=None)
    assert set(look(energy, blind, 0).values) == {"auroc.swap", "top1.swap", "field.alignment.noise_0.15"}
    assert look(energy, blind, 0).score == pytest.approx(score, abs=1e-6, nan_ok=True)


def test_a_part_falls_by_more_than_the_smallest_change_that_matters() -> None:
    assert seen(0.896, 0.481).fallen(seen(0.9, 0.5).values) == ()
    assert seen(0.894, 0.481).fallen(seen(0.9, 0.5).values) == ("auroc.swap",)


def test_a_look_has_what_the_samples_have_and_leaves_out_what_no_set_holds() -> None:
    batch = make_batch(70)
    found = look(EnergyFunction(make_head(), "test"), batch, 0)
    assert int(found.values["auroc.swap"].isfinite().sum()) == 64
    assert int(found.values["auroc.policy"].isfinite().sum()) == 70
    assert found.parts["top1.swap"] == pytest.approx(float(found.values["top1.swap"].nanmean()))
