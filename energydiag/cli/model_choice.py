"""The options that say how to rebuild a model, the same for every command that takes a checkpoint."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, get_type_hints

from energydiag.cli import options as o
from energydiag.errors import UsageError

if TYPE_CHECKING:
    from energydiag.pipeline import ModelOptions


@dataclass(frozen=True)
class ModelChoice:
    """What the user says of the model; fields are options by their names."""

    model: o.Model = None
    model_arg: o.ModelArg = None
    head: o.Head = None
    pool: o.Pool = None
    nhead: o.Nhead = None
    mask: o.Mask = None
    sign: o.Sign = None
    weights: o.Weights = None
    ignore_keys: o.IgnoreKeys = None
    energies_of: o.EnergiesOf = None
    allow_global: o.AllowGlobal = None
    candidates: o.Candidates = False
    tau: o.Tau = None
    objective: o.Objective = None
    device: o.Device = "cpu"
    dtype: o.Dtype = None

    def on(self, device: str) -> ModelOptions:
        """For the pipeline, on this device.

        Raises:
            UsageError: A ``--model-arg`` is no ``KEY=VALUE``.
        """
        from energydiag.pipeline import ModelOptions

        arguments = _key_values(self.model_arg or [])
        return ModelOptions(
            self.model,
            arguments,
            self.head,
            self.nhead,
            self.sign,
            device,
            self.dtype,
            self.candidates,
            self.weights,
            tuple(self.allow_global or ()),
            self.pool,
            self.mask,
            tuple(self.ignore_keys or ()),
            self.energies_of,
            objective=self.objective,
        )

    def words(self, *left_out: str) -> list[str]:
        """What has to be typed to make the same choice again, but for these options."""
        words = []
        for field in fields(self):
            value = getattr(self, field.name)
            if value == field.default or field.name in left_out:
                continue
            option = f"--{field.name.replace('_', '-')}"
            for each in value if isinstance(value, list) else [value]:
                words += [option] if each is True else [option, str(each)]
        return words


def takes_model(command: Callable[..., None]) -> Callable[..., None]:
    """A command whose parameter ``choice`` is taken from the options that `ModelChoice` lists, in its place."""
    hints = get_type_hints(ModelChoice, include_extras=True)
    listed = [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in fields(ModelChoice)
    ]
    taken = inspect.signature(command, eval_str=True)
    shown: list[inspect.Parameter] = []
    for parameter in taken.parameters.values():
        shown += listed if parameter.name == "choice" else [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)]

    @functools.wraps(command)
    def with_choice(**given: Any) -> None:
        chosen = {field.name: given.pop(field.name) for field in fields(ModelChoice)}
        command(**given, choice=ModelChoice(**chosen))

    with_choice.__signature__ = taken.replace(parameters=shown)  # type: ignore[attr-defined]
    with_choice.__annotations__ = {parameter.name: parameter.annotation for parameter in shown}
    del with_choice.__wrapped__  # Typer would look through it
    return with_choice


def _key_values(pairs: list[str]) -> dict[str, str]:
    found = {}
    for pair in pairs:
        key, separator, value = pair.partition("=")
        if not separator or not key:
            raise UsageError(
                f"--model-arg must be KEY=VALUE, not {pair!r}.", "write, for example, --model-arg hidden=256."
            )
        found[key] = value
    return found
