"""What trainers save loads as what it is, whatever the form; a stranger's file is told, and nothing in it runs."""

from __future__ import annotations

import json
import os
import pickle
import subprocess
import sys
import tarfile
import warnings
from argparse import Namespace
from collections import Counter, OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed.checkpoint as dcp
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import make_batch, make_head
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.serialization import set_crc32_options
from typer.testing import CliRunner

from energydiag.cli.app import app
from energydiag.errors import EnergydiagError, InvalidCheckpoint, UnreadableFile, UsageError
from energydiag.files.tensor_file import read_tensor_file
from energydiag.models.energy_function import EnergyFunction
from energydiag.models.places import places_of_module
from energydiag.pipeline import ModelOptions, inspect, load_checkpoint
from energydiag.pipeline.loading import open_checkpoint

FOREIGN = Path(__file__).parent / "foreign"
TOLD: dict[str, Any] = {"head": "rescaled", "nhead": 2}
HEAD = {key: value.clone() for key, value in make_head().state_dict().items()}
OTHER = {key: value + 1 for key, value in HEAD.items()}
KEYS = sorted(HEAD)


def prefixed(prefix: str, tensors: dict[str, Tensor] = HEAD) -> dict[str, Tensor]:
    return {prefix + key: value.clone() for key, value in tensors.items()}


def saved(path: Path, contents: Any, **how: Any) -> Path:
    torch.save(contents, path, **how)
    return path


def loaded(path: Path, **options: Any) -> tuple[EnergyFunction, dict[str, str]]:
    opened = open_checkpoint(path, ModelOptions(**TOLD, **options))
    energy, facts = opened.build(), opened.facts
    return energy, dict(facts)


def assert_is(path: Path, wanted: dict[str, Tensor] = HEAD, **options: Any) -> dict[str, str]:
    """The weights are the wanted ones to the bit; what was read is told."""
    energy, facts = loaded(path, **options)
    own = energy.module.state_dict()
    assert own.keys() == wanted.keys()
    assert all(torch.equal(own[key], wanted[key]) for key in own)
    assert len(facts["sha256"]) == 64
    return facts


def refused(path: Path, told: str, kind: type[EnergydiagError] = UnreadableFile, **options: Any) -> EnergydiagError:
    with pytest.raises(kind, match=told) as caught:
        loaded(path, **options)
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    assert "weights_only=False" not in str(caught.value)
    return caught.value


# --- forms ------------------------------------------------------------------------------------------------------------


def legacy(folder: Path) -> Path:
    return saved(folder / "c.pt", prefixed("p."), _use_new_zipfile_serialization=False)


def without_checksums(folder: Path) -> Path:
    set_crc32_options(False)
    try:
        return saved(folder / "c.pt", HEAD)
    finally:
        set_crc32_options(True)


def sharded(folder: Path, kind: str = "safetensors", whole: bool = False) -> Path:
    """As Hugging Face libraries write it: the index, or the folder, is given."""
    stem = "model" if kind == "safetensors" else "pytorch_model"
    weight_map = {}
    for number in (1, 2):
        name = f"{stem}-0000{number}-of-00002.{kind}"
        part = {f"policy.{key}": HEAD[key] for key in KEYS[number - 1 :: 2]}
        save_file(part, folder / name) if kind == "safetensors" else torch.save(part, folder / name)
        weight_map |= dict.fromkeys(part, name)
    index = folder / f"{stem}.{kind}.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map}))
    return folder if whole else index


def distributed(folder: Path) -> Path:
    head = make_head()
    optimizer = torch.optim.AdamW(head.parameters())
    batch = make_batch()
    head(batch.hidden, batch.actions, batch.pad_mask).sum().backward()
    optimizer.step()
    head.load_state_dict(HEAD)
    state = {"model": prefixed("head."), "optimizer": optimizer.state_dict(), "step": 3}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns that there is one process
        dcp.save(state, checkpoint_id=folder / "dcp", no_dist=True)
    return folder / "dcp"


