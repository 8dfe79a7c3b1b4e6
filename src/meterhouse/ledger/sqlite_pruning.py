"""What pruning asks of a SQLite ledger: on a connection of its own, in the process that has the ledger open.

That process serves nobody, so nobody is held up; the engine's writer keeps no usage meanwhile, and remembers nothing of
what is changed here that it would write again.
"""

import asyncio
from array import array
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import apsw
import msgspec

from meterhouse.core.usage import Partition
from meterhouse.ledger.packing import strip, unpack
from meterhouse.ledger.protocol import Ledger, LedgerFailure
from meterhouse.ledger.pruning import BATCH_RECORDS
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.ledger.sqlite_file import connect_to_write, failure_of, place_of_ledger
from meterhouse.ledger.sqlite_rows import Rows, fetch
from meterhouse.ledger.sqlite_schema import POSITION_BITS, SERIES_BITS

CARRIED_BATCHES: Final = 32
"""How many batches the log may hold before it is carried over: some tens of MB at most, however much is removed."""

_SERIES: Final = (1 << SERIES_BITS) - 1
_FIRST_KEY: Final = -(2**63)
_OLD: Final = f"""
    SELECT r.key, r.position, s.partition FROM usage_records AS r CROSS JOIN series AS s ON s.id = r.key & {_SERIES}
    WHERE r.key > ? AND r.key < ? AND s.dimension <> '' ORDER BY r.key LIMIT ?"""  # noqa: S608 - made of our own numbers
_COUNT: Final = f"""
    SELECT count(*) FROM usage_records AS r CROSS JOIN series AS s ON s.id = r.key & {_SERIES}
    WHERE r.key < ? AND s.dimension <> ''"""  # noqa: S608 - made of our own numbers
_BODIES: Final = "SELECT j.id, j.body FROM carray(?) AS wanted CROSS JOIN journal AS j ON j.id = wanted.value"
_REMOVE: Final = "DELETE FROM usage_records WHERE key IN (SELECT value FROM carray(?))"
_PUT_BODY: Final = "UPDATE journal SET body = ? WHERE id = ?"
_COUNT_DOWN: Final = "UPDATE partitions SET records = records - ? WHERE id = ?"
_CLAIMS: Final = "SELECT key, value FROM claims WHERE partition = ? AND kind = ? AND key > ? ORDER BY key LIMIT ?"
_FORGET: Final = Rows(
    "DELETE FROM claims WHERE (partition, kind, key) IN (SELECT column1, column2, column3 FROM ({values}))", 3
)

answer_type = TypeVar("answer_type")


@asynccontextmanager
async def open_prunable_sqlite(path: Path) -> AsyncIterator["PrunableSqlite"]:
    """A ledger's file, closed to servers meanwhile. Raises `CannotOpen`."""
    ledger = await open_sqlite(path)
    try:
        yield PrunableSqlite(ledger, path)
    finally:
        await ledger.close()


class _Batch(NamedTuple):
    last_key: int | None
    """The last key that was looked at; None: there was none more."""
    removed: int


