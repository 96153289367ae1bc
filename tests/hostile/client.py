"""Asks the server that forks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TESTS = Path(__file__).resolve().parent.parent


@dataclass(frozen=True)
class Outcome:
    """What became of a process.

    Attributes:
        code: Its exit code; a signal's number below zero.
        out: Its stdout.
        err: Its stderr.
        peak_mib: The most memory that it had, that of its imports included.
        cpu_seconds: What it computed.
        seconds: How long it took.
    """

    code: int
    out: str
    err: str
    peak_mib: int
    cpu_seconds: float
    seconds: float


class Server:
    """The process that forks, as long as the ``with`` block lasts."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "hostile.server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=TESTS,
            env={**os.environ, "PYTHONPATH": f"{TESTS.parent}{os.pathsep}{TESTS}", "OMP_NUM_THREADS": "1"},
        )
        self.baseline_mib: int = self._line()["peak_mib"]

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the server has ended"
        answer: dict[str, Any] = json.loads(line)
        return answer

    def run(self, folder: Path, *argv: object, unpickle: bool = False) -> Outcome:
        """The program in a process of its own, in an empty working folder beside ``folder``."""
        place = folder.with_name(folder.name + "-run")
        work = place / "cwd"
        work.mkdir(parents=True, exist_ok=True)
        request = {
            "argv": [str(one) for one in argv],
            "cwd": str(work),
            "out": str(place / "out"),
            "err": str(place / "err"),
            "unpickle": unpickle,
        }
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._line()
        texts = [(place / name).read_text(encoding="utf-8", errors="replace") for name in ("out", "err")]
        return Outcome(answer["code"], *texts, answer["peak_mib"], answer["cpu_seconds"], answer["seconds"])

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()
