"""How often a repair that is none would be accepted: the same recipe with another seed, judged as a repair is.

    python -m benchmarks.null_repairs RUNS --seeds 10

Models are trained once and kept in the folder. Every three of them, in every order, are one null repair: what was there
before, the control and what came after, on held-out samples of 8, 20 and 70 episodes. The models do differ: seeds alone
make one of them better than another on all samples that there could be, which no statistics of samples can tell from a
repair that helps. `--seeds` of ``fix-and-retrain`` is for that.
"""

from __future__ import annotations

import argparse
import itertools
import os
import random
from collections import Counter
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import torch

import energydiag
from energydiag.metrics import proof
from energydiag.models.energy_function import EnergyFunction
from energydiag.pipeline.proof import judge_repair
from energydiag.statistics.verdicts import compare

from .faults.catalogue import CELLS, Cell, Run, good_recipe
from .faults.data import validation_samples
from .faults.work import load_run, train_run

EPISODES = (8, 20, 70)


def _trained(cell: Cell, out: Path) -> Path:
    """A healthy run; all of them have one recipe but for the seed."""
    recipe = good_recipe(cell, random.Random(0), tokens=False, layers=True, wide=False)
    return train_run(Run("healthy", "null", cell), out, recipe)


def main() -> None:
    """Trains what is not there yet, and prints a table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("runs", type=Path)
    parser.add_argument("--seeds", type=int, default=10)
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    folders = [_trained(replace(CELLS[0], seed=seed), chosen.runs) for seed in range(chosen.seeds)]
    print("| episodes | null repairs | accepted | harmed | other |\n|---|---|---|---|---|")
    for count in EPISODES:
        found = []
        for folder in folders:
            recipe, module = load_run(folder)
            batch = validation_samples(recipe.data, 0)
            episodes = torch.unique(batch.groups)[:count]
            batch = batch.select(torch.nonzero(torch.isin(batch.groups, episodes)).reshape(-1))
            energy = EnergyFunction(module, recipe.shape.architecture, {"tau": str(recipe.tau)})
            found.append(energydiag.inspect(energy, batch))
        verdicts = Counter(_verdict(*three) for three in itertools.permutations(found, 3))
        accepted = verdicts["healed"] + verdicts["improved"]
        count_of = verdicts.total()
        rest = count_of - accepted - verdicts["harmed"]
        shares = " | ".join(f"{part / count_of:.3f}" for part in (accepted, verdicts["harmed"], rest))
        print(f"| {count} | {count_of} | {shares} |")


def _verdict(
    before: energydiag.CheckpointDiagnosis,
    control: energydiag.CheckpointDiagnosis,
    after: energydiag.CheckpointDiagnosis,
) -> str:
    against = [compare(one, after, ("first", "after"), proof(with_policy=True)) for one in (before, control)]
    return judge_repair(*against, after, diverged=False)[0]


if __name__ == "__main__":
    main()
