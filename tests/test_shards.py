"""A folder of shards is the same batch as one file, read strictly and without loading its contexts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from parts import make_batch, make_head
from safetensors.torch import save_file
from test_batches import assert_same
from torch import Tensor

from energydiag.batch import Batch, Rows
from energydiag.batches import load_batch, read_batch
from energydiag.batches.index import FORMAT
from energydiag.errors import EnergydiagError, InvalidBatch, UnreadableFile
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline import inspect, load_checkpoint
from energydiag.plan import TrainingPlan
from energydiag.training.loop import train
from energydiag.training.state import digest, identity

SAMPLES = Path(__file__).parent.parent / "sample_checkpoints"
KINDS = ("safetensors", "pt", "npz")


def write_file(path: Path, tensors: dict[str, Tensor]) -> None:
    kind = path.suffix
    if kind == ".npz":
        numpy.savez(path, **{name: value.numpy() for name, value in tensors.items()})
    elif kind == ".pt":
        torch.save({name: value.clone() for name, value in tensors.items()}, path)
    else:
        save_file({name: value.clone() for name, value in tensors.items()}, path)


def write_index(folder: Path, rows: Any, **changes: Any) -> None:
    content = {"format": FORMAT, "version": 1, "shards": rows} | changes
    (folder / "index.json").write_text(json.dumps(content))


def shard(batch: Batch, folder: Path, sizes: list[int], kinds: list[str]) -> Path:
    """The batch as a folder of shards of these sizes and kinds."""
    folder.mkdir(exist_ok=True)
    rows, start = [], 0
    for number, (size, kind) in enumerate(zip(sizes, kinds, strict=True)):
        part = {name: value[start : start + size] for name, value in batch.present().items()}
        write_file(folder / f"{number}.{kind}", part)
        rows.append({"file": f"{number}.{kind}", "samples": size})
        start += size
    write_index(folder, rows)
    return folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Six samples in three shards of three formats."""
    return shard(make_batch(), tmp_path / "dump", [3, 1, 2], list(KINDS))


@given(data=st.data(), sizes=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_any_split_gives_the_same_batch(
    data: st.DataObject, sizes: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    whole = make_batch(sum(sizes))
    whole.hidden[0, 0, 0] = torch.inf
    kinds = data.draw(st.lists(st.sampled_from(KINDS), min_size=len(sizes), max_size=len(sizes)))
    got = load_batch(shard(whole, tmp_path_factory.mktemp("split"), sizes, kinds))
    places = st.lists(st.integers(-len(whole), len(whole) - 1), max_size=9)
    first, second = (torch.tensor(data.draw(places), dtype=torch.long) for _ in range(2))
    assert_same(got.take(first), whole.take(first))
    assert type(got.take(first).hidden) is Tensor
    lazy = got.select(first)
    assert_same(lazy, whole.take(first))
    if len(first):
        assert_same(
            lazy.select(second % len(first)).take(torch.arange(len(second))), whole.take(first[second % len(first)])
        )
        assert torch.equal(lazy.hidden[1:7:2], whole.hidden[first][1:7:2])
    assert (len(got), got.groups.tolist()) == (len(whole), whole.groups.tolist())
    for mine, theirs in zip((*got.unusable(), got.spread(3)), (*whole.unusable(), whole.spread(3)), strict=True):
        assert torch.equal(mine, theirs)


KEYS = [
    3, -1, slice(1, 5, 2), slice(4, 4), [5, 0], torch.tensor(2), torch.tensor([[0, 1], [5, 5]]), torch.arange(6) > 3,
    (slice(None), 0), (torch.tensor([1, 2]), torch.tensor([0, 1])), None, ..., torch.ones(6, 5, 12) > 0,
]  # fmt: skip


@pytest.mark.parametrize("key", KEYS, ids=str)
def test_rows_are_those_of_the_plain_tensor(key: Any) -> None:
    plain = make_batch().hidden
    got = Rows((plain[:1], plain[1:4], plain[4:]))[key]
    assert type(got) is Tensor
    assert torch.equal(got, plain[key])


@pytest.mark.parametrize(
    "use", [torch.isfinite, Tensor.double, lambda x: torch.cat((x, x + 1)), lambda x: x.numpy(), lambda x: x.tolist()]
)
def test_any_other_use_sees_the_plain_tensor(use: Callable[[Tensor], Any]) -> None:
    plain = make_batch().hidden
    assert numpy.array_equal(use(Rows((plain[:2], plain[2:]))), use(plain))


def test_contexts_stay_in_their_files(folder: Path) -> None:
    batch = load_batch(folder)
    assert isinstance(batch.hidden, Rows)
    assert all(type(value) is Tensor for name, value in batch.present().items() if name != "hidden")
    assert batch.select(torch.arange(6)) is batch


INDEXES: list[tuple[str | bytes, str]] = [
    (b"", "cannot be read as a list"),
    (b"\xff\xfe{", "cannot be read as a list"),
    ("[" * 200_000, "cannot be read as a list"),
    ('{"a":' * 200_000, "cannot be read as a list"),
    ("9" * 10_000, "cannot be read as a list"),
    ("[]", "must be an object"),
    ("{}", "must be an object with"),
    ('{"format": ["energydiag-shards"]}', "must be an object with"),
]


@pytest.mark.parametrize(("text", "told"), INDEXES, ids=range(len(INDEXES)))
def test_what_is_no_index_is_refused(folder: Path, text: str | bytes, told: str) -> None:
    (folder / "index.json").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((UnreadableFile, InvalidBatch), match=told) as refused:
        load_batch(folder)
    assert len(str(refused.value)) < 600


def test_a_huge_index_is_not_read(folder: Path) -> None:
    with (folder / "index.json").open("r+b") as stream:
        stream.truncate(1 << 40)  # a file with a hole
    with pytest.raises(UnreadableFile, match="MiB, at most 64"):
        load_batch(folder)


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"version": 2}, "has version 2"),
    ({"version": True}, "has version True"),
    ({"comment": "x"}, "has 'comment'"),
    ({"shards": {"0.pt": 3}}, "must be a list, not an object of 1"),
    ({"shards": None}, "must be a list, not None"),
    ({"shards": []}, "no samples yet"),
]


