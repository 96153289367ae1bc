"""Jobs in worker processes on this machine.

Not ``concurrent.futures``: there, one worker that dies breaks the pool, and nothing tells which job it had. Not
``multiprocessing`` either: its processes begin with the current folder on their module path, so that a `struct.py` in a
stranger's folder runs before any line of ours. Workers are Python in isolated mode (``-I``), told what to import.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from energydiag.fleet.executor import TRIES, Done

_POOLS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
"""What libraries read when they are loaded, to decide how many threads they start."""


_LAST_SECONDS = 10.0
"""How long a worker that no longer answers may take to end by itself."""


def cores() -> int:
    """The CPU cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


@dataclass
class _Worker:
    """A process, our end of the pipe to it, and the job it has."""

    process: subprocess.Popen[bytes]
    pipe: Connection
    index: int


class Processes:
    """Worker processes that are started afresh and share the cores among them.

    Args:
        count: How many at most.
        threads: Threads that each may use; None: its share of the cores, and never more than the environment says.
    """

    def __init__(self, count: int, threads: int | None = None) -> None:
        self._count = max(1, count)
        self._threads = threads

    def run(self, work: Callable[[Any], str], tasks: Sequence[Any]) -> Generator[Done, None, None]:
        """As `Executor.run`; a job whose worker dies is begun once more, in a new worker."""
        waiting = deque(range(len(tasks)))
        begun = [0] * len(tasks)
        busy: dict[Connection, _Worker] = {}
        threads = self._threads or max(1, cores() // max(1, min(self._count, len(tasks))))
        try:
            while waiting or busy:
                while waiting and len(busy) < self._count:
                    worker = _start(work, threads)
                    busy[worker.pipe] = worker
                    _give(worker, waiting.popleft(), tasks, begun)
                for pipe in wait(list(busy)):
                    worker = busy[pipe]  # type: ignore[index]
                    done = _hear(worker)
                    if done is None:
                        del busy[worker.pipe]
                        with contextlib.suppress(subprocess.TimeoutExpired):
                            worker.process.wait(_LAST_SECONDS)  # it has died already: how, is known a moment later
                        _end(worker)
                        if begun[worker.index] < TRIES:
                            waiting.append(worker.index)
                        else:
                            yield Done(worker.index, None, _death(worker.process, begun[worker.index]))
                        continue
                    yield done  # before the next job, so that no answer waits to be kept
                    if waiting:
                        _give(worker, waiting.popleft(), tasks, begun)
                    else:
                        del busy[worker.pipe]
                        _end(worker)
        finally:
            for worker in busy.values():
                _end(worker)


_BEGIN = "import json, sys; told = json.loads(sys.argv[1]); sys.path[:] = told.pop('path'); "
_BEGIN += "from energydiag.fleet.processes import serve; serve(**told)"


def _start(work: Callable[[Any], str], threads: int) -> _Worker:
    ours, theirs = socket.socketpair()
    told = {
        "path": module_path(),
        "pipe": theirs.fileno(),
        "module": work.__module__,
        "function": work.__qualname__,
        "threads": threads,
    }
    with theirs, _no_interrupt():  # once we have closed theirs, the pipe ends when the worker does
        process = subprocess.Popen(
            [sys.executable, "-I", "-c", _BEGIN, json.dumps(told)],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
    return _Worker(process, Connection(ours.detach()), -1)


def module_path() -> list[str]:
    """Where a process of ours looks for modules: as this one does, but in the current folder last, if at all.

    A notebook has it first, for the user's own modules; those of Python and of dependencies must not come from there.
    """
    try:
        here = str(Path.cwd())
    except OSError:  # the folder was removed
        here = ""
    current = [entry for entry in sys.path if not Path(entry).is_absolute() or entry == here]
    return [entry for entry in sys.path if entry not in current] + ([here] if current and here else [])


@contextlib.contextmanager
def _no_interrupt() -> Iterator[None]:
    """Ctrl-C goes to all processes of a terminal; what is started in the block leaves it to this one.

    The signal is blocked and not ignored: one that comes meanwhile reaches this process afterwards.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _give(worker: _Worker, index: int, tasks: Sequence[Any], begun: list[int]) -> None:
    worker.index = index
    begun[index] += 1
    with contextlib.suppress(OSError):  # it has died: reading from it says so
        worker.pipe.send((index, tasks[index]))


def _hear(worker: _Worker) -> Done | None:
    """Its answer, or None where it died."""
    try:
        index, answer = worker.pipe.recv()
    except (EOFError, OSError):
        return None
    return Done(index, answer)


def _end(worker: _Worker) -> None:
    """Without a word: it only computes, and files are written in this process."""
    worker.pipe.close()
    worker.process.kill()
    worker.process.wait()


def _death(process: subprocess.Popen[bytes], tries: int) -> str:
    code = process.returncode
    if code is not None and code < 0:
        name = signal.Signals(-code).name if -code in {s.value for s in signal.Signals} else f"signal {-code}"
        out_of_memory = ", as the system does when memory runs out" if name == "SIGKILL" else ""
        how = f"was ended by {name}{out_of_memory}"
    else:
        how = f"ended with exit code {code}"
    return f"the worker process {how}, {tries} times"


def serve(pipe: int, module: str, function: str, threads: int) -> None:
    """In a worker: computes until there is nothing more.

    Args:
        pipe: Descriptor of the end of the pipe that jobs come from and results go to.
        module: Where the function is.
        function: What is called with each job.
        threads: How many it may use.
    """
    connection = Connection(pipe)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in _POOLS:
        told = os.environ.get(name, "")
        os.environ[name] = str(min(threads, int(told)) if told.isdecimal() and int(told) else threads)
    # by name, and only now: what the function needs (torch) is loaded after the threads are limited
    work = getattr(__import__(module, fromlist=[function]), function)
    while True:
        try:
            index, task = connection.recv()
            connection.send((index, work(task)))
        except (EOFError, OSError):  # there is nothing more, or nobody is left to hear
            return
