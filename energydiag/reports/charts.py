"""Which charts a page shows of a result: from its own curves, histograms and measurements."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from energydiag.metrics import (
    ACTION_GRADIENT,
    ACTION_SHARES,
    ALIGNMENT,
    ALIGNMENT_POLICY,
    AUROC,
    AUROC_POLICY,
    GAIN,
    GAIN_1,
    GAIN_4,
    GAP_STD,
    PARAMETER_GRADIENTS,
    SATURATED,
    TOP1,
    direction,
    metric,
    part,
)
from energydiag.reports.chart import Chart, Dot, Limit, Series
from energydiag.reports.chart_scale import Kind
from energydiag.results import (
    Changes,
    Comparison,
    Curve,
    Diagnosis,
    Distribution,
    Fleet,
    Measurement,
    MetricChange,
    Repair,
    RunDiagnosis,
)

_NONE = Limit(0.0, "no change")
_CHANCE = Limit(0.5, "chance")
_WORDS = {
    "swap": "other contexts' actions",
    "policy": "the policy's action",
    "supplied": "supplied negatives",
    "positive": "expert",
}
_FEWEST = 2
_OUTLINES = 4
_FAR = 10.0


def charts_of(result: Diagnosis | Repair | Fleet) -> Iterable[Chart]:
    """The charts, the most telling first; some may turn out to have nothing to draw."""
    if isinstance(result, Repair):
        return _of_repair(result)
    if isinstance(result, Fleet):
        return _of_fleet(result)
    return _of_run(result) if isinstance(result, RunDiagnosis) else _of_diagnosis(result)


def source_name(name: str) -> str:
    """A source of actions, in words."""
    return _WORDS.get(name, name.replace("_", " "))


def _short_source(name: str) -> str:
    """A source of actions, as it fits beside a row."""
    return {"swap": "others' actions", "policy": "policy's action"}.get(name, source_name(name))


def _of_diagnosis(diagnosis: Diagnosis) -> Iterable[Chart]:
    histograms = {d.name: d for d in diagnosis.distributions}
    curves = {c.name: c for c in diagnosis.curves}
    yield from _energies(histograms)
    yield from _head(histograms, curves)
    yield from _separation(diagnosis.measurements)
    yield from _correction({"": diagnosis})
    yield from _alignment(diagnosis.measurements)
    norms = histograms.get("gradient.actions.norm")
    if norms is not None:
        one = Series("samples", norms.edges, _shares(norms), look=0, style="filled")
        kind: Kind = "log" if norms.edges and norms.edges[0] > 0 else "linear"
        yield Chart(
            "Size of the action gradient",
            "How strongly each sample's energy pulls on the action; a gradient near 0 moves nothing.",
            *("‖∂E/∂a‖, energy per action", "share per bin"),
            (one,),
            x_kind=kind,
            y_kind="root",
        )
    yield from _action_shares(diagnosis.measurements)
    yield from _modules(diagnosis.measurements)


def _shares(counted: Distribution) -> tuple[float, ...]:
    total = max(sum(counted.counts), 1)
    return tuple(count / total for count in counted.counts)


def _energies(histograms: Mapping[str, Distribution]) -> Iterable[Chart]:
    found = {name.removeprefix("energy."): d for name, d in histograms.items() if name.startswith("energy.")}
    noise = [name for name in found if name.startswith("noise_")][-1:]
    layers = [name for name in found if name.startswith("layer_")][:1]
    # more than a few outlines in one picture cannot be told apart
    names = [name for name in ("positive", "swap", "policy", "supplied", *noise, *layers) if name in found][:_OUTLINES]
    if not names:
        return
    series = tuple(
        Series(
            source_name(name),
            found[name].edges,
            _shares(found[name]),
            look=look,
            style="filled" if name in ("positive", "swap") else "bins",
        )
        for look, name in enumerate(names)
    )
    yield Chart(
        "Energies: expert against negatives",
        "The expert's energies should lie lowest, apart from all others.",
        "energy (low = fits)",
        "share per bin (square-root scale)",
        series,
        y_kind="root",
    )


def _head(histograms: Mapping[str, Distribution], curves: Mapping[str, Curve]) -> Iterable[Chart]:
    slope = curves.get("head.relative_slope")
    if slope is None:
        return
    series = [Series("slope of the head", slope.x, slope.y, look=2)]
    for look, (name, label) in enumerate((("positive", "expert"), ("negative", "other contexts' actions"))):
        raw = histograms.get(f"head.raw.{name}")
        if raw is not None:
            highest = max((*raw.counts, 1))
            heights = tuple(count / highest for count in raw.counts)
            series.append(Series(f"raw values, {label}", raw.edges, heights, look=look, style="filled"))
    yield Chart(
        "Raw values under the head's slope",
        "Raw values that lie where the slope is low receive no gradient: the head is saturated there.",
        "raw output of the head",
        "relative to the highest",
        tuple(series),
        limits=(Limit(0.1, "saturated below"),),
        y_within=(0.0, 1.05),
    )


def _dot(m: Measurement, row: str, series: str = "", look: int = 0) -> Dot:
    low, high = m.ci95 or (None, None)
    return Dot(row, series, m.value, low, high, look)


def _separation(measurements: Sequence[Measurement]) -> Iterable[Chart]:
    sources = {source: m for m in measurements if (source := part(m.name, "auroc"))}
    if len(sources) >= _FEWEST:
        yield Chart(
            "Expert against each kind of wrong action",
            "How often the expert's energy is lower: 1 is always, 0.5 is chance, below it is upside down.",
            "AUROC and 95 % interval",
            dots=tuple(_dot(m, _short_source(source)) for source, m in sources.items()),
            limits=(_CHANCE,),
            x_within=(0.0, 1.0),
        )


def _alignment(measurements: Sequence[Measurement]) -> Iterable[Chart]:
    found = {start: m for m in measurements if (start := part(m.name, ALIGNMENT)) and direction(m.name) != "none"}
    if len(found) >= _FEWEST:
        yield Chart(
            "Does the gradient point to the expert?",
            "Cosine between the way down the energy and the way to the expert's action: 1 is right, 0 is chance.",
            "cosine and 95 % interval",
            dots=tuple(_dot(m, f"from {_short_source(start)}") for start, m in found.items()),
            limits=(Limit(0.0, "chance"),),
        )


def _correction(arms: Mapping[str, Diagnosis]) -> Iterable[Chart]:
    """How the action error changes on the way down the energy, in each arm."""
    series = []
    for look, (arm, diagnosis) in enumerate(arms.items()):
        gains = next((c for c in diagnosis.curves if c.name == GAIN), None)
        if gains is None:
            continue
        found = [diagnosis.measurement(f"{GAIN}.k{x:.0f}") if abs(x) < 1e6 else None for x in gains.x]
        ends = [
            (-100 * y, -100 * y) if m is None or m.ci95 is None else (-100 * m.ci95[1], -100 * m.ci95[0])
            for m, y in zip(found, gains.y, strict=False)
        ]
        low, high = (tuple(end[side] for end in ends) for side in (0, 1))
        banded = any(m is not None and m.ci95 is not None for m in found)
        series.append(
            Series(
                *(arm or "action error", gains.x, tuple(-100 * y for y in gains.y)),
                *((low, high) if banded else ((), ())),
                look=look,
                style="marked",
            )
        )
    if series:
        yield Chart(
            "Action error along the energy",
            "Below 0, following the energy brings the action closer to the expert's; above 0 it leads astray.",
            *("steps down the energy, best step length", "change of the error, %"),
            tuple(series),
            limits=(_NONE,),
        )


def _action_shares(measurements: Sequence[Measurement]) -> Iterable[Chart]:
    for what, title in (("dimension", "dimension of the action"), ("step", "step of the chunk")):
        found = [m for m in measurements if m.name.startswith(f"{ACTION_SHARES}.{what}_")]
        if len(found) >= _FEWEST:
            yield Chart(
                f"Action gradient by {title}",
                "Where in the action the gradient lies; a share far above the equal one drowns the others.",
                "share of the squared gradient",
                dots=tuple(_dot(m, f"{what} {m.name.rpartition('_')[2]}") for m in found),
                limits=(Limit(1 / len(found), "equal"),),
            )


def _modules(measurements: Sequence[Measurement]) -> Iterable[Chart]:
    found = {module: m for m in measurements if (module := part(m.name, PARAMETER_GRADIENTS))}
    if len(found) >= _FEWEST:
        kind: Kind = "log" if all(m.value > 0 for m in found.values()) else "linear"
        yield Chart(
            "Gradient of the loss in each module",
            "First module at the top; a drop over many decades means that the first ones do not learn.",
            "gradient norm",
            dots=tuple(_dot(m, module) for module, m in found.items()),
            x_kind=kind,
        )


_RUN_LOSSES = {"run.loss": "loss", "run.info_nce": "InfoNCE", "run.validation_loss": "held-out samples"}
_RUN_LIMITS = {"run.chance": "chance", "run.floor": "floor"}
_RUN_OTHERS = {
    "run.gap": (
        "Energies told apart: gap",
        "Others' energy less the expert's; it should rise above 0.",
        "gap",
        Limit(0.0, "none"),
        "linear",
    ),
    "run.auroc": ("Energies told apart: AUROC", "It should rise from chance towards 1.", "AUROC", _CHANCE, "linear"),
    "run.gradient_norm": ("Gradient norm", "Neither growing without end nor falling to 0.", "norm", None, "log"),
    "run.learning_rate": ("Learning rate", "What the schedule asked for.", "rate", None, "linear"),
}


def _of_run(diagnosis: Diagnosis) -> Iterable[Chart]:
    curves = {curve.name: curve for curve in diagnosis.curves}
    lines = [
        Series(label, curves[name].x, curves[name].y, look=look)
        for look, (name, label) in enumerate((name, label) for name, label in _RUN_LOSSES.items() if name in curves)
    ]
    limits = [
        Series(label, curves[name].x, curves[name].y, style="limit")
        for name, label in _RUN_LIMITS.items()
        if name in curves
    ]
    if lines:
        both = len(limits) == len(_RUN_LIMITS)
        yield Chart(
            f"Loss{' between chance and floor' if both else ''}",
            "A loss at its floor can fall no further, and one at chance has learned nothing.",
            *("step", "nats", (*lines, *limits)),
        )
    for name, curve in curves.items():
        if name in _RUN_OTHERS:
            title, lead, y, limit, kind = _RUN_OTHERS[name]
            fits = kind == "linear" or (bool(curve.y) and min(curve.y) > 0)
            yield Chart(
                *(title, lead, "step", y, (Series(y, curve.x, curve.y),)),
                limits=(limit,) if limit else (),
                y_kind="log" if kind == "log" and fits else "linear",
            )


_FLEET_CHARTS: Sequence[tuple[str, str, str, tuple[str, ...], Limit | None, tuple[float, float] | None]] = (
    (
        "Ranking and saturation",
        "Ranking should rise towards 1, saturation stay at 0.",
        "share",
        (AUROC, TOP1, AUROC_POLICY, SATURATED),
        None,
        (0.0, 1.02),
    ),
    (
        "The field: above 0 it helps",
        "Where following the energy leads: alignment with the way to the expert, and action error won.",
        "cosine, share of the error",
        (ALIGNMENT_POLICY, GAIN_1, GAIN_4),
        Limit(0.0, "no help"),
        None,
    ),
    (
        "Gap",
        "Mean energy of others' actions less the expert's, in standard deviations.",
        "standard deviations",
        (GAP_STD,),
        Limit(0.0, "none"),
        None,
    ),
    (
        "Action gradient",
        "Median norm; near 0 the energy moves no action.",
        "median norm",
        (ACTION_GRADIENT,),
        None,
        None,
    ),
)


def _of_fleet(fleet: Fleet) -> Iterable[Chart]:
    rows = [row for row in fleet.rows if row.diagnosis is not None]
    steps = [row.step for row in rows]
    stepped = None not in steps and len(set(steps)) == len(steps)
    for title, lead, y, names, limit, within in _FLEET_CHARTS:
        series = []
        for look, name in enumerate(names):
            found = [  # a line needs two places
                (float(row.step or 0) if stepped else float(place), m)
                for place, row in enumerate(rows, 1)
                if row.diagnosis is not None and (m := row.diagnosis.measurement(name)) is not None
            ]
            if len(found) < _FEWEST:
                continue
            banded = all(m.ci95 is not None for _, m in found)
            ends = [m.ci95 or (m.value, m.value) for _, m in found]
            low, high = (tuple(end[side] for end in ends) if banded else () for side in (0, 1))
            xs, ys = tuple(x for x, _ in found), tuple(m.value for _, m in found)
            series.append(Series(metric(name).label, xs, ys, low, high, look=look, style="marked"))
        log = y == "median norm" and bool(series) and min(min((*s.y, *s.low)) for s in series) > 0
        if series:
            yield Chart(
                *(title, lead, "step" if stepped else "checkpoint, in the order of the table", y, tuple(series)),
                limits=(limit,) if limit else (),
                y_kind="log" if log else "linear",
                y_within=within,
            )


def _of_repair(repair: Repair) -> Iterable[Chart]:
    judged = repair.against_before or repair.comparison
    names = [metric.name for metric in judged.metrics] if judged is not None else []
    looks = {arm: look for look, arm in enumerate(repair.arms)}
    dots = tuple(
        _dot(m, name, arm, looks[arm])
        for name in names
        for arm, diagnosis in repair.arms.items()
        if (m := diagnosis.measurement(name)) is not None
    )
    if dots:
        yield Chart(
            "What the repair is judged on",
            "Scale-free numbers of every arm on the same held-out samples; the repair has to beat both others.",
            "value and 95 % interval",
            dots=dots,
            limits=(Limit(0.0, "0"),),
        )
    for title, comparison in (
        ("Change against before", repair.against_before),
        ("Change against the control", repair.comparison),
    ):
        yield from changes_chart(title, comparison)
    yield from _correction(repair.arms)
    yield from _arms_energies(repair.arms)
    yield from _repair_losses(repair.curves)


def compared_charts(compared: Comparison) -> Iterable[Chart]:
    """The curves of every side with what lies around them, and the changes with their intervals."""
    looks = {side.name: look for look, side in enumerate(compared.sides)}
    by_name: dict[str, list[Series]] = {}
    for band in compared.bands:
        look = looks.get(band.side, len(looks))
        one = Series(band.side, band.x, band.y, band.low, band.high, look=look)
        by_name.setdefault(band.name, []).append(one)
    for name, series in by_name.items():
        yield Chart(
            name, "The line is the middle of a side, the band what lies around it.", "step", name, tuple(series)
        )
    judged = [m for m in compared.judged if m.values]
    # only changes in the same unit have a place on the same axis, so each is measured in what matters
    dots = [
        Dot(
            m.name, list(m.values)[-1], m.delta / m.matters, *_over(m.ci95, m.matters), looks.get(list(m.values)[-1], 1)
        )
        for m in judged
        if m.matters is not None and m.matters > 0
    ]
    if dots:
        yield Chart(
            "Changes, in units of what matters",
            "Between the lines a change does not matter; which direction is good stands in the table.",
            "change over the smallest that matters",
            dots=tuple(dots),
            limits=(Limit(-1.0, ""), Limit(0.0, "none"), Limit(1.0, "")),
            # one huge change would squeeze the others together; it is drawn at the edge
            x_within=(-_FAR, _FAR) if max(abs(dot.value) for dot in dots) > _FAR else None,
        )


def _over(ends: tuple[float, float] | None, unit: float) -> tuple[float | None, float | None]:
    return (None, None) if ends is None else (ends[0] / unit, ends[1] / unit)


def changes_chart(title: str, comparison: Changes | None) -> Iterable[Chart]:
    """Every number's change with its interval."""
    metrics: Sequence[MetricChange] = () if comparison is None else comparison.metrics
    if metrics:
        yield Chart(
            title,
            "An interval that does not touch 0 is a change; its verdict in the table says whether it is a good one.",
            "change and 95 % interval",
            dots=tuple(Dot(m.name, "", m.delta, *(m.ci95 or (None, None))) for m in metrics),
            limits=(Limit(0.0, "none"),),
        )


def _arms_energies(arms: Mapping[str, Diagnosis]) -> Iterable[Chart]:
    for arm, diagnosis in arms.items():
        if arm in ("before", "after"):
            for chart in _energies({d.name: d for d in diagnosis.distributions}):
                yield Chart(
                    f"Energies {arm}",
                    *(chart.lead, chart.x, chart.y, chart.series),
                    y_kind=chart.y_kind,
                )


def _repair_losses(curves: Sequence[Curve]) -> Iterable[Chart]:
    words = {"info_nce": "", "floor": ", floor", "chance": ", chance"}
    looks: dict[str, int] = {}
    series = []
    for curve in curves:
        arm, _, what = curve.name.partition(".")
        look = looks.setdefault(arm, len(looks))
        limit = what in ("floor", "chance", "") and what != "info_nce"
        label = f"{arm}{words.get(what, f' {what}')}" if what else arm
        series.append(Series(label, curve.x, curve.y, look=look, style="limit" if limit else "line"))
    if series:
        yield Chart(
            "Contrastive loss while training",
            "Arms differ in head and negatives, so their losses have different floors.",
            *("step", "nats", tuple(series)),
        )
