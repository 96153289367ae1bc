"""Where in a checkpoint's keys a model is: behind which prefix, and with which names of wrappers in the middle.

``torch.compile``, data parallelism, FSDP and activation checkpointing wrap a module, or a part of it, in another one
whose name then stands in every key: ``module.``, ``_orig_mod.``, ``_fsdp_wrapped_module.``,
``_checkpoint_wrapped_module.``. Keys are tried as they are first: a user's own module may really be called `module`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from torch import Tensor

_BY_TORCH = frozenset({"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"})
_BY_ANYBODY = frozenset({"module", "model"})
LEVELS = (frozenset[str](), _BY_TORCH, _BY_TORCH | _BY_ANYBODY)
"""Names that are taken out of keys, tried in this order."""


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


def places_of_anchor(
    tensors: Mapping[str, Tensor], anchor: str, matches: Callable[[frozenset[str]], bool]
) -> list[Place]:
    """Where a built-in architecture is, the shortest prefix first.

    Args:
        tensors: By the file's keys.
        anchor: A key at the root of the model; no part of its keys is called as a wrapper is.
        matches: Whether keys are the architecture's.
    """
    names = LEVELS[-1]
    found = [_place(tensors, prefix, names) for prefix in _prefixes(tensors, frozenset({anchor}), names)]
    return [place for place in sorted(found, key=_shortest) if matches(frozenset(place.keys))]


def places_of_module(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[Place]:
    """Where a module is, the shortest prefix first; if it is nowhere, the one place where most of it is.

    Args:
        tensors: By the file's keys.
        own: The module's own state dict.
    """
    found = _places(tensors, own)
    if found[0].fits or set(own) <= set(found[0].keys):  # all of it is there, and something beside
        return found
    return next((inside for wrapper in _children(own) if (inside := _in_wrapper(tensors, own, wrapper))), found)


def _children(keys: Iterable[str]) -> list[str]:
    """First steps of keys, with their dots: the attributes that hold a module's parts."""
    return list(dict.fromkeys(key.partition(".")[0] + "." for key in keys if "." in key))


def _in_wrapper(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor], wrapper: str) -> list[Place]:
    """Where the part of a module under one attribute is, which a user has wrapped around the one that was saved.

    Numbers alone name too many things to be looked for behind a prefix.
    """
    part = {key.removeprefix(wrapper): value for key, value in own.items() if key.startswith(wrapper)}
    is_whole = len(part) == len(own)
    found = [
        replace(one, keys={wrapper + name: key for name, key in one.keys.items()}, fits=is_whole)
        for one in _places(tensors, part)
        if one.fits and not (one.prefix and any(name[0].isdigit() for name in part))
    ]
    return found if all(_is_alone(tensors, one) for one in found) else []


def _is_alone(tensors: Mapping[str, Tensor], place: Place) -> bool:
    """Whether nothing but the model is under the first step of its prefix."""
    first = place.prefix.partition(".")[0]
    taken = set(place.keys.values())
    return all(key in taken for key in tensors if not first or key.partition(".")[0] == first)


def _places(tensors: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> list[Place]:
    best, most = Place("", {key: key for key in tensors}, fits=False), 0
    for names in LEVELS:
        wanted = {without(key, names): key for key in own}
        if len(wanted) < len(own):
            continue
        counted = _prefixes(tensors, frozenset(wanted), names)
        found = []
        for prefix in sorted(counted, key=lambda text: (len(text), text)):
            if counted[prefix] < max(most, 1):
                continue
            place = _renamed(_place(tensors, prefix, names), wanted)
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
    for key in tensors:
        steps = key.split(".")
        for start in range(len(steps)):
            # a wrapper of the whole model belongs to the prefix
            if steps[start] not in names and without(".".join(steps[start:]), names) in wanted:
                found["".join(f"{step}." for step in steps[:start])] += 1
    return found


def _place(tensors: Mapping[str, Tensor], prefix: str, names: frozenset[str]) -> Place:
    keys: dict[str, str] = {}
    clash = None
    taken: set[str] = set()
    for key in tensors:
        if not key.startswith(prefix):
            continue
        rest = key[len(prefix) :]
        name = without(rest, names)
        if name in keys:
            clash = clash or (keys[name], key)
        keys[name] = key
        taken |= names.intersection(rest.split("."))
    return Place(prefix, keys, tuple(sorted(taken)), clash is None, clash)


def _renamed(place: Place, wanted: Mapping[str, str]) -> Place:
    """With the module's own names, where they hold names of wrappers themselves."""
    keys = {wanted.get(name, name): key for name, key in place.keys.items()}
    return Place(place.prefix, keys, place.wrappers, place.fits, place.clash)


def _shortest(place: Place) -> tuple[bool, int, str]:
    return place.clash is not None, len(place.prefix), place.prefix
