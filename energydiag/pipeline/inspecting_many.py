"""Many checkpoints on the same batch: measured side by side, kept one by one, told in one table."""

from __future__ import annotations

import contextlib
import json
import os
import platform
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import torch

from energydiag import __version__
from energydiag.batches import read_batch
from energydiag.checkpoints.listing import list_checkpoints, natural, short_name, step_in_name
from energydiag.checkpoints.step import step_inside
from energydiag.errors import EnergydiagError, UsageError, first_line
from energydiag.files.tensor_file import read_tensor_file, sha256_of
from energydiag.fleet import Done, Executor, Here, OnRay, Processes, Store, cores
from energydiag.pipeline.identifying import shared_form
from energydiag.pipeline.inspecting import inspect_checkpoint
from energydiag.pipeline.loading import ModelOptions
from energydiag.results import BatchFacts, CheckpointDiagnosis, Fleet, Inspected
from energydiag.results.codec import built, plain
from energydiag.rules import judge

Progress = Callable[[str], None]


@dataclass(frozen=True)
class Task:
    """One checkpoint to measure; it is sent to other processes and other machines.

    Attributes:
        checkpoint: Its path.
        dump: The batch dump's path.
        model: What the keys may not tell.
        options: Of `inspect`.
        command: The command line, for the result's provenance.
        version: Of the energydiag that asks.
    """

    checkpoint: str
    dump: str
    model: ModelOptions
    options: Mapping[str, Any]
    command: tuple[str, ...]
    version: str


def measure(task: Task) -> str:
    """Measures one checkpoint, wherever this runs.

    Returns:
        JSON: ``step`` as the file tells it, ``diagnosis`` or None, ``error`` and ``next_step``.
    """
    path = Path(task.checkpoint)
    try:
        if task.version != __version__:
            raise UsageError(
                f"This worker has energydiag {__version__}, but {task.version} asks it.",
                "install the same version on every node.",
            )
        diagnosis = inspect_checkpoint(path, Path(task.dump), task.model, command=task.command, **task.options)
        return json.dumps(_answer(step_inside(path, task.model.allow_globals), diagnosis))
    except EnergydiagError as error:
        return json.dumps(_answer(None, None, error.message, error.next_step))
    except Exception as error:  # out of memory, a fault of ours: it costs this checkpoint and no other
        return json.dumps(_answer(None, None, f"{type(error).__name__}: {first_line(error)}", _ALONE))


def inspect_many(
    paths: Iterable[str | Path],
    dump: str | Path,
    model: ModelOptions | None = None,
    *,
    workers: int | None = None,
    out: str | Path | None = None,
    shard: tuple[int, int] | None = None,
    merge: bool = False,
    ray: str | None = None,
    command: Iterable[str] = (),
    progress: Progress | None = None,
    **options: Any,
) -> Fleet:
    """Measures many checkpoints on one batch dump, each as `inspect_checkpoint` does.

    What goes wrong with one checkpoint stands in its row, and the others are measured all the same.

    Args:
        paths: Checkpoints, patterns (``step_*.pt``), or folders that hold checkpoints.
        dump: The batch dump's path.
        model: What the keys may not tell, the same for all.
        workers: Worker processes; 0 measures in this one. None: one a core, but a single one on a GPU.
        out: Folder that keeps every result as soon as it is there. What it holds for the same checkpoint, batch,
            settings and version is taken from it and not measured again; errors, and what is damaged or does not
            follow from its own measurements, are.
        shard: (i, n): the i-th of n parts alone, from 1; for n jobs that share ``out``.
        merge: Measure nothing; what ``out`` does not hold becomes a row that says so.
        ray: Address of a Ray cluster to measure on, in place of worker processes. Its nodes need the same energydiag,
            and the files under the same paths.
        command: The command line, for provenance.
        progress: Told what has been done.
        **options: As `inspect`: ``tau``, ``swap_size``, ``seed``, ``limit``, ``select``, ``ignore``.

    Raises:
        UnreadableFile: The dump cannot be read, a pattern fits nothing, or a folder holds no checkpoint.
        InvalidBatch: The dump's contents do not fit.
        UsageError: Options do not fit together, Ray is missing or does not answer, or ``out`` cannot be written to.
    """
    model = model or ModelOptions()
    tell = progress or (lambda _step: None)
    _check(out, shard, merge, workers)
    judge((), options.get("select", ()), options.get("ignore", ()))  # a code that is none is told once, not in each row
    listed = list_checkpoints(paths, Path(dump))
    tell("batch")
    loaded = read_batch(Path(dump))
    batch_hash = loaded.check().sha256()
    model = replace(model, shared=shared_form(listed, [model] * len(listed), loaded.batch))
    job = _Job(
        listed=listed,
        dump=str(dump),
        model=model,
        options=options,
        command=tuple(command),
        batch_hash=batch_hash,
        store=None if out is None else Store(Path(out)),
        shard=shard,
    )
    kept, missing = job.kept(tell, errors_too=merge)
    if merge:
        rows = [*kept.rows, *job.not_there(missing, kept.shards)]
    else:
        rows = [*kept.rows, *job.measured(missing, _executor(workers, ray, model, len(missing)), tell)]
    rows.sort(key=lambda row: (row.step is None, row.step or 0, natural(row.checkpoint)))
    told = next((row.diagnosis.batch for row in rows if row.diagnosis is not None), BatchFacts(path=str(dump)))
    return Fleet(
        rows=tuple(rows),
        batch=told,
        provenance={
            "settings": job.settings,
            "shard": None if shard is None else f"{shard[0]}/{shard[1]}",
            "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
            "command": list(job.command),
        },
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        energydiag_version=__version__,
    )


