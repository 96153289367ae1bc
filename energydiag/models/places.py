"""Where in a checkpoint's keys a model is: behind which prefix, and with which names of wrappers in the middle.

``torch.compile``, data parallelism, FSDP and activation checkpointing wrap a module, or a part of it, in another one
whose name then stands in every key: ``module.``, ``_orig_mod.``, ``_fsdp_wrapped_module.``,
``_checkpoint_wrapped_module.``. Keys are tried as they are first: a user's own module may really be called `module`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from energydiag.errors import InvalidCheckpoint

_BY_TORCH = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_BY_ANYBODY = frozenset({"module", "model"})
LEVELS = (frozenset[str](), _BY_TORCH, _BY_TORCH | _BY_ANYBODY)
"""Names that are taken out of keys, tried in this order."""

_MOST_CHARACTERS = 64 << 20
"""Of the keys behind all prefixes that a model may stand behind (heuristic: dozens of times those of a large model);
prefixes inside of each other have the same keys again and again."""


@dataclass(frozen=True)
class Place:
    """A model's tensors among others.

    Attributes:
        prefix: What stands before its keys, as in the file.
        keys: The file's key of each of the model's, of all that stands behind the prefix.
        wrappers: Names that were taken out of the middle of keys.
        fits: Whether it has what the model needs, and nothing else.
        clash: Two keys that mean the same without those names, if there are any.
    """

    prefix: str
    keys: Mapping[str, str]
    wrappers: tuple[str, ...] = ()
    fits: bool = True
    clash: tuple[str, str] | None = None


class _Keys:
    """The keys of a file, of which those behind a prefix are found without going through the others."""

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self._position = {key: position for position, key in enumerate(tensors)}
        self._sorted = sorted(tensors)
        self._left = _MOST_CHARACTERS
        self.wrappers = frozenset(name for name in LEVELS[-1] if any(f".{name}." in f".{key}." for key in tensors))

    def __contains__(self, key: str) -> bool:
        return key in self._position

    def behind(self, prefix: str) -> Sequence[str]:
        """Those that begin like this, in the file's order; the prefix ends with a dot, or is empty.

        Raises:
            InvalidCheckpoint: So many were asked for that no training wrote such a file.
        """
        end = bisect_left(self._sorted, f"{prefix[:-1]}/") if prefix else len(self._sorted)  # "/" comes after "."
        found = self._sorted[bisect_left(self._sorted, prefix) : end]
        self._left -= sum(map(len, found))
        if self._left < 0:
            raise InvalidCheckpoint(
                "The model may stand behind very many prefixes inside of each other; it was not looked for in all of "
                "them.",
                "save the state dict of the one model that is meant.",
            )
        return sorted(found, key=self._position.__getitem__)


def places_of_anchor(
    tensors: Mapping[str, Tensor], anchor: str, matches: Callable[[frozenset[str]], bool]
) -> list[Place]:
    """Where a built-in architecture is, the shortest prefix first.

    Args:
        tensors: By the file's keys.
        anchor: A key at the root of the model; no part of its keys is called as a wrapper is.
        matches: Whether keys are the architecture's.
    """
    names, keys = LEVELS[-1], _Keys(tensors)
    found = [_place(keys, prefix, names) for prefix in _prefixes(tensors, frozenset({anchor}), names)]
    return [place for place in sorted(found, key=_shortest) if matches(frozenset(place.keys))]


def places_of_module(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[Place]:
    """Where a module is, the shortest prefix first; if it is nowhere, the one place where most of it is.

    Args:
        tensors: By the file's keys.
        own: The module's own state dict.
    """
    keys = _Keys(tensors)
    found = _places(keys, tensors, own)
    if found[0].fits or set(own) <= set(found[0].keys):  # all of it is there, and something beside
        return found
    return next((inside for wrapper in _children(own) if (inside := _in_wrapper(keys, tensors, own, wrapper))), found)


def _children(keys: Iterable[str]) -> list[str]:
    """First steps of keys, with their dots: the attributes that hold a module's parts."""
    return list(dict.fromkeys(key.partition(".")[0] + "." for key in keys if "." in key))


