"""Faults of the weights and of what happens to signals on their way."""

from __future__ import annotations

from ..fault import Fault, both, recipe, shape

FAULTS = (
    Fault(
        "hidden-saturation",
        "Hidden units are tanh, and the first layers' weights are thirty times too large.",
        both(shape(activation="tanh"), recipe(starts=("first-weights=30",))),
        ("ED105", "ED308", "ED301"),
        ("checkpoint",),
        lambda facts: facts["hidden_saturated"] > 0.25,
    ),
    Fault(
        "dead-relus",
        "Hidden units are relu, and their biases begin at −20.",
        both(shape(activation="relu"), recipe(starts=("hidden-biases=-20",))),
        ("ED106", "ED301"),
        ("checkpoint", "log"),
        lambda facts: facts["dead_units"] > 0.5,
    ),
    Fault(
        "vanishing-depth",
        "Twelve sigmoid layers with small weights stand before context and action.",
        shape(adapters=("deep-sigmoid",)),
        ("ED311", "ED301"),
        ("checkpoint", "log"),
        lambda facts: facts["first_last"] < 1e-3,
    ),
    Fault(
        "symmetric-units",
        "Every matrix begins as one constant, so that all units of a layer stay twins.",
        recipe(starts=("constant=0.05",)),
        ("ED305",),
        ("checkpoint",),
        lambda facts: facts["twin_units"] > 0.9,
    ),
    Fault(
        "zero-weights",
        "Every matrix begins as zero.",
        recipe(starts=("constant=0",)),
        ("ED305", "ED307", "ED301"),
        ("checkpoint", "log"),
        lambda facts: facts["twin_units"] > 0.9 and facts["auroc"] < 0.7,
    ),
    Fault(
        "dropout-too-strong",
        "Dropout of .8 while training: the model that is used is not the one that was trained.",
        shape(dropout=0.8),
        ("ED510", "ED506"),
        ("checkpoint", "log"),
        lambda facts: facts["train_eval"] > 0.2,
    ),
    Fault(
        "stale-batchnorm",
        "BatchNorm over unscaled inputs whose running statistics never move.",
        shape(adapters=("stale-batchnorm",)),
        ("ED506",),
        ("checkpoint", "log"),
        lambda facts: facts["train_eval"] > 0.5 and facts["auroc"] < 0.95 * facts["auroc_training_mode"],
    ),
)
