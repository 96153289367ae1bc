"""Faults of the optimiser and of the loop around it."""

from __future__ import annotations

from ..fault import Fault, both, recipe, scaled_rate, training_flaw

FAULTS = (
    Fault(
        "rate-too-high",
        "A learning rate thirty times too high, with clipping.",
        scaled_rate(30),
        ("ED710", "ED707", "ED108", "ED308"),
        ("log",),
        lambda facts: facts["update_ratio_first"] > 0.1,
    ),
    Fault(
        "rate-too-low",
        "A learning rate of 1e-8.",
        recipe(learning_rate=1e-8),
        ("ED709", "ED309"),
        ("checkpoint", "log"),
        lambda facts: facts["moved"] < 1e-3,
    ),
    Fault(
        "copied-optimiser",
        "The optimiser holds the parameters of a copy of the model: no weight ever changes.",
        recipe(slips=("copied-optimiser",)),
        ("ED711", "ED309"),
        ("checkpoint", "log"),
        lambda facts: facts["moved"] == 0,
    ),
    Fault(
        "last-layer-only",
        "The optimiser holds the last layer alone.",
        recipe(slips=("last-layer-only",)),
        ("ED309",),
        ("checkpoint",),
        lambda facts: facts["unmoved_share"] > 0.5,
    ),
    Fault(
        "actions-left-out",
        "The optimiser lacks the layers that belong to the action.",
        recipe(slips=("without-actions",)),
        ("ED309",),
        ("checkpoint",),
        lambda facts: facts["unmoved_share"] > 0.02,
    ),
    Fault(
        "missing-zero-grad",
        "Gradients are never set to zero: those of all steps add up. Nothing is clipped.",
        recipe(slips=("no-zero-grad",), clip=None),
        ("ED717", "ED707"),
        ("log",),
        lambda facts: facts["gradient_norm_growth"] > 5 or facts["weight_norm_ratio"] > 5,
    ),
    Fault(
        "weight-decay-too-strong",
        "A weight decay of 10.",
        recipe(weight_decay=10.0),
        ("ED716", "ED310", "ED307"),
        ("checkpoint", "log"),
        lambda facts: facts["weight_norm_ratio"] < 0.5,
    ),
    Fault(
        "overfit",
        "Trained on 64 samples, for hundreds of epochs.",
        both(training_flaw("few-samples"), recipe(weight_decay=0.0, anchor=0.0, alignment=0.0, ranking=0.0)),
        ("ED708", "ED714"),
        ("log",),
        lambda facts: facts["validation_gap"] > 0.5,
    ),
    Fault(
        "repeated-batches",
        "Every step sees the same batch.",
        recipe(slips=("same-batch",)),
        ("ED714", "ED708"),
        ("log",),
        lambda facts: facts["validation_gap"] > 0.5,
    ),
)
