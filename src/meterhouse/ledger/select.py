"""What a `RecordFilter` means: pure, and the same for every engine."""

from collections.abc import Iterable

from meterhouse.core.moment import hour_of
from meterhouse.core.usage import Entry, Partition, Series
from meterhouse.ledger.protocol import Cursor, JournalEntry, RecordFilter


def place_of(row: JournalEntry) -> Cursor:
    """Where a row stands in the order of all journals together."""
    return Cursor(row.header.received_micros, row.partition.region, row.partition.product, row.position)


def wants_partition(what: RecordFilter, partition: Partition) -> bool:
    """Whether rows of a partition are asked for."""
    return what.region in (None, partition.region) and what.product in (None, partition.product)


def wants_series(what: RecordFilter, series: Series) -> bool:
    """Whether usage of this identity is asked for."""
    return (
        what.customer in (None, series.customer)
        and what.license in (None, series.license)
        and what.dimension in (None, series.dimension)
    )


def wants_row(what: RecordFilter, entries: Iterable[Entry]) -> bool:
    """Whether a row of a wanted partition is asked for: every one, or those with at least one matching record."""
    return not what.judges_records or any(_wants_entry(what, entry) for entry in entries)


def hours_of(what: RecordFilter) -> tuple[int | None, int | None]:
    """The first hour that sums take, and the first they no longer take."""
    first = None if what.from_micros is None else hour_of(what.from_micros)
    end = None if what.to_micros is None else hour_of(what.to_micros)
    return first, end


def _wants_entry(what: RecordFilter, entry: Entry) -> bool:
    series = entry.key.series
    return (
        (what.from_micros is None or what.from_micros <= entry.timestamp_micros or not series.dimension)
        and (what.to_micros is None or entry.timestamp_micros < what.to_micros)
        and wants_series(what, series)
    )
