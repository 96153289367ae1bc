"""The result as one page that needs nothing else: no script, no request, nothing from elsewhere.

It works from a disk, in the dark, on paper and on a phone. Its style is the only thing that its content security policy
lets in, by its hash. All text from a result is inert and escaped by the template; no text becomes a link.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from energydiag.reports.blocks import Page, Tone
from energydiag.reports.comparison_page import comparison_page
from energydiag.reports.diagnosis_page import diagnosis_page
from energydiag.reports.fleet_page import fleet_page
from energydiag.reports.markdown import one_line
from energydiag.reports.repair_page import repair_page
from energydiag.reports.report import Look, Report, Result
from energydiag.results import Comparison, Fleet, Repair

LIMIT = 1_000_000
"""Bytes of a page at most."""

_ROOM = LIMIT - 60_000
"""Bytes of its sections; the rest is for what stands around them."""

_FOLDER = Path(__file__).resolve().parent / "page"
_ICONS: Mapping[Tone, str] = {"bad": "#c9372c", "warn": "#d99100", "good": "#1f8a55", "plain": "#67778a"}


def _shown(value: Any) -> Any:
    """What the template does with every value: text is made inert, and escaped afterwards by Jinja."""
    return value if isinstance(value, Markup) else one_line(str(value))


def _breakable(text: str) -> Markup:
    """A name that may be broken behind its dots, for titles of narrow columns."""
    return Markup(re.sub(r"(?<=[._])(?=\w)", "<wbr/>", escape(one_line(text))))


@cache
def _template() -> Any:
    environment = Environment(
        loader=FileSystemLoader(_FOLDER),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=False,
    )
    environment.filters["newline"] = lambda _text: Markup("\n")
    environment.filters["breakable"] = _breakable
    return environment.get_template("page.html.jinja").module


@cache
def _style() -> str:
    return f"\n{(_FOLDER / 'page.css').read_text(encoding='utf-8')}"


def policy(style: str) -> str:
    """A content security policy that allows this style, the page's own icon, and nothing else."""
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; form-action 'none'"


def _icon(tone: Tone) -> str:
    dot = f'<circle cx="8" cy="8" r="7" fill="{_ICONS[tone]}"/>'
    whole = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16">{dot}</svg>'
    return f"data:image/svg+xml,{quote(whole)}"


def _page(result: Result, look: Look) -> Page:
    if isinstance(result, Comparison):
        return comparison_page(result, look)
    if isinstance(result, Fleet):
        return fleet_page(result, look)
    return repair_page(result, look) if isinstance(result, Repair) else diagnosis_page(result, look)


def _render(result: Result, look: Look) -> str:
    page, macros = _page(result, look), _template()
    sections: dict[str, Markup] = {}
    room = _ROOM
    for one in page.sections:
        text = macros.section(one)
        size = len(text.encode())
        if size <= room:
            sections[one.name] = text
            room -= size
    left_out = len(page.sections) - len(sections)
    style = _style()
    icon = Markup(_icon(page.tone))  # quoted already, and longer than a line of text may be
    return str(macros.whole(page, Markup(style), Markup(policy(style)), icon, sections, left_out))


REPORT = Report("html", _render)