@pytest.mark.parametrize(("changes", "told"), CHANGES, ids=[told for _, told in CHANGES])
def test_an_index_that_says_something_else_is_refused(folder: Path, changes: dict[str, Any], told: str) -> None:
    write_index(folder, [], **changes)
    with pytest.raises(InvalidBatch, match=told):
        load_batch(folder)


FIRST = "0.safetensors"
ROWS: list[tuple[Any, str]] = [
    ("0.pt", "must be an object, not '0.pt'"),
    ({"file": FIRST}, "positive whole number, not None"),
    *(({"file": FIRST, "samples": count}, "positive whole number") for count in (0, -3, 3.0, True, "3", 10**30)),
    ({"file": FIRST, "samples": 4}, "holds 3 samples, but the index says 4"),
    ({"file": FIRST, "samples": 3, "sha256": "beef"}, "64 hexadecimal digits"),
    ({"file": FIRST, "samples": 3, "rows": 3}, "has 'rows'"),
    ({"samples": 3}, "plain name"),
    *(
        ({"file": name, "samples": 3}, "plain name")
        for name in ("", ".", "..", "../dump/" + FIRST, "/etc/passwd", "a/b", "a\\b", "C:b", "./" + FIRST, "a\0", "a\n")
    ),
    *(({"file": name, "samples": 3}, "plain name") for name in ("\ud800", "a" * 256, 3, None, ["a"], "\x1b[2J")),
    ({"file": "missing.pt", "samples": 3}, "No such file"),
    ({"file": "index.json", "samples": 3}, "of no format"),
    ({"file": "folder", "samples": 3}, "no plain file"),
    ({"file": "pipe", "samples": 3}, "no plain file"),
    ({"file": "out", "samples": 3}, "leads out of its folder"),
    ({"file": "away", "samples": 3}, "leads out of its folder"),
    ({"file": "circle", "samples": 3}, "cannot be read"),
]


@pytest.mark.skipif(os.name != "posix", reason="links and pipes")
@pytest.mark.parametrize(("row", "told"), ROWS, ids=range(len(ROWS)))
def test_a_shard_that_is_none_is_refused(folder: Path, row: Any, told: str) -> None:
    (folder / "folder").mkdir()
    os.mkfifo(folder / "pipe")
    shutil.copy(folder / FIRST, folder.parent / "elsewhere")
    (folder / "out").symlink_to(folder.parent / "elsewhere")
    (folder / "away").symlink_to("../elsewhere")
    (folder / "circle").symlink_to("circle")
    write_index(folder, [row])
    with pytest.raises((InvalidBatch, UnreadableFile), match=told) as refused:
        load_batch(folder)
    assert refused.value.next_step
    assert refused.value.message.isprintable()


