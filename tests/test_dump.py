"""What `BatchWriter` writes is the batch that it was given, in whatever pieces, whatever happens to the process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import make_batch
from test_batches import assert_same

from energydiag.batch import Batch
from energydiag.batches import load_batch
from energydiag.dump import BatchWriter
from energydiag.errors import EnergydiagError, InvalidBatch, UsageError

SHARD = 4


def rows(batch: Batch, start: int, end: int) -> dict[str, Any]:
    return {name: value[start:end] for name, value in batch.present().items()}


def prefix(batch: Batch, samples: int) -> Batch:
    return batch.take(torch.arange(samples))


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@given(
    adds=st.lists(st.integers(0, 7), min_size=1, max_size=6).filter(any),
    shard_samples=st.integers(1, 9),
    index=st.lists(st.integers(0, 10**6), max_size=12),
    world_size=st.integers(1, 3),
)
def test_what_is_written_is_read(
    adds: list[int], shard_samples: int, index: list[int], world_size: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole, folder, start = make_batch(sum(adds)), tmp_path_factory.mktemp("dump") / "new", 0
    writers = [BatchWriter(folder, shard_samples, rank=rank, world_size=world_size) for rank in range(world_size)]
    order: list[list[int]] = [[] for _ in writers]
    for number, count in enumerate(adds):
        writers[number % world_size].add(**rows(whole, start, start + count))
        order[number % world_size] += range(start, start + count)
        start += count
    for writer in writers:
        writer.close()
    wanted = whole.take(torch.tensor([place for part in order for place in part]))
    got = load_batch(folder)
    assert_same(got, wanted)
    chosen = torch.tensor(index, dtype=torch.long) % len(wanted)
    assert_same(got.take(chosen), wanted.take(chosen))
    sizes = [len(part) for part in got.hidden.parts]  # type: ignore[attr-defined]
    assert sum(sizes) == len(wanted)
    assert max(sizes) <= shard_samples


def test_all_that_reading_accepts_can_be_added(tmp_path: Path) -> None:
    batch = make_batch(6)
    hidden = batch.hidden.bfloat16().requires_grad_()
    with BatchWriter(tmp_path, SHARD) as writer:
        for start in (0, 2, 4):
            part = rows(batch, start, start + 2)
            writer.add(
                hN=hidden[start : start + 2],
                a_pos=part["actions"].double().numpy()[:, ::-1][:, ::-1],
                attention_mask=~part["pad_mask"],
                layer_actions=list(part["layer_actions"].unbind(1)) if start else part["layer_actions"].numpy(),
                a_bc=None,
                episode_id=part["episode"].int(),
            )
    got = load_batch(tmp_path)
    wanted = {**rows(batch, 0, 6), "hidden": hidden.detach(), "actions": batch.actions.double()}
    assert_same(got, Batch(**wanted))


def test_what_was_added_may_be_changed_at_once(tmp_path: Path) -> None:
    batch, reused = make_batch(3), make_batch(3)
    with BatchWriter(tmp_path) as writer:
        writer.add(**rows(reused, 0, 3))
        reused.hidden.zero_()
    assert_same(load_batch(tmp_path), batch)


MISTAKES: list[tuple[dict[str, Any], str]] = [
    ({"hiden": torch.zeros(2)}, "holds `hiden`, which means nothing"),
    ({"h": torch.zeros(2, 5, 12)}, "`hidden` and `h`, which mean the same"),
    ({"actions": None}, "has no `actions`"),
    ({"pad_mask": None}, r"add number 2 has no `pad_mask`, as the first samples"),
    ({"task": torch.zeros(2, dtype=torch.long)}, "has `task` besides"),
    ({"hidden": torch.zeros(2, 6, 12), "pad_mask": torch.zeros(2, 6)}, r"\[N, 6, 12\] of float32, not \[N, 5, 12\]"),
    ({"hidden": torch.zeros(2, 5, 12, dtype=torch.bfloat16)}, "of bfloat16, not"),
    ({"episode": torch.zeros(3, dtype=torch.long)}, r"`episode` in add number 2 must be \[2\]"),
    ({"episode": [1, 2]}, "list, not a tensor"),
    ({"actions": np.array([["a"], ["b"]])}, "`actions` in add number 2 is an array of <U1"),
    ({"hidden": torch.zeros(0, 5, 12)}, "empty"),
]


@pytest.mark.parametrize(("changes", "told"), MISTAKES, ids=[told for _, told in MISTAKES])
def test_a_mistake_is_told_and_adds_nothing(tmp_path: Path, changes: dict[str, Any], told: str) -> None:
    batch = make_batch(6)
    with BatchWriter(tmp_path) as writer:
        writer.add(**rows(batch, 0, 4))
        with pytest.raises(InvalidBatch, match=told):
            writer.add(**rows(batch, 0, 2) | changes)
        writer.add(**rows(batch, 4, 6))
    assert_same(load_batch(tmp_path), batch)


def test_an_error_in_the_block_leaves_the_full_shards(tmp_path: Path) -> None:
    batch = make_batch(11)
    writer = BatchWriter(tmp_path, SHARD)

    def interrupted() -> None:
        with writer:
            writer.add(**rows(batch, 0, 11))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert_same(load_batch(tmp_path), prefix(batch, 8))
    with pytest.raises(UsageError, match="closed"):
        writer.add(**rows(batch, 8, 11))


def test_a_dump_is_gone_on_with_only_where_that_is_asked_for(tmp_path: Path) -> None:
    batch = make_batch(9)
    for start, end in ((0, 5), (5, 9)):
        with BatchWriter(tmp_path, SHARD, append=True) as writer:
            writer.add(**rows(batch, start, end))
    assert_same(load_batch(tmp_path), batch)
    with pytest.raises(UsageError, match="holds a dump already"):
        BatchWriter(tmp_path)
    with pytest.raises(UsageError, match="holds a dump already"):
        BatchWriter(tmp_path, rank=1, world_size=2)
    with pytest.raises(InvalidBatch, match="has no `pad_mask`"):
        BatchWriter(tmp_path, append=True).add(hidden=batch.hidden, actions=batch.actions)
    with BatchWriter(tmp_path, rank=1, world_size=2, append=True) as writer:
        writer.add(**rows(batch, 0, 1))
    assert len(load_batch(tmp_path)) == 10
    (tmp_path / "index.json").write_text("{}")
    with pytest.raises(InvalidBatch, match="no list of shards"):
        BatchWriter(tmp_path, append=True)


def test_ranks_begin_at_different_times_and_finish_on_their_own(tmp_path: Path) -> None:
    batch = make_batch(6)
    with BatchWriter(tmp_path, 1, rank=2, world_size=3) as late:
        late.add(**rows(batch, 5, 6))
        with BatchWriter(tmp_path, 2, rank=0, world_size=3) as early:
            early.add(**rows(batch, 0, 5))
    assert_same(load_batch(tmp_path), batch)
    assert files(tmp_path)[:2] == ["index-00000-of-00003.json", "index-00002-of-00003.json"]
    with pytest.raises(UsageError, match="holds a dump already"):
        BatchWriter(tmp_path, rank=2, world_size=3)
    with pytest.raises(UsageError, match="holds a dump already"):
        BatchWriter(tmp_path, rank=3, world_size=4)


@pytest.mark.parametrize("numbers", [{"shard_samples": 0}, {"rank": 1}, {"rank": -1, "world_size": 2}])
def test_numbers_that_cannot_be(tmp_path: Path, numbers: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        BatchWriter(tmp_path, **numbers)


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(EnergydiagError, match="cannot be"):
        BatchWriter(tmp_path / "file")


FULL_DISK = """
import resource, signal, sys
import energydiag, torch
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rows = {"hidden": torch.ones(4, 50, 100), "actions": torch.ones(4, 2)}
with energydiag.dump.BatchWriter(sys.argv[1], 4) as writer:
    writer.add(**rows)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, resource.RLIM_INFINITY))
    try:
        writer.add(**rows)
    except energydiag.errors.UsageError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the size of files")
