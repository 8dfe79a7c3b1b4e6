"""The reading side of the SQLite engine: a connection of its own, in a thread of its own, beside the writer.

In WAL mode a reader sees the file as it was when its transaction began and stops nobody. But while it lasts, the log
cannot be begun anew, and other reads wait for the thread. So whatever may be long is read in slices, each a short job
that says where the next begins.
"""

from array import array
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple, TypeVar

import apsw

from meterhouse.core.moment import HOUR, month_of_hour, month_start_of_hour
from meterhouse.core.usage import Partition, Series
from meterhouse.ledger.packing import Body, entries_of, unpack
from meterhouse.ledger.protocol import Cursor, Document, JournalEntry, RecordFilter
from meterhouse.ledger.select import hours_of, wants_row
from meterhouse.ledger.sqlite_beside import Beside
from meterhouse.ledger.sqlite_rows import fetch
from meterhouse.ledger.sqlite_schema import POSITION_BITS, SERIES_BITS

SLICE_ROWS: Final = 512
"""Journal rows read at a time."""
SLICE_PLACES: Final = 4096
"""Places in the order of all journals looked at in one go, where only some partitions are asked for."""
SLICE_RECORDS: Final = 200_000
"""Usage records added up at a time, without the interpreter's lock."""
SLICE_SERIES: Final = 20_000
"""Series named at a time."""

SumOfSeries = tuple[str, int]
"""A month and the number of a series."""
SumKey = tuple[Partition, str, str, str, bool]
"""The members of a `Sum` before the quantity."""

NO_SERIES: Final = 0
"""The number of none; an array for SQLite must not be empty."""

_POSITION: Final = (1 << POSITION_BITS) - 1
_SERIES_MASK: Final = (1 << SERIES_BITS) - 1
_KEY_LIMIT: Final = 1 << 62
"""Above every key, and its negative below."""
_LAST_HOUR: Final = 70_389_527
"""Of the year 9999."""
_INT64_MAX: Final = 2**63 - 1

_SCAN: Final = f"""
    SELECT j.id, p.region, p.product, j.body FROM partitions AS p CROSS JOIN journal AS j
    ON j.id > (p.id << {POSITION_BITS}) + ? AND j.id < (p.id + 1) << {POSITION_BITS}
    WHERE p.region = ? AND p.product = ? ORDER BY j.id LIMIT ?"""  # noqa: S608 - made of our own numbers and texts
_PLACE_BEYOND: Final = """
    SELECT received_micros FROM journal WHERE received_micros >= ? ORDER BY received_micros LIMIT 1 OFFSET ?"""
_HISTORY: Final = f"""
    SELECT j.id, p.region, p.product, j.body
    FROM journal AS j INDEXED BY journal_by_received CROSS JOIN partitions AS p ON p.id = j.id >> {POSITION_BITS}
    WHERE j.received_micros >= :since AND j.received_micros < :end
    AND (j.received_micros, p.region, p.product, j.id & {_POSITION}) >
        (:received, :after_region, :after_product, :position)
    AND p.region = ifnull(:region, p.region) AND p.product = ifnull(:product, p.product)
    ORDER BY j.received_micros, p.region, p.product, j.id LIMIT :limit"""  # noqa: S608 - made of our own numbers and texts
_SERIES_WANTED: Final = """
    s.customer = ifnull(:customer, s.customer) AND s.license = ifnull(:license, s.license)
    AND s.dimension = ifnull(:dimension, s.dimension)"""
_WANTED_SERIES: Final = f"""
    SELECT s.id FROM carray(:numbers) AS wanted CROSS JOIN series AS s ON s.id = wanted.value WHERE {_SERIES_WANTED}"""  # noqa: S608 - made of our own numbers and texts
_SERIES: Final = """
    SELECT s.id, s.license, s.customer, s.dimension, s.workload, s.token
    FROM carray(?) AS wanted CROSS JOIN series AS s ON s.id = wanted.value"""
