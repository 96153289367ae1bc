"""What one batch dump holds, as every stage sees it.

Shapes: N samples, S context tokens, D context width, H action steps, A action dimensions, L policy layers,
M supplied negatives.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils._pytree import tree_map_only

_BLOCK_BYTES = 8 << 20
"""Of rows that are looked at together, 8 MiB: small beside any model, large beside the cost of a call (a guess)."""


class Part(Protocol):
    """What rows are gathered from: a tensor, or whatever reads the rows of one."""

    @property
    def shape(self) -> torch.Size:
        """``[n, …]``."""

    @property
    def dtype(self) -> torch.dtype:
        """Of the rows."""

    @property
    def device(self) -> torch.device:
        """Where the rows come to be."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor, /) -> Tensor:
        """Copies of the rows at these positions, ``[m]`` int."""


class Rows(Tensor):
    """A tensor whose rows lie in several others, or in files, and are gathered when asked for.

    ``rows[index]`` and ``rows[2:5]`` copy these rows and read no others; shape, type and ``dim()`` cost nothing. Any
    other use sees the plain tensor that `whole` makes: the right values, at the price of having all of them in memory.

    Args:
        parts: At least one, each ``[n_i, …]`` with the same further sizes, type and device.
        places: Rows of all parts, counted through from the first, ``[N]`` int; None: all in order.
    """

    parts: tuple[Part, ...]
    places: Tensor

    # what Tensor's own would do is to call the results Rows too
    __torch_function__ = torch._C._disabled_torch_function_impl  # type: ignore[assignment]

    @staticmethod
    def __new__(cls, parts: Sequence[Part], places: Tensor | None = None) -> Rows:
        if places is None:
            places = torch.arange(sum(len(part) for part in parts))
        first = parts[0]
        rows: Rows = Tensor._make_wrapper_subclass(
            cls, (len(places), *first.shape[1:]), dtype=first.dtype, device=first.device
        )
        rows.parts, rows.places = tuple(parts), places
        return rows

    @classmethod
    def __torch_dispatch__(  # type: ignore[override]
        cls,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        args, kwargs = tree_map_only(Rows, Rows.whole, (tuple(args), dict(kwargs or {})))
        return func(*args, **kwargs)

    def __getitem__(self, key: Any) -> Tensor:
        one_per_value = isinstance(key, Tensor) and key.dtype == torch.bool and key.dim() != 1
        if isinstance(key, Tensor | slice | list | int) and not one_per_value:
            return self._gather(self.places[key])
        return self.whole()[key]

    def __repr__(self, *, tensor_contents: Any = None) -> str:  # type: ignore[override]
        return f"Rows({list(self.shape)}, {self.dtype}, {len(self.parts)} parts)"

    def numpy(self, *, force: bool = False) -> Any:
        """As `Tensor.numpy`, of all rows; torch itself refuses it here."""
        return self.whole().numpy(force=force)

    def tolist(self) -> list[Any]:
        """As `Tensor.tolist`, of all rows; torch itself refuses it here."""
        found: list[Any] = self.whole().tolist()
        return found

    def whole(self) -> Tensor:
        """All rows as a plain tensor in memory."""
        return self._gather(self.places)

    def view_of(self, index: Tensor) -> Rows:
        """Some of the rows, ``[n, …]``, still where they lie."""
        return Rows(self.parts, self.places[index])

    def _gather(self, index: Tensor) -> Tensor:
        wanted = index.reshape(-1).contiguous()
        ends = torch.tensor([len(part) for part in self.parts]).cumsum(0)
        owners, counts = torch.unique(torch.bucketize(wanted, ends, right=True), return_counts=True)
        by_part = torch.split(torch.argsort(wanted), counts.tolist())
        with torch.no_grad():
            rows = torch.empty((len(wanted), *self.shape[1:]), dtype=self.dtype, device=self.device)
            for number, places in zip(owners.tolist(), by_part, strict=True):
                part = self.parts[number]
                start = int(ends[number]) - len(part)
                for here in torch.split(places, _rows_in_block(self)):
                    rows[here] = part[wanted[here] - start]
        return rows.reshape(*index.shape, *self.shape[1:])


def _rows_in_block(value: Tensor) -> int:
    row = math.prod(value.shape[1:]) * value.element_size()
    return max(1, _BLOCK_BYTES // max(row, 1))


def blocks(value: Tensor) -> Iterator[Tensor]:
    """All rows of a tensor in order, a few MiB at a time, so that it may be larger than the memory."""
    if value.dim() == 0:
        yield value
        return
    size = _rows_in_block(value)
    for start in range(0, len(value), size):
        yield value[start : start + size]


@dataclass(frozen=True)
class Batch:
    """Samples that a policy was run on, with the expert's actions.

    Attributes:
        hidden: Contexts, ``[N, S, D]``, or ``[N, D]`` where they are pooled; any floating type. May be `Rows`.
        actions: Expert actions, ``[N, H, A]``, or ``[N, A]`` without steps.
        pad_mask: ``[N, S]``, True where a context token is hidden; None: nothing is hidden.
        layer_actions: What each layer of the policy would have done, ``[N, L, H, A]``.
        policy_actions: What the policy does, ``[N, H, A]``.
        negatives: Negatives that the training used, ``[N, M, H, A]``.
        episode: Which episode a sample belongs to, ``[N]``.
        task: Which task, ``[N]``.
        step: Time step in the episode, ``[N]``.
        energies: What the owner's own code gave for these contexts and actions, ``[N]``, in the type they were kept in.
        energies_of: Whose they are: the step of the checkpoint, ``[N]`` int, or its SHA-256, ``[N, 32]`` bytes.
    """

    hidden: Tensor
    actions: Tensor
    pad_mask: Tensor | None = None
    layer_actions: Tensor | None = None
    policy_actions: Tensor | None = None
    negatives: Tensor | None = None
    episode: Tensor | None = None
    task: Tensor | None = None
    step: Tensor | None = None
    energies: Tensor | None = None
    energies_of: Tensor | None = None

    def __len__(self) -> int:
        return self.hidden.shape[0]

    def take(self, index: Tensor) -> Batch:
        """The samples at these positions, ``[n]`` int, in this order, copied into memory."""
        return replace(self, **{name: value[index] for name, value in self.present().items()})

    def select(self, index: Tensor) -> Batch:
        """The same samples as `take`, but contexts are `Rows`, which copy nothing until rows are asked for.

        For samples that may be too many for the memory; all of them in order are the batch itself.
        """
        if torch.equal(index, torch.arange(len(self))):
            return self
        small = {name: value[index] for name, value in self.present().items() if name != "hidden"}
        return replace(self, **small, hidden=_view(self.hidden, index))

    def present(self) -> dict[str, Tensor]:
        """The fields that this batch has, by name."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        return {name: value for name, value in named.items() if value is not None}

    @property
    def groups(self) -> Tensor:
        """Which samples belong together when resampling, ``[N]`` int: the episode, else each sample alone."""
        return torch.arange(len(self)) if self.episode is None else self.episode

    def spread(self, limit: int) -> Tensor:
        """At most ``limit`` positions, ``[n]`` int, spread evenly over the samples in order of their episodes."""
        order = torch.argsort(self.groups, stable=True)
        if limit >= len(order):
            return torch.arange(len(self))
        return order[torch.linspace(0, len(order) - 1, max(limit, 1)).round().long()].sort().values

    def unusable(self) -> tuple[Tensor, Tensor]:
        """``(non-finite [N], all hidden [N])``, bool: samples that no energy can be computed for.

        Goes through the contexts a few MiB at a time.
        """
        broken = torch.zeros(len(self), dtype=torch.bool)
        for value in (self.hidden, self.actions, self.layer_actions, self.policy_actions, self.negatives):
            if value is not None:
                broken |= ~_by_row(value, lambda part: torch.isfinite(part).flatten(1).all(dim=1))
        hidden = torch.zeros_like(broken)
        if self.pad_mask is not None:
            hidden = _by_row(self.pad_mask, lambda part: part.all(dim=1))
        return broken, hidden


def _by_row(value: Tensor, says: Callable[[Tensor], Tensor]) -> Tensor:
    """What is said of every row, ``[N]`` bool, a few MiB of rows at a time.

    The answers go into a tensor that is there before: small ones, kept between large blocks, would hold the memory of
    all those blocks (measured: 2 GiB on the way through 10 GiB).
    """
    answers = torch.zeros(len(value), dtype=torch.bool)
    start = 0
    for part in blocks(value):
        answers[start : start + len(part)] = says(part)
        start += len(part)
    return answers


def _view(value: Tensor, index: Tensor) -> Rows:
    return (value if isinstance(value, Rows) else Rows((value,))).view_of(index)
