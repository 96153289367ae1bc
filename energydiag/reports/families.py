"""Measurements in groups, each with a sentence of what they are."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Group:
    """Measurements that belong together.

    Attributes:
        title: What the group is called.
        about: What its numbers are.
        beginnings: How their names begin.
    """

    title: str
    about: str
    beginnings: tuple[str, ...]


GROUPS = (
    Group(
        "The head",
        "Where its raw values lie under the activation that makes the energy, and how much slope and range is left.",
        ("head.",),
    ),
    Group(
        "Loss and floor",
        "The contrastive loss on this batch, what chance would give, and the floor below which this head cannot get.",
        ("loss.", "floor_gap."),
    ),
    Group(
        "Separation",
        "Whether the expert's action has less energy than wrong ones: AUROC (0.5 is chance), gap in energy and in "
        "standard deviations, how often it comes first (top1), mean reciprocal rank (mrr); by kind of wrong action.",
        ("auroc.", "gap.", "gap_std.", "npc.", "top1.", "mrr.", "effective_negatives.", "separation."),
    ),
    Group(
        "The field",
        "Where following the energy leads: whether its gradient points to the expert's action (alignment), how much "
        "of the action error some steps down win (correction_gain), and how smooth the way is.",
        ("field.",),
    ),
    Group(
        "Gradients",
        "Sizes of the gradients with respect to actions, context and parameters, and how they are spread.",
        ("gradient.",),
    ),
    Group(
        "What the energy listens to",
        "How much context, action, padding, precision and train mode change the energy.",
        ("conditioning.", "model."),
    ),
    Group(
        "Inside the model", "Units that are dead, constant or saturated, and the rank of what they say.", ("hidden.",)
    ),
    Group(
        "Weights", "Sizes, ranks and symmetry of the weights, and what looks as if it was never trained.", ("weights.",)
    ),
    Group("The data", "Samples, padding, duplicates, scales, and how far the policy is from the expert.", ("data.",)),
    Group("The training log", "What the curves of the run say; losses in nats.", ("run.",)),
)

_REST = Group("Others", "", ("",))


def grouped(names: Iterable[str]) -> Mapping[Group, list[str]]:
    """Names by group, in the order of the groups."""
    found: dict[Group, list[str]] = {group: [] for group in (*GROUPS, _REST)}
    for name in names:
        found[next(group for group in found if name.startswith(group.beginnings))].append(name)
    return {group: inside for group, inside in found.items() if inside}
