"""Two real processes train as one does: the same gradients, weights and log; killed, refused and led as one."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from parts import make_batch, make_head
from safetensors.torch import save_file
from torch import Tensor, distributed, nn

from energydiag.batch import Batch, Rows
from energydiag.cli import main
from energydiag.errors import EnergydiagError, UsageError
from energydiag.models.energy_function import EnergyFunction
from energydiag.plan import Descent, TrainingPlan
from energydiag.training import loop
from energydiag.training.log import COLUMNS
from energydiag.training.ranks import Ranks, launched
from energydiag.training.state import STATE_FILE, digest

TESTS = Path(__file__).resolve().parent
STILL = TrainingPlan(
    batch_size=8, log_every=1, validate_every=2, learning_rate=1e-2, weight_decay=0.1, clip_norm=None, dropout=0.0
)
FIELD = replace(STILL, sources=("layers", "noise"), descent=Descent(2), alignment=1.0, ranking=1.0, anchor=0.1)
PLANS = {
    "plain swap": STILL,
    "the whole recipe": replace(FIELD, clip_norm=0.5),
    "ranking and margin": replace(STILL, sources=("layers", "noise"), ranking=1.0, margin=1.0, tau=0.01),
    "improved negatives, adaptive temperature": replace(STILL, improved_negatives=True, temperature="adaptive"),
    "learnable temperature": replace(STILL, temperature="learnable", sources=("structured",), contrast="debiased"),
    "gradient penalty": replace(STILL, gradient_penalty=4.0),
    "gradient penalty on mixed-in actions": replace(FIELD, gradient_penalty=4.0),
    "false-negative filter, decoupled": replace(STILL, false_negative_radius=0.9, contrast="decoupled"),
    "no swap": replace(STILL, swap=False, sources=("policy", "noise"), sign=-1),
}
KILLED = replace(FIELD, steps=40, dropout=None, temperature="learnable", seed=3)


NURSERY = """
import sys; sys.path.insert(0, {tests!r})
import torch
import torch._dynamo  # what the first step would import, in every child anew
torch.set_num_threads(1)
import json, os, traceback
import energydiag.cli, test_ranks
for line in sys.stdin:
    job, folder, store = json.loads(line)
    children = []
    for rank in range(2):
        children.append(os.fork())  # this process never trains, so that its children can
        if children[-1] == 0:
            try:
                test_ranks.work(job, folder, store, rank)
                os._exit(0)
            except BaseException:
                traceback.print_exc()
                os._exit(1)
    print(json.dumps(children), flush=True)
    print(json.dumps([os.waitpid(child, 0)[1] for child in children]), flush=True)
"""


class Nursery:
    """A process that has imported everything, and forks two processes for every job."""

    def __init__(self, errors: Path) -> None:
        self.errors = errors
        self._jobs = 0
        with errors.open("w") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-c", NURSERY.format(tests=str(TESTS))],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stream, text=True,
            )  # fmt: skip

    def begin(self, job: str, folder: Path) -> list[int]:
        """The processes that run one function of this module; they find each other through a file."""
        self._jobs += 1
        assert self._process.stdin is not None
        print(json.dumps([job, str(folder), f"{self.errors}-{self._jobs}"]), file=self._process.stdin, flush=True)
        return self._answer()

    def statuses(self) -> list[int]:
        """How they ended."""
        return self._answer()

    def run(self, job: str, folder: Path) -> None:
        self.begin(job, folder)
        assert self.statuses() == [0, 0], self.errors.read_text()

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> list[int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, self.errors.read_text()
        return [int(number) for number in json.loads(line)]


@pytest.fixture(scope="module")
def nursery(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nursery]:
    if not hasattr(os, "fork"):
        pytest.skip("forks processes")
    made = Nursery(tmp_path_factory.mktemp("nursery") / "errors")
    yield made
    made.close()


def work(job: str, folder: str, store: str, rank: int) -> None:
    """What a forked process does."""
    if job == "command_lines":
        command_lines(Path(folder), rank)
        return
    distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
    if rank:
        loop.save_state = None  # type: ignore[assignment]  # the first process alone may write
    {"all_plans": all_plans, "go_on": go_on, "refusals": refusals}[job](Path(folder))
    distributed.destroy_process_group()


# The same numbers


def trained(plan: TrainingPlan, dtype: torch.dtype = torch.float64, batch: Batch | None = None) -> dict[str, Any]:
    """One step's gradients; weights and log after five steps."""
    found: dict[str, Any] = {}
    for steps in (1, 5):
        module = make_head("linear").to(dtype)
        outcome = loop.train(
            EnergyFunction(module, "test"), samples(plan) if batch is None else batch, replace(plan, steps=steps)
        )
        if steps == 1:
            found["gradients"] = flat([p.grad for p in module.parameters() if p.grad is not None])
    told = [event.text for event in outcome.events]
    return {**found, "weights": flat(module.parameters()), "rows": numbers(outcome), "tau": outcome.tau, "told": told}


