"""From tensors and settings to an energy function whose every parameter came from the checkpoint."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from energydiag.discovery import discover
from energydiag.errors import InvalidCheckpoint, UsageError
from energydiag.models.architecture import Architecture
from energydiag.models.energy_function import EnergyFunction, Mask, Sign
from energydiag.models.heads import HEADS
from energydiag.models.surgery import operate_again

_SHOWN_KEYS = 12


def architectures() -> dict[str, Architecture]:
    """The built-in architectures, by name."""
    return discover("energydiag.models", "ARCHITECTURE", Architecture)


def build_energy(
    tensors: Mapping[str, Tensor],
    settings: Mapping[str, str],
    *,
    model: str | None = None,
    model_arguments: Mapping[str, str] | None = None,
) -> EnergyFunction:
    """The energy function that a state dict belongs to, in ``eval()`` mode.

    Args:
        tensors: The state dict, with any prefix before its keys.
        settings: head, nhead, sign, … from options or metadata.
        model: A built-in architecture, ``package.module:factory`` or ``path/file.py:factory``; None finds the
            built-in one whose keys match. A factory's code is run.
        model_arguments: Keyword arguments for the factory, as text.

    Raises:
        InvalidCheckpoint: Keys are missing, left over or misshapen; they are listed.
        UsageError: A setting that the keys cannot tell is not given.
    """
    sign = _sign(settings.get("sign", "energy"))
    mask: Mask = "visible" if settings.get("mask") == "visible" else "hidden"
    if model and ":" in model:
        module = operate_again(_from_factory(model, model_arguments or {}), settings)
        stripped = _strip(tensors, frozenset(module.state_dict()))
        _check_fit(module, stripped)
        _fill(module, stripped)
        return EnergyFunction(module.eval(), model, dict(settings), sign, mask)
    # what a file says of itself may name a built-in architecture, never code to run
    architecture, stripped = _recognise(tensors, model or settings.get("architecture"))
    _require(architecture, settings)
    why_not = architecture.check(stripped, settings)
    if why_not:
        raise UsageError(f"The settings do not fit this checkpoint: {why_not}.", "give the value used in training.")
    with torch.device("meta"):
        module = architecture.build(stripped, settings)
    _check_fit(module, stripped)
    module.to_empty(device="cpu")
    _fill(module, stripped)
    widths = architecture.widths(stripped)
    return EnergyFunction(module.eval(), architecture.name, dict(settings), sign, mask, widths)


def _sign(text: str) -> Sign:
    if text == "energy":
        return "energy"
    if text == "score":
        return "score"
    raise UsageError(f"--sign is energy or score, not {text!r}.", "use `--sign score` if high means good.")


def _recognise(tensors: Mapping[str, Tensor], wanted: str | None) -> tuple[Architecture, dict[str, Tensor]]:
    known = architectures()
    if wanted is not None and wanted not in known:
        raise UsageError(
            f"No built-in architecture is called {wanted!r} (there are: {', '.join(known)}).",
            "name one of them, or your own code as --model path/file.py:factory.",
        )
    for architecture in [known[wanted]] if wanted else known.values():
        for prefix in _prefixes(tensors, architecture.anchor):
            inside = {key[len(prefix) :]: value for key, value in tensors.items() if key.startswith(prefix)}
            if architecture.matches(frozenset(inside)):
                return architecture, inside
    raise InvalidCheckpoint(
        f"The keys fit no built-in architecture ({', '.join(known)}); the first are: {_listed(sorted(tensors))}.",
        "say how the model is built: --model path/file.py:factory (its code will run).",
    )


def _prefixes(tensors: Mapping[str, Tensor], anchor: str) -> list[str]:
    return sorted({key[: -len(anchor)] for key in tensors if key.endswith(anchor)}, key=len)


def _strip(tensors: Mapping[str, Tensor], wanted: frozenset[str]) -> dict[str, Tensor]:
    """The tensors below the prefix that lets most of the wanted keys match, the shortest of the best."""
    candidates = {""} | {key[: -len(name)] for key in tensors for name in wanted if key.endswith("." + name)}
    best = max(sorted(candidates, key=len), key=lambda p: sum(p + name in tensors for name in wanted))
    return {key[len(best) :]: value for key, value in tensors.items() if key.startswith(best)}


def _require(architecture: Architecture, settings: Mapping[str, str]) -> None:
    missing = [name for name in architecture.asks_for if name not in settings]
    if missing:
        choices = {"head": "|".join(HEADS), "nhead": "N"}
        options = " ".join(f"--{name} {choices.get(name, 'VALUE')}" for name in missing)
        raise UsageError(
            f"Neither the keys nor the metadata of this {architecture.name} checkpoint tell its "
            f"{' and '.join(missing)}; a wrong guess would load silently and measure another model.",
            f"add {options}, as used in training.",
        )
    if "head" in settings and settings["head"] not in HEADS:
        raise UsageError(f"No head is called {settings['head']!r}.", f"use one of: {', '.join(HEADS)}.")
    if "nhead" in settings and not (settings["nhead"].isdecimal() and int(settings["nhead"]) > 0):
        raise UsageError(
            f"--nhead must be a positive whole number, not {settings['nhead']!r}.",
            "give the value used in training.",
        )


def _check_fit(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    missing = sorted(set(own) - set(tensors))
    extra = sorted(set(tensors) - set(own))
    misshapen = [
        f"{key} (expected {list(own[key].shape)}, got {list(tensors[key].shape)})"
        for key in sorted(set(own) & set(tensors))
        if own[key].shape != tensors[key].shape
    ]
    problems = [
        f"{what}: {_listed(keys)}"
        for what, keys in (("missing", missing), ("not in the model", extra), ("misshapen", misshapen))
        if keys
    ]
    if problems:
        raise InvalidCheckpoint(
            f"The checkpoint does not fit the model, so nothing was measured. {'; '.join(problems)}.",
            "check that architecture and checkpoint belong together (--model, --model-arg).",
        )


def _fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    dtype = next((value.dtype for value in tensors.values() if value.is_floating_point()), torch.float32)
    module.to(dtype)
    module.load_state_dict(dict(tensors), strict=True)


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:_SHOWN_KEYS])
    return shown + (f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else "")


def _from_factory(spec: str, arguments: Mapping[str, str]) -> nn.Module:
    where, _, name = spec.rpartition(":")
    try:
        source = _import_file(Path(where)) if where.endswith(".py") else importlib.import_module(where)
        module: Any = getattr(source, name)(**{key: _value(text) for key, text in arguments.items()})
    except (Exception, SystemExit) as error:
        first = (str(error).splitlines() or [""])[0]
        raise UsageError(
            f"--model {spec} failed: {type(error).__name__}: {first}",
            "it must be package.module:factory or path/file.py:factory, and the factory must return a module.",
        ) from error
    if not isinstance(module, nn.Module):
        raise UsageError(
            f"--model {spec} returned a {type(module).__name__}, not a torch.nn.Module.",
            "return the module from it.",
        )
    return module


def _import_file(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None or not path.is_file():
        raise FileNotFoundError(f"no Python file at {path}")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _value(text: str) -> Any:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return {"true": True, "false": False, "none": None}.get(text.lower(), text)