FORMS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "legacy": (legacy, "torch.save (old form)"),
    "no checksums": (without_checksums, "torch.save"),
    "safetensors index": (sharded, "sharded safetensors"),
    "safetensors folder": (lambda folder: sharded(folder, whole=True), "sharded safetensors"),
    "torch folder": (lambda folder: sharded(folder, "bin", whole=True), "sharded torch.save"),
    "distributed": (distributed, "torch.distributed.checkpoint"),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_is_the_plain_file(form: str, tmp_path: Path) -> None:
    write, name = FORMS[form]
    assert assert_is(write(tmp_path))["format"] == name


def test_the_diagnosis_is_that_of_the_plain_file(tmp_path: Path) -> None:
    batch = make_batch(12)
    plain, other = (
        inspect(load_checkpoint(path, **TOLD), batch)
        for path in (saved(tmp_path / "plain.pt", HEAD), distributed(tmp_path))
    )
    assert {m.name: m.value for m in other.measurements} == pytest.approx(
        {m.name: m.value for m in plain.measurements}, rel=1e-6, abs=1e-6, nan_ok=True
    )
    assert other.findings == plain.findings


def test_real_processes_shard_it(tmp_path: Path) -> None:
    """SLOW (about 10 s): two real processes with FSDP on gloo."""
    whole = tmp_path / "whole.pt"
    paths = os.pathsep.join(map(str, (FOREIGN.parent, FOREIGN.parent.parent)))
    command = [sys.executable, str(FOREIGN / "fsdp_save.py"), str(tmp_path / "dcp"), str(whole)]
    subprocess.run(command, check=True, env={**os.environ, "PYTHONPATH": paths}, timeout=300)
    assert len(list((tmp_path / "dcp").glob("*.distcp"))) == 2
    assert_is(tmp_path / "dcp", torch.load(whole, weights_only=True))


EXPECTED = json.loads((FOREIGN / "expected.json").read_text())["energies"]


@pytest.mark.parametrize(
    ("name", "trainer", "options", "told"),
    [
        ("lightning.ckpt", "lightning state_dict", {}, {"container": "state_dict", "wrappers": "_orig_mod"}),
        ("lightning.ckpt", "lightning current_model_state", {"weights": "current_model_state"}, {}),
        ("accelerate-state", "accelerate", {}, {"format": "safetensors", "prefix": "energy_head."}),
        ("accelerate-sharded", "accelerate", {}, {"format": "sharded safetensors"}),
        ("accelerate-bin", "accelerate", {}, {"format": "sharded torch.save"}),
        ("transformers/checkpoint-3", "transformers", {}, {"format": "safetensors"}),
    ],
)
def test_what_trainers_wrote(name: str, trainer: str, options: Any, told: dict[str, str]) -> None:
    energy, facts = loaded(FOREIGN / name, pool="raw", **options)
    batch = make_batch(8)
    with torch.no_grad():
        found = energy(batch.hidden, batch.actions, batch.pad_mask).tolist()
    assert found == pytest.approx(EXPECTED[trainer], abs=1e-6)
    assert facts.items() >= told.items()


def test_the_optimisers_file_holds_no_model() -> None:
    refused(FOREIGN / "transformers" / "checkpoint-3" / "optimizer.pt", "no tensors of a model", InvalidCheckpoint)


# --- what stands beside the weights -----------------------------------------------------------------------------------

TENSOR = torch.arange(12.0).reshape(3, 4)


def tagged() -> nn.Parameter:
    parameter = nn.Parameter(TENSOR.clone())
    parameter.tag = "x"
    return parameter