def samples(plan: TrainingPlan) -> Batch:
    """Samples on which a plan's terms depend on the whole step.

    Where slopes cost something, the policy errs so much that they do from the first step. Where distances count, some
    samples have ties.
    """
    batch = make_batch(20)
    if plan.margin and batch.layer_actions is not None:
        batch.layer_actions[:7] = batch.actions[:7, None]
    return replace(batch, policy_actions=batch.actions + 9) if plan.gradient_penalty else batch


def numbers(outcome: loop.TrainingOutcome) -> Tensor:
    columns = [i for i, name in enumerate(COLUMNS) if name != "seconds"]
    return torch.tensor([row.values() for row in outcome.rows], dtype=torch.float64)[:, columns]


def flat(tensors: Any) -> Tensor:
    return torch.cat([tensor.detach().reshape(-1).double() for tensor in tensors])


def validated() -> tuple[Tensor, float]:
    energy = EnergyFunction(make_head("linear").double(), "test")
    outcome = loop.train(energy, make_batch(20), replace(FIELD, steps=4), validation=make_batch(10, seed=1))
    return numbers(outcome), outcome.best_score


CASES = [*((name, torch.float64) for name in PLANS), *((name, torch.float32) for name in list(PLANS)[:2])]


def all_plans(folder: Path) -> None:
    rank = Ranks.current().rank
    found: dict[Any, Any] = {case: trained(PLANS[case[0]], case[1]) for case in CASES}
    found["validated"] = validated()
    gathered: list[int] = []
    gather = Rows._gather

    def counting(rows: Rows, wanted: Tensor) -> Tensor:
        gathered.append(len(wanted))
        return gather(rows, wanted)

    Rows._gather = counting  # type: ignore[method-assign]
    backwards = torch.arange(20).flip(0)
    found["rows"] = trained(FIELD, batch=make_batch(20).select(backwards).select(backwards))
    torch.save((found, gathered), folder / f"{rank}.pt")
    (folder / f"weights.{rank}").write_text(run(folder / "undisturbed"))


