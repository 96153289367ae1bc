"""Untrained layers: layers are still as they were drawn, so training never reached them.

## What it checks
The share of the numbers in layers that are as PyTorch draws them: within the bound of their initialisation, spread
evenly up to it, and norms that are exactly 1 and 0. One finished layer is enough for a warning; where all layers are
so, nothing was trained.

## Why it is bad
A layer that stays random passes on a random mixture of what it is given, and the others must learn around it. A model
in which all are so is an untrained one, whatever its log says.

## Example
The optimiser was given all parameters but those of the action's MLP: its layers are as drawn, 17 % of all numbers, and
nothing in the loss says so. The optimiser was made with the parameters of a copy: all layers are.

## What to do
Print the number of parameters that the optimiser holds beside that of the model; look for `requires_grad=False`, a
parameter group that was forgotten, an optimiser made before layers were added or the model was copied or moved, a
checkpoint saved from the wrong object, and a learning rate near zero.

## Known limits
Layers drawn in another way, embeddings and recurrent layers are not recognised, nor is a layer that only weight decay
has changed. A layer that gets no gradient because what stands behind it is dead, or that is
frozen on purpose without having been trained is reported too. Where all energies are nearly the same, some layers as
drawn are no finding: no gradient reaches them then, and the collapse has findings of its own.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.collapse import NEEDED, RELATIVE, SPREAD, TOLD, collapsed
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_SOME = Threshold(
    0.01, "calibrated on the fault benchmark: healthy exactly 0, with the action's layers left out at least 0.047"
)
_ALL = Threshold(1.0, "calibrated on the fault benchmark: with the last layer alone in the optimiser at most 0.95")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    layers, entries = given["weights.untouched_fraction"], given["weights.untouched_fraction.entries"]
    if entries.value <= _SOME.value:
        return None
    if layers.value >= _ALL.value:
        return Judgement(
            "critical",
            f"All of the {layers.n} layers that can be told are as PyTorch draws them.",
            "Nothing was trained: the optimiser holds other parameters, its steps are too short, or these weights are "
            "not those of the trained model.",
        )
    if collapsed(given):  # then no gradient reaches them, and the collapse is what is told
        return None
    return Judgement(
        "warning",
        f"{round(layers.value * layers.n)} of {layers.n} layers, {percent(entries.value)} of the numbers, are as "
        "PyTorch draws them.",
        "They are missing from the optimiser or frozen, or no gradient reaches them.",
    )


RULE = Rule(
    code="ED309",
    name="untrained-layers",
    needs=("weights.untouched_fraction", "weights.untouched_fraction.entries"),
    optional=NEEDED,
    evidence=("weights.untouched_fraction", "weights.untouched_fraction.entries"),
    thresholds={"some": _SOME, "all": _ALL, "collapse": SPREAD, "relative collapse": RELATIVE, "told": TOLD},
    judge=_judge,
    explains=(
        "ED201",
        "ED202",
        "ED203",
        "ED204",
        "ED206",
        "ED207",
        "ED303",
        "ED306",
        "ED401",
        "ED402",
        "ED403",
        "ED501",
        "ED502",
        "ED701",
        "ED706",
        "ED719",
    ),
)
