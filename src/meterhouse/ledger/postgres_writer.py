"""The writing side of the PostgreSQL engine: one group of turns of one partition, kept whole or not at all.

Theory
    A partition's *head row* is its lock and its counter. Whoever keeps something moves the head's `version`; so what
    was read together with a version holds for as long as the version has not moved. There are two ways to keep a group:

    as the owner   read head and records without a lock; judge; `keep_group` moves the head only where its version is
                   still the one that was read. Two round trips, and one where nothing is kept.
    under the lock BEGIN and lock the head; read; judge; `keep_group`; COMMIT. Four round trips, whatever the size.

    A process takes itself for the owner once it has found the version as it left it a few times in a row. Where it was
    wrong nothing was kept, and the group is judged again under the lock.

The catalog's revision
    A turn holds a shared advisory lock until it is committed, a change of the catalog the same lock alone: so no turn
    judged by an old catalog is kept after a change was acknowledged. The lock stands in line: neither side can starve
    the other. Order of locks: first this one, then the head; a change takes no head.

When something fails
    A failed or unknown COMMIT, a lost connection, a group that was overtaken: the group is read and judged again. What
    it had kept after all is found then, under its own keys and ids, and is answered as any repeated request is. So no
    answer is given that the database did not confirm, and none that it would contradict.

    Behind a connection that was lost another server may answer: a standby that took over, or a backup that was played
    back. It may never have seen the partitions and series whose numbers this process remembers, and give the numbers to
    others. So with a connection all numbers are forgotten.
"""

from collections.abc import Iterable, Sequence
from itertools import islice, repeat
from typing import Any, Final, NamedTuple

from msgspec.structs import astuple

from meterhouse.core.usage import (
    BOTH_FORMS,
    BY_LICENSE,
    BY_PRODUCT,
    ClaimKey,
    Kept,
    Partition,
    RecordKey,
    Series,
    columns_of,
)
from meterhouse.ledger.gather import Group, Unfit
from meterhouse.ledger.judge import Judged, Sight, Turn, Verdict, judge
from meterhouse.ledger.packing import pack
from meterhouse.ledger.postgres_connections import FAILURES, Connection, Connections, Meaning, failure_of, meaning_of
from meterhouse.ledger.postgres_statements import (
    ADD_HEAD,
    ADD_PARTITION,
    FIND,
    FIND_SERIES,
    FIND_WITH_CLAIMS,
    KEEP,
    LOCK_CLASS,
    NUMBER,
    begin_and_lock,
)
from meterhouse.ledger.protocol import Busy, Keys

SERIES_KEPT: Final = 200_000
"""How many series have their numbers in memory; beyond that all are forgotten, and looked up again as they come."""
ATTEMPTS: Final = 4
"""How often a group is begun."""
UNDISTURBED: Final = 2
"""How many groups in a row must find the head as this process left it, before it takes itself for the owner."""


class _Head(NamedTuple):
    """A partition's head row, and the catalog's revision of the same moment."""

    version: int
    generation: int
    position: int
    records: int
    last_series: int
    forms: int
    revision: int


class _Known:
    """What this process remembers of a partition. A lane of turns each: nobody else touches it meanwhile."""

    __slots__ = (
        "absent",
        "forms",
        "generation",
        "in_use",
        "last_series",
        "lost",
        "number",
        "numbers",
        "undisturbed",
        "version",
    )

    def __init__(self, number: int, lost: int) -> None:
        self.number = number
        self.lost = lost
        """How many connections had been lost before."""
        self.in_use = False
        """While a group is being kept, nothing of this may be forgotten."""
        self.version: int | None = None
        """As this process left it; None where it does not know."""
        self.undisturbed = 0
        """How many groups have found it so since one did not."""
        self.generation = -1
        self.last_series = -1
        """The last number given out when `absent` was true."""
        self.forms = 0
        self.numbers: dict[Series, int] = {}
        self.absent: set[Series] = set()
        """Series that have no number yet."""

    def forget_series(self) -> None:
        """Forgets all numbers."""
        self.numbers.clear()
        self.absent.clear()
        self.last_series = -1


