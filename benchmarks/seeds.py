"""How far runs are apart that differ by nothing but their seed: what `compare runs` allows for.

    python benchmarks/seeds.py train --out seeds/
    python benchmarks/seeds.py tell --out seeds/

Each configuration is a healthy run of the fault benchmark, trained once for each seed; a seed decides weights, batches
and noise.
"""

from __future__ import annotations

import argparse
import itertools
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


def tell(out: Path) -> None:
    """Prints the spread between seeds, and how often runs that differ by their seed alone are called different."""
    import numpy as np

    from energydiag.metrics import SERIES
    from energydiag.pipeline import compare_runs
    from energydiag.runs import read_run
    from energydiag.runs.places import at_end

    configurations = [folder for folder in sorted(out.iterdir()) if folder.is_dir()]
    directed = [metric for metric in SERIES.values() if metric.better != "none"]
    spreads: dict[str, list[float]] = {metric.name: [] for metric in directed}
    for configuration in configurations:
        logs = [read_run(folder) for folder in sorted(configuration.iterdir())]
        for metric in directed:
            found = [log.finite(metric.name) for log in logs]
            ends = np.array([at_end(series).value for series in found if series is not None])
            if len(ends) > 1:
                spreads[metric.name].append(
                    float(ends.std(ddof=1)) / (abs(float(ends.mean())) if metric.relative else 1.0)
                )
    print("| series | median | 80th percentile | largest | configurations |\n|---|---|---|---|---|")
    for name, values in spreads.items():
        if values:
            low, high, most = np.percentile(values, [50, 80, 100])
            print(f"| {name} | {low:.3g} | {high:.3g} | {most:.3g} | {len(values)} |")
    for at in (None, "best"):
        called: list[bool] = []
        for configuration in configurations:
            for one, other in itertools.combinations(sorted(configuration.iterdir()), 2):
                called.append(compare_runs([one, other], at=at).verdict in ("improved", "regressed", "mixed"))
        print(f"single runs at {at or 'the end'}: {sum(called)} of {len(called)} pairs called different")
    grouped = []
    for configuration in configurations:
        runs = sorted(configuration.iterdir())
        for half in itertools.combinations(range(len(runs)), len(runs) // 2):
            if 0 in half:
                ours = [runs[i] for i in half]
                theirs = [run for run in runs if run not in ours]
                grouped.append(_called_by_group(ours, theirs))
    print(f"three seeds a side: {sum(grouped)} of {len(grouped)} pairs called different")


def _called_by_group(ours: list[Path], theirs: list[Path]) -> bool:
    """As `compare_runs` with ``group_by="seed"``, one side having another name for its settings."""
    import tempfile

    from energydiag.pipeline import compare_runs

    with tempfile.TemporaryDirectory() as place:
        for side, runs in (("ours", ours), ("theirs", theirs)):
            for run in runs:
                folder = Path(place, f"{side}-{run.name}")
                folder.mkdir()
                (folder / "metrics.csv").write_bytes((run / "metrics.csv").read_bytes())
                settings = json.loads((run / "config.json").read_text())
                (folder / "config.json").write_text(json.dumps({**settings, "side": side}))
        found = compare_runs(sorted(Path(place).iterdir()), group_by="seed")
    return found.verdict in ("improved", "regressed", "mixed")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("act", choices=["train", "tell"])
    parser.add_argument("--out", type=Path, required=True)
    chosen = parser.parse_args()
    {"train": train, "tell": tell}[chosen.act](chosen.out)


if __name__ == "__main__":
    main()
