"""Where nothing tells the objective: what holds for every objective is asked, and nothing else.

Not among the objectives that can be named. Rules of InfoNCE's floor and temperature would judge a loss that may never
have been trained, and saturation is the solution of some objectives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from energydiag.objectives.bce import SATURATES
from energydiag.objectives.objective import NO_FIT, Chance, Objective, Setting, no_chance, no_floor

UNKNOWN = Objective(
    name="",
    title="an unknown objective",
    aliases=(),
    formula="",
    chances=no_chance,
    floor=no_floor,
    improved="the ranking on held-out samples improves",
    fits=lambda _clues: NO_FIT,
    may_be_negative=True,
    loss_improves=True,
    not_asked=dict.fromkeys(("ED103", "ED204", "ED205", "ED718", "ED702"), "the objective is not known (--objective)"),
    milder=SATURATES,
)


def without_temperature(objective: Objective) -> Objective:
    """The objective, without the rules that judge its temperature: the one of training is not known."""
    reason = "the temperature of training is not known (--tau)"
    rules = ("ED103", "ED108", "ED204", "ED205")
    return replace(objective, not_asked={**dict.fromkeys(rules, reason), **objective.not_asked})


def either_of(fitting: Sequence[Objective]) -> Objective:
    """What can be asked whichever of several objectives it is: all that applies to each, and a chance they share."""
    titles = " or ".join(one.title for one in fitting)

    def shared(setting: Setting) -> tuple[Chance, ...]:
        each = [one.chances(setting) for one in fitting]
        return tuple(c for c in each[0] if all(any(c.value == other.value for other in rest) for rest in each[1:]))

    learned = [one.learned for one in fitting]
    return Objective(
        name="",
        title=titles,
        aliases=(),
        formula="",
        chances=shared,
        floor=no_floor,
        improved=UNKNOWN.improved,
        fits=UNKNOWN.fits,
        learned=None if None in learned else min(value for value in learned if value is not None),
        starts_at_chance=True,
        may_be_negative=any(one.may_be_negative for one in fitting),
        loss_improves=any(one.loss_improves for one in fitting),  # a soft margin beside others that begin at log 2
        gap_improves=all(one.gap_improves for one in fitting),
        not_asked={code: f"the objective may be {titles} (--objective)" for one in fitting for code in one.not_asked},
        milder=frozenset().union(*(one.milder for one in fitting)),
    )