def test_a_full_disk_is_told_and_can_be_mended(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", FULL_DISK, str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "shard-00001.safetensors cannot be written" in done.stdout
    assert len(load_batch(tmp_path)) == 8
    assert files(tmp_path) == ["index.json", "shard-00000.safetensors", "shard-00001.safetensors"]


def test_the_writer_loads_torch_and_the_package_does_not() -> None:
    script = "import energydiag, sys; assert 'torch' not in sys.modules; print(energydiag.dump.BatchWriter.__name__)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "BatchWriter\n", done.stderr


def test_what_a_kill_left_is_swept_and_what_is_not_ours_stays(tmp_path: Path) -> None:
    scratch = tmp_path / ".shard-00001.safetensors.x1"
    scratch.mkdir()
    for left in (scratch / ".tmpQ2", tmp_path / ".shard-00001.safetensors.unfinished-y", tmp_path / ".tmpMine"):
        left.write_text("half")
    with BatchWriter(tmp_path, 4) as writer:
        writer.add(**rows(make_batch(4), 0, 4))
    assert files(tmp_path) == [".tmpMine", "index.json", "shard-00000.safetensors"]


KILLS = 15
SAMPLES = 400

PARENT = """
import json, os, random, signal, sys, time
from pathlib import Path
sys.path.insert(0, {tests!r})
import torch
torch.set_num_threads(1)
import test_dump
from parts import make_batch
from energydiag.batches import load_batch
from energydiag.errors import UnreadableFile
folder, chance, seen = Path({folder!r}), random.Random(0), []
whole = make_batch({samples})

def start():
    child = os.fork()
    if child == 0:
        status = 1
        try:
            done = len(load_batch(folder)) if list(folder.glob("index.json")) else 0
            with test_dump.BatchWriter(folder, 3, append=True) as writer:
                for row in range(done, {samples}, 2):
                    writer.add(**test_dump.rows(whole, row, min(row + 2, {samples})))
            status = 0
        finally:
            os._exit(status)
    return child

def shards():
    return len(list(folder.glob("shard-*")))

def kill(child):
    before, patience = shards(), time.monotonic() + 20
    while chance.random() < 0.999 and shards() == before and time.monotonic() < patience:
        time.sleep(0.001)  # mostly until it has written something, sometimes before
    time.sleep(chance.uniform(0, 0.02))
    os.kill(child, signal.SIGKILL)

while True:
    child = start()
    if len(seen) < {kills}:
        kill(child)
    _, status = os.waitpid(child, 0)
    try:
        got = load_batch(folder)
    except UnreadableFile as error:
        assert "without index.json" in str(error) and not seen, error
    else:
        test_dump.assert_same(got, test_dump.prefix(whole, len(got)))
        seen.append(len(got))
    if not os.WIFSIGNALED(status):
        break
assert os.waitstatus_to_exitcode(status) == 0
print(json.dumps(seen))
"""


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")
def test_a_writer_killed_at_random_moments_leaves_a_dump_that_can_be_gone_on_with(tmp_path: Path) -> None:
    script = PARENT.format(
        tests=str(Path(__file__).parent), folder=str(tmp_path / "dump"), samples=SAMPLES, kills=KILLS
    )
    (tmp_path / "dump").mkdir()
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen == sorted(seen)
    assert seen[-1] == SAMPLES
    assert len(set(seen)) >= 5, seen
    assert not [name for name in files(tmp_path / "dump") if name.startswith(".")]
