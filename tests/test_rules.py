"""Rules: each is documented, fires just beyond its threshold and not before, and root causes come first."""

from __future__ import annotations

import dataclasses
import re
import runpy
from pathlib import Path

import pytest

from energydiag.results import Finding, Measurement, Skipped
from energydiag.rules import judge, rules
from energydiag.rules.calibration import calibrations
from energydiag.rules.wording import percent

HEADINGS = ["What it checks", "Why it is bad", "Example", "What to do", "Known limits"]

Values = dict[str, float | tuple[float, float]]


def measurements(values: Values) -> list[Measurement]:
    """A pair is a 95 % interval, whose middle is the value."""
    made = []
    for name, value in values.items():
        middle, ci95 = (sum(value) / 2, value) if isinstance(value, tuple) else (value, None)
        made.append(Measurement(name, middle, "1", 100, ci95))
    return made


def found(values: Values, **choice: tuple[str, ...]) -> dict[str, Finding]:
    return {finding.code: finding for finding in judge(measurements(values), **choice).findings}


@pytest.mark.parametrize("code", rules())
def test_every_rule_is_documented(code: str) -> None:
    rule = rules()[code]
    assert re.fullmatch(r"ED\d{3}", code)
    assert re.fullmatch(r"[a-z]+(-[a-z]+)*", rule.name)
    assert re.findall(r"^## (.+)$", rule.page, re.MULTILINE) == HEADINGS
    sections = re.split(r"^## .+$", rule.page, flags=re.MULTILINE)
    assert all(section.strip() for section in sections)


@pytest.mark.parametrize("code", rules())
def test_every_threshold_has_a_source_and_evidence_is_asked_for(code: str) -> None:
    rule = rules()[code]
    assert all(len(threshold.source.split()) > 2 for threshold in rule.thresholds.values())
    assert rule.evidence
    assert set(rule.evidence) <= {*rule.needs, *rule.optional}


def test_calibrations_are_those_of_rules() -> None:
    assert calibrations().keys() <= rules().keys()
    assert len(calibrations()) > 60
    for code, seen in calibrations().items():
        rule = rules()[code]
        assert seen.measurement.keys() <= {*rule.needs, *rule.optional}
        assert 0 <= seen.healthy[0] <= seen.healthy[1]
        assert seen.healthy[1] >= 20
        assert seen.lines()[0].startswith(f"Found in {seen.healthy[0]} of {seen.healthy[1]} healthy runs")


def test_explanations_name_rules_that_exist_and_go_round_in_no_circle() -> None:
    left = {code: set(rule.explains) for code, rule in rules().items()}
    assert set().union(*left.values()) <= set(left)
    while left:
        ends = {code for code, explains in left.items() if not explains & set(left)}
        assert ends, f"a circle among {sorted(left)}"
        left = {code: explains for code, explains in left.items() if code not in ends}


# one file a family of rules, each with its own `EDGES`
EDGES: list[tuple[str, Values, Values, str]] = [
    edge for path in sorted(Path(__file__).parent.glob("edges/*.py")) for edge in runpy.run_path(str(path))["EDGES"]
]


@pytest.mark.parametrize(("code", "short", "beyond", "severity"), EDGES)
def test_a_rule_fires_beyond_its_threshold_and_not_before(
    code: str, short: Values, beyond: Values, severity: str
) -> None:
    assert code not in found(short)
    finding = found(beyond)[code]
    assert finding.severity == severity
    assert set(finding.evidence) <= set(beyond)
    assert finding.evidence
    assert finding.explained_by is None or finding.explained_by in found(beyond)


def test_every_rule_is_tried_at_its_edge() -> None:
    assert {code for code, *_ in EDGES} == set(rules())


DEAD: Values = {
    "head.slope_saturated_fraction": 1.0,
    "head.zero_slope_fraction": 1.0,
    "head.nonfinite_fraction": 0.0,
    "loss.swap": 4.159,
    "loss.swap.floor": 2.25,
    "loss.swap.chance": 4.159,
    "floor_gap.swap": 1.0,
    "auroc.swap": 0.5,
    "gap_std.swap": 0.0,
    "auroc.policy": 0.5,
    "gradient.parameters.norm": 0.0,
    "gradient.parameters.loss": 4.159,
    "gradient.actions.relative_median": 0.0,
    "gradient.actions.relative_away": 0.0,
    "gradient.actions.norm_median": 0.0,
    "data.all_padded_fraction": 0.1,
}


def test_the_root_cause_comes_first_and_every_chain_ends_at_one() -> None:
    findings = judge(measurements(DEAD)).findings
    codes = [finding.code for finding in findings]
    assert codes[0] == "ED102"
    assert {"ED101", "ED201", "ED203", "ED301", "ED303", "ED602"} <= set(codes)
    roots = [finding for finding in findings if finding.explained_by is None]
    assert {finding.explained_by for finding in findings} <= {None, *(root.code for root in roots)}
    assert all(codes.index(f.explained_by) < codes.index(f.code) for f in findings if f.explained_by)
    assert [f.severity for f in findings] == sorted(f.severity for f in findings)  # "critical" < "warning"


BLIND: Values = {
    "conditioning.blind.scale.against_noise": 0.0,
    "conditioning.blind.shift.against_noise": 0.0,
}
PREFERRED: Values = {"auroc.policy": (0.3, 0.4)}


def test_a_warning_stands_behind_a_critical_finding_that_it_does_not_explain() -> None:
    """Blind directions are a reason and a preferred policy a symptom, but the one does not explain the other."""
    assert list(found(BLIND)) == ["ED503"]
    assert list(found({**BLIND, **PREFERRED})) == ["ED203", "ED503"]


