"""Charts as SVG that stands in the page itself: lines with bands, histograms, and numbers with their intervals.

Nothing here has a colour: elements have classes, which the page's style gives colours for light and dark. Every series
has a class of its own with its own dashes, so that colour is never all that tells two of them apart.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal
from xml.etree import ElementTree

from markupsafe import Markup

from energydiag.reports.chart_scale import Kind, Scale, drawable, scale, thinned
from energydiag.reports.markdown import one_line
from energydiag.reports.wording import short

_WIDTH, _HEIGHT = 400.0, 250.0
"""Units of the drawing; it is about as many pixels wide on a small phone, so that text stays readable there."""

_LEFT, _RIGHT, _TOP, _BOTTOM = 46.0, 12.0, 24.0, 38.0
_ROW = 21.0
_LABELS = 170.0
_LETTERS = 25
_MOST_POINTS = 400
_MOST_ROWS = 120
_MOST_DOTS = 40
LOOKS = 8
"""Series that look different from each other."""


@dataclass(frozen=True)
class Series:
    """One line, histogram or kind of dot.

    Attributes:
        label: What the legend calls it.
        x: Places; for a histogram the k + 1 edges of the bins.
        y: Values; for a histogram the k heights.
        low: Lower ends of the band, or empty.
        high: Upper ends of the band, or empty.
        look: Which of the `LOOKS`.
        style: How it is drawn; a ``limit`` is a thin line that something is compared with.
    """

    label: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    high: tuple[float, ...] = ()
    look: int = 0
    style: Literal["line", "marked", "bins", "filled", "limit"] = "line"


@dataclass(frozen=True)
class Limit:
    """A value that others are compared with, such as chance."""

    value: float
    label: str


@dataclass(frozen=True)
class Dot:
    """A number with its interval: one row of a chart, in one series."""

    row: str
    series: str
    value: float
    low: float | None = None
    high: float | None = None
    look: int = 0


@dataclass(frozen=True)
class Chart:
    """What a figure shows.

    Attributes:
        title: A few words.
        lead: One sentence: what to look for.
        x: What the horizontal axis is.
        y: What the vertical axis is, empty for dots.
        series: Lines and histograms.
        dots: Numbers with intervals; a chart has either these or series.
        limits: Values to compare with.
        x_kind: Of the horizontal axis.
        y_kind: Of the vertical axis.
        x_within: Its range, where that is fixed.
        y_within: Its range, where that is fixed.
    """

    title: str
    lead: str
    x: str
    y: str = ""
    series: tuple[Series, ...] = ()
    dots: tuple[Dot, ...] = ()
    limits: tuple[Limit, ...] = ()
    x_kind: Kind = "linear"
    y_kind: Kind = "linear"
    x_within: tuple[float, float] | None = None
    y_within: tuple[float, float] | None = None


@dataclass(frozen=True)
class Legend:
    """An entry of the legend: its text, and a small drawing of how the series looks."""

    label: str
    swatch: Markup


@dataclass(frozen=True)
class Drawn:
    """A chart, drawn.

    Attributes:
        svg: The drawing.
        description: What it shows, in words.
        legend: Its series, if they are several.
        columns: Titles of the table of its numbers.
        rows: The table's rows.
        note: What the table leaves out, or empty.
    """

    svg: Markup
    description: str
    legend: tuple[Legend, ...]
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


@dataclass
class _Canvas:
    """An SVG in the making; the library escapes all text."""

    height: float
    name: str
    root: ElementTree.Element = field(init=False)

    def __post_init__(self) -> None:
        self.root = ElementTree.Element(
            "svg",
            {
                "viewBox": f"0 0 {_WIDTH:g} {self.height:g}",
                "role": "img",
                "aria-labelledby": f"{self.name}-title {self.name}-text",
                "class": "chart",
                "focusable": "false",
            },
        )

    def add(self, tag: str, text: str = "", **attributes: str | float) -> None:
        """An element; numbers get one decimal."""
        plain = {
            key.rstrip("_").replace("_", "-"): value if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
            for key, value in attributes.items()
        }
        ElementTree.SubElement(self.root, tag, plain).text = one_line(text) if text else None

    def markup(self) -> Markup:
        """The whole."""
        return Markup(ElementTree.tostring(self.root, encoding="unicode"))


def drawn(chart: Chart, name: str) -> Drawn | None:
    """The chart as SVG, in words and as a table, or None where nothing of it can be drawn.

    Args:
        chart: What to draw.
        name: Beginning of the ids in it, once in a page.
    """
    return _drawn_dots(chart, name) if chart.dots else _drawn_series(chart, name)


def _sound(one: Series) -> Series | None:
    """The series without what has no place on an axis, or None where nothing is left."""
    bins = one.style in ("bins", "filled")
    if bins:
        rising = all(a <= b for a, b in zip(one.x, one.x[1:], strict=False))
        if len(one.x) != len(one.y) + 1 or not one.y or not all(map(drawable, (*one.x, *one.y))) or not rising:
            return None
        return one if sum(one.y) > 0 and min(one.y) >= 0 else None
    banded = len(one.low) == len(one.high) == len(one.x)
    kept = [i for i in range(min(len(one.x), len(one.y))) if drawable(one.x[i]) and drawable(one.y[i])]
    if banded:
        banded = all(drawable(one.low[i]) and drawable(one.high[i]) for i in kept)
    if not kept:
        return None
    return Series(
        one.label,
        tuple(one.x[i] for i in kept),
        tuple(one.y[i] for i in kept),
        tuple(one.low[i] for i in kept) if banded else (),
        tuple(one.high[i] for i in kept) if banded else (),
        one.look,
        one.style,
    )


def _drawn_series(chart: Chart, name: str) -> Drawn | None:
    shown = [kept for one in chart.series if (kept := _sound(one)) is not None]
    if not any(one.style != "limit" for one in shown):
        return None
    limits = [limit for limit in chart.limits if drawable(limit.value)]
    across = scale((x for one in shown for x in one.x), _LEFT, _WIDTH - _RIGHT, chart.x_kind, chart.x_within)
    ys = [y for one in shown for y in (*one.y, *one.low, *one.high)] + [limit.value for limit in limits]
    up = scale(ys, _HEIGHT - _BOTTOM, _TOP, chart.y_kind, chart.y_within)
    canvas = _Canvas(_HEIGHT, name)
    description = _in_words(shown, limits)
    canvas.add("title", chart.title, id=f"{name}-title")
    canvas.add("desc", f"{chart.lead} {description}", id=f"{name}-text")
    _axes(canvas, across, up, chart)
    for limit in limits:
        y = up.at(limit.value)
        canvas.add("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="limit")
        canvas.add("text", limit.label, x=_WIDTH - _RIGHT - 2, y=y - 3, class_="note end")
    for one in shown:
        _draw(canvas, one, across, up)
    columns, rows, note = _table(chart, shown)
    named = [one for one in shown if one.style != "limit"]
    legend = tuple(Legend(one.label, _swatch(one)) for one in named) if len(named) > 1 else ()
    return Drawn(canvas.markup(), description, legend, columns, rows, note)


def _axes(canvas: _Canvas, across: Scale, up: Scale, chart: Chart) -> None:
    for value, text in up.ticks():
        y = up.at(value)
        canvas.add("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=y, y2=y, class_="grid")
        canvas.add("text", text, x=_LEFT - 5, y=y + 4, class_="tick end")
    bottom = _HEIGHT - _BOTTOM
    canvas.add("line", x1=_LEFT, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis")
    for value, text in across.ticks():
        x = across.at(value)
        canvas.add("line", x1=x, x2=x, y1=bottom, y2=bottom + 4, class_="axis")
        canvas.add("text", text, x=x, y=bottom + 16, class_="tick middle")
    canvas.add("text", chart.y, x=4, y=12, class_="name")
    canvas.add("text", chart.x, x=(_LEFT + _WIDTH - _RIGHT) / 2, y=_HEIGHT - 5, class_="name middle")


def _draw(canvas: _Canvas, one: Series, across: Scale, up: Scale) -> None:
    look = f"s{one.look % LOOKS}"
    if one.style in ("bins", "filled"):
        points = [(one.x[0], 0.0)]
        for left, right, height in zip(one.x, one.x[1:], one.y, strict=False):
            points += [(left, height), (right, height)]
        path = _path([*points, (one.x[-1], 0.0)], across, up)
        if one.style == "filled":
            canvas.add("path", d=path, class_=f"area {look}")
        canvas.add("path", d=path, class_=f"line {look}")
        return
    places = thinned(len(one.x), _MOST_POINTS)
    if one.low:
        edge = [(one.x[i], one.high[i]) for i in places] + [(one.x[i], one.low[i]) for i in reversed(places)]
        canvas.add("path", d=f"{_path(edge, across, up)}Z", class_=f"area {look}")
    kind = "limit" if one.style == "limit" else f"line {look}"
    canvas.add("path", d=_path([(one.x[i], one.y[i]) for i in places], across, up), class_=kind)
    if one.style == "limit":
        canvas.add("text", one.label, x=_WIDTH - _RIGHT - 2, y=up.at(one.y[-1]) - 3, class_="note end")
    if one.style == "marked" or len(places) == 1:
        for i in places:
            canvas.add("circle", cx=across.at(one.x[i]), cy=up.at(one.y[i]), r=3.0, class_=f"dot {look}")


def _path(points: Iterable[tuple[float, float]], across: Scale, up: Scale) -> str:
    told = [f"{across.at(x):.1f} {up.at(y):.1f}" for x, y in points]
    return f"M{'L'.join(told)}"


def _swatch(one: Series) -> Markup:
    """A small drawing of how a series looks; the words stand beside it."""
    look = f"s{one.look % LOOKS}"
    root = ElementTree.Element("svg", {"viewBox": "0 0 28 10", "class": "swatch", "aria-hidden": "true"})
    if one.style == "filled":
        ElementTree.SubElement(root, "path", {"d": "M0 0H28V10H0Z", "class": f"area {look}"})
    ElementTree.SubElement(root, "path", {"d": "M0 5H28", "class": f"line {look}"})
    if one.style == "marked":
        ElementTree.SubElement(root, "circle", {"cx": "14", "cy": "5", "r": "3", "class": f"dot {look}"})
    return Markup(ElementTree.tostring(root, encoding="unicode"))


def _in_words(shown: Sequence[Series], limits: Sequence[Limit]) -> str:
    told = [_series_in_words(one) for one in shown]
    return " ".join([*told, *(f"{limit.label}: {short(limit.value)}." for limit in limits if limit.label)])


def _series_in_words(one: Series) -> str:
    if one.style in ("bins", "filled"):
        total, run, middle = sum(one.y), 0.0, one.x[0]
        for left, right, height in zip(one.x, one.x[1:], one.y, strict=False):
            middle = (left + right) / 2
            run += height
            if run >= total / 2:
                break
        filled = [i for i, height in enumerate(one.y) if height > 0]
        return (
            f"{one.label}: from {short(one.x[filled[0]])} to {short(one.x[filled[-1] + 1])}, half of it below about "
            f"{short(middle)}."
        )
    if len(set(one.y)) == 1:
        return f"{one.label}: {short(one.y[0])} throughout."
    return (
        f"{one.label}: {short(one.y[0])} at {short(one.x[0])}, {short(one.y[-1])} at {short(one.x[-1])}, "
        f"lowest {short(min(one.y))}, highest {short(max(one.y))}."
    )


def _table(chart: Chart, shown: Sequence[Series]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], str]:
    """Title of the columns, rows by place, and what was left out."""
    bins = [one for one in shown if one.style in ("bins", "filled")]
    cells: dict[tuple[float, float], dict[int, str]] = {}
    for number, one in enumerate(shown):
        if one.style in ("bins", "filled"):
            for left, right, height in zip(one.x, one.x[1:], one.y, strict=False):
                cells.setdefault((left, right), {})[number] = short(height)
        elif bins:  # beside a histogram a line is told in the middle of each bin
            for left, right in zip(bins[0].x, bins[0].x[1:], strict=False):
                nearest = min(range(len(one.x)), key=lambda i: abs(one.x[i] - (left + right) / 2))
                cells.setdefault((left, right), {})[number] = short(one.y[nearest])
        else:
            for i, (x, y) in enumerate(zip(one.x, one.y, strict=True)):
                band = f" ({short(one.low[i])} .. {short(one.high[i])})" if one.low else ""
                cells.setdefault((x, x), {})[number] = f"{short(y)}{band}"
    places = sorted(cells)
    if bins:
        places = [place for place in places if any(text != "0" for text in cells[place].values())]
    kept = thinned(len(places), _MOST_ROWS)
    rows = tuple((_place(places[i]), *(cells[places[i]].get(number, "") for number in range(len(shown)))) for i in kept)
    note = f"{len(kept)} of {len(places)} places, evenly spread." if len(kept) < len(places) else ""
    return (chart.x, *(one.label for one in shown)), rows, note


def _place(place: tuple[float, float]) -> str:
    left, right = place
    if left == right:
        return short(left)
    return f"{_digits(left)} .. {_digits(right)}"


def _digits(value: float) -> str:
    return f"{value:.4g}"


def _drawn_dots(chart: Chart, name: str) -> Drawn | None:
    rows = list(dict.fromkeys(dot.row for dot in chart.dots if drawable(dot.value)))
    shown_rows = rows[:_MOST_DOTS]
    dots = [dot for dot in chart.dots if drawable(dot.value) and dot.row in set(shown_rows)]
    if not dots:
        return None
    limits = [limit for limit in chart.limits if drawable(limit.value)]
    series = list(dict.fromkeys((dot.series, dot.look) for dot in dots))
    ends = [end for dot in dots for end in (dot.value, dot.low, dot.high) if end is not None]
    if chart.x_kind == "log" and not any(drawable(end) and end > 0 for end in ends):
        return None
    high = _ROW if len(series) < 3 else _ROW + 4.0 * (len(series) - 2)
    height = _TOP + high * len(shown_rows) + _BOTTOM
    values = [*ends, *(limit.value for limit in limits)]
    across = scale(values, _LABELS, _WIDTH - _RIGHT, chart.x_kind, chart.x_within)
    canvas = _Canvas(height, name)
    description = _dots_in_words(dots, series, limits)
    canvas.add("title", chart.title, id=f"{name}-title")
    canvas.add("desc", f"{chart.lead} {description}", id=f"{name}-text")
    bottom = height - _BOTTOM
    for value, text in across.ticks(4):
        x = across.at(value)
        canvas.add("line", x1=x, x2=x, y1=_TOP, y2=bottom, class_="grid")
        canvas.add("text", text, x=x, y=bottom + 16, class_="tick middle")
    canvas.add("line", x1=_LABELS, x2=_WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="axis")
    canvas.add("text", chart.x, x=(_LABELS + _WIDTH - _RIGHT) / 2, y=height - 5, class_="name middle")
    for limit in limits:
        x = across.at(limit.value)
        canvas.add("line", x1=x, x2=x, y1=_TOP - 4, y2=bottom, class_="limit")
        canvas.add("text", limit.label, x=x, y=_TOP - 8, class_="note middle")
    for place, row in enumerate(shown_rows):
        middle = _TOP + high * (place + 0.5)
        canvas.add("text", _shortened(row), x=_LABELS - 8, y=middle + 4, class_="tick end")
        own = [dot for dot in dots if dot.row == row]
        for dot in own:
            number = series.index((dot.series, dot.look))
            y = middle + (number - (len(series) - 1) / 2) * min(7.0, high / len(series))
            _draw_dot(canvas, dot, across, y)
    columns, table = _dots_table(rows, chart.dots, [label for label, _ in series])
    note = f"The drawing shows the first {len(shown_rows)} of {len(rows)}." if len(rows) > len(shown_rows) else ""
    legend = tuple(_dot_legend(label, look) for label, look in series) if len(series) > 1 else ()
    return Drawn(canvas.markup(), description, legend, columns, table, note)


def _draw_dot(canvas: _Canvas, dot: Dot, across: Scale, y: float) -> None:
    look = f"s{dot.look % LOOKS}"
    if dot.low is not None and dot.high is not None and drawable(dot.low) and drawable(dot.high):
        canvas.add("line", x1=across.at(dot.low), x2=across.at(dot.high), y1=y, y2=y, class_=f"whisker {look}")
    x = across.at(dot.value)
    marks = {
        0: ("circle", {"cx": x, "cy": y, "r": 4.0}),
        1: ("rect", {"x": x - 3.5, "y": y - 3.5, "width": 7.0, "height": 7.0}),
        2: ("path", {"d": f"M{x:.1f} {y - 5:.1f}l5 5l-5 5l-5 -5Z"}),
    }
    tag, attributes = marks[dot.look % len(marks)]
    canvas.add(tag, class_=f"dot {look}", **attributes)  # type: ignore[arg-type]


def _dot_legend(label: str, look: int) -> Legend:
    canvas = _Canvas(10, "legend")
    canvas.root.attrib.clear()
    canvas.root.attrib.update({"viewBox": "0 0 28 10", "class": "swatch", "aria-hidden": "true"})
    _draw_dot(canvas, Dot("", "", 0.5, 0.0, 1.0, look), Scale(0, 1, 0, 28), 5)
    return Legend(label, canvas.markup())


def _dots_in_words(dots: Sequence[Dot], series: Sequence[tuple[str, int]], limits: Sequence[Limit]) -> str:
    told = []
    for label, look in series:
        own = [dot for dot in dots if (dot.series, dot.look) == (label, look)]
        least, most = min(own, key=lambda dot: dot.value), max(own, key=lambda dot: dot.value)
        named = f"{label}: " if label else ""
        if len(own) == 1:
            told.append(f"{named}{least.row} {short(least.value)}.")
        else:
            told.append(f"{named}lowest {least.row} {short(least.value)}, highest {most.row} {short(most.value)}.")
    return " ".join([*told, *(f"{limit.label}: {short(limit.value)}." for limit in limits if limit.label)])


def _dots_table(
    rows: Sequence[str], dots: Iterable[Dot], series: Sequence[str]
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    found = {(dot.row, dot.series): dot for dot in dots}
    names = list(dict.fromkeys(series))
    many = len(names) > 1
    columns = ["what"]
    for name in names:
        columns += [name if many else name or "value", f"{name}, 95 % interval" if many else "95 % interval"]
    table = []
    for row in rows[:_MOST_ROWS]:
        cells = [row]
        for name in names:
            dot = found.get((row, name))
            known = dot is not None and dot.low is not None and dot.high is not None
            cells.append("" if dot is None else short(dot.value))
            cells.append(f"{short(dot.low)} .. {short(dot.high)}" if known and dot else "")  # type: ignore[arg-type]
        table.append(tuple(cells))
    return tuple(columns), tuple(table)


def _shortened(text: str) -> str:
    line = one_line(text)
    return line if len(line) <= _LETTERS else f"…{line[1 - _LETTERS :]}"


def gauge(value: float, ends: tuple[float, float], within: tuple[float, float], mark: float | None) -> Markup:
    """A small scale with a number and its interval on it; the number itself stands beside it as text."""
    root = ElementTree.Element("svg", {"viewBox": "0 0 200 16", "class": "gauge", "aria-hidden": "true"})
    place = Scale(*within, 6, 194)
    ElementTree.SubElement(root, "path", {"d": "M6 8H194", "class": "track"})
    if mark is not None:
        ElementTree.SubElement(root, "path", {"d": f"M{place.at(mark):.1f} 2V14", "class": "limit"})
    if all(map(drawable, ends)):
        ends_at = [place.at(end) for end in ends]
        ElementTree.SubElement(root, "path", {"d": f"M{ends_at[0]:.1f} 8H{ends_at[1]:.1f}", "class": "whisker"})
    if math.isfinite(value):
        ElementTree.SubElement(root, "circle", {"cx": f"{place.at(value):.1f}", "cy": "8", "r": "5", "class": "dot"})
    return Markup(ElementTree.tostring(root, encoding="unicode"))
