"""How a module wants to be asked.

Energy models agree on what they compute and not on how they are called. What is covered: a mask that is not taken,
arguments in another order or missing, and all candidates of a context in one call.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor, nn

from energydiag.errors import UsageError
from energydiag.models.answers import energy_in
from energydiag.models.user_code import user_code

Argument = Literal["hidden", "actions", "pad_mask"]

NAMES: Mapping[Argument, frozenset[str]] = {
    "hidden": frozenset(
        {
            *("hidden", "hiddens", "hidden_states", "h", "context", "contexts", "context_hidden", "ctx", "cond"),
            *("state", "states", "s", "obs", "observation", "observations", "tokens", "features", "feature"),
        }
    ),
    "actions": frozenset({"actions", "action", "a", "act", "acts", "candidates", "candidate", "trajectory"}),
    "pad_mask": frozenset({"pad_mask", "mask", "energy_mask", "key_padding_mask", "padding_mask", "attention_mask"}),
}
"""What the arguments of a module are called. They are told apart by name only where no name is in doubt."""

_NO_TENSOR = frozenset({"int", "float", "bool", "str"})
"""Types of parameters, without ``None``, that are told no tensor of a batch."""

_TIME = re.compile(r"t|ts|times?|time_?steps?|diffusion_steps?|sigmas?|noise_levels?")
"""What the time of a diffusion is called: a parameter that gets neither actions nor a mask."""

_NO_MASK = re.compile(
    _TIME.pattern
    + r"|k|steps?|num_steps|n_steps|iterations?|noise|train|training|is_train|is_training|eval|deterministic|verbose"
    + r"|create_graph|seed|rng|generator|key|(return|use|with|get|only|no|is|num|n)_.*|y|labels?|class_labels?"
    + r"|tau|temperature"
)
"""What a switch or another setting is called besides: a third parameter that gets no mask."""


@dataclass(frozen=True)
class Calling:
    """How to ask a module for one energy per sample.

    Attributes:
        arguments: What is given to it, by position.
        candidates: Whether it takes the actions of several candidates per context, ``[B, N, H, A]``, and answers with
            ``[B, N]``.
    """

    arguments: tuple[Argument, ...] = ("hidden", "actions", "pad_mask")
    candidates: bool = False

    def __call__(self, module: nn.Module, hidden_BSD: Tensor, actions_BHA: Tensor, mask_BS: Tensor | None) -> Tensor:
        """The module's answers, ``[B]``.

        Raises:
            ModelFailed: There is no such number for every sample.
        """
        return energy_in(self.ask(module, hidden_BSD, actions_BHA, mask_BS), hidden_BSD.shape[0]).energy

    def ask(self, module: nn.Module, hidden_BSD: Tensor, actions_BHA: Tensor, mask_BS: Tensor | None) -> Any:
        """Whatever the module answers with."""
        actions = actions_BHA[:, None] if self.candidates else actions_BHA
        given: Mapping[Argument, Tensor | None] = {"hidden": hidden_BSD, "actions": actions, "pad_mask": mask_BS}
        with user_code():
            return module(*(given[name] for name in self.arguments))

    def described(self, where: str = "") -> str:
        """The call as it would be written down; ``where`` is that of `energydiag.models.answers.Found`."""
        shown = {"actions": "actions [B, N, …]"} if self.candidates else {}
        text = f"model({', '.join(shown.get(name, name) for name in self.arguments)})"
        return text + where


DIRECT = Calling()
"""``model(hidden, actions, pad_mask) -> [B]``."""


def calling_of(module: nn.Module, candidates: bool = False) -> Calling:
    """How a module's ``forward`` has to be called, by the names and the number of its parameters.

    A third parameter gets the mask if it is called like one, or must be given, or is None if it is not; a time step or
    a switch, by its name, its type or its value, does not.

    Args:
        module: Whose.
        candidates: See `Calling`.

    Raises:
        UsageError: It needs something that there is not.
    """
    try:
        parameters = inspect.signature(module.forward).parameters.values()
    except (TypeError, ValueError):  # compiled code has no signature to look at
        return Calling(candidates=candidates)
    needed = [p.name for p in parameters if p.kind is p.KEYWORD_ONLY and p.default is p.empty]
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    most = len(DIRECT.arguments)
    settings = [p for number, p in enumerate(positional) if number >= most or (number and _is_setting(p, number))]
    needed += [p.name for p in settings if p.default is p.empty]
    if needed:
        raise UsageError(
            f"The model's forward{signature_of(module)} needs {', '.join(f'`{name}`' for name in needed)}; energydiag "
            "has contexts, actions and a mask to give.",
            "return from your factory a module whose forward(hidden, actions, pad_mask) fills in the rest; the "
            "checkpoint's keys are found inside of it.",
        )
    if any(p.kind is p.VAR_POSITIONAL for p in parameters):
        return Calling(candidates=candidates)
    tensors = [p for p in positional if p not in settings]
    taken = [p for p in tensors if p.default is p.empty or p.default is None or p.name in NAMES["pad_mask"]]
    return Calling(_arguments([p.name for p in taken]), candidates)


def _is_setting(parameter: inspect.Parameter, place: int) -> bool:
    """Whether the parameter at this place is a time step, a switch or another setting, no tensor of the batch."""
    if any(parameter.name in names for names in NAMES.values()):
        return False
    annotation = parameter.annotation
    kinds = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", str(annotation))
    named = set(re.findall(r"[A-Za-z]+", kinds)) - {"None", "NoneType", "Optional", "Union", "typing"}
    if named and named <= _NO_TENSOR:
        return True
    known = _NO_MASK if place > 1 else _TIME
    return isinstance(parameter.default, int | float | str) or known.fullmatch(parameter.name) is not None


def signature_of(module: nn.Module) -> str:
    """A forward's parameters in parentheses, as a person reads them; empty where compiled code has none."""
    try:
        return f"({', '.join(map(str, _untyped(inspect.signature(module.forward))))})"
    except (TypeError, ValueError):
        return ""


def _untyped(signature: inspect.Signature) -> Iterator[inspect.Parameter]:
    for parameter in signature.parameters.values():
        yield parameter.replace(annotation=inspect.Parameter.empty)


def _arguments(names: Sequence[str]) -> tuple[Argument, ...]:
    meant = [[argument for argument, known in NAMES.items() if name in known] for name in names]
    found: list[Argument] = [one[0] for one in meant if one]
    if len(found) == len(set(found)) == len(names) and ("actions" in found or len(names) == 1):
        return tuple(found)
    if len(names) == 1:
        return ("actions",)  # an energy of actions alone
    return DIRECT.arguments[: len(names)]
