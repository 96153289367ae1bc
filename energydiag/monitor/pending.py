"""Numbers of the steps since the last look, tensors among them still on their device."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor


class Pending:
    """Rows that wait to be written.

    Args:
        tell: Is given what cannot be logged.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._values: list[tuple[int, str, Tensor | float]] = []
        self.last: dict[str, float] = {}

    def __len__(self) -> int:
        """How many numbers wait."""
        return len(self._values)

    def add(self, step: int, values: Mapping[str, Any]) -> None:
        """Keeps numbers of a step; None stands for what is not there. Does not wait for a device."""
        for name, value in values.items():
            if value is None:
                continue
            if isinstance(value, Tensor) and value.numel() == 1:
                # a copy: the loop may go on to add to it, and a CUDA graph writes to the same place again
                self._values.append((step, name, value.detach().reshape(()).clone()))
                continue
            try:
                self._values.append((step, name, float(value)))
            except (TypeError, ValueError, RuntimeError):
                self._tell(f"`{name}` is not logged: a {type(value).__name__} is no number")

    def taken(self) -> list[dict[str, float]]:
        """The rows in order of their steps, one transfer for all tensors of a device and a type."""
        groups: dict[tuple[torch.device, torch.dtype], list[int]] = defaultdict(list)
        plain: list[float] = [0.0] * len(self._values)
        for place, (_, _, value) in enumerate(self._values):
            if isinstance(value, Tensor):
                groups[value.device, value.dtype].append(place)
            else:
                plain[place] = value
        for places in groups.values():
            together = torch.stack([value for place in places if isinstance(value := self._values[place][2], Tensor)])
            for place, number in zip(places, together.tolist(), strict=True):
                plain[place] = float(number)
        rows: dict[int, dict[str, float]] = {}
        for (step, name, _), number in zip(self._values, plain, strict=True):
            rows.setdefault(step, {"step": step})[name] = number
        self._values = []
        ordered = [rows[step] for step in sorted(rows)]
        self.last = {n: v for n, v in ordered[-1].items() if n != "step"} if ordered else {}
        return ordered
