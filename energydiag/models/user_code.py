"""The state of the process in which a user's code runs.

Two things are changed while it does. What it prints goes to stderr, since stdout belongs to the result. And attention
takes no fast path: in eval mode `torch.nn.MultiheadAttention` and `torch.nn.TransformerEncoder` call fused kernels that
have no derivative, do not enter their submodules and cannot be batched. The plain path, which train mode takes,
computes the same, but for the outputs at hidden tokens, where the fast one may return zeros.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

import torch

_lock = threading.Lock()
_running = 0
_before: tuple[TextIO, TextIO, bool] = sys.stdout, sys.stdout, True
"""What stdout was and what it was replaced by, and whether the fast path was allowed, before the first block began."""


@contextmanager
def user_code() -> Iterator[None]:
    """Sends stdout to stderr and disables the fast path of attention, in all threads, until the last block ends."""
    _enter()
    try:
        yield
    finally:
        _leave()


def _enter() -> None:
    global _running, _before
    with _lock:
        if not _running:
            _before = sys.stdout, sys.stderr, torch.backends.mha.get_fastpath_enabled()
            sys.stdout = sys.stderr
            torch.backends.mha.set_fastpath_enabled(False)
        _running += 1


def _leave() -> None:
    global _running
    with _lock:
        _running -= 1
        if not _running:
            stdout, replacement, fastpath = _before
            torch.backends.mha.set_fastpath_enabled(fastpath)
            if sys.stdout is replacement:  # else the user's code has put something else there
                sys.stdout = stdout
