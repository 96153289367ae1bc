"""Checkpoints: what loads, what is asked for, and that nothing but an `EnergydiagError` comes from a bad file."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from pathlib import Path

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parts import make_batch, make_head
from safetensors.torch import save_file
from torch import Tensor, nn

from energydiag.batches import load_batch
from energydiag.checkpoints import read_weights
from energydiag.errors import EnergydiagError, InvalidCheckpoint, UnreadableFile, UsageError
from energydiag.files.tensor_file import read_tensor_file
from energydiag.pipeline import ModelOptions, load_checkpoint
from energydiag.pipeline.loading import open_checkpoint

TOLD = {"head": "rescaled", "nhead": 2}


def weights(prefix: str = "") -> dict[str, Tensor]:
    return {prefix + key: value.clone() for key, value in make_head().state_dict().items()}


def saved(path: Path, contents: object) -> Path:
    torch.save(contents, path)
    return path


def assert_is_the_head(path: Path, **told: object) -> None:
    """What was loaded answers exactly as what was saved."""
    batch, loaded = make_batch(), load_checkpoint(path, **told)
    assert not loaded.module.training
    inputs = batch.hidden, batch.actions, batch.pad_mask
    with torch.no_grad():
        assert torch.equal(loaded(*inputs), make_head()(*inputs))


@pytest.mark.parametrize("prefix", ["", "module.", "a.module._orig_mod."])
def test_state_dict(tmp_path: Path, prefix: str) -> None:
    assert_is_the_head(saved(tmp_path / "c.pt", weights(prefix)), **TOLD)


@pytest.mark.parametrize("container", ["model", "state_dict", "model_state_dict"])
@pytest.mark.parametrize("beside", [7, torch.tensor(7)])
def test_state_dict_inside_another(tmp_path: Path, container: str, beside: object) -> None:
    path = saved(tmp_path / "c.pt", {"step": beside, container: weights()})
    assert open_checkpoint(path, ModelOptions(**TOLD)).facts["container"] == container
    assert_is_the_head(path, **TOLD)


def test_safetensors_with_metadata_needs_no_options(tmp_path: Path) -> None:
    path = tmp_path / "c.bin"  # the content decides, not the name
    save_file(weights(), path, {"head": "rescaled", "pool": "features", "nhead": "2", "tau": "0.3"})
    assert_is_the_head(path)
    assert load_checkpoint(path).settings["tau"] == "0.3"


def test_an_option_beats_the_metadata(tmp_path: Path) -> None:
    save_file(weights(), tmp_path / "c", {"head": "original", "nhead": "4"})
    assert_is_the_head(tmp_path / "c", **TOLD)


@pytest.mark.parametrize(
    ("told", "asked"),
    [({}, ("--head", "--nhead")), ({"head": "linear"}, ("--nhead",)), ({"nhead": 2}, ("--head",))],
)
def test_what_the_keys_cannot_tell_is_asked_for(
    tmp_path: Path, told: dict[str, object], asked: tuple[str, ...]
) -> None:
    with pytest.raises(UsageError) as caught:
        load_checkpoint(saved(tmp_path / "c.pt", weights()), **told)
    assert {word for word in str(caught.value).split() if word.startswith("--")} == set(asked)
    assert "dump `energies`" in caught.value.next_step


@pytest.mark.parametrize("nhead", [0, -1, 3, "²", "two"])
def test_a_number_of_heads_that_cannot_be(tmp_path: Path, nhead: object) -> None:
    with pytest.raises(UsageError, match="nhead"):
        load_checkpoint(saved(tmp_path / "c.pt", weights()), head="linear", nhead=nhead)


@pytest.mark.parametrize(
    "told", [{"head": "square"}, {"pool": "mean"}, {"mask": "half"}, {"sign": "minus"}, {"model": "resnet"}]
)
def test_a_setting_of_no_known_name(tmp_path: Path, told: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=next(iter(told.values()))):
        load_checkpoint(saved(tmp_path / "c.pt", weights()), **{**TOLD, **told})


def test_keys_that_do_not_fit_are_listed(tmp_path: Path) -> None:
    tensors = weights()
    del tensors["cross.out_proj.bias"]
    tensors["extra.weight"] = torch.zeros(2)
    tensors["state_linear.fc2.bias"] = torch.zeros(17)
    with pytest.raises(InvalidCheckpoint) as caught:
        load_checkpoint(saved(tmp_path / "c.pt", tensors), **TOLD)
    for told in ("missing: cross.out_proj.bias", "not in the model: extra.weight", "expected [16], got [17]"):
        assert told in str(caught.value)


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (2, 3, 4), (1_000_000, 2)])
@pytest.mark.parametrize("part", ["state_linear", "action_linear"])
def test_sizes_that_no_model_has(tmp_path: Path, part: str, shape: tuple[int, ...]) -> None:
    """They are told, and nothing of that size is built."""
    tensors = {**weights(), f"{part}.fc1.weight": torch.zeros(shape)}
    with pytest.raises(InvalidCheckpoint, match=part.replace("state", "(state|action)")):
        load_checkpoint(saved(tmp_path / "c.pt", tensors), head="linear", nhead=1)


@pytest.mark.parametrize(
    "contents", [{}, {"a": 1}, {"model": {}}, {"a": torch.zeros(2)}, {"model": {3: torch.zeros(2)}}], ids=str
)
def test_a_dict_that_is_no_checkpoint(tmp_path: Path, contents: object) -> None:
    with pytest.raises(InvalidCheckpoint):
        load_checkpoint(saved(tmp_path / "c.pt", contents), **TOLD)


@pytest.mark.parametrize("contents", [[torch.zeros(2)], torch.zeros(2), "text", None], ids=str)
def test_a_file_without_names(tmp_path: Path, contents: object) -> None:
    with pytest.raises(UnreadableFile, match="named tensors are expected"):
        load_checkpoint(saved(tmp_path / "c.pt", contents), **TOLD)


class Payload:
    """Pickles as a call that would make a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return open, (str(self.marker), "w")  # type: ignore[return-value]


