"""From a checkpoint file to named tensors and what the file says of the model they belong to."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from energydiag.errors import InvalidCheckpoint
from energydiag.files.tensor_file import TensorFile, read_tensor_file

SETTINGS = ("architecture", "head", "nhead", "tau", "sign", "mask", "surgery", "replaced_head", "fixes")
"""Metadata keys that tell how a model is rebuilt and was trained."""


@dataclass(frozen=True)
class Weights:
    """The tensors of one checkpoint.

    Attributes:
        tensors: By their full key.
        settings: Those of `SETTINGS` that the file's metadata holds.
        file: Where they came from.
        container: Key of the nested dict they were taken from, empty at top level.
    """

    tensors: Mapping[str, Tensor]
    settings: Mapping[str, str]
    file: TensorFile
    container: str = ""


def read_weights(path: str | Path) -> Weights:
    """The tensors of a checkpoint.

    Args:
        path: A state dict saved with ``torch.save`` or safetensors, or a dict with the state dict inside it under
            ``model``, ``state_dict`` or ``model_state_dict``; the content decides, not the name.

    Raises:
        UnreadableFile: The file is missing, truncated, of no known format or not safe to read.
        InvalidCheckpoint: There are no tensors in it.
    """
    file = read_tensor_file(Path(path), "checkpoint")
    contents, container = _state_dict(file.contents)
    tensors = {key: value for key, value in contents.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InvalidCheckpoint(
            f"{path} holds no tensors at top level (keys: {_listed(file.contents)}).",
            "save the model's state dict: torch.save(model.state_dict(), path).",
        )
    odd = [k for k, v in tensors.items() if v.layout != torch.strided or v.is_meta or v.is_quantized]
    if odd:
        raise InvalidCheckpoint(
            f"{path} holds tensors that are not plain and dense: {odd[0]}.", "save them dense, with their values."
        )
    settings = {key: file.metadata[key] for key in SETTINGS if key in file.metadata}
    return Weights(tensors, settings, file, container)


def _state_dict(contents: Mapping[str, Any]) -> tuple[Mapping[str, Any], str]:
    for name in ("model", "state_dict", "model_state_dict"):
        inner = contents.get(name)
        if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
            return {str(key): value for key, value in inner.items()}, name
    return contents, ""


def _listed(contents: Mapping[str, Any], most: int = 6) -> str:
    keys = list(contents)
    return ", ".join(keys[:most]) + (f" and {len(keys) - most} more" if len(keys) > most else "") or "none"
