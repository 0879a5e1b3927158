"""The file of a sweep: one SQLite database, written by one driver, readable at any moment.

A kill at any moment, also of the machine, leaves a file that opens and whose every row is whole:
an outcome is one transaction. While a driver is at work the file has a write-ahead log beside it;
on network file systems, where that log is not safe, SQLite's rollback journal takes its place.
When the driver closes it there is one file again.
"""

from __future__ import annotations

import math
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from flow.cli.flags import InputError
from flow.sweep.runs import PARAMETERS, PENDING, RESULTS, Measured, Outcome, Run

_TYPES = {"int": "INTEGER", "float": "REAL", "str": "TEXT", "bool": "INTEGER", "bytes": "BLOB"}


def _columns(kind: type) -> dict[str, str]:
    """SQL types of the fields of a dataclass, by their annotations."""
    return {
        name: _TYPES[str(annotation).removesuffix(" | None")]
        for name, annotation in kind.__annotations__.items()
    }


COLUMNS = {
    "hash": "TEXT PRIMARY KEY",
    **_columns(Run),
    "status": f"TEXT NOT NULL DEFAULT '{PENDING}'",
    "message": "TEXT NOT NULL DEFAULT ''",
    "finished": "INTEGER NOT NULL DEFAULT 0",
    "attempts": "INTEGER NOT NULL DEFAULT 0",
    **_columns(Measured),
    "seconds": "REAL",
    "ended": "TEXT",
    "software": "INTEGER REFERENCES software(id)",
}
"""Every column of the table `runs` and its SQL type."""

