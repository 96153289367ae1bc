"""Small files that would take hours or gigabytes, or end in a traceback, are refused or read for what they are."""

from __future__ import annotations

import json
import math
import os
import sys
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hostile.archives import archive_of, zeros
from hostile.headers import entry, safetensors
from hostile.pickles import call, in_a_zip, mapping, name, number, pickled, tensor, text
from parts import make_head
from safetensors.torch import save_file
from torch import Tensor, nn

from energydiag.batches import load_batch
from energydiag.checkpoints import read_weights
from energydiag.checkpoints.listing import list_checkpoints, step_in_name
from energydiag.checkpoints.step import step_inside
from energydiag.errors import EnergydiagError, InvalidCheckpoint, UnreadableFile
from energydiag.files import names
from energydiag.models.places import places_of_anchor, places_of_module
from energydiag.runs import read_run
from energydiag.runs.family import measure_run
from energydiag.runs.limits import Told, limits_of
from energydiag.training.log import COLUMNS, LogRow
from energydiag.training.state import STATE_FILE, Event, Kept, RunState, fill, load_state, save_state

HEAD = make_head("linear").state_dict()


def written(path: Path, content: bytes | str) -> Path:
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def refused(read: Callable[[], object], told: str, kind: type[EnergydiagError] = UnreadableFile) -> None:
    with pytest.raises(kind, match=told) as found:
        read()
    assert found.value.next_step
    assert len(str(found.value)) < 1500


# --- keys of checkpoints


@pytest.mark.parametrize("key", ["." * 20_000, "a." * 20_000 + "w", "w" * 1001], ids=["dots", "steps", "word"])
def test_a_key_that_is_too_long(key: str, tmp_path: Path) -> None:
    path = written(tmp_path / "c.safetensors", safetensors({key: entry([0], [0, 0])}))
    refused(lambda: read_weights(path), "whose name has")
    torch.save({key: torch.zeros(1)}, tmp_path / "c.pt")
    refused(lambda: read_weights(tmp_path / "c.pt"), "characters")


def outlines(keys: list[str]) -> dict[str, Tensor]:
    return dict.fromkeys(keys, torch.zeros(1))


def test_each_of_many_prefixes_is_found() -> None:
    keys = [f"p{number:05d}.{key}" for number in range(20_000) for key in ("anchor", "part.w")]
    found = places_of_anchor(outlines(keys), "anchor", lambda own: own == {"anchor", "part.w"})
    assert [place.prefix for place in found] == [f"p{number:05d}." for number in range(20_000)]
    own = {"anchor": torch.zeros(1), "part.w": torch.zeros(1)}
    assert places_of_module(outlines(keys), own) == found


@pytest.mark.parametrize(
    "key", ["a." * 400 + "x", "module." * 100 + "x", "." * 900, "x." * 400 + "anchor"], ids=range(4)
)
def test_dots_are_gone_through_once(key: str) -> None:
    found = places_of_anchor(outlines([*(f"{number}.{key}" for number in range(2000)), "anchor"]), "anchor", bool)
    assert found[0].prefix == ""


def test_prefixes_inside_of_each_other_without_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energydiag.models.places._MOST_CHARACTERS", 1 << 20)
    keys = [f"{'a.' * deep}anchor" for deep in range(480)] + [f"{'a.' * 480}{number}" for number in range(1000)]
    refused(lambda: places_of_anchor(outlines(keys), "anchor", bool), "very many prefixes", InvalidCheckpoint)


