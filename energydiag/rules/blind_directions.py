"""Blind directions: the energy cannot see how large an action is, or by how much all of it is shifted.

## What it checks
The effect on E of the expert's action times 1.3, and of the same amount added to all its values, over the effect of
noise of the same length. 1 is a direction like any other.

## Why it is bad
No loss can teach what the model cannot see. Too large an action has the energy of the right one, and ∂E/∂a is
orthogonal to both directions, so a correction never moves along them.

## Example
The sample `original` has a LayerNorm over the raw action: scaling has .00003 of noise's effect, shifting .00000006;
AUROC against actions of 1.5 times the size is .43. In `healthy`, which has none, they have .82 and 1.07, and that
AUROC is .99.

## What to do
Take the LayerNorm over the raw action out (`remove-action-norm`) and train on. Normalise actions by dimension in the
data instead.

## Known limits
A LayerNorm's ε makes tiny actions visible a little. Turning the order of steps round is not asked for: a mean over
steps hides it by design.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_SEEN = Threshold(0.02, "guess: a fiftieth of what noise of that length does")

_NAMES = {"scale": "too large an action", "shift": "a shift of all its values"}


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    effects = {name: given[f"conditioning.blind.{name}.against_noise"] for name in _NAMES}
    blind = [name for name, effect in effects.items() if high(effect) < _SEEN.value]
    if not blind:
        return None
    return Judgement(
        "warning",
        f"The energy does not see {' nor '.join(_NAMES[name] for name in blind)}: "
        f"{' and '.join(number(effects[name].value) for name in blind)} of the effect of noise as long.",
        "A normalisation stands directly over the raw action and takes its size or mean away.",
    )


RULE = Rule(
    code="ED503",
    name="blind-directions",
    needs=("conditioning.blind.scale.against_noise", "conditioning.blind.shift.against_noise"),
    optional=("auroc.amplitude_1.5",),
    evidence=(
        "conditioning.blind.scale.against_noise",
        "conditioning.blind.shift.against_noise",
        "auroc.amplitude_1.5",
    ),
    thresholds={"seen": _SEEN},
    judge=_judge,
    fixes=("remove-action-norm",),
)
