"""The embedded engine: one SQLite file.

Theory
    One thread writes (`sqlite_writer`), one reads (`sqlite_reader`), one carries the log over into the file
    (`sqlite_carrying`); the event loop waits for them and is stopped by none. The file is in WAL mode with
    `synchronous=FULL`: a commit is synced before it is acknowledged, readers see a fixed picture and stop nobody. Turns
    are gathered (`gather`), so under load one sync serves many.

    Records have time-first integer keys (`sqlite_schema`), so inserts stay at the right edge of their table and cost
    the same at ten million rows as at none. What repeats hour after hour, the series, is stored once.

    `sqlite_file` says whose file it is: one server at a time; a reader such as a backup may look at any time.
"""

from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TypeVar

import apsw
import msgspec

from meterhouse.core.usage import Partition
from meterhouse.ledger.gather import GROUP_TURNS, QUEUE_TURNS, WAIT_SECONDS, Gather, OnGroup, tell_nobody
from meterhouse.ledger.judge import Turn, Verdict
from meterhouse.ledger.protocol import (
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
    Sum,
    View,
)
from meterhouse.ledger.sqlite_carrying import Carrier, Carrying
from meterhouse.ledger.sqlite_file import (
    Lock,
    connect_to_carry,
    connect_to_read,
    connect_to_write,
    failure_of,
    meaning_of,
    place_of_ledger,
)
from meterhouse.ledger.sqlite_reader import SLICE_ROWS, SLICE_SERIES, Reader, SumKey, SumOfSeries
from meterhouse.ledger.sqlite_writer import Writer
from meterhouse.ledger.worker import Worker

answer_type = TypeVar("answer_type")


async def open_sqlite(
    path: Path,
    *,
    group_turns: int = GROUP_TURNS,
    queue_turns: int = QUEUE_TURNS,
    wait_seconds: float = WAIT_SECONDS,
    on_group: OnGroup = tell_nobody,
    vfs: str = "",
) -> Ledger:
    """The ledger in a file, made where there is none and brought up to date where it is older; `CannotOpen` otherwise.

    The bounds are those of `Gather`. `vfs` names the SQLite virtual file system to use, empty for the usual one.
    """
    path = place_of_ledger(path)
    lock = Lock(path)
    writing, reading = Worker("meterhouse-ledger-writer"), Worker("meterhouse-ledger-reader")
    reader, carrier = Reader(partial(connect_to_read, path, vfs)), Carrier(partial(connect_to_carry, path, vfs))
    try:
        writer = await writing.run(lambda: Writer(partial(_connect, path, vfs, (carrier, reader))))
    except BaseException as error:
        await writing.close()
        await reading.close()
        lock.release()
        if isinstance(error, apsw.Error):
            raise CannotOpen(f"{path}: {meaning_of(error)}") from error
        raise
    gather = partial(
        Gather, group_turns=group_turns, queue_turns=queue_turns, wait_seconds=wait_seconds, on_group=on_group
    )
    return SqliteLedger(path, lock, writing, writer, reading, reader, carrier, gather)


def _connect(path: Path, vfs: str, others: Sequence[Reader | Carrier]) -> apsw.Connection:
    """The writer's connection, made while nobody else has one: `sqlite_carrying` says why."""
    with ExitStack() as apart:
        for other in others:
            apart.enter_context(other.apart())
        return connect_to_write(path, vfs)


