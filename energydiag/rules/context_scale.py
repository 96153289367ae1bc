"""Context scale: the context, or one dimension of it, is hundreds of times larger than it should be.

## What it checks
The root mean square of the visible context values, and the largest standard deviation of a context dimension over the
median one. Where the expert's actions are told from others well and following the energy does not hurt, nothing is
said.

## Why it is bad
A LayerNorm over a context in which one dimension is far above the rest leaves that dimension alone; without a
LayerNorm, large values saturate attention and make gradients explode.

## Example
The sample dump with one of 64 context dimensions times 1000: ratio 1115, and the AUROC of `healthy` falls from .998 to
.52. With all dimensions times 1000 it stays .998, since that head begins with a LayerNorm over the context.

## What to do
Take the hidden states after the policy's last normalisation, or standardise them by dimension; use the same in training
and here.

## Known limits
Hidden states of large language models do have a few dimensions of huge size; a head can be trained on them, and then
nothing is said.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RMS = Threshold(300.0, "guess: hundreds of times what a normalised state has, 1")
_RATIO = Threshold(300.0, "guess: its square then outweighs tens of thousands of median dimensions")
_RANKS = Threshold(
    0.95,
    "calibrated on the fault benchmark: .92 to .97 where a model trained in spite of it, .97 to .99 in healthy ones",
)

_START = Threshold(3.0, "overconfident-start's: three times chance")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    rms, ratio, auroc = given["data.context_rms"], given.get("data.context_scale_ratio"), given.get("auroc.swap")
    gain = given.get("field.correction_gain.k8")
    first, chance = given.get("run.objective.first"), given.get("run.objective.chance")
    calm = first is None or chance is None or first.value <= _START.value * chance.value
    if auroc is not None and low(auroc) > _RANKS.value and (gain is None or high(gain) >= 0) and calm:
        return None
    if ratio is not None and low(ratio) > _RATIO.value:
        summary = f"One context dimension has {number(ratio.value)} times the standard deviation of the median one."
    elif low(rms) > _RMS.value:
        summary = f"The context's values have root mean square {number(rms.value)}."
    else:
        return None
    return Judgement("warning", summary, "The hidden states were dumped before their last normalisation.")


RULE = Rule(
    code="ED607",
    name="context-scale",
    needs=("data.context_rms",),
    optional=(
        "data.context_scale_ratio",
        "auroc.swap",
        "field.correction_gain.k8",
        "run.objective.first",
        "run.objective.chance",
    ),
    evidence=("data.context_rms", "data.context_scale_ratio"),
    thresholds={"start": _START, "rms": _RMS, "ratio": _RATIO, "ranks": _RANKS},
    judge=_judge,
    explains=(
        "ED101",
        "ED102",
        "ED105",
        "ED106",
        "ED108",
        "ED201",
        "ED203",
        "ED206",
        "ED301",
        "ED302",
        "ED303",
        "ED306",
        "ED311",
        "ED402",
        "ED501",
        "ED502",
        "ED701",
        "ED711",
        "ED713",
        "ED718",
    ),
)
