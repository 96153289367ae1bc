"""Trains the sample policy and writes what it holds and says on train and held-out time steps."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from energydiag.files.write_safetensors import write_safetensors

from . import demonstrations as demos
from . import policy as pol

TRAIN_FILE = "train-batch.safetensors"
HELDOUT_FILE = "heldout-batch.safetensors"
TRAIN_ROWS = 4096
HELDOUT_ROWS = 1280
HELDOUT_SHARE = 0.2


def heldout_episodes(data: demos.Demonstrations, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Returns [episodes] bool, True for the HELDOUT_SHARE of every task's episodes that is held out."""
    held = np.zeros(int(data.episode.max()) + 1, dtype=np.bool_)
    for task in range(len(data.task_names)):
        episodes = np.unique(data.episode[data.task == task])
        held[rng.permutation(episodes)[: round(HELDOUT_SHARE * len(episodes))]] = True
    return held


def even_shares(total: int, parts: int) -> NDArray[np.int64]:
    """Splits `total` into `parts` whole numbers that differ by one at most."""
    return np.diff(np.arange(parts + 1, dtype=np.int64) * total // parts)


def spread_rows(data: demos.Demonstrations, wanted: NDArray[np.bool_], rows: int) -> NDArray[np.int64]:
    """Picks at most `rows` time steps, spread evenly over the tasks, their episodes and their steps.

    wanted: [episodes] bool, the episodes to pick from. Returns ascending row numbers.
    """
    picked = []
    tasks = np.unique(data.task[wanted[data.episode]])
    for task, task_rows in zip(tasks, even_shares(rows, len(tasks)), strict=True):
        episodes = np.unique(data.episode[(data.task == task) & wanted[data.episode]])
        for episode, share in zip(episodes, even_shares(int(task_rows), len(episodes)), strict=True):
            own = np.flatnonzero(data.episode == episode)
            count = min(int(share), len(own))
            picked.append(own[np.linspace(0, len(own) - 1, count).round().astype(np.int64)])
    return np.concatenate(picked)


def make_examples(data: demos.Demonstrations) -> pol.Examples:
    """Turns the demonstrations' T time steps into the policy's inputs and targets."""
    return pol.Examples(
        features=torch.from_numpy(pol.entity_features(data.obs)),
        pad=torch.from_numpy(pol.padding(data.obs, data.step)),
        task=torch.from_numpy(data.task.astype(np.int64)),
        chunk=torch.from_numpy(pol.action_chunks(data.action, data.episode)),
    )


def dump_tensors(
    data: demos.Demonstrations, examples: pol.Examples, outputs: pol.Outputs, rows: NDArray[np.int64]
) -> dict[str, Tensor]:
    """Returns the tensors of one file; `examples` and `outputs` are those of the N `rows` of `data`."""
    return {
        "hidden": outputs.hidden.to(torch.bfloat16),
        "actions": examples.chunk,
        "pad_mask": examples.pad,
        "layer_actions": outputs.layer_actions.to(torch.float16),
        "episode": torch.from_numpy(data.episode[rows]),
        "task": torch.from_numpy(data.task[rows]),
        "step": torch.from_numpy(data.step[rows]),
    }


def dump_metadata(
    data: demos.Demonstrations, split: str, seed: int, sampled: list[float], whole: list[float]
) -> dict[str, str]:
    """Returns a file's metadata; `sampled`, `whole`: L1 of each layer on the file's rows, on the split."""
    return {
        "source": f"metaworld {importlib.metadata.version('metaworld')}, scripted experts",
        "split": split,
        "seed": str(seed),
        "tasks": json.dumps(data.task_names),
        "tokens": json.dumps(pol.TOKENS),
        "expert_success_rate": json.dumps([round(demos.EPISODES_PER_TASK / attempts, 4) for attempts in data.attempts]),
        "layer_l1": json.dumps([round(e, 4) for e in sampled]),
        "layer_l1_whole_split": json.dumps([round(e, 4) for e in whole]),
    }


def make_dumps(
    out: Path,
    seed: int,
    task_names: tuple[str, ...] = demos.TASKS,
    rows_of: tuple[int, int] = (TRAIN_ROWS, HELDOUT_ROWS),
) -> None:
    """Collects demonstrations, trains the policy, and writes both files into the folder `out`.

    rows_of: how many rows the train and the held-out file have.
    """
    data = demos.collect(seed, task_names)
    print(f"{len(data.step)} time steps, {int(data.episode.max()) + 1} episodes")
    examples = make_examples(data)
    held = heldout_episodes(data, np.random.default_rng(seed))
    in_train = torch.from_numpy(~held[data.episode])
    policy = pol.train(examples.at(in_train), len(data.task_names), seed)
    out.mkdir(parents=True, exist_ok=True)
    for split, name, episodes, count in (
        ("train", TRAIN_FILE, ~held, rows_of[0]),
        ("held-out", HELDOUT_FILE, held, rows_of[1]),
    ):
        whole = examples.at(torch.from_numpy(episodes[data.episode]))
        whole_errors = pol.layer_errors(pol.run_policy(policy, whole), whole)
        rows = spread_rows(data, episodes, count)
        sampled = examples.at(torch.from_numpy(rows))
        outputs = pol.run_policy(policy, sampled)
        errors = pol.layer_errors(outputs, sampled)
        metadata = dump_metadata(data, split, seed, errors, whole_errors)
        write_safetensors(out / name, dump_tensors(data, sampled, outputs, rows), metadata)
        print(f"{name}: {len(rows)} rows, L1 per layer {metadata['layer_l1']}")
        print(f"  L1 per layer on the whole split {metadata['layer_l1_whole_split']}")
