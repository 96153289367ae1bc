"""Modules whose weights are computed from others, and modules around modules: measured, loaded, repaired, watched."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from parts import ConcatMLP, make_batch
from torch import nn
from torch.nn.utils import parametrizations

from energydiag.energies import pairwise_energies
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.fresh_weights import redraw, unresettable
from energydiag.monitor import Monitor
from energydiag.pipeline import ModelOptions, RepairOptions, fix_and_retrain, inspect, inspect_checkpoint
from energydiag.pipeline.splitting import split_by_episode
from energydiag.plan import TrainingPlan

BATCH = make_batch(40)
LARGER, SMALLER = split_by_episode(BATCH, 0.4, seed=0)
GIVEN = (BATCH.hidden, BATCH.actions, BATCH.pad_mask)


def with_both(change: Callable[[nn.Module], object]) -> Callable[[], ConcatMLP]:
    def make() -> ConcatMLP:
        model = ConcatMLP()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # of the older forms
            for layer in (model.net[0], model.net[2]):
                change(layer)
        return model

    return make


COMPUTED: dict[str, Callable[[], ConcatMLP]] = {
    "weight_norm": with_both(parametrizations.weight_norm),
    "spectral_norm": with_both(parametrizations.spectral_norm),
    "orthogonal": with_both(parametrizations.orthogonal),
    "older weight_norm": with_both(torch.nn.utils.weight_norm),
    "older spectral_norm": with_both(torch.nn.utils.spectral_norm),
}


class Inside(ConcatMLP):
    """A part of it is compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.compile(self.net, backend=_no_backend)  # type: ignore[assignment]


def _no_backend(*_: object) -> None:
    raise AssertionError("it is compiled")


WRAPPED: dict[str, Callable[[], nn.Module]] = {
    "compiled": lambda: torch.compile(ConcatMLP(), backend=_no_backend),  # type: ignore[return-value]
    "data parallel": lambda: nn.DataParallel(ConcatMLP()),
    "compiled data parallel": lambda: torch.compile(nn.DataParallel(ConcatMLP()), backend=_no_backend),  # type: ignore[return-value]
    "compiled inside": Inside,
}


def make(name: str) -> nn.Module:
    return ({**COMPUTED, **WRAPPED}[name])()


@pytest.mark.parametrize("name", [*COMPUTED, *WRAPPED])
def test_every_measurement_is_there(name: str) -> None:
    model = make(name).eval()
    found = {m.name: m.value for m in inspect(EnergyFunction(model, "own"), SMALLER, tau=0.5).measurements}
    plain = {m.name: m.value for m in inspect(EnergyFunction(ConcatMLP(), "own"), SMALLER, tau=0.5).measurements}
    # orthogonal weights cannot be computed in bfloat16
    left_out = ("conditioning.bf16",) if name == "orthogonal" else ()
    names = {n for n in plain if not n.startswith(left_out)} if left_out else set(plain)
    if name == "compiled inside":
        names = {n for n in names if ".net." not in n}
    assert names <= set(found)
    if name in WRAPPED:
        assert {n: found[n] for n in names} == pytest.approx({n: plain[n] for n in names}, nan_ok=True)


@pytest.mark.parametrize("name", [*COMPUTED, *WRAPPED])
def test_a_checkpoint_of_it_is_inspected(name: str, tmp_path: Path) -> None:
    model = make(name)
    torch.save({"model": model.state_dict()}, tmp_path / "own.pt")
    torch.save({"hidden": BATCH.hidden, "actions": BATCH.actions, "pad_mask": BATCH.pad_mask}, tmp_path / "dump.pt")
    (tmp_path / "own.py").write_text(
        f"import sys\nsys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        f"from test_wrapped_modules import make, ConcatMLP\n"
        f"def same():\n    return make({name!r})\n"
        f"def plain():\n    return ConcatMLP()\n"
    )
    direct = inspect(EnergyFunction(model.eval(), "own"), BATCH, tau=0.5)
    for factory in ("same", *(["plain"] if name in WRAPPED else [])):
        options = ModelOptions(model=f"{tmp_path / 'own.py'}:{factory}")
        found = inspect_checkpoint(tmp_path / "own.pt", tmp_path / "dump.pt", options, tau=0.5)
        wanted = direct.measurement("gap.swap")
        assert wanted is not None
        assert found.measurement("gap.swap").value == pytest.approx(wanted.value, rel=1e-5)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", [*COMPUTED, *WRAPPED])
def test_it_is_watched_and_its_training_is_what_it_was(name: str, tmp_path: Path) -> None:
    def train(folder: Path | None) -> nn.Module:
        model = make(name).train()
        inner = EnergyFunction(model, "own").module if name in WRAPPED else model  # nothing can be compiled here
        called = inner if name != "compiled inside" else ConcatMLP().train()
        optimizer = torch.optim.SGD(called.parameters(), 0.01)
        monitor = None if folder is None else Monitor(model, SMALLER, folder, every=1, most_overhead=0)
        for _ in range(3):
            called(*GIVEN).square().mean().backward()
            optimizer.step()
            if monitor is not None:
                monitor.step(loss=1.0)
            optimizer.zero_grad()
        return model

    plain, watched = train(None), train(tmp_path)
    both = zip(plain.state_dict().values(), watched.state_dict().values(), strict=True)
    assert all(torch.equal(one, other) for one, other in both)
    text = (tmp_path / "metrics.jsonl").read_text()
    assert text.count('"auroc"') == text.count('"alignment"') == 3


@pytest.mark.parametrize("name", COMPUTED)
def test_a_repair_draws_and_trains_what_the_weights_are_computed_from(name: str) -> None:
    plan = TrainingPlan(steps=2, batch_size=8, guarded=False)
    energy = EnergyFunction(make(name).eval(), "own")
    repair = fix_and_retrain(energy, LARGER, SMALLER, RepairOptions(plan, ("softplus-head", "fresh-weights")))
    assert [applied.fix for applied in repair.applied] == ["softplus-head", "fresh-weights"]


@pytest.mark.parametrize("name", COMPUTED)
def test_fresh_weights_are_new_and_as_large_as_a_layer_begins_with(name: str) -> None:
    model = make(name).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(100.0)
        model(*GIVEN)
        assert unresettable(model) == ()
        before = [layer.weight.clone() for layer in (model.net[0], model.net[2])]  # type: ignore[union-attr, index]
        redraw(model, seed=1)
        model(*GIVEN)
        redrawn = [layer.weight.clone() for layer in (model.net[0], model.net[2])]  # type: ignore[union-attr, index]
        redraw(model, seed=1)
        model(*GIVEN)
    largest = [1 / layer.weight.shape[1] ** 0.5 for layer in (model.net[0], model.net[2])]  # type: ignore[union-attr, index]
    for old, new, again, most in zip(before, redrawn, (model.net[0], model.net[2]), largest, strict=True):  # type: ignore[arg-type, index]
        assert not torch.equal(old, new)
        torch.testing.assert_close(new, again.weight.detach())
        if "weight_norm" in name:
            assert float(new.abs().max()) <= most
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert torch.isfinite(pairwise_energies(model, *GIVEN)).all()


def test_a_wrapped_module_is_named_as_the_one_inside() -> None:
    energy = EnergyFunction(make("compiled data parallel"), "own")
    assert type(energy.module) is ConcatMLP
    assert type(EnergyFunction(nn.Sequential(ConcatMLP()), "own").module) is nn.Sequential
