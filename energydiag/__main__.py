"""``python -m energydiag``; refused where Python looks for modules in the current folder first."""

import os
import sys
from pathlib import Path


def _is_strangers(entry: str) -> bool:
    """Whether the first place for modules is the current folder; that of the package itself is the developer's."""
    here = Path.cwd().resolve()
    return Path(entry or os.curdir).resolve() == here != Path(__file__).resolve().parent.parent


if __name__ == "__main__":
    if _is_strangers(sys.path[0]):
        program = "torchrun --no-python energydiag" if "RANK" in os.environ else "energydiag"
        sys.stderr.write(
            "energydiag: `python -m` looks for modules in the current folder first, so that files there run as code.\n"
            f"  next: {program} {' '.join(sys.argv[1:])}\n"
        )
        sys.exit(2)

    from energydiag.cli import main

    main()
