"""Where a study's finished points are kept: one SQLite file, whole after any kill."""

import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from pydantic import ValidationError

from hwprofiles import InputError
from planner.search.plan import Setting
from planner.study.outcome import Outcome

FORMAT = "rosin-study/2"
"""The format of the file.

Files of ``rosin-study/1`` are refused: an interrupted search could be kept there as a finished
point, and no row says which.
"""

SCHEMA = (
    "CREATE TABLE IF NOT EXISTS study (part TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS points (key TEXT PRIMARY KEY, setting TEXT NOT NULL, outcome TEXT NOT NULL) WITHOUT ROWID",
)
LOCK_NAME = ".study.lock"

GARBAGE = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_ERROR})
"""SQLite's answers where the bytes are not its own, or the tables not a study's.

Other answers are about the disk or its rights.
"""

PRIMARY_CODE = 0xFF
"""The bits of an SQLite result that say its kind; the bits above say which of the kind it is."""


class PointStore:
    """The points of one study by key. One process writes; others may read the file meanwhile."""

    def __init__(
        self, database: sqlite3.Connection, path: Path, let_go: Callable[[], None]
    ) -> None:
        """Wrap an open database that has the tables; ``open_store`` makes stores."""
        self._database = database
        self._path = path
        self._let_go = let_go

    def let_go(self) -> None:
        """Let others write to the file from now on.

        Nothing more is added here; what is kept can still be read.
        """
        self._let_go()

    def add(self, key: str, setting: Setting, outcome: Outcome) -> None:
        """Keep one point; on disk, whole, when this returns."""
        row = (key, setting.model_dump_json(), outcome.model_dump_json())
        with self._database:
            self._database.execute("INSERT INTO points VALUES (?, ?, ?)", row)

    def kept_keys(self) -> set[str]:
        """Return the keys of all points kept, also of those that no axis names any more."""
        return {key for (key,) in self._database.execute("SELECT key FROM points")}

    def outcomes(self, keys: Iterable[str]) -> Iterator[Outcome]:
        """Yield the outcomes of these keys, in their order; each must be there.

        Raises InputError for a row that holds no outcome.
        """
        for key in keys:
            (text,) = self._database.execute(
                "SELECT outcome FROM points WHERE key = ?", (key,)
            ).fetchone()
            yield self._outcome(key, text)

    def check(self) -> None:
        """Read every row. Raises InputError for the first that holds no outcome."""
        for key, text in self._database.execute("SELECT key, outcome FROM points"):
            self._outcome(key, text)

    def _outcome(self, key: str, text: str) -> Outcome:
        try:
            return Outcome.model_validate_json(text)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]["msg"]
            row = f"the row of point {key[:12]!r} holds no outcome ({fault})"
        raise corrupt(self._path, f"{row}; delete the file, or name another folder with -o")


def corrupt(path: Path, fault: str) -> InputError:
    """Return the error for a file whose content no study wrote."""
    return InputError(f"corrupt: {path}: {fault}")


@contextmanager
def open_store(path: Path, identity: Mapping[str, str]) -> Iterator[PointStore]:
    """Open or make the file of a study, and hold it against other sweeps.

    No second sweep can write to it until this one ends or the store lets go. A killed process does
    not leave it held. Raises InputError, one line, for the file of another study, and for one that
    is no study, has a damaged row, or is held.
    """
    with ExitStack() as lock:
        lock.enter_context(_held(path))
        try:
            with closing(_connection(path)) as database:
                _prepare(database, path, {"format": FORMAT, **identity})
                store = PointStore(database, path, lock.close)
                store.check()
                yield store
        except sqlite3.DatabaseError as error:
            raise _refusal(path, error) from None


def _connection(path: Path) -> sqlite3.Connection:
    _refuse_special(path)
    database = sqlite3.connect(path)
    database.text_factory = (
        _text  # Python's own stops at bytes that are no UTF-8, with an error about SQLite
    )
    return database


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", errors="replace")


def _prepare(database: sqlite3.Connection, path: Path, identity: Mapping[str, str]) -> None:
    """Make the tables in a new file, or compare the identity in an old one.

    Raises InputError where the identities differ.
    """
    # A write-ahead log is rolled forward or dropped at the next opening; FULL has each point on
    # disk before the next begins.
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    with database:
        # Another process may open the same new file: whoever is second finds the first one's
        # identity.
        database.execute("BEGIN IMMEDIATE")
        for statement in SCHEMA:
            database.execute(statement)
        kept = dict(database.execute("SELECT part, value FROM study"))
        if not kept:
            database.executemany("INSERT INTO study VALUES (?, ?)", identity.items())
    if kept:
        _compare(kept, path, identity)


def _compare(kept: Mapping[str, str], path: Path, identity: Mapping[str, str]) -> None:
    """Raise InputError where the file is of another format, or of another study."""
    if kept.get("format") != FORMAT:
        raise InputError(
            f"{path} is in the format {str(kept.get('format'))[:40]!r}, of which the points are not trusted (an interrupted search"
            f" could pass for a finished point); this version writes {FORMAT!r}: delete the file, or name another folder with -o"
        )
    differing = [part for part in identity if kept.get(part) != identity[part]]
    if differing:
        raise InputError(
            f"{path} holds another study: its {differing[0]} differs; name another folder with -o"
        )


@contextmanager
def _held(path: Path) -> Iterator[None]:
    """Hold an exclusive lock beside the file; the system takes it back from a process that dies.

    Raises InputError where another sweep holds it.
    """
    lock_path = path.with_name(LOCK_NAME)
    try:
        _refuse_special(lock_path)
        # SQLite locks a file in the same way on every system, and a killed process lets it go.
        lock = sqlite3.connect(lock_path, timeout=0, isolation_level=None)
    except sqlite3.Error as error:
        raise InputError(f"cannot write {lock_path}: {error}") from None
    with closing(lock):
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as error:
            if _code(error) == sqlite3.SQLITE_BUSY:
                raise InputError(
                    f"{path} is in use by another sweep; wait for it, or name another folder with -o"
                ) from None
            raise _refusal(lock_path, error) from None
        yield


def _refuse_special(path: Path) -> None:
    """Raise InputError for a folder, a device or a FIFO: reading one may never end."""
    try:
        is_special = path.exists() and not path.is_file()
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror}") from None
    if is_special:
        raise corrupt(path, "not a regular file; remove it, or name another folder with -o")


def _refusal(path: Path, error: sqlite3.DatabaseError) -> InputError:
    """Return what SQLite's error says about the file, as an error of one line."""
    if _code(error) in GARBAGE:
        return corrupt(
            path,
            f"not a file that a study wrote ({error}); delete it, or name another folder with -o",
        )
    return InputError(f"{path}: cannot be used as the file of a study: {error}")


def _code(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0) & PRIMARY_CODE