@pytest.mark.parametrize("kind", ["safetensors", "pt", "npz", "sharded"])
def test_too_many_tensors(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(names, "MOST_NAMES", 20)
    keys, path = [f"l{number}" for number in range(21)], tmp_path / f"c.{kind}"
    if kind == "pt":
        torch.save(outlines(keys), path)
    elif kind == "npz":
        np.savez(path, *(np.zeros(1) for _ in keys))
    else:
        path = written(tmp_path / "c.safetensors", safetensors({key: entry([0], [0, 0]) for key in keys}))
    if kind == "sharded":
        path = written(
            tmp_path / "c.safetensors.index.json", json.dumps({"weight_map": dict.fromkeys(keys, path.name)})
        )
    refused(lambda: read_weights(path), "at most 20 are read")


def shared(leaf: bytes) -> bytes:
    """A pickle of 19 kB: a dict of 400 names of one dict of 400 names of one dict of 400 names of one thing."""
    made = leaf
    for memo in range(1, 4):
        made += b"q" + bytes([memo])
        again = b"h" + bytes([memo])
        made = b"}(" + b"".join(text(f"k{at}") + (made if at == 0 else again) for at in range(400)) + b"u"
    return pickled(made)


@pytest.mark.parametrize("leaf", [tensor(), number(1), b"}"], ids=["tensors", "numbers", "dicts"])
def test_dicts_that_share_their_items(leaf: bytes, tmp_path: Path) -> None:
    path = written(tmp_path / "c.pt", in_a_zip(shared(leaf)))
    assert path.stat().st_size < 25_000
    refused(lambda: read_weights(path), "state dicts, or dicts of more than")


def test_an_index_whose_last_key_stands_twice(tmp_path: Path) -> None:
    rows = ",".join(f'"k{at}":"m"' for at in range(200_000)) + ',"k199999":"m"'
    path = written(tmp_path / "m.safetensors.index.json", f'{{"weight_map": {{{rows}}}}}')
    refused(lambda: read_weights(path), "'k199999' twice")


# --- what tensors are


@pytest.mark.parametrize("used", [read_weights, load_batch])
def test_nested_tensors(used: Callable[[Path], object], tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    odd = torch.nested.nested_tensor([torch.zeros(2, 1), torch.zeros(3, 1)])
    torch.save({**HEAD, "hidden": odd, "actions": odd}, tmp_path / "c.pt")
    recwarn.clear()
    refused(lambda: used(tmp_path / "c.pt"), "nested tensors")
    assert not recwarn.list


@pytest.mark.parametrize("dtype", [torch.float4_e2m1fn_x2, torch.bits8])
def test_types_that_nothing_computes_with(dtype: torch.dtype, tmp_path: Path) -> None:
    torch.save({"w": torch.zeros(2, dtype=torch.uint8).view(dtype)}, tmp_path / "c.pt")
    (found,) = read_weights(tmp_path / "c.pt").sets
    refused(lambda: found.read({"w": "w"}), "not plain and dense", InvalidCheckpoint)


@pytest.mark.parametrize("digits", [400, 5000])
@pytest.mark.parametrize("where", ["metadata", "pickle"])
def test_a_step_of_many_digits(digits: int, where: str, tmp_path: Path) -> None:
    path = tmp_path / "c"
    if where == "metadata":
        save_file(HEAD, path, {"step": "9" * digits})
    else:
        torch.save({"step": 10**digits, "model": HEAD}, path)
    assert step_inside(path) is None


ODD_STEPS = {
    "complex": torch.tensor(1j),
    "without values": torch.empty(1, device="meta"),
    "NaN": torch.tensor(math.nan),
    "infinite": math.inf,
    "text": "abc",
}


@pytest.mark.parametrize("kind", ODD_STEPS)
def test_a_step_that_is_none(kind: str, tmp_path: Path) -> None:
    torch.save({"step": ODD_STEPS[kind], "iteration": 7, "model": HEAD}, tmp_path / "c.pt")
    assert step_inside(tmp_path / "c.pt") == 7


def test_a_setting_that_is_too_long(tmp_path: Path) -> None:
    save_file(HEAD, tmp_path / "c.safetensors", {"nhead": "9" * 5000})
    refused(lambda: read_weights(tmp_path / "c.safetensors"), "`nhead`.* has 5000 characters", InvalidCheckpoint)


# --- names of files


@pytest.mark.skipif(sys.platform != "linux", reason="names of any bytes")
@pytest.mark.parametrize("kind", ["safetensors", "pt", "npz"])
def test_a_name_that_is_no_utf8(kind: str, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/c\xff." + kind.encode()))
    path.touch()
    written(path, safetensors({"w": entry([0], [0, 0])}))
    refused(lambda: read_weights(path), "no UTF-8")
    refused(lambda: load_batch(path), "no UTF-8")


@pytest.mark.parametrize("digits", [19, 250])
def test_a_number_in_a_name_that_is_no_step(digits: int) -> None:
    assert step_in_name(f"step_{'9' * digits}.pt") is None
    assert step_in_name("step_12.pt") == 12
    assert list_checkpoints([f"x{'1' * 5000}.pt", "x2.pt"])[0] == Path("x2.pt")


@pytest.fixture
def looked_into(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Folders that were listed."""
    real, found = os.scandir, list[str]()

    def scandir(path: Any) -> Iterator[Any]:
        found.append(str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    return found


@pytest.mark.parametrize("stars", ["**/**/**/**/", "**/d/**/d/**/d/**/", "**/*/**/*/**/*/"])
def test_a_pattern_of_many_stars(stars: str, tmp_path: Path, looked_into: list[str]) -> None:
    deep = tmp_path
    for _ in range(25):
        deep /= "d"
        deep.mkdir()
    (deep / "c.pt").touch()
    parts = len(Path(stars).parts) + 1
    assert list_checkpoints([tmp_path / f"{stars}*.pt"]) == (deep / "c.pt",)
    assert len(looked_into) <= 26 * parts


def test_a_pattern_finds_what_glob_finds(tmp_path: Path) -> None:
    for file in ("a/c1.pt", "a/b/c2.pt", "a/.hidden/c3.pt", "a/b/.c4.pt", "c5.pt", "x[1]/c6.pt"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for pattern in ("**/*.pt", "*.pt", "a/*/*.pt", "**/c?.pt", "a/**/c[12].pt", "*/.*/*.pt", "a/b/.*", "**/b/*"):
        found = {str(path.relative_to(tmp_path)) for path in list_checkpoints([tmp_path / pattern])}
        assert found == {str(path.relative_to(tmp_path)) for path in map(Path, glob_files(tmp_path, pattern))}, pattern


def glob_files(folder: Path, pattern: str) -> list[str]:
    import glob

    return [one for one in glob.glob(str(folder / pattern), recursive=True) if Path(one).is_file()]  # noqa: PTH207


def test_links_that_lead_to_their_own_folder(tmp_path: Path, looked_into: list[str]) -> None:
    for at in range(3):
        (tmp_path / f"l{at}").symlink_to(tmp_path)
    files = tuple(written(tmp_path / f"step_{at}.pt", "x") for at in (1, 2))
    assert list_checkpoints([tmp_path]) == files
    assert list_checkpoints([tmp_path / "**" / "*.pt"]) == files
    assert len(looked_into) < 20
    (tmp_path / "round").symlink_to("round")
    assert list_checkpoints([tmp_path / "round"]) == (tmp_path / "round",)


def test_a_pattern_that_leads_through_everything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energydiag.checkpoints.listing._MOST_ENTRIES", 10)
    for at in range(11):
        (tmp_path / f"{at}.pt").touch()
    refused(lambda: list_checkpoints([tmp_path / "**" / "*.pt"]), "more than 10 files")


# --- dumps


def test_an_archive_that_unpacks_to_a_thousand_times_its_size(tmp_path: Path) -> None:
    header = {"descr": "<f4", "fortran_order": False, "shape": (2, 1, 1000 << 17)}
    with (tmp_path / "header").open("wb") as stream:
        np.lib.format.write_array_header_1_0(stream, header)
    before = (tmp_path / "header").read_bytes()
    content = archive_of([(b"hidden.npy", zeros(1000, before), len(before) + (1000 << 20), 8, 20)])
    path = written(tmp_path / "d.npz", content)
    assert path.stat().st_size < 1 << 20
    refused(lambda: load_batch(path), "would unpack to 1000 MiB")


# --- training logs


def wide(count: int, length: int) -> dict[str, float]:
    return {"step": 1.0, "loss": 2.0, **{f"{at}".rjust(length, "x"): 1.0 for at in range(count)}}


@pytest.mark.parametrize("kind", ["csv", "jsonl", "hf"])
def test_columns_of_long_names(kind: str, tmp_path: Path) -> None:
    row = wide(300, 10_000)
    texts = {
        "csv": f"{','.join(row)}\n{','.join(map(str, row.values()))}\n",
        "jsonl": json.dumps(row) + "\n",
        "hf": json.dumps({"log_history": [row]}),
    }
    refused(lambda: read_run(written(tmp_path / "log", texts[kind])), "name has 10000 characters, more than 1000")


def test_names_are_looked_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from energydiag.runs import names as of_columns

    real, asked = of_columns._forms, list[str]()

    def forms(column: str) -> Any:
        asked.append(column)
        return real(column)

    monkeypatch.setattr(of_columns, "_forms", forms)
    row = wide(500, 900)
    read_run(written(tmp_path / "log.csv", f"{','.join(row)}\n{','.join(map(str, row.values()))}\n"))
    assert len(asked) == len(row)


DEEP = '{"' + "a" * 500 + '":'


@pytest.mark.parametrize("place", ["row", "config", "state"])
def test_names_that_grow_with_depth(place: str, tmp_path: Path) -> None:
    """Every inner name would repeat all outer ones: a megabyte would become gigabytes."""
    deep = DEEP * 400 + json.dumps({f"b{at}": 1 for at in range(5000)}) + "}" * 400
    log = tmp_path / "metrics.jsonl"
    rows = '{"step": 1, "loss": 2}\n'
    if place == "row":
        found = read_run(written(log, f"{rows}{deep}\n"))
        assert any("1 line left out" in note for note in found.notes)
    elif place == "config":
        written(tmp_path / "config.json", deep)
        found = read_run(written(log, rows))
        assert any("config.json was not read" in note for note in found.notes)
    else:
        found = read_run(written(tmp_path / "state", f'{{"log_history": [{rows.strip()}], "x": {deep}}}'))
        assert any("beside `log_history` was not read" in note for note in found.notes)
    assert not found.config


@pytest.mark.parametrize(
    ("log", "told"),
    ids=range(9),
    argvalues=[
        ("step,loss\n" + "\n" * 101, "more than 100 rows"),
        ("step,loss\n" + "1,2\n" * 101, "more than 100 rows"),
        ("step,loss\n" + "1,2,3\n" * 101, "more than 100 rows"),
        ("step,loss\n" + "x,y\n" * 51, "more than 100 cells that are no numbers"),
        ("step,loss\n" + "-,-\n" * 51, "more than 100 cells that are no numbers"),
        ('{"step":1,"loss":2}\n' + "{}\n" * 101, "more than 100 rows"),
        ('{"step":1,"loss":2}\n' + "x\n" * 101, "more than 100 rows"),
        (
            '{"step":1,"loss":2}\n' + '{"a":"x","b":"y"}\n' * 51,
            "more than 100 cells that are no numbers",
        ),
        ('{"log_history": [{"step":1,"loss":2}' + ",1" * 101 + "]}", "more than 100 rows"),
    ],
)
def test_rows_and_words_without_end(log: str, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("energydiag.runs.table.MOST_ROWS", 100)
    monkeypatch.setattr("energydiag.runs.table._MOST_WORDS", 100)
    refused(lambda: read_run(written(tmp_path / "log", log)), told)


def test_numbers_whose_squares_are_none(tmp_path: Path) -> None:
    rows = [f"{at},{'-' if at % 2 else ''}1.7e308,nan,{at}e305,1e308" for at in range(60)]
    log = read_run(written(tmp_path / "log.csv", "\n".join(["step,loss,info_nce,seconds,lr", *rows, "1e300,1,1,1,1"])))
    assert np.isinf(log.series["loss"].value).all()
    assert np.isnan(log.series["info_nce"].value).all()
    assert log.series["loss"].step.max() == 59
    assert any("1 row left out, without a step" in note for note in log.notes)
    measure_run(log, limits_of(log, Told()))


def test_steps_so_close_that_no_slope_is_a_number(tmp_path: Path) -> None:
    rows = [f"{at}e-320,{(-1) ** at * at}e140" for at in range(1, 60)]
    log = read_run(written(tmp_path / "log.csv", "\n".join(["step,loss", *rows])))
    answer = measure_run(log, limits_of(log, Told()))
    assert "run.loss.slope_last_half" in {one.name for one in answer.skipped}


# --- states to resume from


WHO = {"the plan's tau": "0.5"}


def parts() -> tuple[nn.Linear, torch.optim.AdamW, nn.Parameter]:
    """A module, its optimiser after a step, and a learnt temperature."""
    torch.manual_seed(0)
    module, log_tau = nn.Linear(2, 1), nn.Parameter(torch.zeros(()))
    groups: list[dict[str, Any]] = [{"params": list(module.parameters())}, {"params": [log_tau], "weight_decay": 0.0}]
    optimiser = torch.optim.AdamW(groups)
    (module(torch.ones(3, 2)).sum() * log_tau.exp()).backward()
    optimiser.step()
    return module, optimiser, log_tau


def saved(folder: Path) -> dict[str, Any]:
    """What a state holds, once it is written."""
    module, optimiser, log_tau = parts()
    row = LogRow.of_values(float(at) for at in range(len(COLUMNS)))
    run = RunState(
        Kept(dict(module.state_dict()), 3, -math.inf, 0.5),
        4,
        1,
        {"a": torch.ones(2)},
        rows=[row],
        events=[Event(1, "e")],
    )
    state = {**optimiser.state_dict(), "log_tau": log_tau.detach()}
    save_state(folder, run, WHO, dict(module.state_dict()), state)
    content: dict[str, Any] = torch.load(folder / STATE_FILE, weights_only=True)
    return content


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    saved(tmp_path)
    found = load_state(tmp_path, WHO)
    assert found is not None
    run, weights, state = found
    assert (run.step, run.kept.score, run.events, run.rows[0].seconds) == (4, -math.inf, [Event(1, "e")], 16.0)
    module, optimiser, log_tau = parts()
    with torch.no_grad():
        for one in (*module.parameters(), log_tau):
            one.zero_()
    fill(tmp_path, found, module, optimiser, log_tau)
    for name_, value in parts()[0].state_dict().items():
        assert torch.equal(module.state_dict()[name_], value)
    assert log_tau == parts()[2]
    assert optimiser.state_dict()["state"].keys() == parts()[1].state_dict()["state"].keys()
    assert set(state["state"][0]) == {"step", "exp_avg", "exp_avg_sq"}
    assert weights.keys() == run.kept.weights.keys()


def changed(content: Mapping[Any, Any], way: str, value: Any) -> dict[Any, Any]:
    """The same with another value at the end of a way of keys."""
    first, _, rest = way.partition("/")
    key = int(first) if first.isdecimal() else first
    return {**content, key: changed(content[key], rest, value) if rest else value}


EXPANDED = torch.zeros(1).expand(1 << 14, 1 << 15)
"""Two gigabytes, were they written out."""


NO_STATES: list[tuple[str, Any]] = [
    ("step", "many"),
    ("step", -1),
    ("step", True),
    ("step", 10**400),
    ("step", 10**600),
    ("waited", 1.5),
    ("seconds", "long"),
    ("stopped", 3),
    ("stopped", "gone"),
    ("seconds", math.inf),
    ("seconds", -1.0),
    ("case", None),
    ("identity", ["a"]),
    ("identity/the plan's tau", 0.5),
    ("rows", [[1.0]]),
    ("rows", [["text"] * len(COLUMNS)]),
    ("rows", [[math.nan] * len(COLUMNS)]),
    ("rows", {"a": 1}),
    ("events", [[1]]),
    ("events", [["one", "text"]]),
    ("kept", []),
    ("kept/tau", "warm"),
    ("kept/weights", {"weight": 1.0}),
    ("weights", torch.ones(1)),
    ("weights/weight", EXPANDED),
    ("weights/weight", torch.ones(2).to_sparse()),
    ("weights/weight", torch.empty(1, 2, device="meta")),
    ("start", {"a": EXPANDED}),
    ("optimiser", None),
    ("optimiser/log_tau", "warm"),
    ("optimiser/state", [1]),
    ("optimiser/state", {"first": {}}),
    ("optimiser/state", {10**20: {}}),
    ("optimiser/state/0/exp_avg", EXPANDED),
    ("format", "3"),
    ("format", 10**5000),
]


@pytest.mark.parametrize(("way", "value"), NO_STATES, ids=[f"{at}-{way}" for at, (way, _) in enumerate(NO_STATES)])
def test_a_state_that_is_none(way: str, value: Any, tmp_path: Path) -> None:
    torch.save(changed(saved(tmp_path), way, value), tmp_path / STATE_FILE)
    refused(lambda: load_state(tmp_path, WHO), "cannot be read as the state")


@pytest.mark.parametrize(
    ("way", "value"),
    [
        ("weights/weight", torch.ones(3, 3)),
        ("weights/more", torch.ones(1)),
        ("weights", {}),
        ("kept/weights/weight", torch.ones(())),
        ("optimiser/log_tau", None),
        ("optimiser/log_tau", torch.ones(2)),
        ("optimiser/state/0/exp_avg", torch.ones(2)),
        ("optimiser/state/0/step", torch.ones(5)),
        ("optimiser/state/0/more", torch.ones(5)),
        ("optimiser/state/7", {}),
    ],
)
def test_a_state_of_other_shapes(way: str, value: Any, tmp_path: Path) -> None:
    torch.save(changed(saved(tmp_path), way, value), tmp_path / STATE_FILE)
    module, optimiser, log_tau = parts()
    before = {key: one.clone() for key, one in module.state_dict().items()}
    found = load_state(tmp_path, WHO)
    assert found is not None
    refused(lambda: fill(tmp_path, found, module, optimiser, log_tau), "cannot be read as the state")
    assert all(torch.equal(one, before[key]) for key, one in module.state_dict().items())


def test_settings_of_the_optimiser_are_the_plans(tmp_path: Path) -> None:
    content = saved(tmp_path)
    groups = [{**group, "weight_decay": "text", "fused": True} for group in content["optimiser"]["param_groups"]]
    torch.save(changed(content, "optimiser/param_groups", groups), tmp_path / STATE_FILE)
    module, optimiser, log_tau = parts()
    found = load_state(tmp_path, WHO)
    assert found is not None
    fill(tmp_path, found, module, optimiser, log_tau)
    optimiser.step()


BOMBS = {
    "a bytearray of 2.5 GiB": call(name("builtins", "bytearray"), b"\x8a\x05" + (5 << 29).to_bytes(5, "little")),
    "a call": call(name("os", "system"), text("true")),
}


@pytest.mark.parametrize("kind", BOMBS)
def test_a_state_is_scanned_before_torch_reads_it(kind: str, tmp_path: Path) -> None:
    path = written(tmp_path / STATE_FILE, in_a_zip(pickled(mapping(BOMBS[kind], text("format")))))
    assert path.stat().st_size < 2000
    refused(lambda: load_state(tmp_path, WHO), "was not read|was not run")


def test_a_state_that_is_compressed(tmp_path: Path) -> None:
    written(tmp_path / STATE_FILE, in_a_zip(pickled(mapping(tensor())), zipfile.ZIP_DEFLATED))
    refused(lambda: load_state(tmp_path, WHO), "compressed")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes")
def test_a_state_that_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / STATE_FILE)
    refused(lambda: load_state(tmp_path, WHO), "no plain file")