def test_a_pickled_call_is_named_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(UnreadableFile, match=r"open.*it was not run"):
        load_checkpoint(saved(tmp_path / "c.pt", {"w": torch.zeros(2), "x": Payload(marker)}), **TOLD)
    assert not marker.exists()


def test_a_pickled_module_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UnreadableFile, match=r"torch\.nn\.modules\.linear\.Linear"):
        load_checkpoint(saved(tmp_path / "c.pt", nn.Linear(2, 2)), **TOLD)


def test_arrays_of_objects_are_refused_and_not_run(tmp_path: Path) -> None:
    marker, path = tmp_path / "marker", tmp_path / "b.npz"
    numpy.savez(path, hidden=numpy.array([Payload(marker)], dtype=object))
    with pytest.raises(UnreadableFile):
        load_batch(path)
    assert not marker.exists()


@pytest.mark.parametrize("share", [0.01, 0.3, 0.6, 0.99])
@pytest.mark.parametrize("name", ["c.pt", "c.safetensors", "unnamed"])
def test_a_truncated_file(tmp_path: Path, name: str, share: float) -> None:
    path = tmp_path / name
    if name.endswith(".pt"):
        torch.save(weights(), path)
    else:
        save_file(weights(), path, {"head": "rescaled", "nhead": "2"})
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UnreadableFile) as caught:
        load_checkpoint(path)
    assert "asks for" not in caught.value.message


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("empty", "empty"),
        ("text", "no format"),
        ("missing", "No checkpoint"),
        (".", "folder"),
        ("x" * 300, "too long"),
    ],
)
def test_paths_that_lead_to_no_checkpoint(tmp_path: Path, name: str, told: str) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("these are no weights\n")
    with pytest.raises(UnreadableFile, match=told) as caught:
        load_checkpoint(tmp_path / name, **TOLD)
    assert caught.value.next_step


DUMP: Mapping[str, Tensor] = {
    "hidden": torch.ones(3, 4, 2),
    "actions": torch.ones(3, 2, 2),
    "step": torch.arange(3),
}
FORMATS = ("pt", "safetensors", "npz", "compressed.npz")


def write_dump(path: Path, kind: str) -> Path:
    if kind == "pt":
        torch.save(dict(DUMP), path)
    elif kind == "safetensors":
        save_file(dict(DUMP), path, {"head": "linear"})
    else:
        save = numpy.savez_compressed if kind.startswith("compressed") else numpy.savez
        with path.open("wb") as stream:
            save(stream, **{key: value.numpy() for key, value in DUMP.items()})
    return path


