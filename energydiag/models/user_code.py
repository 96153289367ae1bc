"""The state of the process in which a user's code runs.

Three things are changed while it does. What it prints goes to stderr, since stdout belongs to the result. Compiled
parts run as they were written: what was compiled can neither be watched nor batched over candidates, and would be
compiled again for every shape. And attention takes no fast path: in eval mode `torch.nn.MultiheadAttention` and
`torch.nn.TransformerEncoder` call fused kernels that have no derivative, do not enter their submodules and cannot be
batched. The plain path, which train mode takes, computes the same, but for the outputs at hidden tokens, where the fast
one may return zeros.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TextIO

import torch

_lock = threading.Lock()
_running = 0
_undo = ExitStack()


@contextmanager
def user_code() -> Iterator[None]:
    """Prepares the process, for all threads, until the last block ends."""
    global _running
    with _lock:
        _running += 1
        if _running == 1:
            _prepare(_undo)
    try:
        yield
    finally:
        with _lock:
            _running -= 1
            if not _running:
                _undo.close()


def _prepare(undo: ExitStack) -> None:
    undo.callback(_restore_stdout, sys.stdout, sys.stderr)
    sys.stdout = sys.stderr
    undo.callback(torch.backends.mha.set_fastpath_enabled, torch.backends.mha.get_fastpath_enabled())
    torch.backends.mha.set_fastpath_enabled(False)
    if "torch._dynamo" in sys.modules:  # else nothing was compiled, and the import takes seconds
        undo.enter_context(torch.compiler.set_stance("force_eager"))


def _restore_stdout(stdout: TextIO, replacement: TextIO) -> None:
    if sys.stdout is replacement:  # else the user's code has put something else there
        sys.stdout = stdout
