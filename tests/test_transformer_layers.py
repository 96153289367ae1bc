"""Energies made of torch's own attention layers: what an MLP is measured by, they are measured by."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable

import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, ConcatMLP, half_padded
from torch import Tensor, nn

from energydiag.energies import pairwise_energies
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.user_code import user_code
from energydiag.pipeline import inspect

WIDTH = 16


class Encoder(nn.Module):
    """Actions and context tokens in one sequence; the mask makes `nn.TransformerEncoder` use nested tensors."""

    def __init__(self, layers: Callable[[nn.TransformerEncoderLayer], nn.Module]) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.context, self.action = nn.Linear(CONTEXT, WIDTH), nn.Linear(ACTION, WIDTH)
        self.layers = layers(nn.TransformerEncoderLayer(WIDTH, 2, 32, batch_first=True))
        self.out = nn.Linear(WIDTH, 1)

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        tokens = torch.cat((self.action(actions), self.context(hidden)), dim=1)
        seen = torch.zeros(actions.shape[:2], dtype=torch.bool)
        mask = None if pad_mask is None else torch.cat((seen, pad_mask), dim=1)
        energy: Tensor = self.out(self.attended(tokens, mask)[:, :STEPS].mean(dim=1))[:, 0]
        return energy

    def attended(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        attended: Tensor = self.layers(tokens, src_key_padding_mask=mask)
        return attended


class SelfAttention(Encoder):
    def __init__(self) -> None:
        super().__init__(lambda _: nn.MultiheadAttention(WIDTH, 2, batch_first=True))

    def attended(self, tokens: Tensor, mask: Tensor | None) -> Tensor:
        attended, _ = self.layers(tokens, tokens, tokens, key_padding_mask=mask)
        return tokens + torch.relu(attended)


MODELS: dict[str, Callable[[], Encoder]] = {
    "TransformerEncoder": lambda: Encoder(lambda layer: nn.TransformerEncoder(layer, 2)),
    "TransformerEncoderLayer": lambda: Encoder(lambda layer: layer),
    "MultiheadAttention": SelfAttention,
}


@pytest.mark.parametrize("name", MODELS)
def test_every_measurement_of_an_mlp_is_there(name: str) -> None:
    batch, model = half_padded(), MODELS[name]().eval()
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # of nested tensors
        found = inspect(EnergyFunction(model, name), batch, tau=0.5, swap_size=6)
    wanted = inspect(EnergyFunction(ConcatMLP(), "mlp"), batch, tau=0.5, swap_size=6)
    names = {m.name for m in wanted.measurements if ".net." not in m.name}  # the MLP's own layers
    assert names <= {m.name for m in found.measurements}
    assert {s.name for s in found.skipped} <= {s.name for s in wanted.skipped}
    assert not any("row by row" in note for note in found.notes)


@pytest.mark.parametrize("name", MODELS)
def test_the_energies_are_those_of_the_fast_path(name: str) -> None:
    batch, model = half_padded(), MODELS[name]().eval()
    with torch.no_grad():
        plain = model(batch.hidden, batch.actions, batch.pad_mask)
        table = pairwise_energies(model, batch.hidden, batch.actions, batch.pad_mask)
    assert torch.allclose(table.diagonal(), plain, atol=1e-5)


@pytest.mark.parametrize("allowed", [True, False])
def test_the_fast_path_is_as_the_user_left_it(allowed: bool) -> None:
    fastpath = torch.backends.mha
    fastpath.set_fastpath_enabled(allowed)
    try:
        with user_code(), user_code():
            assert not fastpath.get_fastpath_enabled()
        assert fastpath.get_fastpath_enabled() is allowed
        _overlapping()
        assert fastpath.get_fastpath_enabled() is allowed
    finally:
        fastpath.set_fastpath_enabled(True)


def _overlapping() -> None:
    """Two threads whose blocks overlap, the first one to enter being the first one to leave."""
    entered, left = threading.Event(), threading.Event()

    def first() -> None:
        with user_code():
            entered.wait(10)
        left.set()

    def second() -> None:
        with user_code():
            entered.set()
            left.wait(10)
            assert not torch.backends.mha.get_fastpath_enabled()

    threads = [threading.Thread(target=each) for each in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
