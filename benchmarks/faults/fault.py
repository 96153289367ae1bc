"""What a fault says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from .recipe import Recipe

Facts = Mapping[str, float]
Edit = Callable[[Recipe], Recipe]


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong with a run, and how a right diagnosis may call it.

    Attributes:
        name: In kebab-case.
        injected: What is done, in one sentence.
        edit: From a good recipe to the faulty one.
        codes: Codes or names of rules that may stand first in a right diagnosis.
        visible_in: Where it can be seen: ``"checkpoint"`` (with its dump), ``"log"``.
        took_effect: Whether the run's facts, measured without energydiag's probes, show that the fault took hold.
        needs_tokens: Whether contexts must come as tokens with a mask.
        needs_layers: Whether the dump must tell what the policy would have done.
    """

    name: str
    injected: str
    edit: Edit
    codes: tuple[str, ...]
    visible_in: tuple[str, ...]
    took_effect: Callable[[Facts], bool]
    needs_tokens: bool = False
    needs_layers: bool = False


def recipe(**changes: Any) -> Edit:
    """An edit of the recipe's own fields; ``starts`` and ``slips`` are added to what is there."""

    def edit(given: Recipe) -> Recipe:
        added = {key: (*getattr(given, key), *changes[key]) for key in ("starts", "slips") if key in changes}
        return replace(given, **{**changes, **added})

    return edit


def shape(**changes: Any) -> Edit:
    """An edit of the model; ``adapters`` are added to those that are there."""

    def edit(given: Recipe) -> Recipe:
        added = {"adapters": (*given.shape.adapters, *changes["adapters"])} if "adapters" in changes else {}
        return replace(given, shape=replace(given.shape, **{**changes, **added}))

    return edit


def training_flaw(flaw: str) -> Edit:
    """A flaw of the training samples alone."""
    return lambda given: replace(given, data=replace(given.data, training_flaws=(*given.data.training_flaws, flaw)))


def dump_flaw(flaw: str) -> Edit:
    """A flaw of the dump alone."""
    return lambda given: replace(given, data=replace(given.data, dump_flaws=(*given.data.dump_flaws, flaw)))


def everywhere(flaw: str) -> Edit:
    """A flaw of training samples and dump, as where both come out of the same script."""
    return both(training_flaw(flaw), dump_flaw(flaw))


def padded_only(given: Recipe) -> Recipe:
    """Samples without any hidden token are left out."""
    return replace(given, data=replace(given.data, padded_only=True))


def scaled_rate(factor: float) -> Edit:
    """The learning rate times a factor."""
    return lambda given: replace(given, learning_rate=given.learning_rate * factor)


def both(*edits: Edit) -> Edit:
    """Edits one after the other."""

    def edit(given: Recipe) -> Recipe:
        for each in edits:
            given = each(given)
        return given

    return edit