_KEY_BEYOND: Final = "SELECT key FROM usage_records WHERE key >= ? AND key < ? ORDER BY key LIMIT 1 OFFSET ?"
_FIRST_KEY: Final = "SELECT min(key) FROM usage_records WHERE key >= ? AND key < ?"
_SUMS: Final = f"""
    SELECT r.key & {_SERIES_MASK}, sum(r.quantity_micros >> 32), sum(r.quantity_micros & 4294967295)
    FROM usage_records AS r WHERE r.key >= :start AND r.key < :end GROUP BY r.key & {_SERIES_MASK}"""  # noqa: S608 - made of our own numbers and texts
"""Quantities are added up in two halves of 32 bits: a sum of 64 bits could overflow, and a float is not exact."""
_SUMS_OF_WANTED: Final = _SUMS.replace(
    "WHERE",
    f"""CROSS JOIN series AS s ON s.id = r.key & {_SERIES_MASK} CROSS JOIN partitions AS p ON p.id = s.partition
    WHERE p.region = ifnull(:region, p.region) AND p.product = ifnull(:product, p.product) AND {_SERIES_WANTED} AND""",
)
_SERIES_AND_PARTITIONS: Final = """
    SELECT s.id, p.region, p.product, s.customer, s.dimension, s.workload <> ''
    FROM carray(?) AS wanted CROSS JOIN series AS s ON s.id = wanted.value
    CROSS JOIN partitions AS p ON p.id = s.partition"""


answer_type = TypeVar("answer_type")


class HistorySlice(NamedTuple):
    """Some rows in order, and the instant from which on to look for more; None where there are none."""

    rows: Sequence[JournalEntry]
    rest: int | None