_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS runs ({", ".join(f"{n} {t}" for n, t in COLUMNS.items())}) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS software (id INTEGER PRIMARY KEY, about TEXT UNIQUE NOT NULL);
CREATE TABLE IF NOT EXISTS configs (text TEXT PRIMARY KEY, added TEXT NOT NULL) WITHOUT ROWID;
"""
_APPLICATION = 0x666C6F77  # "flow": what `file` and `sqlite3` show, and what tells ours from others

NETWORK = (
    "nfs", "cifs", "smb", "afs", "lustre", "gpfs", "beegfs", "ceph", "glusterfs", "panfs", "pvfs2",
    "orangefs", "9p", "ncpfs", "davfs", "fuse.",
)  # fmt: skip
"""Beginnings of file system types where a log, which lives in shared memory, is not safe."""


class SweepError(Exception):
    """A sweep that cannot go on now: one line with what was expected, what came and the remedy."""


class Store:
    """The file of a sweep, opened by its only driver.

    Raises InputError if the file cannot be opened or written or is no sweep, SweepError if it has
    a driver already; so do all methods when the disk fails. What was written before stays.
    """

    def __init__(self, path: str | os.PathLike[str], *, mounts: str | None = None) -> None:
        """Open or make the file at `path`; `mounts` stands in for /proc/mounts."""
        self.path = Path(path)
        if self.path.is_dir() or not self.path.parent.is_dir():
            raise InputError(
                f"expected a file in a folder that exists, got {self.path}; make the folder first"
            )
        self._lock = _only_driver(self.path)
        try:
            with _explained(self.path):
                self._db = sqlite3.connect(self.path, isolation_level=None, timeout=60.0)
                try:
                    self._prepare(file_system(self.path, mounts).startswith(NETWORK))
                except BaseException:
                    self._db.close()
                    raise
        except BaseException:
            _release(self._lock, self.path)
            raise

    def _prepare(self, network: bool) -> None:
        db = self._db
        check_format(db, self.path)
        # A file system that refuses the log leaves SQLite in rollback mode, which is safe too.
        wanted = "DELETE" if network else "WAL"
        self.journal = db.execute(f"PRAGMA journal_mode={wanted}").fetchone()[0]
        # With a log, NORMAL keeps the file whole through a power cut; only last rows may be lost.
        db.execute(f"PRAGMA synchronous={'NORMAL' if self.journal == 'wal' else 'FULL'}")
        db.execute("BEGIN IMMEDIATE")
        for statement in _SCHEMA.strip().split(";\n"):
            db.execute(statement.rstrip(";"))
        for name in COLUMNS.keys() - _columns_of(db):  # made by a version that had fewer
            db.execute(f"ALTER TABLE runs ADD COLUMN {name} {COLUMNS[name]}")
        db.execute(f"PRAGMA application_id={_APPLICATION}")
        db.execute("PRAGMA user_version=1")
        db.execute("COMMIT")

    def add(self, runs: Sequence[Run], config: str) -> None:
        """Add the rows that are not there yet, and the config that asks for them."""
        names = ("hash", *PARAMETERS)
        with self._transaction() as db:
            db.executemany(
                f"INSERT OR IGNORE INTO runs ({', '.join(names)}) VALUES ({_marks(names)})",
                ((run.hash(), *asdict(run).values()) for run in runs),
            )
            db.execute("INSERT OR IGNORE INTO configs VALUES (?, ?)", (config, _now()))

    def states(self) -> dict[str, tuple[str, bool, int]]:
        """Status, whether it is finished, and attempts so far, by hash."""
        with _explained(self.path):
            rows = self._db.execute("SELECT hash, status, finished, attempts FROM runs")
            return {hash_: (status, bool(done), tries) for hash_, status, done, tries in rows}

    def write(self, outcomes: Iterable[Outcome]) -> None:
        """Write outcomes into their rows, all or none."""
        names = ("status", "message", "finished", *RESULTS, "seconds", "ended", "software")
        update = (
            f"UPDATE runs SET attempts = attempts + ?, {', '.join(f'{n} = ?' for n in names)} "
            f"WHERE hash = ?"
        )
        with self._transaction() as db:
            for outcome in outcomes:
                found = outcome.measured
                values = dict.fromkeys(RESULTS) if found is None else asdict(found)
                db.execute(
                    update,
                    (
                        outcome.status != "REFUSED",  # which was no attempt
                        outcome.status,
                        _text(outcome.message),
                        outcome.finished,
                        *(_without_nan(values[name]) for name in RESULTS),
                        outcome.seconds,
                        _now(),
                        self._software(outcome.software),
                        outcome.hash,
                    ),
                )

    def _software(self, about: str) -> int | None:
        if not about:
            return None
        self._db.execute("INSERT OR IGNORE INTO software (about) VALUES (?)", (about,))
        found = self._db.execute("SELECT id FROM software WHERE about = ?", (about,)).fetchone()
        return int(found[0])

    def close(self) -> None:
        """Leave one file behind, if the disk allows it."""
        # Readers of a log need a folder they can write; a sweep that rests can do without. Where
        # this fails, the file and its log are whole as they are, and the next driver tries again.
        with suppress(sqlite3.Error):
            self._db.execute("PRAGMA journal_mode=DELETE")
        self._db.close()
        _release(self._lock, self.path)

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with _explained(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                with suppress(sqlite3.Error):  # a full disk has rolled back already
                    self._db.execute("ROLLBACK")
                raise


def read_rows(path: str | os.PathLike[str]) -> tuple[list[dict[str, Any]], dict[int, str]]:
    """Every row of a sweep's file, sorted by hash, and the software that made them, by id.

    Can be called while a driver is at work. Raises InputError if the file is missing, cannot be
    read, or is no sweep.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"expected the file of a sweep, or a config that ends in .toml, got {path}, which is "
            f"not there"
        )
    with _explained(path):
        db = open_to_read(path)
        try:
            if check_format(db, path):
                return [], {}
            there = _columns_of(db)
            names = ", ".join(name if name in there else "NULL" for name in COLUMNS)
            rows = [
                dict(zip(COLUMNS, row, strict=True))
                for row in db.execute(f"SELECT {names} FROM runs ORDER BY hash")
            ]
            software = {int(k): str(v) for k, v in db.execute("SELECT id, about FROM software")}
        finally:
            db.close()
    return rows, software


