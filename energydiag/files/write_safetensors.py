"""Safetensors files that come out the same to the byte whenever they hold the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from energydiag.atomic import write_with


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file, whole or not at all.

    Args:
        path: Where.
        tensors: By name; copied to the CPU.
        metadata: Text by name.

    Raises:
        UsageError: The file cannot be written.
    """
    plain = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    content = in_fixed_order(save(plain, dict(metadata)))
    write_with(path, lambda temporary: temporary.write_bytes(content))


def in_fixed_order(content: bytes) -> bytes:
    """The same file with the keys of its header sorted: the library writes metadata in an order that changes."""
    size = int.from_bytes(content[:8], "little")
    header = json.dumps(json.loads(content[8 : 8 + size]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)
    return len(header).to_bytes(8, "little") + header + content[8 + size :]
