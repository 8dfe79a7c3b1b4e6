"""Removing old months from a ledger, after their export and never without it.

What is removed: usage records of whole months, their entries in the journal, and what ClientTokens of these months were
bound to. What stays: every journal row with its head, so that positions have no gap and every reader's place stays
valid; what RegisterUsage began (a task may still run, and its metering is computed from its registration); a workload's
first success; series; the catalog.

    export ──▶ synced, read back, compared ──▶ the mark is kept ──▶ removed, batch by batch ──▶ the mark says done

- Until the mark is kept nothing is changed. It names the export by its digest, and hides what is older from readers.
- Interrupted at any point, the same command goes on where it ended: an export that is there is read again instead of
  written; after the mark, only the export that it names will do.
- A batch takes records from the table, from their rows of the journal and from the counts, in one transaction: so the
  two accounts of usage agree at any moment, as `backup` and `copy` check.
- Only what the export has is removed: rows behind the last position that it saw are left alone. None of these can hold
  anything so old, because a month is pruned two days after its end at the earliest, and no window is longer than one
  (`core.profile`). By a clock that was moved it could, so a ledger with one is refused.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from meterhouse.core.decide.meter_usage import TOKEN_CLAIM, hour_of_token
from meterhouse.core.moment import HOUR, SECOND, month_of_hour, rfc3339
from meterhouse.core.pruned import PRUNED_KEY, PRUNED_KIND, Pruned, body_of, pruned_in, start_of_month
from meterhouse.core.usage import Partition
from meterhouse.ledger.archive import Archive, ArchiveWriter, SumKey, read_archive, sums_of
from meterhouse.ledger.protocol import Busy, Document, Ledger, RecordFilter, Stale

SETTLED_SECONDS: Final = 2 * 86_400
"""How long after its end a month may be pruned: beyond every window of every profile, and every clock that is off."""
SCANNED_ROWS: Final = 500
"""Journal rows that are read at once."""
BATCH_RECORDS: Final = 500
"""Records that are looked for at once; with them goes whatever else of their rows is old."""
CLOCK_KIND: Final = "clock"
"""The kind of documents that move clocks: a sandbox's."""
_ATTEMPTS: Final = 16

OnStep = Callable[[int, int | None, str], None]
"""Told how much of how much (None: nobody knows) is done, and what is being done."""


class CannotPrune(Exception):
    """Nothing more is removed; one sentence says why."""


class Prunable(Protocol):
    """An open ledger, with what only pruning asks of it."""

    @property
    def ledger(self) -> Ledger:
        """The engine itself."""

    async def partitions(self) -> Sequence[Partition]:
        """Every partition in which anything was ever kept."""

    async def count_before(self, hour: int) -> int:
        """How many records of older hours there are, those without a dimension left out."""

    def remove(self, hour: int, positions: Mapping[Partition, int]) -> AsyncIterator[int]:
        """Removes these, of rows up to a position of each partition; tells after each transaction how many."""

    def forget(self, kind: str, is_old: Callable[[bytes], bool]) -> AsyncIterator[int]:
        """Removes claims of a kind whose value is old; tells after each transaction how many."""


class Found(NamedTuple):
    """What could be pruned."""

    records: int
    months: Mapping[str, int]
    """Records by month."""


class Done(NamedTuple):
    """What a pruning came to."""

    archive: Archive | None
    """None where nothing was as old as that."""
    removed_records: int
    """By this call; an earlier one may have been interrupted."""
    forgotten_tokens: int


async def look(place: Prunable, before: str) -> Found:
    """What a pruning would remove; nothing is changed."""
    sums = sums_of(await place.ledger.sums(RecordFilter(to_micros=start_of_month(before))))
    months = sorted({month for _, month, *_ in sums})
    counts: dict[str, int] = {}
    counted = 0
    for month in months:
        until = await place.count_before(_hour_after(month))
        counts[month], counted = until - counted, until
    return Found(counted, counts)


async def prune(place: Prunable, before: str, file: Path, now_micros: int, on_step: OnStep) -> Done:
    """Exports and removes all usage of months before `before` (such as `2026-01`).

    Raises CannotPrune, `archive.NotAnArchive`, OSError, and what the ledger raises. Whatever was raised, the same call
    goes on.
    """
    check_month(before, now_micros)
    revision, documents = await place.ledger.load()
    _check_clocks(documents)
    mark = _mark_in(documents)
    hour = start_of_month(before) // HOUR
    if mark is not None and not mark.done:
        archive = await _named_archive(mark, before, file, on_step)
    else:
        if not await asyncio.to_thread(file.exists):
            if not await place.count_before(hour):
                return Done(None, 0, await _forget(place, hour, on_step))
            await _export(place, before, file, on_step)
        archive = await _read(file, on_step)
        if mark is not None and mark.archive_sha256 == archive.sha256 and not await place.count_before(hour):
            return Done(archive, 0, 0)
        await _compare(place, archive, before, file)
        await _keep_mark(place.ledger, Pruned(before, archive.sha256), revision)
    removed = 0
    async for count in place.remove(hour, archive.positions):
        removed += count
        on_step(removed, archive.records, "Records are removed")
    if left := await place.count_before(hour):
        raise CannotPrune(f"{left} records before {before} were kept after the export, by a clock that is wrong")
    forgotten = await _forget(place, hour, on_step)
    await _keep_mark(place.ledger, Pruned(before, archive.sha256, done=True), revision)
    return Done(archive, removed, forgotten)


