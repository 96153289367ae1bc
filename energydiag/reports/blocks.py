"""What a page is made of: plain blocks that the template knows how to show.

Text in a block is text: the template makes it inert and escapes it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, TypeAlias

from markupsafe import Markup

from energydiag.reports.chart import Drawn

Tone = Literal["good", "warn", "bad", "plain"]


@dataclass(frozen=True)
class Cell:
    """A cell of a table: its text, as code, on one line or as a badge where that is wanted."""

    text: str
    code: bool = False
    whole: bool = False
    badge: Tone | None = None


@dataclass(frozen=True)
class Table:
    """Rows of numbers and words.

    Attributes:
        caption: What it lists.
        columns: Titles.
        rows: As many cells each as there are columns.
        numbers: Indices of the columns that are set flush right.
        left_out: Rows that were too many.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numbers: tuple[int, ...] = ()
    left_out: int = 0
    kind: ClassVar[str] = "table"


@dataclass(frozen=True)
class Words:
    """A paragraph, which may begin with a word in bold; what follows may be something to type."""

    text: str
    lead: str = ""
    code: bool = False
    kind: ClassVar[str] = "words"


@dataclass(frozen=True)
class Bullets:
    """A list; the first half of each item, if there is one, is set as code."""

    items: tuple[tuple[str, str], ...]
    kind: ClassVar[str] = "bullets"


@dataclass(frozen=True)
class Facts:
    """Names and what they are."""

    pairs: tuple[tuple[str, str], ...]
    kind: ClassVar[str] = "facts"


@dataclass(frozen=True)
class Command:
    """Lines to be typed."""

    lines: tuple[str, ...]
    label: str = "Command to copy"
    kind: ClassVar[str] = "command"


@dataclass(frozen=True)
class Figure:
    """A chart with its words and its table."""

    name: str
    title: str
    lead: str
    drawn: Drawn
    kind: ClassVar[str] = "figure"


@dataclass(frozen=True)
class Figures:
    """Charts side by side, as many as fit."""

    figures: tuple[Figure, ...]
    kind: ClassVar[str] = "figures"


@dataclass(frozen=True)
class Tile:
    """One number that tells much.

    Attributes:
        label: What it is, in a few words.
        name: Of the measurement.
        value: The number.
        unit: Its unit, or empty.
        beside: Its interval, in words.
        hint: What is good.
        gauge: Where it lies, drawn, or None.
    """

    label: str
    name: str
    value: str
    unit: str
    beside: str
    hint: str
    gauge: Markup | None = None


@dataclass(frozen=True)
class Tiles:
    """Numbers in a row."""

    tiles: tuple[Tile, ...]
    kind: ClassVar[str] = "tiles"


@dataclass(frozen=True)
class Card:
    """A finding, or whatever else deserves a frame.

    Attributes:
        title: Its name.
        code: Its code, or empty.
        label: What stands above: the cause, also, …
        word: Its severity or verdict.
        tone: How good or bad that is.
        blocks: What is in it.
    """

    title: str
    code: str
    label: str
    word: str
    tone: Tone
    blocks: tuple[Block, ...] = ()
    kind: ClassVar[str] = "card"


@dataclass(frozen=True)
class Fold:
    """Blocks that a click or a key opens; paper shows them all."""

    summary: str
    blocks: tuple[Block, ...]
    word: str = ""
    tone: Tone = "plain"
    kind: ClassVar[str] = "fold"


Block: TypeAlias = Table | Words | Bullets | Facts | Command | Figures | Tiles | Card | Fold


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading.

    Attributes:
        name: Its anchor.
        title: The heading.
        blocks: What is in it.
        lead: A sentence below the heading.
    """

    name: str
    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True)
class Page:
    """The whole.

    Attributes:
        kind: Of the result, in words.
        word: The verdict.
        tone: How good or bad that is.
        headline: The verdict in a sentence.
        facts: What it is about.
        sections: In order; those that no longer fit are left out.
        reasons: Sentences below the headline.
        created: When, as it was written.
        version: Of what made the result.
    """

    kind: str
    word: str
    tone: Tone
    headline: str
    facts: tuple[tuple[str, str], ...]
    sections: Sequence[Section]
    reasons: tuple[str, ...] = ()
    created: str = ""
    version: str = ""
    next_lines: tuple[str, ...] = field(default=())
