"""A user's hooks and what modules keep of a pass: the monitor leaves them alone, and copies are made all the same."""

from __future__ import annotations

import copy
import logging
import pickle
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import ConcatMLP, make_batch
from torch import Tensor, nn

from energydiag.energies import pairwise_energies
from energydiag.models.copying import copied
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.left_as_found import left_as_found
from energydiag.monitor import Monitor
from energydiag.pipeline import RepairOptions, fix_and_retrain, inspect
from energydiag.pipeline.splitting import split_by_episode
from energydiag.plan import TrainingPlan

BATCH = make_batch(12)
GIVEN = (BATCH.hidden, BATCH.actions, BATCH.pad_mask)
KEPT: dict[str, list[Tensor]] = defaultdict(list)


class Keeper:
    """Keeps activations in its attributes."""

    def __init__(self) -> None:
        self.outputs: list[Tensor] = []
        self.last: Tensor | None = None

    def hook(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self.outputs.append(output)
        self.last = output.detach().numpy()[0]  # no such thing inside of vmap


def keep_globally(_module: nn.Module, _inputs: Any, output: Tensor) -> None:
    KEPT["net"].append(output.detach())


def keep_on_module(module: nn.Module, _inputs: Any, output: Tensor) -> None:
    module.last_output = output  # type: ignore[assignment]


def append_to(outputs: list[Tensor], _module: nn.Module, _inputs: Any, output: Tensor) -> None:
    outputs.append(output)


def train(model: nn.Module, folder: Path | None, steps: int = 4) -> list[Tensor]:
    """A few steps of a user's training with a monitor or without; its parameters afterwards."""
    optimizer = torch.optim.Adam(model.parameters(), 1e-2)
    monitor = None if folder is None else Monitor(model, BATCH, folder, every=1, most_overhead=0, samples=6)
    for _ in range(steps):
        energies = model(*GIVEN).reshape(-1)
        if monitor is not None:
            monitor.verify(energies, *GIVEN)
        energies.square().mean().backward()
        optimizer.step()
        if monitor is not None:
            monitor.step(loss=1.0)
        optimizer.zero_grad()
    if monitor is not None:
        monitor.close()
    return [p.detach().clone() for p in model.parameters()]


def assert_watched(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = (folder / "metrics.jsonl").read_text()
    assert text.count('"auroc"') == text.count('"alignment"') == 4
    assert not [r for r in caplog.records if r.name == "energydiag" and "not measured" in r.message]


def kept_by(name: str, keeper: Keeper, outputs: list[Tensor], model: ConcatMLP) -> list[Any]:
    return {
        "method": [*keeper.outputs, keeper.last],
        "global": KEPT["net"],
        "partial": outputs,
        "closure": outputs,
        "on the module": [model.net[0].__dict__.get("last_output")],
    }[name]


@pytest.mark.parametrize("name", ["method", "global", "partial", "closure", "on the module"])
def test_a_hook_that_keeps_activations_keeps_those_of_the_training_alone(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def run(folder: Path | None) -> tuple[list[Tensor], list[Any], ConcatMLP]:
        KEPT.clear()
        model, keeper, outputs = ConcatMLP().train(), Keeper(), list[Tensor]()
        hooks: dict[str, Callable[..., Any]] = {
            "method": keeper.hook,
            "global": keep_globally,
            "partial": partial(append_to, outputs),
            "closure": lambda _module, _inputs, output: outputs.append(output),
            "on the module": keep_on_module,
        }
        model.net[0].register_forward_hook(hooks[name])
        weights = train(model, folder)
        return weights, list(kept_by(name, keeper, outputs, model)), model

    plain, wanted, _ = run(None)
    watched, found, model = run(tmp_path / "run")
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))
    assert len(found) == len(wanted) > 0
    for one, other in zip(found, wanted, strict=True):
        torch.testing.assert_close(torch.as_tensor(one), torch.as_tensor(other))
    assert len(model.net[0]._forward_hooks) == 1
    assert model.training
    assert all(p.grad is None for p in model.parameters())
    assert_watched(tmp_path / "run", caplog)


def test_a_hook_that_raises_on_other_inputs_ends_neither_training_nor_measuring(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def strict(_module: nn.Module, inputs: Any, _output: Tensor) -> None:
        assert len(inputs[0]) == len(BATCH), "another batch size"

    model = ConcatMLP().train()
    model.net[0].register_forward_hook(strict)
    train(model, tmp_path / "run")
    assert_watched(tmp_path / "run", caplog)


def test_a_hook_that_makes_the_energy_runs_in_evaluations_too(tmp_path: Path) -> None:
    outputs: list[Tensor] = []

    def halved(_module: nn.Module, _inputs: Any, output: Tensor) -> Tensor:
        outputs.append(output)
        return output / 2

    model = ConcatMLP().train()
    model.register_forward_hook(halved)
    with Monitor(model, BATCH, tmp_path, every=1, samples=6) as monitor:
        assert monitor.verify(model(*GIVEN), *GIVEN)
        monitor.step(loss=1.0)
    assert len(outputs) == 1


def test_backward_hooks_do_not_see_the_gradients_of_an_evaluation(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    seen: list[Any] = []
    model = ConcatMLP().train()
    model.net[0].register_full_backward_hook(lambda _module, _inputs, outputs: seen.append(outputs))
    train(model, tmp_path / "run")
    assert len(seen) == 4
    assert_watched(tmp_path / "run", caplog)


class Remembering(ConcatMLP):
    """Keeps results with their history in attributes, as plain tensors and in lists."""

    def __init__(self) -> None:
        super().__init__()
        self.history: list[Tensor] = []
        self.count = 0

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        answer = super().forward(hidden, actions, pad_mask)
        self.latest = answer
        self.history.append(answer)
        self.count += 1
        return answer


def test_what_a_module_keeps_of_a_pass_is_that_of_the_training(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = Remembering().train()
    train(model, tmp_path / "run")
    assert model.count == len(model.history) == 4
    assert model.latest is model.history[-1]
    assert model.latest.shape == (12, 1)
    model.latest.sum()  # no tensor of a vmap that is over
    assert_watched(tmp_path / "run", caplog)


def test_a_module_that_torch_does_not_copy_is_copied() -> None:
    model = Remembering().train()
    keeper = Keeper()
    model.net[0].register_forward_hook(keeper.hook)
    model(*GIVEN)
    with pytest.raises(RuntimeError, match="deepcopy"):
        copy.deepcopy(model)
    other = copied(model)
    assert other.latest is not model.latest
    assert torch.equal(other.latest, model.latest)
    assert torch.equal(other(*GIVEN), model(*GIVEN))
    assert other.net[0].weight is not model.net[0].weight  # type: ignore[union-attr]
    assert len(keeper.outputs) == 3


@pytest.mark.parametrize("make", [Remembering, ConcatMLP])
def test_such_a_module_is_inspected_and_repaired(make: Callable[[], ConcatMLP]) -> None:
    model = make()
    outputs: list[Tensor] = []
    model.net[0].register_forward_hook(partial(append_to, outputs))
    model(*GIVEN)
    larger, smaller = split_by_episode(make_batch(40), 0.4, seed=0)
    energy = EnergyFunction(model, "own")
    plain = {m.name: m.value for m in inspect(EnergyFunction(ConcatMLP(), "own"), smaller, tau=0.5).measurements}
    found = {m.name: m.value for m in inspect(energy, smaller, tau=0.5).measurements}
    assert found["auroc.swap"] == pytest.approx(plain["auroc.swap"])
    assert set(plain) <= set(found)
    plan = TrainingPlan(steps=2, batch_size=8, guarded=False)
    assert fix_and_retrain(energy, larger, smaller, RepairOptions(plan, ("softplus-head",))).applied


def test_a_module_can_be_pickled_after_an_evaluation(tmp_path: Path) -> None:
    model = ConcatMLP().train()
    model.net[0].register_forward_hook(keep_globally)
    train(model, tmp_path / "run")
    again = pickle.loads(pickle.dumps(model))
    assert torch.equal(again(*GIVEN), model(*GIVEN))


def test_an_evaluation_that_fails_is_told_once_and_the_training_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Refusing(ConcatMLP):
        def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
            if not self.training:
                raise ValueError("never in eval mode")
            return super().forward(hidden, actions, pad_mask)

    with caplog.at_level(logging.WARNING, "energydiag"):
        plain, watched = train(ConcatMLP(), None), train(Refusing().train(), tmp_path / "run")
    assert all(torch.equal(one, other) for one, other in zip(plain, watched, strict=True))
    told = [record.message for record in caplog.records if "never in eval mode" in record.message]
    assert len(told) == len(set(told)) > 0
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count('"loss"') == 4


def test_random_numbers_and_buffers_are_those_from_before(tmp_path: Path) -> None:
    class Noisy(ConcatMLP):
        def __init__(self) -> None:
            super().__init__()
            self.norm = nn.BatchNorm1d(1)
            self.drop = nn.Dropout(0.5)

        def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
            energy: Tensor = self.drop(self.norm(super().forward(hidden, actions, pad_mask)))
            return energy + 0 * torch.rand(())

    torch.manual_seed(5)
    one, state = Noisy().train(), torch.get_rng_state()
    plain = train(one, None)
    torch.set_rng_state(state)
    other = Noisy().train()
    other.load_state_dict(Noisy().state_dict())
    torch.set_rng_state(state)
    watched = train(other, tmp_path / "run")
    assert all(torch.equal(a, b) for a, b in zip(plain, watched, strict=True))
    assert all(torch.equal(a, b) for a, b in zip(one.buffers(), other.buffers(), strict=True))


def test_everything_that_is_seen_is_left_as_it_was() -> None:
    model, keeper = Remembering(), Keeper()
    model.net[0].register_forward_hook(keeper.hook)
    model(*GIVEN)
    latest, last = model.latest, keeper.last
    with left_as_found(model):
        with torch.no_grad():
            model(*GIVEN)
        model.net[0].register_forward_hook(keep_globally)
        model.train()
        model.new = 1  # type: ignore[assignment]
    assert model.latest is latest
    assert keeper.last is last
    assert (len(model.history), model.count, len(keeper.outputs)) == (1, 1, 1)
    assert len(model.net[0]._forward_hooks) == 1
    assert not model.training
    assert not hasattr(model, "new")
    assert torch.isfinite(pairwise_energies(model, *GIVEN)).all()
