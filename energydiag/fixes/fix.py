"""What a fix says of itself."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from energydiag.discovery import discover
from energydiag.plan import TrainingPlan
from energydiag.results import Finding, Measurement


@dataclass(frozen=True)
class Patient:
    """What fixes may look at.

    Attributes:
        findings: Root causes first.
        measurements: By name.
        head: Name of the activation that produces the energy, ``"linear"`` where there is none, or ``"unknown"`` where
            the end of the model was not understood.
        built_in: Whether the model is one of the built-in architectures.
        action_norm: Name of the LayerNorm that stands directly over the raw action, or empty.
        last_layer: Name of the linear layer that gives the raw output, or empty where none was found.
        unresettable: Paths of modules that hold parameters and cannot draw them anew.
        has_layers: Whether the training dump holds the actions of at least two layers.
        has_policy: Whether it holds the policy's actions.
        policy_error: The policy's mean absolute action error on the training dump, or None.
        action_cut_off: Whether freshly drawn weights would have no slope in the action either.
        samples: How many samples there are to train on, or None where that is not known.
        learning_rate: What it would be trained with if no fix changed it; `plan_from` sets it from its plan.
    """

    findings: tuple[Finding, ...]
    measurements: Mapping[str, Measurement]
    head: str
    built_in: bool
    action_norm: str
    last_layer: str
    unresettable: tuple[str, ...]
    has_layers: bool
    has_policy: bool
    policy_error: float | None
    action_cut_off: bool = False
    samples: int | None = None
    learning_rate: float = TrainingPlan.learning_rate


@dataclass(frozen=True)
class Refusal:
    """Why a fix is not applied to this patient."""

    reason: str


@dataclass(frozen=True)
class Fix:
    """One repair.

    The module's docstring is its page: what it changes, why it helps and where that is from, when it must not be used.

    Attributes:
        name: What ``--fix`` takes.
        handles: Codes of the findings that it may mend.
        changes: What it changes in the plan, in one line.
        edit: From a plan to the changed plan, or why not.
    """

    name: str
    handles: tuple[str, ...]
    changes: str
    edit: Callable[[TrainingPlan, Patient], TrainingPlan | Refusal]

    @property
    def page(self) -> str:
        """The fix's documentation, from its module."""
        return inspect.cleandoc(sys.modules[self.edit.__module__].__doc__ or "")


def fixes() -> dict[str, Fix]:
    """All fixes, by name."""
    return discover("energydiag.fixes", "FIX", Fix)
