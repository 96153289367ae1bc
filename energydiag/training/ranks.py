"""Several processes that train one energy function together, as torchrun starts them.

Every step's samples are the same for all processes, and each reads the contexts of its own share of them alone. Their
actions are small, and all processes read all of them from the dump, which they share. So a process computes its rows of
the swap table against all columns: the in-batch negatives are those of the whole batch, as if inputs had been gathered,
and nothing has to be gathered. What goes over the network is one buffer of gradients a step, and a few averages.

The process with rank 0 is called the first one here. It alone measures, writes and speaks.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module

import torch
from torch import Tensor, distributed

from energydiag.errors import EnergydiagError, UsageError

PATIENCE = timedelta(days=1)
"""How long a process waits for another: as long as the first one may measure. torchrun ends all of them where one
fails."""

_TOLD_BY_TORCHRUN = ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")


class Dismissed(UsageError):
    """Raised in the other processes for an error that the first one tells of."""


@dataclass(frozen=True)
class Ranks:
    """This process among those that train together; alone, every method answers with what it was given.

    All methods but `rows` wait for the other processes, which have to call them in the same order.

    Attributes:
        rank: From 0.
        size: How many there are.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Ranks:
        """What torch.distributed was initialised with; one process where it was not."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process measures, writes and speaks."""
        return self.rank == 0

    def rows(self, samples: int) -> slice:
        """This process's share of a step's samples; all shares are equal, the rest of a division belongs to none."""
        share = samples // self.size
        return slice(self.rank * share, (self.rank + 1) * share)

    def mean(self, value: Tensor) -> Tensor:
        """The mean over all processes, without gradient, the same in each."""
        if self.size == 1:
            return value
        wide = value.detach().to(torch.promote_types(value.dtype, torch.float32), copy=True).contiguous()
        distributed.all_reduce(wide)
        wide /= self.size
        return wide.to(value.dtype) if value.dtype.is_floating_point else wide

    def average_gradients(self, parameters: Iterable[Tensor]) -> None:
        """Gives every parameter the mean of its gradients, in place; one that has none anywhere keeps none."""
        learning = [parameter for parameter in parameters if parameter.requires_grad]
        if self.size == 1 or not learning:
            return
        like = learning[0].new_empty(0).to(torch.promote_types(learning[0].dtype, torch.float32))
        found = torch.tensor([float(p.grad is not None) for p in learning]).to(like)
        pieces = [torch.zeros_like(p) if p.grad is None else p.grad for p in learning]
        flat = self.mean(torch.cat([found, *(piece.detach().reshape(-1).to(like) for piece in pieces)]))
        found, *means = torch.split(flat, [len(learning), *(p.numel() for p in learning)])
        for parameter, somewhere, mean in zip(learning, found.tolist(), means, strict=True):
            if somewhere:
                parameter.grad = mean.reshape(parameter.shape).to(parameter)

    def copy_from_first(self, tensors: Iterable[Tensor]) -> None:
        """Overwrites tensors with the first process's."""
        for tensor in tensors if self.size > 1 else ():
            firsts = tensor.detach().contiguous()
            distributed.broadcast(firsts, 0)
            with torch.no_grad():
                tensor.copy_(firsts)

    def text_of_first(self, text: str) -> str:
        """The first process's text."""
        return self._text_of(0, text)

    def _text_of(self, rank: int, text: str) -> str:
        if self.size == 1:
            return text
        content = torch.tensor(list(text.encode()), dtype=torch.uint8)
        length = torch.tensor([len(content)])
        distributed.broadcast(length, rank)
        if self.rank != rank:
            content = torch.empty(int(length), dtype=torch.uint8)
        if len(content):
            distributed.broadcast(content, rank)
        return bytes(content.tolist()).decode()

    @contextmanager
    def agreement(self) -> Iterator[None]:
        """All processes get through the block, or none does: what one of them raises, all raise.

        The block must not wait for other processes.

        Raises:
            EnergydiagError: In the first process, the error of the first process that had one.
            Dismissed: The same error in the others.
        """
        error: EnergydiagError | None = None
        try:
            yield
        except EnergydiagError as raised:
            if self.size == 1:
                raise
            error = raised
        if self.size == 1:
            return
        failed = torch.tensor([self.size if error is None else self.rank])
        distributed.all_reduce(failed, distributed.ReduceOp.MIN)
        if int(failed) == self.size:
            return
        told = "" if error is None else json.dumps([error.message, error.next_step])
        message, next_step = json.loads(self._text_of(int(failed), told))
        if not self.is_first:
            raise Dismissed(message, next_step)
        if int(failed) == 0 and error is not None:
            raise error
        raise UsageError(f"Process {int(failed)} of {self.size}: {message}", next_step)

    def check_same(self, facts: Mapping[str, str]) -> None:
        """Compares what has to be the same in all processes.

        Args:
            facts: Each by what it is called.

        Raises:
            UsageError: Something differs; `Dismissed` in all processes but the first.
        """
        if self.size == 1:
            return
        firsts = json.loads(self.text_of_first(json.dumps(dict(facts))))
        differing = sorted(name for name in {*facts, *firsts} if facts.get(name) != firsts.get(name))
        with self.agreement():
            if differing:
                raise UsageError(
                    f"it has other values than the first process: {', '.join(differing)}.",
                    "give all processes the same files, and one folder that they share.",
                )


