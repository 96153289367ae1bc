"""One new thing is one new file: a probe with its metric, a rule, a fix, a source of negatives and an output format."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

RULE_PAGE = "\n\n".join(f"## {heading}\nIt is so." for heading in (
    "What it checks", "Why it is bad", "Example", "What to do", "Known limits"
))  # fmt: skip

RULE_IMPORTS = """
from collections.abc import Mapping
from energydiag.results import Measurement
from energydiag.rules.rule import Judgement, Rule, Threshold
from energydiag.rules.ends import low
from energydiag.rules.wording import number
"""

FIX = '''"""Try: nothing."""
from energydiag.fixes.fix import Fix
FIX = Fix(name="try-nothing", handles=("ED199",), changes="nothing", edit=lambda plan, patient: plan)
'''

SOURCE = '''"""The opposite of the expert's action."""
from energydiag.negatives.source import NegativeSource
SOURCE = NegativeSource("opposite", needs=(), make=lambda batch, generator: {"opposite": -batch.actions[:, None]})
'''

FORMAT = '''"""The verdict alone."""
from energydiag.reports.report import Report
REPORT = Report("verdict", lambda result, look: f"{result.verdict}\\n")
'''

USED = """
import json, sys
sys.path.insert(1, sys.argv[1])
from energydiag import inspect, load_batch, load_checkpoint, metrics
from energydiag.fixes import fixes
from energydiag.reports import reports
from energydiag.reports.report import Look
from energydiag.rules import rules
batch = load_batch(sys.argv[2])
found = inspect(load_checkpoint(sys.argv[3]), batch, limit=48)
print(json.dumps({
    "drift": found.measurement("head.drift").unit,
    "label": metrics.metric("head.drift").healthy,
    "rule": "ED199" in rules() and "drifted-energies" == rules()["ED199"].name,
    "fix": "try-nothing" in fixes(),
    "negatives": [m.name for m in found.measurements if m.name.endswith(".opposite")],
    "format": reports()["verdict"].render(found, Look()),
}))
"""


def snippets() -> list[str]:
    """The Python code that CONTRIBUTING shows."""
    return re.findall(r"```python\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)


def test_what_contributing_shows_is_all_that_is_needed(tmp_path: Path) -> None:
    package = shutil.copytree(
        ROOT / "energydiag", tmp_path / "energydiag", ignore=shutil.ignore_patterns("__pycache__")
    )
    probe, metric, rule, *_ = snippets()
    (package / "probes" / "drift.py").write_text(probe)
    registry = package / "metrics.py"
    registry.write_text(
        registry.read_text().replace("    # loss and floor\n", f"    {metric.strip()},\n    # loss and floor\n")
    )
    (package / "rules" / "drifted.py").write_text(f'"""Drift.\n\n{RULE_PAGE}\n"""\n{RULE_IMPORTS}\n{rule}')
    (package / "fixes" / "try_nothing.py").write_text(FIX)
    (package / "negatives" / "opposite.py").write_text(SOURCE)
    (package / "reports" / "as_verdict.py").write_text(FORMAT)
    samples = ROOT / "sample_checkpoints"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            USED,
            str(tmp_path),
            samples / "heldout-batch.safetensors",
            samples / "healthy.safetensors",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["drift"] == "1"
    assert told["label"] == "about 0"
    assert told["rule"]
    assert told["fix"]
    assert {"auroc.opposite", "gap.opposite"} <= set(told["negatives"])
    assert told["format"] in ("healthy\n", "warning\n", "critical\n")