@pytest.mark.skipif(os.name != "posix", reason="links")
def test_links_inside_are_followed_but_no_file_counts_twice(folder: Path) -> None:
    (folder / "link").symlink_to(FIRST)
    write_index(folder, [{"file": "link", "samples": 3}])
    assert_same(load_batch(folder), make_batch().take(torch.arange(3)))
    for names in (("link", FIRST), (FIRST, FIRST)):
        write_index(folder, [{"file": name, "samples": 3} for name in names])
        with pytest.raises(InvalidBatch, match="the same file twice"):
            load_batch(folder)


def test_an_index_that_is_a_link_to_the_outside_is_refused(folder: Path) -> None:
    shutil.move(folder / "index.json", folder.parent / "index.json")
    (folder / "index.json").symlink_to("../index.json")
    with pytest.raises(UnreadableFile, match="leads out"):
        load_batch(folder)


MISFITS: list[tuple[str, Tensor | None, str]] = [
    ("pad_mask", None, "has no `pad_mask`"),
    ("negatives", torch.zeros(2, 1, 4, 3), "has `negatives` besides"),
    ("note", torch.zeros(2), "`note` is in one of"),
    ("hidden", torch.zeros(2, 5, 11), r"has `hidden` as \[N, 5, 11\] of float32, not \[N, 5, 12\] of float32"),
    ("hidden", torch.zeros(2, 12), r"has `hidden` as \[N, 12\]"),
    ("hidden", torch.zeros(2, 5, 12, dtype=torch.float64), "of float64, not"),
    ("layer_actions", torch.zeros(2, 2, 4, 3), r"\[N, 2, 4, 3\]"),
    ("episode", torch.zeros(3, dtype=torch.long), r"must be \[2\]"),
]


@pytest.mark.parametrize(("name", "value", "told"), MISFITS, ids=[f"{n}-{t}" for n, _, t in MISFITS])
def test_shards_that_do_not_fit_each_other_are_refused(
    folder: Path, name: str, value: Tensor | None, told: str
) -> None:
    part = {**make_batch(2).present(), name: value}
    write_file(folder / "2.npz", {key: one for key, one in part.items() if one is not None})
    with pytest.raises(InvalidBatch, match=told):
        load_batch(folder)


def test_types_that_become_the_same_fit(folder: Path) -> None:
    part = make_batch().take(torch.tensor([4, 5])).present()
    part |= {"actions": part["actions"].double(), "episode": part["episode"].int(), "pad_mask": part["pad_mask"].byte()}
    write_file(folder / "2.npz", part)
    wanted = make_batch()
    assert_same(load_batch(folder), replace(wanted, actions=wanted.actions.double()))


def test_a_damaged_shard_and_a_folder_without_an_index_are_told(folder: Path) -> None:
    (folder / FIRST).write_bytes((folder / FIRST).read_bytes()[:-8])
    with pytest.raises(UnreadableFile, match="not a whole safetensors"):
        load_batch(folder)
    with pytest.raises(UnreadableFile, match=r"without index\.json"):
        load_batch(folder.parent)


def test_the_hash_is_of_the_samples_files_and_checked_where_it_is_told(folder: Path) -> None:
    loaded = read_batch(folder)
    assert loaded.file.format == FORMAT
    before = loaded.check().sha256()
    rows = json.loads((folder / "index.json").read_text())["shards"]
    write_index(folder, rows[:2])
    assert read_batch(folder).check().sha256() != before
    write_index(folder, [rows[0] | {"sha256": "0" * 64}, *rows[1:]])
    with pytest.raises(UnreadableFile, match="changed or damaged"):
        read_batch(folder).check().sha256()


def test_a_file_that_changes_while_it_is_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energydiag.batches.file_rows._MOST_READ", 0)
    batch = load_batch(folder)
    assert torch.equal(batch.hidden[:], make_batch().hidden)
    write_file(folder / "1.pt", make_batch(2).present())
    assert torch.equal(batch.hidden[:3], make_batch().hidden[:3])
    with pytest.raises(UnreadableFile, match="was changed while it was read"):
        batch.hidden[3]


