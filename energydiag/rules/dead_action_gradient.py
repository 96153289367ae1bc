"""Dead action gradient: the energy hardly changes with the action, so it cannot say where to move it.

## What it checks
How much the energy would change over one standard deviation of the actions, along its gradient, in units of the
energy's own standard deviation over swap pairs. It does not depend on the energy's scale. Two places are looked at: the
expert's action, and noise of half a standard deviation around it. The rule speaks where both are dead.

## Why it is bad
At inference the action is moved along −∂E/∂a. A gradient of nearly nothing is rounding and noise: each normalised
step goes in a direction that means nothing, and makes the action worse.

## Example
Original head after 1200 steps: AUROC .95, median ‖∂E/∂a‖ 4e-5, relative change 1e-4.

## What to do
If the head is saturated, that is the cause: mend it first. Otherwise train the field: `mixed-negatives`,
`alignment-loss`, and no LayerNorm directly over the action (`remove-action-norm`).

## Known limits
At the bottom of a smooth well the gradient is small in a healthy model as well: a well that is much narrower than
actions vary, and flat all around, is taken for dead. The rule is silent where the gradient at the policy's action
points to the expert's.
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.ends import high
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RELATIVE = Threshold(1e-2, "guess: one standard deviation of the action moves E by less than 1 % of its spread")

_ALIGNED = Threshold(0.2, "guess: a field that points to the expert from the policy's action is not dead")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    relative, away = given["gradient.actions.relative_median"], given["gradient.actions.relative_away"]
    if max(high(relative), high(away)) >= _RELATIVE.value:
        return None
    aligned = given.get("field.alignment.policy")
    if aligned is not None and aligned.ci95 is not None and aligned.ci95[0] > _ALIGNED.value:
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
    optional=("field.alignment.policy",),
    evidence=("gradient.actions.norm_median", "gradient.actions.relative_median", "gradient.actions.relative_away"),
    thresholds={"relative": _RELATIVE, "aligned": _ALIGNED},
    judge=_judge,
    symptom=True,
    explains=("ED401", "ED402", "ED403"),
    fixes=("linear-head", "mixed-negatives", "alignment-loss", "remove-action-norm"),
)
