"""A function of one context and one action, for every pair of many contexts and many actions.

`torch.func.vmap` stands twice around the function: over actions inside, over contexts outside. What depends on the
context alone is then computed once per context, what depends on the action alone once per action, and only what
depends on both is computed per pair. The plain way, expanding everything to B·N rows, repeats the context's work N
times, and that is most of the work.

Shapes: B contexts, N candidates, S tokens, D context width, H steps, A action dimensions.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from energydiag.energies.memory import DEFAULT_BUDGET, bytes_of_one, gathered, parts, run_in_pieces
from energydiag.energies.merged_calls import merged_calls
from energydiag.energies.replay import Replayed

Answers = tuple[Tensor, ...]
RowFunction = Callable[[Tensor, Tensor, Tensor | None], Answers]
"""``(hidden [n, S, D], actions [n, H, A], pad_mask [n, S] or None) -> tensors [n, …]``, no row touching another."""

Method = Literal["vmap", "rows"]

CANDIDATE_BLOCK = 256
"""Candidates of one context that are computed at once; more are done in several passes over the context."""


CPU_PIECE = 1 << 25
"""Bytes of intermediate results of a piece on a CPU, 32 MiB: larger ones leave its caches, smaller ones do no better
(measured)."""


_KEPT_OF_BUDGET = 4
"""What part of the budget, a fourth, may be kept of what comes from weights and shared candidates (a guess)."""


@dataclass(frozen=True)
class Known:
    """What was found out about one module, by kind of work.

    Attributes:
        context_bytes: Bytes that a context takes.
        replayable: Whether the operations of one piece, done again for others, gave the same.
    """

    context_bytes: dict[Hashable, int] = field(default_factory=dict)
    replayable: dict[Hashable, bool] = field(default_factory=dict)


@dataclass(frozen=True)
class PairTable:
    """Answers for all pairs.

    Attributes:
        values: One tensor ``[B, N, …]`` for each of the function's answers.
        method: ``"vmap"``, or ``"rows"`` where the model cannot be batched that way.
        reason: Why it went row by row, else None.
    """

    values: Answers
    method: Method
    reason: str | None = None


@dataclass(frozen=True)
class Pairs:
    """Which contexts meet which candidates.

    Attributes:
        hidden: ``[B, S, D]`` or ``[B, D]``, in any type and on any device.
        actions: ``[N, H, A]`` if ``shared``, else ``[B, N, H, A]`` (the H may be missing in both).
        pad_mask: ``[B, S]``, True where a context token is hidden, or None.
        shared: Whether all contexts meet the same candidates.
    """

    hidden: Tensor
    actions: Tensor
    pad_mask: Tensor | None
    shared: bool

    @property
    def contexts(self) -> int:
        """B."""
        return self.hidden.shape[0]

    @property
    def candidates(self) -> int:
        """N."""
        return self.actions.shape[0 if self.shared else 1]

    def rows(self, part: slice) -> Pairs:
        """The same candidates for some of the contexts."""
        return Pairs(
            self.hidden[part],
            self.actions if self.shared else self.actions[part],
            None if self.pad_mask is None else self.pad_mask[part],
            self.shared,
        )

    def columns(self, part: slice) -> Pairs:
        """Some of the candidates for the same contexts."""
        actions = self.actions[part] if self.shared else self.actions[:, part]
        return Pairs(self.hidden, actions, self.pad_mask, self.shared)

    def to(self, device: torch.device, dtype: torch.dtype) -> Pairs:
        """The same pairs where, and in the type in which, a model wants them."""
        mask = None if self.pad_mask is None else self.pad_mask.to(device)
        return Pairs(self.hidden.to(device, dtype), self.actions.to(device, dtype), mask, self.shared)


def map_pairs(
    function: RowFunction,
    pairs: Pairs,
    *,
    device: torch.device,
    dtype: torch.dtype,
    memory_budget: int | None = DEFAULT_BUDGET,
    method: Method = "vmap",
    known: Known | None = None,
) -> PairTable:
    """Applies ``function`` to every pair; equal to the expanded computation up to rounding.

    Args:
        function: What to compute for rows that do not touch each other.
        pairs: Contexts and candidates.
        device: Where to compute; inputs are moved there piece by piece.
        dtype: Type to compute in; inputs are converted piece by piece.
        memory_budget: Bytes that intermediate results may take at once.
        method: ``"rows"`` to go row by row from the start.
        known: What earlier calls for the same module found out, and where this one adds to it.
    """
    reason = "asked for"
    if method == "vmap":
        try:
            seen = Known() if known is None else known
            return PairTable(_by_vmap(function, pairs, device, dtype, memory_budget, seen), "vmap")
        except torch.OutOfMemoryError:
            raise
        except (RuntimeError, ValueError) as error:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(" .")
    return PairTable(_by_rows(function, pairs, device, dtype, memory_budget), "rows", reason)


def _by_vmap(
    function: RowFunction,
    pairs: Pairs,
    device: torch.device,
    dtype: torch.dtype,
    memory_budget: int | None,
    known: Known,
) -> Answers:
    def one_pair(hidden_SD: Tensor, action_HA: Tensor, mask_S: Tensor | None) -> Answers:
        mask = None if mask_S is None else mask_S[None]
        return tuple(value[0] for value in function(hidden_SD[None], action_HA[None], mask))

    over_actions = torch.func.vmap(one_pair, in_dims=(None, 0, None), randomness="different")
    in_dims = (0, None if pairs.shared else 0, None if pairs.pad_mask is None else 0)
    over_both = torch.func.vmap(over_actions, in_dims=in_dims, randomness="different")
    if pairs.shared:  # in one piece, so that they are the same tensor for every piece of the contexts
        pairs = replace(pairs, actions=pairs.actions.to(device, dtype))

    def run(part: slice, over: Callable[..., Answers] = over_both) -> Answers:
        chunk = pairs.rows(part).to(device, dtype)
        blocks = (chunk.columns(block) for block in parts(pairs.candidates, CANDIDATE_BLOCK))
        return _beside(over(block.hidden, block.actions, block.pad_mask) for block in blocks)

    with warnings.catch_warnings(), merged_calls(), sdpa_kernel(_attention_kernels(device)):
        # vmap announces every operation that it has to loop over: slower, but right
        warnings.filterwarnings("ignore", message="There is a performance drop")
        kind = _kind(function, pairs, dtype)
        size = _contexts_at_once(run, pairs, device, memory_budget, known.context_bytes, kind)
        if size >= pairs.contexts:
            return run(slice(0, pairs.contexts))
        pieces = list(parts(pairs.contexts, size))
        alike = pieces[0].stop
        over_alike: Callable[..., Answers] = over_both
        if not torch.is_grad_enabled():
            varying = (0, 2) if pairs.shared else (0, 1, 2)
            limit = None if memory_budget is None else memory_budget // _KEPT_OF_BUDGET
            over_alike = Replayed(over_both, varying, limit, known.replayable, kind)

        def answers_of(part: slice) -> Answers:
            return run(part, over_alike if part.stop - part.start == alike else over_both)

        return gathered(map(answers_of, pieces), pairs.contexts)


def _contexts_at_once(
    run: Callable[[slice], Answers],
    pairs: Pairs,
    device: torch.device,
    memory_budget: int | None,
    known: dict[Hashable, int],
    kind: Hashable,
) -> int:
    """How many the budget has room for; the same ones for the same kind of work ever after."""
    if memory_budget is None or pairs.contexts == 1:
        return pairs.contexts
    if kind not in known:
        known[kind] = bytes_of_one(run)
    budget = min(memory_budget, CPU_PIECE) if device.type == "cpu" else memory_budget
    return max(1, budget // known[kind])


def _kind(function: RowFunction, pairs: Pairs, dtype: torch.dtype) -> Hashable:
    """What decides how much memory a context takes, for a given model."""
    shapes = pairs.hidden.shape[1:], pairs.actions.shape[0 if pairs.shared else 1 :], pairs.shared
    return getattr(function, "__code__", None), shapes, pairs.pad_mask is not None, torch.is_grad_enabled(), dtype


def _attention_kernels(device: torch.device) -> list[SDPBackend]:
    """The attention kernels that a model may use inside the two maps: the plain one alone has a second derivative."""
    if device.type == "cpu" and not torch.is_grad_enabled():
        return [SDPBackend.FLASH_ATTENTION, SDPBackend.MATH]
    return [SDPBackend.MATH]


def _by_rows(
    function: RowFunction, pairs: Pairs, device: torch.device, dtype: torch.dtype, memory_budget: int | None
) -> Answers:
    def of_context(index: int) -> Answers:
        chunk = pairs.rows(slice(index, index + 1)).to(device, dtype)

        def run(part: slice) -> Answers:
            block = chunk.columns(part)
            count = block.candidates
            actions = block.actions if block.shared else block.actions[0]
            mask = None if block.pad_mask is None else block.pad_mask.expand(count, -1)
            return function(block.hidden.expand(count, *block.hidden.shape[1:]), actions, mask)

        # contexts are repeated here: even where the contexts are few, all candidates at once may be too many
        budget = DEFAULT_BUDGET if memory_budget is None else memory_budget
        found = gathered(run_in_pieces(run, pairs.candidates, budget), pairs.candidates)
        return tuple(value[None] for value in found)

    return gathered((of_context(index) for index in range(pairs.contexts)), pairs.contexts)


def _beside(parts: Iterable[Answers]) -> Answers:
    """Answers for some of the candidates each, as one for all."""
    columns = list(zip(*parts, strict=True))
    return tuple(column[0] if len(column) == 1 else torch.cat(column, dim=1) for column in columns)
