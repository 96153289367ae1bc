"""From files to energy functions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from energydiag.checkpoints import read_weights
from energydiag.errors import UsageError
from energydiag.models.build import build_energy
from energydiag.models.energy_function import EnergyFunction


@dataclass(frozen=True)
class ModelOptions:
    """What the keys of a checkpoint may not tell.

    Attributes:
        model: Name of a built-in architecture, ``package.module:factory`` or ``path/file.py:factory``.
        model_arguments: Keyword arguments of the factory, as text.
        head: Variant of the head.
        nhead: Number of attention heads.
        sign: ``"energy"`` or ``"score"``.
        device: Where to compute.
        dtype: Type to compute in (``"float32"``, …); None keeps the checkpoint's.
    """

    model: str | None = None
    model_arguments: Mapping[str, str] | None = None
    head: str | None = None
    nhead: int | None = None
    sign: str | None = None
    device: str = "cpu"
    dtype: str | None = None


def load_checkpoint(
    path: str | Path,
    model: str | None = None,
    head: str | None = None,
    nhead: int | None = None,
    sign: str | None = None,
    model_arguments: Mapping[str, str] | None = None,
    device: str = "cpu",
    dtype: str | None = None,
) -> EnergyFunction:
    """The energy function that a checkpoint holds, in eval mode.

    Args:
        path: The checkpoint.
        model: How to rebuild it; see `ModelOptions`. A factory's code is run.
        head: Variant of the head, where neither keys nor metadata tell it.
        nhead: Number of attention heads, likewise.
        sign: ``"score"`` if high means good.
        model_arguments: Keyword arguments of a factory, as text.
        device: Where to compute.
        dtype: Type to compute in; None keeps the checkpoint's.

    Raises:
        UnreadableFile: The file is missing, truncated, of no known format or not safe to read.
        InvalidCheckpoint: Its tensors do not fit the model.
        UsageError: Something that the keys cannot tell was not given.
    """
    options = ModelOptions(model, model_arguments, head, nhead, sign, device, dtype)
    return read_checkpoint(Path(path), options)[0]


def read_checkpoint(path: Path, options: ModelOptions) -> tuple[EnergyFunction, dict[str, str]]:
    """The energy function, and what its file says of itself as text.

    Raises:
        EnergydiagError: As `load_checkpoint`.
    """
    weights = read_weights(path)
    given = {"head": options.head, "nhead": options.nhead, "sign": options.sign}
    overridden = [
        f"--{name} {value} was taken, although the checkpoint's metadata says {weights.settings[name]}."
        for name, value in given.items()
        if value is not None and weights.settings.get(name, str(value)) != str(value)
    ]
    settings = {**weights.settings, **{key: str(value) for key, value in given.items() if value is not None}}
    energy = build_energy(
        weights.tensors,
        settings,
        model=options.model,
        model_arguments=options.model_arguments,
    )
    energy.module.to(device=_device(options.device), dtype=_dtype(options.dtype))
    facts = {"path": str(path), "format": weights.file.format, "sha256": weights.file.sha256()}
    facts |= {"overridden": " ".join(overridden)} if overridden else {}
    return energy, facts | ({"container": weights.container} if weights.container else {})


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise UsageError(
            f"--device {name} is not there: {str(error).splitlines()[0]}.",
            "use --device cpu, or cuda on a machine with one.",
        ) from error
    return device


def _dtype(name: str | None) -> torch.dtype | None:
    kinds = {
        "float32": torch.float32,
        "float64": torch.float64,
        "bfloat16": torch.bfloat16,
        "float16": torch.float16,
    }
    if name is not None and name not in kinds:
        raise UsageError(f"--dtype is one of {', '.join(kinds)}, not {name!r}.", "use --dtype float32.")
    return None if name is None else kinds[name]
