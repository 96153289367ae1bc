"""An energy function as every later stage sees it: a module in eval mode with one sign and one signature."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from energydiag.errors import EnergydiagError, ModelFailed, first_line
from energydiag.models.calling import DIRECT, Calling, energy_in

Sign = Literal["energy", "score"]
Mask = Literal["hidden", "visible", "unused"]
MASKS: tuple[Mask, ...] = get_args(Mask)


@contextmanager
def model_failures(hidden: Tensor, actions: Tensor) -> Iterator[None]:
    """Turns whatever a module raises in the block into a `ModelFailed` that names the inputs' shapes."""
    try:
        yield
    except (EnergydiagError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        raise ModelFailed(
            f"The model raised {type(error).__name__} on hidden {list(hidden.shape)} and actions "
            f"{list(actions.shape)}: {first_line(error)}",
            "check that the batch was dumped for this model.",
        ) from error


@dataclass(frozen=True)
class EnergyFunction:
    """``E(h, a, pad_mask) -> [B]`` where low energy means that the action fits the context.

    Attributes:
        module: The network; measured as it is in ``eval()`` mode.
        architecture: Name of the built-in architecture, or the user's factory.
        settings: What it was rebuilt with (head, nhead, tau, …), as text.
        sign: ``"score"`` when the module answers with −E.
        mask: What True means in the mask that the module takes; in batches it is always ``"hidden"``. ``"unused"``: the
            module is called without one.
        widths: ``(D, A)`` that the weights were made for, where known.
        calling: How the module is asked.
    """

    module: nn.Module
    architecture: str
    settings: Mapping[str, str] = field(default_factory=dict)
    sign: Sign = "energy"
    mask: Mask = "hidden"
    widths: tuple[int, int] | None = None
    calling: Calling = DIRECT

    def __call__(self, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None) -> Tensor:
        """Energies ``[B]`` of one action per context.

        Raises:
            ModelFailed: The module's answer is not one number per sample.
        """
        energy_B = self.calling(self.module, hidden_BSD, actions_BHA, self._as_module_wants(pad_mask_BS))
        return -energy_B if self.sign == "score" else energy_B

    def _as_module_wants(self, pad_mask_BS: Tensor | None) -> Tensor | None:
        if pad_mask_BS is None or self.mask == "unused":
            return None
        return ~pad_mask_BS if self.mask == "visible" else pad_mask_BS

    def called(self, hidden_BSD: Tensor, actions_BHA: Tensor, pad_mask_BS: Tensor | None) -> str:
        """How the module is asked and where in its answer the energy was found, as it would be written down.

        Raises:
            ModelFailed: The module raised, or its answer holds no energy.
        """
        with torch.no_grad(), model_failures(hidden_BSD, actions_BHA):
            answer = self.calling.ask(self.module, hidden_BSD, actions_BHA, self._as_module_wants(pad_mask_BS))
        return self.calling.described(energy_in(answer, hidden_BSD.shape[0])[1])

    @property
    def dtype(self) -> torch.dtype:
        """Type that inputs are converted to: that of the first floating parameter, else float32."""
        for parameter in self.module.parameters():
            if parameter.is_floating_point():
                return parameter.dtype
        return torch.float32

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
