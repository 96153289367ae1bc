"""From tensors and settings to an energy function whose every parameter came from the checkpoint."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from energydiag.discovery import discover
from energydiag.errors import InvalidCheckpoint, UsageError
from energydiag.heads import ACTIVATIONS, stated_form
from energydiag.models.architecture import Architecture
from energydiag.models.calling import DIRECT, Calling, calling_of
from energydiag.models.energy_function import MASKS, EnergyFunction, Mask, Sign
from energydiag.models.model_form import Forms
from energydiag.models.places import Place, places_of_anchor, places_of_module
from energydiag.models.surgery import operate_again
from energydiag.models.unwrapping import unwrapped
from energydiag.models.user_code import user_code

_SHOWN_KEYS = 12


def architectures() -> dict[str, Architecture]:
    """The built-in architectures, by name."""
    return discover("energydiag.models", "ARCHITECTURE", Architecture)


@dataclass(frozen=True)
class Plan:
    """What is to be built, before it is known of which tensors.

    Attributes:
        settings: head, pool, nhead, sign, … from options or metadata.
        architecture: Name of a built-in one; None finds the one whose keys match.
        spec: ``package.module:factory`` or ``path/file.py:factory``, where the user named one.
        module: What that factory made.
        calling: How that module is asked.
    """

    settings: Mapping[str, str]
    architecture: str | None = None
    spec: str | None = None
    module: nn.Module | None = None
    calling: Calling = DIRECT

    def places(self, tensors: Mapping[str, Tensor]) -> list[Place]:
        """Where the model is among tensors, of which keys and shapes are looked at alone, the shortest prefix first.

        A factory's module that is nowhere has one place that does not fit, where most of it is.
        """
        if self.module is not None:
            return places_of_module(tensors, self.module.state_dict())
        return [place for one in self._known() for place in places_of_anchor(tensors, one.anchor, one.matches)]

    def no_place(self, keys: Sequence[str]) -> InvalidCheckpoint:
        """The error for keys among which the model is not."""
        known = ", ".join(one.name for one in self._known())
        return InvalidCheckpoint(
            f"The keys fit no built-in architecture ({known}); the first are: {_listed(sorted(keys))}.",
            "say how the model is built: --model path/file.py:factory (its code will run).",
        )

    @user_code()
    def build(self, tensors: Mapping[str, Tensor]) -> EnergyFunction:
        """The energy function of these tensors, by the model's own keys, in ``eval()`` mode.

        Raises:
            InvalidCheckpoint: Keys are missing, unexpected or misshapen; they are listed.
            UsageError: A setting that the keys cannot tell is not given.
        """
        sign, mask = _sign(self.settings.get("sign")), _mask(self.settings.get("mask", "hidden"))
        module = self._outline(tensors)
        _check_fit(module, tensors)
        if self.module is not None and self.spec is not None:
            _fill(module, tensors)
            return EnergyFunction(module.eval(), self.spec, dict(self.settings), sign, mask, calling=self.calling)
        module.to_empty(device="cpu")
        _fill(module, tensors)
        architecture, form = self.known_by(tensors), stated_form(self.settings)
        settings = {**self.settings, **({} if form is None else form.settings)}
        return EnergyFunction(module.eval(), architecture.name, settings, sign, mask, architecture.widths(tensors))

    def unexpected(self, tensors: Mapping[str, Tensor]) -> list[str]:
        """Keys of these tensors that the model does not have.

        Raises:
            EnergydiagError: As `build`.
        """
        return sorted(set(tensors) - set(self._outline(tensors).state_dict()))

    def forms(self, tensors: Iterable[str]) -> Forms | None:
        """The forms that the keys leave open; None where the user's code says which it is."""
        return None if self.module is not None else self.known_by(tensors).forms

    def never_read(self, tensors: Iterable[str]) -> tuple[str, ...]:
        """Names that published models of this architecture store and never read."""
        return () if self.module is not None else self.known_by(tensors).never_read

    def _outline(self, tensors: Mapping[str, Tensor]) -> nn.Module:
        """The module before it gets its weights: the user's own, or a built-in one without memory."""
        if self.module is not None:
            return self.module
        architecture = self.known_by(tensors)
        _require(architecture, self.settings)
        why_not = architecture.check(tensors, self.settings)
        if why_not:
            raise UsageError(f"The settings do not fit this checkpoint: {why_not}.", "give the value used in training.")
        with torch.device("meta"):
            return architecture.build(tensors, self.settings)

    def known_by(self, tensors: Iterable[str]) -> Architecture:
        """The built-in architecture whose keys these are."""
        return next(one for one in self._known() if one.matches(frozenset(tensors)))

    def _known(self) -> list[Architecture]:
        known = architectures()
        return list(known.values()) if self.architecture is None else [known[self.architecture]]


