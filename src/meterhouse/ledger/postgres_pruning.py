"""What pruning asks of a PostgreSQL ledger, while servers keep usage in it.

A batch locks its partition's head as a turn does, and moves its version: a server that took itself for the partition's
owner finds that, and reads again. Turns of the partition wait for a batch as they wait for each other's groups.
"""

from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final, TypeVar

from meterhouse.core.usage import Partition
from meterhouse.ledger.packing import strip, unpack
from meterhouse.ledger.postgres import STATEMENT_SECONDS, open_postgres
from meterhouse.ledger.postgres_connections import FAILURES, Connection, Connections, Meaning, failure_of, meaning_of
from meterhouse.ledger.postgres_reader import READ_SECONDS
from meterhouse.ledger.postgres_statements import (
    CLAIMS_OF_KIND,
    COUNT_BEFORE,
    COUNT_DOWN,
    FORGET_CLAIMS,
    LOCK_HEAD,
    OLD_RECORDS,
    PARTITION_NUMBERS,
    PUT_ROW,
    REMOVE_RECORDS,
    ROWS_AT,
)
from meterhouse.ledger.protocol import Busy, Ledger, LedgerFailure
from meterhouse.ledger.pruning import BATCH_RECORDS

_FIRST: Final = (-(2**31), -(2**63))
_Place = tuple[int, int]
"""An hour and a series: where a batch ended."""

answer_type = TypeVar("answer_type")


@asynccontextmanager
async def open_prunable_postgres(url: str) -> AsyncIterator["PrunablePostgres"]:
    """A ledger in a database. Raises `CannotOpen`."""
    ledger = await open_postgres(url)
    reading, writing = Connections(url, 1, READ_SECONDS), Connections(url, 1, STATEMENT_SECONDS)
    try:
        yield PrunablePostgres(ledger, reading, writing)
    finally:
        await reading.close()
        await writing.close()
        await ledger.close()


class PrunablePostgres:
    """See `pruning.Prunable`."""

    def __init__(self, ledger: Ledger, reading: Connections, writing: Connections) -> None:
        self.ledger = ledger
        self._reading = reading
        self._writing = writing

    async def partitions(self) -> Sequence[Partition]:
        """See `pruning.Prunable`."""
        return list(await self._numbers())

    async def count_before(self, hour: int) -> int:
        """See `pruning.Prunable`."""
        count: int = await _run(self._reading, lambda db: db.fetchval(COUNT_BEFORE, hour))
        return count

    async def remove(self, hour: int, positions: Mapping[Partition, int]) -> AsyncIterator[int]:
        """See `pruning.Prunable`."""
        for partition, number in (await self._numbers()).items():
            after: _Place | None = _FIRST
            while after is not None:
                after, removed = await self._remove_some(number, after, hour, positions.get(partition, 0))
                if removed:
                    yield removed

    async def forget(self, kind: str, is_old: Callable[[bytes], bool]) -> AsyncIterator[int]:
        """See `pruning.Prunable`."""
        for number in (await self._numbers()).values():
            after = ""
            while found := await self._claims(number, kind, after):
                old = [key for key, value in found if is_old(value)]
                after = found[-1][0]
                if old:
                    await self._forget(number, kind, old)
                    yield len(old)

    async def _claims(self, number: int, kind: str, after: str) -> Sequence[tuple[str, bytes]]:
        found: Sequence[tuple[str, bytes]] = await _run(
            self._reading, lambda db: db.fetch(CLAIMS_OF_KIND, number, kind, after, BATCH_RECORDS)
        )
        return found

    async def _forget(self, number: int, kind: str, keys: Sequence[str]) -> None:
        await _run(self._writing, lambda db: db.execute(FORGET_CLAIMS, number, kind, keys))

    async def _numbers(self) -> dict[Partition, int]:
        found = await _run(self._reading, lambda db: db.fetch(PARTITION_NUMBERS))
        return {Partition(*name): number for number, *name in found}

    async def _remove_some(self, number: int, after: _Place, hour: int, last: int) -> tuple[_Place | None, int]:
        """One transaction: the next old records of a partition, and all that is old in their rows of the journal."""

        async def remove(db: Connection) -> tuple[_Place | None, int]:
            async with db.transaction():
                await db.execute(LOCK_HEAD, number)
                found = await db.fetch(OLD_RECORDS, number, *after, hour, BATCH_RECORDS)
                if not found:
                    return None, 0
                rows = sorted({position for *_, position, dimension in found if dimension and position <= last})
                ended = max((of_hour, series) for of_hour, series, *_ in found)
                return ended, await _strip_rows(db, number, rows, hour) if rows else 0

        return await _run(self._writing, remove)


async def _strip_rows(db: Connection, number: int, rows: Sequence[int], hour: int) -> int:
    bodies: list[tuple[int, int, bytes]] = []
    of_hours: defaultdict[int, list[int]] = defaultdict(list)
    for position, body in await db.fetch(ROWS_AT, number, rows):
        stripped, removed = strip(unpack(body), hour)
        bodies.append((number, position, stripped))
        for of_hour, series in removed:
            of_hours[of_hour].append(series)
    for of_hour, numbers in sorted(of_hours.items()):
        done = await db.execute(REMOVE_RECORDS, number, of_hour, sorted(numbers))
        if done != f"DELETE {len(numbers)}":
            raise LedgerFailure(f"the journal has {len(numbers)} records of an hour, and the table answered {done}")
    await db.executemany(PUT_ROW, bodies)
    count = sum(map(len, of_hours.values()))
    await db.execute(COUNT_DOWN, number, count)
    return count


async def _run(connections: Connections, call: Callable[[Connection], Awaitable[answer_type]]) -> answer_type:
    """What a call on a connection that is alive gives. Raises `Busy` and `LedgerFailure`."""
    try:
        async with connections.one_alive() as db:
            return await call(db)
    except FAILURES as error:
        if meaning_of(error) in (Meaning.BUSY, Meaning.AGAIN):
            raise Busy("the database did not answer in time") from error
        raise failure_of(error) from error
