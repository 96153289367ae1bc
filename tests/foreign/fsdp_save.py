"""Two real processes on gloo shard a policy with FSDP, take a step and save it with torch.distributed.checkpoint.

Arguments: folder for the checkpoint, file for the whole head.
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from parts import make_batch, make_head
from torch import multiprocessing, nn
from torch.distributed.checkpoint.state_dict import StateDictOptions, get_model_state_dict, get_state_dict
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard


def work(rank: int, meeting: str, folder: str, whole: str) -> None:
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{meeting}", rank=rank, world_size=2)
    policy = nn.ModuleDict({"trunk": nn.Linear(5, 3), "energy_head": make_head().train()})
    fully_shard(policy["energy_head"], mesh=init_device_mesh("cpu", (2,)))
    optimizer = torch.optim.AdamW(policy.parameters(), lr=0.1)
    batch = make_batch()
    policy["energy_head"](batch.hidden, batch.actions, batch.pad_mask).sum().backward()
    optimizer.step()
    model, states = get_state_dict(policy, optimizer)
    dcp.save({"model": model, "optimizer": states, "step": 1}, checkpoint_id=folder)
    full = get_model_state_dict(policy, options=StateDictOptions(full_state_dict=True))
    if rank == 0:
        prefix = "energy_head."
        torch.save({k.removeprefix(prefix): v for k, v in full.items() if k.startswith(prefix)}, whole)
    dist.destroy_process_group()


if __name__ == "__main__":
    os.environ["OMP_NUM_THREADS"] = "1"
    target, whole = sys.argv[1:]
    meeting = str(Path(whole).with_suffix(".meeting"))
    # forked, torch is imported once
    multiprocessing.start_processes(work, (meeting, target, whole), nprocs=2, start_method="fork")
