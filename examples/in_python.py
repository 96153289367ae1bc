"""An inspection from Python: ``python examples/in_python.py head.pt dump.pt``; type checkers know all of it."""

import sys

from energydiag import CheckpointDiagnosis, ModelOptions, inspect_checkpoint


def worst(found: CheckpointDiagnosis) -> str:
    """The finding that stands first, in words."""
    auroc = found.measurement("auroc.swap")
    ranks = "" if auroc is None else f"; AUROC {auroc.value:.2f} on {found.batch.samples_used} samples"
    return f"{found.verdict}: {found.findings[0].summary if found.findings else 'nothing found'}{ranks}"


if __name__ == "__main__":
    print(worst(inspect_checkpoint(sys.argv[1], sys.argv[2], ModelOptions(head="original", nhead=8))))
