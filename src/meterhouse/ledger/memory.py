"""The reference engine: dictionaries, gone when the process is.

It is shipped, for tests and for trying things out, and it is the measure of the other engines: what it does is what
they must do. Everything happens on the event loop between two awaits, so a group is atomic by nature.
"""

import bisect
from collections import defaultdict
from collections.abc import Callable, Sequence

from meterhouse.core.moment import month_of_hour
from meterhouse.core.usage import ClaimKey, Kept, Partition, RecordKey
from meterhouse.ledger.gather import GROUP_TURNS, QUEUE_TURNS, WAIT_SECONDS, Gather, OnGroup, tell_nobody
from meterhouse.ledger.judge import Sight, Turn, Verdict, judge
from meterhouse.ledger.protocol import (
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
from meterhouse.ledger.select import hours_of, place_of, wants_partition, wants_row, wants_series


async def open_memory(
    *,
    group_turns: int = GROUP_TURNS,
    queue_turns: int = QUEUE_TURNS,
    wait_seconds: float = WAIT_SECONDS,
    on_group: OnGroup = tell_nobody,
) -> Ledger:
    """A new, empty ledger in memory; the bounds are those of `Gather`."""
    return MemoryLedger(group_turns=group_turns, queue_turns=queue_turns, wait_seconds=wait_seconds, on_group=on_group)


class MemoryLedger:
    """See `Ledger`."""

    def __init__(self, *, group_turns: int, queue_turns: int, wait_seconds: float, on_group: OnGroup) -> None:
        self._gather = Gather(
            self._write,
            group_turns=group_turns,
            queue_turns=queue_turns,
            wait_seconds=wait_seconds,
            on_group=on_group,
        )
        self._records: dict[Partition, dict[RecordKey, Kept]] = {}
        self._claims: dict[Partition, dict[ClaimKey, bytes]] = {}
        self._journals: dict[Partition, list[JournalEntry]] = {}
        self._order: list[tuple[Cursor, JournalEntry]] = []
        self._revision = 0
        self._documents: dict[tuple[str, str], tuple[int, Document]] = {}
        self._closed = False

    async def turn(
        self, partition: Partition, keys: Keys, decide: Callable[[View], Decision], *, revision: int
    ) -> Decision:
        """See `Ledger.turn`."""
        return await self._gather.turn(Turn(partition, keys, decide, revision))

    async def scan(self, partition: Partition, *, after: int, limit: int) -> Sequence[JournalEntry]:
        """See `Ledger.scan`."""
        self._require_open()
        rows = self._journals.get(partition, [])
        return rows[after : after + limit]

    async def history(self, what: RecordFilter, *, after: Cursor | None, limit: int) -> Sequence[JournalEntry]:
        """See `Ledger.history`."""
        self._require_open()
        start = 0 if after is None else bisect.bisect_right(self._order, after, key=_place)
        found: list[JournalEntry] = []
        for _, row in self._order[start:]:
            if len(found) >= limit:
                break
            if wants_partition(what, row.partition) and wants_row(what, row.entries):
                found.append(row)
        return found

    async def sums(self, what: RecordFilter) -> Sequence[Sum]:
        """See `Ledger.sums`."""
        self._require_open()
        first, end = hours_of(what)
        sums: defaultdict[tuple[Partition, str, str, str, bool], int] = defaultdict(int)
        for partition, records in self._records.items():
            if not wants_partition(what, partition):
                continue
            for key, kept in records.items():
                hour, series = key.hour, key.series
                if (first is None or first <= hour) and (end is None or hour < end) and wants_series(what, series):
                    kind = bool(series.workload)
                    sums[partition, month_of_hour(hour), series.customer, series.dimension, kind] += (
                        kept.quantity_micros
                    )
        return [Sum(*key, quantity) for key, quantity in sorted(sums.items())]

    async def size(self) -> Size:
        """See `Ledger.size`; nothing of it is on a disk."""
        self._require_open()
        records = sum(len(records) for records in self._records.values())
        return Size(records, len(self._order), 0)

    async def load(self) -> tuple[int, Sequence[Document]]:
        """See `Ledger.load`."""
        self._require_open()
        return self._revision, [document for _, document in self._documents.values() if document.body is not None]

    async def changes(self, after: int) -> tuple[int, Sequence[Document]]:
        """See `Ledger.changes`."""
        self._require_open()
        return self._revision, [document for revision, document in self._documents.values() if revision > after]

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """See `Ledger.change`."""
        self._require_open()
        if expected != self._revision:
            raise Stale(f"the catalog is at revision {self._revision}, not {expected}")
        self._revision += 1
        for document in documents:
            self._documents[document.kind, document.key] = self._revision, document
        return self._revision

    async def reset(self) -> None:
        """See `Ledger.reset`."""
        self._require_open()
        self._records.clear()
        self._claims.clear()
        self._journals.clear()
        self._order.clear()

    async def close(self) -> None:
        """See `Ledger.close`; what was kept is gone."""
        await self._gather.close()
        self._closed = True

    async def _write(self, turns: Sequence[Turn]) -> Sequence[Verdict]:
        sights = {turn.partition: self._sight(turn.partition) for turn in turns}
        judged = judge(turns, sights, self._revision)
        for row in judged.rows:
            if row.entries:
                kept = {entry.key: Kept(entry.quantity_micros, entry.record_id) for entry in row.entries}
                self._records.setdefault(row.partition, {}).update(kept)
        for partition, key, value in judged.claims:
            self._claims.setdefault(partition, {})[key] = value
        for row in judged.rows:
            self._journals.setdefault(row.partition, []).append(row)
            bisect.insort(self._order, (place_of(row), row), key=_place)
        return judged.verdicts

    def _sight(self, partition: Partition) -> Sight:
        position = len(self._journals.get(partition, ()))
        return Sight(position, self._records.get(partition, {}), self._claims.get(partition, {}))

    def _require_open(self) -> None:
        if self._closed:
            raise LedgerFailure("the ledger is closed")


def _place(entry: tuple[Cursor, JournalEntry]) -> Cursor:
    return entry[0]
