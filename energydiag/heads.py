"""How features become an energy: the forms in which the public heads exist, which all share their state-dict keys.

A head's form has two parts. Its *activation* turns a raw value r into an energy, ``scale·φ(input_scale·r) + offset``,
where a soft clip ``c·tanh(r/c)`` may come before φ. Its *pooling* says what is averaged over the action steps: the
attended features before the prediction head (``features``), the raw values after it (``raw``), or the energies after
the activation (``energy``). The prediction head is an MLP and φ is not linear, so these are three functions.

This is their description; `energydiag.models.energy_head` computes them. Nothing here needs torch, so that a training
log's settings can be read without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

from energydiag.errors import UsageError

Pooling = Literal["features", "raw", "energy"]
POOLINGS: tuple[Pooling, ...] = get_args(Pooling)


@dataclass(frozen=True)
class HeadActivation:
    """Raw value to energy, elementwise: ``scale · φ(input_scale · clip(r)) + offset``.

    Attributes:
        function: φ: ``"linear"``, ``"sigmoid"`` or ``"softplus"``.
        scale: Factor after φ.
        input_scale: Factor before φ.
        offset: Shift after φ.
        soft_clip: c of ``c·tanh(r/c)``, which comes first; None where there is none.
    """

    function: str = "linear"
    scale: float = 1.0
    input_scale: float = 1.0
    offset: float = 0.0
    soft_clip: float | None = None

    @property
    def formula(self) -> str:
        """As a person writes it, and as `activation_of` reads it."""
        inner = "r" if self.soft_clip is None else f"{_digits(self.soft_clip)}·tanh(r/{_digits(self.soft_clip)})"
        if self.function == "linear":
            return inner
        inner = inner if self.input_scale == 1 else f"{_digits(self.input_scale)}·{inner}"
        outer = f"{self.function}({inner})"
        text = outer if self.scale == 1 else f"{_digits(self.scale)}·{outer}"
        return text if self.offset == 0 else f"{text} {'+' if self.offset > 0 else '-'} {_digits(abs(self.offset))}"

    @property
    def energy_range(self) -> float | None:
        """Highest minus lowest energy; None where there is no upper end."""
        if self.function == "linear" or (self.function == "softplus" and self.soft_clip is None):
            return None
        end = math.inf if self.soft_clip is None else self.soft_clip * abs(self.input_scale)
        # softplus(c) − softplus(−c) = c
        width = end if self.function == "softplus" else math.tanh(end / 2)
        return abs(self.scale) * width


def _digits(number: float) -> str:
    return f"{number:.12g}"


ACTIVATIONS: Mapping[str, HeadActivation] = {
    "original": HeadActivation("sigmoid", offset=1e-6),
    "rescaled": HeadActivation("sigmoid", scale=2.0, input_scale=0.5, offset=0.1),
    "softplus": HeadActivation("softplus", offset=1e-6),
    "original-clipped": HeadActivation("sigmoid", offset=1e-6, soft_clip=30.0),
    "softplus-clipped": HeadActivation("softplus", offset=1e-6, soft_clip=30.0),
    "linear": HeadActivation(),
}
"""The published activations, by the names that ``--head`` takes."""

_ALIASES = {"sigmoid": "original", "sigmoid-clipped": "original-clipped", "identity": "linear", "r": "linear"}
"""What stands in people's code."""

_SUFFIXES: Mapping[Pooling, str] = {"features": "-features", "raw": "-raw", "energy": "-per-step"}


@dataclass(frozen=True)
class HeadForm:
    """What turns attended features ``[B, H, W]`` into energies ``[B]``, besides the prediction head's weights.

    Attributes:
        activation: Raw value to energy.
        pool: Where the steps are averaged.
    """

    activation: HeadActivation
    pool: Pooling = "features"

    @property
    def name(self) -> str:
        """What ``--head`` takes for this form; the activation's formula where it has no name."""
        base = next((name for name, known in ACTIVATIONS.items() if known == self.activation), self.activation.formula)
        return base if self.pool == _usual_pooling(self.activation) else base + _SUFFIXES[self.pool]

    @property
    def formula(self) -> str:
        """As a person writes it, Z being the attended features."""
        inner = {"features": "head(mean Z)", "raw": "mean head(Z)", "energy": "head(Z)"}[self.pool]
        text = f"{self.activation.formula} with r = {inner}"
        return f"mean of {text}" if self.pool == "energy" else text

    @property
    def settings(self) -> dict[str, str]:
        """As a checkpoint's metadata holds it."""
        return {"head": self.name, "pool": self.pool}


def _usual_pooling(activation: HeadActivation) -> Pooling:
    """The pooling that a name without a suffix means: the design's; a linear head's raw values are energies."""
    return "raw" if activation.function == "linear" else "features"