class Reader(Beside):
    """The reading connection. All methods but `close` belong to one thread.

    They raise `apsw.Error` and `msgspec.MsgspecError`.
    """

    def within_one_transaction(self, read: Callable[[], answer_type]) -> answer_type:
        """What a read of this reader finds, all of it as it was at one moment: rows and series that belong together."""
        with self._alone, self._db:
            found = read()
        return found

    def scan(self, partition: Partition, after: int, limit: int) -> Sequence[JournalEntry]:
        """The first slice of `Ledger.scan`; what is shorter than a slice and the limit is all there is."""
        rows = fetch(self._db, _SCAN, (min(max(after, 0), _POSITION), *partition, min(limit, SLICE_ROWS)))
        return self._entries([_row(*row) for row in rows])

    def history(self, what: RecordFilter, after: Cursor | None, since: int, limit: int) -> HistorySlice:
        """A slice of `Ledger.history`: of the rows received at `since` or later, those behind `after`."""
        places = SLICE_ROWS if what.region is None and what.product is None else SLICE_PLACES
        beyond: int | None = self._db.execute(_PLACE_BEYOND, (since, places)).get
        end = _INT64_MAX if beyond is None else beyond + 1  # rows received at one instant stay together
        found = fetch(
            self._db,
            _HISTORY,
            {
                **_behind(after),
                "since": since,
                "end": end,
                "region": what.region,
                "product": what.product,
                "limit": -1 if what.judges_records else limit,
            },
        )
        rows = [_row(*row) for row in found]
        if what.judges_records:
            entries = [row for row in self._entries(self._candidates(what, rows)) if wants_row(what, row.entries)]
        else:
            entries = self._entries(rows)
        return HistorySlice(entries[:limit], None if beyond is None else end)

    def add_up(self, what: RecordFilter, since: int | None, totals: dict[SumOfSeries, int]) -> int | None:
        """Adds a slice of records, those with keys from `since` on, to `totals`: at most a month's.

        Returns the key from which on there are more, None where there are none.
        """
        first, last = (None if hour is None else _key_of_hour(hour) for hour in hours_of(what))
        limit = _KEY_LIMIT if last is None else last
        since = since if since is not None else -_KEY_LIMIT if first is None else first
        start: int | None = self._db.execute(_FIRST_KEY, (since, limit)).get
        if start is None:
            return None
        hour = start >> SERIES_BITS
        month, limit = month_of_hour(hour), min(limit, _key_of_hour(_next_month(hour)))
        beyond: int | None = self._db.execute(_KEY_BEYOND, (start, limit, SLICE_RECORDS)).get
        end = limit if beyond is None else beyond
        if all(value is None for value in what[:5]):
            found = fetch(self._db, _SUMS, {"start": start, "end": end})
        else:
            wanted = {**_wanted(what), "region": what.region, "product": what.product}
            found = fetch(self._db, _SUMS_OF_WANTED, {**wanted, "start": start, "end": end})
        for number, high, low in found:
            totals[month, number] = totals.get((month, number), 0) + (high << 32) + low
        return end

    def name(self, totals: Sequence[tuple[SumOfSeries, int]], sums: dict[SumKey, int]) -> None:
        """Adds sums of series to those of what the series stand for."""
        numbers = apsw.carray(array("q", {number for (_, number), _ in totals}))
        named = {number: rest for number, *rest in fetch(self._db, _SERIES_AND_PARTITIONS, (numbers,))}
        for (month, number), quantity_micros in totals:
            if number not in named:
                continue  # the ledger was emptied meanwhile
            region, product, customer, dimension, by_workload = named[number]
            key = Partition(region, product), month, customer, dimension, bool(by_workload)
            sums[key] = sums.get(key, 0) + quantity_micros

    def counts(self) -> tuple[int, int]:
        """How many records and journal rows there are."""
        records, rows = self._db.execute(
            "SELECT ifnull(sum(records), 0), ifnull(sum(last_position), 0) FROM partitions"
        ).get
        return records, rows

    def documents(self, after: int | None) -> tuple[int, Sequence[Document]]:
        """The revision, and the documents changed behind another; where none is given, those that are not deleted."""
        revision: int = self._db.execute("SELECT revision FROM catalog").get
        if after is None:
            rows = fetch(self._db, "SELECT kind, key, body FROM documents WHERE body IS NOT NULL")
        else:
            rows = fetch(self._db, "SELECT kind, key, body FROM documents WHERE revision > ?", (after,))
        return revision, [Document(*row) for row in rows]

    def _candidates(self, what: RecordFilter, rows: Sequence["_Row"]) -> Sequence["_Row"]:
        """The rows with at least one record of a wanted series: told from the numbers, which cost little to read."""
        if what.customer is None and what.license is None and what.dimension is None:
            return rows
        found = fetch(self._db, _WANTED_SERIES, {**_wanted(what), "numbers": _numbers_in(rows)})
        wanted = {number for (number,) in found}
        return [row for row in rows if not wanted.isdisjoint(row.body.series)]

    def _entries(self, rows: Sequence["_Row"]) -> list[JournalEntry]:
        if not rows:
            return []
        found = fetch(self._db, _SERIES, (_numbers_in(rows),))
        series = {number: Series(*identity) for number, *identity in found}
        return [
            JournalEntry(
                Partition(row.region, row.product), row.id & _POSITION, row.body.header, entries_of(row.body, series)
            )
            for row in rows
        ]


class _Row(NamedTuple):
    id: int
    region: str
    product: str
    body: Body


def _row(number: int, region: str, product: str, body: bytes) -> _Row:
    return _Row(number, region, product, unpack(body))


def _numbers_in(rows: Iterable[_Row]) -> "apsw.CArrayBinding":
    numbers = {number for row in rows for number in row.body.series}
    return apsw.carray(array("q", numbers or {NO_SERIES}))


def _behind(after: Cursor | None) -> dict[str, int | str]:
    if after is None:
        return {"received": -_INT64_MAX, "after_region": "", "after_product": "", "position": 0}
    return {
        "received": after.received_micros,
        "after_region": after.region,
        "after_product": after.product,
        "position": after.position,
    }


def _wanted(what: RecordFilter) -> dict[str, str | None]:
    return {"customer": what.customer, "license": what.license, "dimension": what.dimension}


def _next_month(hour: int) -> int:
    """The first hour of the month after that of an hour; where the calendar ends, an hour beyond it."""
    later = month_start_of_hour(hour) // HOUR + 32 * 24
    return month_start_of_hour(later) // HOUR if later <= _LAST_HOUR else later


def _key_of_hour(hour: int) -> int:
    """The least key of an hour; of one far outside the years 1-9999, the least or greatest of all."""
    return max(-_KEY_LIMIT, min(hour << SERIES_BITS, _KEY_LIMIT))
