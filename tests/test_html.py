"""The page of a result: whole, closed to the outside, readable by a screen reader, and unmoved by a stranger's text."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from report_parts import TEXTS, Result, compared, diagnosis, drawn_diagnosis, every, fleet, repair, run_diagnosis

from energydiag.metrics import grouped
from energydiag.reports import reports
from energydiag.reports.as_html import LIMIT
from energydiag.reports.chart import Chart, Dot, Series, drawn
from energydiag.reports.chart_scale import scale
from energydiag.reports.report import Look
from energydiag.results import Curve, Distribution, Measurement

SVG = "{http://www.w3.org/2000/svg}"
PAGES: dict[str, Result] = {**every(), "drawn": drawn_diagnosis(), "run": run_diagnosis()}
PAYLOADS = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "</style><style>*{display:none}</style>",
    "</svg></title><a href='javascript:alert(1)'>x</a>",
    "{{ 7*7 }}{% raw %}",
    "url(https://example.org/x)",
    "]]><!-- --> &lt; &#60;",
)
URLS = ("src", "href", "action", "data", "poster", "background", "srcset", "xlink:href", "formaction", "ping")


def render(result: Result, look: Look | None = None) -> str:
    return reports()["html"].render(result, look or Look())


def tree(page: str) -> ElementTree.Element:
    """The page as a tree: it is written so that a parser of XML, which forgives nothing, reads it too."""
    return ElementTree.fromstring(page)


def words(element: ElementTree.Element) -> str:
    return " ".join("".join(element.itertext()).split())


@pytest.fixture(params=list(PAGES))
def page(request: pytest.FixtureRequest) -> str:
    return render(PAGES[request.param], Look(next_command="energydiag rules ED103\nenergydiag --help"))


def test_nothing_is_loaded_and_nothing_runs(page: str) -> None:
    check_closed(tree(page))


def check_closed(top: ElementTree.Element) -> None:
    """Only the elements and attributes that the template knows, and no address but places in the page."""
    tags = {element.tag for element in top.iter()}
    assert not tags & {"script", "img", "iframe", "object", "embed", "form", "input", "base", "video", "audio", "use"}
    for element in top.iter():
        for name, value in element.attrib.items():
            assert not name.startswith("on")
            assert name != "style"
            if name in URLS:
                assert value.startswith("#") or (element.tag == "link" and value.startswith("data:image/svg+xml,"))


def test_the_policy_lets_in_this_style_and_nothing_else(page: str) -> None:
    metas = [meta for meta in tree(page).iter("meta") if meta.get("http-equiv") == "Content-Security-Policy"]
    styles = list(tree(page).iter("style"))
    assert (len(metas), len(styles)) == (1, 1)
    inside = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert inside
    digest = base64.b64encode(hashlib.sha256(inside[1].encode()).digest()).decode()
    allowed = dict(rule.strip().split(" ", 1) for rule in str(metas[0].get("content")).split(";"))
    assert allowed == {
        "default-src": "'none'",
        "style-src": f"'sha256-{digest}'",
        "img-src": "data:",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    assert page.index("Content-Security-Policy") < page.index("<style>")
    assert not re.search(r"url\(|@import|expression\(|https?:", inside[1])


def test_it_is_one_document_with_unique_names_and_headings_in_order(page: str) -> None:
    top = tree(page)
    assert page.startswith("<!DOCTYPE html>\n")
    assert top.get("lang") == "en"
    assert words(next(top.iter("title")))
    ids = [element.get("id") for element in top.iter() if element.get("id")]
    assert len(ids) == len(set(ids))
    for element in top.iter():
        for name in (element.get("aria-labelledby") or "").split():
            assert name in ids
        if element.tag == "a":
            assert str(element.get("href")).removeprefix("#") in ids
    levels = [int(element.tag[1]) for element in top.iter() if re.fullmatch(r"h\d", str(element.tag))]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after <= before + 1 for before, after in pairwise(levels))
    assert len(list(top.iter("main"))) == 1


def test_every_figure_has_a_name_a_description_and_its_numbers(page: str) -> None:
    for figure in tree(page).iter("figure"):
        assert figure.get("role") == "group"
        chart = figure.find("svg")
        assert chart is not None
        assert chart.get("role") == "img"
        by_id = {element.get("id"): element for element in chart}
        title, description = (by_id[name] for name in str(chart.get("aria-labelledby")).split())
        assert (title.tag, description.tag) == ("title", "desc")
        assert words(title)
        assert len(words(description)) > 30
        assert figure.find("figcaption/h3") is not None
        numbers = figure.find("details//table")
        assert numbers is not None
        assert numbers.find("caption") is not None
        rows = numbers.findall("tbody/tr")
        assert rows
        assert any(re.search(r"\d", words(cell)) for row in rows for cell in row)


def test_tables_have_titles_and_can_be_scrolled_with_keys(page: str) -> None:
    top = tree(page)
    parents = {child: parent for parent in top.iter() for child in parent}
    for table in top.iter("table"):
        box = parents[table]
        assert box.get("tabindex") == "0"
        assert box.get("role") == "group"
        assert box.get("aria-label")
        head = table.findall("thead/tr/th")
        assert head
        assert all(cell.get("scope") == "col" for cell in head)
        for row in table.findall("tbody/tr"):
            assert len(row) == len(head)
            assert row[0].tag == "th"
            assert row[0].get("scope") == "row"


def test_drawings_have_no_colour_of_their_own(page: str) -> None:
    """Else they could not follow the reader's scheme."""
    for element in tree(page).iter():
        assert not {"fill", "stroke", "color", "bgcolor"} & set(element.attrib)


