"""Options that mean the same wherever they stand."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import Annotated

import typer

Batch = Annotated[
    Path,
    typer.Option("--batch", help="Batch dump: .safetensors, .pt or .npz, or a folder of shards.", show_default=False),
]
Model = Annotated[
    str | None,
    typer.Option(
        help="How to rebuild the model: a built-in architecture's name, package.module:factory or "
        "path/file.py:factory. A factory is your code, and it runs.",
    ),
]
ModelArg = Annotated[list[str] | None, typer.Option("--model-arg", help="KEY=VALUE for the factory; repeatable.")]
Head = Annotated[
    str | None,
    typer.Option(
        help="What makes the energy: original (or sigmoid), rescaled, softplus, linear, original-clipped, "
        "softplus-clipped, with -raw or -per-step for another pooling; or a formula: '2*sigmoid(0.5*r) + 0.1'."
    ),
]
Pool = Annotated[
    str | None,
    typer.Option(
        help="Where the head averages the action steps: features, raw or energy. [default: as --head says]",
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        help="What True means in the mask that reaches the model: hidden or visible; unused if none reaches it. "
        "[default: hidden]"
    ),
]
EnergiesOf = Annotated[
    str | None,
    typer.Option(
        "--energies-of",
        help="The checkpoint that the dump's `energies` belong to, if it is another; the form that they prove of it "
        "(head, attention heads, mask) holds for any of the same keys and shapes.",
    ),
]
IgnoreKeys = Annotated[
    list[str] | None,
    typer.Option("--ignore-keys", help="Pattern of keys that the model does not read, such as 'aux.*'; repeatable."),
]
Nhead = Annotated[int | None, typer.Option("--nhead", help="Number of attention heads.")]
Sign = Annotated[str | None, typer.Option(help="energy (low = good) or score (high = good).")]
Candidates = Annotated[
    bool,
    typer.Option(
        "--candidates", help="The module of --model takes all candidates of a context at once: [B, N, …] to [B, N]."
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weights",
        help="Which of several sets of weights in the checkpoint, such as ema or callbacks.ema. [default: the one that "
        "fits]",
    ),
]
AllowGlobal = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-global",
        help="Dotted name of a class of plain data that the checkpoint's pickle may use (it is imported); repeatable.",
    ),
]
Tau = Annotated[
    float | None,
    typer.Option(min=1e-6, help="Temperature of training. [default: the checkpoint's, else 0.5]"),
]
Device = Annotated[str, typer.Option(help="Where to compute: cpu, cuda, cuda:1, …")]
Dtype = Annotated[str | None, typer.Option(help="Type to compute in. [default: the checkpoint's]")]
Objective = Annotated[
    str | None,
    typer.Option(
        "--objective",
        help="What it was trained with: infonce, bce, siglip, margin, bt, cd, dsm, regression or unrolled. [default: "
        "as its settings say, or as the log shows]",
    ),
]
Seed = Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Of swap sets, noise and resampling.")]
Limit = Annotated[int | None, typer.Option(min=2, help="Use at most so many samples, spread over the episodes.")]
SwapSize = Annotated[int, typer.Option(min=2, help="Contexts in a swap set.")]
Select = Annotated[
    list[str] | None, typer.Option(help="Ask only these rules: codes, or beginnings like ED1; repeatable.")
]
Ignore = Annotated[list[str] | None, typer.Option(help="Do not ask these rules; repeatable.")]
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        help="text, json, md, html, junit, sarif or github; as FORMAT=PATH to a file. Repeatable. [default: text]",
    ),
]
Output = Annotated[Path | None, typer.Option(help="File for the one format without a path of its own; - is stdout.")]
Plots = Annotated[Path | None, typer.Option(help="Folder for figures (PNG and SVG).")]
Details = Annotated[bool, typer.Option("--details", help="List every measurement.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress on stderr.")]


class FailOn(str, Enum):
    """From which severity on the exit code is 1."""

    never = "never"
    warning = "warning"
    critical = "critical"


InconclusiveFails = Annotated[
    bool,
    typer.Option("--inconclusive-fails", help="Exit with 3 where a question is open that could change the verdict."),
]
FailOnOption = Annotated[FailOn, typer.Option("--fail-on", help="Exit with 1 at findings of this severity or worse.")]
