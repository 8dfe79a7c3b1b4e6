"""A copy of a SQLite ledger, whether a server is running on it or not.

SQLite copies what one read transaction sees: the state of one moment, every acknowledged turn of before it included.
Writers go on meanwhile; only their log grows until the copy is done. The transaction is held open over all steps of the
copy, which would else begin anew whenever somebody writes between two of them.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Final

import apsw

from meterhouse.ledger.protocol import CannotOpen, LedgerFailure
from meterhouse.ledger.sqlite_file import BUSY_MILLISECONDS, check_ours, meaning_of, place_of_ledger

STEP_PAGES: Final = 2048
"""Pages copied between two calls of `on_pages`: 8 MB."""

OnPages = Callable[[int, int], None]


def back_up(source: Path, target: Path, on_pages: OnPages = lambda _done, _total: None) -> None:
    """Copies the ledger at `source` to a new file `target`, complete and synced when this returns.

    `on_pages` is told how many pages of how many are copied.
    `CannotOpen` where there is no ledger of ours at `source` or `target` cannot be made (it must not exist);
    `LedgerFailure` where the copy fails or what was copied is damaged. Either way no `target` is left behind.
    """
    source, target = place_of_ledger(source), place_of_ledger(target)
    if not source.is_file():
        raise CannotOpen(f"{source} does not exist")
    if target.exists():
        raise CannotOpen(f"{target} exists: a backup never overwrites anything")
    unfinished = target.with_name(target.name + ".unfinished")
    try:
        unfinished.unlink(missing_ok=True)
        _copy(source, unfinished, on_pages)
        os.rename(unfinished, target)  # noqa: PTH104 - beside os.open and os.fsync, which have no pathlib form
        directory = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except apsw.Error as error:
        raise LedgerFailure(f"{source} cannot be copied to {target}: {meaning_of(error)}") from error
    except OSError as error:
        raise CannotOpen(f"{target} cannot be made: {error.strerror}") from error
    finally:
        for path in target.parent.glob(f"{unfinished.name}*"):
            path.unlink()


def _copy(source: Path, unfinished: Path, on_pages: OnPages) -> None:
    copy = apsw.Connection(str(unfinished))
    try:
        _copy_pages(source, copy, on_pages)
        found = copy.pragma("quick_check")
        if found != "ok":
            raise LedgerFailure(f"{source} is damaged: {found}")
    finally:
        copy.close()


def _copy_pages(source: Path, copy: apsw.Connection, on_pages: OnPages) -> None:
    # Opened to write, because SQLite may have to make a stopped server's log readable first; nothing is changed.
    original = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        original.set_busy_timeout(BUSY_MILLISECONDS)
        if not check_ours(original, source):
            raise CannotOpen(f"{source} is an empty file")
        with original, copy.backup("main", original, "main") as backup:
            original.execute("SELECT count(*) FROM sqlite_schema").fetchall()  # the transaction reads from here on
            while not backup.step(STEP_PAGES):
                on_pages(backup.page_count - backup.remaining, backup.page_count)
    finally:
        _let_go(original, source)


def _let_go(original: apsw.Connection, source: Path) -> None:
    """Closes the file without touching a log that has something.

    Whoever lets go last carries the log over and removes it. That is for a server alone, which may have let go because
    it could not (`sqlite_carrying`). An empty log was made for this copy, and is removed.
    """
    log = source.with_name(source.name + "-wal")
    if log.exists() and log.stat().st_size > 0:
        original.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)
    original.close()
