"""Fixes: each changes what it says and nothing else, pages are complete, and plans follow from findings."""

from __future__ import annotations

import dataclasses
import json
import re
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from energydiag.errors import UsageError
from energydiag.fixes import Patient, Planned, Refusal, fixes, plan_from
from energydiag.fixes.design import PARTS
from energydiag.fixes.planning import (
    AUTO,
    AUTO_FOR,
    BUNDLES,
    CHOICES,
    FEWEST_STEPS_FROM_FRESH,
    NEEDS,
    WHOLE_RECIPE,
)
from energydiag.negatives import sources
from energydiag.plan import Descent, TrainingPlan
from energydiag.results import Finding, Measurement
from energydiag.rules import rules

HEADINGS = ["What it changes", "Why it helps", "When not to use it"]
BASE = TrainingPlan()


def finding(code: str, explained_by: str | None = None) -> Finding:
    rule = rules()[code]
    return Finding(code, rule.name, "critical", "", (), "", rule.fixes, explained_by=explained_by)


def patient(*codes: str, **changes: Any) -> Patient:
    """A sigmoid head over a LayerNorm, with all data; findings explained by another are written ``ED303<ED101``."""
    findings = tuple(finding(*code.split("<")) for code in codes)
    whole = Patient(
        findings, {}, "sigmoid", True, "action_linear.layer_norm1", "prediction_head.fc2", (), True, True, 0.04
    )
    return dataclasses.replace(whole, **changes)


def edited(name: str, plan: TrainingPlan = BASE, who: Patient | None = None) -> TrainingPlan | Refusal:
    return fixes()[name].edit(plan, who or patient("ED202", "ED505"))


def names(planned: Planned) -> list[str]:
    return [applied.fix for applied in planned.applied]


def reasons(planned: Planned) -> dict[str, str]:
    return {skipped.name: skipped.reason for skipped in planned.skipped}


