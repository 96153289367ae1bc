"""Models that are asked in another way: the same energies, whatever the signature, and the same diagnosis."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, make_batch, pooled
from torch import Tensor, nn
from typer.testing import CliRunner

from energydiag.batch import Batch
from energydiag.cli.app import app
from energydiag.energies import pairwise_energies
from energydiag.errors import ModelFailed, UsageError
from energydiag.models.answers import energy_in
from energydiag.models.calling import DIRECT, calling_of
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.surgery import dissect, operate
from energydiag.pipeline import RepairOptions, fix_and_retrain, inspect, load_checkpoint
from energydiag.pipeline.splitting import split_by_episode
from energydiag.plan import TrainingPlan


class Plain(nn.Module):
    """The energy that all of these compute, asked as energydiag does by itself."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(CONTEXT + STEPS * ACTION, 16), nn.SiLU(), nn.Linear(16, 1))

    def energy(self, hidden: Tensor, actions: Tensor, mask: Tensor | None) -> Tensor:
        return torch.sigmoid(self.net(torch.cat((pooled(hidden, mask), actions.flatten(1)), dim=1)))[:, 0]

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Any:
        return self.energy(hidden, actions, pad_mask)


class Candidates(Plain):
    """The layout of implicit behavioural cloning: all candidates of a context in one call, scores out."""

    def forward(self, obs: Tensor, action: Tensor, mask: Tensor | None = None) -> Tensor:  # type: ignore[override]
        count = action.shape[1]
        scores = -self.energy(
            obs.repeat_interleave(count, 0),
            action.flatten(0, 1),
            None if mask is None else mask.repeat_interleave(count, 0),
        )
        return scores.reshape(len(obs), count)


class Tuple(Plain):
    def forward(self, h: Tensor, a: Tensor, m: Tensor | None = None) -> Any:  # type: ignore[override]
        energy = self.energy(h, a, m)
        return energy[:, None].expand(-1, STEPS), energy[:, None]


class Named(Plain):
    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Any:
        energy = self.energy(hidden, actions, pad_mask)
        return {"aux": torch.zeros(len(hidden)), "energy": energy}


class Switch(Plain):
    """The third argument is no mask; it would be true if one were given for it."""

    def forward(self, hidden: Tensor, actions: Tensor, return_steps: bool = False) -> Any:  # type: ignore[override]
        assert return_steps is False
        return self.energy(hidden, actions, None)


class Turned(Plain):
    def forward(self, action: Tensor, state: Tensor, mask: Tensor | None = None) -> Any:  # type: ignore[override]
        return self.energy(state, action, mask)


class Unconditional(Plain):
    def forward(self, x: Tensor) -> Any:  # type: ignore[override]
        return self.energy(torch.zeros(len(x), CONTEXT), x, None)


def asked(module: nn.Module, candidates: bool = False, **settings: Any) -> EnergyFunction:
    return EnergyFunction(module.eval(), "own", calling=calling_of(module, candidates), **settings)


CASES: dict[str, tuple[Callable[[], EnergyFunction], str]] = {
    "candidates": (
        lambda: asked(Candidates(), candidates=True, sign="score"),
        "model(hidden, actions [B, N, …], pad_mask)",
    ),
    "tuple": (lambda: asked(Tuple()), "model(hidden, actions, pad_mask)[1]"),
    "named": (lambda: asked(Named()), "model(hidden, actions, pad_mask)['energy']"),
    "turned": (lambda: asked(Turned()), "model(actions, hidden, pad_mask)"),
    "compiled": (lambda: asked(torch.jit.script(Scripted())), "model(hidden, actions, pad_mask)"),
}


class Scripted(nn.Module):
    """As `Plain`, in the part of Python that can be compiled."""

    def __init__(self) -> None:
        super().__init__()
        self.net = Plain().net

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        seen = torch.ones_like(hidden[:, :, :1])
        if pad_mask is not None:
            seen = (~pad_mask).to(hidden.dtype)[:, :, None]
        context = (hidden * seen).sum(dim=1) / seen.sum(dim=1)
        return torch.sigmoid(self.net(torch.cat((context, actions.flatten(1)), dim=1)))[:, 0]


@pytest.mark.parametrize("name", CASES)
def test_the_same_energies_and_the_same_diagnosis(name: str) -> None:
    make, written = CASES[name]
    energy, plain = make(), asked(Plain())
    batch = make_batch(12)
    table, wanted = (pairwise_energies(e, batch.hidden, batch.actions, batch.pad_mask) for e in (energy, plain))
    assert torch.allclose(table, wanted, atol=1e-6)
    found, expected = inspect(energy, batch), inspect(plain, batch)
    assert (found.checkpoint.called or DIRECT.described()) == written
    assert expected.checkpoint.called == ""
    # where a head cannot be watched, the floor is not known
    left_out = ("weights.", "activations.", *(("loss.swap.floor", "floor_gap") if name == "compiled" else ()))
    values = {m.name: m.value for m in expected.measurements if not m.name.startswith(left_out)}
    others = {m.name: m.value for m in found.measurements}
    assert {n: others[n] for n in values if n in others} == pytest.approx(
        {n: v for n, v in values.items() if n in others}, rel=1e-4, abs=1e-5
    )
    if name == "compiled":
        assert "compiled code" in found.checkpoint.energy
    contract = (
        "auroc.swap",
        "gap.swap",
        "field.alignment.policy",
        "field.correction_gain.k4",
        "gradient.actions.norm_median",
    )
    assert set(contract) <= others.keys()


def test_what_is_not_taken_is_not_given() -> None:
    batch = make_batch(12)
    assert inspect(asked(Switch()), batch).checkpoint.called == "model(hidden, actions)"
    alone = inspect(asked(Unconditional()), batch)
    assert alone.checkpoint.called == "model(actions)"
    assert alone.measurement("conditioning.context_use").value == 0  # type: ignore[union-attr]


