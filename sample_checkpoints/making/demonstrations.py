"""Scripted-expert episodes from the simulated Meta-World tasks (package `metaworld`)."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import metaworld
import numpy as np
from metaworld.policies import ENV_POLICY_MAP
from numpy.typing import NDArray

# The last two tasks have two objects (a tool and what it acts on); all others have one.
TASKS = (
    "reach-v3",
    "push-v3",
    "pick-place-v3",
    "door-open-v3",
    "drawer-open-v3",
    "coffee-pull-v3",
    "hammer-v3",
    "stick-push-v3",
)
EPISODES_PER_TASK = 45
MAX_STEPS = 150
STEPS_AFTER_SUCCESS = 4


@dataclass(frozen=True)
class Demonstrations:
    """Time steps of all episodes, one after the other; T is their total number.

    obs: [T, 39] float32, Meta-World's observation with the goal visible.
    action: [T, 4] float32 in [-1, 1], the expert's action at that observation.
    episode, task, step: [T] int32. Episode ids run over all tasks; `task` indexes `task_names`.
    attempts: episodes run for each task; those in which the expert failed are not kept.
    """

    obs: NDArray[np.float32]
    action: NDArray[np.float32]
    episode: NDArray[np.int32]
    task: NDArray[np.int32]
    step: NDArray[np.int32]
    task_names: tuple[str, ...]
    attempts: tuple[int, ...]


def expert_action(expert: Any, obs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Returns the scripted expert's action [4] for `obs` [39], clipped to [-1, 1]."""
    with warnings.catch_warnings():
        # The experts warn on every action that the environment would clip; we clip it here.
        warnings.simplefilter("ignore")
        return np.clip(np.asarray(expert.get_action(obs), dtype=np.float64), -1.0, 1.0)


def run_episode(env: Any, expert: Any) -> tuple[NDArray[np.float32], NDArray[np.float32], bool]:
    """Runs one episode under the expert; returns obs [t, 39], actions [t, 4], success."""
    obs, _ = env.reset()
    seen, acted = [], []
    last = MAX_STEPS
    succeeded = False
    for t in range(MAX_STEPS):
        action = expert_action(expert, obs)
        seen.append(obs)
        acted.append(action)
        obs, _, _, _, info = env.step(action.astype(np.float32))
        if not succeeded and info["success"] > 0:
            succeeded = True
            last = t + 1 + STEPS_AFTER_SUCCESS
        if t + 1 >= last:
            break
    return np.asarray(seen, dtype=np.float32), np.asarray(acted, dtype=np.float32), succeeded


def collect_task(
    name: str, episodes: int, seed: int
) -> tuple[list[tuple[NDArray[np.float32], NDArray[np.float32]]], int]:
    """Returns `episodes` successful (obs, action) pairs of one task and the number of episodes tried."""
    benchmark_class: Any = metaworld.MT1
    # Each of a benchmark's 50 variations places the objects and the goal differently.
    benchmarks = [benchmark_class(name, seed=seed + 1000 * i) for i in range(2)]
    variations = [variation for benchmark in benchmarks for variation in benchmark.train_tasks]
    env = benchmarks[0].train_classes[name]()
    expert_class: Any = ENV_POLICY_MAP[name]
    expert = expert_class()
    kept: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    for attempt, variation in enumerate(variations, start=1):
        env.set_task(variation)
        obs, action, succeeded = run_episode(env, expert)
        if succeeded:
            kept.append((obs, action))
        if len(kept) == episodes:
            env.close()
            return kept, attempt
    raise RuntimeError(f"{name}: only {len(kept)} successes in {len(variations)} episodes")


def collect(
    seed: int, task_names: tuple[str, ...] = TASKS, episodes_per_task: int = EPISODES_PER_TASK
) -> Demonstrations:
    """Collects `episodes_per_task` successful expert episodes of every task; deterministic by `seed`."""
    obs, action, episode, task, step, attempts = [], [], [], [], [], []
    for task_id, name in enumerate(task_names):
        kept, tried = collect_task(name, episodes_per_task, seed + task_id)
        attempts.append(tried)
        for i, (seen, acted) in enumerate(kept):
            obs.append(seen)
            action.append(acted)
            episode.append(np.full(len(seen), task_id * episodes_per_task + i, dtype=np.int32))
            task.append(np.full(len(seen), task_id, dtype=np.int32))
            step.append(np.arange(len(seen), dtype=np.int32))
    return Demonstrations(
        obs=np.concatenate(obs),
        action=np.concatenate(action),
        episode=np.concatenate(episode),
        task=np.concatenate(task),
        step=np.concatenate(step),
        task_names=tuple(task_names),
        attempts=tuple(attempts),
    )
