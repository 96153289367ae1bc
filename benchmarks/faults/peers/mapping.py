"""Which faults a peer's finding counts as right for.

Peers know nothing of energies, contexts or negatives, so their findings are taken generously: a finding is right for
every fault that brings about what it says, be it the reason or a symptom on the way ("vanishing gradients" where a
sigmoid head is saturated, "the loss does not fall" wherever nothing is learnt). energydiag's own rules are held to a
shorter list. A finding that is right for no fault (an unused layer, an even kernel) stands in no table and is wrong
wherever it comes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from .audit import at_default_interval
from .watching import Found

Table = Mapping[str, frozenset[str]]


def _faults(text: str) -> frozenset[str]:
    return frozenset(text.split())


NO_SIGNAL = _faults(
    "saturated-high saturated-low dead-head hidden-saturation dead-relus vanishing-depth zero-weights context-zeroed"
    " action-zeroed flat-field weight-decay-too-strong"
)
"""No gradient gets through to where it should."""

TOO_VIOLENT = _faults(
    "energy-explosion temperature-too-low rate-too-high missing-zero-grad dead-head half-precision energy-drift"
)
"""Steps, weights or losses become too large."""

NOT_FINITE = TOO_VIOLENT | _faults("nan-rows all-padded-rows unscaled-context")

DEAD = _faults("dead-relus dead-head zero-weights context-zeroed action-zeroed weight-decay-too-strong saturated-low")
"""Units that answer with zero."""

FROZEN = _faults("copied-optimiser last-layer-only actions-left-out rate-too-low flat-field") | NO_SIGNAL
"""Weights that do not move."""

SATURATED = _faults("hidden-saturation saturated-high saturated-low dead-head bounded-energy vanishing-depth")

NOTHING_LEARNT = (
    FROZEN
    | TOO_VIOLENT
    | _faults(
        "contexts-shuffled temperature-too-high bounded-energy symmetric-units sign-flipped wrong-positives"
        " rank-collapse neighbouring-batches dropout-too-strong action-layernorm inverted-mask"
    )
)
"""The loss stays where it is, or goes nowhere."""

TOO_SMALL_RANK = _faults(
    "rank-collapse symmetric-units zero-weights weight-decay-too-strong rate-too-high context-zeroed action-zeroed"
    " dead-relus dead-head temperature-too-high"
)

MEMORISED = _faults("overfit repeated-batches")

TORCHMORTEM: Table = {
    "vanishing-gradients": NO_SIGNAL,
    "gradient-stalling": NO_SIGNAL,
    "exploding-gradients": TOO_VIOLENT | _faults("unscaled-context dominating-dimension"),
    "gradient-noise": _faults(
        "easy-negatives temperature-too-low neighbouring-batches dropout-too-strong noise-only-negatives rate-too-high"
    ),
    "dead-units": DEAD,
    "saturation": SATURATED,
    "update-ratio-low": FROZEN,
    "update-ratio-high": TOO_VIOLENT | _faults("weight-decay-too-strong"),
    "divergence": TOO_VIOLENT,
    "plateau": NOTHING_LEARNT,
    "catapult": _faults("rate-too-high"),
    "edge-of-stability": _faults("rate-too-high"),
    "rank-collapse": TOO_SMALL_RANK,
    "weight-explosion": TOO_VIOLENT,
    "weight-stagnation": FROZEN,
    "weight-imbalance": _faults("energy-explosion flat-field hidden-saturation zero-weights weight-decay-too-strong"),
    "insight:gradient_starvation": NO_SIGNAL,
    "insight:instability_feedback_loop": TOO_VIOLENT,
    "insight:representation_bottleneck": TOO_SMALL_RANK,
    "insight:curvature_traps": _faults("rate-too-high"),
}

TORCH_AUDIT: Table = {
    "TA100": NOT_FINITE,  # NaN or infinity in parameters or gradients
    "TA102": TOO_VIOLENT | _faults("unscaled-context dominating-dimension"),  # gradient explosion
    "TA103": NO_SIGNAL,  # gradients that are exactly zero
    "TA104": FROZEN,  # no gradients at all
    "TA105": DEAD,  # activation collapse
    "TA301": _faults("unscaled-context dominating-dimension stale-batchnorm"),  # range of the inputs
    "TA302": _faults("constant-dimension duplicated-samples all-padded-rows context-zeroed action-zeroed"),  # flat data
    "TA304": _faults("easy-negatives stale-batchnorm"),  # tiny batches under BatchNorm
    "TA305": _faults("nan-rows"),  # invalid inputs
    "TA402": _faults("weight-decay-too-strong"),  # weight decay of norms and biases
    "TA500": _faults("context-zeroed action-zeroed actions-left-out"),  # a layer that is never called
    "TA501": _faults("stale-batchnorm"),  # BatchNorm called several times
}

DEBUGGER: Table = {
    "DeadRelu": DEAD,
    "ExplodingTensor": NOT_FINITE,
    "PoorWeightInitialization": _faults("symmetric-units energy-explosion") | NO_SIGNAL,
    "SaturatedActivation": SATURATED,
    "VanishingGradient": NO_SIGNAL,
    "WeightUpdateRatio": FROZEN | TOO_VIOLENT,
    "AllZero": DEAD | NO_SIGNAL,
    "LossNotDecreasing": NOTHING_LEARNT,
    "Overfit": MEMORISED | _faults("duplicated-samples dropout-too-strong stale-batchnorm"),
    "Overtraining": MEMORISED,
    "UnchangedTensor": FROZEN,
}


def _everything(found: Sequence[Found]) -> Sequence[Found]:
    return found


@dataclass(frozen=True)
class Peer:
    """How a peer's findings are judged.

    Attributes:
        name: Under ``peers`` in the results.
        stored: Its key in a run's file.
        table: Kind of finding to the faults it is right for.
        critical: Its highest severities: what a healthy control must not have.
        keep: Which of the stored findings count.
    """

    name: str
    stored: str
    table: Table
    critical: tuple[str, ...]
    keep: Callable[[Sequence[Found]], Sequence[Found]] = _everything

    def accepted(self, fault: str) -> tuple[str, ...]:
        """The kinds that are right for a fault."""
        return tuple(kind for kind, faults in self.table.items() if fault in faults)

    @property
    def scope(self) -> frozenset[str]:
        """The faults that any of its findings is right for."""
        return frozenset().union(*self.table.values())


PEERS = (
    Peer("torchmortem", "torchmortem", TORCHMORTEM, ("CRITICAL",)),
    Peer("torch-audit", "torch-audit", TORCH_AUDIT, ("ERROR", "FATAL")),
    Peer("torch-audit-at-default-interval", "torch-audit", TORCH_AUDIT, ("ERROR", "FATAL"), at_default_interval),
    Peer("sagemaker-debugger-rules", "sagemaker-debugger-rules", DEBUGGER, ("IssuesFound",)),
)