@pytest.fixture(scope="module")
def heldout(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Some of the sample's held-out samples as one file and as shards."""
    tmp_path = tmp_path_factory.mktemp("heldout")
    batch = load_batch(SAMPLES / "heldout-batch.safetensors")
    some = batch.take(batch.spread(200))
    write_file(tmp_path / "one.safetensors", some.present())
    return tmp_path / "one.safetensors", shard(some, tmp_path / "dump", [90, 1, 64, 45], ["pt", "safetensors"] * 2)


@pytest.mark.parametrize("limit", [None, 96])
def test_inspecting_shards_measures_the_same(heldout: tuple[Path, Path], limit: int | None) -> None:
    found = []
    for path in heldout:
        energy = load_checkpoint(SAMPLES / "healthy.safetensors")
        found.append(inspect(energy, load_batch(path), limit=limit))
    one, sharded = found
    assert len(one.measurements) > 20
    assert sharded.measurements == one.measurements
    assert (sharded.findings, sharded.curves, sharded.distributions) == (one.findings, one.curves, one.distributions)
    assert sharded.batch == one.batch


def test_training_on_shards_gives_the_same_weights(folder: Path) -> None:
    plan = TrainingPlan(steps=4, batch_size=3, validate_every=2, sources=("noise",), tau=1.0)
    weights, identities = [], []
    for batch in (make_batch(), load_batch(folder)):
        training, validation = batch.select(torch.tensor([0, 2, 3, 5])), batch.select(torch.tensor([1, 4]))
        module = make_head("linear")
        identities.append(identity(plan, {}, {}, training, validation))
        train(EnergyFunction(module, "test"), training, plan, validation=validation)
        weights.append(digest(module.state_dict()))
    assert weights[0] == weights[1]
    assert identities[0] == identities[1]
    assert identities[0]["the training samples"] == digest(
        {field.name: getattr(make_batch().take(torch.tensor([0, 2, 3, 5])), field.name) for field in fields(Batch)}
    )


SMALL = """
import json, sys
from pathlib import Path
import numpy, pytest, torch
torch.set_num_threads(1)
import energydiag
from energydiag.energies.memory import PeakBytes

monkey = pytest.MonkeyPatch()
folder, samples = sys.argv[1], 4800
row = torch.zeros(1, 32, 512)  # 64 KiB
found = {"logical": samples * row.nbytes >> 20}

def status(name):
    lines = dict(line.split(":") for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[name].split()[0]) >> 10

def above(work):
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    before, anonymous = status("VmRSS"), status("RssAnon")
    kept = work()
    return {"peak": status("VmHWM") - before, "anonymous": status("RssAnon") - anonymous}

def write():
    with energydiag.dump.BatchWriter(folder, 320) as writer:  # 20 MiB
        for start in range(0, samples, 48):
            rows = torch.arange(start, start + 48)
            numbers = rows[:, None, None].float()
            writer.add(hidden=row + numbers, actions=numbers, pad_mask=torch.zeros(48, 32, dtype=torch.bool))

energydiag.dump.BatchWriter, energydiag.load_batch  # imported before anything is measured
found["write"] = above(write)
batch = energydiag.load_batch(folder)
chosen = torch.randperm(samples)[:256]
with PeakBytes() as watch:
    found["take"] = above(lambda: batch.take(chosen)) | {"tensors": watch.peak >> 20}
found["right"] = torch.equal(batch.take(chosen).hidden[:, 3, 4], chosen.float())
monkey.setattr("energydiag.batches.file_rows._MOST_READ", 32 << 20)
for kind in ("folder", "pt", "npz"):
    path = Path(folder) if kind == "folder" else Path(folder, f"one.{kind}")
    if kind == "pt":
        torch.save({name: value[:] for name, value in batch.present().items()}, path)
    if kind == "npz":
        numpy.savez(path, **{name: value[:].numpy() for name, value in batch.present().items()})
    batch = energydiag.load_batch(path)
    found[kind] = above(lambda: batch.select(torch.arange(1, samples)).unusable())["peak"]
print(json.dumps(found))
"""


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="measures memory as Linux tells it")
def test_a_dump_is_written_taken_from_and_gone_through_in_little_memory(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SMALL, str(tmp_path / "dump")], capture_output=True, text=True, timeout=120
    )
    shutil.rmtree(tmp_path / "dump", ignore_errors=True)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["logical"] == 300
    assert found["right"]
    assert found["write"]["peak"] < 60, found  # one shard of 20 MiB and one added batch of 3 MiB
    assert found["take"]["anonymous"] < 100, found  # what is left of it: pages of the files can be dropped at any time
    assert found["take"]["tensors"] < 100, found  # the most there ever was
    # 32 MiB of a file, what is computed, and what the allocator keeps; 300 where a file stays open
    assert max(found[kind] for kind in ("folder", "pt", "npz")) < 200, found


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_random_bytes_as_an_index_are_refused(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp() / "random-index"
    folder.mkdir(exist_ok=True)
    (folder / "index.json").write_bytes(content)
    with pytest.raises(EnergydiagError):
        load_batch(folder)