def plan_energy(
    settings: Mapping[str, str],
    *,
    model: str | None = None,
    model_arguments: Mapping[str, str] | None = None,
) -> Plan:
    """What is to be built.

    Args:
        settings: head, nhead, sign, candidates, … from options or metadata.
        model: A built-in architecture, ``package.module:factory`` or ``path/file.py:factory``; None finds the
            built-in one whose keys match. A factory's code is run.
        model_arguments: Keyword arguments for the factory, as text.

    Raises:
        UsageError: There is no such architecture, or the factory fails.
    """
    candidates = settings.get("candidates") == "true"
    if model and ":" in model:
        built = _from_factory(model, model_arguments or {})
        calling = calling_of(built, candidates)
        module = operate_again(built, settings, calling)
        # one with another head around it is asked by that
        return Plan(settings, spec=model, module=module, calling=calling if module is built else DIRECT)
    if candidates:
        raise UsageError(
            "The built-in architectures take one candidate per context.",
            "leave --candidates out, or name your own code as --model path/file.py:factory.",
        )
    # what a file says of itself may name a built-in architecture, never code to run
    wanted, known = model or settings.get("architecture"), architectures()
    if wanted is not None and wanted not in known:
        raise UsageError(
            f"No built-in architecture is called {wanted!r} (there are: {', '.join(known)}).",
            "name one of them, or your own code as --model path/file.py:factory.",
        )
    return Plan(settings, architecture=wanted)


def _sign(text: str | None) -> Sign | None:
    if text is None:
        return None
    if text == "energy":
        return "energy"
    if text == "score":
        return "score"
    raise UsageError(f"--sign is energy or score, not {text!r}.", "use `--sign score` if high means good.")


def _mask(text: str) -> Mask:
    found: Mask | None = next((one for one in MASKS if one == text), None)
    if found is None:
        raise UsageError(
            f"--mask is {', '.join(MASKS)}, not {text!r}.",
            "use `--mask visible` if True means that a token is seen, unused if the model is called without a mask.",
        )
    return found


def _require(architecture: Architecture, settings: Mapping[str, str]) -> None:
    missing = [name for name in architecture.asks_for if name not in settings]
    if missing:
        choices = {"head": "|".join(ACTIVATIONS), "nhead": "N"}
        options = " ".join(f"--{name} {choices.get(name, 'VALUE')}" for name in missing)
        raise UsageError(
            f"Neither the keys nor the metadata of this {architecture.name} checkpoint tell its "
            f"{' and '.join(missing)}; a wrong guess would load silently and measure another model.",
            f"add {options}, as used in training; or dump `energies`, what your own code gives for these samples, and "
            "they are found.",
        )
    stated_form(settings)  # says what cannot be
    if "nhead" in settings and not re.fullmatch("0*[1-9][0-9]{0,8}", settings["nhead"]):
        raise UsageError(
            f"--nhead must be a positive whole number, not {settings['nhead'][:80]!r}.",
            "give the value used in training.",
        )


def _check_fit(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    own = module.state_dict()
    missing = sorted(set(own) - set(tensors))
    unexpected = sorted(set(tensors) - set(own))
    misshapen = [
        f"{key} (expected {list(own[key].shape)}, got {list(tensors[key].shape)})"
        for key in sorted(set(own) & set(tensors))
        if own[key].shape != tensors[key].shape
    ]
    problems = [
        f"{what}: {_listed(keys)}"
        for what, keys in (
            ("missing", missing),
            ("not in the model", [f"{key} {list(tensors[key].shape)}" for key in unexpected]),
            ("misshapen", misshapen),
        )
        if keys
    ]
    if problems:
        next_step = "check that architecture and checkpoint belong together (--model, --model-arg)."
        if not missing and not misshapen:
            next_step = (
                "if the model's forward does not read them, pass them over: "
                f"{' '.join(f'--ignore-keys {shlex.quote(pattern)}' for pattern in _patterns(unexpected))}."
            )
        raise InvalidCheckpoint(
            f"The checkpoint does not fit the model, so nothing was measured. {'; '.join(problems)}.", next_step
        )


def _patterns(keys: Sequence[str]) -> list[str]:
    """Patterns that these keys fit: each itself where they are few, else what stands before its first dot."""
    if len(keys) <= _SHOWN_KEYS // 2:
        return list(keys)
    return list(dict.fromkeys(f"{key.partition('.')[0]}.*" if "." in key else key for key in keys))


def _fill(module: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    floating = {value.dtype for value in tensors.values() if value.is_floating_point()}
    module.to(functools.reduce(torch.promote_types, floating) if floating else torch.float32)
    module.load_state_dict(dict(tensors), strict=True)


def _listed(keys: Sequence[str]) -> str:
    shown = ", ".join(keys[:_SHOWN_KEYS])
    return shown + (f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else "")


def _from_factory(spec: str, arguments: Mapping[str, str]) -> nn.Module:
    where, _, name = spec.rpartition(":")
    try:
        with user_code():
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
    return unwrapped(module)


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
