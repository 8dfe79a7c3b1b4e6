"""A copy of a SQLite ledger, whether a server is running on it or not.

SQLite copies what one read transaction sees: the state of one moment, every acknowledged turn of before it included.
Writers go on meanwhile; only their log grows until the copy is done.
"""

import os
from pathlib import Path

import apsw

from meterhouse.ledger.protocol import CannotOpen, LedgerFailure
from meterhouse.ledger.sqlite_file import BUSY_MILLISECONDS, check_ours, meaning_of, place_of_ledger


def back_up(source: Path, target: Path) -> None:
    """Copies the ledger at `source` to a new file `target`, complete and synced when this returns.

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
        _copy(source, unfinished)
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


def _copy(source: Path, unfinished: Path) -> None:
    # Opened to write, because SQLite may have to make a stopped server's log readable first; nothing is changed.
    original = apsw.Connection(str(source), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        original.set_busy_timeout(BUSY_MILLISECONDS)
        if not check_ours(original, source):
            raise CannotOpen(f"{source} is an empty file")
        copy = apsw.Connection(str(unfinished))
        try:
            with copy.backup("main", original, "main") as backup:
                backup.step()
            found = copy.pragma("quick_check")
            if found != "ok":
                raise LedgerFailure(f"{source} is damaged: {found}")
        finally:
            copy.close()
    finally:
        original.close()
