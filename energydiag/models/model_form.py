"""What a checkpoint's keys cannot tell of its model, and what is stated of it.

Shapes: B samples, N candidates of each, S context tokens, D context width, H action steps, A action dimensions.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from energydiag.heads import HeadForm, stated_form
from energydiag.models.energy_function import Mask, Sign

PRECISIONS: Mapping[str, tuple[torch.dtype | None, torch.dtype | None]] = {
    "float32": (torch.float32, None),
    "bfloat16": (torch.bfloat16, None),
    "float16": (torch.float16, None),
    "autocast bfloat16": (None, torch.bfloat16),
    "autocast float16": (None, torch.float16),
}
"""By name: the type of weights and inputs, and the type that autocast computes in."""


@dataclass(frozen=True)
class ModelForm:
    """What a checkpoint's keys cannot tell of its model.

    Attributes:
        head: Pooling and activation; None for a user's module, whose code says it.
        nhead: Attention heads, likewise.
        mask: What True means in the mask that reaches the module.
        sign: Whether the module returns energies or scores.
        precision: A key of `PRECISIONS`, or empty: as the checkpoint is.
        train_mode: Whether dropout was at work.
    """

    head: HeadForm | None = None
    nhead: int | None = None
    mask: Mask = "hidden"
    sign: Sign = "energy"
    precision: str = ""
    train_mode: bool = False

    @property
    def settings(self) -> dict[str, str]:
        """As a checkpoint's metadata holds it."""
        return {
            **({} if self.head is None else self.head.settings),
            **({} if self.nhead is None else {"nhead": str(self.nhead)}),
            "mask": self.mask,
            "sign": self.sign,
        }

    @property
    def options(self) -> str:
        """What to type to state it."""
        words = []
        if self.head is not None:
            name = self.head.name
            words.append(f"--head {name}" if " " not in name else f"--head '{name}' --pool {self.head.pool}")
        words += [f"--nhead {self.nhead}"] if self.nhead is not None else []
        words += [f"--mask {self.mask}"] if self.mask != "hidden" else []
        words += [f"--sign {self.sign}"] if self.sign != "energy" else []
        return " ".join(words)

    def describe(self, masked: bool = True) -> str:
        """In words; ``masked``: whether the dump hides any token."""
        masks = {
            "hidden": "mask passed",
            "visible": "mask passed inverted (True = visible)",
            "unused": "mask never passed to the model",
        }
        parts = []
        if self.head is not None:
            parts += [f"head {self.head.name} ({self.head.formula})"]
        if self.nhead is not None:
            parts += [f"{self.nhead} attention head{'' if self.nhead == 1 else 's'}"]
        parts += [masks[self.mask]] if masked else []
        parts += ["the module returns scores (−E)"] if self.sign == "score" else []
        parts += [f"computed in {self.precision}"] if self.precision else []
        parts += ["in train mode (dropout at work)"] if self.train_mode else []
        return ", ".join(parts)


@dataclass(frozen=True)
class Stated:
    """What a user or a checkpoint's metadata says of a model; None where nothing does."""

    head: HeadForm | None = None
    pool: str | None = None
    nhead: int | None = None
    mask: Mask | None = None
    sign: Sign | None = None

    @classmethod
    def by(cls, settings: Mapping[str, str]) -> Stated:
        """What settings, which were checked, say."""
        mask: Any = settings.get("mask")
        sign: Any = settings.get("sign")
        nhead = settings.get("nhead")
        return cls(stated_form(settings), settings.get("pool"), None if nhead is None else int(nhead), mask, sign)

    @property
    def options(self) -> str:
        """What was, or would have been, typed to state it."""
        words = [] if self.head is None else [ModelForm(self.head).options]
        words += [f"--pool {self.pool}"] if self.head is None and self.pool is not None else []
        words += [
            f"--{name} {value}" for name in ("nhead", "mask", "sign") if (value := getattr(self, name)) is not None
        ]
        return " ".join(words)

    def allows(self, form: ModelForm) -> bool:
        """Whether a form is none other than what is stated."""
        said_of_head = self.head is None or form.head is None or form.head == self.head
        said_of_pool = self.head is not None or self.pool is None or form.head is None or form.head.pool == self.pool
        return (
            said_of_head
            and said_of_pool
            and (self.nhead is None or form.nhead is None or form.nhead == self.nhead)
            and self.mask in (None, form.mask)
            and self.sign in (None, form.sign)
        )


class FormTable(Protocol):
    """Energies in every form at once."""

    def __call__(
        self,
        module: nn.Module,
        hidden_BSD: Tensor,
        actions_BNHA: Tensor,
        masks: Mapping[Mask, Tensor | None],
        heads: Collection[HeadForm],
        nheads: Collection[int] | None = None,
        /,
    ) -> Iterator[tuple[ModelForm, Tensor]]:
        """These heads' forms and energies ``[B, N]``; ``nheads`` limits the numbers of attention heads."""


Reform = Callable[[nn.Module, ModelForm], nn.Module]
"""A copy of a module in another form."""


@dataclass(frozen=True)
class Forms:
    """The forms that an architecture can have with the same keys.

    Attributes:
        table: Energies in all of them.
        reform: A copy of a module in one of them.
    """

    table: FormTable
    reform: Reform
