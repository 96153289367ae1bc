"""Generated pages are those of the code, and what the README shows is what the program prints."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parent.parent / "docs"


def generator() -> object:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("name", ["rules.md", "probes.md", "fixes.md", "run-measurements.md"])
def test_generated_pages_are_up_to_date(name: str) -> None:
    page = generator().PAGES[name]()  # type: ignore[attr-defined]
    assert (DOCS / name).read_text(encoding="utf-8") == page, "run `make docs`"


def test_the_readme_lists_the_rules() -> None:
    text = (DOCS.parent / "README.md").read_text(encoding="utf-8")
    assert generator().readme(text) == text, "run `make docs`"  # type: ignore[attr-defined]
