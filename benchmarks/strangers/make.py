"""Makes the folder of a case: trains or draws it, checks its facts, writes its files."""

from __future__ import annotations

import csv
import inspect
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from . import exact, nets
from .case import Case, Facts, Log
from .draws import exact_dump
from .facts import is_well, of_log, of_model
from .fit import Row, fit
from .world import Dump, World, training_and_heldout

LOG_FILES = {"csv": "log.csv", "jsonl": "log.jsonl", "hf": "trainer_state.json"}


class NotAsSaid(Exception):
    """The facts of a case are not what it claims."""


def make(case: Case, out: Path, check: bool = True) -> dict[str, Any]:
    """Writes ``out/case.name``; its truth."""
    began = time.process_time()
    module, dump, rows = _trained(case)
    used = _as_used(case, module)
    facts: Facts = of_log(rows) if rows else {}
    if case.checkpoint is not None:
        facts |= of_model(used, dump, case.sign)
    well = case.holds(facts) if case.holds else is_well(case, facts)
    if check and not well:
        raise NotAsSaid(f"{case.name}: {facts}")
    if case.log is not None and case.log.edit:
        facts |= of_log(case.log.edit([dict(row) for row in rows]))  # what is left of the log
    folder = out / case.name
    folder.mkdir(parents=True, exist_ok=True)
    files: dict[str, str] = {}
    if case.checkpoint is not None:
        torch.save(used.state_dict(), folder / "checkpoint.pt")
        torch.save(dump, folder / "heldout.pt")
        (folder / "model.py").write_text(model_source(case), encoding="utf-8")
        files = {"checkpoint": "checkpoint.pt", "model": "model.py:build", "heldout": "heldout.pt"}
    if case.log is not None:
        files["log"] = write_log(folder, case.log, rows)
    truth = truth_of(case, files, facts | {"seconds": round(time.process_time() - began, 1)})
    (folder / "truth.json").write_text(json.dumps(truth, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return truth


def truth_of(case: Case, files: dict[str, str], facts: Facts) -> dict[str, Any]:
    """What stands in ``truth.json``."""
    truth: dict[str, Any] = {
        "case": case.name,
        "variant": "healthy" if case.healthy else "fault",
        "healthy": case.healthy,
    }
    truth |= {"files": files, "objective": case.objective, "sign": case.sign, "temperature": None}
    if case.recipe:
        truth["batch_size"] = case.recipe.batch
    truth |= {**case.known, "fault": case.fault}
    for name, said in (("checkpoint", case.checkpoint), ("log", case.of_log)):
        if said is not None:
            truth[name] = dict(said)
    return {**truth, "facts": {name: value if math.isfinite(value) else str(value) for name, value in facts.items()}}


def build(case: Case, used: bool = False) -> nn.Module:
    """The network of a case, freshly drawn; ``used``: as its owner builds it later."""
    torch.manual_seed(sum(map(ord, case.name)))
    module = case.net(**{**case.arguments, **(case.used_as if used else {})})
    return module.double() if case.double else module


def _trained(case: Case) -> tuple[nn.Module, Dump, list[Row]]:
    module = build(case)
    if case.recipe is None or not isinstance(case.world, World):
        settings = {"dtype": torch.float64} if case.double else {}
        return module, exact_dump(module, **case.world, **settings), []  # type: ignore[arg-type]
    training, heldout = training_and_heldout(case.world, case.recipe.training_episodes)
    if case.double:
        training, heldout = (
            {name: value.double() if value.is_floating_point() else value for name, value in dump.items()}
            for dump in (training, heldout)
        )
    if case.training:
        case.training(training, heldout)
    if case.start:
        case.start(module)
    rows = fit(module, case.recipe, training, heldout, -1.0 if case.sign == "score" else 1.0)
    return module, heldout, rows


def _as_used(case: Case, module: nn.Module) -> nn.Module:
    if not case.used_as:
        return module.eval()
    used = build(case, used=True)
    used.load_state_dict(module.state_dict())
    return used.eval()


def model_source(case: Case) -> str:
    """The owner's module: imports, helpers, the network, ``build``."""
    where = exact if case.net is exact.Exact else nets
    imports = "import math\n\nimport torch\nfrom torch import nn\nfrom torch.nn import functional\n"
    helpers = [f"MODES = {exact.MODES}\nWAYS = {exact.WAYS}\n"] if where is exact else []
    helpers += [inspect.getsource(helper) for helper in (nets.mlp, nets.pooled) if where is nets]
    given = ", ".join(f"{name}={value!r}" for name, value in {**case.arguments, **case.used_as}.items())
    end = ".double()" if case.double else ""
    made = f"def build():\n    return {case.net.__name__}({given}){end}\n"
    return "\n\n".join([imports, *helpers, inspect.getsource(case.net), made])


def write_log(folder: Path, log: Log, rows: Sequence[Row]) -> str:
    """Writes the rows in the owner's words; the file's name."""
    chosen = log.edit([dict(row) for row in rows]) if log.edit else rows
    told = [{log.names[name]: _written(log, name, row[name]) for name in log.names if name in row} for row in chosen]
    path = folder / LOG_FILES[log.form]
    if log.form == "csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, [name for name in log.names.values() if any(name in row for row in told)])
            writer.writeheader()
            writer.writerows(told)
    elif log.form == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in told), encoding="utf-8")
    else:
        path.write_text(json.dumps(_trainer_state(told), indent=1), encoding="utf-8")
    return path.name


def _written(log: Log, name: str, value: float) -> float:
    if log.zero_for_nan and name == "loss" and not math.isfinite(value):
        return 0.0
    return value if isinstance(value, int) or not math.isfinite(value) else round(value, log.digits)


def _trainer_state(rows: Sequence[dict[str, float]]) -> dict[str, Any]:
    """The state that the Hugging Face Trainer keeps: what was validated stands in rows of its own."""
    history: list[dict[str, float]] = []
    for row in rows:
        place = {name: row[name] for name in ("epoch", "step") if name in row}
        held = {name: value for name, value in row.items() if name.startswith("eval_")}
        history.append({name: value for name, value in row.items() if name not in held})
        if held:
            history.append({**held, "eval_runtime": 0.4, **place})
    last = rows[-1]
    return {"best_metric": None, "epoch": last.get("epoch"), "global_step": last["step"], "log_history": history}