@dataclass(frozen=True)
class _Kept:
    """Rows that were there already, and the parts (as ``i/n``) that had written them."""

    rows: list[Inspected]
    shards: set[str]


@dataclass(frozen=True)
class _Job:
    """What one call is asked for.

    Attributes:
        listed: All checkpoints, in natural order, also those of other parts.
        dump: The batch dump's path.
        model: What the keys may not tell.
        options: Of `inspect`.
        command: The command line.
        batch_hash: Of the dump.
        store: Where answers are kept, or None.
        shard: Which part is measured, or None for all.
    """

    listed: tuple[Path, ...]
    dump: str
    model: ModelOptions
    options: Mapping[str, Any]
    command: tuple[str, ...]
    batch_hash: str
    store: Store | None
    shard: tuple[int, int] | None

    @property
    def part(self) -> tuple[Path, ...]:
        """The checkpoints of this part."""
        return self.listed if self.shard is None else self.listed[self.shard[0] - 1 :: self.shard[1]]

    @property
    def settings(self) -> dict[str, Any]:
        """What changes the numbers, besides checkpoint and batch, as JSON has it."""
        factory, _, _ = (self.model.model or "").rpartition(":")
        code = _hash(Path(factory)) if factory.endswith(".py") else None
        plain = {**asdict(self.model), "factory_sha256": code, **self.options}
        found: dict[str, Any] = json.loads(json.dumps({k: v for k, v in plain.items() if v not in (None, (), [])}))
        return found

    def key(self, checkpoint_hash: str) -> dict[str, Any]:
        """What an answer is the answer to."""
        return {
            "checkpoint": checkpoint_hash,
            "batch": self.batch_hash,
            "settings": self.settings,
            "version": __version__,
        }

    def kept(self, tell: Progress, *, errors_too: bool) -> tuple[_Kept, list[tuple[Path, str | None]]]:
        """What the store holds, and the others with the hashes of their files (None: not asked for, or unreadable)."""
        kept = _Kept([], set())
        missing: list[tuple[Path, str | None]] = []
        for path in self.part:
            if self.store is None:
                missing.append((path, None))
                continue
            tell(f"hash of {path.name}")
            hash_ = _hash(path)
            found = None if hash_ is None else self._found(self.store, path, hash_)
            if found is None or (found[0].diagnosis is None and not errors_too):
                missing.append((path, hash_))
                continue
            kept.rows.append(found[0])
            kept.shards.update(found[1])
        return kept, missing

    def _found(self, store: Store, path: Path, hash_: str) -> tuple[Inspected, list[str]] | None:
        """What the store holds of a checkpoint and the part that wrote it; an error where there is nothing else."""
        found: list[tuple[Inspected, list[str]]] = []
        for kept in store.get(self.key(hash_)):
            row = self._believed(path, hash_, kept)
            if row is not None:
                shard = kept.get("shard")
                found.append((row, [shard] if isinstance(shard, str) and _SHARD.fullmatch(shard) else []))
        return min(found, key=lambda one: one[0].diagnosis is None, default=None)

    def _believed(self, path: Path, hash_: str, kept: Mapping[str, Any]) -> Inspected | None:
        """A kept answer, if it is one of energydiag's, of this checkpoint and this dump, and says what follows from it.

        Who may write into the folder can still make up its measurements: that they are true, measuring alone can tell.
        """
        try:
            row = _row(path, kept["answer"])
            found = row.diagnosis
            if found is None:
                return row
            of = found.checkpoint.sha256, found.batch.sha256, found.energydiag_version
            select, ignore = self.options.get("select", ()), self.options.get("ignore", ())
            judged = judge(found.measurements, select, ignore, unmeasured=found.skipped)
            same = (found.verdict, found.findings, found.open) == (judged.verdict, judged.findings, judged.open)
        except Exception:  # what a stranger wrote can provoke any
            return None
        if of != (hash_, self.batch_hash, __version__) or not same:
            return None
        return replace(row, diagnosis=replace(found, batch=replace(found.batch, path=self.dump)))

    def measured(
        self, missing: Sequence[tuple[Path, str | None]], executor: Executor, tell: Progress
    ) -> Iterator[Inspected]:
        """Rows as they are measured; each is kept before the next is waited for. The same file is measured once."""
        groups: dict[str, list[tuple[Path, str | None]]] = {}
        for path, hash_ in missing:
            groups.setdefault(hash_ or str(path), []).append((path, hash_))
        same = list(groups.values())
        tasks = [
            Task(str(first), self.dump, self.model, dict(self.options), self.command, __version__)
            for (first, _), *_ in same
        ]
        if not tasks:
            return
        tell(f"0 of {len(tasks)} checkpoints")
        with contextlib.closing(executor.run(measure, tasks)) as answers:
            for count, done in enumerate(answers, start=1):
                answer = self._keep(done, same[done.index][0])
                said = answer["diagnosis"]["verdict"] if answer["diagnosis"] else answer["error"]
                tell(f"{count} of {len(tasks)} checkpoints; {same[done.index][0][0].name}: {said}")
                for path, _ in same[done.index]:
                    yield _row(path, answer)

    def _keep(self, done: Done, missing: tuple[Path, str | None]) -> dict[str, Any]:
        """What was answered, which is now in the store, where there is one."""
        failed = _answer(None, None, f"It could not be measured: {done.failure}.", _MEMORY)
        answer: dict[str, Any] = failed if done.answer is None else json.loads(done.answer)
        if answer["diagnosis"] and answer["diagnosis"]["batch"]["sha256"] != self.batch_hash:
            answer = _answer(None, None, f"{self.dump} was replaced before this was measured.", _AGAIN)
        path, hash_ = missing
        if self.store is not None and hash_ is not None:
            # the file may have been written anew since it was hashed: what counts is what was measured
            measured = answer["diagnosis"]["checkpoint"]["sha256"] if answer["diagnosis"] else hash_
            shard = None if self.shard is None else f"{self.shard[0]}/{self.shard[1]}"
            self.store.put(short_name(path), self.key(measured), answer, shard=shard)
        return answer

    def not_there(self, missing: Sequence[tuple[Path, str | None]], shards: set[str]) -> Iterator[Inspected]:
        """Rows for what no job has measured, with the part that should have, where others tell how many there are."""
        counts = {shard.partition("/")[2] for shard in shards}
        parts = int(counts.pop()) if len(counts) == 1 else 0
        for path, hash_ in missing:
            if hash_ is None:
                error, next_step = f"{path} cannot be read, so nothing can be found of it.", "check the path."
            else:
                error = f"No result for {path} with these settings is there yet."
                next_step = "run the command without --merge."
                if parts:
                    index = f"{self.listed.index(path) % parts + 1}/{parts}"
                    error, next_step = f"{error} It belongs to part {index}.", f"run it with --shard {index}."
            yield Inspected(str(path), step_in_name(path), None, error, next_step)


