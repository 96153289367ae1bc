"""Tables that are filled piece by piece."""

from __future__ import annotations

import pytest
import torch

from energydiag.probes.filling import Filling


def test_pieces_come_into_their_places() -> None:
    table, whole = Filling(5), torch.randn(5, 2)
    for at in (torch.tensor([4, 1]), slice(2, 4), torch.tensor([0])):
        table.put(at, lambda at=at: (whole[at], whole[at, 0].long()))
    found = table.whole()
    assert torch.equal(found[0], whole)
    assert torch.equal(found[1], whole[:, 0].long())


def test_a_failure_is_told_to_whoever_asks_and_ends_the_filling() -> None:
    def fail() -> tuple[torch.Tensor]:
        raise RuntimeError("no gradient here")

    table, asked = Filling(2), []
    table.put(slice(0, 1), fail)
    table.put(slice(1, 2), lambda: asked.append(1) or (torch.zeros(1),))
    assert not asked
    for _ in range(2):
        with pytest.raises(RuntimeError, match="no gradient here"):
            table.whole()


def test_memory_that_ran_out_ends_everything() -> None:
    def fail() -> tuple[torch.Tensor]:
        raise torch.OutOfMemoryError("out of memory")

    with pytest.raises(torch.OutOfMemoryError):
        Filling(1).put(slice(0, 1), fail)
