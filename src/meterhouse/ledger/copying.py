"""Copying a ledger from one engine into another, row by row, as it was kept.

What is copied: documents, then each partition's journal in its order (and with each row its records), then claims. The
copy has the same positions, ids, instants and quantities; only the catalog's revision and the numbers of series are its
own.

Resumable: what is there already is left as it is. A target that holds anything else than a beginning of the source is
refused, and nothing is overwritten. Every part is written through the target's own turns, so a copy that is interrupted
leaves a whole ledger, which is only not yet all of it.

At the end both are held against each other: records, rows, exact sums, claims, documents. No server may write to either
meanwhile; one that did is found then.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple, Protocol

from meterhouse.core.usage import ClaimKey, Partition
from meterhouse.ledger.gather import GROUP_TURNS
from meterhouse.ledger.protocol import Decision, Document, JournalEntry, Keys, Ledger, RecordFilter, View

CLAIMS_AT_ONCE: Final = 500
"""Claims in a turn."""

Claim = tuple[Partition, ClaimKey, bytes]
"""A claim as it is kept."""
OnRows = Callable[[int, int], None]
"""Told how many journal rows of how many are there."""


class NotACopy(Exception):
    """The target holds something else than a beginning of the source, or what came out differs; one sentence says."""


class Place(Protocol):
    """A ledger with what the protocol does not tell: for whoever copies it."""

    @property
    def ledger(self) -> Ledger:
        """The engine itself."""

    async def partitions(self) -> Sequence[Partition]:
        """Every partition in which anything was ever kept."""

    async def claims(self) -> Sequence[Claim]:
        """Every claim."""


class Copied(NamedTuple):
    """What a copy came to."""

    records: int
    journal_rows: int
    claims: int
    documents: int


async def copy_ledger(source: Place, target: Place, on_rows: OnRows) -> Copied:
    """Makes the target the same as the source. Raises `NotACopy`, `LedgerFailure` and `Busy`."""
    revision = await _copy_documents(source.ledger, target.ledger)
    row_count = (await source.ledger.size()).journal_rows
    partitions = sorted(await source.partitions())
    stray = sorted(set(await target.partitions()) - set(partitions))
    if stray and (await target.ledger.size()).journal_rows and await _last_position(target.ledger, stray[0]):
        raise NotACopy(f"the target has usage of {stray[0].product} in {stray[0].region}, and the source has none")
    done = 0
    for partition in partitions:
        begun = await _begun(source.ledger, target.ledger, partition)
        done += begun
        on_rows(done, row_count)
        while rows := await source.ledger.scan(partition, after=begun, limit=GROUP_TURNS):
            await _keep_rows(target.ledger, rows, revision)
            begun = rows[-1].position
            done += len(rows)
            on_rows(done, row_count)
    await _copy_claims(source, target, revision)
    return await _compared(source, target)


async def _copy_documents(source: Ledger, target: Ledger) -> int:
    """What is missing of the catalog; the target's revision."""
    _, wanted = await source.load()
    revision, there = await target.load()
    if not set(there) <= set(wanted):
        raise NotACopy("the target has a catalog of its own")
    missing = sorted(set(wanted) - set(there), key=_place)
    return await target.change(missing, expected=revision) if missing else revision


def _place(document: Document) -> tuple[str, str]:
    return document.kind, document.key


async def _begun(source: Ledger, target: Ledger, partition: Partition) -> int:
    """The last position that is there already; first and last row are the source's, or this is no copy of it."""
    last = await _last_position(target, partition)
    for position in sorted({1, last} - {0} if last else set()):
        if await _row_at(source, partition, position) != await _row_at(target, partition, position):
            where = f"{partition.product} in {partition.region}"
            raise NotACopy(f"the target has usage of {where} that is not the source's, at position {position}")
    return last


async def _row_at(ledger: Ledger, partition: Partition, position: int) -> JournalEntry | None:
    rows = await ledger.scan(partition, after=position - 1, limit=1)
    return rows[0] if rows else None


async def _last_position(ledger: Ledger, partition: Partition) -> int:
    """Found by halving: positions have no gap."""
    low, high = 0, 1
    while await ledger.scan(partition, after=high - 1, limit=1):
        low, high = high, high * 2
    while low + 1 < high:
        middle = (low + high) // 2
        if await ledger.scan(partition, after=middle - 1, limit=1):
            low = middle
        else:
            high = middle
    return low


async def _keep_rows(target: Ledger, rows: Sequence[JournalEntry], revision: int) -> None:
    """One group: its turns are kept in their order, and together."""
    turns = [
        target.turn(row.partition, Keys([entry.key for entry in row.entries]), _keeping(row), revision=revision)
        for row in rows
    ]
    await asyncio.gather(*turns)


def _keeping(row: JournalEntry) -> Callable[[View], Decision]:
    return lambda _view: Decision(None, row.entries, (), row.header)


def _deciding(decision: Decision) -> Callable[[View], Decision]:
    return lambda _view: decision


async def _copy_claims(source: Place, target: Place, revision: int) -> None:
    there = set(await target.claims())
    missing: dict[Partition, list[tuple[ClaimKey, bytes]]] = {}
    for claim in await source.claims():
        if claim not in there:
            missing.setdefault(claim[0], []).append(claim[1:])
    for partition, claims in missing.items():
        for start in range(0, len(claims), CLAIMS_AT_ONCE):
            part = claims[start : start + CLAIMS_AT_ONCE]
            decision = Decision(None, (), part)
            keys = Keys((), [key for key, _ in part])
            await target.ledger.turn(partition, keys, _deciding(decision), revision=revision)


async def _compared(source: Place, target: Place) -> Copied:
    """Raises NotACopy where the two are not the same."""
    mine, its = await _account_of(source), await _account_of(target)
    for what, one, other in zip(mine._fields, mine, its, strict=True):
        if one != other:
            raise NotACopy(f"what was copied differs from the source in its {what}: did a server write to either?")
    return Copied(mine.records, mine.rows, len(mine.claims), len(mine.documents))


class _Account(NamedTuple):
    records: int
    rows: int
    sums: Sequence[object]
    claims: frozenset[Claim]
    documents: frozenset[Document]


async def _account_of(place: Place) -> _Account:
    size = await place.ledger.size()
    sums = await place.ledger.sums(RecordFilter())
    _, documents = await place.ledger.load()
    return _Account(size.records, size.journal_rows, sums, frozenset(await place.claims()), frozenset(documents))