_SHARD = re.compile(r"[0-9]{1,9}/[1-9][0-9]{0,8}")
_ALONE = "inspect this checkpoint alone to see where it happens."
_AGAIN = "run the same command again when nothing writes to the dump."
_MEMORY = "use fewer --workers or a smaller --limit if memory is short; inspect it alone to see where it happens."


def _check(out: object, shard: tuple[int, int] | None, merge: bool, workers: int | None) -> None:
    if workers is not None and workers < 0:
        raise UsageError(f"Worker processes are 0 or more, not {workers}.", "leave --workers out for one a core.")
    if shard is not None and not 1 <= shard[0] <= shard[1]:
        raise UsageError(f"A part is i of n with i from 1 to n, not {shard[0]} of {shard[1]}.", "use --shard 1/4.")
    if (merge or shard is not None) and out is None:
        named = "--merge" if merge else "--shard"
        raise UsageError(f"{named} needs the folder that the parts share.", "add --out DIR, the same for all jobs.")
    if merge and shard is not None:
        raise UsageError("--merge joins all parts, and --shard names one.", "leave --shard out.")


def _executor(workers: int | None, ray: str | None, model: ModelOptions, count: int) -> Executor:
    on_gpu = model.device.startswith("cuda")
    if ray is not None:
        return OnRay(ray, gpus=1 if on_gpu else 0)
    if workers == 0 or os.name != "posix":  # workers are given an open descriptor
        return Here()
    usual = 1 if model.device != "cpu" else cores()  # a GPU holds one model and its batch more safely than many
    return Processes(max(1, min(usual if workers is None else workers, count)))


def _hash(path: Path) -> str | None:
    """The hash that a diagnosis tells of this checkpoint, or None where it cannot be read: measuring it says why."""
    try:
        in_parts = path.is_dir() or path.suffix == ".json"
        return read_tensor_file(path, "checkpoint").check().sha256() if in_parts else sha256_of(path)
    except (OSError, EnergydiagError):
        return None


def _answer(
    step: int | None, diagnosis: CheckpointDiagnosis | None, error: str = "", next_step: str = ""
) -> dict[str, Any]:
    found = None if diagnosis is None else plain(diagnosis)
    return {"step": step, "diagnosis": found, "error": error, "next_step": next_step}


def _row(path: Path, answer: Mapping[str, Any]) -> Inspected:
    """The answer for a checkpoint at this path; the same file may have been measured under another one."""
    step = step_in_name(path) if answer["step"] is None else answer["step"]
    row = built(Inspected, {**answer, "checkpoint": str(path), "step": step})
    if row.diagnosis is None:
        return row
    own = replace(row.diagnosis.checkpoint, path=str(path))
    return replace(row, diagnosis=replace(row.diagnosis, checkpoint=own))