def _in_wrapper(keys: _Keys, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], wrapper: str) -> list[Place]:
    """Where the part of a module under one attribute is, which a user has wrapped around the one that was saved.

    Numbers alone name too many things to be looked for behind a prefix.
    """
    part = {key.removeprefix(wrapper): value for key, value in own.items() if key.startswith(wrapper)}
    is_whole = len(part) == len(own)
    found = [
        replace(one, keys={wrapper + name: key for name, key in one.keys.items()}, fits=is_whole)
        for one in _places(keys, tensors, part)
        if one.fits and not (one.prefix and any(name[0].isdigit() for name in part))
    ]
    return found if all(_is_alone(keys, one) for one in found) else []


def _is_alone(keys: _Keys, place: Place) -> bool:
    """Whether nothing but the model is under the first step of its prefix."""
    first, dot, _ = place.prefix.partition(".")
    return first not in keys and set(place.keys.values()).issuperset(keys.behind(first + dot))


def _places(keys: _Keys, tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[Place]:
    best, most = Place("", {key: key for key in tensors}, fits=False), 0
    tried: set[tuple[frozenset[str], frozenset[str]]] = set()
    for names in LEVELS:
        wanted = {without(key, names): key for key in own}
        as_before = (names & keys.wrappers, frozenset(wanted))
        if len(wanted) < len(own) or as_before in tried:
            continue
        tried.add(as_before)
        counted = _prefixes(tensors, frozenset(wanted), names)
        # of the model's own keys, those that begin with a wrapper's name are counted behind a longer prefix
        whole = sum(key.partition(".")[0] not in names for key in own)
        found = []
        for prefix in sorted(counted, key=lambda text: (len(text), text)):
            if counted[prefix] < most or counted[prefix] == most < whole:
                continue
            place = _renamed(_place(keys, prefix, names), wanted)
            if place.clash is None and _fit(tensors, place, own):
                found.append(place)
            elif counted[prefix] > most:
                most, best = counted[prefix], Place(place.prefix, place.keys, place.wrappers, False, place.clash)
        if found:
            return found
    return [best]


def _fit(tensors: Mapping[str, Tensor], place: Place, own: Mapping[str, Tensor]) -> bool:
    return set(place.keys) == set(own) and all(
        tensors[key].shape == own[name].shape for name, key in place.keys.items()
    )


def without(key: str, names: Iterable[str]) -> str:
    """A key without those of its steps that are names of wrappers."""
    taken = frozenset(names)
    return ".".join(step for step in key.split(".") if step not in taken) if taken else key


def _prefixes(tensors: Mapping[str, Tensor], wanted: frozenset[str], names: frozenset[str]) -> Counter[str]:
    """What stands before wanted keys, and before how many of them."""
    found: Counter[str] = Counter()
    deepest = max((key.count(".") + 1 for key in wanted), default=0)
    for key in tensors:
        found.update(key[:start] for start, rest in _ends(key, names, deepest) if rest in wanted)
    return found


def _ends(key: str, names: frozenset[str], most: int) -> Iterator[tuple[int, str]]:
    """Where each of a key's last steps begins, and what stands from there on without those of wrappers.

    A wrapper of the whole model belongs to the prefix, so no such end begins with one.
    """
    steps, end = list[str](), len(key)
    while len(steps) < most and end >= 0:
        start = key.rfind(".", 0, end) + 1
        if key[start:end] not in names:
            steps.insert(0, key[start:end])
            yield start, ".".join(steps)
        end = start - 1


def _place(keys: _Keys, prefix: str, names: frozenset[str]) -> Place:
    found: dict[str, str] = {}
    clash = None
    taken: set[str] = set()
    for key in keys.behind(prefix):
        rest = key[len(prefix) :]
        wrappers = names.intersection(rest.split("."))
        name = without(rest, wrappers)
        if name in found:
            clash = clash or (found[name], key)
        found[name] = key
        taken |= wrappers
    return Place(prefix, found, tuple(sorted(taken)), clash is None, clash)


def _renamed(place: Place, wanted: Mapping[str, str]) -> Place:
    """With the module's own names, where they hold names of wrappers themselves."""
    keys = {wanted.get(name, name): key for name, key in place.keys.items()}
    return Place(place.prefix, keys, place.wrappers, place.fits, place.clash)


def _shortest(place: Place) -> tuple[bool, int, str]:
    return place.clash is not None, len(place.prefix), place.prefix
