"""Small results of every kind, and text that would break what it stands in, for the tests of all formats."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from energydiag.results import (
    Ablation,
    Applied,
    Band,
    BatchFacts,
    Changes,
    CheckpointDiagnosis,
    CheckpointFacts,
    Comparison,
    Curve,
    Difference,
    Distribution,
    Finding,
    Fleet,
    Inspected,
    Limit,
    Measurement,
    MetricChange,
    Ranking,
    Repair,
    RunDiagnosis,
    RunFacts,
    Side,
    Skipped,
)

Result = CheckpointDiagnosis | Repair | Fleet | Comparison

NASTY = (
    *("|", "\\", "`", "```", "\n", "\n\n", "\r", "\u2028", "\t", "    ", "<", ">", "<!--", "</details>", "<script>"),
    *("@maintainer", "#12", "https://example.org", "www.example.org", "[a](b)", "![a](b)", "[x]: y", "*", "**", "_"),
    *("# ", "- ", "1. ", "12) ", "---", "===", "~~", "&amp;", "&#124;", "\x1b[31m", "\x00", "\ud800", "\ufffe", "]]>"),
    *("word", "é", "‖∂E/∂a‖", " "),
)
TEXTS = st.text(st.characters()) | st.lists(st.sampled_from(NASTY), max_size=8).map("".join)


def diagnosis(text: str | None = None, many: int = 1) -> CheckpointDiagnosis:
    """A small diagnosis; with a text, that stands wherever a file or a person could have put one."""

    def told(usual: str) -> str:
        return usual if text is None else text

    loss, floor, policy = told("loss.swap"), told("loss.swap.floor"), "auroc.policy"
    return CheckpointDiagnosis(
        verdict="critical",
        checkpoint=CheckpointFacts(
            path=told("runs/head_1.pt"),
            architecture=told("cross-attention"),
            energy=told("energy = sigmoid(raw) + 1e-06"),
            parameters=47177,
        ),
        batch=BatchFacts(
            path=told("dump.safetensors"),
            samples=320,
            samples_used=300,
            episodes=72,
            hidden=(320, 16, 64),
            actions=(320, 8, 4),
        ),
        measurements=(
            Measurement(loss, 2.57, "nat", 300, (2.53, 2.6)),
            Measurement(floor, 2.25, told("nat"), 300),
            Measurement(policy, 0.481, "1", 300, (0.432, 0.531)),
            Measurement("gradient.actions.norm_median", 6.5e-4, "energy/action", 300),
        )
        * many,
        findings=(
            Finding(
                *("ED103", told("loss-at-floor"), "critical", told("The loss is 2.57, of which 2.25 is the floor.")),
                evidence=(loss, floor),
                cause=told("The head's energy range is too narrow for this temperature."),
                fixes=("linear-head", told("softplus-head")),
                healthy={floor: told("far below the loss")},
            ),
            Finding(
                *("ED203", told("policy-preferred"), "warning", told("The policy's action is preferred (0.481).")),
                evidence=(policy,),
                cause=told("Nothing in training made the energy fall near the policy's action."),
                fixes=("mixed-negatives",),
                explained_by="ED103",
            ),
        ),
        skipped=(Skipped(told("separation.supplied"), told("the dump has no `negatives`")),) * many,
        notes=(told("The temperature of training is not known; τ = 0.5 was assumed (--tau sets it)."),) * many,
        created=told("2026-01-02T03:04:05+00:00"),
        energydiag_version="0.1.0",
    )


def repair(text: str | None = None, many: int = 1) -> Repair:
    """A small repair that is better than before and worse than the control; with a text, as `diagnosis`."""

    def told(usual: str) -> str:
        return usual if text is None else text

    def arm(auroc: float, saturated: float) -> CheckpointDiagnosis:
        return replace(
            diagnosis(text),
            measurements=(
                Measurement("head.slope_saturated_fraction", saturated, "1", 300),
                Measurement("auroc.swap", auroc, "1", 300, (auroc - 0.01, auroc + 0.01)),
            ),
        )

    def against(side: str, before: float, verdict: Any) -> Changes:
        values = {side: before, told("after"): 0.98}
        delta = 0.98 - before
        better = MetricChange(told("auroc.swap"), values, delta, (delta - 0.004, delta + 0.004), "higher", verdict)
        same = MetricChange("top1.swap", {side: 0.5, "after": 0.5}, 0, None, "higher", "unchanged")
        return Changes((side, "after"), verdict, (better, same) * many)

    return Repair(
        verdict="not-improved",
        accepted=False,
        reasons=(told("Training as long without the fixes is better in auroc.swap."),) * many,
        applied=(Applied("linear-head", {"surgery": told("linear"), told("steps"): 200}, (told("ED103"),)),) * many,
        skipped=(Skipped(told("clip-gradients"), told("no finding asks for it")),) * many,
        arms={"before": arm(0.8, 0.97), "control": arm(0.99, 0.97), "after": arm(0.98, 0)},
        comparison=against("control", 0.99, "regressed"),
        against_before=against("before", 0.8, "improved"),
        ablation=(Ablation(told("linear-head"), "without", against("without", 0.8, "improved")),) * many,
        checkpoint=told("repaired/repaired.safetensors"),
        created="2026-01-02T03:04:05+00:00",
        energydiag_version="0.1.0",
    )


def drawn_diagnosis() -> CheckpointDiagnosis:
    """A diagnosis with everything that a page draws."""
    edges = tuple(i / 10 for i in range(11))
    x = tuple(float(i) for i in range(9))
    gains = [
        Measurement(f"field.correction_gain.k{k}", 0.01 * k, "1", 300, (0.01 * k - 0.02, 0.01 * k + 0.02))
        for k in range(1, 9)
    ]
    return replace(
        diagnosis(),
        measurements=(
            *diagnosis().measurements,
            *(Measurement(f"auroc.{name}", 0.9, "1", 300, (0.88, 0.92)) for name in ("swap", "noise_0.1", "layer_0")),
            *gains,
            *(Measurement(f"field.alignment.{name}", 0.1, "1", 300, (0.0, 0.2)) for name in ("policy", "noise_0.1")),
            *(Measurement(f"gradient.actions.share.dimension_{i}", 0.25, "1", 300) for i in range(4)),
            *(
                Measurement(f"gradient.parameters.module.layer_{i}.{'long' * 9}", 10.0**-i, "nat", 300)
                for i in range(5)
            ),
        ),
        distributions=(
            Distribution("energy.positive", "energy", edges, (90, 5, 5, 0, 0, 0, 0, 0, 0, 0)),
            Distribution("energy.swap", "energy", edges, (1, 2, 3, 4, 5, 6, 7, 8, 9, 500)),
            Distribution("head.raw.positive", "raw", edges, tuple(range(10))),
            Distribution(
                "gradient.actions.norm", "energy/action", tuple(10.0**i for i in range(-5, 6)), tuple(range(10))
            ),
        ),
        curves=(
            Curve("head.relative_slope", x, tuple(1 / (1 + i) for i in x)),
            Curve("field.correction_gain", x, tuple(0.01 * i for i in x)),
        ),
        provenance={
            "command": ["energydiag", "inspect", "checkpoint", "runs/head_1.pt"],
            "seed": 0,
            "versions": {"torch": "2.10"},
        },
    )


def run_diagnosis() -> RunDiagnosis:
    """A diagnosis of a training log."""
    x = tuple(float(10 * i) for i in range(50))
    like = diagnosis()
    return RunDiagnosis(
        **{name: getattr(like, name) for name in ("verdict", "findings", "skipped", "open", "notes")},
        **{name: getattr(like, name) for name in ("provenance", "created", "energydiag_version")},
        run=RunFacts(
            path="runs/a/metrics.csv",
            format="csv",
            rows=50,
            last_step=490,
            series=("loss", "gap"),
            limits=("63 negatives",),
        ),
        measurements=(
            Measurement("run.loss.last", 2.5, "nat", 13, (2.4, 2.6)),
            Measurement("run.auroc.last", 0.9, "1", 13),
        ),
        curves=(
            Curve("run.info_nce", x, tuple(4 / (1 + i / 100) for i in x)),
            Curve("run.gap", x, tuple(i / 490 for i in x)),
            Curve("run.chance", (0.0, 490.0), (4.1, 4.1)),
            Curve("run.floor", (0.0, 490.0), (0.5, 0.5)),
        ),
    )


def fleet(text: str | None = None, many: int = 1) -> Fleet:
    """Checkpoints of one run, one of which could not be read; with a text, as `diagnosis`."""

    def told(usual: str) -> str:
        return usual if text is None else text

    rows = []
    for place in range(2 * many):
        sick = diagnosis(text)
        own = replace(
            sick,
            measurements=(
                Measurement("auroc.swap", 0.5 + 0.4 * place / (2 * many), "1", 300, (0.4, 0.95)),
                Measurement("gradient.actions.norm_median", 10.0 ** -(place % 5), "energy/action", 300),
            ),
        )
        healthy = replace(own, verdict="healthy", findings=(), open=(), skipped=())
        rows.append(Inspected(told(f"runs/step_{place}.pt"), place, healthy if place % 2 else own))
    rows.append(Inspected(told("runs/cut.pt"), None, None, told("runs/cut.pt is cut off."), told("copy it again.")))
    return Fleet(
        rows=tuple(rows), batch=diagnosis(text).batch, created="2026-01-02T03:04:05+00:00", energydiag_version="0.1.0"
    )


def compared(text: str | None = None, many: int = 1) -> Comparison:
    """Three runs, one better and one worse than the first; with a text, as `diagnosis`."""

    def told(usual: str) -> str:
        return usual if text is None else text

    first, second, third = told("baseline"), told("linear head"), told("wide sigmoid")
    x = tuple(float(10 * i) for i in range(30))

    def change(side: str, before: float, after: float, verdict: Any, at: str = "the last tenth") -> MetricChange:
        delta, values = after - before, {first: before, side: after}
        ends = (delta - 0.01, delta + 0.01)
        return MetricChange(
            *(told("run.auroc"), values, delta, ends, "higher", verdict),
            **{"at": at, "p": 0.01, "matters": 0.005, "reason": told("")},
        )

    def band(side: str, slope: float) -> Band:
        y = tuple(slope * value for value in x)
        return Band("run.auroc", side, x, y, tuple(v - 1 for v in y), tuple(v + 1 for v in y))

    return Comparison(
        verdict="regressed",
        subject="runs",
        at="the last tenth",
        sides=(
            Side(first, (told("a/0.csv"), "a/1.csv"), {"head": "original"}),
            Side(second, ("b.csv",)),
            Side(third, (told("c.csv"),)),
        ),
        metrics=(
            change(second, 0.9, 0.99, "improved"),
            change(third, 0.9, 0.8, "regressed"),
            change(third, 0.8, 0.8, "unchanged", "step 100"),
        )
        * many,
        rankings=(Ranking(told("run.auroc"), "the last tenth", "higher", {second: 0.99, first: 0.9, third: 0.8}),)
        * many,
        differences=(Difference(told("head"), {first: told("original"), second: "linear"}),) * many,
        bands=(band(first, 0.1), band(second, 0.2), band(third, 0.05)),
        limits=(
            Limit(told("run.auroc"), told("1%"), third, 0.1, "broken"),
            Limit("run.auroc", "1%", second, -0.09, "kept"),
        ),
        skipped=(Skipped(told("run.gap"), told("only one side logged it")),) * many,
        notes=(told("Two seeds against one."),) * many,
        provenance={"command": ["energydiag", "compare", "a", "b"]},
        created="2026-01-02T03:04:05+00:00",
        energydiag_version="0.1.0",
    )


def every(text: str | None = None, many: int = 1) -> dict[str, Result]:
    """One result of every kind."""
    return {
        "diagnosis": diagnosis(text, many),
        "repair": repair(text, many),
        "fleet": fleet(text, many),
        "comparison": compared(text, many),
    }


def plain(result: Result) -> Any:
    """The result as JSON holds it."""
    return json.loads(result.to_json())
