"""What a trainer's callback calls of a monitor."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from energydiag.monitor.forwarding import Forwarding

if TYPE_CHECKING:
    from torch import Tensor


class Watching(Protocol):
    """See `Monitor`, whose methods these are."""

    measures_gradients: bool

    @property
    def should_stop(self) -> bool: ...

    @property
    def forwarding(self) -> Forwarding: ...

    def gradients(self) -> None: ...

    def step(
        self, loss: Tensor | float | None = None, *, step: int | None = None, lr: Tensor | float | None = None
    ) -> None: ...

    def record(self, step: int, **values: Any) -> None: ...

    def tell_settings(self, **settings: Any) -> None: ...

    def flush(self) -> None: ...
