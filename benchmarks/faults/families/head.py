"""Faults of the head and of the energies that it gives."""

from __future__ import annotations

from typing import Any

from ..fault import Fault, both, recipe, shape

_SATURATED: dict[str, Any] = {"tau": 0.1, "anchor": 0.0, "optimiser": "sgd", "learning_rate": 0.03}

FAULTS = (
    Fault(
        "bounded-energy",
        "A sigmoid makes the energy, with τ = .5: the loss has a high floor.",
        both(shape(head="original"), recipe(tau=0.5, anchor=0.0)),
        ("ED103", "ED702"),
        ("checkpoint", "log"),
        lambda facts: facts["floor"] > 0.5 * facts["loss"] and facts["auroc"] > 0.6,
    ),
    Fault(
        "saturated-high",
        "A sigmoid energy with τ = .1 whose raw output begins at 9, where the slope is 1e-4, trained by SGD.",
        both(shape(head="original"), recipe(starts=("last-bias=9",), **_SATURATED)),
        ("ED101",),
        ("checkpoint", "log"),
        lambda facts: facts["saturated_high"] > 0.5 and facts["dead"] < 0.1,
    ),
    Fault(
        "saturated-low",
        "A sigmoid energy with τ = .1 whose raw output begins at −9, trained by SGD.",
        both(shape(head="original"), recipe(starts=("last-bias=-9",), **_SATURATED)),
        ("ED101",),
        ("checkpoint", "log"),
        lambda facts: facts["saturated_low"] > 0.5 and facts["dead"] < 0.1,
    ),
    Fault(
        "dead-head",
        "A sigmoid energy and a learning rate of 1 without clipping drive raw values to where the slope is exactly 0.",
        both(
            shape(head="original"),
            recipe(learning_rate=1.0, clip=None, weight_decay=0.0, tau=0.5, anchor=0.0, alignment=0.0, ranking=0.0),
        ),
        ("ED102", "ED710"),
        ("checkpoint", "log"),
        lambda facts: facts["dead"] > 0.5,
    ),
    Fault(
        "energy-drift",
        "Nothing anchors the energies and the last bias moves by 5 at every step.",
        recipe(anchor=0.0, slips=("drift=5",)),
        ("ED107", "ED705"),
        ("checkpoint", "log"),
        lambda facts: abs(facts["energy_mean"]) > 20 * facts["energy_std"],
    ),
    Fault(
        "energy-explosion",
        "The last layer begins with weights ten thousand times too large; nothing is clipped or anchored.",
        both(shape(head="linear"), recipe(starts=("last-weights=1e4",), clip=None, anchor=0.0, weight_decay=0.0)),
        ("ED108", "ED302", "ED308", "ED707"),
        ("checkpoint", "log"),
        lambda facts: not facts["energy_std"] < 30 * facts["tau"],
    ),
    Fault(
        "half-precision",
        "Model, inputs and optimiser in float16, where AdamW's ε is 0: weights become infinite.",
        recipe(slips=("half",), share_done=0.25),
        ("ED104", "ED703"),
        ("checkpoint", "log"),
        lambda facts: facts["nonfinite"] > 0,
    ),
)