class PrunableSqlite:
    """See `pruning.Prunable`."""

    def __init__(self, ledger: Ledger, path: Path) -> None:
        self.ledger = ledger
        self._path = place_of_ledger(path)
        self._batches = 0

    async def partitions(self) -> Sequence[Partition]:
        """See `pruning.Prunable`."""
        return list(await self._on_one(_numbers_of_partitions))

    async def count_before(self, hour: int) -> int:
        """See `pruning.Prunable`."""
        count: int = await self._on_one(lambda db: db.execute(_COUNT, (hour << SERIES_BITS,)).get)
        return count

    async def remove(self, hour: int, positions: Mapping[Partition, int]) -> AsyncIterator[int]:
        """See `pruning.Prunable`."""
        numbers = await self._on_one(_numbers_of_partitions)
        last = {numbers[partition]: position for partition, position in positions.items() if partition in numbers}
        db = await self._connected()
        try:
            after: int | None = _FIRST_KEY
            while after is not None:
                after, removed = await self._batch(db, partial(_remove_some, db, after, hour, last))
                if removed:
                    yield removed
        finally:
            db.close()

    async def forget(self, kind: str, is_old: Callable[[bytes], bool]) -> AsyncIterator[int]:
        """See `pruning.Prunable`."""
        numbers = await self._on_one(_numbers_of_partitions)
        db = await self._connected()
        try:
            for number in numbers.values():
                after: str | None = ""
                while after is not None:
                    after, forgotten = await self._batch(db, partial(_forget_some, db, number, kind, after, is_old))
                    if forgotten:
                        yield forgotten
        finally:
            db.close()

    async def _on_one(self, read: Callable[[apsw.Connection], answer_type]) -> answer_type:
        db = await self._connected()
        try:
            return await self._run(lambda: read(db))
        finally:
            db.close()

    async def _batch(self, db: apsw.Connection, job: Callable[[], answer_type]) -> answer_type:
        """A batch; now and then the log is carried over behind one, since here nobody else does that.

        Whoever prunes may do so for want of room, and the log would come to more than all that is removed.
        """
        done = await self._run(job)
        self._batches += 1
        if self._batches % CARRIED_BATCHES == 0:
            await self._run(partial(_carry_over, db))
        return done

    async def _connected(self) -> apsw.Connection:
        return await self._run(lambda: connect_to_write(self._path, ""))

    async def _run(self, job: Callable[[], answer_type]) -> answer_type:
        try:
            return await asyncio.to_thread(job)
        except apsw.Error as error:
            raise failure_of(error, self._path) from error
        except msgspec.MsgspecError as error:
            raise LedgerFailure(f"{self._path}: a journal row is damaged ({error})") from error


def _numbers_of_partitions(db: apsw.Connection) -> dict[Partition, int]:
    rows = fetch(db, "SELECT region, product, id FROM partitions")
    return {Partition(region, product): number for region, product, number in rows}


def _carry_over(db: apsw.Connection) -> None:
    with suppress(apsw.BusyError, apsw.LockedError):  # somebody else does so
        db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)


def _remove_some(db: apsw.Connection, after: int, hour: int, last: Mapping[int, int]) -> _Batch:
    """One transaction: the next old records, and all that is old in their rows of the journal."""
    found = fetch(db, _OLD, (after, hour << SERIES_BITS, BATCH_RECORDS))
    if not found:
        return _Batch(None, 0)
    rows = {
        (partition << POSITION_BITS) | position
        for _, position, partition in found
        if position <= last.get(partition, 0)
    }
    removed = 0
    with db:
        for number, body in fetch(db, _BODIES, (apsw.carray(array("q", rows)),)) if rows else ():
            removed += _strip_row(db, number, body, hour)
    return _Batch(found[-1][0], removed)


def _strip_row(db: apsw.Connection, number: int, body: bytes, hour: int) -> int:
    stripped, removed = strip(unpack(body), hour)
    keys = [(of_hour << SERIES_BITS) | series for of_hour, series in removed]
    if keys:
        db.execute(_REMOVE, (apsw.carray(array("q", keys)),))
        if db.changes() != len(keys):
            raise LedgerFailure(f"a row of the journal has {len(keys)} old records, and {db.changes()} are there")
        db.execute(_PUT_BODY, (stripped, number))
        db.execute(_COUNT_DOWN, (len(keys), number >> POSITION_BITS))
    return len(keys)


def _forget_some(
    db: apsw.Connection, partition: int, kind: str, after: str, is_old: Callable[[bytes], bool]
) -> tuple[str | None, int]:
    found = fetch(db, _CLAIMS, (partition, kind, after, BATCH_RECORDS))
    old = [(partition, kind, key) for key, value in found if is_old(value)]
    with db:
        _FORGET.insert(db, old)
    return (found[-1][0] if found else None), len(old)
