"""``python -m energydiag``; refused where Python looks for modules in the current folder first."""

import os
import sys


def _is_strangers(entry: str) -> bool:
    """Whether the first place for modules is the current folder; that of the package itself is the developer's."""
    here, package = os.path.realpath(os.getcwd()), os.path.dirname(os.path.dirname(os.path.realpath(__file__)))
    return os.path.realpath(entry or os.curdir) == here != package


def _quoted(word: str) -> str:
    """As `shlex.quote` has it, which is not asked, since the folder may hold a ``shlex.py``."""
    if not word.isprintable():
        return "…"
    safe = word.isascii() and word.replace("/", "").replace("-", "").replace("_", "").replace(".", "").isalnum()
    return word if safe else "'" + word.replace("'", "'\"'\"'") + "'"


if __name__ == "__main__":
    if _is_strangers(sys.path[0]):
        program = "torchrun --no-python energydiag" if "RANK" in os.environ else "energydiag"
        sys.stderr.write(
            "energydiag: `python -m` looks for modules in the current folder first, so that files there run as code.\n"
            f"  next: {' '.join((program, *map(_quoted, sys.argv[1:])))}\n"
        )
        sys.exit(2)

    from energydiag.cli import main

    main()