def open_to_read(path: Path) -> sqlite3.Connection:
    """A connection within a transaction: all that is read is of one moment.

    What a killed driver had begun is finished or taken back first; where only the folder's being
    read-only stands against a log, the file is read as it is, for nobody can change it there.
    """
    try:
        return _reading(path, "mode=ro")
    except sqlite3.OperationalError:
        unfinished = any(path.with_name(path.name + end).exists() for end in ("-wal", "-journal"))
        return _reading(path, "mode=rw" if unfinished else "immutable=1")


def _reading(path: Path, how: str) -> sqlite3.Connection:
    db = sqlite3.connect(
        f"{path.resolve().as_uri()}?{how}", uri=True, isolation_level=None, timeout=60.0
    )
    try:
        db.execute("BEGIN")
        db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except BaseException:
        db.close()
        raise
    return db


def check_format(db: sqlite3.Connection, path: Path) -> bool:
    """Whether the database is empty, as a kill may leave it before anything else.

    Raises InputError if it is neither that nor a sweep. One of an older version may have fewer
    columns: what they would say is not known, or was not there to be chosen.
    """
    if not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        return True
    found = _columns_of(db)
    if not {"hash", "status", "n", "m", "lam"} <= found <= COLUMNS.keys():
        strange = ", ".join(sorted(found - COLUMNS.keys())) or "other tables"
        raise InputError(
            f"expected a file written by this version of flow.sweep or an older one, got {path} "
            f"with {strange}; choose another file"
        )
    return False


def _columns_of(db: sqlite3.Connection) -> set[str]:
    return {str(row[1]) for row in db.execute("PRAGMA table_info(runs)")}


def _marks(names: Sequence[str]) -> str:
    return ", ".join("?" * len(names))


def _without_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value


def _text(value: str) -> str:
    """What SQLite can hold of a text: bytes of a path that are no UTF-8 are written as escapes."""
    return value.encode(errors="backslashreplace").decode()


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


# The lock that keeps a second driver out ---------------------------------------------------------


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}-driver")


def _only_driver(path: Path) -> sqlite3.Connection:
    """Hold the lock of the driver of `path`; it falls when this process ends, however it ends.

    The lock is SQLite's own, on an empty database beside the sweep: it works wherever SQLite does,
    and readers of the sweep do not meet it.
    """
    with _explained(path):
        lock = sqlite3.connect(_beside(path), isolation_level=None, timeout=0.0)
        try:
            lock.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            lock.close()
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                raise
            raise SweepError(
                f"expected to be the only driver of {path}, got another one at work on it; wait "
                f"for it, or give this one a file of its own"
            ) from error
    return lock


def _release(lock: sqlite3.Connection, path: Path) -> None:
    with suppress(OSError):
        _beside(path).unlink()
    lock.close()


# The file system below a file --------------------------------------------------------------------


def file_system(path: Path, mounts: str | None = None) -> str:
    """Type of the file system that `path` is on, such as ext4; "" where that is not known."""
    if mounts is None:
        try:
            mounts = Path("/proc/mounts").read_text(encoding="utf-8", errors="replace")
        except OSError:
            return ""
    place = path.resolve()
    best, kind = -1, ""
    for line in mounts.splitlines():
        fields = line.split()
        if len(fields) < 3:
            continue
        folder = Path(fields[1].replace("\\040", " "))
        # Of several mounts on one folder the last one counts.
        if (folder == place or folder in place.parents) and len(folder.parts) >= best:
            best, kind = len(folder.parts), fields[2]
    return kind


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Turn errors of SQLite into one line with a remedy."""
    try:
        yield
    except sqlite3.Error as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
            raise InputError(
                f"expected a file and a folder that can be written, got {path} ({error}); choose "
                f"another place with --out"
            ) from error
        if code in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise InputError(
                f"expected the file of a sweep, got {path} ({error}); check the path"
            ) from error
        if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
            raise SweepError(
                f"expected a disk with room for {path}, got: {error}; what was written before is "
                f"whole: make room and give the same command again"
            ) from error
        raise SweepError(f"expected {path} to work as an SQLite file, got: {error}") from error
