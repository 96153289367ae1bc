"""What a case says of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from .fit import Recipe, Row
from .world import Dump, World

Facts = dict[str, float]
Truth = Mapping[str, Any]


@dataclass(frozen=True)
class Log:
    """How the owner logs.

    Attributes:
        names: Our quantities (see ``fit``) and what the log calls them, in the order of its columns.
        form: ``csv``, ``jsonl`` or ``hf``, the ``trainer_state.json`` of the Hugging Face Trainer.
        edit: What became of the rows before they were written.
        digits: Decimal places that are kept.
        zero_for_nan: Whether NaN losses are written as 0.0.
    """

    names: Mapping[str, str]
    form: str = "csv"
    edit: Callable[[list[Row]], list[Row]] | None = None
    digits: int = 6
    zero_for_nan: bool = False


@dataclass(frozen=True)
class Case:
    """A model, a dump and a log, or some of them, and the truth.

    Attributes:
        name: In kebab-case.
        objective: As ``truth.json`` calls it.
        net: Class of the network; of ``nets`` or ``exact``.
        arguments: Of its constructor.
        world: The samples; for exact energies the arguments of ``exact_dump``.
        recipe: The training; None for exact energies.
        log: The log, if there is one.
        checkpoint: What a right diagnosis says of checkpoint, model and dump; None where only the log was kept.
        of_log: The same of the log; None where there is none.
        fault: In words; None where nothing is wrong.
        sign: ``energy`` or ``score``.
        known: Further settings that the owner knows: ``temperature``, ``batch_size``, ``negatives``, ``chance``.
        double: Whether everything is float64.
        training: An edit of training and held-out samples before training.
        start: An edit of the module before training.
        used_as: Arguments of the constructor that the owner's ``build`` has otherwise than the training.
        holds: Whether the facts show that the case is what it says; None: as its objective asks of healthy ones.
    """

    name: str
    objective: str
    net: type[nn.Module]
    arguments: Mapping[str, Any]
    world: World | Mapping[str, Any]
    recipe: Recipe | None = None
    log: Log | None = None
    checkpoint: Truth | None = None
    of_log: Truth | None = None
    fault: str | None = None
    sign: str = "energy"
    known: Mapping[str, Any] = field(default_factory=dict)
    double: bool = False
    training: Callable[[Dump, Dump], None] | None = None
    start: Callable[[nn.Module], None] | None = None
    used_as: Mapping[str, Any] = field(default_factory=dict)
    holds: Callable[[Facts], bool] | None = None

    @property
    def healthy(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.fault is None
