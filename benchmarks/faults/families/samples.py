"""Faults of the data."""

from __future__ import annotations

from ..fault import Fault, dump_flaw, everywhere

FAULTS = (
    Fault(
        "dominating-dimension",
        "One action dimension is in a unit fifty times smaller.",
        everywhere("scaled-dimension"),
        ("ED606", "ED304"),
        ("checkpoint",),
        lambda facts: facts["action_scale_ratio"] > 20,
    ),
    Fault(
        "unscaled-context",
        "One context dimension is a thousand times larger than the others.",
        everywhere("outlier-context"),
        ("ED607",),
        ("checkpoint",),
        lambda facts: facts["context_scale_ratio"] > 100,
    ),
    Fault(
        "misaligned-chunks",
        "The expert's chunks begin one step late; the policy's do not.",
        everywhere("misaligned"),
        ("ED608",),
        ("checkpoint",),
        lambda facts: facts["shift_gain"] > 0.03,
        needs_layers=True,
    ),
    Fault(
        "constant-dimension",
        "One action dimension never moves.",
        everywhere("constant-dimension"),
        ("ED605",),
        ("checkpoint",),
        lambda facts: facts["constant_dimensions"] > 0,
    ),
    Fault(
        "duplicated-samples",
        "Four samples in ten are copies of others.",
        everywhere("duplicates"),
        ("ED604",),
        ("checkpoint",),
        lambda facts: facts["duplicates"] > 0.2,
    ),
    Fault(
        "nan-rows",
        "Five samples in a hundred hold NaN.",
        dump_flaw("nan-rows"),
        ("ED601",),
        ("checkpoint",),
        lambda facts: facts["broken_rows"] > 0,
    ),
    Fault(
        "all-padded-rows",
        "Five samples in a hundred have their whole context hidden.",
        dump_flaw("all-padded"),
        ("ED602",),
        ("checkpoint",),
        lambda facts: facts["hidden_rows"] > 0,
        needs_tokens=True,
    ),
)