class _Overtaken(Exception):
    """The head or the catalog moved between reading and keeping; nothing was kept."""


class _NoHead(Exception):
    """A partition has its number, but no head yet."""


class _Seen(NamedTuple):
    head: _Head
    sight: Sight


class _Append(NamedTuple):
    """What a group adds, as the arguments of `keep_group`, and what this process has learnt when it is kept."""

    arguments: Sequence[Any]
    new_series: dict[Series, int]
    forms: int


class Writer:
    """Keeps groups of turns. Raises `Busy`, `LedgerFailure`, and `Unfit` where a turn's content may be the cause."""

    def __init__(self, connections: Connections) -> None:
        self._connections = connections
        self._partitions: dict[Partition, _Known] = {}
        self._series_count = 0

    async def keep(self, turns: Group) -> Sequence[Verdict]:
        """Judges and keeps a group of one partition, with those who join it until it is read."""
        fresh = False
        for attempt in range(1, ATTEMPTS + 1):
            try:
                async with self._connections.one(fresh=fresh) as db:
                    turns.join()
                    return await self._keep(db, turns)
            except _Overtaken:
                continue
            except FAILURES as error:
                self._doubt(turns[0].partition)
                self._judge_failure(error, last=attempt == ATTEMPTS)
                fresh = meaning_of(error) is Meaning.BROKEN
        raise Busy("the partition keeps changing")

    def _judge_failure(self, error: Exception, *, last: bool) -> None:
        """Returns where the group may be begun again."""
        match meaning_of(error):
            case Meaning.BUSY:
                raise Busy("the database did not answer in time") from error
            case Meaning.UNFIT:
                raise Unfit from error
            case Meaning.AGAIN | Meaning.BROKEN if last:
                raise failure_of(error) from error
            case _:
                return

    def _doubt(self, partition: Partition) -> None:
        known = self._partitions.get(partition)
        if known is not None:
            known.version, known.undisturbed = None, 0

    async def _keep(self, db: Connection, turns: Group) -> Sequence[Verdict]:
        partition = turns[0].partition
        known = self._partitions.get(partition)
        if known is not None and known.lost != self._connections.lost:
            self._forget_series(self._partitions.pop(partition))
            known = None
        if known is None:
            revision, number = await db.fetchrow(NUMBER, *partition)
            if number is None:
                judged = judge(turns, {partition: Sight(0, {}, {})}, revision)
                if not (judged.rows or judged.claims):
                    return judged.verdicts
                number = await _new_number(db, partition)
            known = self._partitions.setdefault(partition, _Known(number, self._connections.lost))
        known.in_use = True
        try:
            self._make_room()
            return await self._keep_in(db, known, turns)
        finally:
            known.in_use = False

    async def _keep_in(self, db: Connection, known: _Known, turns: Group) -> Sequence[Verdict]:
        if known.undisturbed >= UNDISTURBED:
            try:
                return await self._keep_as_owner(db, known, turns)
            except _Overtaken:
                known.undisturbed = 0
        try:
            return await self._keep_under_lock(db, known, turns)
        except _NoHead:  # whoever gave the partition its number ended before it made the head
            await db.execute("ROLLBACK")
            await db.execute(ADD_HEAD, known.number)
            raise _Overtaken from None

    async def _keep_as_owner(self, db: Connection, known: _Known, turns: Sequence[Turn]) -> Sequence[Verdict]:
        seen = await self._look(db, known, turns)
        if seen.head.version != known.version:
            raise _Overtaken
        judged = judge(turns, {turns[0].partition: seen.sight}, seen.head.revision)
        if judged.rows or judged.claims:
            self._learn(known, seen.head, await _write(db, known, seen.head, judged))
        return judged.verdicts

    async def _keep_under_lock(self, db: Connection, known: _Known, turns: Group) -> Sequence[Verdict]:
        await db.execute(begin_and_lock(known.number))
        turns.join()
        seen = await self._look(db, known, turns)
        judged = judge(turns, {turns[0].partition: seen.sight}, seen.head.revision)
        kept = await _write(db, known, seen.head, judged) if judged.rows or judged.claims else None
        await db.execute("COMMIT")
        known.undisturbed = known.undisturbed + 1 if seen.head.version == known.version else 0
        known.version = seen.head.version
        if kept is not None:
            self._learn(known, seen.head, kept)
        return judged.verdicts

    def _learn(self, known: _Known, head: _Head, kept: _Append) -> None:
        """What this process knows once a group is kept."""
        known.version = head.version + 1
        known.forms = kept.forms
        known.numbers.update(kept.new_series)
        known.absent -= kept.new_series.keys()
        known.last_series = head.last_series + len(kept.new_series)
        self._series_count += len(kept.new_series)

    # What a group will look at

    async def _look(self, db: Connection, known: _Known, turns: Sequence[Turn]) -> _Seen:
        """Reads head and records, as often as it takes until what was remembered of the partition was true."""
        named = 0
        for turn in turns:
            named |= turn.keys.forms or BOTH_FORMS
        while True:
            both_forms = known.forms | named == BOTH_FORMS
            keys = _keys_of(turns, known.forms if both_forms else 0)
            if any(key.series not in known.numbers and key.series not in known.absent for key in keys.records):
                await self._look_up_series(db, known, {key.series for key in keys.records})
                continue
            found = await _found(db, known, keys)
            head = _Head(*found[0][:7])
            if head.generation != known.generation:
                self._forget_series(known)
                known.generation = head.generation
            elif known.absent and head.last_series != known.last_series:
                known.absent.clear()  # another process has given out numbers: perhaps to some of these
            elif head.forms != known.forms:
                known.forms = head.forms
            else:
                known.last_series = head.last_series
                records, claims = _kept_in(found, known, keys)
                return _Seen(head, Sight(head.position, records, claims, both_forms=both_forms))

    async def _look_up_series(self, db: Connection, known: _Known, series: Iterable[Series]) -> None:
        """Learns the numbers of series, and which of them have none."""
        unknown = [each for each in series if each not in known.numbers]
        columns = zip(*map(astuple, unknown), strict=True)
        found = await db.fetch(FIND_SERIES, known.number, range(len(unknown)), *columns)
        if not found:
            raise _NoHead
        generation, last_series = found[0][0], found[0][1]
        if generation != known.generation:
            self._forget_series(known)
            known.generation = generation
        if last_series != known.last_series:
            known.absent.clear()
            known.last_series = last_series
        numbered = {unknown[place]: number for _, _, place, number in found if place is not None}
        known.numbers.update(numbered)
        known.absent.update(each for each in unknown if each not in numbered)
        self._series_count += len(numbered)

    def _make_room(self) -> None:
        if self._series_count >= SERIES_KEPT:
            for known in self._partitions.values():
                if not known.in_use:
                    self._forget_series(known)

    def _forget_series(self, known: _Known) -> None:
        self._series_count -= len(known.numbers)
        known.forget_series()