# What each fix makes of the default plan; every field that is not named stays as it was.
CHANGES: dict[str, dict[str, Any]] = {
    "rescaled-head": {"surgery": ("head=rescaled",)},
    "improved-negatives": {"improved_negatives": True},
    "adaptive-temperature": {"temperature": "adaptive", "tau": 0.5},
    "progressive-schedule": {"schedule": "progressive"},
    "lower-temperature": {"tau": 0.3},
    "lower-learning-rate": {"learning_rate": 1e-4},
    "clip-gradients": {"clip_norm": 0.3},
    "design": {
        "surgery": ("head=rescaled",),
        "tau": 0.3,
        "learning_rate": 1e-4,
        "clip_norm": 0.3,
        "improved_negatives": True,
    },
    "linear-head": {"surgery": ("head=linear",), "tau": 1.0, "anchor": 1e-3},
    "softplus-head": {"surgery": ("head=softplus",), "anchor": 1e-3},
    "mixed-negatives": {"sources": ("layers", "noise")},
    "structured-negatives": {"sources": ("structured",)},
    "adversarial-negatives": {"descent": Descent(steps=5, length=0.07, noise=0.01)},
    "alignment-loss": {"alignment": 2.0, "sources": ("noise",)},
    "distance-margin": {"margin": 1.0, "sources": ("noise",)},
    "distance-ranking": {"ranking": 1.0, "sources": ("noise",)},
    "decoupled-loss": {"contrast": "decoupled"},
    "debiased-loss": {"contrast": "debiased"},
    "clamped-temperature": {"temperature": "learnable"},
    "gradient-penalty": {"gradient_penalty": 1.0},
    "reinitialise-last-layer": {"surgery": ("reinitialise-last-layer",)},
    "fresh-weights": {"surgery": ("fresh-weights",)},
    "remove-action-norm": {"surgery": ("remove-norm=action_linear.layer_norm1",)},
    "negate-sign": {"surgery": ("negate",)},
    "turn-mask": {"surgery": ("turn-mask",)},
    "false-negative-filter": {"false_negative_radius": 0.04},
    "cosine-schedule": {"schedule": "cosine", "learning_rate": 2e-3, "clip_norm": 1.0},
    "no-dropout": {"dropout": 0.0},
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_fix_changes_what_it_says_and_nothing_else(name: str) -> None:
    assert edited(name) == dataclasses.replace(BASE, **CHANGES[name])


def test_the_anchor_is_for_heads_without_bounds() -> None:
    assert edited("energy-anchor", who=patient(head="linear")) == dataclasses.replace(BASE, anchor=1e-3)
    after_head = dataclasses.replace(BASE, surgery=("head=linear",))
    assert edited("energy-anchor", after_head) == dataclasses.replace(after_head, anchor=1e-3)
    for plan, head in [(BASE, "sigmoid"), (dataclasses.replace(BASE, surgery=("head=rescaled",)), "linear")]:
        assert isinstance(edited("energy-anchor", plan, patient(head=head)), Refusal)


def test_every_fix_is_tried() -> None:
    assert set(CHANGES) | {"energy-anchor"} == set(fixes())


@pytest.mark.parametrize("name", fixes())
def test_every_fix_is_documented_and_handles_findings_that_exist(name: str) -> None:
    fix = fixes()[name]
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", name)
    assert re.findall(r"^## (.+)$", fix.page, re.MULTILINE) == HEADINGS
    assert all(part.strip() for part in re.split(r"^## .+$", fix.page, flags=re.MULTILINE))
    assert fix.changes
    assert set(fix.handles) <= set(rules())


@pytest.mark.parametrize("code", rules())
def test_every_fix_that_a_rule_names_exists_and_handles_it(code: str) -> None:
    rule = rules()[code]
    for name in rule.fixes:
        assert code in fixes()[name].handles
    for name in re.findall(r"`([a-z]+(?:-[a-z]+)+)`", rule.page.partition("## What to do")[2].partition("## ")[0]):
        assert name in fixes()


def test_pages_and_plans_name_fixes_that_exist() -> None:
    for fix in fixes().values():
        assert set(re.findall(r"`([a-z]+(?:-[a-z]+)+)`", fix.page)) <= set(fixes())
    assert {*AUTO, *NEEDS, *BUNDLES, *(n for needs in NEEDS.values() for n in needs)} <= set(fixes())
    assert {n for needs in NEEDS.values() for n in needs} <= set(AUTO)
    assert all(set(choice) <= set(fixes()) for choice in CHOICES)
    assert all(codes <= set(fixes()[name].handles) for name, codes in AUTO_FOR.items())


def test_negatives_that_are_mixed_in_have_a_source() -> None:
    for name in fixes():
        for who in (patient("ED202", "ED505"), patient("ED202", "ED505", has_layers=False)):
            plan = edited(name, who=who)
            assert isinstance(plan, Refusal) or set(plan.sources) <= set(sources())


@pytest.mark.parametrize(
    ("name", "missing"),
    [
        ("rescaled-head", {"head": "unknown"}),
        ("linear-head", {"head": "unknown"}),
        ("linear-head", {"head": "linear"}),
        ("softplus-head", {"head": "unknown"}),
        ("softplus-head", {"head": "softplus"}),
        ("improved-negatives", {"has_layers": False}),
        ("design", {"has_layers": False}),
        ("design", {"head": "unknown"}),
        ("reinitialise-last-layer", {"last_layer": ""}),
        ("fresh-weights", {"unresettable": ("scale",)}),
        ("remove-action-norm", {"action_norm": ""}),
        ("false-negative-filter", {"policy_error": None}),
        ("negate-sign", {"findings": ()}),
        ("turn-mask", {"findings": ()}),
    ],
)
def test_a_fix_that_cannot_be_applied_says_why(name: str, missing: dict[str, Any]) -> None:
    who = patient("ED202", **missing)
    refusal = edited(name, who=who)
    assert isinstance(refusal, Refusal)
    planned = plan_from(who, BASE, [name])
    assert reasons(planned) == {name: refusal.reason}
    assert (planned.plan, planned.applied) == (BASE, ())


def test_the_filter_needs_swap_negatives() -> None:
    assert isinstance(edited("false-negative-filter", dataclasses.replace(BASE, swap=False)), Refusal)


def test_mixed_negatives_take_what_the_dump_holds() -> None:
    for data, expected in [
        ({"has_layers": False}, ("policy", "noise")),
        ({"has_layers": False, "has_policy": False}, ("noise",)),
    ]:
        plan = edited("mixed-negatives", dataclasses.replace(BASE, swap=False), patient(**data))
        assert plan == dataclasses.replace(BASE, swap=True, sources=expected)


def test_improved_negatives_leave_the_swap_negatives_as_they_were() -> None:
    for swap in (True, False):
        plan = edited("improved-negatives", dataclasses.replace(BASE, swap=swap))
        assert isinstance(plan, TrainingPlan)
        assert plan.swap is swap


def test_losses_at_mixed_in_actions_add_noise_only_where_there_are_none() -> None:
    for some in (
        TrainingPlan(sources=("layers",)),
        TrainingPlan(improved_negatives=True),
        TrainingPlan(descent=Descent()),
    ):
        assert edited("alignment-loss", some) == dataclasses.replace(some, alignment=2.0)
        assert edited("distance-ranking", some) == dataclasses.replace(some, ranking=1.0)
        assert edited("distance-margin", some) == dataclasses.replace(some, margin=1.0)


def test_a_later_head_takes_the_place_of_an_earlier_one() -> None:
    plan = dataclasses.replace(BASE, surgery=("head=rescaled", "negate"))
    later = edited("linear-head", plan)
    assert isinstance(later, TrainingPlan)
    assert later.surgery == ("negate", "head=linear")


plans = st.builds(
    TrainingPlan,
    learning_rate=st.sampled_from([1e-3, 2e-4]),
    tau=st.sampled_from([0.07, 0.5, 1.0]),
    swap=st.booleans(),
    sources=st.sampled_from([(), ("noise",), ("supplied", "layers")]),
    improved_negatives=st.booleans(),
    descent=st.sampled_from([None, Descent(steps=1)]),
    surgery=st.lists(
        st.sampled_from(["head=softplus", "negate", "reinitialise-last-layer"]), unique=True, max_size=3
    ).map(tuple),
)
patients = st.builds(
    patient,
    st.sampled_from(["ED101", "ED202"]),
    head=st.sampled_from(["sigmoid", "softplus", "linear", "unknown"]),
    action_norm=st.sampled_from(["", "norm"]),
    last_layer=st.sampled_from(["", "fc"]),
    has_layers=st.booleans(),
    has_policy=st.booleans(),
    policy_error=st.sampled_from([None, 0.04]),
)


@settings(max_examples=60, deadline=None)
@given(plans, patients)
def test_edits_are_pure_and_idempotent(plan: TrainingPlan, who: Patient) -> None:
    before = dataclasses.asdict(plan)
    for fix in fixes().values():
        once = fix.edit(plan, who)
        assert dataclasses.asdict(plan) == before
        assert fix.edit(plan, who) == once
        if isinstance(once, TrainingPlan):
            assert fix.edit(once, who) == once
            assert len(set(once.surgery)) == len(once.surgery)
            assert len(set(once.sources)) == len(once.sources)
            assert sum(o.startswith("head=") for o in once.surgery) <= 1
        else:
            assert once.reason


@settings(max_examples=60, deadline=None)
@given(plans, patients, st.lists(st.sampled_from(sorted(fixes())), max_size=5))
def test_plans_account_for_every_forced_fix_once(base: TrainingPlan, who: Patient, forced: list[str]) -> None:
    planned = plan_from(who, base, forced)
    if forced:
        told = [*names(planned), *(s.name for s in planned.skipped)]
        assert sorted(told) == sorted(set(forced))
        assert names(planned) == [name for name in dict.fromkeys(forced) if name in names(planned)]
    assert bool(planned.applied) == (planned.plan != base)
    json.dumps([dataclasses.asdict(applied) for applied in planned.applied])
    assert all(applied.parameters for applied in planned.applied)


RECIPE: dict[str, Any] = {
    "schedule": "cosine",
    "learning_rate": 2e-3,
    "clip_norm": 1.0,
    "dropout": 0.0,
    "tau": 1.0,
    "swap": True,
    "sources": ("layers", "noise"),
    "descent": Descent(5, 0.07, 0.01),
    "alignment": 2.0,
    "ranking": 1.0,
    "anchor": 1e-3,
}
REMOVE_NORM = "remove-norm=action_linear.layer_norm1"


def test_a_saturated_head_gets_the_whole_recipe_from_fresh_weights() -> None:
    planned = plan_from(patient("ED103", "ED101<ED103", "ED303<ED103", "ED203<ED103"), BASE)
    expected = dataclasses.replace(BASE, **RECIPE, surgery=(REMOVE_NORM, "head=linear", "fresh-weights"))
    assert planned.plan == expected
    assert planned.skipped == ()
    assert {a.fix: a.handles for a in planned.applied} == {
        "remove-action-norm": ("ED303", "ED203"),
        "linear-head": ("ED103", "ED101", "ED303"),
        "fresh-weights": ("ED103", "ED101"),
        "mixed-negatives": ("ED303", "ED203"),
        "adversarial-negatives": ("ED203",),
        "alignment-loss": ("ED303", "ED203"),
        "distance-ranking": ("ED203",),
        "cosine-schedule": (),
        "no-dropout": (),
    }
    linear = next(a for a in planned.applied if a.fix == "linear-head")
    assert linear.parameters == {"surgery": ["head=linear"], "tau": 1.0, "anchor": 1e-3}


def test_a_few_steps_go_on_from_the_old_weights() -> None:
    short = dataclasses.replace(BASE, steps=FEWEST_STEPS_FROM_FRESH - 1)
    planned = plan_from(patient("ED103", "ED101<ED103", "ED602"), short)
    assert planned.plan.surgery == ("head=linear",)
    assert {"fresh-weights", "auto"} <= set(reasons(planned))
    assert plan_from(patient("ED103"), short, ["fresh-weights"]).plan.surgery == ("fresh-weights",)


def test_a_dead_head_that_cannot_be_drawn_anew_gets_a_fresh_last_layer() -> None:
    who = patient("ED102", "ED101<ED102", "ED303<ED102", "ED203<ED102", unresettable=("scale",))
    planned = plan_from(who, BASE)
    surgery = (REMOVE_NORM, "head=linear", "reinitialise-last-layer")
    assert planned.plan == dataclasses.replace(BASE, **RECIPE, surgery=surgery)


def test_an_unbounded_head_needs_near_negatives_even_where_they_handle_no_finding() -> None:
    planned = plan_from(patient("ED103"), BASE)
    assert planned.plan == dataclasses.replace(BASE, **RECIPE, surgery=("head=linear", "fresh-weights"))
    assert {a.fix for a in planned.applied if a.handles} == {"linear-head", "fresh-weights"}


INVERTED = {"auroc.swap": Measurement("auroc.swap", 0.03, "1", 100)}


def test_inverted_energies_alone_are_turned_round_without_training() -> None:
    planned = plan_from(patient("ED202", "ED203<ED202", "ED602", measurements=INVERTED), BASE)
    assert planned.plan == dataclasses.replace(BASE, steps=0, surgery=("negate",))
    (applied,) = planned.applied
    assert applied.parameters == {"surgery": ["negate"], "steps": 0}
    assert applied.handles == ("ED202",)
    assert "ED602" in reasons(planned)["auto"]
    assert plan_from(patient("ED202", measurements=INVERTED), BASE, ["negate-sign"]).plan.steps == 0


def only_turned(name: str, steps: int, who: Patient) -> None:
    """Checks that the plan is this operation alone, or with training the whole recipe after it."""
    planned = plan_from(who, BASE)
    (operation,) = fixes()[name].edit(BASE, who).surgery  # type: ignore[union-attr]
    assert plan_from(who, BASE, [name]).plan == dataclasses.replace(BASE, steps=steps, surgery=(operation,))
    if not steps:
        assert planned.plan == dataclasses.replace(BASE, steps=0, surgery=(operation,))
        planned = plan_from(who, BASE, always_train=True)
    recipe = dataclasses.replace(BASE, **RECIPE, surgery=(operation, "head=linear"))
    assert planned.plan == recipe


@pytest.mark.parametrize(
    ("gain", "interval", "steps"),
    [
        (0.3, (0.2, 0.4), 0),
        (0.02, (0.0051, 0.04), 0),
        (0.02, (0.005, 0.04), BASE.steps),  # it was trained with the mask turned round
        (0.3, None, BASE.steps),
        (-0.3, (-0.4, -0.2), BASE.steps),
        (None, None, BASE.steps),
    ],
)
def test_a_turned_mask_is_trained_again_unless_turning_it_surely_helps(
    gain: float | None, interval: tuple[float, float] | None, steps: int
) -> None:
    name = "conditioning.turned_mask.auroc_gain"
    measured = {} if gain is None else {name: Measurement(name, gain, "1", 100, interval)}
    only_turned("turn-mask", steps, patient("ED505", "ED504<ED505", measurements=measured))


@pytest.mark.parametrize(("auroc", "steps"), [(0.1, 0), (0.11, BASE.steps), (0.45, BASE.steps), (None, BASE.steps)])
def test_energies_that_are_inverted_in_part_are_trained_after_turning(auroc: float | None, steps: int) -> None:
    measured = {} if auroc is None else {"auroc.swap": Measurement("auroc.swap", auroc, "1", 100)}
    only_turned("negate-sign", steps, patient("ED202", measurements=measured))


def test_inverted_energies_beside_another_root_are_turned_round_and_trained() -> None:
    planned = plan_from(patient("ED101", "ED202"), BASE)
    assert planned.plan.steps == BASE.steps
    assert planned.plan.surgery == ("negate", "head=linear", "fresh-weights")


@pytest.mark.parametrize("code", sorted(WHOLE_RECIPE))
def test_what_has_learned_little_is_taught_the_field_too(code: str) -> None:
    planned = plan_from(patient(code, head="linear"), BASE)
    assert {"mixed-negatives", "adversarial-negatives", "alignment-loss", "distance-ranking"} <= set(names(planned))
    # what explains it may be all that there is to do, but it is a finding all the same
    assert "alignment-loss" in names(plan_from(patient("ED505", f"{code}<ED505"), BASE))


@pytest.mark.parametrize(("size", "samples", "expected"), [
    (64, None, 64), (2, None, 32), (3, None, 33), (20, 1000, 40), (2, 21, 20), (8, 15, 8), (50, 20, 50),
])  # fmt: skip
def test_mixed_negatives_come_with_enough_contexts_of_others(size: int, samples: int | None, expected: int) -> None:
    who = patient("ED206", samples=samples)
    plan = edited("mixed-negatives", dataclasses.replace(BASE, batch_size=size), who)
    assert isinstance(plan, TrainingPlan)
    assert plan.batch_size == expected
    assert edited("mixed-negatives", plan, who) == plan
    mixed = next(a for a in plan_from(who, dataclasses.replace(BASE, batch_size=size)).applied if "mixed" in a.fix)
    assert mixed.parameters.get("batch_size", size) == expected


def test_a_high_temperature_is_lowered_and_the_field_taught() -> None:
    warm = dataclasses.replace(BASE, tau=50.0)
    planned = plan_from(patient("ED204", head="linear", action_norm=""), warm)
    assert planned.plan == dataclasses.replace(warm, **{**RECIPE, "tau": 0.3})
    # a linear head has no use for a temperature, which is then a unit
    assert plan_from(patient("ED204"), warm).plan.tau == 1.0
    assert edited("lower-temperature", dataclasses.replace(BASE, tau=0.07)) == dataclasses.replace(BASE, tau=0.07)
    assert "lower-temperature" not in names(plan_from(patient("ED201", head="linear"), warm))


def test_false_negatives_are_filtered_and_nothing_more() -> None:
    assert names(plan_from(patient("ED603"), BASE)) == ["false-negative-filter"]
    assert "false-negative-filter" in names(plan_from(patient("ED719"), BASE))
    assert "false-negative-filter" not in names(plan_from(patient("ED201"), BASE))


@pytest.mark.parametrize(
    ("codes", "changes", "input_"),
    [
        (("ED509", "ED201<ED509", "ED207<ED509"), {}, "the context"),
        (("ED502", "ED303<ED502"), {"action_cut_off": True}, "the action"),
    ],
)
def test_an_input_that_is_cut_off_cannot_be_trained(
    codes: tuple[str, ...], changes: dict[str, Any], input_: str
) -> None:
    planned = plan_from(patient(*codes, **changes), BASE)
    assert (planned.plan, planned.applied) == (BASE, ())
    assert reasons(planned)["auto"].startswith(f"{codes[0]}: {input_} does not reach the energy; no retraining can")
    assert [s.name for s in planned.skipped] == ["auto"]


def test_an_action_that_dead_units_hide_is_trained() -> None:
    assert "fresh-weights" in names(plan_from(patient("ED502", "ED303<ED502"), BASE))
    assert "fresh-weights" in names(plan_from(patient("ED106", "ED502<ED106", action_cut_off=True), BASE))


def test_a_healthy_patient_needs_nothing() -> None:
    planned = plan_from(patient(), BASE)
    assert (planned.plan, planned.applied) == (BASE, ())
    assert reasons(planned) == {"auto": "there are no findings: nothing needs fixing"}


def test_findings_that_no_fix_handles_are_told() -> None:
    planned = plan_from(patient("ED601", "ED602"), BASE)
    assert (planned.plan, planned.applied) == (BASE, ())
    assert [s.name for s in planned.skipped] == ["auto", "auto"]
    assert "ED601 nonfinite-data" in planned.skipped[0].reason


def test_weights_that_answer_with_nan_are_not_repaired() -> None:
    planned = plan_from(patient("ED104", "ED303<ED104"), BASE)
    assert (planned.plan, planned.applied) == (BASE, ())
    assert "last finite checkpoint" in reasons(planned)["auto"]


def test_a_policy_that_is_preferred_needs_near_negatives_and_room_for_them() -> None:
    expected = dataclasses.replace(BASE, **RECIPE, surgery=(REMOVE_NORM, "head=linear"))
    assert plan_from(patient("ED203"), BASE).plan == expected
    planned = plan_from(patient("ED203", head="linear", action_norm=""), BASE)
    assert planned.plan == dataclasses.replace(expected, surgery=(), tau=BASE.tau)
    assert "energy-anchor" in names(planned)
    assert reasons(planned) == {
        "linear-head": "the head is linear already",
        "remove-action-norm": "no LayerNorm stands directly over the raw action",
    }


def test_exploding_gradients_of_an_unbounded_head_are_anchored_and_clipped() -> None:
    planned = plan_from(patient("ED302", head="linear"), BASE)
    assert names(planned) == ["energy-anchor", "cosine-schedule", "clip-gradients"]
    assert planned.plan.clip_norm == 0.3


def test_one_dominating_dimension_does_not_cost_a_head() -> None:
    planned = plan_from(patient("ED304"), BASE)
    assert names(planned) == ["mixed-negatives", "alignment-loss", "cosine-schedule", "no-dropout"]
    assert planned.plan.surgery == ()


@pytest.mark.parametrize("code", rules())
def test_every_finding_alone_gives_a_plan_or_a_reason(code: str) -> None:
    planned = plan_from(patient(code), BASE)
    assert planned.applied or planned.skipped
    handled = {c for a in planned.applied for c in a.handles}
    assert handled == {code} if planned.applied else "auto" in reasons(planned)


def test_forced_fixes_keep_their_order_and_count_once() -> None:
    forced = ["distance-ranking", "linear-head", "alignment-loss", "linear-head"]
    planned = plan_from(patient("ED203"), BASE, forced)
    assert names(planned) == ["distance-ranking", "linear-head", "alignment-loss"]
    assert [a.handles for a in planned.applied] == [("ED203",), (), ("ED203",)]
    assert planned.plan.sources == ("noise",)
    assert plan_from(patient(), BASE, ["no-dropout"]).plan.dropout == 0.0


def test_an_unknown_fix_is_told_with_all_names_and_the_nearest() -> None:
    with pytest.raises(UsageError, match="no fix `linear-haed`") as caught:
        plan_from(patient(), BASE, ["clip-gradients", "linear-haed"])
    assert all(name in caught.value.message for name in fixes())
    assert caught.value.next_step == "--fix linear-head"
    with pytest.raises(UsageError):
        plan_from(patient(), BASE, ["qqq"])


def test_the_design_is_its_parts() -> None:
    planned = plan_from(patient("ED103"), dataclasses.replace(BASE, learning_rate=5e-3), ["design"])
    assert planned.plan.learning_rate == pytest.approx(5e-4)
    assert planned.applied[0].parameters == {
        "learning_rate": pytest.approx(5e-4),
        "clip_norm": 0.3,
        "tau": 0.3,
        "improved_negatives": True,
        "surgery": ["head=rescaled"],
    }
    parts = plan_from(patient("ED103"), dataclasses.replace(BASE, learning_rate=5e-3), [part.name for part in PARTS])
    assert parts.plan == planned.plan
    assert len(parts.applied) == 5
    twice = plan_from(patient(), BASE, ["design", "lower-learning-rate"])
    assert twice.plan.learning_rate == pytest.approx(1e-4)
    assert set(reasons(twice)) == {"lower-learning-rate"}


def test_of_two_heads_the_later_wins() -> None:
    planned = plan_from(patient(), BASE, ["softplus-head", "no-dropout", "linear-head"])
    assert names(planned) == ["no-dropout", "linear-head"]
    assert reasons(planned) == {"softplus-head": "linear-head, which comes later, excludes it"}
    assert planned.plan == plan_from(patient(), BASE, ["no-dropout", "linear-head"]).plan


def test_a_head_that_is_refused_drives_no_other_out() -> None:
    planned = plan_from(patient(head="softplus"), BASE, ["linear-head", "softplus-head"])
    assert names(planned) == ["linear-head"]


def test_a_bundle_loses_only_what_a_later_fix_overwrites() -> None:
    planned = plan_from(patient(), BASE, ["design", "linear-head"])
    assert names(planned) == ["design", "linear-head"]
    assert planned.plan.surgery == ("head=linear",)
    assert set(planned.applied[0].parameters) == {"learning_rate", "clip_norm", "improved_negatives"}
    assert names(plan_from(patient(), BASE, ["linear-head", "design"])) == ["design"]


def test_a_fix_that_is_overwritten_is_skipped() -> None:
    planned = plan_from(patient(), BASE, ["lower-learning-rate", "cosine-schedule"])
    assert names(planned) == ["cosine-schedule"]
    assert "nothing to change" in reasons(planned)["lower-learning-rate"]


def test_leaving_a_fix_of_the_recipe_out_takes_its_part_out_of_the_plan() -> None:
    who = patient("ED102", "ED101<ED102", "ED303<ED102", "ED203<ED102")
    whole = plan_from(who, BASE)
    for left_out in names(whole):
        rest = [name for name in names(whole) if name != left_out]
        planned = plan_from(who, BASE, rest)
        assert planned.plan != whole.plan
        assert names(planned) == rest
