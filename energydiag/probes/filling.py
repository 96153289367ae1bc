"""Tables that are computed piece by piece and written into their places, or the reason why they cannot be had."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor


class Filling:
    """Some tensors that come into being together, some of their rows at a time.

    The first piece tells their types and the shapes of a row. What raises ends the filling, and is raised to whoever
    asks for the whole; others that are filled beside it are not concerned.

    Args:
        rows: Length of the whole.
    """

    def __init__(self, rows: int) -> None:
        self._rows = rows
        self._whole: tuple[Tensor, ...] = ()
        self._failure: Exception | None = None

    def put(self, at: Tensor | slice, compute: Callable[[], tuple[Tensor, ...]]) -> None:
        """Writes the rows that ``compute`` answers with; after a failure, nothing is computed any more."""
        if self._failure is not None:
            return
        try:
            found = compute()
        except torch.OutOfMemoryError:
            raise
        except Exception as error:  # a stranger's model may raise anything
            self._failure = error
            return
        if not self._whole:
            self._whole = tuple(torch.empty((self._rows, *rows.shape[1:]), dtype=rows.dtype) for rows in found)
        for whole, rows in zip(self._whole, found, strict=True):
            whole[at] = rows.detach().cpu()

    def whole(self) -> tuple[Tensor, ...]:
        """All rows.

        Raises:
            Exception: What ``compute`` raised.
        """
        if self._failure is not None:
            raise self._failure
        return self._whole