@pytest.fixture(scope="module", params=FORMATS)
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, bytes]:
    """A place for damaged copies, and the bytes of the whole file."""
    path = write_dump(tmp_path_factory.mktemp("fuzz") / f"dump.{request.param}", request.param)
    return path, path.read_bytes()


def read_or_refuse(path: Path) -> None:
    for read in (load_batch, load_checkpoint):
        with warnings.catch_warnings(), contextlib.suppress(EnergydiagError):
            warnings.simplefilter("ignore")  # zipfile warns of names that stand twice
            read(path)


def test_whole_files_are_read(whole: tuple[Path, bytes]) -> None:
    path, contents = whole
    path.write_bytes(contents)
    assert torch.equal(load_batch(path).hidden, DUMP["hidden"])


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.one_of(st.none(), st.floats(0, 1)),
    flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 255)), max_size=6),
)
def test_a_damaged_file_is_read_or_refused(
    whole: tuple[Path, bytes], cut: float | None, flips: list[tuple[float, int]]
) -> None:
    path, contents = whole
    damaged = bytearray(contents if cut is None else contents[: int(cut * len(contents))])
    for place, value in flips if damaged else []:
        damaged[int(place * len(damaged))] = value
    path.write_bytes(bytes(damaged))
    read_or_refuse(path)


@settings(max_examples=150)
@given(
    start=st.sampled_from([b"", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"\x10\0\0\0\0\0\0\0{", b"\x80\x02"]),
    rest=st.binary(max_size=200),
    suffix=st.sampled_from(["pt", "safetensors", "npz", "bin"]),
)
def test_random_bytes_are_refused(
    tmp_path_factory: pytest.TempPathFactory, start: bytes, rest: bytes, suffix: str
) -> None:
    path = tmp_path_factory.getbasetemp() / f"random.{suffix}"
    path.write_bytes(start + rest)
    with pytest.raises(UnreadableFile):
        read_tensor_file(path, "batch dump")


def test_metadata_cannot_name_code_to_run(tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    code = tmp_path / "code.py"
    code.write_text(f"import pathlib\npathlib.Path({str(marker)!r}).touch()\n")
    path = tmp_path / "head.safetensors"
    metadata = {"architecture": f"{code}:factory", "head": "linear", "nhead": "2"}
    save_file(make_head().state_dict(), path, metadata)
    with pytest.raises(EnergydiagError, match="No built-in architecture"):
        load_checkpoint(path)
    assert not marker.exists()


def test_a_compressed_archive_is_not_unpacked(tmp_path: Path) -> None:
    import zipfile

    path = tmp_path / "head.pt"
    torch.save(make_head().state_dict(), tmp_path / "plain.pt")
    with zipfile.ZipFile(tmp_path / "plain.pt") as plain, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name in plain.namelist():
            packed.writestr(name, plain.read(name))
    with pytest.raises(UnreadableFile, match="compressed"):
        read_weights(path)


def test_torchs_advice_to_load_without_safety_is_not_passed_on(tmp_path: Path) -> None:
    path = tmp_path / "head.pt"
    path.write_bytes(b"PK" + b"\0" * 100)
    with pytest.raises(UnreadableFile) as refused:
        read_weights(path)
    assert "weights_only" not in str(refused.value)


@pytest.mark.parametrize("odd", [torch.eye(3).to_sparse(), torch.empty(3, device="meta")])
def test_tensors_without_plain_values_are_refused(odd: Tensor, tmp_path: Path) -> None:
    path = tmp_path / "head.pt"
    torch.save(dict(weights()) | {"odd": odd}, path)
    with pytest.raises(EnergydiagError):
        load_checkpoint(path, head="rescaled", nhead=2)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_actions_keep_the_precision_of_the_dump(tmp_path: Path, dtype: torch.dtype) -> None:
    batch = make_batch()
    assert batch.layer_actions is not None
    saved(
        tmp_path / "dump.pt",
        {
            "hidden": batch.hidden,
            "actions": batch.actions.to(dtype),
            "layer_actions": batch.layer_actions.to(dtype),
            "negatives": batch.layer_actions.half(),
        },
    )
    loaded = load_batch(tmp_path / "dump.pt")
    assert loaded.actions.dtype == dtype
    assert loaded.policy_actions is not None
    assert loaded.policy_actions.dtype == dtype
    assert loaded.negatives is not None
    assert loaded.negatives.dtype == torch.float32
