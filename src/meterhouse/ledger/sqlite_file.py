"""The file of a SQLite ledger: whose it is, how it is opened, and what its errors mean.

One server at a time writes a ledger. SQLite's own locks would let two take turns, each with a picture of the file that
the other makes wrong; so whoever writes holds an operating-system lock on a small file beside it (`meterhouse.db-lock`)
for as long as it lives. The lock goes with the process, however that ends; the lock file stays, because removing it
would let two processes lock two different files. Readers, such as a backup of a running ledger, do not need the lock.
"""

import fcntl
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import apsw

from meterhouse.ledger.protocol import CannotOpen, LedgerFailure
from meterhouse.ledger.sqlite_schema import APPLICATION_ID, STEPS

BUSY_MILLISECONDS: Final = 2000
"""How long another program's lock on the file is waited for."""

PRAGMAS: Final[dict[str, str | int]] = {
    "journal_mode": "WAL",
    "synchronous": "FULL",
    "fullfsync": 1,  # macOS alone: there an ordinary fsync does not reach the medium
    "checkpoint_fullfsync": 1,
    "cache_size": -8192,  # KiB, all taken in time; 64 MiB were no faster, the system having the file in its own
    "temp_store": "MEMORY",
    "wal_autocheckpoint": 0,  # the log is carried over by another thread: see `sqlite_carrying`
    "journal_size_limit": 67_108_864,  # bytes: after a burst the log shrinks again
    "trusted_schema": 0,
}
"""How the writing connection is set, in this order."""

_CARRYING_PRAGMAS: Final = ("synchronous", "fullfsync", "checkpoint_fullfsync")
"""Those that say how the file is synced when the log is carried over."""

_MEANINGS: Final[Mapping[type[apsw.Error], str]] = {
    apsw.FullError: "the disk is full",
    apsw.ReadOnlyError: "the file is read-only",
    apsw.BusyError: "another program holds a lock on the file",
    apsw.LockedError: "another program holds a lock on the file",
    apsw.ProtocolError: "another program holds a lock on the file",
    apsw.NotADBError: "the file is not a SQLite database, or its first page is damaged",
    apsw.CorruptError: "the file is damaged",
    apsw.CantOpenError: "the file cannot be opened",
    apsw.PermissionsError: "the file may not be accessed",
    apsw.IOError: "the file cannot be read or written",
}


def meaning_of(error: apsw.Error) -> str:
    """What an error of the database means to whoever runs the ledger, with SQLite's own words behind it."""
    for kind, meaning in _MEANINGS.items():
        if isinstance(error, kind):
            return f"{meaning} ({error})"
    return f"the database failed ({type(error).__name__}: {error})"


def failure_of(error: apsw.Error, path: Path) -> LedgerFailure:
    """A database's error while the ledger runs, as the protocol's."""
    return LedgerFailure(f"{path}: {meaning_of(error)}")


class Lock:
    """The right to write a ledger, held until `release`; `CannotOpen` where someone else has it."""

    def __init__(self, path: Path) -> None:
        beside = path.with_name(path.name + "-lock")
        try:
            self._descriptor = os.open(beside, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise CannotOpen(f"{beside} cannot be made: {error.strerror}") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._descriptor)
            raise CannotOpen(f"{path} is in use by another server") from error

    def release(self) -> None:
        """Lets go."""
        os.close(self._descriptor)


def place_of_ledger(path: Path) -> Path:
    """The one name of a file that has several, so that all meet at one lock; `CannotOpen` where no file can be there.

    Says plainly what SQLite calls "unable to open database file".
    """
    path = path.resolve()
    if path.is_dir():
        raise CannotOpen(f"{path} is a directory, not a file")
    if not path.parent.is_dir():
        raise CannotOpen(f"{path.parent} is not a directory: make it, or name another place for the ledger")
    return path


def connect_to_write(path: Path, vfs: str) -> apsw.Connection:
    """A connection set as the writer's, to a file whose schema is up to date; raises `apsw.Error` or `CannotOpen`."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE, vfs=vfs or None)
    try:
        db.set_busy_timeout(BUSY_MILLISECONDS)
        _migrate(db, path)
        _carry_over(db)
    except BaseException:
        if vfs or _bytes_of_log(path):
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # see `sqlite_carrying`: what it says of a failure
        db.close(force=True)  # an empty log goes with it, so that a file which is refused is left as it was
        raise
    return db


def _bytes_of_log(path: Path) -> int:
    try:
        return path.with_name(path.name + "-wal").stat().st_size
    except OSError:
        return 0


def connect_to_read(path: Path, vfs: str) -> apsw.Connection:
    """A read-only connection to a ledger that is open for writing, perhaps in another process; raises `apsw.Error`."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY, vfs=vfs or None)
    db.set_busy_timeout(BUSY_MILLISECONDS)
    db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    db.pragma("temp_store", "MEMORY")
    return db


def connect_to_carry(path: Path, vfs: str) -> apsw.Connection:
    """A connection that carries the log over beside the writer's, and syncs as that does; raises `apsw.Error`."""
    db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE, vfs=vfs or None)
    try:
        db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
        for name in _CARRYING_PRAGMAS:
            db.pragma(name, PRAGMAS[name])
    except BaseException:
        db.close(force=True)
        raise
    return db


def check_ours(db: apsw.Connection, path: Path) -> int:
    """How many steps of the schema a file has seen, 0 where it is new.

    `CannotOpen` where it is no ledger of ours, or one of a newer version.
    """
    version: int = db.pragma("user_version")
    empty = version == 0 and db.execute("SELECT count(*) FROM sqlite_schema").get == 0
    if not empty and db.pragma("application_id") != APPLICATION_ID:
        raise CannotOpen(f"{path} is a SQLite file, but not a Meterhouse ledger")
    if version > len(STEPS):
        raise CannotOpen(
            f"{path} has schema {version}, and this version of Meterhouse knows schemas up to {len(STEPS)}: "
            "run the newer version that wrote it"
        )
    return version


def _carry_over(db: apsw.Connection) -> None:
    """Carries over into the file, synced, whatever the log holds; `apsw.BusyError` where a reader stays in the way.

    A server killed between writing a commit and syncing it, or told by the disk that a sync failed, leaves a commit
    that can be read and is not durable. Were it answered from as it is, a retry would be told "kept" and the power
    could still take it.
    """
    db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_FULL)


def _migrate(db: apsw.Connection, path: Path) -> None:
    if db.readonly("main"):
        raise CannotOpen(f"{path} is read-only")
    version = check_ours(db, path)
    for name, value in PRAGMAS.items():
        db.pragma(name, value)
    for number, step in enumerate(STEPS[version:], start=version + 1):
        with db:
            db.execute(step)
            db.pragma("application_id", APPLICATION_ID)
            db.pragma("user_version", number)
