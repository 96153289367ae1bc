"""Several real processes at one folder: one of them writes, the others get a clear error, and nothing is lost."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import make_batch, make_head

from energydiag.batches import load_batch
from energydiag.dump import BatchWriter
from energydiag.errors import EnergydiagError, UnreadableFile, UsageError
from energydiag.pipeline import ModelOptions, RepairOptions, repair_checkpoint
from energydiag.pipeline.repair_files import own_folder
from energydiag.plan import TrainingPlan

TRIES = 20


def write(folder: Path, number: int) -> int:
    """Samples that this process has written."""
    with BatchWriter(folder, shard_samples=4) as writer:
        for part in range(5):
            batch = make_batch(6, seed=10 * number + part)
            writer.add(hidden=batch.hidden, actions=batch.actions)
    return 30


def repair(folder: Path, number: int) -> int:
    """1 where this process has made a repair."""
    inputs = folder.parent / f"inputs-{number}"
    inputs.mkdir(exist_ok=True)
    torch.save(make_batch(24).present(), inputs / "dump.pt")
    torch.save(make_head("original").state_dict(), inputs / "head.pt")
    options = RepairOptions(TrainingPlan(steps=2, batch_size=4), forced=("linear-head",), resume=True)
    repair_checkpoint(
        inputs / "head.pt", inputs / "dump.pt", None, ModelOptions(head="original", nhead=2), options, folder
    )
    return 1


def contend(work: Callable[[Path, int], int], root: Path, number: int, start: Barrier, said: Any) -> None:
    torch.set_num_threads(1)
    for attempt in range(TRIES):
        start.wait()
        try:
            said.put((attempt, work(root / str(attempt), number), ""))
        except UsageError as error:
            said.put((attempt, 0, error.message))
        start.wait()


def contended(work: Callable[[Path, int], int], root: Path) -> dict[int, list[tuple[int, str]]]:
    """What two processes that begin at the same moment come to, by attempt."""
    context = multiprocessing.get_context("spawn")
    start, said = context.Barrier(2), context.Queue()
    both = [context.Process(target=contend, args=(work, root, number, start, said)) for number in (0, 1)]
    for each in both:
        each.start()
    found: dict[int, list[tuple[int, str]]] = {}
    for _ in range(2 * TRIES):
        attempt, done, error = said.get(timeout=300)
        found.setdefault(attempt, []).append((done, error))
    for each in both:
        each.join()
    return found


@pytest.mark.slow
def test_of_two_writers_one_is_refused_and_no_sample_is_lost(tmp_path: Path) -> None:
    for attempt, outcomes in contended(write, tmp_path).items():
        done = sum(count for count, _ in outcomes)
        assert done == 30, outcomes
        assert len(load_batch(tmp_path / str(attempt))) == done
        (error,) = [error for _, error in outcomes if error]
        assert "Another process writes a dump" in error or "holds a dump already" in error
        assert not list((tmp_path / str(attempt)).glob(".*"))


@pytest.mark.slow
def test_of_two_repairs_in_one_folder_one_is_refused(tmp_path: Path) -> None:
    for attempt, outcomes in contended(repair, tmp_path).items():
        refused = [error for _, error in outcomes if error]
        # where the first had ended before the second began, the second goes on with what is there
        assert len(refused) <= 1
        assert all("Another process writes a repair" in error for error in refused)
        assert (tmp_path / str(attempt) / "result.json").exists()


def test_the_second_writer_in_one_process_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    batch = make_batch(6)
    with BatchWriter(tmp_path, 4) as writer:
        writer.add(hidden=batch.hidden, actions=batch.actions)
        for append in (False, True):
            with pytest.raises(UsageError, match=r"Another process writes a dump|holds a dump already"):
                BatchWriter(tmp_path, append=append)
        other_rank = BatchWriter(tmp_path / "ranks", rank=1, world_size=2)
        BatchWriter(tmp_path / "ranks", rank=0, world_size=2).close()
        other_rank.close()
    assert len(load_batch(tmp_path)) == 6
    with BatchWriter(tmp_path, append=True) as writer:
        writer.add(hidden=batch.hidden, actions=batch.actions)
    assert len(load_batch(tmp_path)) == 12


def test_a_repair_is_not_written_through_a_link(tmp_path: Path) -> None:
    out, elsewhere = tmp_path / "out", tmp_path / "elsewhere"
    elsewhere.mkdir()
    out.mkdir()
    (out / "runs").symlink_to(elsewhere)
    with pytest.raises(UsageError, match="is a link"):
        own_folder(out, resume=True)
    (out / "runs").unlink()
    with own_folder(out, resume=True), pytest.raises(UsageError, match="Another process writes a repair"):
        own_folder(out, resume=True)
    own_folder(out, resume=False).release()
    assert not list(out.iterdir())


@pytest.mark.parametrize("harm", ["replaced", "cut off", "removed"])
def test_a_dump_that_changes_while_it_is_read_is_refused(harm: str, tmp_path: Path) -> None:
    for number, name in ((0, "dump"), (1, "other")):
        write(tmp_path / name, number)
    batch = load_batch(tmp_path / "dump")
    before = batch.hidden[:3]
    shard = min((tmp_path / "dump").glob("shard-*.safetensors"))
    if harm == "replaced":
        shutil.copyfile(tmp_path / "other" / shard.name, shard)
    elif harm == "cut off":
        os.truncate(shard, 100)
    else:
        shard.unlink()
    with pytest.raises(UnreadableFile, match="changed while it was read"):
        batch.hidden[:3]
    assert torch.equal(before, before)


def test_what_is_read_of_a_small_dump_does_not_change_with_its_file(tmp_path: Path) -> None:
    batch = make_batch(24)
    torch.save(batch.present(), tmp_path / "dump.pt")
    loaded = load_batch(tmp_path / "dump.pt")
    os.truncate(tmp_path / "dump.pt", 10)
    assert torch.equal(loaded.hidden[:], batch.hidden)
    assert torch.equal(loaded.actions, batch.actions)


@pytest.mark.slow
def test_a_reader_beside_a_writer_sees_whole_shards_of_one_dump(tmp_path: Path) -> None:
    for attempt in range(TRIES):
        folder = tmp_path / str(attempt)
        writing = threading.Thread(target=write, args=(folder, attempt))
        writing.start()
        seen = 0
        while writing.is_alive():
            try:
                read = load_batch(folder)
                rows = read.hidden[:]
            except EnergydiagError:  # nothing there yet
                continue
            assert len(read) >= seen
            seen = len(read)
            assert bool(torch.isfinite(rows).all())
        writing.join()
        assert len(load_batch(folder)) == 30
