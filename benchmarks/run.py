"""``python -m benchmarks.run``: what a user pays in time and memory, every figure side by side.

    python -m benchmarks.run                          all families, about an hour
    python -m benchmarks.run energies start_up        some; what the others measured before is kept
    python -m benchmarks.run --small --out /tmp/x.json --page "" --picture ""    whether all of it runs

Every family has a process of its own, with as many threads as the machine has cores. The rows are printed, written to
``results.json`` beside this file with the machine they were measured on, drawn, and put into docs/speed.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import re
import sys
import traceback
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from .figure import HEADER, Row, cells, markdown
from .picture import draw
from .side_by_side import THREADS, alone, available_bytes

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"

FAMILIES = {
    "energies": "Energies of many candidates",
    "by_hand": "Energies beside what is written by hand",
    "backward": "Gradients",
    "inspection": "A whole inspection",
    "start_up": "Start-up",
    "training_step": "A step of retraining",
    "processes": "Many processes",
}
"""Modules here with a function ``measure(repeats, small)``, and what their rows are about."""

_WIDTH = 170
"""Columns of the printed table, at least: a narrow one cannot be read."""

_BLOCK = re.compile(r"(<!-- bench -->\n).*?(<!-- /bench -->)", re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = _parser()
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.families) - set(FAMILIES))
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {', '.join(FAMILIES)}")
    cores = _cores()
    for name in THREADS:
        os.environ[name] = str(options.threads or cores)  # for the processes that measure
    found, failed = _kept(options.out), []
    for name in options.families or FAMILIES:
        print(f"{FAMILIES[name]} …", flush=True)
        try:
            rows, seen = alone(measured, name, options.repeats, options.small)
        except Exception as error:  # what the other families find is not lost
            traceback.print_exception(error)
            failed.append(name)
            continue
        found[name] = {"machine": seen, "repeats": options.repeats, "rows": rows}
        _print(name, rows)
        _write(options.out, {key: found[key] for key in FAMILIES if key in found})
    if options.picture:
        draw([row for family in found.values() for row in family["rows"]], Path(options.picture))
    if options.page:
        _fill(Path(options.page), block(found))
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


def measured(family: str, repeats: int, small: bool) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """The rows of a family and the machine; run in a process of its own."""
    rows: list[Row] = importlib.import_module(f"{__package__}.{family}").measure(repeats, small)
    return [row.plain() for row in rows], machine()


def machine() -> dict[str, Any]:
    """What the figures depend on."""
    import torch

    gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    return {
        "processor": _processor(),
        "cores": _cores(),
        "threads": torch.get_num_threads(),
        "free_memory_gib": round(available_bytes() / 2**30, 1),
        "gpu": ", ".join(gpus) or None,
        "system": platform.system(),
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*:\s*(.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return found.group(1).strip() if found else platform.processor() or platform.machine()


def _kept(path: str) -> dict[str, Any]:
    """What an earlier run found."""
    known = Path(path)
    if not path or not known.exists():
        return {}
    families: dict[str, Any] = json.loads(known.read_text(encoding="utf-8"))["families"]
    return families


def _write(path: str, families: dict[str, Any]) -> None:
    if path:
        text = json.dumps({"families": families}, indent=1, ensure_ascii=False, allow_nan=False)
        Path(path).write_text(text + "\n", encoding="utf-8")


def _print(family: str, rows: Sequence[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*HEADER, title=FAMILIES[family], title_justify="left")
    for row in rows:
        table.add_row(*cells(row))
    Console(width=max(Console().width, _WIDTH)).print(table)


def block(families: dict[str, Any]) -> str:
    """All families as Markdown, each with its machine."""
    parts = []
    for name, title in FAMILIES.items():
        if name in families:
            found = families[name]
            parts.append(f"## {title}\n\n{_told(found['machine'], found['repeats'])}\n\n{markdown(found['rows'])}\n")
    return "\n".join(parts)


def _told(seen: dict[str, Any], repeats: int) -> str:
    gpu = f", {seen['gpu']}" if seen["gpu"] else ""
    return (
        f"{seen['processor']}, {seen['cores']} cores, {seen['threads']} threads{gpu}, "
        f"{seen['free_memory_gib']} GiB free; "
        f"torch {seen['torch']}, Python {seen['python']}; {seen['date'][:10]}; medians of {repeats}."
    )


def _fill(page: Path, text: str) -> None:
    """Puts the text between the markers of a page."""
    old = page.read_text(encoding="utf-8")
    page.write_text(_BLOCK.sub(lambda m: f"{m.group(1)}\n{text}\n{m.group(2)}", old), encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.run", description="Time and memory, side by side.")
    parser.add_argument("families", nargs="*", metavar="FAMILY", help=f"of {', '.join(FAMILIES)}; none: all")
    parser.add_argument("--repeats", type=int, default=5, help="turns, of which medians are taken (5)")
    parser.add_argument("--threads", type=int, help="of torch; none: one a core")
    parser.add_argument("--small", action="store_true", help="at sizes that show only that everything runs")
    parser.add_argument("--out", default=str(HERE / "results.json"), help="file of all figures; empty: none")
    parser.add_argument("--picture", default=str(DOCS / "scaling.png"), help="empty: none")
    parser.add_argument("--page", default=str(DOCS / "speed.md"), help="page with the markers; empty: none")
    return parser


if __name__ == "__main__":
    main()
