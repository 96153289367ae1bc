"""On a real Ray cluster of two nodes, one of which is killed in the middle."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path

import pytest
import ray
import torch
from parts import make_batch, make_head
from ray.cluster_utils import Cluster

from energydiag.errors import UsageError
from energydiag.pipeline import ModelOptions, inspect_many

PATIENCE = "300"
"""Seconds, where Ray would give up sooner: cores may be shared with other tests."""

SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_agent_register_timeout_ms": PATIENCE + "000",
    "RAY_raylet_start_wait_time_s": PATIENCE,  # also what a node's own start is given
    "RAY_worker_register_timeout_seconds": PATIENCE,
    "RAY_worker_niceness": "0",  # 15 is Ray's own: on a busy machine its workers get next to nothing
    "RAY_memory_monitor_refresh_ms": "0",  # no worker is killed for the memory that others take
}

NODE = {
    "num_cpus": 1,
    "object_store_memory": 80 << 20,  # close to the least that Ray takes
    "include_dashboard": False,
    "include_log_monitor": False,
    "no_monitor": True,
}
"""A node without the processes that only people look at."""

FIELDS = ("hidden", "actions", "pad_mask", "layer_actions", "episode")

FACTORY = '''
"""A head that waits for its node's end on the doomed node, and kills its process once elsewhere."""
import os, signal
from pathlib import Path

import ray
import torch

from energydiag.models.cross_attention import CrossAttentionEnergy

HERE = Path(__file__).parent


class Head(CrossAttentionEnergy):
    def load_state_dict(self, *given, **named):
        loaded = super().load_state_dict(*given, **named)
        if ray.get_runtime_context().get_node_id() == (HERE / "doomed").read_text():
            with (HERE / "fifo").open("w") as told:
                told.write("begun")
            signal.pause()
        try:
            (HERE / "died").touch(exist_ok=False)
            os.kill(os.getpid(), signal.SIGKILL)
        except FileExistsError:
            pass
        return loaded


def make():
    return Head(12, 3, hidden=16, nhead=2, head="original")
'''


@pytest.mark.slow
def test_a_node_that_is_killed_midway_loses_nothing_and_nothing_counts_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value)
    batch = make_batch(12)
    torch.save({name: getattr(batch, name) for name in FIELDS}, "dump.pt")
    for step in (1, 2, 3, 10):
        torch.save(make_head("original", step).state_dict(), f"step_{step}.pt")
    Path("step_4.pt").write_bytes(b"rubbish")
    Path("factory.py").write_text(FACTORY)
    os.mkfifo("fifo")
    for name in ("safetensors", "torch", "numpy"):  # Ray would look for them here first
        Path(f"{name}.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'a').write({name!r})")

    cluster = Cluster(initialize_head=True, head_node_args=NODE)
    try:
        doomed = cluster.add_node(**NODE)
        Path("doomed").write_text(doomed.node_id)

        def kill_node() -> None:
            Path("fifo").read_text()  # until a task is at work there
            cluster.remove_node(doomed, allow_graceful=False)

        killer = threading.Thread(target=kill_node, daemon=True)
        killer.start()
        job = (["step_*.pt"], "dump.pt", ModelOptions(model="factory.py:make"))
        told: list[str] = []
        fleet = inspect_many(*job, ray=cluster.address, out="kept", progress=told.append)
        killer.join(float(PATIENCE))
        assert not killer.is_alive()
        assert [row.step for row in fleet.rows] == [1, 2, 3, 4, 10]
        assert [row.checkpoint for row in fleet.failed] == ["step_4.pt"]
        assert Path("died").exists(), "a worker was killed besides"
        kept = Counter(path.name.partition("-")[0] for path in Path("kept").iterdir())
        assert kept == {"step_1": 1, "step_2": 1, "step_3": 1, "step_4": 1, "step_10": 1}
        assert told[-1].startswith("5 of 5 ")

        inspect_many(*job, ray=cluster.address, out="kept", progress=told.append)
        assert told[-1].startswith("1 of 1 checkpoints; step_4.pt"), "on the node that is left, only the error again"
        here = inspect_many(["step_1.pt"], "dump.pt", ModelOptions(head="original", nhead=2), workers=0).rows[0]
        there = fleet.rows[0]
        for name in ("auroc.swap", "gradient.actions.norm_median"):
            assert there.value(name) == pytest.approx(here.value(name), rel=1e-4)
        assert not ray.is_initialized()
        assert not Path("ran").exists(), Path("ran").read_text()
    finally:
        cluster.shutdown()


def test_an_address_without_a_cluster_is_told(tmp_path: Path) -> None:
    batch = make_batch(12)
    torch.save({name: getattr(batch, name) for name in FIELDS}, tmp_path / "dump.pt")
    with pytest.raises(UsageError, match=r"No Ray cluster answers at 127\.0\.0\.1:1:"):
        inspect_many(["a.pt", "b.pt"], tmp_path / "dump.pt", ray="127.0.0.1:1")
