"""The writing side of the SQLite engine: what runs, one job after another, in the thread that alone writes.

A group is one transaction: BEGIN IMMEDIATE, read, judge, append, COMMIT with its sync. What is known of the file
besides (partitions, the revision, and in `sqlite_series` the numbers of series) is kept in memory as it stands *after*
the transaction in hand; so whenever one fails, all of it is forgotten and read again, and memory and file cannot part.

After an error of the database the connection too is given up and made anew by the next job, and with it those of the
other threads (`connect` sees to that; why, `sqlite_carrying` says). So the engine recovers by
itself as soon as the disk has room again; and where a COMMIT failed without saying whether it was done, the new
connection sees what is there. Nothing of a failed group was acknowledged, whichever it is (promise 1 holds both ways).
"""

from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Final, cast

import apsw
import msgspec

from meterhouse.core.usage import (
    BOTH_FORMS,
    BY_LICENSE,
    BY_PRODUCT,
    ClaimKey,
    Kept,
    Partition,
    RecordKey,
    RecordKeys,
    columns_of,
    keys_by_columns,
)
from meterhouse.ledger.gather import Unfit
from meterhouse.ledger.judge import Judged, Sight, Turn, Verdict, judge
from meterhouse.ledger.packing import pack
from meterhouse.ledger.protocol import CannotOpen, Document, Stale
from meterhouse.ledger.sqlite_placing import NOWHERE, Look, Placed, Run, in_order, places_of
from meterhouse.ledger.sqlite_presence import Presence
from meterhouse.ledger.sqlite_rows import Rows, fetch
from meterhouse.ledger.sqlite_schema import POSITION_BITS, SERIES_BITS
from meterhouse.ledger.sqlite_series import SERIES_KEPT, SeriesNumbers

_UNFIT: Final = (
    apsw.ConstraintError,
    apsw.MismatchError,
    apsw.TooBigError,
    msgspec.MsgspecError,
    OverflowError,
    UnicodeEncodeError,
)
"""What the content of a turn can cause."""

_FIND_RECORDS: Final = (
    "SELECT r.key, r.quantity_micros, r.record_id FROM carray(?) AS wanted CROSS JOIN usage_records AS r "
    "ON r.key = wanted.value"
)
_FIND_CLAIMS: Final = Rows(
    "SELECT c.partition, c.kind, c.key, c.value FROM ({values}) AS wanted CROSS JOIN claims AS c "
    "ON c.partition = wanted.column1 AND c.kind = wanted.column2 AND c.key = wanted.column3",
    3,
)
_ADD_RECORDS: Final = Rows("INSERT INTO usage_records (key, quantity_micros, record_id, position) {values}", 4)
_ADD_CLAIMS: Final = Rows("INSERT INTO claims (partition, kind, key, value) {values}", 4)
_ADD_JOURNAL: Final = Rows("INSERT INTO journal (id, received_micros, body) {values}", 3)
_PUT_PARTITIONS: Final = Rows(
    "INSERT INTO partitions (id, region, product, last_position, records, forms) {values} ON CONFLICT (id) DO UPDATE "
    "SET last_position = excluded.last_position, records = excluded.records, forms = excluded.forms",
    6,
)
_PUT_DOCUMENTS: Final = Rows(
    "INSERT INTO documents (kind, key, body, revision) {values} ON CONFLICT (kind, key) DO UPDATE "
    "SET body = excluded.body, revision = excluded.revision",
    4,
)
_USAGE_TABLES: Final = ("usage_records", "claims", "journal", "series", "partitions")


_AllPlaced = Mapping[int, Placed]
"""By the identity of the keys that a turn named: mostly just they are kept, and need not be looked for twice."""


class _Known:
    """What is known of a partition."""

    __slots__ = ("forms", "id", "position", "records")

    def __init__(self, partition_id: int, position: int, records: int, forms: int) -> None:
        self.id = partition_id
        self.position = position
        self.records = records
        self.forms = forms


