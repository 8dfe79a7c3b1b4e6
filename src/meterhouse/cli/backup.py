"""`meterhouse backup`: a copy of a ledger, read back before it gets its name."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.ledger_file import LedgerPlace, ledger_file
from meterhouse.cli.telling import Column, number, print_bytes, tell
from meterhouse.cli.waiting import waiting

COPY: Final = (
    Column("Backup", "file"),
    Column("Records", "records", number),
    Column("Journal rows", "journal_rows", number),
    Column("Bytes", "bytes", number),
)


def backup(
    file: Path,
    *,
    data: LedgerPlace = "meterhouse.db",
    force: Annotated[bool, Parameter(negative=(), help="Replace a file that exists.")] = False,
    json: Annotated[bool, Parameter(negative=(), help="Print what was copied, as JSON.")] = False,
) -> None:
    """Copy a SQLite ledger, whether a server runs on it or not.

    The copy is the ledger of one moment. It is read back before it gets its name: the file must be whole, and records
    and journal must come to the same counts and sums. The key file is not in it: keep it elsewhere.

    Example: meterhouse backup monday.db --data meterhouse.db

    Parameters
    ----------
    file
        Where the copy is to be.
    """
    from meterhouse.ledger.protocol import CannotOpen, LedgerFailure
    from meterhouse.ledger.sqlite_backup import back_up
    from meterhouse.ledger.sqlite_check import read_back

    source = ledger_file(data)
    _check_target(file, source, force=force)
    unverified = file.with_name(f"{file.name}.unverified")
    try:
        unverified.unlink(missing_ok=True)
        with waiting(f"{source} is copied") as bar:
            back_up(source, unverified, bar.advance)
            bar.advance(0, None, "The copy is read back")
            kept = read_back(unverified, bar.advance)
        _give_name(unverified, file, force=force)
    except (CannotOpen, LedgerFailure) as failure:
        raise CommandFailed(f"{failure}.") from None
    except OSError as error:
        raise CommandFailed(f"{file} cannot be made: {error.strerror}.") from None
    finally:
        with suppress(OSError):
            unverified.unlink(missing_ok=True)
    copied = {
        "file": str(file),
        "records": kept.records,
        "journal_rows": kept.journal_rows,
        "bytes": file.stat().st_size,
    }
    if json:
        print_bytes(msgspec.json.encode(copied) + b"\n")
    else:
        tell(copied, COPY)


def _check_target(file: Path, source: Path, *, force: bool) -> None:
    if file.exists():
        if file.samefile(source):
            raise CommandFailed(f"{file} is the ledger itself.", 2)
        if not force or not file.is_file():
            raise CommandFailed(f"{file} exists; {'it is no file' if force else '--force replaces it'}.", 2)
    log = file.with_name(f"{file.name}-wal")
    if log.exists():
        # SQLite would take it for the copy's own.
        raise CommandFailed(f"{log} exists: {file} is in use, or was not closed in order.", 2)


def _give_name(unverified: Path, file: Path, *, force: bool) -> None:
    if force:
        unverified.replace(file)
    else:
        os.link(unverified, file)  # unlike a renaming, it never replaces what came meanwhile
    folder = os.open(file.absolute().parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
