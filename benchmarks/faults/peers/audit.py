"""torch-audit in the loop, by the wrappers that its README calls most accurate: forward, backward, optimizer_step.

It audits every step (``every_n_steps=1``, which its README offers); by its default of 1000 it would see the first step
of these runs alone, which `at_default_interval` tells from the same findings. Hints about speed (rules of its category
"Performance": alignment, memory layout, device, precision) are left out, since they say nothing of what was learnt and
would stand on every run. The finished model is audited once more, on the dump.

Its own order is by rule, as its reporters print; severity first, as its exit code goes by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import nn

from energydiag.batch import Batch

from ..loop import Row
from .mortem import together
from .watching import Calls, Found, Watcher

SEVERITIES = ("FATAL", "ERROR", "WARN", "INFO")
SPEED = frozenset({"TA200", "TA201", "TA202", "TA203"})


class TorchAudit(Watcher):
    """An auditor whose wrappers stand in the place of the loop's calls."""

    def __init__(self) -> None:
        self.auditor: Any = None

    def attach(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        self.auditor = _auditor(module, optimiser)
        self.auditor.attach()
        self.auditor.audit_static()
        self.auditor.audit_init()

    def calls(self, plain: Calls) -> Calls:
        return replace(
            plain, forward=self.auditor.forward, backward=self.auditor.backward, step=self.auditor.optimizer_step
        )

    def detach(self) -> None:
        if self.auditor is not None:
            self.auditor.detach()

    def findings(self, rows: Sequence[Row], module: nn.Module, dump: Batch) -> list[Found]:  # noqa: ARG002
        after = _auditor(module, None)
        with after, torch.no_grad():
            after.audit_static()
            after.forward(dump.hidden, dump.actions, dump.pad_mask)
        trained = [(f.rule_id, f.severity.value, f.step, f.message) for f in self.auditor.finish().findings]
        finished = [(f.rule_id, f.severity.value, None, f.message) for f in after.finish().findings]
        return in_order(together([*trained, *finished]))


def in_order(found: Sequence[Found]) -> list[Found]:
    """Worst severity first, then by rule."""
    return sorted(found, key=lambda f: (SEVERITIES.index(f.severity), f.kind))


def at_default_interval(found: Sequence[Found]) -> list[Found]:
    """What it says where only every thousandth step is audited: what it said at step 0, or outside of training."""
    return [f for f in found if f.step is None or f.step == 0]


def _auditor(module: nn.Module, optimiser: torch.optim.Optimizer | None) -> Any:
    from torch_audit import Auditor

    return Auditor(module, optimizer=optimiser, every_n_steps=1, ignore_rules=set(SPEED))
