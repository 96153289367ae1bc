"""One process that has imported everything and forks for every file: a real process each, without its start.

Reads a JSON object a line (``{"argv": […], "cwd": "…", "out": "…", "err": "…"}``), answers with one line each. The
child's address space is bounded, so that a payload that works does not take the machine with it, and an alarm ends it.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import resource
import signal
import sys
import time
from typing import Any

SECONDS = 10
"""Of computing, after which a child is ended."""

_WALL_SECONDS = 60
"""After which an alarm ends a child that waits: more than any busy machine needs for what may be computed."""

_ROOM = 6 << 30
"""Address space that a child may add, bytes: far above what is allowed: the limit hides no use."""


def _import_everything() -> None:
    import importlib
    import pkgutil

    import matplotlib.pyplot  # noqa: F401
    import rich.table  # noqa: F401
    import torch

    import energydiag

    torch.set_num_threads(1)
    for module in pkgutil.walk_packages(energydiag.__path__, "energydiag."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)


def _program(argv: list[str]) -> int:
    """The command line's exit code; a traceback is printed, as the interpreter does."""
    from energydiag.cli import main

    sys.argv = ["energydiag", *argv]
    try:
        main()
    except SystemExit as stopped:
        code = stopped.code
        return code if isinstance(code, int) else int(code is not None)
    except BaseException:
        import traceback

        traceback.print_exc()
        return 70
    return 0


def _unpickle(argv: list[str]) -> int:
    """What a reader without care would do: shows that a payload is alive."""
    import pickle
    from pathlib import Path

    pickle.loads(Path(argv[0]).read_bytes())
    return 0


def _address_space() -> int:
    """Of this process, bytes; what the libraries reserve without using it."""
    with open("/proc/self/statm") as stream:  # noqa: PTH123
        return int(stream.read().split()[0]) * resource.getpagesize()


def _child(request: dict[str, Any]) -> int:
    os.setsid()  # what a payload starts can be told from the server
    room = _ROOM + _address_space()
    resource.setrlimit(resource.RLIMIT_AS, (room, room))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.alarm(_WALL_SECONDS)
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    for stream, name in ((1, "out"), (2, "err")):
        target = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(target, stream)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.chdir(request["cwd"])
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 (the parent's are pipes)
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False)  # noqa: SIM115
    code = (_unpickle if request.get("unpickle") else _program)(request["argv"])
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    start = time.monotonic()
    child = os.fork()
    if child == 0:
        code = 71
        try:
            code = _child(request)
        finally:
            os._exit(code)
    _, status, usage = os.wait4(child, 0)
    signalled = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
    return {
        "code": os.WEXITSTATUS(status) if os.WIFEXITED(status) else -signalled,
        "peak_mib": usage.ru_maxrss >> 10,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "seconds": time.monotonic() - start,
    }


def main() -> None:
    """Serves until its input ends."""
    _import_everything()
    with open(os.devnull, "w") as nothing, contextlib.redirect_stderr(nothing):  # noqa: PTH123
        _program(["report", os.devnull])  # what is done once only
    gc.collect()
    gc.freeze()  # a collection in a child would copy every page
    print(json.dumps({"peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10}), flush=True)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
