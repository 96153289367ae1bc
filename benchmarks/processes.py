"""One process against two: training under torchrun, and `inspect` on several checkpoints in worker processes.

``python -m benchmarks.processes FOLDER DEVICE`` is one of the processes of a training run.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from .figure import Row
from .side_by_side import THREADS

ROOT = Path(__file__).resolve().parent.parent

_STEPS = 3
_CHECKPOINTS = 4
_HEAD = "cross-attention.safetensors"


def measure(repeats: int, small: bool = False) -> list[Row]:
    import torch

    rows = []
    with tempfile.TemporaryDirectory() as folder:
        size, few = _prepare(Path(folder), small)
        rows.append(_training(Path(folder), size, repeats, "cpu", 2))
        gpus = torch.cuda.device_count()
        if gpus > 1:
            rows.append(_training(Path(folder), size, repeats, "cuda", gpus))
        rows.append(_inspections(Path(folder), few, repeats))
    return rows


def _prepare(folder: Path, small: bool) -> tuple[str, str]:
    """A dump and a head to train, and checkpoints with a smaller dump to inspect; how large both are."""
    from energydiag.files.write_safetensors import write_safetensors

    from .policy import TINY, Size, make_case
    from .training_step import write_dump

    size = TINY if small else Size(64, 128, 1024)
    case = make_case(size)
    write_dump(case, folder / "dump")
    few = make_case(TINY if small else Size(32, 64, 512, 256))
    write_dump(few, folder / "few")
    told = {"head": "original", "tau": "0.5"}
    write_safetensors(folder / _HEAD, case.model.state_dict(), told | {"nhead": str(size.heads)})
    for number in range(_CHECKPOINTS):
        path = folder / f"step_{number}.safetensors"
        write_safetensors(path, few.model.state_dict(), told | {"nhead": str(few.size.heads)})
    return str(size), str(few.size)


# --- training


def _training(folder: Path, size: str, repeats: int, device: str, most: int) -> Row:
    """Seconds of a step with one process and with the most, launched in turn."""
    seconds: dict[int, list[float]] = {1: [], most: []}
    for _ in range(repeats):
        for count, found in seconds.items():
            found.append(_launched(folder, device, count))
    ratios = [one / many for one, many in zip(seconds[1], seconds[most], strict=True)]
    one, many = statistics.median(seconds[1]), statistics.median(seconds[most])
    threads = "one thread a process" if device == "cpu" else "a GPU a process"
    return Row(
        f"training step on {device.upper()}, 1 process / {most}",
        size,
        many,
        one,
        statistics.median(ratios),
        note=f"torchrun; {threads}; start-up left out",
        points=((1.0, 1.0), (float(most), statistics.median(ratios))),
    )


def _launched(folder: Path, device: str, count: int) -> float:
    """Seconds of a step as the first process of a run saw it."""
    (folder / "seconds.json").unlink(missing_ok=True)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(count)]
    command += ["-m", "benchmarks.processes", str(folder), device]
    # with one process as with many: it is processes that count
    environment = {**os.environ, **dict.fromkeys(THREADS, "1")}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"torchrun ended with {done.returncode}: {done.stderr[-2000:]}")
    answer: float = json.loads((folder / "seconds.json").read_text())
    return answer


def train_with_others(folder: Path, device: str) -> None:
    """In every process: trains a step to warm up, then some more, and the first one writes down how long each took."""
    import torch
    from torch import distributed

    import energydiag
    from energydiag.plan import TrainingPlan
    from energydiag.training.loop import train

    if device == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    distributed.init_process_group("cpu:gloo,cuda:nccl" if device == "cuda" else "gloo")
    try:
        energy = energydiag.load_checkpoint(folder / _HEAD, device=device)
        batch = energydiag.load_batch(folder / "dump")
        train(energy, batch, TrainingPlan(steps=1, batch_size=len(batch)))
        distributed.barrier()
        start = time.perf_counter()
        train(energy, batch, TrainingPlan(steps=_STEPS, batch_size=len(batch)))
        if device == "cuda":
            torch.cuda.synchronize()
        seconds = (time.perf_counter() - start) / _STEPS
        if distributed.get_rank() == 0:
            (folder / "seconds.json").write_text(json.dumps(seconds))
    finally:
        distributed.destroy_process_group()


# --- inspections


def _inspections(folder: Path, size: str, repeats: int) -> Row:
    ratios, one, two = [], [], []
    for _ in range(repeats):
        one.append(_inspected(folder, 1))
        two.append(_inspected(folder, 2))
        ratios.append(one[-1] / two[-1])
    return Row(
        f"inspect on {_CHECKPOINTS} checkpoints, 1 worker process / 2",
        size,
        statistics.median(two),
        statistics.median(one),
        statistics.median(ratios),
        note="all cores are shared out among the workers; start-up included",
        points=((1.0, 1.0), (2.0, statistics.median(ratios))),
    )


def _inspected(folder: Path, workers: int) -> float:
    from energydiag import inspect_many

    paths = sorted(folder.glob("step_*.safetensors"))
    start = time.perf_counter()
    fleet = inspect_many(paths, folder / "few", workers=workers)
    seconds = time.perf_counter() - start
    if fleet.failed:
        raise RuntimeError(str(fleet.failed[0].error))
    return seconds


if __name__ == "__main__":
    train_with_others(Path(sys.argv[1]), sys.argv[2])
