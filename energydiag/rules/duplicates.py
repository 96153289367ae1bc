"""Duplicates: samples, or contexts, that repeat an earlier one bit for bit.

## What it checks
The share of samples whose visible context and action repeat an earlier sample's, and the same for the context alone.

## Why it is bad
In a contrast a copy is a negative that equals the positive: the loss cannot fall below log 2 for that sample. Copies
on both sides of a split make held-out numbers too good. Contexts that repeat with other actions cannot be told apart at
all.

## Example
Every sample written twice: share .5, and in a batch that holds both, p₊ is at most ½.

## What to do
Look for a loader that repeats itself, a sampler that draws with replacement, or ranks that write the same samples;
dump again.

## Known limits
Copies that differ in a single bit, as by another batch size, are not seen.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import percent

_SAMPLES = Threshold(0.01, "guess: one in a hundred is no accident of recording")
_CONTEXTS = Threshold(0.10, "guess: first frames may repeat, a tenth of the samples should not")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    samples, contexts = given["data.duplicate_rate"], given["data.duplicate_contexts"]
    if low(samples) > _SAMPLES.value:
        summary = f"{percent(samples.value)} of the samples repeat an earlier one bit for bit."
    elif low(contexts) > _CONTEXTS.value:
        summary = f"{percent(contexts.value)} of the contexts repeat an earlier one bit for bit, with other actions."
    else:
        return None
    return Judgement("warning", summary, "The dump was written from a loader that gives samples, or contexts, again.")


RULE = Rule(
    code="ED604",
    name="duplicates",
    needs=("data.duplicate_rate", "data.duplicate_contexts"),
    evidence=("data.duplicate_rate", "data.duplicate_contexts"),
    thresholds={"samples": _SAMPLES, "contexts": _CONTEXTS},
    judge=_judge,
)