def check_month(before: str, now_micros: int) -> None:
    """Raises CannotPrune for what is no month, and for one whose usage can still be judged."""
    try:
        start_micros = start_of_month(before)
    except ValueError:
        raise CannotPrune(f'"{before}" is no month, such as 2026-01') from None
    settled_micros = start_micros + SETTLED_SECONDS * SECOND
    if now_micros < settled_micros:
        raise CannotPrune(
            f"usage before {before} can still be sent again, and is judged by what is kept, until "
            f"{rfc3339(settled_micros)}"
        )


def _check_clocks(documents: Sequence[Document]) -> None:
    if any(document.kind == CLOCK_KIND and document.body is not None for document in documents):
        raise CannotPrune(
            "a clock of this ledger was moved, so usage of any month may still come: first `meterhouse clock real`, "
            "for all and for each account"
        )


def _mark_in(documents: Sequence[Document]) -> Pruned | None:
    return pruned_in({one.key: one.body for one in documents if one.kind == PRUNED_KIND and one.body is not None})


def _hour_after(month: str) -> int:
    beyond = month_of_hour(start_of_month(month) // HOUR + 32 * 24)
    return start_of_month(beyond) // HOUR


async def _named_archive(mark: Pruned, before: str, file: Path, on_step: OnStep) -> Archive:
    """The export of a pruning that was interrupted."""
    if mark.before != before:
        raise CannotPrune(f"the pruning before {mark.before} has not ended: it must be called again first")
    if not await asyncio.to_thread(file.exists):
        raise CannotPrune(f"a pruning was interrupted after its export, and {file} is not there: name that export")
    archive = await _read(file, on_step)
    if archive.sha256 != mark.archive_sha256:
        raise CannotPrune(f"{file} is another export than that of the pruning that was interrupted")
    return archive


async def _read(file: Path, on_step: OnStep) -> Archive:
    return await asyncio.to_thread(read_archive, file, lambda rows: on_step(rows, None, "The export is read back"))


async def _export(place: Prunable, before: str, file: Path, on_step: OnStep) -> None:
    hour = start_of_month(before) // HOUR
    positions: dict[Partition, int] = {}
    row_count, done = (await place.ledger.size()).journal_rows, 0
    with ArchiveWriter(file, before) as writer:
        for partition in sorted(await place.partitions()):
            last = 0
            while rows := await place.ledger.scan(partition, after=last, limit=SCANNED_ROWS):
                for row in rows:
                    old = [entry for entry in row.entries if entry.key.hour < hour and entry.key.series.dimension]
                    if old:
                        writer.add(row, old)
                last = rows[-1].position
                done += len(rows)
                on_step(done, row_count, "Old records are exported")
            positions[partition] = last
        writer.finish(positions)


async def _compare(place: Prunable, archive: Archive, before: str, file: Path) -> None:
    """Raises CannotPrune where the export is not of exactly what would be removed."""
    if archive.before != before:
        raise CannotPrune(f"{file} is the export of what is before {archive.before}, not {before}")
    hour = start_of_month(before) // HOUR
    kept: dict[SumKey, int] = sums_of(await place.ledger.sums(RecordFilter(to_micros=start_of_month(before))))
    count = await place.count_before(hour)
    if (count, kept) != (archive.records, dict(archive.sums)):
        raise CannotPrune(f"{file} is no export of what this ledger has before {before}: its counts or sums differ")


async def _forget(place: Prunable, hour: int, on_step: OnStep) -> int:
    def is_old(value: bytes) -> bool:
        bound = hour_of_token(value)
        return bound is not None and bound < hour

    forgotten = 0
    async for count in place.forget(TOKEN_CLAIM, is_old):
        forgotten += count
        on_step(forgotten, None, "Old ClientTokens are forgotten")
    return forgotten


async def _keep_mark(ledger: Ledger, mark: Pruned, revision: int) -> None:
    """`revision`: one that the catalog has had; it may have moved meanwhile."""
    for _ in range(_ATTEMPTS):
        revision, _ = await ledger.changes(revision)
        try:
            await ledger.change([Document(PRUNED_KIND, PRUNED_KEY, body_of(mark))], expected=revision)
        except Stale:
            continue  # somebody changed the catalog meanwhile
        return
    raise Busy("the catalog keeps changing")