def test_the_pages_show_what_they_are_about() -> None:
    shown = words(tree(render(PAGES["drawn"])))
    for told in ("ED103", "loss-at-floor", "linear-head", "far below the loss", "ED203", "0.481", "0.432 .. 0.531"):
        assert told in shown
    titles = [words(heading) for heading in tree(render(PAGES["drawn"])).iter("h3")]
    for title in (
        "Energies: expert against negatives",
        "Raw values under the head's slope",
        "Action error along the energy",
    ):
        assert title in titles
    assert "chance" in words(tree(render(PAGES["run"])))
    assert "step_0.pt" in words(tree(render(fleet())))
    told = words(tree(render(compared())))
    assert "wide sigmoid is worse than baseline" in told
    assert "broken" in told


def test_a_verdict_is_a_word_and_not_a_colour_alone() -> None:
    for result, word in ((diagnosis(), "Critical"), (replace(diagnosis(), verdict="healthy", findings=()), "Healthy")):
        top = tree(render(result))
        badges = [words(span) for span in top.iter("span") if str(span.get("class")).startswith("badge")]
        assert badges[0] == word
        assert words(next(top.iter("title"))).startswith(word)


class _Parts(HTMLParser):
    """What a browser's own way of reading makes of the page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        del attrs
        self.tags.append(tag)


@pytest.mark.parametrize("payload", PAYLOADS)
def test_a_strangers_text_is_text(payload: str) -> None:
    for kind, result in every(payload).items():
        page = render(result, Look(details=True, next_command=payload))
        check_closed(tree(page))
        parts, usual = _Parts(), _Parts()
        parts.feed(page)
        usual.feed(render(every()[kind]))
        assert set(parts.tags) <= set(usual.tags) | {"pre", "p", "wbr"}
        assert payload.split(">")[0].replace("  ", " ") in words(tree(page)) or "{{" in payload
    assert "{{ 7*7 }}" in words(tree(render(diagnosis("{{ 7*7 }}"))))


@settings(max_examples=25)
@given(TEXTS, TEXTS)
@example("\x00\x1b[31m\u202e", "\ud800\n")
def test_any_text_leaves_the_page_whole(text: str, command: str) -> None:
    for result in every(text).values():
        page = render(result, Look(next_command=command))
        check_closed(tree(page))
        page.encode()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", page)


@pytest.mark.parametrize(
    ("text", "many"), [(None, 150), ("<&>" * 5000, 20), ("word " * 200_000, 3), ("\ud800" * 900, 30)]
)
def test_a_page_has_a_limit(text: str | None, many: int) -> None:
    for result in every(text, many).values():
        page = render(result, Look(next_command=text))
        assert len(page.encode()) < LIMIT
        tree(page)


def test_a_page_holds_hundreds_of_checkpoints() -> None:
    made = fleet(many=250)
    page = render(made)
    table = tree(page).find(".//section[@id='checkpoints']//table")
    assert table is not None
    assert len(table.findall("tbody/tr")) == len(made.rows)
    assert len(page.encode()) < LIMIT


def test_what_does_not_fit_is_counted() -> None:
    names = [f"auroc.source_{i}.{'x' * 400}" for i in range(3000)]
    made = replace(diagnosis(), measurements=tuple(Measurement(name, 0.5, "1", 300) for name in names))
    shown = words(tree(render(made)))
    assert "more rows are in the JSON result" in shown
    wide = replace(repair(), arms={f"arm {i} {'<' * 500}": replace(made) for i in range(12)})
    assert len(render(wide).encode()) < LIMIT


NUMBERS = st.floats() | st.integers(-(10**300), 10**300)


@settings(max_examples=60)
@given(st.lists(NUMBERS, max_size=12), st.lists(NUMBERS, max_size=12), st.lists(st.integers(-5, 10**6), max_size=12))
def test_any_numbers_are_drawn_or_left_out(x: list[float], y: list[float], counts: list[int]) -> None:
    """A result from a file may hold what no measurement gives: no numbers, too few of them, edges that fall."""
    names = ("head.relative_slope", "field.correction_gain")
    made = replace(
        drawn_diagnosis(),
        measurements=tuple(
            Measurement(f"auroc.source_{i}", value, "1", 3, (value, value)) for i, value in enumerate(y)
        ),
        curves=tuple(Curve(name, tuple(x), tuple(y)) for name in names),
        distributions=tuple(
            Distribution(name, "1", tuple(x), tuple(counts)) for name in ("energy.swap", "gradient.actions.norm")
        ),
    )
    for result in (made, replace(run_diagnosis(), curves=(Curve("run.gap", tuple(x), tuple(y)),))):
        top = tree(render(result))
        for element in top.iter():
            for name in ("d", "x", "y", "x1", "x2", "y1", "y2", "cx", "cy"):
                assert not re.search("nan|inf", element.get(name, ""))


def test_a_line_goes_where_its_numbers_are() -> None:
    chart = Chart("t", "lead.", "x", "y", (Series("a", (0.0, 10.0), (0.0, 5.0)),))
    picture = drawn(chart, "one")
    assert picture is not None
    path = re.search(r'd="M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)"', picture.svg)
    assert path
    x0, y0, x1, y1 = (float(number) for number in path.groups())
    assert x0 < x1
    assert y0 > y1  # up is more
    assert picture.rows == (("0", "0"), ("10", "5"))
    assert picture.description == "a: 0 at 0, 5 at 10, lowest 0, highest 5."


def test_a_histogram_says_where_its_middle_is() -> None:
    one = Series("expert", (0.0, 1.0, 2.0, 3.0), (1.0, 1.0, 8.0), style="filled")
    picture = drawn(Chart("t", "lead.", "x", "y", (one,)), "one")
    assert picture is not None
    assert picture.description == "expert: from 0 to 3, half of it below about 2.5."
    assert picture.rows[0] == ("0 .. 1", "1")


def test_dots_have_rows_and_intervals() -> None:
    dots = (Dot("a", "before", 1.0, 0.5, 1.5), Dot("a", "after", 2.0, look=1), Dot("b", "before", 3.0))
    picture = drawn(Chart("t", "lead.", "x", dots=dots), "one")
    assert picture is not None
    assert picture.columns == ("what", "before", "before, 95 % interval", "after", "after, 95 % interval")
    assert picture.rows == (("a", "1", "0.5 .. 1.5", "2", ""), ("b", "3", "", "", ""))
    assert [entry.label for entry in picture.legend] == ["before", "after"]


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9), st.sampled_from(["linear", "log", "root"]))
def test_ticks_lie_on_the_axis_and_rise(low: float, spread: float, kind: Any) -> None:
    made = scale((low, low + spread), 0, 300, kind)
    ticks = made.ticks()
    assert 1 <= len(ticks) <= 14
    assert all(before < after for (before, _), (after, _) in pairwise(ticks))
    for value, _ in ticks:
        assert -0.01 <= made.at(value) <= 300.01


def test_every_measurement_has_a_group() -> None:
    made = grouped(["head.energy_mean", "auroc.swap", "gap_std.swap", "run.loss.last", "something.else"])
    assert [group.title for group in made] == ["The head", "Separation", "The training log", "Others"]


def style() -> str:
    found = re.search(r"<style>(.*?)</style>", render(diagnosis()), re.DOTALL)
    assert found
    return found[1]


def schemes() -> Iterator[dict[str, str]]:
    """The colours of the light, the dark and the printed page."""
    for block in re.findall(r":root \{(.*?)\}", style(), re.DOTALL):
        yield dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block))


def contrast(one: str, other: str) -> float:
    """By the formula of WCAG 2."""

    def luminance(colour: str) -> float:
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    bright, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (bright + 0.05) / (dark + 0.05)


def test_text_and_lines_stand_out_in_every_scheme() -> None:
    found = list(schemes())
    assert len(found) == 3
    for colours in found:
        for text in ("text", "soft", "link"):
            for ground in ("page", "card", "inset"):
                assert contrast(colours[text], colours[ground]) >= 4.5, (text, ground)
        for tone in ("bad", "warn", "good", "plain"):
            assert contrast(colours[tone], colours[f"{tone}-back"]) >= 4.5, tone
            assert contrast(colours[f"{tone}-edge"], colours["card"]) >= 3, tone
        for number in range(8):
            assert contrast(colours[f"c{number}"], colours["card"]) >= 3, number


def test_series_differ_for_every_kind_of_eye() -> None:
    """Neighbours in a chart differ also where red, green or blue is not seen; dashes differ in any case."""

    def seen(colour: str, matrix: tuple[tuple[float, float, float], ...]) -> tuple[float, ...]:
        rgb = [(int(colour[i : i + 2], 16) / 255) ** 2.2 for i in (1, 3, 5)]
        return tuple(max(0.0, sum(m * c for m, c in zip(row, rgb, strict=True))) ** (1 / 2.2) for row in matrix)

    # Viénot, Brettel and Mollon (1999): what is left of a colour without red, and without green cones
    eyes = {
        "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
        "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    }
    for colours in schemes():
        for matrix in eyes.values():
            first = [seen(colours[f"c{number}"], matrix) for number in range(3)]
            for i, one in enumerate(first):
                for other in first[i + 1 :]:
                    assert math.dist(one, other) > 0.1
    dashes = re.findall(r"\.line\.s(\d) \{ stroke-dasharray: ([\d. ]+);", style())
    assert len(dashes) == len({dash for _, dash in dashes}) == 7


def test_a_saved_result_gives_the_same_page() -> None:
    for name, result in PAGES.items():
        again = type(result).from_dict(json.loads(result.to_json()))
        assert render(again) == render(result), name
