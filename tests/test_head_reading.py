"""What produces the energy is read from one forward pass, whatever the module calls it."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from parts import ACTION, CONTEXT, make_batch, make_head, pooled
from torch import Tensor, nn
from torch.nn import functional

from energydiag.models.activations import ACTIVATIONS
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import ActivationProbe, HeadReading, read_head


class Written(nn.Module):
    """A user's module: raw values ``[B, H, 1]`` from a small network, and any end."""

    def __init__(self, end: Callable[[Written, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(4)
        self.net = nn.Sequential(nn.Linear(CONTEXT + ACTION, 8), nn.Tanh(), nn.Linear(8, 1))
        self.gate = nn.Linear(1, 1)
        self.scale = nn.Parameter(torch.tensor([1.5]))
        self.squash = nn.Sigmoid()
        self.end = end
        self.eval()

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        context = pooled(hidden, pad_mask)[:, None].expand(-1, actions.shape[1], -1)
        return self.end(self, self.net(torch.cat((context, actions), dim=-1)))


def mean(raw: Tensor) -> Tensor:
    return raw.mean(dim=(1, 2))


def half_in_place(values: Tensor) -> Tensor:
    values /= 2
    values += 1
    return values


# the end of the module, the formula that is read, the lowest and highest energy
ENDS: dict[str, tuple[Callable[[Written, Tensor], Tensor], str, tuple[float, float] | None]] = {
    "nn.Sigmoid": (lambda m, r: m.squash(mean(r)), "sigmoid(raw), raw averaged over the steps first", (0, 1)),
    "per step": (
        lambda _, r: mean(2 * torch.sigmoid(r / 2)),
        "2·sigmoid(0.5·raw), averaged over the steps",
        (0, 2),
    ),
    "flattened": (
        lambda _, r: torch.sigmoid(r.flatten(1).unsqueeze(-1)).squeeze(-1).mean(1),
        "sigmoid(raw), averaged over the steps",
        (0, 1),
    ),
    "summed": (
        lambda _, r: torch.sigmoid(r.sum((1, 2))),
        "sigmoid(4·raw), raw averaged over the steps first",
        (0, 1),
    ),
    "tanh": (
        lambda _, r: 1.1 + torch.tanh(mean(r) / 4),
        "tanh(0.25·raw) + 1.1, raw averaged over the steps first",
        (0.1, 2.1),
    ),
    "negated": (
        lambda _, r: -torch.sigmoid(mean(r)),
        "-sigmoid(raw), raw averaged over the steps first",
        (-1, 0),
    ),
    "one minus": (
        lambda _, r: 1 - mean(r).sigmoid(),
        "-sigmoid(raw) + 1, raw averaged over the steps first",
        (0, 1),
    ),
    "softplus": (
        lambda _, r: functional.softplus(mean(r)),
        "softplus(raw), raw averaged over the steps first",
        None,
    ),
    "relu": (lambda _, r: torch.relu(mean(r) + 2), "relu(raw + 2), raw averaged over the steps first", None),
    "exp": (lambda _, r: mean(r).exp(), "exp(raw), raw averaged over the steps first", None),
    "logsigmoid": (
        lambda _, r: -functional.logsigmoid(mean(r)),
        "-logsigmoid(raw), raw averaged over the steps first",
        None,
    ),
    "linear": (lambda _, r: mean(r) * 3 - 1, "3·raw - 1, raw averaged over the steps first", None),
    "inner gate": (
        lambda m, r: mean(r * torch.sigmoid(m.gate(r))),
        "raw, raw averaged over the steps first",
        None,
    ),
    "inner gate and sigmoid": (
        lambda m, r: torch.sigmoid(mean(r * torch.sigmoid(m.gate(r)))),
        "sigmoid(raw), raw averaged over the steps first",
        (0, 1),
    ),
    "residual": (
        lambda m, r: mean(r + functional.silu(m.gate(r))),
        "raw, raw averaged over the steps first",
        None,
    ),
    "in place": (
        lambda _, r: mean(r.clone().mul_(2).sigmoid_().mul_(2).add_(0.1)),
        "2·sigmoid(2·raw) + 0.1, averaged over the steps",
        (0.1, 2.1),
    ),
    "augmented": (
        lambda _, r: half_in_place(torch.sigmoid(mean(r))),
        "0.5·sigmoid(raw) + 1, raw averaged over the steps first",
        (1, 1.5),
    ),
    "learned scale": (
        lambda m, r: m.scale * torch.sigmoid(mean(r)),
        "1.5·sigmoid(raw), raw averaged over the steps first",
        (0, 1.5),
    ),
    "exponent of a learned scale": (
        lambda m, r: torch.sigmoid(mean(r)) * (m.scale - 1.5).exp() / 2,
        "0.5·sigmoid(raw), raw averaged over the steps first",
        (0, 0.5),
    ),
}

FIRST = ", raw averaged over the steps first; raw from `prediction_head`"
FEATURES = "; raw from `prediction_head`, which is given features averaged over the steps"
EACH = ", averaged over the steps; raw from `prediction_head`"
BUILT_IN = {
    "original": (f"sigmoid(raw) + 1e-06{FEATURES}", (1e-6, 1 + 1e-6)),
    "original-raw": (f"sigmoid(raw) + 1e-06{FIRST}", (1e-6, 1 + 1e-6)),
    "original-per-step": (f"sigmoid(raw) + 1e-06{EACH}", (1e-6, 1 + 1e-6)),
    "rescaled": (f"2·sigmoid(0.5·raw) + 0.1{FEATURES}", (0.1, 2.1)),
    "rescaled-per-step": (f"2·sigmoid(0.5·raw) + 0.1{EACH}", (0.1, 2.1)),
    "softplus": (f"softplus(raw) + 1e-06{FEATURES}", None),
    "original-clipped": (f"sigmoid(30·tanh(0.0333333·raw)) + 1e-06{FEATURES}", (1e-6, 1 + 1e-6)),
    "softplus-clipped": (f"softplus(30·tanh(0.0333333·raw)) + 1e-06{FEATURES}", (1e-6, 30 + 1e-6)),
    "softplus-clipped-per-step": (f"softplus(30·tanh(0.0333333·raw)) + 1e-06{EACH}", (1e-6, 30 + 1e-6)),
    "linear": (f"raw{FIRST}", None),
    "linear-features": (f"raw{FEATURES}", None),
}


def read(model: nn.Module, samples: int = 3) -> tuple[HeadReading, Tensor | None, Tensor]:
    """The reading, the activation's input as the probe keeps it, and the energies."""
    batch, energy = make_batch(samples), EnergyFunction(model, "test")
    reading = read_head(energy, batch.hidden, batch.actions, batch.pad_mask)
    with torch.no_grad(), ActivationProbe(reading) as probe:
        answer = energy(batch.hidden, batch.actions, batch.pad_mask)
    return reading, probe.activation_input, answer


def assert_range(reading: HeadReading, wanted: tuple[float, float] | None) -> None:
    assert reading.energy_range == (None if wanted is None else pytest.approx(wanted))


def assert_reproduces(reading: HeadReading, kept: Tensor | None, energy: Tensor) -> None:
    """The kept values, through the formula that was read, are the energies."""
    if reading.activation is None:
        assert kept is None
        return
    assert kept is not None
    again = reading.scale * reading.activation.value(kept) + reading.offset
    torch.testing.assert_close(again.reshape(len(energy), -1).mean(dim=1), energy)


@pytest.mark.parametrize("head", BUILT_IN)
def test_built_in_heads(head: str) -> None:
    formula, limits = BUILT_IN[head]
    reading, kept, energy = read(make_head(head))
    assert reading.describe() == f"energy = {formula}"
    assert_range(reading, limits)
    assert_reproduces(reading, kept, energy)


@pytest.mark.parametrize("name", ENDS)
def test_user_written_heads(name: str) -> None:
    end, formula, limits = ENDS[name]
    reading, kept, energy = read(Written(end))
    assert reading.describe().partition(";")[0] == f"energy = {formula}"
    assert_range(reading, limits)
    assert_reproduces(reading, kept, energy)


def test_one_sample_is_enough_to_tell_a_learned_scale_from_the_raw_value() -> None:
    end, _, limits = ENDS["learned scale"]
    reading, kept, energy = read(Written(end), samples=1)
    assert_range(reading, limits)
    assert_reproduces(reading, kept, energy)


def test_a_score_is_read_as_the_energy_it_stands_for() -> None:
    batch, energy = make_batch(2), EnergyFunction(make_head("original"), "test", sign="score")
    reading = read_head(energy, batch.hidden, batch.actions, batch.pad_mask)
    assert_range(reading, (-1 - 1e-6, -1e-6))


def slope(name: str, u: float, dtype: torch.dtype = torch.float32) -> float:
    relative = ACTIVATIONS[name].relative_slope
    assert relative is not None
    return float(relative(torch.tensor(u, dtype=dtype)))


@pytest.mark.parametrize(
    ("dtype", "alive", "dead"),
    [(torch.float32, 16.63, 16.64), (torch.bfloat16, 6.21, 6.25), (torch.float16, 8.3, 8.35)],
)
@pytest.mark.parametrize("inner_scale", [1.0, 0.5])
def test_where_a_sigmoid_has_no_slope_at_all(inner_scale: float, dtype: torch.dtype, alive: float, dead: float) -> None:
    """A rescaled head (inner scale .5) gets there at twice the raw value."""
    for raw, lives in ((alive / inner_scale, True), (dead / inner_scale, False)):
        leaf = torch.tensor(raw, dtype=dtype, requires_grad=True)
        (gradient,) = torch.autograd.grad(torch.sigmoid(inner_scale * leaf), leaf)
        assert (float(gradient) > 0) is lives
        assert (slope("sigmoid", inner_scale * raw, dtype) > 0) is lives


@pytest.mark.parametrize("sign", [-1, 1])
def test_where_a_sigmoid_has_lost_nine_tenths_of_its_slope(sign: int) -> None:
    edge = 2 * math.acosh(math.sqrt(10))
    assert edge == pytest.approx(3.64, abs=5e-3)
    assert 2 * edge == pytest.approx(7.27, abs=5e-3)
    assert slope("sigmoid", sign * (edge - 1e-3)) > 0.1 > slope("sigmoid", sign * (edge + 1e-3))


@pytest.mark.parametrize(("raw", "times"), [(0.0, 1.0), (2.12, 2.0), (4.0, 5.9), (8.0, 53.0), (15.2, 2000.0)])
def test_slope_of_the_rescaled_head_over_that_of_the_original(raw: float, times: float) -> None:
    leaf = torch.tensor(raw, dtype=torch.float64, requires_grad=True)
    (original,) = torch.autograd.grad(torch.sigmoid(leaf), leaf)
    (rescaled,) = torch.autograd.grad(2 * torch.sigmoid(0.5 * leaf), leaf)
    assert float(rescaled / original) == pytest.approx(math.cosh(raw / 2) ** 2 / math.cosh(raw / 4) ** 2, rel=1e-9)
    assert float(rescaled / original) == pytest.approx(times, rel=0.02)


@pytest.mark.parametrize("name", [name for name, a in ACTIVATIONS.items() if a.relative_slope is not None])
def test_slopes_are_those_of_autograd_over_their_maximum(name: str) -> None:
    activation = ACTIVATIONS[name]
    u = torch.linspace(-30, 30, 601, dtype=torch.float64).requires_grad_()  # holds 0, where most are steepest
    (gradient,) = torch.autograd.grad(activation.value(u).sum(), u)
    assert activation.relative_slope is not None
    torch.testing.assert_close(activation.relative_slope(u.detach()), gradient / gradient.max(), atol=1e-9, rtol=1e-6)


@pytest.mark.parametrize(
    ("end", "name"),
    [
        (lambda r: torch.sigmoid(r).pow(2), "pow"),
        (lambda r: torch.sigmoid(r).clamp(0.1, 0.9), "clamp"),
        (lambda r: functional.elu(r), "elu"),
        (lambda r: functional.hardtanh(r, 0.0, 6.0), "hardtanh"),
        (lambda r: -torch.linalg.vector_norm(r[..., None], dim=-1), "linalg_vector_norm"),
    ],
)
def test_an_end_that_is_not_understood_is_not_called_linear(end: Callable[[Tensor], Tensor], name: str) -> None:
    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.out = nn.Linear(CONTEXT + ACTION, 1)

        def forward(self, hidden: Tensor, actions: Tensor, _mask: Tensor | None) -> Tensor:
            return end(self.out(torch.cat((hidden.mean(1), actions.mean(1)), dim=-1)).squeeze(-1))

    batch = make_batch()
    reading = read_head(EnergyFunction(Model().eval(), "user"), batch.hidden, batch.actions, batch.pad_mask)
    assert reading.activation is None
    assert reading.stopped_at == name
    assert name in reading.describe()
