"""Batch dumps: every accepted form gives the same batch, and what does not fit is named."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from parts import ACTION, CONTEXT, STEPS, TOKENS, make_batch, make_head
from safetensors.torch import save_file
from torch import Tensor

from energydiag.batch import Batch
from energydiag.batches import load_batch, read_batch
from energydiag.batches.named import ALIASES
from energydiag.errors import InvalidBatch
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect

N = 6


def contents(**changes: Any) -> dict[str, Any]:
    """What a full dump holds, by its own names; a change to None leaves the name out."""
    batch = make_batch(N)
    named = {field.name: getattr(batch, field.name) for field in fields(batch)}
    named |= {"negatives": batch.actions[:, None] + 1, "task": torch.zeros(N, dtype=torch.int32)}
    return {name: value.clone() if isinstance(value, Tensor) else value for name, value in named.items()} | changes


def dump(folder: Path, **changes: Any) -> Path:
    """A file of its own: what was read from another may still be mapped into memory."""
    path = folder / f"dump-{len(list(folder.iterdir()))}.pt"
    torch.save({name: value for name, value in contents(**changes).items() if value is not None}, path)
    return path


def assert_same(got: Batch, wanted: Batch) -> None:
    for field in fields(Batch):
        one, other = getattr(got, field.name), getattr(wanted, field.name)
        assert (one is None) == (other is None), field.name
        assert one is None or (one.dtype == other.dtype and torch.equal(one, other)), field.name


def test_the_three_formats_hold_the_same(tmp_path: Path) -> None:
    tensors = {name: value.contiguous() for name, value in contents().items() if value is not None}
    torch.save(tensors, tmp_path / "a")
    save_file(tensors, tmp_path / "b")
    numpy.savez(tmp_path / "c.npz", **{name: value.numpy() for name, value in tensors.items()})
    wanted = load_batch(tmp_path / "a")
    assert_same(load_batch(tmp_path / "b"), wanted)
    assert_same(load_batch(tmp_path / "c.npz"), wanted)
    assert wanted.task is not None
    assert wanted.task.dtype == torch.int64


@pytest.mark.parametrize(("name", "alias"), [(name, alias) for name in ALIASES for alias in ALIASES[name]])
def test_aliases(tmp_path: Path, name: str, alias: str) -> None:
    wanted = load_batch(dump(tmp_path))
    assert_same(load_batch(dump(tmp_path, **{name: None, alias: contents()[name]})), wanted)
    with pytest.raises(InvalidBatch, match=f"`{name}` and `{alias}`, which mean the same"):
        load_batch(dump(tmp_path, **{alias: contents()[name]}))


@pytest.mark.parametrize("dtype", [torch.bool, torch.int64, torch.float32])
def test_an_attention_mask_is_turned_round(tmp_path: Path, dtype: torch.dtype) -> None:
    visible = (~contents()["pad_mask"]).to(dtype)
    assert_same(load_batch(dump(tmp_path, pad_mask=None, attention_mask=visible)), load_batch(dump(tmp_path)))


def test_layer_actions_as_a_list(tmp_path: Path) -> None:
    listed = list(contents()["layer_actions"].unbind(dim=1))
    assert_same(load_batch(dump(tmp_path, layer_actions=listed)), load_batch(dump(tmp_path)))


def test_the_policys_action_is_the_last_layers_where_none_is_dumped(tmp_path: Path) -> None:
    batch = load_batch(dump(tmp_path, policy_actions=None))
    assert torch.equal(batch.policy_actions, batch.layer_actions[:, -1])


def test_contexts_keep_their_type_and_actions_are_in_float32_at_least(tmp_path: Path) -> None:
    path = dump(tmp_path, hidden=contents()["hidden"].bfloat16(), actions=contents()["actions"].double())
    batch = load_batch(path)
    assert (batch.hidden.dtype, batch.actions.dtype) == (torch.bfloat16, torch.float64)
    assert load_batch(dump(tmp_path, actions=contents()["actions"].half())).actions.dtype == torch.float32


def test_pooled_contexts_and_actions_without_steps(tmp_path: Path) -> None:
    path = tmp_path / "dump.pt"
    torch.save({"hidden": torch.zeros(4, 2), "actions": torch.zeros(4, 3), "negatives": torch.zeros(4, 5, 3)}, path)
    assert load_batch(path).negatives.shape == (4, 5, 3)


def test_unknown_names_are_told(tmp_path: Path) -> None:
    assert read_batch(dump(tmp_path, hiden=torch.zeros(1), note="text")).unknown == ("hiden", "note")


MISFITS: list[tuple[str, Any, str]] = [
    ("hidden", None, "no `hidden`"),
    ("actions", None, "no `actions`"),
    ("hidden", torch.zeros(N), r"\[N, S, D\] or \[N, D\]"),
    ("hidden", torch.zeros(N, 1, 1, 1), r"\[N, S, D\] or \[N, D\]"),
    ("hidden", torch.zeros(()), "empty"),
    ("hidden", torch.zeros(0, TOKENS, CONTEXT), "empty"),
    ("hidden", torch.zeros(N, 0, CONTEXT), "empty"),
    ("actions", torch.zeros(N, STEPS, 0), "empty"),
    ("actions", torch.zeros(N + 1, STEPS, ACTION), r"must be \[6, H, A\]"),
    ("actions", torch.zeros(N), r"must be \[6, H, A\]"),
    ("pad_mask", torch.zeros(N, TOKENS + 1), r"must be \[6, 5\]"),
    ("pad_mask", torch.zeros(N), r"must be \[6, 5\]"),
    ("policy_actions", torch.zeros(N, STEPS + 1, ACTION), r"must be \[6, 4, 3\]"),
    ("layer_actions", torch.zeros(N, STEPS, ACTION), r"must be \[6, any, 4, 3\]"),
    ("layer_actions", torch.zeros(N, 0, STEPS, ACTION), r"must be \[6, any, 4, 3\]"),
    ("layer_actions", [torch.zeros(N, STEPS, ACTION), torch.zeros(1)], "cannot be stacked"),
    ("layer_actions", [torch.zeros(()), torch.zeros(())], "cannot be stacked"),
    ("negatives", torch.zeros(N, 2, STEPS, ACTION + 1), r"must be \[6, any, 4, 3\]"),
    ("negatives", torch.zeros(N, 0, STEPS, ACTION), r"must be \[6, any, 4, 3\]"),
    ("episode", torch.zeros(N + 1, dtype=torch.long), r"must be \[6\]"),
    ("task", torch.zeros(N, 1, dtype=torch.long), r"must be \[6\]"),
    ("step", torch.zeros((), dtype=torch.long), r"must be \[6\]"),
    ("episode", [torch.tensor(0)] * N, "list, not a tensor"),
    ("hidden", "text", "str, not a tensor"),
    ("hidden", torch.zeros(N, TOKENS, CONTEXT, dtype=torch.int32), "int32, not floating point"),
    ("actions", torch.zeros(N, STEPS, ACTION, dtype=torch.int64), "int64, not floating point"),
    ("negatives", torch.zeros(N, 2, STEPS, ACTION, dtype=torch.bool), "bool, not floating point"),
]


@pytest.mark.parametrize(("name", "value", "told"), MISFITS, ids=[f"{n}-{t}" for n, _, t in MISFITS])
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, value: Any, told: str) -> None:
    with pytest.raises(InvalidBatch, match=told) as caught:
        load_batch(dump(tmp_path, **{name: value}))
    assert name in caught.value.message
    assert caught.value.next_step


def test_unusable_samples_are_found(batch: Batch) -> None:
    batch.hidden[0, 1, 2] = torch.nan
    batch.actions[1, 0, 0] = torch.inf
    batch.layer_actions[2, 0, 0, 0] = -torch.inf
    batch.policy_actions[5, 0, 0] = torch.nan
    batch.pad_mask[3] = True
    nonfinite, all_hidden = batch.unusable()
    assert nonfinite.tolist() == [True, True, True, False, False, True]
    assert all_hidden.tolist() == [False, False, False, True, False, False]


def test_unusable_samples_are_left_out_and_told() -> None:
    batch = make_batch(12)
    batch.hidden[0] = torch.nan
    batch.pad_mask[3] = True
    found = inspect(EnergyFunction(make_head(), "test"), batch)
    assert found.batch.samples_used == 10
    assert {"ED601", "ED602"} <= {finding.code for finding in found.findings}
    counted = [
        m for m in found.measurements if not m.name.startswith(("weights.", "hidden.", "gradient.parameters.nonfinite"))
    ]
    assert all(m.n == 12 or m.n <= 10 for m in counted)


def test_take_keeps_samples_together(batch: Batch) -> None:
    taken = batch.take(torch.tensor([4, 1]))
    assert len(taken) == 2
    assert torch.equal(taken.pad_mask[1], batch.pad_mask[1])
    assert taken.groups.tolist() == [2, 0]
    assert taken.negatives is None


@pytest.mark.parametrize("samples", [1, 3])
def test_one_sample_has_no_negative(samples: int) -> None:
    batch = make_batch(samples)
    batch.hidden[1:] = torch.nan
    with pytest.raises(InvalidBatch, match=f"1 of {samples} can be used"):
        inspect(EnergyFunction(make_head(), "test"), batch)


def test_a_batch_of_other_widths_than_the_checkpoints_is_refused() -> None:
    with pytest.raises(InvalidBatch, match="width 12 and actions of 7"):
        inspect(EnergyFunction(make_head(), "test", widths=(CONTEXT, 7)), make_batch())
