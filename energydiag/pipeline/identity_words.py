"""What is said of a comparison with the owner's energies: how near it is, what is wrong, and what to type."""

from __future__ import annotations

from energydiag.errors import EnergydiagError, InvalidCheckpoint, UsageError
from energydiag.models.identity import SAME_BELOW, Identity
from energydiag.models.match import FEWEST_PROVING, OTHER_ABOVE, Match
from energydiag.models.model_form import Stated


def digits(number: float) -> str:
    """A difference, in one digit where it is rounding."""
    return f"{number:.1g}" if number < 1e-3 else f"{number:.2g}"


def counted(count: int, noun: str) -> str:
    """A number of things."""
    return f"{count} {noun}{'' if count == 1 else 's'}"


def named(whose: str | int) -> str:
    """A checkpoint by its step or its SHA-256."""
    return f"step {whose}" if isinstance(whose, int) else f"the checkpoint {whose[:12]}…"


def deviations(match: Match) -> str:
    """How far energies are from the owner's."""
    return f"{match.relative:.2g} standard deviations of the energies"


def why_undetermined(best: Match, compared: str) -> str:
    """Why a comparison proves nothing; ``compared`` says how near it is."""
    if best.samples < FEWEST_PROVING:
        return f"undetermined: {counted(best.samples, 'sample')} cannot prove a model ({compared})"
    if best.relative < SAME_BELOW:
        return "undetermined: the dump's `energies` are all the same, so any form gives them"
    return (
        f"undetermined whether this is the owner's model: {compared}, {best.relative:.1%} of the energies' standard "
        f"deviation (below {SAME_BELOW:.0%} it is the same, above {OTHER_ABOVE:.0%} another)"
    ) + (f". Rounding explains it: {best.explained} moves this model's energies by as much" if best.explained else "")


def other_model(
    stated: Stated, found: Identity, whose: str | int | None, *, mine: bool, masked: bool
) -> EnergydiagError:
    """Why nothing is measured: another form was stated, or the energies are of something else.

    Args:
        stated: What options and metadata say of the model.
        found: The comparison.
        whose: What ``energies_of`` says.
        mine: Whether that is this checkpoint.
        masked: Whether a mask matters.
    """
    best, nearest = found.best, found.nearest[0]
    if nearest.relative < SAME_BELOW:
        said = stated.options
        right = {name: str(value) for name, value in nearest.form.settings.items() if name != "pool"}
        wrong = [name for name in right if f"--{name} " in f"{said} "]
        options = nearest.form.options
        options += "".join(f" --{name} {right[name]}" for name in wrong if f"--{name} " not in f"{options} ")
        return UsageError(
            f"The dump's `energies` are not this model's as options or the checkpoint's metadata state it ({said}): "
            f"the largest difference is {digits(best.difference)}, {deviations(best)}. They are its energies with "
            f"{nearest.form.describe(masked)} (largest difference {digits(nearest.difference)} over "
            f"{counted(nearest.samples, 'sample')}).",
            f"use {options.strip()} in the place of {said}.",
        )
    belongs = ""
    if whose is not None:
        belongs = f" By `energies_of` they are {'this checkpoint' if mine else named(whose)}'s."
    forms = "; ".join(
        f"{one.form.describe(masked) or 'as it was called'}: {digits(one.difference)}" for one in found.nearest
    )
    is_built_in = best.form.head is not None
    what = "no form of this model gives them" if is_built_in else "the model does not give them"
    check = "" if is_built_in else "; check what your code does to contexts, actions and mask before the call"
    return InvalidCheckpoint(
        f"The dump's `energies` are another model's: {what}. Over {counted(best.samples, 'sample')} the largest "
        f"difference is {digits(best.difference)}, {deviations(best)}; nearest are {forms}.{belongs}",
        "dump the energies of this checkpoint, or add --energies-of CKPT, the checkpoint that they belong to"
        + check
        + ".",
    )
