"""Makes everything in this folder and the sample inside the package; the same bytes every time on one machine.

``make samples`` runs it: about 15 minutes on two cores. ``--only NAME`` makes one head again from the dumps that are
there.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path

from making.dumps import HELDOUT_FILE, TRAIN_FILE, make_dumps
from making.heads import RECIPES, make_head, small_batch, with_energies
from safetensors.torch import load_file

from energydiag.batches import load_batch
from energydiag.files.write_safetensors import write_safetensors

HERE = Path(__file__).resolve().parent
PACKAGED = HERE.parent / "energydiag" / "sample"
PACKAGED_ROWS = 320


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", choices=[*RECIPES, "dumps", "package"], action="append")
    arguments = parser.parse_args()
    wanted = arguments.only or ["dumps", *RECIPES, "package"]
    if "dumps" in wanted:
        make_dumps(arguments.out, arguments.seed)
    train = load_batch(arguments.out / TRAIN_FILE)
    for name in RECIPES:
        if name in wanted:
            make_head(name, train, arguments.out, arguments.seed)
    if "package" in wanted:
        package = PACKAGED if arguments.out == HERE else arguments.out / "package"
        package.mkdir(parents=True, exist_ok=True)
        few = with_energies(
            "original", arguments.out, small_batch(load_file(arguments.out / HELDOUT_FILE), PACKAGED_ROWS)
        )
        write_safetensors(package / HELDOUT_FILE, few, {"source": f"{PACKAGED_ROWS} samples of {HELDOUT_FILE}"})
        shutil.copyfile(arguments.out / RECIPES["original"].file, package / RECIPES["original"].file)


if __name__ == "__main__":
    main()
