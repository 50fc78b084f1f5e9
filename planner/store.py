"""Where a study's finished points are kept: one SQLite file, whole after any kill."""

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hwprofiles import InputError
from planner.outcome import Outcome
from planner.plan import Setting

FORMAT = "rosin-study/1"
SCHEMA = (
    "CREATE TABLE IF NOT EXISTS study (part TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS points (key TEXT PRIMARY KEY, setting TEXT NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID",
)
LOCK_NAME = ".study.lock"


class Store:
    """The points of one study by key. One process writes; others may read the file meanwhile."""

    def __init__(self, database: sqlite3.Connection) -> None:
        """Over an open database that has the tables; use ``open_store``."""
        self._database = database

    def add(self, key: str, setting: Setting, outcome: Outcome) -> None:
        """Keep one point; on disk, whole, when this returns."""
        row = (key, setting.model_dump_json(), outcome.model_dump_json())
        with self._database:
            self._database.execute("INSERT INTO points VALUES (?, ?, ?)", row)

    def kept_keys(self) -> set[str]:
        """Of all points kept, also of those that no axis names any more."""
        return {key for (key,) in self._database.execute("SELECT key FROM points")}

    def outcomes(self, keys: Iterable[str]) -> Iterator[Outcome]:
        """The outcomes of these keys, in their order; each must be there."""
        for key in keys:
            (text,) = self._database.execute("SELECT outcome FROM points WHERE key = ?", (key,)).fetchone()
            yield Outcome.model_validate_json(text)


@contextmanager
def open_store(path: Path, identity: Mapping[str, str]) -> Iterator[Store]:
    """Open or make the file of a study, and hold it: no second sweep can write to it meanwhile, and no kill leaves it held.

    Raises InputError, one line, for the file of another study, one that is no study, or one that is held.
    """
    with _held(path):
        try:
            database = sqlite3.connect(path)
            try:
                _prepare(database, path, {"format": FORMAT, **identity})
                yield Store(database)
            finally:
                database.close()
        except sqlite3.DatabaseError as error:
            raise InputError(f"{path}: cannot be used as the file of a study: {error}") from None


def _prepare(database: sqlite3.Connection, path: Path, identity: Mapping[str, str]) -> None:
    """Make the tables in a new file, or compare the identity in an old one."""
    # A write-ahead log is rolled forward or dropped at the next opening; FULL has each point on disk before the next is counted.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    with database:
        database.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            database.execute(statement)
        kept = dict(database.execute("SELECT part, value FROM study"))
        if not kept:
            database.executemany("INSERT INTO study VALUES (?, ?)", identity.items())
    differing = [part for part in identity if kept and kept.get(part) != identity[part]]
    if differing:
        raise InputError(f"{path} holds another study: its {differing[0]} differs; name another folder with -o")


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """An exclusive lock beside the file, which the system takes back from whoever dies."""
    try:
        lock = sqlite3.connect(path.with_name(LOCK_NAME), timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise InputError(f"cannot write {path}: {error}") from None
    try:
        lock.execute("BEGIN EXCLUSIVE")
    except sqlite3.OperationalError:
        lock.close()
        raise InputError(f"{path} is in use by another sweep; wait for it, or name another folder with -o") from None
    try:
        yield
    finally:
        lock.close()
