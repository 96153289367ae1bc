"""Pieces of GitHub Markdown in which a stranger's text is text and nothing else.

A piece is a block with no empty line around it. What could mean something to Markdown, to HTML or to GitHub is written
as a character reference: it never splits a cell, opens a tag or makes a link, wherever it stands. What a backslash does
depends on where it stands.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import accumulate

from energydiag.inert import inert

LIMIT = 60_000
"""Bytes of a whole text: GitHub takes a comment of 65,536 characters, and somebody may want to write above it."""

_LONGEST = 600
"""Characters of one string, before they are escaped."""

_PIECE = 12_000
"""Bytes of the rows of one table or list, so that a few long ones do not push everything else out."""

_MEANING = re.compile(r"[\\`*_\[\]<>#!|~&@$]|^[-+=](?=[-+= ]|$)|^\d(?=\d*[.)](?: |$))")
_BECOMES_A_LINK = re.compile(r"(?<=[@#])|(?<=:)(?=//)|(?<=\bwww)(?=\.)|(?<=\bGH)(?=-)", re.IGNORECASE)
_WORD_JOINER = "\N{WORD JOINER}"  # no width; @name, #12 and addresses are no longer one word to GitHub
_HARMLESS_IN_CODE = re.compile(r"[\w.,:;=/+-](?:[\w .,:;=/+-]*[\w.,:;=/+-])?")


def one_line(text: str) -> str:
    """The text on one line, without control characters, and cut where it is very long."""
    line = inert(" ".join(text[: 2 * _LONGEST].split()))
    return line if len(line) <= _LONGEST and len(text) <= 2 * _LONGEST else f"{line[: _LONGEST - 1].rstrip()}…"


def plain(text: str) -> str:
    """The text as Markdown that shows just this text, wherever it is put."""
    return _MEANING.sub(_reference, _BECOMES_A_LINK.sub(_WORD_JOINER, one_line(text)))


def code(text: str) -> str:
    """A name or a path as code, where it holds nothing that could end the code; else as `plain`."""
    line = one_line(text)
    return f"`{line}`" if _HARMLESS_IN_CODE.fullmatch(line) else plain(text)


def _reference(match: re.Match[str]) -> str:
    return f"&#{ord(match[0])};"


def table(
    columns: Sequence[str], rows: Iterable[Sequence[str]], numbers: Iterable[str] = (), room: int = _PIECE
) -> str:
    """A table of cells that are Markdown already.

    Args:
        columns: Their titles.
        rows: As many cells each as there are columns; rows that would make the table too long are left out and counted.
        numbers: Titles of the columns that are set flush right.
        room: Bytes of all rows.
    """
    right = set(numbers)
    rule = ["---:" if column in right else "---" for column in columns]
    kept, left_out = _within(room, [_row(row) for row in rows])
    note = ["", f"*{left_out} more rows are in the JSON result.*"] if left_out else []
    return "\n".join([_row(columns), _row(rule), *kept, *note])


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def bullets(items: Iterable[str]) -> str:
    """A list of items that are Markdown already; those that would make it too long are left out and counted."""
    kept, left_out = _within(_PIECE, [f"- {item}" for item in items])
    return "\n".join([*kept, *([f"- *{left_out} more are in the JSON result*"] if left_out else [])])


def commands(text: str) -> str:
    """Command lines, to be copied."""
    lines = [inert(line.strip())[:_PIECE] for line in text[:_PIECE].splitlines()]
    fence = "`" * max(3, 1 + max((len(run) for line in lines for run in re.findall("`+", line)), default=0))
    return "\n".join([f"{fence}text", *lines, fence])


def folded(summary: str, content: str) -> str:
    """Content that a click opens; the summary is escaped text."""
    return f"<details>\n<summary>{summary}</summary>\n\n{content}\n\n</details>"


def fitted(pieces: Iterable[str]) -> str:
    """The pieces one below the other; those that no longer fit are left out, and the last line says so."""
    kept, left_out = _within(LIMIT - 200, [f"{piece}\n" for piece in pieces])
    parts = "part does" if left_out == 1 else "parts do"
    note = [f"*{left_out} {parts} not fit in here; the JSON result holds everything.*\n"] if left_out else []
    return "\n".join([*kept, *note])


def _within(room: int, texts: Sequence[str]) -> tuple[list[str], int]:
    """The first texts that have so many bytes together, each with a newline, and how many are left out."""
    ends = accumulate(len(text.encode()) + 1 for text in texts)
    kept = [text for text, end in zip(texts, ends, strict=True) if end <= room]
    return kept, len(texts) - len(kept)
