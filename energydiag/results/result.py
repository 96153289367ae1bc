"""What all results have in common: where they come from, and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, TypeVar

from energydiag.results.codec import built, plain

SCHEMA_VERSION = 2

_Own = TypeVar("_Own", bound="Result")


@dataclass(frozen=True, kw_only=True)
class Result:
    """A result of a command.

    Attributes:
        provenance: Hashes of the inputs, command line, seeds, device, type, library versions.
        created: ISO 8601, UTC.
        energydiag_version: Version that wrote it.
    """

    provenance: Mapping[str, Any] = field(default_factory=dict)
    created: str = ""
    energydiag_version: str = ""

    kind: ClassVar[str]

    def header(self) -> dict[str, Any]:
        """What stands in front of the fields in JSON."""
        return {"schema_version": SCHEMA_VERSION, "kind": self.kind}

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts and lists, as JSON has them."""
        told: dict[str, Any] = plain(self)
        return told

    def to_json(self) -> str:
        """The result as JSON text."""
        return json.dumps(self.to_dict(), indent=2, ensure_ascii=False) + "\n"

    @classmethod
    def from_dict(cls: type[_Own], told: Mapping[str, Any]) -> _Own:
        """The result that `to_dict` wrote.

        Raises:
            TypeError: It is not one; the message names the place.
        """
        return built(cls, told)
