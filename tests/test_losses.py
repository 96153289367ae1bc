"""InfoNCE against its definition, and the floor that a bounded head cannot pass."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from energydiag.losses import info_nce_per_row
from energydiag.objectives import infonce_floor

# N, R, tau, floor: the table that the design gives
FLOORS = [
    *((7, 1, 0.5, 0.667), (7, 1, 0.3, 0.223), (7, 2, 0.5, 0.121), (7, 2, 0.3, 0.0089)),
    *((15, 1, 0.5, 1.109), (15, 1, 0.3, 0.429), (15, 2, 0.5, 0.243), (15, 2, 0.3, 0.0189)),
    *((63, 1, 0.5, 2.254), (63, 1, 0.3, 1.178), (63, 2, 0.5, 0.767), (63, 2, 0.3, 0.0771)),
    *((255, 1, 0.5, 3.570), (255, 1, 0.3, 2.312), (255, 2, 0.5, 1.735), (255, 2, 0.3, 0.281)),
]


@pytest.mark.parametrize(("negatives", "energy_range", "tau", "floor"), FLOORS)
def test_floor_table(negatives: int, energy_range: float, tau: float, floor: float) -> None:
    assert infonce_floor(negatives, energy_range / tau) == pytest.approx(floor, rel=6e-3)


def test_an_unbounded_head_has_no_floor() -> None:
    assert infonce_floor(63, math.inf) == 0


@pytest.mark.parametrize("negatives", [1, 7, 63])
def test_the_floor_is_reached_by_positives_and_negatives_at_opposite_ends(negatives: int) -> None:
    energies = 1 - torch.eye(negatives + 1, dtype=torch.float64)
    floor = infonce_floor(negatives, 1.0 / 0.3)
    assert info_nce_per_row(energies, 0.3).tolist() == pytest.approx([floor] * (negatives + 1))


@pytest.mark.parametrize("negatives", [1, 7, 63])
def test_equal_energies_give_chance(negatives: int) -> None:
    assert float(info_nce_per_row(torch.full((1, negatives + 1), 3.7), 0.1)) == pytest.approx(math.log(1 + negatives))


energies = st.integers(2, 6).flatmap(
    lambda n: st.lists(st.lists(st.floats(-1, 1, width=32), min_size=n, max_size=n), min_size=1, max_size=n)
)


@given(energies=energies, tau=st.floats(0.05, 5))
def test_info_nce_is_minus_the_log_of_the_positives_share(energies: list[list[float]], tau: float) -> None:
    table = torch.tensor(energies, dtype=torch.float64)
    slow = [
        -math.log(math.exp(-row[i] / tau) / sum(math.exp(-e / tau) for e in row))
        for i, row in enumerate(table.tolist())
    ]
    assert info_nce_per_row(table, tau).tolist() == pytest.approx(slow, abs=1e-9)


@given(energies=energies, tau=st.floats(0.05, 5))
def test_no_energies_inside_a_range_beat_its_floor(energies: list[list[float]], tau: float) -> None:
    loss = info_nce_per_row(torch.tensor(energies, dtype=torch.float64), tau)
    assert float(loss.min()) >= infonce_floor(len(energies[0]) - 1, 2.0 / tau) * (1 - 1e-9)


def test_the_positive_of_row_i_is_column_i_also_with_more_candidates_than_rows() -> None:
    table = torch.tensor([[0.0, 9, 9, 9], [9, 0.0, 9, 9]])
    assert float(info_nce_per_row(table, 0.5).max()) < 1e-6
