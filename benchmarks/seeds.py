"""How far runs are apart that differ by nothing but their seed: what `compare runs` allows for.

    python benchmarks/seeds.py train --out seeds/
    python benchmarks/seeds.py tell --out seeds/

Each configuration is a healthy run of the fault benchmark, trained once for each seed; a seed decides weights, batches
and noise.
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

CONFIGURATIONS = 12
SEEDS = 6


def train(out: Path) -> None:
    """One folder ``C/sS`` for each configuration and seed, those that are there left alone."""
    import torch

    from benchmarks.faults.architectures import build
    from benchmarks.faults.catalogue import runs
    from benchmarks.faults.data import training_samples, validation_samples
    from benchmarks.faults.loop import train as train_module
    from benchmarks.faults.work import write_log
    from energydiag.atomic import write_text

    healthy = [run for run in runs("calibration") if run.kind == "healthy"]
    chosen = healthy[:: len(healthy) // CONFIGURATIONS][:CONFIGURATIONS]
    for seed in range(SEEDS):
        for run in chosen:
            folder = out / run.id.replace(".", "-") / f"s{seed}"
            if folder.exists():
                continue
            recipe = replace(run.recipe, seed=seed)
            torch.manual_seed(seed)
            module = build(recipe.shape)
            samples = training_samples(recipe.data, seed), validation_samples(recipe.data, seed)
            rows = train_module(recipe, module, *samples)
            folder.mkdir(parents=True)
            write_text(folder / "config.json", json.dumps(recipe.to_dict(), indent=2) + "\n")
            write_log(folder / "metrics.csv", rows)
            print(folder, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("act", choices=["train"])
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    train(chosen.out)


if __name__ == "__main__":
    main()
