"""Text from a stranger's file, made harmless for a terminal."""

from __future__ import annotations

import unicodedata


def inert(text: str) -> str:
    """The text without control characters (escape sequences, newlines, direction marks), which a terminal obeys."""
    return "".join("\N{REPLACEMENT CHARACTER}" if unicodedata.category(c).startswith("C") else c for c in text)