async def _new_number(db: Connection, partition: Partition) -> int:
    """Gives a partition its number and its head; of several processes that do so at once one wins each number."""
    number = None
    while number is None:
        await db.execute(ADD_PARTITION, *partition)
        _, number = await db.fetchrow(NUMBER, *partition)
    await db.execute(ADD_HEAD, number)
    return int(number)


async def _write(db: Connection, known: _Known, head: _Head, judged: Judged) -> _Append:
    append = _append_of(known, head, judged)
    if await db.fetchval(KEEP, *append.arguments) != "kept":
        raise _Overtaken
    return append


def _keys_of(turns: Sequence[Turn], forms: int) -> Keys:
    """All that a group looks at; of the rivals only those in these forms."""
    records = [key for turn in turns for key in turn.keys.records]
    if forms:
        records += [
            rival
            for turn in turns
            for rival in turn.keys.rivals
            if forms & (BY_LICENSE if rival.series.license else BY_PRODUCT)
        ]
    return Keys(records, [claim for turn in turns for claim in turn.keys.claims])


async def _found(db: Connection, known: _Known, keys: Keys) -> Sequence[Any]:
    numbered = sorted({(key.hour, known.numbers[key.series]) for key in keys.records if key.series in known.numbers})
    hours, series = zip(*numbered, strict=True) if numbered else ((), ())
    if keys.claims:
        kinds, names = zip(*keys.claims, strict=True)
        found = await db.fetch(FIND_WITH_CLAIMS, known.number, _array(hours), _array(series), kinds, names)
    else:
        found = await db.fetch(FIND, known.number, _array(hours), _array(series))
    if not found:
        raise _NoHead
    rows: Sequence[Any] = found
    return rows


