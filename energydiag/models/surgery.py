"""What a fix does to a model before it is trained again; told in the checkpoint, and done again on loading.

An operation is a word or ``word=argument``:

* ``head=NAME``: another activation makes the energy from the raw output (`energydiag.heads`); the steps are
  averaged where they were before, or the weights would mean something else. In a built-in architecture its head module
  is replaced. In any other module the activation that was found to produce the energy is caught at work and its answer
  replaced, so that nothing of the module's code has to be known.
* ``remove-norm=PATH``: the normalisation at this module path becomes the identity.
* ``reinitialise-last-layer=PATH``: this linear layer gets fresh weights; without a path, the one of the raw output.
* ``fresh-weights``: every parameter that is trained is drawn anew, as each module initialises itself.
* ``negate``: the sign is turned.
* ``turn-mask``: the mask is turned.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from energydiag.errors import InvalidCheckpoint, UsageError
from energydiag.heads import HeadActivation, HeadForm, activation_of, stated_form
from energydiag.models.activations import Activation, activation_named
from energydiag.models.calling import DIRECT, Calling
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.energy_head import EnergyHead, activate
from energydiag.models.fresh_weights import redraw, unresettable
from energydiag.models.head_reading import HeadReading, read_head
from energydiag.models.recorded_calls import activation_name


@dataclass(frozen=True)
class Anatomy:
    """What surgery has to know of a model, found by one forward pass; paths begin inside of a replaced head.

    Attributes:
        reading: What stands at the end.
        action_norm: Path of the LayerNorm that stands directly over the raw action, or empty.
        last_layer: Path of the linear layer that gives the raw output, or empty.
        unresettable: Paths of modules that hold trained parameters of their own and no way to draw them anew.
    """

    reading: HeadReading
    action_norm: str
    last_layer: str
    unresettable: tuple[str, ...] = ()


class _CatchingMode(TorchFunctionMode):
    """Replaces what an activation returns by what ``answer`` makes of its input, or of its soft clip's.

    Args:
        activation: Which.
        call: Which of the calls of its ``function`` in a forward pass.
        answer: From the input of ``function`` to what ``outer`` returns.
    """

    def __init__(self, activation: Activation, call: int, answer: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self._activation, self._call, self._answer = activation, call, answer
        self._seen = 0
        self._inner: Tensor | None = None

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = activation_name(getattr(func, "__name__", ""))
        if name == self._activation.function:
            if self._seen == self._call:
                self._inner = (args[0] if args else (kwargs or {})["input"]).clone()  # the call may be in place
            self._seen += 1
        if name == self._activation.outer and self._inner is not None:
            inner, self._inner = self._inner, None
            return self._answer(inner)
        return func(*args, **(kwargs or {}))


class ReplacedHead(nn.Module):
    """A module whose energy is made by another head, from the same raw output.

    Args:
        module: Whose head is replaced.
        reading: What was found at its end, seen through ``sign``.
        head: The activation that takes its place.
        sign: 1 where the module answers with energies, −1 where it answers with scores.
        calling: How it is asked.

    Raises:
        UsageError: The end of the module was not understood.
    """

    def __init__(
        self, module: nn.Module, reading: HeadReading, head: HeadActivation, sign: float, calling: Calling = DIRECT
    ) -> None:
        super().__init__()
        if reading.stopped_at:
            raise UsageError(
                f"The head cannot be replaced: the model ends in `{reading.stopped_at}`, which is not understood.",
                "end the model in a plain activation or in its raw output.",
            )
        self.module = module
        self.reading = reading
        self.head = head
        self.sign = sign
        self.calling = calling

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        reading, head = self.reading, self.head
        if reading.activation is None:
            raw = (self.sign * self.calling(self.module, hidden, actions, pad_mask) - reading.offset) / reading.scale
            return self.sign * activate(head, raw)

        def answer(inner: Tensor) -> Tensor:
            raw = (inner - reading.inner_offset) / reading.inner_scale
            return (activate(head, raw) - reading.offset) / reading.scale

        with _CatchingMode(reading.activation, reading.call, answer):
            return self.calling(self.module, hidden, actions, pad_mask)


def dissect(energy: EnergyFunction, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None) -> Anatomy:
    """Looks at one forward pass.

    Args:
        energy: The function.
        hidden: Contexts of a few samples, where and as the module wants them.
        actions: Their expert actions.
        pad_mask: Their mask.

    Raises:
        ModelFailed: The module raised.
    """
    over_action: list[str] = []
    linear: list[str] = []
    inner = _unwrapped(energy.module)

    def note(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, inputs: tuple[Any, ...]) -> None:
            if isinstance(module, nn.Linear):
                linear.append(name)
            if isinstance(module, nn.LayerNorm) and inputs and inputs[0] is actions:
                over_action.append(name)

        return hook

    hooks = [m.register_forward_pre_hook(note(name)) for name, m in inner.named_modules()]
    try:
        with torch.no_grad(), energy.failures(hidden, actions, pad_mask):
            energy(hidden, actions, pad_mask)
    finally:
        for hook in hooks:
            hook.remove()
    reading = read_head(energy, hidden, actions, pad_mask)
    ending = reading.module if inner is energy.module else reading.module.removeprefix("module").removeprefix(".")
    inside = [name for name in linear if name == ending or name.startswith(f"{ending}.")]
    last = (inside if ending else linear)[-1:]
    return Anatomy(reading, "".join(over_action[:1]), "".join(last), unresettable(inner))


def operate(energy: EnergyFunction, operations: Sequence[str], anatomy: Anatomy, seed: int = 0) -> EnergyFunction:
    """The function after the operations; its module is changed in place where it can be.

    Args:
        energy: What to operate on, with a sign (`EnergyFunction.with_sign`).
        operations: In order.
        anatomy: Of this function, before the first operation.
        seed: Of fresh weights.

    Raises:
        UsageError: An operation that does not exist, or that this model does not allow.
    """
    for operation in operations:
        word, _, argument = operation.partition("=")
        if word == "head":
            energy = _replace_head(energy, argument, anatomy.reading)
        elif word == "remove-norm":
            _remove(_unwrapped(energy.module), argument or anatomy.action_norm)
            energy = _noted(energy, f"remove-norm={argument or anatomy.action_norm}")
        elif word == "reinitialise-last-layer":
            _reinitialise(_unwrapped(energy.module), argument or anatomy.last_layer, seed)
        elif word == "fresh-weights":
            redraw(energy.module, seed)
        elif word == "negate":
            turned: dict[str, Any] = {"energy": "score", "score": "energy"}
            sign = turned[energy.sign or "energy"]
            energy = replace(energy, sign=sign, settings={**energy.settings, "sign": sign})
        elif word == "turn-mask":
            meanings: dict[str, Any] = {"hidden": "visible", "visible": "hidden"}
            settings = {**energy.settings, "mask": meanings[energy.mask]}
            energy = replace(energy, mask=meanings[energy.mask], settings=settings)
        else:
            raise UsageError(f"No operation is called {operation!r}.", "see energydiag.models.surgery.")
    return energy


def operate_again(module: nn.Module, settings: Mapping[str, str], calling: Calling = DIRECT) -> nn.Module:
    """A freshly built module with the changes of structure that its checkpoint's metadata tells.

    Args:
        module: As it was built.
        settings: The metadata.
        calling: How the module is asked; one with another head is then asked as `DIRECT` says.

    Raises:
        InvalidCheckpoint: The metadata cannot be understood.
    """
    try:
        for operation in json.loads(settings.get("surgery", "[]")):
            word, _, argument = operation.partition("=")
            if word == "remove-norm":
                _remove(module, argument)
        if "replaced_head" in settings:
            told = json.loads(settings["replaced_head"])
            name, clip = told["reading"].pop("activation"), told["reading"].pop("clip", None)
            reading = HeadReading(activation=activation_named(name, clip) if name else None, **told["reading"])
            module = ReplacedHead(module, reading, _told_head(told), float(told["sign"]), calling)
    except (ValueError, KeyError, TypeError, AttributeError, UsageError) as error:
        raise InvalidCheckpoint(
            f"The metadata of this repaired checkpoint cannot be understood: {type(error).__name__} {error}.",
            "repair the original checkpoint again.",
        ) from error
    return module


def _unwrapped(module: nn.Module) -> nn.Module:
    """The module itself, without the head that another operation has put around it; paths are told from here."""
    return module.module if isinstance(module, ReplacedHead) else module


def _noted(energy: EnergyFunction, operation: str) -> EnergyFunction:
    done = [*json.loads(energy.settings.get("surgery", "[]")), operation]
    return replace(energy, settings={**energy.settings, "surgery": json.dumps(done)})


def _told_head(told: Mapping[str, Any]) -> HeadActivation:
    """The activation of a replaced head; metadata of before the names changed has it under ``kind``."""
    if "head" in told:
        return activation_of(told["head"])
    return cast("HeadForm", stated_form({"head": told["kind"]})).activation


def _replace_head(energy: EnergyFunction, name: str, reading: HeadReading) -> EnergyFunction:
    head = activation_of(name)
    inner = _unwrapped(energy.module)
    if isinstance(getattr(inner, "head", None), EnergyHead):
        form = replace(cast("EnergyHead", inner.head).form, activation=head)
        inner.head = EnergyHead(form)
        return replace(energy, settings={**energy.settings, **form.settings})
    if reading.activation is None and not reading.stopped_at and head.function == "linear":
        return energy
    sign = -1.0 if energy.sign == "score" else 1.0
    found = reading.activation
    told = {
        "head": head.formula,
        "sign": sign,
        "reading": {
            **asdict(replace(reading, activation=None)),
            "activation": found.name if found else "",
            **({"clip": found.clip} if found and found.clip else {}),
        },
    }
    asked = energy.module.calling if isinstance(energy.module, ReplacedHead) else energy.calling
    wrapped = ReplacedHead(inner, reading, head, sign, asked)
    return replace(
        energy, module=wrapped, calling=DIRECT, settings={**energy.settings, "replaced_head": json.dumps(told)}
    )


def _remove(module: nn.Module, path: str) -> None:
    found = dict(module.named_modules()).get(path)
    if not path or not isinstance(found, nn.LayerNorm | nn.Identity):
        raise UsageError(f"There is no LayerNorm at {path!r} to remove.", "leave this fix out.")
    parent, _, name = path.rpartition(".")
    setattr(module.get_submodule(parent), name, nn.Identity())


def _reinitialise(module: nn.Module, path: str, seed: int) -> None:
    found = dict(module.named_modules()).get(path)
    if not path or not isinstance(found, nn.Linear):
        raise UsageError(f"There is no linear layer at {path!r} to initialise again.", "leave this fix out.")
    redraw(found, seed)
