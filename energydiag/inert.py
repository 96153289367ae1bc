"""Text from a stranger's file, made harmless for a terminal."""

from __future__ import annotations

import json
import re
import unicodedata

_OBEYED = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode's categories of controls, direction marks, halves of characters, what has no meaning, and line breaks."""

_LONGEST = 1500
"""Characters of a message; names in a stranger's file may have megabytes."""


def message(text: str) -> str:
    """The text on one line of a terminal: inert, and cut where it is very long."""
    return inert(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…")


def without_commands(text: str) -> str:
    """Lines that the runner of GitHub Actions would obey, made harmless: it looks at their beginnings after blanks."""
    lines = (line.replace("::", ": :", 1) if line.lstrip().startswith("::") else line for line in text.split("\n"))
    return "\n".join(lines).replace("##[", "## [")


def inert(text: str) -> str:
    """The text without control characters (escape sequences, line breaks, direction marks), which a terminal obeys."""
    if text.isascii() and text.isprintable():
        return text
    return "".join("\N{REPLACEMENT CHARACTER}" if _is_obeyed(c) else c for c in text)


def escaped(json_text: str) -> str:
    """JSON with the same meaning and without these characters, but for the line breaks of its layout."""
    return re.sub(
        r"[^\n -~]", lambda found: json.dumps(found[0])[1:-1] if _is_obeyed(found[0]) else found[0], json_text
    )


def _is_obeyed(character: str) -> bool:
    return unicodedata.category(character) in _OBEYED
