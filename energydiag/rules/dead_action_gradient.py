"""Dead action gradient: the energy hardly changes with the action, so it cannot say where to move it.

## What it checks
How much the energy would change over one standard deviation of the actions, along its gradient, in units of the
energy's own standard deviation over swap pairs. It does not depend on the energy's scale. Where the dump has the
policy's actions, the rule speaks if it is dead at the expert's action and does not point there from the policy's. Where
it has none, or they are the expert's own, it must be dead at noise of half a standard deviation too.

## Why it is bad
At inference the action is moved along −∂E/∂a. A gradient of nearly nothing is rounding and noise: each normalised
step goes in a direction that means nothing, and makes the action worse.

## Example
Original head after 1200 steps: AUROC .95, median ‖∂E/∂a‖ 4e-5, relative change 1e-4.

## What to do
If the head is saturated, that is the cause: mend it first. Otherwise train the field: `mixed-negatives`,
`alignment-loss`, and no LayerNorm directly over the action (`remove-action-norm`).

## Known limits
At the bottom of a smooth well the gradient is small in a healthy model as well, which is why a second place is looked
at. A well that is much narrower than actions vary, and flat all around, is taken for dead.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high, low
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RELATIVE = Threshold(1e-2, "guess: one standard deviation of the action moves E by less than 1 % of its spread")

_ALIGNED = Threshold(0.2, "guess: a field that points to the expert from the policy's action is not dead")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    relative, away = given["gradient.actions.relative_median"], given["gradient.actions.relative_away"]
    if high(relative) >= _RELATIVE.value:
        return None
    aligned, error = given.get("field.alignment.policy"), given.get("data.policy_error")
    if aligned is None or (error is not None and error.value == 0):
        if high(away) >= _RELATIVE.value:
            return None
    elif not aligned.unsure and low(aligned) > _ALIGNED.value:
        return None
    norm = given["gradient.actions.norm_median"].value
    return Judgement(
        "critical",
        f"The median ‖∂E/∂a‖ is {number(norm)}: moving an action by one standard deviation changes E by "
        f"{number(relative.value)} of its spread, and half a standard deviation away by {number(away.value)}.",
        "The energy is flat around the expert's action; following it is following rounding errors.",
    )


RULE = Rule(
    code="ED303",
    name="dead-action-gradient",
    needs=("gradient.actions.relative_median", "gradient.actions.relative_away", "gradient.actions.norm_median"),
    optional=("field.alignment.policy", "data.policy_error"),
    evidence=("gradient.actions.norm_median", "gradient.actions.relative_median", "gradient.actions.relative_away"),
    thresholds={"relative": _RELATIVE, "aligned": _ALIGNED},
    judge=_judge,
    symptom=True,
    explains=("ED401", "ED402", "ED403"),
    fixes=("linear-head", "mixed-negatives", "alignment-loss", "remove-action-norm"),
)