class Writer:
    """The writing connection and what it knows. All methods belong to one thread; they raise `apsw.Error`."""

    def __init__(self, connect: Callable[[], apsw.Connection], *, series_kept: int = SERIES_KEPT) -> None:
        self._connect = connect
        self._series = SeriesNumbers(series_kept)
        self._presence = Presence()
        self._db: apsw.Connection | None = None
        self._log_pages = 0
        self._next_partition = 1
        self._forget()
        try:
            self._ready()
        except BaseException:
            self.close()  # connecting has carried over all there was, so nothing is left that must not be
            raise

    def keep(self, turns: Sequence[Turn]) -> Sequence[Verdict]:
        """Judges and keeps a group. `Unfit` where what could not be kept may be one turn's content."""
        try:
            with self._transaction() as db:
                self._series.make_room()
                self._presence.read(db)
                sights, placed = self._look(db, turns)
                judged = judge(turns, sights, self._revision)
                self._append(db, judged, placed)
        except _UNFIT as error:
            raise Unfit from error
        return judged.verdicts

    def change(self, documents: Sequence[Document], expected: int) -> int:
        """Keeps documents under the next revision, or raises `Stale`."""
        with self._transaction() as db:
            revision = self._revision
            if revision == expected:
                self._revision += 1
                last = {(document.kind, document.key): document.body for document in documents}
                _PUT_DOCUMENTS.insert(db, [(kind, key, body, self._revision) for (kind, key), body in last.items()])
                db.execute("UPDATE catalog SET revision = ?", (self._revision,))
        if revision != expected:
            raise Stale(f"the catalog is at revision {revision}, not {expected}")
        return self._revision

    def reset(self) -> None:
        """Empties everything but documents."""
        with self._transaction() as db:
            for table in _USAGE_TABLES:
                db.execute(f"DELETE FROM {table}")  # noqa: S608 - the names stand above
        self._forget()

    @property
    def log_pages(self) -> int:
        """How long the log is, in pages, behind the last commit; may be asked from any thread."""
        return self._log_pages

    def carry_rest(self) -> None:
        """Carries over what is left of the log (`sqlite_carrying`)."""
        if self._db is not None:
            self._db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)

    def connect_anew(self) -> None:
        """Does so, and has all of the log carried over. If that fails, the next group tells, or finds it mended."""
        self._forget()
        if self._db is not None:
            self._let_go(self._db)
        with suppress(apsw.Error, CannotOpen):
            self._ready()

    def close(self) -> None:
        """Lets go of the file, and leaves it without a log."""
        db, self._db = self._db, None
        if db is not None:
            with suppress(apsw.Error):  # what cannot be carried over stays in the log, for the next to open the file
                db.close(force=True)

    @contextmanager
    def _transaction(self) -> Iterator[apsw.Connection]:
        try:
            db = self._ready()
            db.execute("BEGIN IMMEDIATE")
            yield db
            db.execute("COMMIT")
        except BaseException as error:
            self._give_up(error)
            raise

    def _ready(self) -> apsw.Connection:
        if self._db is None:
            self._db = self._connect()
            self._db.set_wal_hook(self._logged)
        if not self._remembers:
            self._remember(self._db)
        return self._db

    def _logged(self, _db: apsw.Connection, _name: str, pages: int) -> int:
        self._log_pages = pages
        return apsw.SQLITE_OK

    def _give_up(self, error: BaseException) -> None:
        """Forgets what the failed transaction may have taught; and the connection, unless the fault is a turn's own."""
        self._forget()
        db = self._db
        if db is None:
            return
        try:
            if db.in_transaction:
                db.execute("ROLLBACK")
            trusted = isinstance(error, _UNFIT) or not isinstance(error, apsw.Error)
        except apsw.Error:
            trusted = False
        if not trusted:
            self._let_go(db)

    def _let_go(self, db: apsw.Connection) -> None:
        self._db = None
        with suppress(apsw.Error):
            db.config(apsw.SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1)  # see `sqlite_carrying`: what it says of a failure
            db.close(force=True)

    def _forget(self) -> None:
        self._remembers = False
        self._partitions: dict[Partition, _Known] = {}
        self._series.forget()
        self._presence.forget()

    def _remember(self, db: apsw.Connection) -> None:
        for number, region, product, position, records, forms in fetch(
            db, "SELECT id, region, product, last_position, records, forms FROM partitions"
        ):
            self._partitions[Partition(region, product)] = _Known(number, position, records, forms)
        # Never smaller than before: a reader that saw a number just before a reset must not take it for another's.
        self._next_partition = max(
            self._next_partition, db.execute("SELECT ifnull(max(id), 0) + 1 FROM partitions").get
        )
        self._series.read(db)
        self._revision: int = db.execute("SELECT revision FROM catalog").get
        self._remembers = True

    # What a group will look at

    def _look(self, db: apsw.Connection, turns: Sequence[Turn]) -> tuple[dict[Partition, Sight], _AllPlaced]:
        sights: dict[Partition, Sight] = {}
        looks: dict[Partition, Look] = {}
        placed: dict[int, Placed] = {}
        forms = self._forms(turns)
        claims: list[tuple[int, str, str]] = []
        for turn in turns:
            partition, keys = turn.partition, turn.keys
            known = self._partitions.get(partition)
            if known is None:  # nothing was ever kept there, so there is nothing to find
                sights[partition] = Sight(0, {}, {}, both_forms=forms[partition] == BOTH_FORMS)
                continue
            look = looks.get(partition)
            if look is None:
                look = looks[partition] = Look()
            self._look_for(known, keys.records, look, placed)
            if forms[partition] == BOTH_FORMS:
                look.add(keys_by_columns(self._worth_reading(known, keys.rivals)))
            claims.extend([(known.id, kind, name) for kind, name in keys.claims])
        made = self._find_claims(db, claims)
        for partition, look in looks.items():
            known = self._partitions[partition]
            kept = self._find_records(db, known, look, placed)
            both_forms = forms[partition] == BOTH_FORMS
            sights[partition] = Sight(known.position, kept, made.get(known.id, {}), both_forms=both_forms)
        return sights, placed

    def _look_for(self, known: _Known, keys: Sequence[RecordKey], look: Look, placed: dict[int, Placed]) -> None:
        """Adds to a look what a turn named, unless memory tells that nothing is kept there."""
        columns = keys_by_columns(keys)
        numbers = self._series.young(known.id, columns.series)
        if numbers is None:
            look.add_named(keys)
        elif numbers:
            placed[id(keys)] = Placed(numbers, places_of(columns.hours, numbers))
            if not self._presence.absent(columns.hours, numbers):
                look.add(columns)

    def _forms(self, turns: Sequence[Turn]) -> dict[Partition, int]:
        """The forms that each partition has seen, together with those that the group names."""
        forms: dict[Partition, int] = {}
        for turn in turns:
            known = self._partitions.get(turn.partition)
            seen = forms.get(turn.partition, 0 if known is None else known.forms)
            forms[turn.partition] = seen | (turn.keys.forms or BOTH_FORMS)
        return forms

    def _worth_reading(self, known: _Known, rivals: Sequence[RecordKey]) -> list[RecordKey]:
        """The rivals under which something can be: those in a form that the partition has seen."""
        return [rival for rival in rivals if known.forms & (BY_LICENSE if rival.series.license else BY_PRODUCT)]

    def _find_records(
        self, db: apsw.Connection, known: _Known, look: Look, placed: dict[int, Placed]
    ) -> dict[RecordKey, Kept]:
        """What is kept under the keys looked at; `placed` learns where those are whose series all have numbers."""
        if not look.series:
            return {}
        numbers = self._series.kept(db, known.id, look.series)
        places = [
            NOWHERE if number is None else (hour << SERIES_BITS) | number
            for hour, number in zip(look.hours, numbers, strict=True)
        ]
        for keys, start, end in look.named:
            theirs = numbers[start:end]
            if None not in theirs:
                placed[keys] = Placed(cast("list[int]", theirs), places[start:end])
        sought = [place for place in places if place != NOWHERE]
        found = fetch(db, _FIND_RECORDS, (apsw.carray(array("q", sought)),)) if sought else []
        if not found:
            return {}
        named = dict(zip(places, zip(look.hours, look.series, strict=True), strict=True))
        return {RecordKey(*named[place]): Kept(quantity, record_id) for place, quantity, record_id in found}

    def _find_claims(
        self, db: apsw.Connection, claims: Sequence[tuple[int, str, str]]
    ) -> dict[int, dict[ClaimKey, bytes]]:
        made: dict[int, dict[ClaimKey, bytes]] = {}
        for partition_id, kind, name, value in _FIND_CLAIMS.look_up(db, claims):
            made.setdefault(partition_id, {})[ClaimKey(kind, name)] = value
        return made

    # What a group keeps

    def _append(self, db: apsw.Connection, judged: Judged, placed: _AllPlaced) -> None:
        if not judged.rows and not judged.claims:
            return
        journal: list[tuple[int, int, bytes]] = []
        touched: dict[Partition, _Known] = {}
        runs: list[Run] = []
        for partition, position, header, entries in judged.rows:
            known = touched[partition] = self._settled(partition)
            known.position = position
            columns = columns_of(entries)
            numbers, places = placed.get(id(columns.keys)) or self._placed(known, columns.keys)
            if places:
                known.records += len(places)
                self._presence.add(columns.keys.hours, numbers)
                runs.append((places, columns.quantities, columns.record_ids, [position] * len(places)))
            journal.append(
                ((known.id << POSITION_BITS) | position, header.received_micros, pack(header, columns, numbers))
            )
        claims = []
        for partition, (kind, name), value in judged.claims:
            known = touched[partition] = self._settled(partition)
            claims.append((known.id, kind, name, value))
        self._series.add(db)
        if runs:
            _ADD_RECORDS.insert_columns(db, in_order(runs))
        _ADD_CLAIMS.insert(db, claims)
        _ADD_JOURNAL.insert(db, journal)
        _PUT_PARTITIONS.insert(
            db, [(known.id, *name, known.position, known.records, known.forms) for name, known in touched.items()]
        )

    def _placed(self, known: _Known, keys: RecordKeys) -> Placed:
        """Where records are kept; what has no number yet is given one."""
        numbers, forms = self._series.given(known.id, keys.series)
        known.forms |= forms
        return Placed(numbers, places_of(keys.hours, numbers))

    def _settled(self, partition: Partition) -> _Known:
        known = self._partitions.get(partition)
        if known is None:
            known = self._partitions[partition] = _Known(self._next_partition, 0, 0, 0)
            self._next_partition += 1
        return known
