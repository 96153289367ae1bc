"""The registry of metrics: complete, the only place of their names, and what it says is what is measured."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from parts import make_batch, make_head

from energydiag import metrics
from energydiag.metrics import METRICS, direction, metric, smallest_change
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect, inspect_run
from energydiag.rules import rules

PACKAGE = Path(metrics.__file__).resolve().parent
MEASURING = ("metrics.py", "probes", "runs", "rules")
"""Where names of metrics may stand: the registry, what measures, and what judges."""

CURVES = ("run", "run.info_nce")
"""Which begin the names of curves, and are one."""

SAMPLES = PACKAGE.parent / "sample_checkpoints"


def is_name(text: str) -> bool:
    """Whether a text is the name of a metric or of a family, or begins a name whose rest varies."""
    named = (one.name for one in METRICS if one.name not in CURVES)
    return "." in text and any(text in (name, f"{name}.", f"{name}.k") for name in named)


def literals(path: Path) -> list[tuple[int, str]]:
    """Texts in a module that are names of metrics, or begin like one; sentences are none."""
    tree = ast.parse(path.read_text())
    texts = ((node.lineno, node.value) for node in ast.walk(tree) if isinstance(node, ast.Constant))
    return [(line, text) for line, text in texts if isinstance(text, str) and is_name(text)]


def test_names_of_metrics_stand_in_the_registry_in_probes_and_in_rules_alone() -> None:
    found = {
        f"{path.relative_to(PACKAGE)}:{line} {text}"
        for path in PACKAGE.rglob("*.py")
        if path.relative_to(PACKAGE).parts[0] not in MEASURING
        for line, text in literals(path)
    }
    assert not found


def test_no_metric_stands_twice_and_each_has_a_meaning_and_a_unit() -> None:
    names = [one.name for one in METRICS]
    assert len(set(names)) == len(names)
    assert all(one.meaning for one in METRICS)
    assert all(metric(name).unit for name in names)
    orders = [one.tile.order for one in METRICS if one.tile] + [100 + one.sweep[0] for one in METRICS if one.sweep]
    assert len(set(orders)) == len(orders)
    for series in metrics.SERIES.values():
        assert (series.better == "none") == (series.seeds == 0)


def test_rules_ask_for_metrics_that_there_are() -> None:
    asked = {name for rule in rules().values() for name in (*rule.needs, *rule.optional)}
    assert not [name for name in asked if not metrics.is_known(name)]


def test_all_that_is_measured_is_known() -> None:
    measured = list(inspect(EnergyFunction(make_head("original"), "original"), make_batch(24), seed=0).measurements)
    for log in sorted((SAMPLES / "runs").iterdir()):
        measured += inspect_run(log).measurements
    assert len(measured) > 300
    assert not [one.name for one in measured if not metrics.is_known(one.name)]


@pytest.mark.parametrize(
    ("name", "beside", "better", "matters"),
    [
        ("auroc.swap", None, "higher", 0.005),
        ("auroc.noise_0.7", None, "higher", 0.005),
        ("top1.swap.chance", 1.0, "none", None),
        ("field.alignment.chance_std", 1.0, "none", None),
        ("field.correction_gain.k3", None, "higher", 0.01),
        ("field.correction_energy.k3", 1.0, "none", None),
        ("gap.policy", None, "higher", None),
        ("gap.policy", -2.0, "higher", 0.1),
        ("loss.swap", 3.0, "lower", 0.06),
        ("loss.swap.floor", 3.0, "none", None),
        ("head.slope_saturated_fraction.low", None, "lower", 0.02),
        ("npc.swap", 1.0, "none", None),
        ("something.else", 1.0, "none", None),
    ],
)
def test_direction_and_smallest_change_come_from_the_family(
    name: str, beside: float | None, better: str, matters: float | None
) -> None:
    assert direction(name) == better
    assert smallest_change(name, beside) == (None if matters is None else pytest.approx(matters))
