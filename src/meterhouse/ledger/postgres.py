"""The engine for many server processes: one PostgreSQL database, or one that distributes by partition.

Theory
    All that a process remembers can be read again: processes come and go, and none knows of the others. A partition's
    head row gives its turns their order (`postgres_writer`), the catalog's row its changes theirs. Turns are gathered
    as for the other engines (`gather`), in one lane per partition: lanes are written at the same time, on a few
    connections. Reads have connections of their own (`postgres_reader`).

    What was acknowledged was committed with `synchronous_commit` on; a database that is set otherwise is not opened.
"""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from meterhouse.core.usage import Partition
from meterhouse.ledger.copying import Claim
from meterhouse.ledger.gather import GROUP_TURNS, QUEUE_TURNS, WAIT_SECONDS, Gather, OnGroup, tell_nobody
from meterhouse.ledger.judge import Turn
from meterhouse.ledger.postgres_connections import (
    FAILURES,
    Connections,
    Meaning,
    cannot_open,
    connect,
    failure_of,
    meaning_of,
    without_password,
)
from meterhouse.ledger.postgres_migrations import check, migrate
from meterhouse.ledger.postgres_reader import READ_SECONDS, Reader
from meterhouse.ledger.postgres_statements import (
    ADD_HEAD,
    ALL_PARTITIONS,
    ALONE,
    EMPTY,
    EMPTY_HEAD,
    LOCK_HEAD,
    MOVE_REVISION,
    PUT_DOCUMENTS,
    REVISION,
)
from meterhouse.ledger.postgres_writer import Writer
from meterhouse.ledger.protocol import (
    Busy,
    CannotOpen,
    Cursor,
    Decision,
    Document,
    JournalEntry,
    Keys,
    Ledger,
    LedgerFailure,
    RecordFilter,
    Size,
    Stale,
    Sum,
    View,
)

answer_type = TypeVar("answer_type")

WRITING_CONNECTIONS: Final = 4
READING_CONNECTIONS: Final = 2
"""The most that one process opens."""
STATEMENT_SECONDS: Final = 5.0
"""The longest that a statement of a turn may take, waiting for its partition included: then the turn is `Busy`."""


async def open_postgres(
    url: str,
    *,
    group_turns: int = GROUP_TURNS,
    queue_turns: int = QUEUE_TURNS,
    wait_seconds: float = WAIT_SECONDS,
    on_group: OnGroup = tell_nobody,
    statement_seconds: float = STATEMENT_SECONDS,
) -> "PostgresLedger":
    """The ledger in a database, made where that is empty; `CannotOpen` where it is older, newer, or cannot be reached.

    The bounds are those of `Gather`.
    """
    await _prepare(url)
    writing = Connections(url, WRITING_CONNECTIONS, statement_seconds)
    reading = Connections(url, READING_CONNECTIONS, READ_SECONDS)
    writer = Writer(writing)
    gather = Gather(
        writer.keep,
        lane_of=lambda partition: partition,
        group_turns=group_turns,
        queue_turns=queue_turns,
        wait_seconds=wait_seconds,
        on_group=on_group,
    )
    return PostgresLedger(gather, writing, reading)


async def _prepare(url: str) -> None:
    try:
        db = await connect(url, {})
    except (*FAILURES, ValueError) as error:
        raise cannot_open(url, error) from error
    try:
        if await db.fetchval("SELECT current_setting('synchronous_commit')") == "off":
            raise CannotOpen(
                f"{without_password(url)}: synchronous_commit is off: what was acknowledged could be lost; set it to on"
            )
        if not await check(db, url):
            await migrate(url)
    except FAILURES as error:
        raise cannot_open(url, error) from error
    finally:
        db.terminate()


class PostgresLedger:
    """See `Ledger`."""

    def __init__(self, gather: Gather, writing: Connections, reading: Connections) -> None:
        self._gather = gather
        self._writing = writing
        self._reading = reading
        self._reader = Reader(reading)
        self._closed = False

    async def turn(
        self, partition: Partition, keys: Keys, decide: Callable[[View], Decision], *, revision: int
    ) -> Decision:
        """See `Ledger.turn`."""
        return await self._gather.turn(Turn(partition, keys, decide, revision))

    async def scan(self, partition: Partition, *, after: int, limit: int) -> Sequence[JournalEntry]:
        """See `Ledger.scan`."""
        return await self._open_reader.scan(partition, after, limit)

    async def history(self, what: RecordFilter, *, after: Cursor | None, limit: int) -> Sequence[JournalEntry]:
        """See `Ledger.history`."""
        return await self._open_reader.history(what, after, limit)

    async def sums(self, what: RecordFilter) -> Sequence[Sum]:
        """See `Ledger.sums`."""
        return await self._open_reader.sums(what)

    async def size(self) -> Size:
        """See `Ledger.size`."""
        return await self._open_reader.size()

    async def load(self) -> tuple[int, Sequence[Document]]:
        """See `Ledger.load`."""
        return await self._open_reader.documents(None)

    async def changes(self, after: int) -> tuple[int, Sequence[Document]]:
        """See `Ledger.changes`."""
        return await self._open_reader.documents(after)

    @property
    def ledger(self) -> Ledger:
        """See `copying.Place`."""
        return self

    async def partitions(self) -> Sequence[Partition]:
        """See `copying.Place`."""
        return await self._open_reader.partitions()

    async def claims(self) -> Sequence[Claim]:
        """See `copying.Place`."""
        return await self._open_reader.claims()

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """See `Ledger.change`.

        Where the database does not say what became of it this fails, though it may have been kept: whoever asks again
        finds the revision moved, and looks.
        """
        last = {(document.kind, document.key): document.body for document in documents}
        columns = tuple(zip(*((*place, body) for place, body in last.items()), strict=True)) or ((), (), ())

        async def change_once() -> int:
            async with self._writing.one_alive() as db:
                await db.execute(f"BEGIN; {ALONE}")
                if await db.execute(MOVE_REVISION, expected) != "UPDATE 1":
                    found = await db.fetchval(REVISION)
                    raise Stale(f"the catalog is at revision {found}, not {expected}")
                await db.execute(PUT_DOCUMENTS, *columns, expected + 1)
                await db.execute("COMMIT")
                return expected + 1

        return await self._run(change_once)

    async def reset(self) -> None:
        """See `Ledger.reset`. Partitions keep their numbers, and their heads."""

        async def reset_once() -> None:
            async with self._writing.one_alive() as db, db.transaction():
                numbers = [number for (number,) in await db.fetch(ALL_PARTITIONS)]
                for number in numbers:
                    await db.execute(ADD_HEAD, number)  # what is not there cannot be locked
                    await db.execute(LOCK_HEAD, number)
                for number in numbers:
                    for statement in (*EMPTY, EMPTY_HEAD):
                        await db.execute(statement, number)

        await self._run(reset_once)

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._gather.close()
        self._closed = True
        await self._writing.close()
        await self._reading.close()

    @property
    def _open_reader(self) -> Reader:
        if self._closed:
            raise LedgerFailure("the ledger is closed")
        return self._reader

    async def _run(self, call: Callable[[], Awaitable[answer_type]]) -> answer_type:
        if self._closed:
            raise LedgerFailure("the ledger is closed")
        try:
            return await call()
        except FAILURES as error:
            if meaning_of(error) in (Meaning.BUSY, Meaning.AGAIN):
                raise Busy("the database did not answer in time") from error
            raise failure_of(error) from error
