"""The pages in a real Chromium: nothing is loaded, nothing complains, keys reach everything, axe-core finds nothing.

Needs a Chromium of the system (CHROMIUM names another one than those on the path); without it these tests are skipped,
and `make browser-test` fails.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from report_parts import compared, diagnosis, drawn_diagnosis, fleet, repair, run_diagnosis

from energydiag.reports import reports
from energydiag.reports.report import Look

playwright = pytest.importorskip("playwright.sync_api")

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
CHROMIUM = os.environ.get("CHROMIUM") or next((path for name in NAMES if (path := shutil.which(name))), None)
if CHROMIUM is None and "BROWSER_TEST" in os.environ:
    raise RuntimeError("no Chromium is on the path; install one, or set CHROMIUM=PATH")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is on the path")

RESULTS = {
    "diagnosis": drawn_diagnosis(),
    "run": run_diagnosis(),
    "repair": repair(),
    "fleet": fleet(many=3),
    "comparison": compared(),
    "hostile": diagnosis("<script>alert(1)</script><img src=https://example.org/x.png onerror=alert(1)> @{{7*7}}"),
}
VIEWS = ((1280, "light"), (390, "dark"), (320, "light"))


@cache
def axe() -> str:
    return (files("axe_playwright_python") / "axe.min.js").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM)
        yield started
        started.close()


@pytest.fixture(params=list(RESULTS))
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    path = tmp_path / "page.html"
    text = reports()["html"].render(RESULTS[request.param], Look(next_command="energydiag rules ED103 " + "long " * 60))
    path.write_text(text, encoding="utf-8")
    return path


def test_a_page_is_quiet_closed_and_accessible(browser: Any, file: Path) -> None:
    for width, scheme in VIEWS:
        context = browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme, offline=True)
        page = context.new_page()
        told: list[str] = []
        asked: list[str] = []
        page.on("console", lambda message, told=told: told.append(message.text))
        page.on("pageerror", lambda error, told=told: told.append(str(error)))
        page.on("request", lambda request, asked=asked: asked.append(request.url))
        page.goto(file.as_uri())
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.evaluate("document.querySelectorAll('details').forEach(one => { one.open = true })")
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert not told
        assert [url for url in asked if not url.startswith("data:")] == [file.as_uri()]
        if width == min(width for width, _ in VIEWS):  # for what is too wide
            continue
        found = page.evaluate(f"{axe()}\n;axe.run(document, {{resultTypes: ['violations']}})")
        assert found["passes"]
        assert [(one["id"], one["impact"], one["nodes"][0]["html"]) for one in found["violations"]] == []
        context.close()


def test_the_policy_is_in_force(browser: Any, file: Path) -> None:
    context = browser.new_context()
    page = context.new_page()
    page.goto(file.as_uri())
    assert page.evaluate("fetch('https://example.org/').then(() => 'sent', () => 'refused')") == "refused"
    colour = page.evaluate("(document.body.setAttribute('style', 'color: red'), getComputedStyle(document.body).color)")
    assert colour != "rgb(255, 0, 0)"
    loaded = "new Promise(done => { const s = document.createElement('script'); s.textContent = 'window.ran = 1'; "
    loaded += "document.body.append(s); done(window.ran ?? 'refused') })"
    assert page.evaluate(loaded) == "refused"
    context.close()


FOCUSABLE = "a[href], summary, [tabindex='0']"


def test_keys_reach_everything(browser: Any, file: Path) -> None:
    """Tab goes through every link, fold and table in turn; Enter opens a fold, and what is in it comes next."""
    context = browser.new_context(viewport={"width": 390, "height": 800})
    page = context.new_page()
    page.goto(file.as_uri())
    page.evaluate(f'document.querySelectorAll("{FOCUSABLE}").forEach((one, place) => {{ one.dataset.place = place }})')
    seen: list[int] = []
    for _ in range(1500):
        page.keyboard.press("Tab")
        now = page.evaluate(
            "(() => { const one = document.activeElement; return one.dataset.place === undefined ? null : "
            "[Number(one.dataset.place), one.tagName, getComputedStyle(one).outlineStyle] })()"
        )
        if now is None:
            break
        place, tag, outline = now
        seen.append(place)
        assert outline != "none"
        if tag == "SUMMARY":
            page.keyboard.press("Enter")
    assert seen == list(range(page.evaluate(f'document.querySelectorAll("{FOCUSABLE}").length')))
    context.close()


def test_paper_shows_what_is_folded(browser: Any, file: Path) -> None:
    context = browser.new_context(color_scheme="dark")
    page = context.new_page()
    page.goto(file.as_uri())
    closed = "[...document.querySelectorAll('details:not([open]) > .inside')].map(one => one.checkVisibility())"
    page.emulate_media(media="screen")
    assert not any(page.evaluate(closed))
    page.emulate_media(media="print")
    shown = page.evaluate(closed)
    assert shown
    assert all(shown)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    context.close()
