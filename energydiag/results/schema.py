"""The JSON schema of all results, from the same type hints that build and check them."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import fields, is_dataclass
from typing import Any, Literal, Union, get_args, get_origin

from energydiag.metrics import GROUPS
from energydiag.results.codec import AnyFloat, hints_of
from energydiag.results.comparison import Comparison
from energydiag.results.diagnosis import BatchDiagnosis, CheckpointDiagnosis, Measurement, RunDiagnosis
from energydiag.results.fleet import Fleet
from energydiag.results.repair import Repair
from energydiag.results.result import SCHEMA_VERSION, Result

_PLAIN = {str: {"type": "string"}, bool: {"type": "boolean"}, int: {"type": "integer"}, float: {"type": "number"}}


def result_schema() -> dict[str, Any]:
    """The schema of everything that ``--format json`` writes."""
    definitions: dict[str, Any] = {}
    kinds = (CheckpointDiagnosis, RunDiagnosis, BatchDiagnosis, Fleet, Comparison, Repair)
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"Results of energydiag, schema {SCHEMA_VERSION}",
        "oneOf": [_of(kind, definitions) for kind in kinds],
        "$defs": definitions,
    }


def _of(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, inner = get_origin(kind), get_args(kind)
    if isinstance(kind, type) and is_dataclass(kind):
        if kind.__name__ not in definitions:
            definitions[kind.__name__] = {}  # it may hold itself
            definitions[kind.__name__] = _object(kind, definitions)
        return {"$ref": f"#/$defs/{kind.__name__}"}
    if kind is Any:
        return {}
    if kind == AnyFloat:
        return {"type": ["number", "null"]}
    if origin is Literal:
        return {"enum": list(inner)}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_of(one, definitions) for one in inner if one is not types.NoneType] + [{"type": "null"}]}
    if origin is tuple and inner[-1] is Ellipsis:
        return {"type": "array", "items": _of(inner[0], definitions)}
    if origin is tuple:
        return {"type": "array", "prefixItems": [_of(one, definitions) for one in inner], "minItems": len(inner)}
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _of(inner[1], definitions)}
    return _PLAIN[kind]


def _object(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    own = [one for one in fields(kind) if one.metadata.get("saved", True)]
    properties = {one.name: _of(hints_of(kind)[one.name], definitions) for one in own}
    if kind is Measurement:
        families = "|".join(family for group in GROUPS for family in group.families)
        properties["name"] = {"type": "string", "pattern": f"^({families})\\."}
    if issubclass(kind, Result):
        properties["schema_version"] = {"const": SCHEMA_VERSION}
        properties["kind"] = {"const": kind.kind}
        if hasattr(kind, "subject"):
            properties["subject"] = {"const": kind.subject} if isinstance(kind.subject, str) else {}
    if kind is Fleet:
        properties["verdict"] = {"enum": ["healthy", "warning", "undetermined", "critical"]}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }
