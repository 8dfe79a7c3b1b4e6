"""What a ledger promises, and what it may be asked.

One method writes usage: `turn`. The engine reads everything that the request could need, calls the pure rule *inside*
the turn, and appends what follows, all in one transaction; so check and write can never part.

Promises (each a test that every engine runs):

 1. A turn is all or nothing.
 2. At most one record per key, whoever wins.
 3. A later read sees it: what a turn kept, every turn and every read that begins after it sees.
 4. Journal positions of a partition count from 1, gapless and in commit order: no reader that has passed a position
    ever finds one behind it.
 5. What was acknowledged survives `kill -9` and reopening, and the loss of whatever was not synced.
 6. Quantities come back exact.
 7. Waiting is bounded: a turn that cannot be begun in time raises `Busy`.
 8. A failed or cancelled turn leaves nothing. (Cancelled while its group is being written, it is whole or not at all,
    as after a lost answer.)
 9. A turn is judged by the catalog it was prepared with: where the catalog's revision has moved, it raises `Stale` and
    leaves nothing.

Besides usage an engine keeps *documents*: the catalog's facts and the few settings that must survive a restart, as
(kind, key) -> bytes, with one revision that grows with every change. A change of documents is all or nothing too, and
is serialised with the turns: a turn that begins after the change was acknowledged sees the new revision.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

from msgspec import Struct

from meterhouse.core.usage import ClaimKey, Entry, Kept, Partition, RecordKey


class Busy(Exception):
    """The turn could not be begun within the ledger's bound; nothing was kept, a retry is safe."""


class Stale(Exception):
    """The catalog has moved since the turn was prepared (or a document changed meanwhile); nothing was kept."""


class LedgerFailure(Exception):
    """The disk or the database failed; nothing of the turn is acknowledged, a retry is safe. One sentence says what."""


class CannotOpen(Exception):
    """The ledger cannot be opened (locked, corrupt, read-only, a newer schema …); one sentence says which and why."""


class Keys(Struct, frozen=True):
    """What the rule of a turn may look at."""

    records: Sequence[RecordKey] = ()
    claims: Sequence[ClaimKey] = ()
    rivals: Sequence[RecordKey] = ()
    """The same usage under the other form of naming it (by license, by product). Looked at only to warn of double
    billing; an engine may skip them while a partition has seen one form alone."""
    forms: int = 0
    """The forms in which `records` are named (bits of `core.usage`); 0: not said, so every rival is looked at."""


class View(Protocol):
    """What a rule sees inside its turn: what was kept before, and what earlier turns of the group staged."""

    def record(self, key: RecordKey) -> Kept | None:
        """What is kept under a key that the turn named; None where nothing is."""

    def keeps_any(self, keys: Sequence[RecordKey]) -> bool:
        """Whether something is kept under any of the keys, which the turn named."""

    def claim(self, key: ClaimKey) -> bytes | None:
        """The value bound to a claim that the turn named; None where it was never made."""

    @property
    def both_forms(self) -> bool:
        """False only where no rival can be kept, because the partition and the group have seen one form alone."""


class Header(Struct, frozen=True, gc=False, array_like=True):
    """Who asked for what, and when: the head of a journal row. Instants in microseconds since the epoch."""

    request_id: str
    operation: str
    principal: str
    account: str
    received_micros: int
    """Real time."""
    now_micros: int
    """The clock the request was judged by."""
    profile: str


class Decision(Struct, frozen=True):
    """What follows from a request."""

    answer: object
    """Given back to the caller of the turn; the ledger does not look at it."""
    entries: Sequence[Entry] = ()
    claims: Sequence[tuple[ClaimKey, bytes]] = ()
    header: Header | None = None
    """The journal row's head; None: no row is written (then there are no entries)."""


class JournalEntry(NamedTuple):
    """One request that kept something new."""

    partition: Partition
    position: int
    header: Header
    entries: Sequence[Entry]


class Cursor(NamedTuple):
    """A place in the order of all journals together."""

    received_micros: int
    region: str
    product: str
    position: int


class RecordFilter(NamedTuple):
    """Which journal rows are wanted: those of these partitions that have at least one matching record. None: any."""

    region: str | None = None
    product: str | None = None
    customer: str | None = None
    """The buyer's account id."""
    license: str | None = None
    dimension: str | None = None
    from_micros: int | None = None
    """Inclusive, compared with the record's timestamp.

    A record without a dimension is never too early: it begins a metering that goes on (contract §7).
    """
    to_micros: int | None = None
    """Exclusive."""

    @property
    def judges_records(self) -> bool:
        """Whether anything beyond the partition is asked, so that rows without records cannot match."""
        return any(value is not None for value in self[2:])


class Sum(NamedTuple):
    """An exact sum of kept quantities."""

    partition: Partition
    month: str
    """Of the records' timestamps, UTC, as `2026-11`."""
    customer: str
    dimension: str
    by_workload: bool
    """Whether a workload metered itself (MeterUsage)."""
    quantity_micros: int


class Document(NamedTuple):
    """A small fact or setting. `body` is None where it was deleted."""

    kind: str
    key: str
    body: bytes | None


class Size(NamedTuple):
    """How much a ledger holds."""

    records: int
    journal_rows: int
    bytes_on_disk: int


class Ledger(Protocol):
    """One engine. Opened by its module's `open_…` function; every method may raise `LedgerFailure`."""

    async def turn(
        self, partition: Partition, keys: Keys, decide: Callable[[View], Decision], *, revision: int
    ) -> Decision:
        """Reads, decides and keeps, in one transaction that is synced before this returns.

        Raises what `decide` raises (then nothing is kept), `Busy`, `Stale`. `decide` may be called from another thread,
        never concurrently with another rule of the same partition, and must not await, block or touch shared state. It
        may be called again, where what it decided could not be kept; only what is returned at last was kept.
        """

    async def scan(self, partition: Partition, *, after: int, limit: int) -> Sequence[JournalEntry]:
        """The rows of one partition behind a position, in commit order."""

    async def history(self, what: RecordFilter, *, after: Cursor | None, limit: int) -> Sequence[JournalEntry]:
        """Rows of all partitions behind a cursor, ordered by (received, region, product, position).

        With a filter only rows having at least one matching record, each row whole.
        """

    async def sums(self, what: RecordFilter) -> Sequence[Sum]:
        """Exact sums per partition, month, customer, dimension and kind of metering, in that order.

        Of `what`, times are compared with whole hours: from the hour of `from_micros` to before that of `to_micros`.
        """

    async def size(self) -> Size:
        """How much is kept."""

    async def load(self) -> tuple[int, Sequence[Document]]:
        """The revision and every document that is not deleted."""

    async def changes(self, after: int) -> tuple[int, Sequence[Document]]:
        """The revision and what changed behind another: the last state of each document, deletions included."""

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """Keeps all of these documents, or raises `Stale` where the revision is not the expected one.

        Returns the new revision. Synced before it returns, like a turn.
        """

    async def reset(self) -> None:
        """Empties records, claims, journal and series; documents stay. Waits for the turns under way."""

    async def close(self) -> None:
        """Finishes what is under way and lets go of the files or connections; later calls raise `LedgerFailure`."""
