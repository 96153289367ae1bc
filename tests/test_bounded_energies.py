"""Energies that are bounded by a norm: cosines, distances of unit vectors, kernels; their ranges and loss floors."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, make_batch, pooled
from torch import Tensor, nn
from torch.nn import functional

from energydiag.losses import info_nce_per_row
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.head_reading import HeadReading, read_head
from energydiag.objectives import infonce_floor
from energydiag.pipeline import inspect

WIDTH = 8


class TwoTowers(nn.Module):
    """Features of the context and of the action, ``[B, W]`` each, and any energy of the two."""

    def __init__(self, end: Callable[[TwoTowers, Tensor, Tensor], Tensor]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.context = nn.Sequential(nn.Linear(CONTEXT, 16), nn.SiLU(), nn.Linear(16, WIDTH))
        self.action = nn.Sequential(nn.Linear(STEPS * ACTION, 16), nn.SiLU(), nn.Linear(16, WIDTH))
        self.logit_scale = nn.Parameter(torch.tensor(math.log(5.0)))
        self.of_context = nn.Linear(CONTEXT, 1)
        self.end = end
        self.eval()

    def forward(self, hidden: Tensor, actions: Tensor, pad_mask: Tensor | None = None) -> Tensor:
        self.mean = pooled(hidden, pad_mask)
        return self.end(self, self.context(self.mean), self.action(actions.flatten(1)))


def unit(x: Tensor) -> Tensor:
    return functional.normalize(x, dim=-1)


def by_norm(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def by_clamped_norm(x: Tensor) -> Tensor:
    return x / torch.linalg.vector_norm(x, dim=-1, keepdim=True).clamp_min(1e-8)


def by_root(x: Tensor) -> Tensor:
    return x * torch.rsqrt(x.pow(2).sum(dim=-1, keepdim=True) + 1e-12)


def steps(x: Tensor) -> Tensor:
    """Two unit vectors a sample."""
    return unit(x.reshape(len(x), 2, WIDTH // 2))


End = Callable[[TwoTowers, Tensor, Tensor], Tensor]

COSINES: dict[str, tuple[End, str, tuple[float, float]]] = {
    "normalize": (lambda _, f, g: -(unit(f) * unit(g)).sum(-1), "-cosine", (-1, 1)),
    "cosine_similarity": (lambda _, f, g: -functional.cosine_similarity(f, g), "-cosine", (-1, 1)),
    "own norm": (lambda _, f, g: -10 * torch.einsum("bd,bd->b", by_norm(f), by_norm(g)), "-10·cosine", (-10, 10)),
    "clamped norm": (lambda _, f, g: 1 - (by_clamped_norm(f) * unit(g)).sum(-1), "-cosine + 1", (0, 2)),
    "root of squares": (lambda _, f, g: torch.linalg.vecdot(by_root(f), by_root(g)), "cosine", (-1, 1)),
    "learned scale": (lambda m, f, g: -m.logit_scale.exp() * (unit(f) * unit(g)).sum(-1), "-5·cosine", (-5, 5)),
    "clamped learned scale": (
        lambda m, f, g: -(unit(f) * unit(g)).sum(-1) * m.logit_scale.exp().clamp(max=2.5),
        "-2.5·cosine",
        (-2.5, 2.5),
    ),
    "matrix": (
        lambda m, f, g: -(unit(f) @ unit(g).T).diagonal() * m.logit_scale.exp(),
        "-5·cosine",
        (-5, 5),
    ),
    "batched matrix": (lambda _, f, g: torch.bmm(unit(f)[:, None], unit(g)[..., None])[:, 0, 0], "cosine", (-1, 1)),
    "scaled features": (lambda _, f, g: (unit(f) * 3 * unit(g)).sum(-1), "3·cosine", (-3, 3)),
    "steps summed": (lambda _, f, g: (steps(f) * steps(g)).sum((1, 2)), "2·cosine", (-2, 2)),
    "steps averaged": (
        lambda _, f, g: -(steps(f) * steps(g)).sum(-1).mean(-1),
        "-cosine, averaged over the steps",
        (-1, 1),
    ),
    "whole batch": (lambda _, f, g: -5 * ((f / f.norm()) * (g / g.norm())).sum(-1), "-5·cosine", (-5, 5)),
    "squared distance": (
        lambda _, f, g: (unit(f) - unit(g)).square().sum(-1),
        "squared distance of unit vectors",
        (0, 4),
    ),
}

OTHERS: dict[str, tuple[End, str, tuple[float, float] | None]] = {
    "distance": (
        lambda _, f, g: (unit(f) - unit(g)).norm(dim=-1) * 2,
        "energy = 2·distance of unit vectors, between 0 and 4",
        (0, 4),
    ),
    "cdist": (
        lambda _, f, g: torch.cdist(unit(f), unit(g)).diagonal(),
        "energy = distance of unit vectors, between 0 and 2",
        (0, 2),
    ),
    "kernel": (lambda _, f, g: -torch.exp(-(f - g).pow(2).sum(-1) / 2), "energy = -exp(", (-1, 0)),
    "tanh of a scaled norm": (
        lambda m, f, g: m.logit_scale.exp() * torch.tanh((f - g).norm(dim=-1)),
        "energy = 5·tanh(raw)",
        (-5, 5),
    ),
    "sum of two": (lambda _, f, g: torch.sigmoid(f[:, 0]) + torch.tanh(g[:, 0]), "energy ends in `add`", (-1, 2)),
    "bounded scale": (
        lambda m, f, g: -(unit(f) * unit(g)).sum(-1) * (1 + torch.sigmoid(m.of_context(m.mean)[:, 0])),
        "whose slope is not known here, between -2 and 2",
        (-2, 2),
    ),
    "scale of the context": (
        lambda m, f, g: -(unit(f) * unit(g)).sum(-1) * m.of_context(m.mean)[:, 0].exp(),
        "a bounded value times a scale that depends on the input",
        None,
    ),
    "softplus of a cosine": (
        lambda _, f, g: functional.softplus(3 * (unit(f) * unit(g)).sum(-1)),
        "energy = softplus(3·raw), between 0.04859 and 3.049",
        (math.log1p(math.exp(-3)), math.log1p(math.exp(3))),
    ),
}

UNBOUNDED: dict[str, End] = {
    "product": lambda _, f, g: (f * g).sum(-1),
    "one unit vector": lambda _, f, g: (unit(f) * g).sum(-1),
    "another norm": lambda _, f, g: (f / g.norm(dim=-1, keepdim=True) * unit(g)).sum(-1),
    "gated": lambda _, f, g: (f * torch.sigmoid(g)).sum(-1),
}


def read(end: End) -> tuple[HeadReading, Tensor]:
    batch, model = make_batch(6), TwoTowers(end)
    energy = EnergyFunction(model.requires_grad_(False), "user")
    return read_head(energy, batch.hidden[:2], batch.actions[:2], batch.pad_mask[:2]), energy(*_inputs(batch))  # type: ignore[index]


def _inputs(batch: object) -> tuple[Tensor, Tensor, Tensor]:
    return batch.hidden, batch.actions, batch.pad_mask  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", COSINES)
def test_a_cosine_is_read_with_its_scale_and_has_the_floor_of_one(name: str) -> None:
    end, formula, limits = COSINES[name]
    reading, energy = read(end)
    assert reading.describe() == f"energy = {formula}, between {limits[0]:.4g} and {limits[1]:.4g}"
    assert reading.energy_range == pytest.approx(limits, rel=1e-3)
    assert limits[0] - 1e-3 <= float(energy.min()) <= float(energy.max()) <= limits[1] + 1e-3
    scale = (limits[1] - limits[0]) / 2
    assert reading.floor(7, 0.5) == pytest.approx(math.log1p(7 * math.exp(-scale * (1 + 1 / 7) / 0.5)), rel=1e-3)


@pytest.mark.parametrize("name", OTHERS)
def test_other_bounded_ends(name: str) -> None:
    end, told, limits = OTHERS[name]
    reading, _ = read(end)
    assert told in reading.describe()
    assert reading.energy_range == (None if limits is None else pytest.approx(limits, rel=1e-3, abs=1e-6))


@pytest.mark.parametrize("name", UNBOUNDED)
def test_what_is_not_bounded_is_not_called_so(name: str) -> None:
    reading, _ = read(UNBOUNDED[name])
    assert reading.energy_range is None
    assert reading.stopped_at == ""
    assert reading.floor(7, 0.5) == 0


def free_vectors(negatives: int, tau: float, energy: Callable[[Tensor], Tensor], lr: float = 0.05) -> float:
    """The lowest InfoNCE that is found with unit vectors that are free to move."""
    generator = torch.Generator().manual_seed(0)
    first, second = (torch.randn(negatives + 1, 2 * negatives, generator=generator).requires_grad_() for _ in range(2))
    optimizer = torch.optim.Adam([first, second], lr)
    best = math.inf
    for _ in range(600):
        loss = info_nce_per_row(energy(unit(first) @ unit(second).T), tau).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        best = min(best, float(loss.detach()))
    return best


@pytest.mark.parametrize(("negatives", "tau", "wanted"), [(63, 0.5, 2.2257), (127, 1.0, 3.8578), (7, 0.3, None)])
def test_the_floor_of_a_cosine_is_what_free_vectors_reach(negatives: int, tau: float, wanted: float | None) -> None:
    floor = infonce_floor(negatives, 2.0 / tau, cosine=True)
    if wanted is not None:
        assert floor == pytest.approx(wanted, abs=2e-4)
    assert floor - 1e-4 <= free_vectors(negatives, tau, lambda cosine: -cosine) <= floor + 1e-3
    assert infonce_floor(negatives, 2.0 / tau) < floor


def test_the_floor_of_a_distance_is_what_free_vectors_reach() -> None:
    reading, _ = read(OTHERS["distance"][0])
    found = free_vectors(15, 0.5, lambda cosine: 2 * (2 - 2 * cosine).clamp_min(1e-8).sqrt(), lr=0.02)
    assert reading.floor(15, 0.5) - 1e-3 <= found <= reading.floor(15, 0.5) + 2e-2


def test_the_floor_of_a_cosine_is_measured_and_its_energies_have_a_range() -> None:
    batch = make_batch(12)
    found = inspect(EnergyFunction(TwoTowers(COSINES["learned scale"][0]), "user"), batch, tau=0.5)
    values = {m.name: m.value for m in found.measurements}
    assert values["loss.swap.floor"] == pytest.approx(infonce_floor(11, 10.0 / 0.5, cosine=True), rel=1e-4)
    assert values["head.energy_range"] == pytest.approx(10.0, rel=1e-4)
    assert 0 < values["head.range_use"] < 1
    assert "head.slope_saturated_fraction" not in values
    assert found.checkpoint.energy == "energy = -5·cosine, between -5 and 5"
