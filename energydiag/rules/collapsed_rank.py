"""Collapsed rank: context and action meet in the energy through a single direction.

## What it checks
Effective ranks (the exponential of the entropy of the singular values) that are near 1 while the batch's actions vary
in several directions: that of the gradients d(E(h, a') − E(h, a*))/dh over the samples, the directions of the context
that decide between actions; that of the swap table E(h, a) without the means of its rows and of its columns; and, where
the energy does not tell other samples' actions either, that of what enters the last linear layer.

## Why it is bad
With one direction, all that a context can say about actions is one number. AUROC may still look well, since far actions
are told; the best of many is not found.

## Example
A product of two towers that are one wide, trained on the samples' dump: table rank 1.0 where the actions have 10,
AUROC .94, top-1 of 64 .21. Two wide: 1.9, .98, .53. Sixteen wide: 3.7, .99, .74.

## What to do
Find where context and action meet: a product of too few features, a mean over too much, weights that are all alike.
Units that are all equal or dead are findings of their own and stand before this one.

## Known limits
Where actions have one direction that matters, an energy needs no more: the rule is silent when the actions' own rank is
below 3. A bottleneck with a curved layer in front of it has gradients in many directions and, with one behind it, a
table of a higher rank too: one number per context before an MLP left a rank of 3.8. Features of rank 1 alone are no
fault: strong weight decay lines them up with the last layer's weights in models that separate well (measured: rank 1.3
of 128, AUROC .99).
"""

from collections.abc import Mapping

from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.wording import number

_RANK = Threshold(
    1.5,
    "tables of products of two towers: 1.0 one wide, 1.9 two, 3.7 sixteen wide; gradients on the fault benchmark: 1.0 "
    "behind one number, 7 and more in all models that learned",
)
_SAMPLES = Threshold(16, "guess: fewer contexts may agree on a direction by chance")
_WIDTH = Threshold(8, "guess: a narrower last layer is meant to have few directions")
_AUROC = Threshold(0.8, "no-separation's: above it the last layer's features are enough, whatever their rank")
_ACTIONS = Threshold(3, "guess: twice the rank that is called collapsed; the samples' actions have 10")


def _judge(given: Mapping[str, Measurement]) -> Judgement | None:
    actions = given["separation.action_rank"].value
    if actions < _ACTIONS.value:
        return None
    table, features = given.get("separation.table_rank"), given.get("hidden.effective_rank")
    contexts = given.get("gradient.context.effective_rank")
    if contexts is not None and contexts.value < _RANK.value and contexts.n >= _SAMPLES.value:
        what = f"The directions of the context that change which action is better have rank {number(contexts.value)}"
    elif table is not None and table.value < _RANK.value:
        what = f"The energies of all pairs have an effective rank of {number(table.value)}"
    elif features is None or features.value >= _RANK.value or not _features_matter(given):
        return None
    elif features.value == 0:
        what = "What enters the last layer is the same for every sample"
    else:
        what = f"What enters the last layer has an effective rank of {number(features.value)}"
    return Judgement(
        "warning",
        f"{what}; that of the actions is {number(actions)}.",
        "What the context says about the action passes through one direction.",
    )


def _features_matter(given: Mapping[str, Measurement]) -> bool:
    width, auroc = given.get("hidden.width"), given.get("auroc.swap")
    if width is None or auroc is None:
        return False
    high = auroc.ci95[1] if auroc.ci95 else auroc.value
    return width.value >= _WIDTH.value and 0.5 <= high < _AUROC.value  # below .5 it is told, the wrong way round


RULE = Rule(
    code="ED306",
    name="collapsed-rank",
    needs=("separation.action_rank",),
    optional=(
        "gradient.context.effective_rank",
        "separation.table_rank",
        "hidden.effective_rank",
        "hidden.width",
        "auroc.swap",
    ),
    evidence=(
        "gradient.context.effective_rank",
        "separation.table_rank",
        "hidden.effective_rank",
        "separation.action_rank",
    ),
    thresholds={"rank": _RANK, "samples": _SAMPLES, "width": _WIDTH, "auroc": _AUROC, "actions": _ACTIONS},
    judge=_judge,
    explains=("ED201", "ED206", "ED401", "ED402"),
)
