"""What a command costs before it does anything: seconds until it ends, and what it loads."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from .figure import Row, at_most
from .side_by_side import Way, take_turns

ROOT = Path(__file__).resolve().parent.parent
_SAMPLE = ROOT / "energydiag" / "sample"

HEAVY = ("torch", "pandas", "matplotlib")
"""What the commands without a model never load."""

_WATCHED = (*HEAVY, "scipy", "ray", "lightning", "transformers", "tensorboard", "wandb", "mlflow")

_COMMAND = "from energydiag.cli import main; main()"
"""What the installed script does."""

_EMPTY = """
import typer
app = typer.Typer(add_completion=False, rich_markup_mode="markdown")

@app.command()
def one():
    pass

app()
"""
"""A program with Typer that does nothing: what its ``--help`` costs, nobody who uses Typer can go below."""

_LOADED = f"""
import json, sys
from energydiag.cli import main
try:
    main()
except SystemExit as end:
    assert end.code in (0, 1, None), end.code
finally:
    print(json.dumps([name for name in {_WATCHED!r} if name in sys.modules]), file=sys.stderr)
"""


def measure(repeats: int, small: bool = False) -> list[Row]:
    with tempfile.TemporaryDirectory() as folder:
        result = Path(folder, "result.json")
        checkpoint, batch = str(_SAMPLE / "original.pt"), str(_SAMPLE / "heldout-batch.safetensors")
        inspect = ["inspect", "checkpoint", checkpoint, "--batch", batch, "--head", "original", "--nhead", "4"]
        commands = {"--help": ["--help"], "rules": ["rules"]}
        if not small:
            _python(_COMMAND, [*inspect, "--format", f"json={result}", "--fail-on", "never", "--quiet"])
            commands["report"] = ["report", str(result)]
        rows = _light(commands, repeats)
        if not small:
            rows += _inspect([*inspect, "--fail-on", "never", "--quiet"], repeats)
    return rows


def _python(code: str, arguments: Sequence[str] = ()) -> str:
    """Runs it in a fresh interpreter; its stderr.

    Raises:
        RuntimeError: It failed.
    """
    done = subprocess.run([sys.executable, "-c", code, *arguments], cwd=ROOT, capture_output=True, text=True)
    if done.returncode not in (0, 1):
        raise RuntimeError(f"{' '.join(arguments) or code} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stderr


def _loaded(arguments: Sequence[str]) -> list[str]:
    found: list[str] = json.loads(_python(_LOADED, arguments).strip().splitlines()[-1])
    return found


def _light(commands: dict[str, list[str]], repeats: int) -> list[Row]:
    base = "python -c 'import typer, rich'"
    empty = "--help of an empty Typer program"
    ways: dict[str, Way] = {
        base: lambda: _python("import typer, rich"),
        empty: lambda: _python(_EMPTY, ["--help"]),
    }
    for name, arguments in commands.items():
        ways[name] = lambda arguments=arguments: _python(_COMMAND, arguments)  # type: ignore[misc]
    turns = take_turns(ways, repeats)
    rows = [
        Row(
            f"energydiag {name} / {base}",
            "",
            turns.median(name),
            turns.median(base),
            turns.ratio(name, base),
            "s",
            at_most(1.5) if name == "--help" else None,
        )
        for name in commands
    ]
    rows.append(
        Row(
            f"energydiag --help / {empty}",
            "",
            turns.median("--help"),
            turns.median(empty),
            turns.ratio("--help", empty),
        )
    )
    for name, arguments in commands.items():
        found = [module for module in _loaded(arguments) if module in HEAVY]
        count = float(len(found))
        rows.append(
            Row(
                f"energydiag {name}: how many of {', '.join(HEAVY)} it loads",
                "",
                count,
                float(len(HEAVY)),
                count,
                "modules",
                at_most(0),
                ", ".join(found),
            )
        )
    return rows


def _inspect(arguments: list[str], repeats: int) -> list[Row]:
    base = "python -c 'import torch'"
    turns = take_turns(
        {"inspect": lambda: _python(_COMMAND, arguments), base: lambda: _python("import torch")}, repeats
    )
    found = _loaded(arguments)
    unused = [module for module in found if module not in ("torch", "scipy")]
    return [
        Row(
            f"energydiag inspect checkpoint on the sample, all of it / {base}",
            "",
            turns.median("inspect"),
            turns.median(base),
            turns.ratio("inspect", base),
        ),
        Row(
            f"energydiag inspect checkpoint: what it loads of {', '.join(_WATCHED)} and does not use",
            "",
            float(len(unused)),
            float(len(_WATCHED)),
            float(len(unused)),
            "modules",
            at_most(0),
            f"loads {', '.join(found)}",
        ),
    ]
