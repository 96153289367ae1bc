"""A known state, kept in a file, that later ones are compared with."""

from __future__ import annotations

import json
import math
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from energydiag import __version__
from energydiag.atomic import write_text
from energydiag.errors import UnreadableFile, UsageError, first_line
from energydiag.heads import stated_form
from energydiag.inert import inert
from energydiag.plain_file import read_plain
from energydiag.results import Side
from energydiag.results.comparison import Subject
from energydiag.results.reading import read_json
from energydiag.statistics.verdicts import Number, Start

KIND = "baseline"
_VERSION = 1
_MOST_BYTES = 64 << 20
_LARGEST = 1e60
"""Of a number's size: the fourth power of its error is needed, and energies of 32 bits end at 3e38."""

_DIGITS = 7
"""Of a bootstrap value: more than its own error, and a third of the file."""


@dataclass(frozen=True)
class Baseline:
    """One side, as it was.

    Attributes:
        subject: What it is.
        side: Its name, and what is known of it.
        numbers: Its metrics.
        made_with: What must be the same where numbers are paired: hash of the dump, seed, sizes, as text.
    """

    subject: Subject
    side: Side
    numbers: tuple[Number, ...]
    made_with: Mapping[str, str] = field(default_factory=dict)


def save_baseline(baseline: Baseline, path: str | Path) -> None:
    """Writes a baseline.

    Raises:
        UsageError: The file cannot be written.
    """
    plain = {
        "schema_version": _VERSION,
        "kind": KIND,
        "energydiag_version": __version__,
        "subject": baseline.subject,
        "side": {"name": baseline.side.name, "paths": baseline.side.paths, "facts": dict(baseline.side.facts)},
        "made_with": dict(baseline.made_with),
        "numbers": [_plain(number) for number in baseline.numbers],
    }
    write_text(Path(path), json.dumps(plain, indent=1, ensure_ascii=False, allow_nan=False) + "\n")


def _plain(number: Number) -> dict[str, Any]:
    draws = None if number.draws is None else [float(f"{value:.{_DIGITS}g}") for value in number.draws.tolist()]
    return {
        "name": number.name,
        "value": number.value,
        "better": number.better,
        "matters": number.matters,
        "at": number.at,
        "error": number.error,
        "freedom": number.freedom if math.isfinite(number.freedom) else None,
        "bound_to": dict(number.bound_to),
        "start": number.start,
        "reason": number.reason,
        "draws": draws,
    }


def read_baseline(path: str | Path, subject: Subject) -> Baseline:
    """The baseline in a file.

    Raises:
        UnreadableFile: It is missing, or no baseline.
        UsageError: It is one of something else.
    """
    content = read_plain(Path(path), _MOST_BYTES, "it is no baseline of energydiag.")
    again = f"write one: energydiag compare {subject} … --save-baseline {shlex.quote(str(path))}."
    try:
        plain = read_json(content, inert)
        if plain["kind"] != KIND or plain["schema_version"] != _VERSION:
            raise ValueError(f"its kind is {str(plain['kind'])[:40]!r}, version {str(plain['schema_version'])[:20]}")
        if plain["subject"] not in get_args(Subject):
            raise ValueError("it is of nothing that is compared")
        side = plain["side"]
        found = Baseline(
            plain["subject"],
            Side(_text(side["name"]), tuple(map(_text, side["paths"])), _texts(side["facts"])),
            tuple(_number(one) for one in plain["numbers"]),
            _texts(plain["made_with"]),
        )
        if len({(one.name, one.at) for one in found.numbers}) < len(found.numbers):
            raise ValueError("a number that stands twice")
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableFile(f"{path} is no baseline: {type(error).__name__} {first_line(error)[:200]}.", again) from (
            error
        )
    if found.subject != subject:
        raise UsageError(f"{path} is a baseline of {found.subject}, not of {subject}.", again)
    return _with_form(found) if subject == "checkpoints" else found


FORM = "form of the head"
"""What all numbers of a baseline are bound to if the name of its head has another meaning today."""


def _with_form(old: Baseline) -> Baseline:
    """A baseline of before heads were named by their pooling, with the name that its head has today.

    `original`, `rescaled` and `softplus` averaged raw values then; today they average features, which is another model.
    """
    facts = dict(old.side.facts)
    if facts.get("architecture") != "cross-attention" or "head" not in facts or "pool" in facts:
        return old
    form = stated_form(facts)
    if form is None or form.name == facts["head"]:
        return old
    numbers = tuple(
        replace(
            one, bound_to={**one.bound_to, **({"head": form.name} if "head" in one.bound_to else {}), FORM: form.name}
        )
        for one in old.numbers
    )
    return replace(old, side=replace(old.side, facts={**facts, **form.settings}), numbers=numbers)


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"a {type(value).__name__} in the place of text")
    return value


def _texts(plain: Any) -> dict[str, str]:
    if not isinstance(plain, dict):
        raise TypeError(f"a {type(plain).__name__} in the place of names and texts")
    return {key: _text(value) for key, value in plain.items()}


def _number(plain: Mapping[str, Any]) -> Number:
    if plain["better"] not in ("higher", "lower", "none"):
        raise ValueError("a direction that is none")
    draws = plain["draws"]
    if draws is not None and not (isinstance(draws, list) and draws):
        raise TypeError("bootstrap values that are none")
    return Number(
        _text(plain["name"]),
        _finite(plain["value"]),
        plain["better"],
        None if plain["matters"] is None else _finite(plain["matters"], 0),
        _text(plain["at"]),
        None if draws is None else np.array([_finite(value) for value in draws], dtype=np.float64),
        None if plain["error"] is None else _finite(plain["error"], 0),
        math.inf if plain["freedom"] is None else _finite(plain["freedom"], 1),
        _texts(plain["bound_to"]),
        _start(plain.get("start")),
        _text(plain.get("reason", "")),
    )


def _start(plain: Any) -> Start | None:
    if plain is None:
        return None
    value, within = plain
    return Start(_finite(value), _finite(within, 0))


def _finite(value: Any, least: float = -_LARGEST) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= _LARGEST:
        raise TypeError(f"{str(value)[:20]!r} in the place of a number")
    return float(value)
