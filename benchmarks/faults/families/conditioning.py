"""Faults of what the energy depends on: context, action, padding, and the shape of its field."""

from __future__ import annotations

from ..fault import Fault, both, dump_flaw, padded_only, recipe, shape

FAULTS = (
    Fault(
        "contexts-shuffled",
        "Contexts are shuffled against actions in every training batch.",
        recipe(slips=("shuffled-contexts",)),
        ("ED501", "ED201"),
        ("checkpoint", "log"),
        lambda facts: abs(facts["auroc"] - 0.5) < 0.1,
    ),
    Fault(
        "context-zeroed",
        "The context is multiplied by zero before the model.",
        shape(adapters=("context-zeroed",)),
        ("ED509", "ED501"),
        ("checkpoint", "log"),
        lambda facts: facts["context_effect"] < 1e-3 or facts["energy_std"] < 1e-4,
    ),
    Fault(
        "action-zeroed",
        "The action is multiplied by zero before the model.",
        shape(adapters=("action-zeroed",)),
        ("ED502", "ED303"),
        ("checkpoint", "log"),
        lambda facts: facts["action_effect"] < 1e-3,
    ),
    Fault(
        "flat-field",
        "The layers that the action meets first have weights a hundred thousand times too small, and are not trained.",
        recipe(starts=("tiny-actions=1e-5",), slips=("frozen-actions",)),
        ("ED303", "ED502", "ED307"),
        ("checkpoint", "log"),
        lambda facts: facts["slope_relative"] < 1e-2 or facts["action_effect"] < 1e-2,
    ),
    Fault(
        "jagged-field",
        "Fast random waves of the action stand beside it.",
        both(recipe(alignment=0.0, ranking=0.0, noise=(0.3,)), shape(adapters=("jagged",))),
        ("ED403",),
        ("checkpoint",),
        lambda facts: facts["coherence"] < 0.5,
        needs_layers=True,
    ),
    Fault(
        "padding-leaks",
        "The model is trained without the mask, and hidden tokens hold garbage in the dump.",
        both(padded_only, shape(adapters=("mask-ignored",)), dump_flaw("garbage-padding")),
        ("ED504",),
        ("checkpoint",),
        lambda facts: facts["padding_effect"] > 0.1,
        needs_tokens=True,
    ),
    Fault(
        "inverted-mask",
        "The model reads the mask the other way round: it sees the padding alone.",
        both(padded_only, shape(adapters=("mask-inverted",))),
        ("ED505", "ED504"),  # trained so, the mask inverted once more gains nothing: padding is what the model reads
        ("checkpoint",),
        lambda facts: facts["padding_effect"] > 0.1 and facts["visible_effect"] < 1e-3,
        needs_tokens=True,
    ),
    Fault(
        "action-layernorm",
        "A LayerNorm stands directly over the raw action: scale and shift of a step cannot be seen.",
        shape(normalise_actions=True),
        ("ED503",),
        ("checkpoint",),
        lambda facts: facts["scale_effect"] < 1e-2,
    ),
    Fault(
        "rank-collapse",
        "All of the context goes through one number per token, then pooled to its mean.",
        shape(adapters=("bottleneck",), pooling="mean"),
        ("ED306",),
        ("checkpoint",),
        lambda facts: facts["context_rank"] < 1.5,
    ),
)