@contextmanager
def launched(device: str) -> Iterator[str]:
    """Joins the processes that torchrun has started, for a while; without torchrun, nothing happens.

    Args:
        device: Where to compute, as the user has it.

    Yields:
        The device of this process: with ``"cuda"``, each has one of its own.

    Raises:
        UsageError: The environment says that there are several processes, but not all that is needed to join them, or
            the device cannot be shared out.
    """
    size = os.environ.get("WORLD_SIZE", "1")
    if size == "1" or not distributed.is_available() or distributed.is_initialized():
        yield device
        return
    missing = [name for name in _TOLD_BY_TORCHRUN if not os.environ.get(name)]
    numbers = [size, *(os.environ.get(name, "") for name in ("RANK", "LOCAL_RANK"))]
    if missing or not all(number.isdecimal() for number in numbers):
        what = f"{' and '.join(missing)} missing" if missing else "WORLD_SIZE, RANK and LOCAL_RANK no numbers"
        raise UsageError(
            f"WORLD_SIZE={size} says that several processes train together, but the environment has {what}.",
            "start them with torchrun, or unset WORLD_SIZE.",
        )
    device, backend = _own_device(device, int(os.environ["LOCAL_RANK"]))
    # its functions take the group there is when it is imported as a default: imported later, by what trains, it would
    # keep the group and its threads beyond the interpreter's end, where a thread that still has a tensor aborts
    import_module("torch.distributed.nn.functional")
    distributed.init_process_group(backend, timeout=PATIENCE)
    try:
        yield device
    except BaseException as error:
        # NCCL may wait for the others here; they come where the error is one that all were told of
        if backend == "gloo" or isinstance(error, EnergydiagError):
            distributed.destroy_process_group()
        raise
    distributed.destroy_process_group()


def _own_device(device: str, local_rank: int) -> tuple[str, str]:
    """The device of one process on its machine, and what tensors travel by."""
    if not device.startswith("cuda"):
        return device, "gloo"
    if device != "cuda":
        raise UsageError(
            f"--device {device} is one device for all processes.", "use --device cuda: each takes its own."
        )
    if local_rank >= torch.cuda.device_count():
        raise UsageError(
            f"Process {local_rank} on this machine finds {torch.cuda.device_count()} CUDA devices.",
            "start as many processes as there are devices, or use --device cpu.",
        )
    torch.cuda.set_device(local_rank)
    return f"cuda:{local_rank}", "cpu:gloo,cuda:nccl"