def head_form(head: str, pool: str | None = None) -> HeadForm:
    """The form that a user or a checkpoint names.

    Args:
        head: A name of `ACTIVATIONS`, perhaps with ``-features``, ``-raw`` or ``-per-step``; what people's code says
            (``sigmoid``); or a formula such as ``2*sigmoid(0.5*r) + 0.1``.
        pool: Where the steps are averaged; None: as the name says, else as the design does.

    Raises:
        UsageError: There is no such head or pooling, or the two contradict each other.
    """
    if pool is not None and pool not in POOLINGS:
        raise UsageError(
            f"--pool is {', '.join(POOLINGS)}, not {pool!r}.",
            "use --pool features if the steps are averaged before the prediction head, raw or energy if after it.",
        )
    named = next((one for one in POOLINGS if head.endswith(_SUFFIXES[one])), None)
    activation = activation_of(head if named is None else head.removesuffix(_SUFFIXES[named]))
    wanted: Pooling | None = next((one for one in POOLINGS if one == pool), None)
    if activation.function == "linear":  # a mean of raw values is a mean of energies
        named, wanted = ("raw" if one == "energy" else one for one in (named, wanted))
    if named is not None and wanted is not None and named != wanted:
        raise UsageError(
            f"--head {head} averages the {_words(named)}, but --pool {pool} was given.", "leave one of the two out."
        )
    return HeadForm(activation, wanted or named or _usual_pooling(activation))


def _words(pool: Pooling) -> str:
    return {"features": "features", "raw": "raw values", "energy": "energies"}[pool]


_LONGEST_FORMULA = 200
_NUMBER = r"(\d+\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?)"
_NAMESPACES = re.compile(r"(torch\.nn\.functional|nn\.functional|functional|torch|f)\.")
_FORMULA = re.compile(
    rf"(?:{_NUMBER}\*)?(sigmoid|softplus)\((?:{_NUMBER}\*)??(?:r|raw|{_NUMBER}\*tanh\((?:r|raw)/{_NUMBER}\))\)(?:\*{_NUMBER})?(?:([+-]){_NUMBER})?"
)


def activation_of(text: str) -> HeadActivation:
    """The activation of this name or formula.

    Raises:
        UsageError: It is neither.
    """
    if len(text) > _LONGEST_FORMULA:
        raise UsageError(
            f"The name or formula of a head has at most {_LONGEST_FORMULA} characters, not {len(text)}.",
            "write, for example, --head '2*sigmoid(0.5*r) + 0.1'.",
        )
    name = _ALIASES.get(text, text)
    if name in ACTIVATIONS:
        return ACTIVATIONS[name]
    plain = _NAMESPACES.sub("", text.lower().replace(" ", "").replace("·", "*"))
    found = _FORMULA.fullmatch(plain)
    if found:
        before, function, inner, clip, divisor, after, sign, offset = found.groups()
        scale = float(before or 1) * float(after or 1)
        is_clip = clip is None or (float(clip) == float(divisor) > 0)
        if is_clip and scale != 0 and float(inner or 1) != 0:
            return HeadActivation(
                function,
                scale,
                float(inner or 1),
                float(f"{sign}{offset}") if offset else 0.0,
                None if clip is None else float(clip),
            )
    raise UsageError(
        f"No head is called {text!r}.",
        f"use one of: {', '.join((*ACTIVATIONS, *_ALIASES))} (with --pool features, raw or energy), or its formula: "
        "--head '2*sigmoid(0.5*r) + 0.1'.",
    )


PUBLISHED: tuple[HeadForm, ...] = tuple(
    head_form(name)
    for name in (
        "original",
        "rescaled-per-step",
        "softplus",
        "linear",
        "linear-features",
        "rescaled",
        "softplus-clipped",
        "original-clipped",
        "original-raw",
        "original-per-step",
    )
)
"""The forms of all 106 published versions of the cross-attention head, the most frequent first."""

_BEFORE_POOLING = {
    "original": HeadForm(ACTIVATIONS["original"], "raw"),
    "rescaled": HeadForm(ACTIVATIONS["rescaled"], "raw"),
    "softplus": HeadForm(replace(ACTIVATIONS["softplus"], offset=1e-4), "raw"),
}


ALL_FORMS: tuple[HeadForm, ...] = tuple(
    dict.fromkeys(
        (
            *PUBLISHED,
            *(head_form(name, pool) for name in ACTIVATIONS for pool in POOLINGS),
            *_BEFORE_POOLING.values(),
        )
    )
)
"""Every published activation with every pooling, the published forms first."""


def stated_form(settings: Mapping[str, str]) -> HeadForm | None:
    """The form that a checkpoint's metadata states, or None.

    Metadata without ``pool`` was written before the names meant the design's forms, which pool the features:
    ``original``, ``rescaled`` and ``softplus`` averaged the raw values then, and keep that meaning there.

    Raises:
        UsageError: There is no such head.
    """
    if "head" not in settings:
        return None
    if "pool" not in settings and settings["head"] in _BEFORE_POOLING:
        return _BEFORE_POOLING[settings["head"]]
    return head_form(settings["head"], settings.get("pool"))
