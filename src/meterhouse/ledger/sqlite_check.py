"""Reading a copy of a ledger back: whether it is whole, and whether its two accounts of the usage agree.

Usage is kept twice: as records under their keys, from which bills are made, and in the journal, from which they can be
proved. Counts and sums of both must be the same, partition by partition, and what the file itself says it has.
"""

from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import quote

import apsw
import msgspec

from meterhouse.ledger.packing import unpack
from meterhouse.ledger.protocol import LedgerFailure
from meterhouse.ledger.sqlite_file import check_ours, meaning_of
from meterhouse.ledger.sqlite_rows import fetch
from meterhouse.ledger.sqlite_schema import POSITION_BITS, SERIES_BITS

TOLD_EVERY: Final = 1000
"""Journal rows between two calls of `on_rows`."""

_POSITION: Final = (1 << POSITION_BITS) - 1
_SERIES: Final = (1 << SERIES_BITS) - 1
_RECORDS: Final = f"""
    SELECT s.partition, count(*), sum(r.quantity_micros >> 32), sum(r.quantity_micros & 4294967295)
    FROM usage_records AS r LEFT JOIN series AS s ON s.id = r.key & {_SERIES} GROUP BY s.partition"""  # noqa: S608 - made of our own numbers


class Kept(NamedTuple):
    """How much a ledger, or a partition of it, holds."""

    records: int = 0
    quantity_micros: int = 0
    journal_rows: int = 0


def read_back(path: Path, on_rows: Callable[[int, int], None] = lambda _done, _total: None) -> Kept:
    """What a copy that nobody writes holds. Raises `LedgerFailure`, one sentence, where it is not whole.

    `on_rows` is told how many journal rows of how many were read. Nothing is written, not even beside the file.
    """
    try:
        # What is immutable needs no lock and no log.
        where = f"file:{quote(str(path.resolve()))}?immutable=1"
        db = apsw.Connection(where, flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)
        try:
            check_ours(db, path)
            return _compared(db, path, on_rows)
        finally:
            db.close()
    except apsw.Error as error:
        raise LedgerFailure(f"{path}: {meaning_of(error)}") from error
    except msgspec.MsgspecError as error:
        raise LedgerFailure(f"{path}: a journal row is damaged ({error})") from error


def _compared(db: apsw.Connection, path: Path, on_rows: Callable[[int, int], None]) -> Kept:
    found = db.pragma("integrity_check")
    if found != "ok":
        raise LedgerFailure(f"{path} is damaged: {found}")
    said = {
        number: Kept(records, journal_rows=rows)
        for number, records, rows in fetch(db, "SELECT id, records, last_position FROM partitions")
    }
    metered = {number: Kept(records, (high << 32) + low) for number, records, high, low in fetch(db, _RECORDS)}
    proved = _proved(db, path, sum(kept.journal_rows for kept in said.values()), on_rows)
    for number in said.keys() | metered.keys() | proved.keys():
        by_count, by_record, by_journal = (kept.get(number, Kept()) for kept in (said, metered, proved))
        if (
            by_journal != by_record._replace(journal_rows=by_count.journal_rows)
            or by_record.records != by_count.records
        ):
            raise LedgerFailure(
                f"{path} contradicts itself in partition {number}: its journal has {_told(by_journal)}, "
                f"its records are {_told(by_record)}, and it counts {by_count.records} records"
            )
    return Kept(*map(sum, zip(*proved.values(), strict=True))) if proved else Kept()


def _told(kept: Kept) -> str:
    return f"{kept.records} records of {kept.quantity_micros} millionths"


def _proved(db: apsw.Connection, path: Path, total: int, on_rows: Callable[[int, int], None]) -> Mapping[int, Kept]:
    """What the journal says of each partition, its positions having no gap."""
    found: dict[int, Kept] = defaultdict(Kept)
    for done, (number, body) in enumerate(db.execute("SELECT id, body FROM journal ORDER BY id")):
        if not done % TOLD_EVERY:
            on_rows(done, total)
        partition, row = number >> POSITION_BITS, unpack(body)
        kept = found[partition]
        if number & _POSITION != kept.journal_rows + 1:
            raise LedgerFailure(
                f"{path} has a gap in its journal, after row {kept.journal_rows} of partition {partition}"
            )
        quantity_micros = kept.quantity_micros + sum(row.quantities)
        found[partition] = Kept(kept.records + len(row.series), quantity_micros, kept.journal_rows + 1)
    return found
