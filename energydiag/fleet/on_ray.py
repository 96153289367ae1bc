"""Jobs as Ray tasks, on a cluster.

One task a job. Ray runs a task again on another node when its worker or node dies, also where the node takes the answer
along that nobody had fetched yet. Answers come to this process, which alone keeps them.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import socket
import tempfile
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Any

from energydiag.current_folder import inside
from energydiag.errors import UsageError, first_line
from energydiag.fleet.executor import Done

_RETRIES = 3
"""How often Ray begins a task again whose worker died; one more than at home, for a cluster loses nodes for good."""

_PATIENCE = 30.0
"""Seconds for a cluster's address to be reached (a guess); Ray itself asks for 14 minutes where nothing is."""


class OnRay:
    """A Ray cluster.

    Args:
        address: As `ray.init` takes it: ``auto``, ``HOST:PORT`` or ``ray://HOST:PORT``.
        gpus: GPUs that a task needs.

    Raises:
        UsageError: Ray is not installed.
    """

    def __init__(self, address: str, gpus: float = 0) -> None:
        self._ray = _ray()
        self._address = address
        self._gpus = gpus

    def run(self, work: Callable[[Any], str], tasks: Sequence[Any]) -> Generator[Done, None, None]:
        """As `Executor.run`.

        Raises:
            UsageError: There is no cluster at the address.
        """
        ray = self._ray
        with self._connected():
            begin = ray.remote(_at_home).options(
                num_cpus=1, num_gpus=self._gpus, max_retries=_RETRIES, retry_exceptions=False, name=work.__name__
            )
            open_ = {begin.remote(os.getcwd(), work, task): index for index, task in enumerate(tasks)}  # noqa: PTH109
            try:
                while open_:
                    ready, _ = ray.wait(list(open_), num_returns=1)
                    for reference in ready:
                        done = self._fetch(reference, open_[reference])
                        del open_[reference]
                        yield done
            finally:
                for reference in open_:
                    with contextlib.suppress(Exception):  # the cluster may be what failed
                        ray.cancel(reference, force=True)

    def _fetch(self, reference: Any, index: int) -> Done:
        try:
            return Done(index, self._ray.get(reference))
        except self._ray.exceptions.RayError as error:
            what = type(error).__name__
            return Done(
                index, None, f"Ray gave it up after {_RETRIES} retries: {what}: {first_line(error)}".rstrip(".")
            )

    @contextlib.contextmanager
    def _connected(self) -> Iterator[None]:
        """A connection for the block; one that the caller has already stays open behind it."""
        ray = self._ray
        if ray.is_initialized():
            yield
            return
        try:
            _reach(self._address)
            with tempfile.TemporaryDirectory() as empty, inside(Path(empty)):
                # Ray puts the folder in which it begins on its workers' module path
                ray.init(address=self._address, log_to_driver=False, logging_level="ERROR")
        except (OSError, ValueError, OverflowError, RuntimeError, AssertionError) as error:
            raise UsageError(
                f"No Ray cluster answers at {self._address}: {first_line(error)}",
                "start one with `ray start --head`, or give its address: --ray HOST:PORT.",
            ) from error
        try:
            yield
        finally:
            ray.shutdown()


def _reach(address: str) -> None:
    """Raises an OSError where nothing listens at ``HOST:PORT``; any other kind of address is Ray's to look up."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()


def _at_home(folder: str, work: Callable[[Any], str], task: Any) -> str:
    """In a Ray worker: relative paths mean what they mean to the caller."""
    with contextlib.suppress(OSError):  # a node that lacks the folder will say which file it misses
        os.chdir(folder)
    return work(task)


def _ray() -> Any:
    """Ray, which most users never need.

    Raises:
        UsageError: It is not installed.
    """
    try:
        return importlib.import_module("ray")
    except ImportError as error:
        raise UsageError(
            f"--ray needs Ray, which cannot be imported here: {first_line(error)}.",
            "pip install 'energydiag[ray]', on every node of the cluster.",
        ) from error
