"""An energy function as every later stage sees it: a module in eval mode with one sign and one signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from energydiag.errors import EnergydiagError, ModelFailed, first_line
from energydiag.models.answers import Found, energy_in
from energydiag.models.calling import DIRECT, Calling, signature_of
from energydiag.models.unwrapping import unwrapped

Sign = Literal["energy", "score"]
Mask = Literal["hidden", "visible", "unused"]
MASKS: tuple[Mask, ...] = get_args(Mask)


@dataclass(frozen=True)
class EnergyFunction:
    """``E(h, a, pad_mask) -> [B]`` where low energy means that the action fits the context.

    Attributes:
        module: The network, without what ``torch.compile`` or data parallelism wraps around it; measured as it is in
            ``eval()`` mode.
        architecture: Name of the built-in architecture, or the user's factory.
        settings: What it was rebuilt with (head, nhead, tau, …), as text.
        sign: ``"score"`` when the module answers with −E; None: as the name of its answer says, see `with_sign`.
        mask: What True means in the mask that the module takes; in batches it is always ``"hidden"``. ``"unused"``: the
            module is called without one.
        widths: ``(D, A)`` that the weights were made for, where known.
        calling: How the module is asked.
    """

    module: nn.Module
    architecture: str
    settings: Mapping[str, str] = field(default_factory=dict)
    sign: Sign | None = None
    mask: Mask = "hidden"
    widths: tuple[int, int] | None = None
    calling: Calling = DIRECT

    def __post_init__(self) -> None:
        object.__setattr__(self, "module", unwrapped(self.module))

    def __call__(self, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None) -> Tensor:
        """Energies ``[B]`` of one action per context.

        Raises:
            ModelFailed: The module's answer is not one number per sample.
        """
        found = self._found(hidden_BSD, actions_BHA, pad_mask_BS)
        return -found.energy if self._sign_of(found) == "score" else found.energy

    def _found(self, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None) -> Found:
        mask_BS = self._as_module_wants(pad_mask_BS)
        return energy_in(self.calling.ask(self.module, hidden_BSD, actions_BHA, mask_BS), hidden_BSD.shape[0])

    def _sign_of(self, found: Found) -> Sign:
        return self.sign or ("score" if found.is_score else "energy")

    def _as_module_wants(self, pad_mask_BS: Tensor | None) -> Tensor | None:
        if pad_mask_BS is None or self.mask == "unused":
            return None
        return ~pad_mask_BS if self.mask == "visible" else pad_mask_BS

    def called(self, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None) -> str:
        """How the module is asked and where in its answer the energy was found, as it would be written down.

        Raises:
            ModelFailed: The module raised, or its answer holds no energy.
        """
        with torch.no_grad(), self.failures(hidden_BSD, actions_BHA, pad_mask_BS):
            return self.calling.described(self._found(hidden_BSD, actions_BHA, pad_mask_BS).where)

    def with_sign(
        self, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None
    ) -> tuple[EnergyFunction, str]:
        """The same with a sign, and what was assumed of it; empty where it was given or the answer has no name.

        Where no sign is given, logits, scores, rewards and values are scores: high means that the action fits.

        Raises:
            ModelFailed: The module raised, or its answer holds no energy.
        """
        if self.sign is not None:
            return self, ""
        with torch.no_grad(), self.failures(hidden_BSD, actions_BHA, pad_mask_BS):
            found = self._found(hidden_BSD, actions_BHA, pad_mask_BS)
        note = (
            f"The model returns `{found.name}`, and no sign was given: high was taken to mean that the action fits "
            "(`--sign score`; where these are energies, give `--sign energy`)."
        )
        return replace(self, sign=self._sign_of(found)), note if found.is_score else ""

    @contextmanager
    def failures(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None) -> Iterator[None]:
        """Turns whatever the module raises in the block into a `ModelFailed` that says how it was called.

        Args:
            hidden: Contexts of the call, ``[B, …]``.
            actions: Its actions.
            pad_mask: Its mask.
        """
        try:
            yield
        except (EnergydiagError, torch.OutOfMemoryError):
            raise
        except Exception as error:
            shapes = {"hidden": hidden, "actions": actions, "pad_mask": pad_mask}
            given = ", ".join(
                f"{name} {'None' if (value := shapes[name]) is None else list(value.shape)}"
                for name in self.calling.arguments
            )
            order = f", called with {given} in this order" if given else ", called without arguments"
            raise ModelFailed(
                f"The model's forward{signature_of(self.module)} raised {type(error).__name__}{order}: "
                f"{first_line(error).rstrip('.')}.",
                self._next_step(hidden, actions, pad_mask),
            ) from error

    def _next_step(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None) -> str:
        """What to change after the module raised: what another way to call it shows, else what there is to change."""
        if self.widths is not None:
            return "dump the contexts and actions that this head was trained on, in float32 or the checkpoint's type."
        if not self.calling.candidates and self._works_with_candidates(hidden[:2], actions, pad_mask):
            return "add --candidates: the model takes all candidates of a context at once, actions [B, N, …]."
        order = "" if self.calling.candidates else "; if it takes actions [B, N, …], add --candidates"
        return (
            "if the arguments are in another order, call its parameters `hidden`, `actions`, `pad_mask`"
            f"{order}; if it wants other shapes, name a module with --model that wraps it and brings them into shape "
            "(the checkpoint's keys are found inside of it)."
        )

    def _works_with_candidates(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None) -> bool:
        other = replace(self, calling=replace(self.calling, candidates=True))
        try:
            with torch.no_grad():
                few = None if pad_mask is None else pad_mask[: len(hidden)]
                other(hidden.to(self.device, self.dtype), actions[: len(hidden)].to(self.device, self.dtype), few)
        except Exception:  # then this is not it
            return False
        return True

    @property
    def dtype(self) -> torch.dtype:
        """Type of inputs: that of the first floating parameter, else of the first buffer, else torch's default."""
        given = (*self.module.parameters(), *self.module.buffers())
        return next((each.dtype for each in given if each.is_floating_point()), torch.get_default_dtype())

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        for parameter in self.module.parameters():
            return parameter.device
        return torch.device("cpu")

    @property
    def parameter_count(self) -> int:
        """Number of scalars in the parameters."""
        return sum(parameter.numel() for parameter in self.module.parameters())
