"""SQLite databases of strangers: read-only, with nothing in them that runs, within bounds.

A database can hold views, triggers, generated columns and virtual tables, all of which compute something when they
are read. None is read here: a table must be a table, SQL functions and pragmas are denied, and a query that takes
more than five hundred million steps of SQLite's machine ends.
"""

from __future__ import annotations

import shutil
import sqlite3
import tempfile
from collections.abc import Collection, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from energydiag.errors import UnreadableFile, first_line
from energydiag.plain_file import open_plain
from energydiag.runs.source import Source

START = b"SQLite format 3\0"
MOST_BYTES = 2 << 30
"""Of a database, 2 GiB: MLflow's takes 300 bytes for a number, and holds many runs."""

_OPEN = (
    "The database was open for writing; what did not yet stand in its file but in the `-wal` beside it was read, too."
)
_INTERRUPTED = (
    "A `-journal` lies beside the database: it was being written, or a program that wrote it was stopped. It was not "
    "looked at, so the last numbers may be missing or half written."
)
_STEPS = 1_000_000
_MOST_STEPS = 500
_READ_TWICE = 2
"""Names of runs and keys are asked for, and then the numbers beside them."""

_SOME_BYTES = 16 << 20
_COUNTING = {"count", "max"}


class Database:
    """An open database.

    Attributes:
        notes: What lay beside it when it was opened.
    """

    def __init__(self, connection: sqlite3.Connection, notes: tuple[str, ...], size: int) -> None:
        self._connection = connection
        self._left = _READ_TWICE * size + _SOME_BYTES
        self.notes = notes

    def columns(self, table: str) -> frozenset[str]:
        """Names of the columns of a real table; none for anything else."""
        found = self._connection.execute("SELECT type, sql FROM sqlite_master WHERE name = ?", (table,)).fetchall()
        if len(found) != 1 or found[0][0] != "table" or str(found[0][1]).upper().startswith("CREATE VIRTUAL"):
            return frozenset()
        told = self._connection.execute(f"PRAGMA table_xinfo({table})").fetchall()
        return frozenset(name for _, name, _, _, _, _, hidden in told if not hidden)

    def has(self, table: str, columns: Collection[str]) -> bool:
        """Whether there is such a table, with these columns at least."""
        return self.columns(table) >= set(columns)

    def rows(self, query: str, values: Sequence[Any] = ()) -> Iterator[tuple[Any, ...]]:
        """What a query of ours answers."""
        for row in self._connection.execute(query, values):
            self._left -= sum(len(cell) for cell in row if isinstance(cell, str | bytes))
            if self._left < 0:  # rows can share what they hold
                raise ValueError("holds more text than the file is long")
            yield row


@contextmanager
def opened(path: Path, source: Source | None = None) -> Iterator[Database]:
    """A database for reading; what stands in the log of its writer belongs to it.

    Args:
        path: Of the file; nothing is written to it or beside it.
        source: Where given, is told what is read.

    Raises:
        UnreadableFile: It is larger than 2 GiB, or no plain file.
        ValueError: It is damaged, or a query on it takes too long.
    """
    behind = _beside(path, "-wal")
    for file in (path,) if behind is None else (path, behind):
        if source is not None:
            for _ in source.pieces(file, MOST_BYTES):
                pass
    try:
        if behind is None:
            # a journal beside it is left alone: undoing what it names can remove files that a stranger chose
            notes = (_INTERRUPTED,) if _beside(path, "-journal") else ()
            with closing(_connected(path, "mode=ro&immutable=1")) as connection:
                yield Database(connection, notes, path.stat().st_size)
            return
        with tempfile.TemporaryDirectory() as folder:  # SQLite writes beside a database whose log it reads
            copy = Path(folder) / "copy.db"
            for file, to in ((path, copy), (behind, Path(f"{copy}-wal"))):
                with open_plain(file, MOST_BYTES) as stream, to.open("wb") as out:
                    shutil.copyfileobj(stream, out)
            with closing(_connected(copy, "mode=rw")) as connection:
                yield Database(connection, (_OPEN,), copy.stat().st_size)
    except sqlite3.Error as error:
        said = "a query takes too long" if "interrupt" in str(error) else first_line(error)
        raise ValueError(f"is no database that can be read: {said}") from error
    except UnicodeDecodeError as error:
        raise ValueError("is no database that can be read: it holds text that is none") from error


def _beside(path: Path, ending: str) -> Path | None:
    """A file of the writer's that is not empty."""
    file = path.with_name(path.name + ending)
    return file if file.is_file() and file.stat().st_size else None


def is_database(path: Path, start: bytes, table: str, columns: Collection[str]) -> bool:
    """Whether a file that begins like this is a database with such a table in it."""
    if not start.startswith(START):
        return False
    try:
        with opened(path) as database:
            return database.has(table, columns)
    except (ValueError, UnreadableFile):
        return False


def _connected(path: Path, how: str) -> sqlite3.Connection:
    connection = sqlite3.connect(f"file:{quote(str(path.absolute()))}?{how}", uri=True, isolation_level=None)
    for pragma in ("trusted_schema = OFF", "cell_size_check = ON", "mmap_size = 0", "cache_size = -16384"):
        connection.execute(f"PRAGMA {pragma}")
    connection.set_authorizer(_authorise)
    left = iter(range(_MOST_STEPS))
    connection.set_progress_handler(lambda: next(left, None) is None, _STEPS)
    return connection


def _authorise(action: int, first: str | None, second: str | None, *_: str | None) -> int:
    allowed = (
        action in (sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ)
        or (action == sqlite3.SQLITE_FUNCTION and second in _COUNTING)
        or (action == sqlite3.SQLITE_PRAGMA and first == "table_xinfo")
    )
    return sqlite3.SQLITE_OK if allowed else sqlite3.SQLITE_DENY
