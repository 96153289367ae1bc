"""What a built-in architecture must say of itself to be rebuilt from a stranger's state dict."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from torch import Tensor, nn

from energydiag.models.model_form import Forms


@dataclass(frozen=True)
class Architecture:
    """A model that can be rebuilt from key names, shapes and a few settings.

    Attributes:
        name: What ``--model`` takes.
        asks_for: Settings that the keys cannot tell (options of the same name).
        anchor: A key that stands at the root of the model; what precedes it in a file is a prefix.
        matches: Whether these keys (prefix stripped) are this architecture's.
        check: Why the settings do not fit these tensors, or None.
        widths: ``(context width D, action width A)`` that the tensors were made for.
        build: The module, with fresh weights of the right shapes.
        never_read: Names of parameters that published models store and no computation reads.
        forms: The forms that the keys leave open, where there are any.
    """

    name: str
    asks_for: tuple[str, ...]
    anchor: str
    matches: Callable[[frozenset[str]], bool]
    check: Callable[[Mapping[str, Tensor], Mapping[str, str]], str | None]
    widths: Callable[[Mapping[str, Tensor]], tuple[int, int]]
    build: Callable[[Mapping[str, Tensor], Mapping[str, str]], nn.Module]
    never_read: tuple[str, ...] = ()
    forms: Forms | None = None