class Blurry(nn.Module):
    def forward(self, x: Tensor, y: Tensor, z: Tensor) -> None: ...


class Needy(nn.Module):
    def forward(self, hidden: Tensor, actions: Tensor, mask: Tensor, timestep: Tensor, *, noise: Tensor) -> None: ...


class Open(nn.Module):
    def forward(self, *inputs: Tensor) -> None: ...


def test_names_decide_only_where_none_is_in_doubt() -> None:
    assert calling_of(Blurry()) == calling_of(Open()) == DIRECT
    with pytest.raises(UsageError, match="`noise`, `timestep`"):
        calling_of(Needy())


def test_an_answer_without_one_number_a_sample_is_refused() -> None:
    found = energy_in({"other": torch.zeros(3, 1)}, 3)
    assert found.energy.shape == (3,)
    assert found.where == "['other']"
    for answer in (torch.zeros(3, 2), (), {"a": torch.zeros(3), "b": torch.zeros(3)}, None):
        with pytest.raises(ModelFailed, match=r"one energy per sample \(shape \[3\]\)"):
            energy_in(answer, 3)


def test_a_head_is_replaced_and_retrained_whatever_the_signature() -> None:
    energy, batch = asked(Tuple()), make_batch(40)
    anatomy = dissect(energy, batch.hidden, batch.actions, batch.pad_mask)
    turned = operate(energy, ("head=linear",), anatomy, 0)
    given = (batch.hidden, batch.actions, batch.pad_mask)
    assert torch.allclose(torch.sigmoid(turned(*given)), energy(*given), atol=1e-6)
    larger, smaller = split_by_episode(batch, 0.4, seed=0)
    plan = TrainingPlan(steps=2, batch_size=8, guarded=False)
    repair = fix_and_retrain(energy, larger, smaller, RepairOptions(plan, ("linear-head",)))
    assert [applied.fix for applied in repair.applied] == ["linear-head"]


class Images(Plain):
    """A convolution over the context as a picture, batch normalisation, an einsum, an in-place step and a buffer."""

    scale: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True))
        self.out = nn.Linear(4, STEPS * ACTION)
        self.register_buffer("scale", torch.tensor(0.5))

    def forward(self, obs: Tensor, action: Tensor) -> Any:  # type: ignore[override]
        context = self.out(self.encoder(obs[:, None]).mean(dim=(2, 3)))
        energy = torch.einsum("bi,bi->b", context, action.flatten(1))
        energy *= self.scale
        return energy


def test_an_image_encoder_with_normalisation_buffers_and_in_place_steps_is_measured_whole() -> None:
    batch = make_batch(12)
    energy = asked(Images())
    table = pairwise_energies(energy, batch.hidden, batch.actions, batch.pad_mask)
    rows = torch.stack([energy(batch.hidden, a.expand(12, -1, -1), batch.pad_mask) for a in batch.actions], dim=1)
    assert torch.allclose(table, rows, atol=1e-6)
    assert inspect(energy, batch).measurement("field.correction_gain.k4") is not None


def own_factory(folder: Path) -> Path:
    """A user's file that makes `Candidates`."""
    path = folder / "mine.py"
    path.write_text(
        "import sys\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from test_calling import Candidates\n"
        "def make():\n    return Candidates()\n"
    )
    return path


def test_a_repaired_model_is_asked_as_before_when_it_is_loaded_again(tmp_path: Path) -> None:
    factory = own_factory(tmp_path)
    larger, smaller = split_by_episode(make_batch(40), 0.4, seed=0)
    torch.save(Plain().state_dict(), tmp_path / "head.pt")
    sick = load_checkpoint(tmp_path / "head.pt", model=f"{factory}:make", sign="score", candidates=True)
    plan = TrainingPlan(steps=2, batch_size=8, guarded=False)
    repair = fix_and_retrain(sick, larger, smaller, RepairOptions(plan, ("linear-head",)), out=tmp_path / "out")
    again = load_checkpoint(repair.checkpoint, model=f"{factory}:make")
    found, wanted = inspect(again, smaller).measurement("auroc.swap"), repair.arms["after"].measurement("auroc.swap")
    assert found is not None
    assert wanted is not None
    assert found.value == pytest.approx(wanted.value)


def test_candidates_from_the_command_line(tmp_path: Path) -> None:
    factory = own_factory(tmp_path)
    batch = make_batch(12)
    torch.save(Plain().state_dict(), tmp_path / "head.pt")
    torch.save({"hidden": batch.hidden, "actions": batch.actions, "pad_mask": batch.pad_mask}, tmp_path / "dump.pt")
    words = ["inspect", "checkpoint", str(tmp_path / "head.pt"), "--batch", str(tmp_path / "dump.pt"), "--quiet"]
    own = [*words, "--model", f"{factory}:make", "--sign", "score", "--fail-on", "never"]
    told = CliRunner().invoke(app, [*own, "--candidates", "--format", "json"])
    assert told.exit_code == 0, told.output
    found = json.loads(told.stdout)
    assert found["checkpoint"]["called"].startswith("model(hidden, actions [B, N, …]")
    without = CliRunner().invoke(app, own)
    assert isinstance(without.exception, ModelFailed)
    energy = load_checkpoint(tmp_path / "head.pt", model=f"{factory}:make", sign="score", candidates=True)
    blind = Batch(batch.hidden, batch.actions, batch.pad_mask)
    wanted = inspect(asked(Plain()), blind).measurement("auroc.swap")
    assert inspect(energy, blind).measurement("auroc.swap").value == pytest.approx(wanted.value)  # type: ignore[union-attr]
