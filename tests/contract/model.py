"""A second, dumber ledger: everything is found by looking through all rows. The engines are held against it."""

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from meterhouse.core.usage import ClaimKey, Entry, Kept, Partition, RecordKey
from meterhouse.ledger.protocol import Cursor, Document, Header, JournalEntry, RecordFilter, Sum

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
HOUR_MICROS = 3_600_000_000


class Naive:
    """What a ledger holds, and what it must answer."""

    def __init__(self) -> None:
        self.rows: list[JournalEntry] = []
        self.claims: dict[tuple[Partition, ClaimKey], bytes] = {}
        self.revision = 0
        self.documents: list[tuple[int, Document]] = []

    def kept(self, partition: Partition, key: RecordKey) -> Kept | None:
        """The record under a key."""
        for row in self.rows:
            for entry in row.entries:
                if row.partition == partition and entry.key == key:
                    return Kept(entry.quantity_micros, entry.record_id)
        return None

    def keep(
        self, partition: Partition, header: Header, entries: Sequence[Entry], claims: Sequence[tuple[ClaimKey, bytes]]
    ) -> list[Kept]:
        """Keeps what is new, and says what is under each entry's key then."""
        new: list[Entry] = []
        for entry in entries:
            if self.kept(partition, entry.key) is None and all(entry.key != other.key for other in new):
                new.append(entry)
        made = [(key, value) for key, value in claims if (partition, key) not in self.claims]
        self.claims.update({(partition, key): value for key, value in made})
        if new or made:
            position = 1 + len(self.scan(partition, 0, len(self.rows)))
            self.rows.append(JournalEntry(partition, position, header, new))
        found = [self.kept(partition, entry.key) for entry in entries]
        return [kept for kept in found if kept is not None]

    def scan(self, partition: Partition, after: int, limit: int) -> list[JournalEntry]:
        """As `Ledger.scan`."""
        return [row for row in self.rows if row.partition == partition and row.position > after][:limit]

    def history(self, what: RecordFilter, after: Cursor | None, limit: int) -> list[JournalEntry]:
        """As `Ledger.history`."""
        placed = sorted((_place(row), number) for number, row in enumerate(self.rows))
        rows = [self.rows[number] for place, number in placed if after is None or place > after]
        return [row for row in rows if _wanted(what, row)][:limit]

    def sums(self, what: RecordFilter) -> list[Sum]:
        """As `Ledger.sums`."""
        sums: Counter[tuple[Partition, str, str, str, bool]] = Counter()
        for row in self.rows:
            for entry in row.entries:
                hour, series = entry.key.hour, entry.key.series
                if (
                    what.region in (None, row.partition.region)
                    and what.product in (None, row.partition.product)
                    and what.customer in (None, series.customer)
                    and what.license in (None, series.license)
                    and what.dimension in (None, series.dimension)
                    and (what.from_micros is None or hour >= what.from_micros // HOUR_MICROS)
                    and (what.to_micros is None or hour < what.to_micros // HOUR_MICROS)
                ):
                    day = EPOCH + timedelta(hours=hour)
                    month = f"{day.year:04}-{day.month:02}"
                    key = row.partition, month, series.customer, series.dimension, series.workload != ""
                    sums[key] += entry.quantity_micros
        return [Sum(*key, sums[key]) for key in sorted(sums)]

    def change(self, documents: Sequence[Document]) -> int:
        """As `Ledger.change`, with the revision that is expected."""
        self.revision += 1
        self.documents += [(self.revision, document) for document in documents]
        return self.revision

    def changes(self, after: int) -> set[Document]:
        """As `Ledger.changes`."""
        last = {(document.kind, document.key): (revision, document) for revision, document in self.documents}
        return {document for revision, document in last.values() if revision > after}

    def load(self) -> set[Document]:
        """As `Ledger.load`."""
        return {document for document in self.changes(0) if document.body is not None}

    def reset(self) -> None:
        """As `Ledger.reset`."""
        self.rows.clear()
        self.claims.clear()


def _place(row: JournalEntry) -> Cursor:
    return Cursor(row.header.received_micros, *row.partition, row.position)


def _wanted(what: RecordFilter, row: JournalEntry) -> bool:
    if what.region not in (None, row.partition.region) or what.product not in (None, row.partition.product):
        return False
    if tuple(what)[2:] == (None,) * 5:
        return True
    for entry in row.entries:
        series = entry.key.series
        if (
            what.customer in (None, series.customer)
            and what.license in (None, series.license)
            and what.dimension in (None, series.dimension)
            and (what.from_micros is None or entry.timestamp_micros >= what.from_micros or series.dimension == "")
            and (what.to_micros is None or entry.timestamp_micros < what.to_micros)
        ):
            return True
    return False