def _kept_in(found: Sequence[Any], known: _Known, keys: Keys) -> tuple[dict[RecordKey, Kept], dict[ClaimKey, bytes]]:
    """What `FIND` and `FIND_WITH_CLAIMS` found, under the keys that were looked for."""
    records: dict[RecordKey, Kept] = {}
    claims: dict[ClaimKey, bytes] = {}
    kept: dict[tuple[int, int], Kept] = {}
    for row in found:
        if len(row) > 11 and row[11] is not None:
            claims[ClaimKey(row[11], row[12])] = row[10]
        elif row[7] is not None:
            kept[row[7], row[8]] = Kept(row[9], row[10])
    if kept:
        for key in keys.records:
            number = known.numbers.get(key.series)
            if number is not None and (before := kept.get((key.hour, number))) is not None:
                records[key] = before
    return records, claims


def _append_of(known: _Known, head: _Head, judged: Judged) -> _Append:
    """The arguments of `keep_group`: columns, in the order of their keys."""
    new: dict[Series, int] = {}
    number_of = _Numbering(known.numbers, new, head.last_series).number_of
    records: list[tuple[int, int, int, int, bytes]] = []
    rows: list[tuple[int, int, bytes]] = []
    position, forms = head.position, head.forms
    for _, position, header, entries in judged.rows:
        columns = columns_of(entries)
        numbers = [number_of(series) for series in columns.keys.series]
        records += zip(columns.keys.hours, numbers, columns.quantities, repeat(position), columns.record_ids)
        rows.append((position, header.received_micros, pack(header, columns, numbers)))
    for series in new:
        forms |= BY_LICENSE if series.license else BY_PRODUCT
    records.sort()
    *numbers_of_records, ids = _columns(records, 5)
    claims = sorted((kind, name, value) for _, (kind, name), value in judged.claims)
    named = [(number, *astuple(series)) for series, number in new.items()]
    head_columns = (position, head.records + len(records), head.last_series + len(new), forms)
    arguments = (
        known.number,
        LOCK_CLASS,
        head.revision,
        head.version,
        *head_columns,
        *map(_array, numbers_of_records),
        _array_of_bytes(ids),
        *_columns(rows, 3),
        *_columns(named, 6),
        *_columns(claims, 3),
    )
    return _Append(arguments, new, forms)


class _Numbering:
    """Gives numbers to series that have none."""

    def __init__(self, numbers: dict[Series, int], new: dict[Series, int], last_series: int) -> None:
        self._numbers = numbers
        self._new = new
        self._last_series = last_series

    def number_of(self, series: Series) -> int:
        """A series' number, a new one where it has none."""
        number = self._numbers.get(series) or self._new.get(series)
        if number is None:
            number = self._new[series] = self._last_series + len(self._new) + 1
        return number


def _array(numbers: Iterable[int]) -> str:
    """An array of integers, as PostgreSQL writes it."""
    return f"{{{','.join(map(str, numbers))}}}"


def _array_of_bytes(texts: Sequence[bytes]) -> str:
    """An array of bytea."""
    if not texts:
        return "{}"
    joined = '","\\\\x'.join([text.hex() for text in texts])
    return f'{{"\\\\x{joined}"}}'


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> Iterable[Sequence[Any]]:
    return zip(*rows, strict=True) if rows else islice(_NO_COLUMNS, width)


_NO_COLUMNS: Final[Sequence[Sequence[Any]]] = ((),) * 8