BESIDE: dict[str, Callable[[], Any]] = {
    "views": lambda: [TENSOR[1:], TENSOR.T, torch.ones(1).expand(1000), torch.zeros(0, 5), torch.tensor(3)],
    "types": lambda: [TENSOR.to(kind) for kind in (torch.bool, torch.half, torch.bfloat16, torch.complex64)],
    "bits": lambda: [TENSOR.to(torch.complex64).conj(), TENSOR.to(torch.complex64).conj().imag],
    "parameters": lambda: [nn.Parameter(TENSOR.clone()), tagged(), nn.Buffer(TENSOR.clone())],
    "sparse": lambda: [TENSOR.to_sparse(), TENSOR.to_sparse(1), TENSOR.to_sparse_csr(), torch.zeros(3).to_sparse()],
    "quantized": lambda: torch.quantize_per_tensor(TENSOR, 0.1, 0, torch.qint8),
    "meta": lambda: torch.empty(3, device="meta"),
    "generator": lambda: torch.Generator().get_state(),
    "torch's": lambda: [TENSOR.shape, torch.device("cpu"), torch.float16, torch.strided, torch.per_tensor_affine],
    "containers": lambda: {"a": [(), (1, 2, [3])], "b": Counter("abca"), "c": {1, 2}, "d": OrderedDict(e=1)},
    "bytes": lambda: [b"a\xff", bytearray(b"abc")],
    "numbers": lambda: [1 << 200, -1, 1 + 2j, 0.5, True, None],
    "keys": lambda: {1: 2, 2.5: 3, None: 4, (1, 2): 5},
}


