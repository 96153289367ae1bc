"""Non-finite data: the dump holds NaN or infinite values.

## What it checks
The share of samples with a NaN or an infinity in the context, the actions or the negatives.

## Why it is bad
One such sample in a training batch makes the loss NaN. Here these samples were left out of every other measurement.

## Example
A half-precision overflow in the policy's last hidden state, dumped as `inf`.

## What to do
Find where it arises (`torch.isfinite` on the policy's outputs), dump contexts in bfloat16 or float32, and drop what
remains.

## Known limits
Values that are finite but wrong are not seen.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule
from energydiag.rules.wording import percent


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    share = given["data.nonfinite_fraction"]
    if share.value == 0:
        return None
    return Judgement(
        "critical",
        f"{round(share.value * share.n)} of {share.n} samples ({percent(share.value)}) hold NaN or infinite values; "
        "they were left out.",
        "The policy or the dump overflowed; training on these samples gives a NaN loss.",
    )


RULE = Rule(
    code="ED601",
    name="nonfinite-data",
    needs=("data.nonfinite_fraction",),
    evidence=("data.nonfinite_fraction",),
    thresholds={},
    judge=_judge,
    explains=("ED104",),
)
