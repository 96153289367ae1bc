"""Files that mean harm, made by small functions: one module a family, every payload registered in one place.

python -m hostile      # from tests/: lists what there is
"""

from __future__ import annotations

from hostile import archives, arrays, folders, headers, logs, pickles, results, tensors, truncated
from hostile.registry import Payload, payloads

__all__ = ["FAMILIES", "Payload", "payloads"]

FAMILIES = (pickles, tensors, archives, arrays, headers, truncated, folders, logs, results)
"""Importing a family registers its payloads."""
