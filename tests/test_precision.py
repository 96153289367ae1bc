"""Models and dumps of float64 are loaded and called in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from parts import CONTEXT, ConcatMLP, make_batch, make_head
from torch import Tensor, nn

from energydiag.batches import load_batch
from energydiag.energies import pairwise_energies
from energydiag.models.calling import calling_of
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect, load_checkpoint


def doubled(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: value.double() if value.is_floating_point() else value for name, value in tensors.items()}


@pytest.mark.parametrize("double_model", [True, False])
@pytest.mark.parametrize("double_dump", [True, False])
def test_a_checkpoint_is_measured_in_its_own_type(double_model: bool, double_dump: bool, tmp_path: Path) -> None:
    state, batch = make_head("linear").state_dict(), make_batch(12)
    torch.save(doubled(state) if double_model else state, tmp_path / "head.pt")
    rows = batch.present()
    torch.save(doubled(rows) if double_dump else rows, tmp_path / "dump.pt")
    energy, loaded = load_checkpoint(tmp_path / "head.pt", head="linear", nhead=2), load_batch(tmp_path / "dump.pt")
    table = pairwise_energies(energy, loaded.hidden, loaded.actions, loaded.pad_mask)
    assert table.dtype == energy.dtype == (torch.float64 if double_model else torch.float32)
    if double_model:
        mask = loaded.pad_mask
        with torch.no_grad():
            plain = make_head("linear").double()(loaded.hidden.double(), loaded.actions.double(), mask)
        torch.testing.assert_close(table.diagonal(), plain, rtol=1e-12, atol=1e-13)
    found, wanted = inspect(energy, loaded, tau=0.5), inspect(EnergyFunction(make_head("linear"), "x"), batch, tau=0.5)
    left_out = {m.name for m in wanted.measurements} - {m.name for m in found.measurements}
    assert not left_out
    assert found.measurement("gap.swap").value == pytest.approx(wanted.measurement("gap.swap").value, rel=1e-4)  # type: ignore[union-attr]


def test_one_double_among_singles_is_not_rounded(tmp_path: Path) -> None:
    state = make_head("linear").state_dict()
    last = list(state)[-1]
    torch.save({**state, last: state[last].double() + 1e-12}, tmp_path / "head.pt")
    energy = load_checkpoint(tmp_path / "head.pt", head="linear", nhead=2)
    assert torch.equal(energy.module.state_dict()[last], state[last].double() + 1e-12)


def test_a_module_without_parameters_is_called_in_the_type_of_its_buffers() -> None:
    class Closed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.zeros(CONTEXT, dtype=torch.float64))

        def forward(self, hidden: Tensor, actions: Tensor) -> Tensor:
            distance: Tensor = (hidden.mean(1) - self.mean).square().sum(-1) + actions.square().sum((1, 2))
            return distance

    batch = make_batch()
    module = Closed().eval()
    energy = EnergyFunction(module, "closed", calling=calling_of(module))
    assert pairwise_energies(energy, batch.hidden.double(), batch.actions.double()).dtype == torch.float64
    assert EnergyFunction(ConcatMLP().double(), "own").dtype == torch.float64