def test_a_warning_stands_before_a_critical_finding_that_it_explains_and_behind_the_others() -> None:
    weak: Values = {"weights.rms_relative.median": 0.3, "loss.swap": 4.0, "loss.swap.chance": 4.2}
    assert list(found({**weak, **PREFERRED, **BLIND})) == ["ED310", "ED203", "ED503"]
    steep: Values = {"gradient.parameters.nonfinite": 0, "gradient.parameters.norm": 1e4}
    assert list(found({**weak, **PREFERRED, **BLIND, **steep})) == ["ED302", "ED310", "ED203", "ED503"]


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0.0, "0 %"),
        (1e-5, "0.001 %"),
        (0.051, "5 %"),
        (0.9951, "99.5 %"),
        (0.999, "99.9 %"),
        (0.9999, ">99.9 %"),
        (1 - 1e-7, ">99.9 %"),
        (sum([0.1] * 10), "100 %"),  # 1, but for rounding
        (1.0, "100 %"),
        (1.5, "150 %"),
    ],
)
def test_shares_in_sentences_are_0_or_100_percent_only_where_they_are_exactly_that(share: float, text: str) -> None:
    assert percent(share) == text


def test_a_chain_of_explanations_is_told_by_its_root() -> None:
    """A loss at its floor explains saturation, and saturation explains the dead action gradient."""
    chain: Values = {
        "loss.swap": 2.48,
        "loss.swap.floor": 2.25,
        "loss.swap.chance": 4.16,
        "floor_gap.swap": 0.12,
        "head.slope_saturated_fraction": 0.99,
        "gradient.actions.relative_median": 1e-4,
        "gradient.actions.relative_away": 1e-4,
        "gradient.actions.norm_median": 1e-5,
    }
    explained = {code: finding.explained_by for code, finding in found(chain).items()}
    assert explained == {"ED103": None, "ED101": "ED103", "ED303": "ED103"}
    del chain["loss.swap.floor"]
    explained = {code: finding.explained_by for code, finding in found(chain).items()}
    assert explained == {"ED101": None, "ED303": "ED101"}


def test_a_rule_whose_measurement_is_missing_is_skipped_by_its_name() -> None:
    findings, skipped, _ = judge(measurements({"auroc.swap": 0.9}))
    assert not findings
    reasons = {s.name: s.reason for s in skipped}
    assert set(reasons) == set(rules()) - {"ED201"}
    assert reasons["ED202"] == "gap_std.swap was not measured"


def test_an_interval_that_crosses_a_limit_leaves_the_question_open() -> None:
    judged = judge(measurements({"head.slope_saturated_fraction": (0.05, 0.3)}))
    assert not judged.findings
    (question,) = judged.open
    assert (question.code, question.could_be) == ("ED101", "warning")
    assert "the 95 % interval crosses the limit" in question.missing
    assert judged.verdict == "healthy"
    assert not judge(measurements({"head.slope_saturated_fraction": (0.01, 0.1)})).open


def test_a_warning_that_may_be_critical_is_open() -> None:
    judged = judge(measurements({"head.slope_saturated_fraction": (0.3, 0.8)}))
    assert [finding.severity for finding in judged.findings] == ["warning"]
    assert [question.could_be for question in judged.open] == ["critical"]
    assert judged.verdict == "undetermined"


def test_a_measurement_that_failed_leaves_a_question_open() -> None:
    judged = judge(
        (), unmeasured=[Skipped("separation", "the model raised", failed=True), Skipped("padding", "no mask")]
    )
    assert [(question.question, question.could_be) for question in judged.open] == [
        ("What does separation say?", "critical")
    ]
    assert judged.verdict == "undetermined"


def test_an_average_without_an_interval_is_open_and_a_plain_number_is_not() -> None:
    (share,) = measurements({"head.slope_saturated_fraction": 0.6})
    assert judge([share]).findings
    judged = judge([dataclasses.replace(share, unsure=True)])
    assert not judged.findings
    assert [(one.code, "too few episodes" in one.missing) for one in judged.open] == [("ED101", True)]
    assert judged.verdict == "undetermined"


def test_few_episodes_are_never_healthy() -> None:
    (share,) = measurements({"head.slope_saturated_fraction": 0.0})
    assert judge([share]).verdict == "healthy"
    assert judge([dataclasses.replace(share, unsure=True)]).verdict == "undetermined"


def test_select_and_ignore() -> None:
    assert set(found(DEAD, select=("ED1",))) == {"ED101", "ED102"}
    assert set(found(DEAD, select=("ED1", "ED602"), ignore=("ED102",))) == {"ED101", "ED602"}
    assert set(found(DEAD, ignore=("ED",))) == set()
    assert found(DEAD, ignore=("ED102", "ED201"))["ED303"].explained_by == "ED101"
    reasons = {s.name: s.reason for s in judge(measurements({}), select=("ED201",)).skipped}
    assert reasons["ED201"] == "auroc.swap was not measured"
    assert reasons["ED101"] == "left out by --select or --ignore"


def test_no_measurement_no_finding() -> None:
    assert found({}) == {}


def test_a_field_that_points_to_the_expert_leaves_no_question_open_at_the_bottom_of_a_well() -> None:
    well: Values = {
        "gradient.actions.relative_median": (0.001, 0.002),
        "gradient.actions.relative_away": (0.4, 0.5),
        "gradient.actions.norm_median": 0.1,
        "field.alignment.policy": (0.8, 0.9),
        "data.policy_error": 0.1,
    }
    judged = judge(measurements(well), select=("ED303",))
    assert (judged.verdict, judged.open) == ("healthy", ())