class SqliteLedger:
    """See `Ledger`."""

    def __init__(
        self,
        path: Path,
        lock: Lock,
        writing: Worker,
        writer: Writer,
        reading: Worker,
        reader: Reader,
        carrier: Carrier,
        gather: Callable[..., Gather],
    ) -> None:
        self._path = path
        self._lock = lock
        self._writing = writing
        self._writer = writer
        self._reading = reading
        self._reader = reader
        self._carrier = carrier
        self._carrying = Worker("meterhouse-ledger-carrier")
        self._carryings = Carrying(
            partial(self._carrying.run, carrier.carry),
            partial(writing.run, writer.carry_rest),
            partial(writing.run, writer.connect_anew),
            lambda: writer.log_pages,
        )
        self._gather = gather(self._keep)
        self._closed = False

    async def turn(
        self, partition: Partition, keys: Keys, decide: Callable[[View], Decision], *, revision: int
    ) -> Decision:
        """See `Ledger.turn`."""
        return await self._gather.turn(Turn(partition, keys, decide, revision))

    async def scan(self, partition: Partition, *, after: int, limit: int) -> Sequence[JournalEntry]:
        """See `Ledger.scan`."""
        found: list[JournalEntry] = []
        while len(found) < limit:
            wanted = min(limit - len(found), SLICE_ROWS)
            rows = await self._read(partial(self._reader.scan, partition, after, wanted))
            found.extend(rows)
            if len(rows) < wanted:
                break
            after = rows[-1].position
        return found

    async def history(self, what: RecordFilter, *, after: Cursor | None, limit: int) -> Sequence[JournalEntry]:
        """See `Ledger.history`."""
        found: list[JournalEntry] = []
        since: int | None = -(2**62) if after is None else after.received_micros
        while since is not None and len(found) < limit:
            part = await self._read(partial(self._reader.history, what, after, since, limit - len(found)))
            found.extend(part.rows)
            since = part.rest
        return found

    async def sums(self, what: RecordFilter) -> Sequence[Sum]:
        """See `Ledger.sums`."""
        totals: dict[SumOfSeries, int] = {}
        rest = await self._read(partial(self._reader.add_up, what, None, totals))
        while rest is not None:
            rest = await self._read(partial(self._reader.add_up, what, rest, totals))
        sums: dict[SumKey, int] = {}
        unnamed = iter(totals.items())
        while part := list(islice(unnamed, SLICE_SERIES)):
            await self._read(partial(self._reader.name, part, sums))
        return await self._read(lambda: [Sum(*key, quantity) for key, quantity in sorted(sums.items())])

    async def size(self) -> Size:
        """See `Ledger.size`; on disk are the file and its log."""
        records, rows = await self._read(self._reader.counts)
        return Size(records, rows, _bytes_of(self._path) + _bytes_of(self._path.with_name(self._path.name + "-wal")))

    async def load(self) -> tuple[int, Sequence[Document]]:
        """See `Ledger.load`."""
        return await self._read(partial(self._reader.documents, None))

    async def changes(self, after: int) -> tuple[int, Sequence[Document]]:
        """See `Ledger.changes`."""
        return await self._read(partial(self._reader.documents, after))

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """See `Ledger.change`."""
        return await self._write(partial(self._writer.change, documents, expected))

    async def reset(self) -> None:
        """See `Ledger.reset`."""
        await self._write(self._writer.reset)

    async def close(self) -> None:
        """See `Ledger.close`."""
        await self._gather.close()
        if self._closed:
            return
        self._closed = True
        await self._carryings.close()
        await self._carrying.run(self._carrier.close)
        await self._carrying.close()
        await self._reading.run(self._reader.close)
        await self._reading.close()
        try:
            await self._writing.run(self._writer.close)
        finally:
            await self._writing.close()
            self._lock.release()

    async def _keep(self, turns: Sequence[Turn]) -> Sequence[Verdict]:
        return await self._write(partial(self._writer.keep, turns))

    async def _write(self, job: Callable[[], answer_type]) -> answer_type:
        answer = await self._run(self._writing, job)
        self._carryings.look()
        return answer

    async def _read(self, job: Callable[[], answer_type]) -> answer_type:
        try:
            return await self._run(self._reading, partial(self._reader.within_one_transaction, job))
        except LedgerFailure:
            if not self._closed:
                await self._reading.run(self._reader.close)
            raise

    async def _run(self, worker: Worker, job: Callable[[], answer_type]) -> answer_type:
        if self._closed:
            raise LedgerFailure("the ledger is closed")
        try:
            return await worker.run(job)
        except apsw.Error as error:
            raise failure_of(error, self._path) from error
        except msgspec.MsgspecError as error:
            raise LedgerFailure(f"{self._path}: a journal row is damaged ({error})") from error
        except CannotOpen as error:
            raise LedgerFailure(str(error)) from error


def _bytes_of(path: Path) -> int:
    with suppress(FileNotFoundError):
        return path.stat().st_size
    return 0
