"""Faults of what is contrasted with what: temperature, sign, labels, negatives."""

from __future__ import annotations

from ..fault import Fault, both, everywhere, recipe

FAULTS = (
    Fault(
        "temperature-too-high",
        "τ = 100: the softmax stays near uniform though the order is right.",
        recipe(tau=100.0),
        ("ED204",),
        ("checkpoint", "log"),
        lambda facts: facts["loss"] > 0.7 * facts["chance"] and facts["auroc"] > 0.8,
    ),
    Fault(
        "temperature-too-low",
        "τ = .0005, without clipping: one negative decides every step.",
        recipe(tau=0.0005, clip=None),
        ("ED205", "ED718", "ED302", "ED707"),
        ("checkpoint", "log"),
        lambda facts: facts["energy_std"] > 25 * facts["tau"],
    ),
    Fault(
        "sign-flipped",
        "Logits are E / τ where they should be −E / τ.",
        recipe(sign=-1),
        ("ED202",),
        ("checkpoint", "log"),
        lambda facts: facts["auroc"] < 0.5,
    ),
    Fault(
        "wrong-positives",
        "Labels are rolled by one: the next sample's action is called the positive.",
        recipe(slips=("rolled-labels",), alignment=0.0, ranking=0.0),
        ("wrong-positives", "ED202"),
        ("checkpoint", "log"),
        lambda facts: facts["auroc"] < 0.5 and facts["loss"] > facts["chance"],
    ),
    Fault(
        "easy-negatives",
        "One negative a step, from another task, and no near ones.",
        recipe(batch_size=2, slips=("other-tasks",), layers=False, noise=(), alignment=0.0, ranking=0.0, anchor=1e-3),
        ("ED206", "ED203"),
        ("checkpoint", "log"),
        lambda facts: facts["near"] < 0.75 and facts["info_nce_last"] < 0.2,
        needs_layers=True,
    ),
    Fault(
        "noise-only-negatives",
        "Noise of .3 is the only negative; other contexts' actions are none.",
        recipe(swap=False, layers=False, noise=(0.3, 0.3, 0.3), alignment=0.0, ranking=0.0),
        ("ED207", "ED201"),
        ("checkpoint",),
        lambda facts: facts["auroc"] < 0.85,
    ),
    Fault(
        "false-negatives",
        "The robot stands nearly still in half of the samples, so that negatives are right too.",
        everywhere("idle-frames"),
        ("ED603",),
        ("checkpoint",),
        lambda facts: facts["false_negatives"] > 0.15,
        needs_layers=True,
    ),
    Fault(
        "neighbouring-batches",
        "A batch is made of the samples whose actions are nearest to each other.",
        recipe(slips=("neighbours",)),
        ("ED719", "ED603", "ED201"),
        ("log",),
        lambda facts: facts["auroc_last"] < 0.9,
    ),
    Fault(
        "leads-astray",
        "Only other contexts' actions and the policy's layers are negatives; nothing shapes the field near the expert.",
        both(recipe(noise=(), alignment=0.0, ranking=0.0)),
        ("ED401", "ED402"),
        ("checkpoint",),
        lambda facts: facts["auroc"] > 0.9 and facts["gain_4"] < -0.02,
        needs_layers=True,
    ),
)