@pytest.fixture(scope="module")
def shared(
    nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> tuple[list[dict[Any, Any]], list[list[int]], list[str]]:
    """What two processes found for all plans, the contexts each gathered, and the weights of an undisturbed run."""
    folder = tmp_path_factory.mktemp("shared")
    nursery.run("all_plans", folder)
    assert {path.name for path in (folder / "undisturbed").iterdir()} == {STATE_FILE, "metrics.csv"}
    both = [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]
    hashes = [(folder / f"weights.{rank}").read_text() for rank in range(2)]
    return [found for found, _ in both], [gathered for _, gathered in both], hashes


def apart(one: Tensor, other: Tensor) -> float:
    return float((one - other).norm() / one.norm())


@pytest.mark.parametrize(("name", "dtype"), CASES)
def test_two_processes_train_as_one(shared: Any, name: str, dtype: torch.dtype) -> None:
    alone = trained(PLANS[name], dtype)
    first, second = (found[name, dtype] for found in shared[0])
    assert torch.equal(first["weights"], second["weights"])
    torch.testing.assert_close(first["rows"], second["rows"], rtol=0, atol=0, equal_nan=True)
    assert first["told"] == second["told"] == alone["told"]
    exact = dtype == torch.float64
    assert apart(alone["gradients"], first["gradients"]) < (1e-11 if exact else 1e-5)
    # in float32, Adam makes whole steps of rounding where the true gradient is 0, as that of the keys' bias is
    assert apart(alone["weights"], first["weights"]) < (1e-7 if exact else 1e-2)
    if exact:
        torch.testing.assert_close(first["rows"], alone["rows"], rtol=1e-5, atol=1e-6, equal_nan=True)
        assert first["tau"] == pytest.approx(alone["tau"], rel=1e-9)


def test_the_first_process_validates_for_both(shared: Any) -> None:
    rows, best = validated()
    for found in shared[0]:
        torch.testing.assert_close(found["validated"][0], rows, rtol=1e-6, atol=1e-8, equal_nan=True)
        assert found["validated"][1] == pytest.approx(best, rel=1e-6)


def test_contexts_of_others_are_not_read(shared: Any) -> None:
    whole = trained(FIELD)
    for found, gathered in zip(shared[0], shared[1], strict=True):
        assert apart(whole["weights"], found["rows"]["weights"]) < 1e-9
        assert 8 not in gathered
        assert gathered.count(4) == 1 + 5  # contexts of every step


# Killed


def run(folder: Path) -> str:
    """The weights' hash of a run with dropout that goes on where it was."""
    module = make_head("linear")
    loop.train(
        EnergyFunction(module, "test"), make_batch(20), KILLED, validation=make_batch(8, seed=9),
        folder=folder, resume=True, save_every=2,
    )  # fmt: skip
    return digest(module.state_dict())


def go_on(folder: Path) -> None:
    (folder / f"weights.{Ranks.current().rank}").write_text(run(folder / "run"))


def test_killed_processes_go_on_as_if_they_had_been_left_alone(tmp_path: Path, nursery: Nursery, shared: Any) -> None:
    state = tmp_path / "run" / STATE_FILE
    steps = []
    for _ in range(3):
        before = state.stat().st_mtime_ns if state.exists() else 0
        both = nursery.begin("go_on", tmp_path)
        patience = time.monotonic() + 60
        while not state.exists() or state.stat().st_mtime_ns == before:
            assert time.monotonic() < patience
            time.sleep(0.002)
        for process in both:
            os.kill(process, signal.SIGKILL)
        nursery.statuses()
        steps.append(torch.load(state, weights_only=True)["step"])
    assert 0 < steps[0] < steps[1] < steps[2] < KILLED.steps, steps
    nursery.run("go_on", tmp_path)
    hashes = [(tmp_path / f"weights.{rank}").read_text() for rank in range(2)]
    assert hashes[0] == hashes[1] == shared[2][0] == shared[2][1]


# Refused


def refused(job: Callable[[], object]) -> str:
    try:
        job()
    except EnergydiagError as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def full_disk(*_: object) -> None:
    assert Ranks.current().is_first
    raise UsageError("the disk is full.", "free space.")


def refusals(folder: Path) -> None:
    ranks = Ranks.current()
    short = replace(STILL, steps=2)

    def begin(
        plan: TrainingPlan = short, data: int = 0, where: str | None = None, **options: Any
    ) -> Callable[[], object]:
        energy = EnergyFunction(make_head("linear"), "test")
        return lambda: loop.train(
            energy, make_batch(20, seed=data), plan, folder=None if where is None else folder / where, **options
        )

    def lonely() -> None:
        with ranks.agreement():
            if ranks.rank == 1:
                raise UsageError("the disk is gone.", "find it.")

    told = {
        "not divisible": refused(begin(replace(short, batch_size=7))),
        "other data": refused(begin(data=ranks.rank)),
        "in one alone": refused(lonely),
        "first": refused(begin(where="run", save_every=1)),
        "again": refused(begin(where="run")),
        "not shared": refused(begin(where="run" if ranks.is_first else "elsewhere", resume=True)),
        "text": ranks.text_of_first("ein Ärger ∂" if ranks.is_first else "other") + ranks.text_of_first(""),
        "mean": ranks.mean(torch.tensor([1, 2 + ranks.rank])).tolist(),
    }
    save = loop.save_state
    loop.save_state = full_disk
    told["full disk"] = refused(begin(where="full", save_every=1))
    loop.save_state = save
    few = [nn.Parameter(torch.ones(2)) for _ in range(3)]
    if ranks.is_first:
        few[0].grad = torch.tensor([2.0, 4.0])
    few[1].grad = torch.full((2,), float(ranks.rank))
    ranks.average_gradients(few)
    buffer = torch.full((2, 3), float(ranks.rank + 1)).T
    ranks.copy_from_first([buffer])
    told["buffer"] = buffer.tolist()
    told["gradients"] = [None if p.grad is None else p.grad.tolist() for p in few]
    (folder / f"{ranks.rank}.json").write_text(json.dumps(told))


def test_what_one_process_cannot_do_none_does(tmp_path: Path, nursery: Nursery) -> None:
    nursery.run("refusals", tmp_path)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first["not divisible"] == (
        "UsageError: 7 contexts a step cannot be shared out equally among 2 processes. Next: use --batch-size 6."
    )
    assert "Process 1 of 2: it has other values than the first process: the training samples." in first["other data"]
    assert first["in one alone"] == "UsageError: Process 1 of 2: the disk is gone. Next: find it."
    assert first["first"] == second["first"] == "nothing"
    assert "holds a training run" in first["again"]
    assert "the step of the saved state" in first["not shared"]
    assert not (tmp_path / "elsewhere").exists()
    assert first["full disk"] == "UsageError: the disk is full. Next: free space."
    refusing = ("not divisible", "other data", "in one alone", "again", "not shared", "full disk")
    assert all(second[name].startswith("Dismissed: ") for name in refusing)
    for name in ("text", "mean", "gradients", "buffer"):
        assert first[name] == second[name]
    assert (first["text"], first["mean"]) == ("ein Ärger ∂", [1, 2.5])
    assert first["buffer"] == [[1.0, 1.0]] * 3
    assert first["gradients"] == [[1.0, 2.0], [0.5, 0.5], None]


def test_a_run_of_two_processes_is_not_continued_by_one(tmp_path: Path) -> None:
    energy = EnergyFunction(make_head("linear"), "test")
    loop.train(energy, make_batch(20), replace(STILL, steps=1), folder=tmp_path)
    content = torch.load(tmp_path / STATE_FILE, weights_only=True)
    content["identity"]["the number of processes"] = "2"
    torch.save(content, tmp_path / STATE_FILE)
    energy = EnergyFunction(make_head("linear"), "test")
    with pytest.raises(UsageError, match="the number of processes is 2 there and 1 here"):
        loop.train(energy, make_batch(20), replace(STILL, steps=1), folder=tmp_path, resume=True)


def test_one_process_is_alone_and_half_an_environment_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = Ranks.current()
    value = torch.ones(3)
    assert (ranks, ranks.mean(value) is value) == (Ranks(0, 1), True)
    assert (ranks.text_of_first("a"), ranks.rows(7)) == ("a", slice(0, 7))
    for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with launched("cpu") as device:
        assert (device, distributed.is_initialized()) == ("cpu", False)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(UsageError, match="LOCAL_RANK and MASTER_ADDR and MASTER_PORT missing"), launched("cpu"):
        pass
    for name in ("LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    with pytest.raises(UsageError, match="one device for all processes"), launched("cuda:1"):
        pass


# Led


def prepared(folder: Path) -> list[str]:
    """A head, a dump, and the command to repair it."""
    head, dump = folder / "head.safetensors", folder / "dump.safetensors"
    save_file(make_head("original").state_dict(), head, {"head": "original", "nhead": "2", "tau": "0.5"})
    present = make_batch(60).present()
    save_file({name: value.clone() for name, value in present.items() if name != "policy_actions"}, dump)
    return ["energydiag", "fix-and-retrain", str(head), "--batch", str(dump), "--out", str(folder / "out")]


@pytest.mark.slow
def test_the_command_line_under_torchrun(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m"]
    command += [*prepared(tmp_path), "--steps", "3", "--batch-size", "8", "--format", "json"]
    command += ["--fix", "linear-head", "--fix", "mixed-negatives"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(TESTS.parent)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert done.stdout.startswith("{"), (done.stdout, done.stderr)
    result = json.loads(done.stdout)  # one result: the other process said nothing
    out = tmp_path / "out"
    assert result == json.loads((out / "result.json").read_text())
    assert result["kind"] == "repair"
    assert result["provenance"]["processes"] == 2
    assert set(result["arms"]) == {"before", "control", "after"}
    assert done.returncode == (0 if result["accepted"] else 1), done.stderr
    assert {path.name for path in out.iterdir()} == {"runs", "figures", "repaired.safetensors", "result.json"}
    state = torch.load(out / "runs" / "after-0" / STATE_FILE, weights_only=True)
    assert (state["step"], state["identity"]["the number of processes"]) == (3, "2")


LEAVES = """
import os
from energydiag.training.ranks import Ranks, launched
with launched("cpu"):
    import torch.distributed.fsdp  # which training may import, and which takes the group for itself
    Ranks.current().text_of_first("")
print([open(f"/proc/self/task/{task}/comm").read() for task in os.listdir("/proc/self/task")])
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are named in /proc")
def test_no_thread_of_the_network_outlives_the_training() -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
    environment |= {"MASTER_PORT": free_port()}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", LEAVES],
            env={**environment, "RANK": rank, "LOCAL_RANK": rank},
            stdout=subprocess.PIPE,
            text=True,
        )
        for rank in ("0", "1")
    ]
    for process in both:
        shown = process.communicate(timeout=120)[0]
        assert process.returncode == 0
        assert "gloo" not in shown
        assert shown.count(",") == 0


COMMAND_LINES: tuple[tuple[str, ...], ...] = (
    ("--fix", "nonsense"),
    ("--dry-run", "--fix", "linear-head", "--autocast"),
    ("--head", "nonsense"),
    ("--fix", "linear-head", "--steps", "1", "--batch-size", "7"),
)
"""A mistake that the first process alone sees, a plan, a mistake that all see, one that is seen before training."""


def command_lines(folder: Path, rank: int) -> None:
    """Runs them one after the other, as torchrun would start them."""
    os.environ |= {"WORLD_SIZE": "2", "RANK": str(rank), "LOCAL_RANK": str(rank)}
    os.environ |= {"MASTER_ADDR": "127.0.0.1"}
    for number, arguments in enumerate(COMMAND_LINES):
        os.environ["MASTER_PORT"] = json.loads((folder / "ports.json").read_text())[number]
        sys.argv = [*json.loads((folder / "command.json").read_text()), *arguments, "--out", str(folder / f"o{number}")]
        out, err = io.StringIO(), io.StringIO()
        code: Any = None
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                main()
            except SystemExit as stopped:
                code = stopped.code
        assert not distributed.is_initialized()
        (folder / f"{number}-{rank}.json").write_text(json.dumps([code, out.getvalue(), err.getvalue()]))


def free_port() -> str:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def test_the_first_process_alone_speaks(tmp_path: Path, nursery: Nursery) -> None:
    (tmp_path / "command.json").write_text(json.dumps(prepared(tmp_path)))
    (tmp_path / "ports.json").write_text(json.dumps([free_port() for _ in COMMAND_LINES]))
    nursery.run("command_lines", tmp_path)
    first, second = (
        [json.loads((tmp_path / f"{number}-{rank}.json").read_text()) for number in range(len(COMMAND_LINES))]
        for rank in range(2)
    )
    assert second == [[0, "", ""]] * len(COMMAND_LINES)
    assert [code for code, _, _ in first] == [2, 0, 2, 2]
    assert "There is no fix `nonsense`" in first[0][2]
    assert first[1][1].startswith("linear-head (needed by another fix)")
    assert "autocast=bfloat16" in first[1][1]
    assert "nonsense" in first[2][2]
    assert "7 contexts a step cannot be shared out equally among 2 processes" in first[3][2]
