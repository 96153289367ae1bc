"""Where in a module's answer the energy is, and what the name of that place says of its sign."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

from torch import Tensor

from energydiag.errors import ModelFailed

ENERGIES = ("energy", "energies")
SCORES = ("score", "scores", "logits", "logit", "reward", "rewards", "value", "values")
NAMES = (*ENERGIES, *SCORES, "output")
"""Under which of its names an answer holds the energy, the first that is there."""


class Found(NamedTuple):
    """The energies in an answer.

    Attributes:
        energy: ``[B]``, as the module returned them.
        where: As words that follow on a call: ``['energy']``, ``.logits``, ``[1]``, or empty.
        name: Under which name, or empty.
    """

    energy: Tensor
    where: str
    name: str = ""

    @property
    def is_score(self) -> bool:
        """Whether high is good, by the name."""
        return self.name in SCORES


def energy_in(answer: Any, samples: int) -> Found:
    """The energies ``[B]`` in an answer.

    A tensor is the energy itself; of an answer with names (a mapping, a named tuple, a dataclass, an object with
    attributes), the first of `NAMES`, else the only tensor with one number a sample is; of another tuple or list, the
    first tensor with one number a sample.

    Args:
        answer: What a module returned.
        samples: B.

    Raises:
        ModelFailed: There is none.
    """

    def fits(value: Any) -> bool:
        return isinstance(value, Tensor) and value.numel() == samples

    if fits(answer):
        return Found(answer.reshape(samples), "")
    fields = _named(answer)
    if fields is not None:
        known = [name for name in NAMES if fits(fields.get(name))]
        fitting = known or [name for name, value in fields.items() if fits(value)]
        if known or len(fitting) == 1:
            name = fitting[0]
            where = f"[{name!r}]" if isinstance(answer, Mapping) else f".{name}"
            return Found(fields[name].reshape(samples), where, name)
    if isinstance(answer, tuple | list):
        for number, value in enumerate(answer):
            if fits(value):
                return Found(value.reshape(samples), f"[{number}]")
    raise ModelFailed(
        f"The model must return one energy per sample (shape [{samples}]); it returned {_shown(answer)}.",
        "if it takes the candidates of a context all at once, actions [B, N, …], add --candidates; else name a module "
        "with --model that wraps it, whose forward(hidden, actions, pad_mask) returns [B] (the checkpoint's keys are "
        "found inside of it).",
    )


def _named(answer: Any) -> Mapping[Any, Any] | None:
    """The values of an answer with names, by these; None where it has none."""
    if isinstance(answer, Tensor):
        return None
    if isinstance(answer, Mapping):
        return answer
    if isinstance(answer, tuple) and hasattr(answer, "_fields"):
        return dict(zip(answer._fields, answer, strict=True))
    if dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        return {field.name: getattr(answer, field.name, None) for field in dataclasses.fields(answer)}
    return getattr(answer, "__dict__", None)


def _shown(answer: Any) -> str:
    if isinstance(answer, Tensor):
        return f"shape {list(answer.shape)}"
    fields = _named(answer)
    if fields:
        return f"{type(answer).__name__} of {', '.join(f'{name}: {_shown(value)}' for name, value in fields.items())}"
    if isinstance(answer, tuple | list):
        return f"{type(answer).__name__} of {', '.join(map(_shown, answer)) or 'nothing'}"
    return type(answer).__name__
