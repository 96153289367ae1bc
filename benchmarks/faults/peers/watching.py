"""The benchmark's own loop with peers attached to it.

The loop (`benchmarks.faults.loop`) is not edited. While a run is trained, three names that it looks up are others: the
optimiser's class, which tells that training begins; `contrast`, whose loss tells when backward is called; `energies`,
which calls the module on plain rows.

Plain rows, since hooks read numbers out of tensors and ``torch.func.vmap``, which the loop uses otherwise, has none to
read: energydiag would notice and fall back to rows at every single call. Sums are then rounded in another order, and
dropout draws other numbers, so that weights end near those of the stored run but not at them.

Shapes: B contexts, N candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, replace
from typing import Any
from unittest import mock

import torch
from torch import Tensor, nn

from energydiag.batch import Batch

from .. import loop
from ..loop import Row
from ..recipe import Recipe


@dataclass(frozen=True)
class Found:
    """What a peer says, all its findings of one kind together.

    Attributes:
        kind: A key of the peer's table in `mapping`.
        severity: In the peer's own words.
        count: How many findings of this kind it gave.
        step: The first step that it speaks of; None where it speaks of none.
        told: The first finding in the peer's words.
    """

    kind: str
    severity: str
    count: int
    step: int | None
    told: str

    def to_dict(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class Calls:
    """How the loop's three calls are made. A peer that has wrappers for them puts those in their place."""

    forward: Callable[..., Tensor]
    backward: Callable[[Tensor], None]
    step: Callable[[], None]


class Watcher:
    """A peer in a training loop; does nothing where it is not told otherwise."""

    def attach(self, module: nn.Module, optimiser: torch.optim.Optimizer) -> None:
        """Before the first step; weights are as they begin."""

    def calls(self, plain: Calls) -> Calls:
        """What stands in the place of the loop's calls."""
        return plain

    def after_backward(self, loss: Tensor) -> None:
        """Gradients are there, and not clipped."""

    def after_step(self, loss: Tensor) -> None:
        """The optimiser has made its step."""

    def detach(self) -> None:
        """After the last step, also where training failed."""

    def findings(self, rows: Sequence[Row], module: nn.Module, dump: Batch) -> list[Found]:
        """What the peer says in the end, first what it calls first.

        Args:
            rows: The run's log.
            module: As the run left it, in eval mode, without hooks.
            dump: What the run is inspected on.
        """
        raise NotImplementedError


def train_watched(
    recipe: Recipe, module: nn.Module, training: Batch, validation: Batch, watchers: Sequence[Watcher]
) -> list[Row]:
    """`loop.train` on plain rows with watchers attached; the rows of its log."""
    with _attached(module, watchers):
        return loop.train(recipe, module, training, validation)


def plain_rows(call: Callable[..., Tensor], hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Tensor:
    """Energies ``[B, N]`` by one ordinary call on B·N rows."""
    count = actions.shape[1] if actions.dim() == 4 else len(actions)
    every = actions.flatten(0, 1) if actions.dim() == 4 else actions.repeat(len(hidden), 1, 1)
    wide = hidden.repeat_interleave(count, dim=0)
    return call(wide, every, None if mask is None else mask.repeat_interleave(count, dim=0)).reshape(-1, count)


@contextmanager
def _attached(module: nn.Module, watchers: Sequence[Watcher]) -> Iterator[None]:
    session = _Session(module, watchers)
    contrast = loop.contrast

    def watched_contrast(recipe: Recipe, model: nn.Module, part: Batch, draws: torch.Generator) -> dict[str, Any]:
        parts = contrast(recipe, model, part, draws)
        return {**parts, "loss": _Loss(parts["loss"], session)}

    def watched_energies(model: nn.Module, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Tensor:
        # the loop validates in eval mode; no peer asks to see that
        call = session.forward if model is module and model.training else model
        return plain_rows(call, hidden, actions, mask)

    with ExitStack() as stack:
        stack.callback(session.detach)
        stack.enter_context(mock.patch.object(loop, "contrast", watched_contrast))
        stack.enter_context(mock.patch.object(loop, "energies", watched_energies))
        for name in ("AdamW", "SGD"):
            kind = getattr(torch.optim, name)
            stack.enter_context(mock.patch.object(torch.optim, name, session.maker(kind)))
        yield


class _Session:
    """One training: who watches it, and how its calls are made."""

    def __init__(self, module: nn.Module, watchers: Sequence[Watcher]) -> None:
        self.module, self.watchers = module, watchers
        self.made = Calls(module, _backward, _no_optimiser)
        self.last = torch.zeros(())

    def maker(self, kind: type[torch.optim.Optimizer]) -> Callable[..., _Optimiser]:
        """What the loop calls in the place of an optimiser's class."""

        def make(parameters: list[nn.Parameter], **settings: Any) -> _Optimiser:
            optimiser = kind(parameters, **settings)
            self.made = replace(self.made, step=optimiser.step)
            for watcher in self.watchers:
                watcher.attach(self.module, optimiser)
                self.made = watcher.calls(self.made)
            return _Optimiser(optimiser, self)

        return make

    def forward(self, *inputs: Tensor | None) -> Tensor:
        return self.made.forward(*inputs)

    def backward(self, loss: Tensor) -> None:
        self.made.backward(loss)
        self.last = loss.detach()
        for watcher in self.watchers:
            watcher.after_backward(self.last)

    def step(self) -> None:
        self.made.step()
        for watcher in self.watchers:
            watcher.after_step(self.last)

    def detach(self) -> None:
        for watcher in reversed(self.watchers):
            watcher.detach()


class _Loss:
    """The loss as the loop uses it: it calls `backward`, and reads the number."""

    def __init__(self, loss: Tensor, session: _Session) -> None:
        self.loss, self.session = loss, session

    def backward(self) -> None:
        self.session.backward(self.loss)

    def detach(self) -> Tensor:
        return self.loss.detach()


class _Optimiser:
    """The optimiser as the loop uses it: it sets the rate, and calls `step`."""

    def __init__(self, inner: torch.optim.Optimizer, session: _Session) -> None:
        self.param_groups, self.session = inner.param_groups, session

    def step(self) -> None:
        self.session.step()


def _backward(loss: Tensor) -> None:
    loss.backward()


def _no_optimiser() -> None:
    raise RuntimeError("a step was asked for before there was an optimiser")