@pytest.mark.parametrize("new", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", BESIDE)
@pytest.mark.filterwarnings("ignore")
def test_whatever_torch_saves_may_stand_beside_the_weights(kind: str, new: bool, tmp_path: Path) -> None:
    contents = {"model": HEAD, "beside": BESIDE[kind]()}
    assert_is(saved(tmp_path / "c.pt", contents, _use_new_zipfile_serialization=new), weights="model")


# --- which set of weights ---------------------------------------------------------------------------------------------

NESTED: dict[str, tuple[dict[str, Any], str, str]] = {
    "lightning": (
        {"state_dict": prefixed("model."), "callbacks": {"EMA": {"weights": OTHER}}},
        "state_dict",
        "callbacks.EMA.weights",
    ),
    "deepspeed": ({"module": HEAD, "optimizer": {"exp_avg": OTHER}}, "module", ""),
    "averages first": (
        {"ema": OTHER, "model": HEAD, "optimizer": {"state": {0: OTHER}, "param_groups": []}},
        "model",
        "ema",
    ),
    "three deep": ({"epoch": torch.tensor(1), "run": {"best": {"net": HEAD}}}, "run.best.net", ""),
    "moments": (
        {"states": {"state": {"a": OTHER}, "param_groups": []}, "nets": {"policy": prefixed("head.")}},
        "nets.policy",
        "",
    ),
    "flat average": (prefixed("ema_model.", OTHER) | prefixed("model.policy."), "", "ema_model"),
}


@pytest.mark.parametrize("case", NESTED)
def test_the_weights_are_taken_and_the_others_told(case: str, tmp_path: Path) -> None:
    contents, container, other = NESTED[case]
    path = saved(tmp_path / "c.pt", contents)
    facts = assert_is(path)
    assert facts.get("container", "") == container
    assert facts.get("also_there", "") == (f"{other} (--weights {other})" if other else "")
    if other:
        assert_is(path, OTHER, weights=other)


def test_a_set_that_is_not_there_is_answered_with_those_that_are(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", {"model": HEAD, "ema": OTHER, "optimizer": {"exp_avg": HEAD}})
    error = refused(path, "there are: model, ema", UsageError, weights="optimizer.exp_avg")
    assert "optimizer.exp_avg is not in" in error.message


# --- names of wrappers ------------------------------------------------------------------------------------------------

WRAPPED = {
    "module._orig_mod.{}": lambda key: key,
    "_fsdp_wrapped_module.model.{}": lambda key: key.replace(".", "._checkpoint_wrapped_module.", 1),
    "{}": lambda key: key.replace("cross.", "cross._orig_mod.").replace(
        "action_linear.", "action_linear.module.model."
    ),
}


@pytest.mark.parametrize("outer", WRAPPED)
def test_names_of_wrappers_are_taken_away_and_told(outer: str, tmp_path: Path) -> None:
    keys = {outer.format(WRAPPED[outer](key)): value for key, value in HEAD.items()}
    facts = assert_is(saved(tmp_path / "c.pt", keys))
    assert facts.get("prefix", "") == outer.format("")
    assert ("wrappers" in facts) == any("." in WRAPPED[outer](k).replace(k, "") for k in HEAD)


def test_one_weight_under_two_names_is_no_guess(tmp_path: Path) -> None:
    keys = HEAD | {"cross._orig_mod.in_proj_weight": OTHER["cross.in_proj_weight"]}
    refused(saved(tmp_path / "c.pt", keys), "mean the same", InvalidCheckpoint)


class Own(nn.Module):
    """A user's module with a part that is really called `module`."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Linear(2, 3)
        self.out = nn.ModuleDict({"model": nn.Linear(3, 1)})


@pytest.mark.parametrize(
    "renamed",
    ["{}", "module.{}", "a.b.{}", "_orig_mod.module.{}", "x.{}|out.|out._orig_mod.", "{}|module.|module.module."],
)
def test_a_part_that_is_called_as_a_wrapper(renamed: str) -> None:
    pattern, *swap = renamed.split("|")
    own = Own().state_dict()
    keys = {name: pattern.format(name.replace(*swap) if swap else name) for name in own}
    (place,) = places_of_module({keys[name]: value for name, value in own.items()}, own)
    assert place.fits
    assert place.keys == keys


def test_a_factory_gets_the_set_that_fits(tmp_path: Path) -> None:
    code = tmp_path / "own.py"
    code.write_text("from torch import nn\n\ndef make():\n    return nn.Bilinear(2, 3, 1)\n")
    right, wrong = nn.Bilinear(2, 3, 1).state_dict(), nn.Bilinear(2, 4, 1).state_dict()
    path = saved(
        tmp_path / "c.pt", {"model": wrong, "net": {"a": {f"head._orig_mod.{k}": v for k, v in right.items()}}}
    )
    opened = open_checkpoint(path, ModelOptions(model=f"{code}:make"))
    energy, facts = opened.build(), opened.facts
    assert torch.equal(energy.module.state_dict()["weight"], right["weight"])
    assert (facts["container"], facts["prefix"]) == ("net.a", "head._orig_mod.")


# --- strangers' files -------------------------------------------------------------------------------------------------


class Payload:
    """Pickles as a call that would make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[Any, tuple[str, str]]:
        return open, (str(self.marker), "w")


@pytest.mark.parametrize("form", ["legacy", "metadata", "bytes", "piece"])
def test_what_would_run_is_told_and_not_run(form: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    if form == "legacy":
        path = saved(tmp_path / "c.pt", HEAD | {"x": Payload(marker)}, _use_new_zipfile_serialization=False)
        assert "--allow-global" not in refused(path, r"open.*it was not run").next_step
    elif form == "metadata":
        path = distributed(tmp_path)
        metadata = pickle.loads((path / ".metadata").read_bytes())
        metadata.planner_data["x"] = Payload(marker)
        (path / ".metadata").write_bytes(pickle.dumps(metadata))
        refused(path, r"open.*it was not run")
    elif form == "bytes":  # an entry that is no tensor is never read
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dcp.save({"model": HEAD, "x": Payload(marker)}, checkpoint_id=tmp_path / "dcp", no_dist=True)
        assert_is(tmp_path / "dcp")
    else:
        path = distributed(tmp_path)
        (piece,) = path.glob("*.distcp")
        metadata = pickle.loads((path / ".metadata").read_bytes())
        index = next(i for i in metadata.storage_data if i.fqn.startswith("model."))
        torch.save(Payload(marker), tmp_path / "payload")
        content = (tmp_path / "payload").read_bytes()
        metadata.storage_data[index].offset, metadata.storage_data[index].length = piece.stat().st_size, len(content)
        piece.write_bytes(piece.read_bytes() + content)
        (path / ".metadata").write_bytes(pickle.dumps(metadata))
        refused(path, "holds no tensor")
    assert not marker.exists()


def test_plain_data_is_read_once_the_user_names_its_class(tmp_path: Path) -> None:
    for new in (True, False):
        path = saved(tmp_path / "c.pt", {"args": Namespace(lr=1), "model": HEAD}, _use_new_zipfile_serialization=new)
        assert "--allow-global argparse.Namespace" in refused(path, "argparse.Namespace").next_step
        assert_is(path, allow_globals=("argparse.Namespace",))
        refused(path, "argparse.Namespace")  # the permission ended with that call


@pytest.mark.parametrize("name", ["os.system", "builtins.eval", "subprocess.Popen", "nowhere.Thing", "json.dumps", "x"])
def test_what_is_no_plain_data_cannot_be_allowed(name: str, tmp_path: Path) -> None:
    refused(saved(tmp_path / "c.pt", HEAD), name, UsageError, allow_globals=(name,))


def test_the_oldest_form_and_plain_pickles_are_told(tmp_path: Path) -> None:
    path = tmp_path / "c.pt"
    with tarfile.open(path, "w") as archive:
        archive.add(FOREIGN / "expected.json", "storages")
    refused(path, r"\.tar")
    path.write_bytes(pickle.dumps(Payload(tmp_path / "marker")))
    refused(path, "plain pickle that asks for '(io|_io).open'")
    assert not (tmp_path / "marker").exists()


def damage(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place] ^= 0x10
    path.write_bytes(bytes(content))


def test_a_flipped_byte_of_the_head_is_told_at_once(tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", HEAD)
    damage(path, path.read_bytes().index(HEAD["cross.in_proj_weight"].numpy().tobytes()))
    refused(path, "damaged: 'cross.in_proj_weight'")
    distributed(tmp_path)
    (piece,) = (tmp_path / "dcp").glob("*.distcp")
    damage(piece, piece.read_bytes().index(HEAD["cross.in_proj_weight"].numpy().tobytes()))
    refused(tmp_path / "dcp", "damaged: 'model.head.cross.in_proj_weight'")


def test_a_flipped_byte_elsewhere_is_told_with_the_hash(tmp_path: Path) -> None:
    beside = torch.randn(5000)
    path = saved(tmp_path / "c.pt", {"model": HEAD, "beside": {"x": beside}})
    damage(path, path.read_bytes().index(beside.numpy().tobytes()) + 17)
    facts = open_checkpoint(path, ModelOptions(**TOLD)).facts
    with pytest.raises(UnreadableFile, match="damaged"):
        facts["sha256"]
    with pytest.raises(UnreadableFile, match="damaged"):
        read_tensor_file(path, "batch dump").check().sha256()


def rewritten(index: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    content = json.loads(index.read_text())
    change(content["weight_map"])
    index.write_text(json.dumps(content))
    return index


def test_an_index_and_its_shards_must_say_the_same(tmp_path: Path) -> None:
    index = sharded(tmp_path)
    whole = index.read_text()
    refused(rewritten(index, lambda w: w.pop(next(iter(w)))), "does not name it")
    index.write_text(whole)
    refused(rewritten(index, lambda w: w.update(more=next(iter(w.values())))), "has no 'more'")
    index.write_text(whole.replace('"weight_map": {', f'"weight_map": {{"policy.{KEYS[0]}": "a", '))
    refused(index, "twice")
    index.write_text(whole)
    first = next(iter(json.loads(whole)["weight_map"].values()))
    (tmp_path / first).unlink()
    refused(index, "No such file")


def test_a_folder_with_two_checkpoints_is_no_guess(tmp_path: Path) -> None:
    sharded(tmp_path)
    sharded(tmp_path, "bin")
    refused(tmp_path, "2 checkpoints in it")


@pytest.mark.parametrize(
    ("of_place", "of_chunk", "told"),
    [
        ({"relative_path": "../x"}, {}, "plain name"),
        ({"offset": 1 << 40}, {}, "outside of"),
        ({"length": -1}, {}, "outside of"),
        ({"transform_descriptors": ["zstd"]}, {}, "not read"),
        ({}, {"sizes": torch.Size((1 << 40, 1 << 40))}, "outside of"),
        ({}, {"offsets": torch.Size((7, 7))}, "missing"),
    ],
)
def test_metadata_that_lies(of_place: dict[str, Any], of_chunk: dict[str, Any], told: str, tmp_path: Path) -> None:
    path = distributed(tmp_path)
    metadata = pickle.loads((path / ".metadata").read_bytes())
    index = next(i for i in metadata.storage_data if i.fqn == "model.head.cross.in_proj_weight")
    vars(metadata.storage_data[index]).update(of_place)
    vars(metadata.state_dict_metadata[index.fqn].chunks[0]).update(of_chunk)
    (path / ".metadata").write_bytes(pickle.dumps(metadata))
    refused(path, told)


def test_a_tensor_larger_than_its_file_is_refused(tmp_path: Path) -> None:
    keys = HEAD | {"state_linear.fc1.weight": torch.zeros(1, 1).expand(16, 1 << 24)}
    refused(saved(tmp_path / "c.pt", keys), "larger than its file", InvalidCheckpoint)


@pytest.fixture(scope="module", params=["safetensors index", "distributed"])
def mutable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    """What is read, the file in it that says where the rest is, and its bytes."""
    path = FORMS[request.param][0](tmp_path_factory.mktemp("mutable"))
    entry = path / ".metadata" if path.is_dir() else path
    return path, entry, entry.read_bytes()


@settings(max_examples=60)
@given(
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=5),
    cut=st.one_of(st.none(), st.floats(0, 1)),
    junk=st.one_of(st.none(), st.binary(max_size=300)),
)
def test_a_mutated_entry_is_read_or_refused(
    mutable: tuple[Path, Path, bytes], flips: list[tuple[float, int]], cut: float | None, junk: bytes | None
) -> None:
    path, entry, whole = mutable
    content = bytearray(whole if junk is None else whole[: len(whole) // 3] + junk)
    for place, value in flips:
        content[int(place * len(content))] = value
    entry.write_bytes(bytes(content if cut is None else content[: int(cut * len(content))]))
    try:
        loaded(path)
    except (UnreadableFile, InvalidCheckpoint):
        pass
    finally:
        entry.write_bytes(whole)


@pytest.mark.parametrize("command", [["inspect", "checkpoint"], ["fix-and-retrain", "--out", "nowhere"]])
def test_the_options_of_the_command_line(command: list[str], tmp_path: Path) -> None:
    path = saved(tmp_path / "c.pt", {"args": Namespace(lr=1), "model": HEAD, "ema": OTHER})
    dump = saved(tmp_path / "d.pt", {"x": torch.zeros(1)})
    words = [*command, str(path), "--batch", str(dump), "--head", "rescaled", "--nhead", "2", "--quiet"]
    allowed = [*words, "--allow-global", "argparse.Namespace"]
    for arguments, told in (
        (words, "asks for 'argparse.Namespace'"),
        ([*allowed, "--weights", "best"], "--weights best is not in"),
        ([*allowed, "--weights", "ema"], "no `hidden`"),  # the weights were read
    ):
        caught = CliRunner().invoke(app, arguments).exception
        assert isinstance(caught, EnergydiagError)
        assert told in str(caught)
