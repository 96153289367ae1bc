"""The built-in rules of Amazon SageMaker Debugger, as their public description tells them.

The service runs in its own cloud and its rules are not published, so they are written here anew from "List of Debugger
built-in rules" (docs.aws.amazon.com/sagemaker/latest/dg/debugger-built-in-rules.html, read in 2025), which names for
each rule what is compared and the default of every threshold. Where that page leaves room, the reading with fewer false
alarms is taken, and said below.

* **Tensors** are those that the service's hook saves from PyTorch: weights and their gradients as the backward pass
  leaves them (biases are left out: those in front of a softmax have none by nature), losses, and inputs and outputs of
  activation modules. A sigmoid that makes the energy is a function and no module, which that hook would not see; it is
  shown here all the same.
* **Saved every tenth step**, as the loop logs. The examples of that page save every 100 to 500 steps, which of these
  runs would be one to five times. The first ten steps are seen one by one by the rule that looks at these.
* A rule is met once, at the first step at which it holds. Rules have no severity, and stand in the order of that page.
* **Left out**, since they need what is not there: class labels (ClassImbalance), another run (SimilarAcrossRuns),
  images (CheckInputImages), sequences (NLPSequenceRatio), trees (Confusion, TreeDepth, FeatureImportanceOverweight), a
  wall clock (StalledTrainingRule), a threshold without a default (TensorVariance).

Shapes: P values of one tensor, U units of a layer.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from energydiag.batch import Batch

from ..architectures import inner_of
from ..loop import LOG_EVERY, Row
from .watching import Found, Watcher

SEVERITY = "IssuesFound"

# DeadRelu: a unit that is on for less than `threshold_inactivity` is dead; too many such units in a layer. In percent.
RELU_INACTIVITY, RELU_LAYER = 1.0, 50.0
# SaturatedActivation: inputs outside of these are at the function's end; a unit with less than `threshold_inactivity`
# inside is saturated; too many such units in one layer. In percent.
TANH_RANGE, SIGMOID_RANGE = (-9.4999, 9.4999), (-23.0, 16.99999)
SATURATED_INACTIVITY, SATURATED_LAYER = 1.0, 50.0
# PoorWeightInitialization: `threshold` for the ratio of the largest to the smallest variance of ReLU inputs among
# layers, `distribution_range` for the smallest distance of the 5th to the 95th percentile of a gradient, `patience` for
# steps without a lower loss, in the first `steps` steps. Each of the three alone is enough: the page says "returns
# True" of each, and published logs show it met at step 0, where no loss can have stopped falling.
INIT_RATIO, INIT_RANGE, INIT_PATIENCE, INIT_STEPS = 10.0, 1e-3, 5, 10
# VanishingGradient: the mean of the absolute values of a gradient.
VANISHING = 1e-7
# WeightUpdateRatio: norm of the change since the step saved before, over the norm of the weights.
UPDATE_LARGE, UPDATE_SMALL, UPDATE_EPSILON = 10.0, 1e-8, 1e-9
# AllZero: percentage of the values; of weights and gradients, since a collection must be named.
ALL_ZERO = 100.0
# LossNotDecreasing: the loss must be lower by `diff_percent` than `num_steps` before; where it is higher, it may be so
# by `increase_threshold_percent`.
LOSS_STEPS, LOSS_FALL, LOSS_RISE = 10, 0.1, 5.0
# Overfit: mean validation loss over mean training loss, less 1; more than `patience` steps in a row. Both are the
# contrastive loss, and means run from the first step (`start_step` = 0).
OVERFIT_RATIO, OVERFIT_PATIENCE = 0.1, 1
# Overtraining: saved steps without an improvement by `delta`, of training and of validation; both are asked for.
OVERTRAINED_TRAINING, OVERTRAINED_VALIDATION, OVERTRAINED_DELTA = 5, 10, 0.01
# UnchangedTensor: numpy.allclose among the last `num_steps` that were saved; of weights and losses.
UNCHANGED_STEPS, UNCHANGED_RTOL, UNCHANGED_ATOL = 3, 1e-5, 1e-8

RULES = (
    "DeadRelu",
    "ExplodingTensor",
    "PoorWeightInitialization",
    "SaturatedActivation",
    "VanishingGradient",
    "WeightUpdateRatio",
    "AllZero",
    "LossNotDecreasing",
    "Overfit",
    "Overtraining",
    "UnchangedTensor",
)
"""In the order of the page."""


class Debugger(Watcher):
    """Saves tensors as the service's hook does, and asks the rules about them at once."""

    def __init__(self) -> None:
        self.step = 0
        self.met: dict[str, tuple[int | None, str]] = {}
        self.handles: list[Callable[[], None]] = []
        self.saved: list[dict[str, Tensor]] = []
        self.relu_spreads: dict[str, float] = {}
        self.first_losses: list[float] = []

    def attach(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:  # noqa: ARG002
        self.module = module
        for name, part in module.named_modules():
            if isinstance(part, nn.ReLU):
                self._hook(part, lambda given, out, name=name: self._relu(name, given, out))
            if isinstance(part, nn.Tanh):
                self._hook(part, lambda given, _, name=name: self._bounded(name, given, TANH_RANGE))
            if isinstance(part, nn.Sigmoid):
                self._hook(part, lambda given, _, name=name: self._bounded(name, given, SIGMOID_RANGE))
        self._show_sigmoid_head()
        self._save_weights()

    def after_backward(self, loss: Tensor) -> None:
        """Gradients and losses."""
        if self.step < INIT_STEPS:
            self.first_losses.append(float(loss))
        if not (self._due() or self.step < INIT_STEPS):
            return
        gradients = {n: p.grad.detach().float() for n, p in self._weights() if p.grad is not None}
        if self.step < INIT_STEPS:
            self._judge_start(gradients)
        if not self._due():
            return
        if not math.isfinite(float(loss)):
            self._meet("ExplodingTensor", "the loss is not finite")
        for name, gradient in gradients.items():
            if not bool(torch.isfinite(gradient).all()):
                self._meet("ExplodingTensor", f"gradient of {name} is not finite")
            if float(gradient.abs().mean()) < VANISHING:
                self._meet("VanishingGradient", f"mean absolute gradient of {name} is {gradient.abs().mean():.1e}")
            self._judge_zero(f"gradient of {name}", gradient)

    def after_step(self, loss: Tensor) -> None:  # noqa: ARG002
        """Weights."""
        if self._due():
            self._save_weights()
            self._judge_weights()
        self.step += 1

    def detach(self) -> None:
        for undo in self.handles:
            undo()
        self.handles = []

    def findings(self, rows: Sequence[Row], module: nn.Module, dump: Batch) -> list[Found]:
        for rule, met in judge_losses(rows).items():
            self.met.setdefault(rule, met)
        with torch.no_grad():
            energy = module(dump.hidden, dump.actions, dump.pad_mask)
        if not all(bool(torch.isfinite(tensor).all()) for tensor in (dump.hidden, dump.actions, energy)):
            self.met.setdefault("ExplodingTensor", (None, "inputs or outputs on the dump are not finite"))
        return [Found(rule, SEVERITY, 1, *self.met[rule]) for rule in RULES if rule in self.met]

    def _weights(self) -> Iterator[tuple[str, nn.Parameter]]:
        return ((name, p) for name, p in self.module.named_parameters() if "bias" not in name)

    def _due(self) -> bool:
        return self.step % LOG_EVERY == 0

    def _meet(self, rule: str, told: str) -> None:
        self.met.setdefault(rule, (self.step, told))

    def _hook(self, part: nn.Module, look: Callable[[Tensor, Tensor], None]) -> None:
        def hook(_part: nn.Module, given: tuple[Tensor, ...], out: Tensor) -> None:
            if self.module.training and (self._due() or self.step < INIT_STEPS):
                look(_by_unit(given[0]), _by_unit(out))

        self.handles.append(part.register_forward_hook(hook).remove)

    def _show_sigmoid_head(self) -> None:
        inner = inner_of(self.module)
        head = inner.head
        if isinstance(head, nn.Module):  # energydiag's own: mean features, raw output, sigmoid
            if head.form.name == "original":
                last = inner.prediction_head
                handle = last.register_forward_hook(lambda _module, _given, raw: self._head(raw.flatten(1).mean(dim=1)))
                self.handles.append(handle.remove)
        elif torch.equal(head(torch.zeros(1)), torch.sigmoid(torch.zeros(1)) + 1e-6):

            def shown(raw: Tensor) -> Tensor:
                self._head(raw)
                return head(raw)

            inner.head = shown
            self.handles.append(lambda: setattr(inner, "head", head))

    def _head(self, raw: Tensor) -> None:
        if self.module.training and self._due():
            self._bounded("the head", raw.detach().float().reshape(-1, 1), SIGMOID_RANGE)

    def _relu(self, name: str, given: Tensor, out: Tensor) -> None:
        spread = float(given.var())
        self.relu_spreads[name] = spread
        active_U = 100 * (out > 0).float().mean(dim=0)
        dead = 100 * float((active_U < RELU_INACTIVITY).float().mean())
        if self._due() and dead > RELU_LAYER:
            self._meet("DeadRelu", f"{dead:.0f} % of {name} are dead")

    def _bounded(self, name: str, given: Tensor, ends: tuple[float, float]) -> None:
        inside_U = 100 * ((given > ends[0]) & (given < ends[1])).float().mean(dim=0)
        saturated = 100 * float((inside_U < SATURATED_INACTIVITY).float().mean())
        if saturated > SATURATED_LAYER:
            self._meet("SaturatedActivation", f"{saturated:.0f} % of {name} are saturated")

    def _judge_start(self, gradients: Mapping[str, Tensor]) -> None:
        spreads = list(self.relu_spreads.values())
        if spreads and max(spreads) > INIT_RATIO * min(spreads):
            self._meet("PoorWeightInitialization", f"variances of ReLU inputs {min(spreads):.1e} to {max(spreads):.1e}")
        ends = torch.tensor([0.05, 0.95])
        widths = [float(torch.quantile(g.reshape(-1), ends).diff()) for g in gradients.values()]
        if widths and min(widths) < INIT_RANGE:
            self._meet("PoorWeightInitialization", f"a gradient's percentiles lie {min(widths):.1e} apart")
        if stalled(self.first_losses, 0.0) >= INIT_PATIENCE:
            self._meet("PoorWeightInitialization", f"the loss has not fallen for {INIT_PATIENCE} steps")

    def _judge_zero(self, name: str, tensor: Tensor) -> None:
        if 100 * float((tensor == 0).float().mean()) >= ALL_ZERO:
            self._meet("AllZero", f"{name} is zero")

    def _save_weights(self) -> None:
        weights = {n: p.detach().float().clone() for n, p in self._weights()}
        self.saved = [*self.saved[-(UNCHANGED_STEPS - 1) :], weights]

    def _judge_weights(self) -> None:
        before, now = self.saved[-2:]
        for name, weight in now.items():
            if not bool(torch.isfinite(weight).all()):
                self._meet("ExplodingTensor", f"{name} is not finite")
            self._judge_zero(name, weight)
            ratio = float((weight - before[name]).norm() / (before[name].norm() + UPDATE_EPSILON))
            if ratio > UPDATE_LARGE or ratio < UPDATE_SMALL:
                self._meet("WeightUpdateRatio", f"update over weight of {name} is {ratio:.1e}")
            last = [weights[name] for weights in self.saved]
            if len(last) == UNCHANGED_STEPS and all(
                torch.allclose(a, b, UNCHANGED_RTOL, UNCHANGED_ATOL) for a, b in itertools.pairwise(last)
            ):
                self._meet("UnchangedTensor", f"{name} does not change")


def judge_losses(rows: Sequence[Row]) -> dict[str, tuple[int | None, str]]:
    """The rules about losses, met or not, from the rows of a log."""
    met: dict[str, tuple[int | None, str]] = {}
    exceeded = 0
    for i, row in enumerate(rows):
        step, seen = int(row["step"]), rows[: i + 1]
        before = next((r["loss"] for r in reversed(seen) if step - r["step"] >= LOSS_STEPS), math.nan)
        fall = 100 * (before - row["loss"]) / abs(before) if before else math.nan
        if 0 <= fall < LOSS_FALL or fall < -LOSS_RISE:
            met.setdefault("LossNotDecreasing", (step, f"the loss fell by {fall:.2f} %"))
        training, validation = [r["info_nce"] for r in seen], [r["validation_loss"] for r in seen]
        mean = sum(training) / len(training)
        exceeded = exceeded + 1 if sum(validation) / len(validation) - mean > OVERFIT_RATIO * mean else 0
        if exceeded > OVERFIT_PATIENCE:
            met.setdefault("Overfit", (step, "the mean validation loss is above the mean training loss"))
        if (
            stalled(training, OVERTRAINED_DELTA) >= OVERTRAINED_TRAINING
            and stalled(validation, OVERTRAINED_DELTA) >= OVERTRAINED_VALIDATION
        ):
            met.setdefault("Overtraining", (step, "neither loss improves"))
        last = [r["loss"] for r in seen[-UNCHANGED_STEPS:]]
        if len(last) == UNCHANGED_STEPS and all(
            abs(a - b) <= UNCHANGED_ATOL + UNCHANGED_RTOL * abs(b) for a, b in itertools.pairwise(last)
        ):
            met.setdefault("UnchangedTensor", (step, "the loss does not change"))
    return met


def stalled(losses: Sequence[float], delta: float) -> int:
    """How many of the last values are no new optimum, one being lower than the one before by more than ``delta``."""
    best, since = math.inf, 0
    for loss in losses:
        if best - loss > delta:
            best, since = loss, 0
        else:
            since += 1
    return since


def _by_unit(tensor: Tensor) -> Tensor:
    """``[…, U]`` to ``[P, U]`` in float32."""
    return tensor.detach().float().reshape(-1, tensor.shape[-1])
