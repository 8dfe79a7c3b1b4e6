"""The reading side of the PostgreSQL engine: on connections of its own, so that a long report delays no turn.

Each read is one transaction that sees one moment (REPEATABLE READ), or one statement, which does too: rows and the
series that they name belong together, whatever is emptied meanwhile.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Final, TypeVar

from meterhouse.core.usage import ClaimKey, Partition, Series
from meterhouse.ledger.copying import Claim
from meterhouse.ledger.packing import entries_of, unpack
from meterhouse.ledger.postgres_connections import FAILURES, Connection, Connections, Meaning, failure_of, meaning_of
from meterhouse.ledger.postgres_schema import REFERENCE_TABLES, USAGE_TABLES
from meterhouse.ledger.postgres_statements import (
    ALL_CLAIMS,
    BYTES,
    CHANGES,
    COUNTS,
    HISTORY,
    LOAD,
    NAMES,
    NUMBER,
    PARTITION_NAMES,
    SCAN,
    SUMS,
)
from meterhouse.ledger.protocol import Busy, Cursor, Document, JournalEntry, LedgerFailure, RecordFilter, Size, Sum
from meterhouse.ledger.select import hours_of, place_of, wants_row

SLICE_ROWS: Final = 512
"""Journal rows read at a time."""
READ_SECONDS: Final = 600.0
"""The longest that one statement of a report may take."""

_FIRST: Final = -(2**63)
_POSITION_LIMIT: Final = 2**62
_HOUR_LIMIT: Final = 2**31 - 1

answer_type = TypeVar("answer_type")


class Reader:
    """What `Ledger` reads back. Raises `Busy` and `LedgerFailure`."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    async def scan(self, partition: Partition, after: int, limit: int) -> list[JournalEntry]:
        """See `Ledger.scan`."""
        rows: list[JournalEntry] = []
        after = min(max(after, 0), _POSITION_LIMIT)
        while len(rows) < limit:
            wanted = min(limit - len(rows), SLICE_ROWS)
            found = await self._slice(partition, after, wanted)
            rows += found
            if len(found) < wanted:
                break
            after = found[-1].position
        return rows

    async def _slice(self, partition: Partition, after: int, limit: int) -> list[JournalEntry]:
        async def read(db: Connection) -> list[JournalEntry]:
            _, number = await db.fetchrow(NUMBER, *partition)
            if number is None:
                return []
            found = await db.fetch(SCAN, number, after, limit)
            return await _entries(db, [(number, partition, position, body) for position, body in found])

        return await self._at_one_moment(read)

    async def history(self, what: RecordFilter, after: Cursor | None, limit: int) -> list[JournalEntry]:
        """See `Ledger.history`."""
        cursor = Cursor(_FIRST, "", "", 0) if after is None else after
        rows: list[JournalEntry] = []
        while len(rows) < limit:
            wanted = SLICE_ROWS if what.judges_records else min(limit - len(rows), SLICE_ROWS)
            found = await self._history_slice(what, cursor, wanted)
            rows += [row for row in found if wants_row(what, row.entries)]
            if len(found) < wanted:
                break
            cursor = place_of(found[-1])
        return rows[:limit]

    async def _history_slice(self, what: RecordFilter, after: Cursor, limit: int) -> list[JournalEntry]:
        async def read(db: Connection) -> list[JournalEntry]:
            found = await db.fetch(HISTORY, *after, what.region, what.product, limit)
            return await _entries(
                db, [(number, Partition(*name), position, body) for number, *name, position, body in found]
            )

        return await self._at_one_moment(read)

    async def sums(self, what: RecordFilter) -> list[Sum]:
        """See `Ledger.sums`."""
        first, end = (None if hour is None else max(-_HOUR_LIMIT, min(hour, _HOUR_LIMIT)) for hour in hours_of(what))
        found = await self._ask(lambda db: db.fetch(SUMS, first, end, *what[:5]))
        return [
            Sum(Partition(region, product), month, customer, dimension, by_workload, int(quantity))
            for region, product, month, customer, dimension, by_workload, quantity in found
        ]

    async def size(self) -> Size:
        """See `Ledger.size`; on disk are the tables with their indexes."""
        records, rows = await self._ask(lambda db: db.fetchrow(COUNTS))
        size_bytes = await self._ask(lambda db: db.fetchval(BYTES, [*USAGE_TABLES, *REFERENCE_TABLES]))
        return Size(int(records), int(rows), size_bytes)

    async def documents(self, after: int | None) -> tuple[int, list[Document]]:
        """The revision and the documents changed behind another; where none is given, those that are not deleted."""
        found = await self._ask(lambda db: db.fetch(LOAD) if after is None else db.fetch(CHANGES, after))
        if after is not None and found[0][0] < after:
            raise LedgerFailure(
                f"the catalog is at revision {found[0][0]}, and this process has seen {after}: the database was played "
                "back, or a standby took over that had not seen all; start every server again"
            )
        return found[0][0], [Document(*document) for _, *document in found if document[0] is not None]

    async def partitions(self) -> list[Partition]:
        """Every partition that has a number."""
        return [Partition(*name) for name in await self._ask(lambda db: db.fetch(PARTITION_NAMES))]

    async def claims(self) -> list[Claim]:
        """Every claim, by partition, kind and key."""
        found = await self._ask(lambda db: db.fetch(ALL_CLAIMS))
        return [(Partition(region, product), ClaimKey(kind, key), value) for region, product, kind, key, value in found]

    async def _at_one_moment(self, read: Callable[[Connection], Awaitable[answer_type]]) -> answer_type:
        async def read_all(db: Connection) -> answer_type:
            async with db.transaction(isolation="repeatable_read", readonly=True):
                return await read(db)

        return await self._ask(read_all)

    async def _ask(self, read: Callable[[Connection], Awaitable[answer_type]]) -> answer_type:
        """What a read finds; asked again on a fresh connection where an idle one turns out to be dead."""
        for fresh in (False, True):
            try:
                async with self._connections.one(fresh=fresh) as db:
                    return await read(db)
            except FAILURES as error:
                meaning = meaning_of(error)
                if meaning is Meaning.BUSY:
                    raise Busy("the database did not answer in time") from error
                if meaning is Meaning.UNFIT or fresh:
                    raise failure_of(error) from error
        raise AssertionError("the second time returns or raises")


async def _entries(db: Connection, rows: Sequence[tuple[int, Partition, int, bytes]]) -> list[JournalEntry]:
    """Journal rows with their entries, given partition's number and name, position and body."""
    bodies = [unpack(body) for *_, body in rows]
    wanted = sorted({(row[0], number) for row, body in zip(rows, bodies, strict=True) for number in body.series})
    series: dict[int, dict[int, Series]] = {}
    if wanted:
        numbers: Sequence[Any] = list(zip(*wanted, strict=True))
        for partition, number, *identity in await db.fetch(NAMES, *numbers):
            series.setdefault(partition, {})[number] = Series(*identity)
    try:
        return [
            JournalEntry(partition, position, body.header, entries_of(body, series.get(number, {})))
            for (number, partition, position, _), body in zip(rows, bodies, strict=True)
        ]
    except KeyError as missing:
        raise LedgerFailure(f"the journal names a series that is not there ({missing})") from missing
