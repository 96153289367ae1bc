"""Makes the demonstrations of the test part: tasks, episodes and a policy that nothing was calibrated on.

``python -m benchmarks.faults.make_demonstrations``, with the extra ``samples`` installed: two minutes on one core. They
are made as the samples are (see ``sample_checkpoints/README.md``), of other tasks and with another seed.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1] / "sample_checkpoints"))

from making.dumps import make_dumps  # noqa: E402  found by the line above

TASKS = ("window-open-v3", "faucet-open-v3", "plate-slide-v3", "sweep-into-v3")
ROWS = (2048, 512)
"""Of the train and the held-out file: 512 and 128 a task, as the samples have."""

SEED = 100

if __name__ == "__main__":
    make_dumps(HERE / "demonstrations", SEED, TASKS, ROWS)
