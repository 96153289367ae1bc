"""Training logs that are too wide, too long, or no text.

Not all are refused: a log with a few odd cells is a log. Those that are read are in `test_hostile.py`.
"""

from __future__ import annotations

import json
from pathlib import Path

from hostile.registry import hostile, written


@hostile("run")
def line_of_a_hundred_megabytes(folder: Path) -> Path:
    return written(folder, "metrics.csv", b"step,loss\n1," + b"9" * (100 << 20) + b"\n")


@hostile("run")
def name_of_twenty_megabytes(folder: Path) -> Path:
    return written(folder, "metrics.csv", b"l" * (20 << 20) + b",b\n1,2\n")


@hostile("run")
def bytes_of_zero(folder: Path) -> Path:
    return written(folder, "metrics.csv", b"step,lo\0ss\n1,2\n\0\0\0\n")


@hostile("run")
def bytes_of_zero_alone(folder: Path) -> Path:
    return written(folder, "metrics.csv", b"\0" * 100_000)


@hostile("run")
def million_columns(folder: Path) -> Path:
    return written(
        folder, "metrics.csv", b",".join(b"c%d" % n for n in range(1_000_000)) + b"\n" + b"1," * 999_999 + b"1\n"
    )


@hostile("run")
def million_columns_of_json(folder: Path) -> Path:
    row = json.dumps({f"c{n}": n for n in range(1_000_000)}).encode()
    return written(folder, "metrics.jsonl", row + b"\n")


@hostile("run")
def columns_that_grow(folder: Path) -> Path:
    """Every row of JSON has keys of its own."""
    rows = (json.dumps({f"c{row}-{n}": n for n in range(100)}) for row in range(10_000))
    return written(folder, "metrics.jsonl", "\n".join(rows).encode())


@hostile("run")
def deep_json(folder: Path) -> Path:
    return written(folder, "metrics.jsonl", b'{"a":' * 200_000 + b"1" + b"}" * 200_000 + b"\n")


@hostile("run")
def deep_lists(folder: Path) -> Path:
    return written(folder, "metrics.jsonl", b'{"loss":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n")


@hostile("run")
def json_of_below_the_limit(folder: Path) -> Path:
    """As deep as the JSON reader goes, for whoever walks it afterwards."""
    return written(folder, "metrics.jsonl", b'{"a":' * 990 + b"1" + b"}" * 990 + b"\n")


@hostile("run")
def number_of_a_million_digits(folder: Path) -> Path:
    return written(folder, "metrics.jsonl", b'{"step": 1, "loss": ' + b"9" * 1_000_000 + b"}\n")


@hostile("run")
def step_of_a_million_digits(folder: Path) -> Path:
    return written(folder, "metrics.csv", b"step,loss\n" + b"9" * 100_000 + b",1\n")


@hostile("run")
def quote_that_never_ends(folder: Path) -> Path:
    return written(folder, "metrics.csv", b'step,"loss\n' + b"1,2\n" * 200_000)


@hostile("run")
def formulas_alone(folder: Path) -> Path:
    return written(folder, "metrics.csv", b"=cmd|'/c calc'!A0,@SUM(1)\n=1+1,+2\n")


@hostile("run")
def names_of_escape_sequences(folder: Path) -> Path:
    return written(folder, "metrics.csv", "\x1b[2J\x1b]0;evil\x07,[bold red]x[/]\u202e\n1,2\n".encode())


@hostile("run")
def no_text(folder: Path) -> Path:
    return written(folder, "metrics.csv", bytes(range(128, 256)) * 1000)


@hostile("run")
def a_pickle(folder: Path) -> Path:
    from hostile.pickles import a_global
    from hostile.registry import MARKER

    return written(folder, "metrics.csv", a_global(str(folder / MARKER)))


@hostile("run")
def utf16(folder: Path) -> Path:
    return written(folder, "metrics.csv", "step,loss\n1,2\n".encode("utf-16")[:-1])


@hostile("run")
def gigabytes_of_nothing(folder: Path) -> Path:
    """A hole, behind a header."""
    path = folder / "metrics.csv"
    with path.open("wb") as stream:
        stream.write(b"step,loss\n")
        stream.truncate(3 << 30)
    return path


@hostile("run")
def markup(folder: Path) -> Path:
    return written(folder, "metrics.csv", b"<html><script>alert(1)</script></html>\n")
