"""What was kept, read back: from rows of the journal to usage records, one by one (catalog contract, `/records`).

A row of BatchMeterUsage or MeterUsage stands for the records it kept. A row of RegisterUsage stands for what followed
from it: one record per hour that the task has run, computed anew each time it is read (`core.running`). The last of
these is not settled until the task has ended.

Order: with a Region and a product, the partition's own, in which rows were committed; else that of all journals
together, (received, Region, product, position). Within a row, as they were said, or by the hour. A `Place` names one
record in that order and stays valid for ever: a task's hours are counted from the hour of its registration.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple
from uuid import UUID, uuid5

from meterhouse.core.catalog import Catalog, Integration, Product
from meterhouse.core.moment import HOUR, hour_of
from meterhouse.core.pruned import PRUNED_KIND, pruned_in
from meterhouse.core.quantity import MICROS
from meterhouse.core.running import end_micros_of, hours_of_running
from meterhouse.core.usage import Allotment, Entry, Partition, Series
from meterhouse.ledger.protocol import Cursor, Header, JournalEntry, Ledger, RecordFilter
from meterhouse.service.market import Market

REGISTRATION_UNIT: Final = "seconds"
"""The unit of what follows from a registration."""
BATCH_RECORDS: Final = 250
"""The most records of a batch: what others wait while one is worked on."""
ROWS_AT_ONCE: Final = 400
"""The most journal rows that are read at once."""

Now = Callable[[str], int]
"""The present instant by the clock of an account, in microseconds."""


class Place(NamedTuple):
    """One record's place in the order of all: its row's, and its index within the row."""

    received_micros: int
    region: str
    product: str
    position: int
    nth: int
    """Counted from 0 within the row."""


class ReadRecord(NamedTuple):
    """A usage record as it is shown to people."""

    partition: Partition
    position: int
    header: Header
    nth: int
    product: Product
    series: Series
    timestamp_micros: int
    quantity_micros: int
    record_id: bytes
    allocations: tuple[Allotment, ...]
    unit: str | None
    """None where the product no longer has the dimension."""
    customer_identifier: str | None

    @property
    def place(self) -> Place:
        """Where it stands."""
        return Place(self.header.received_micros, *self.partition, self.position, self.nth)

    @property
    def preview(self) -> bool:
        """Whether a workload of the seller's own account metered it: kept, and not billed."""
        return is_preview(self.product, self.series.customer, by_workload=bool(self.series.workload))


class Wanted(NamedTuple):
    """Which records are asked for; None: any."""

    region: str | None = None
    product: str | None = None
    customer: str | None = None
    """The buyer's account id."""
    customer_identifier: str | None = None
    license: str | None = None
    dimension: str | None = None
    from_micros: int | None = None
    """Inclusive, compared with a record's own timestamp."""
    to_micros: int | None = None
    """Exclusive."""

    @property
    def partition(self) -> Partition | None:
        """The one partition that is asked for, if it is one."""
        if self.region is None or self.product is None:
            return None
        return Partition(self.region, self.product)

    def narrowed(self, catalog: Catalog) -> RecordFilter | None:
        """What the ledger can sort out beforehand; None where nothing can match."""
        customer = self.customer
        if self.customer_identifier is not None:
            buyers = _buyers_of(self.customer_identifier, catalog)
            if not buyers:
                return None
            if customer is None and len(buyers) == 1:
                (customer,) = buyers
        return RecordFilter(
            self.region, self.product, customer, self.license, self.dimension, self.from_micros, self.to_micros
        )

    def takes(self, series: Series, customer_identifier: str | None) -> bool:
        """Whether usage of this identity is asked for, of a wanted partition and at a wanted time."""
        return (
            self.customer in (None, series.customer)
            and self.license in (None, series.license)
            and self.dimension in (None, series.dimension)
            and self.customer_identifier in (None, customer_identifier)
        )

    def takes_time(self, timestamp_micros: int) -> bool:
        """Whether usage of this instant is asked for."""
        return (self.from_micros is None or self.from_micros <= timestamp_micros) and (
            self.to_micros is None or timestamp_micros < self.to_micros
        )


ANY: Final = Wanted()
"""Every record."""


def is_preview(product: Product, customer: str, *, by_workload: bool) -> bool:
    """Whether usage was metered by a workload of the seller's own account (contract §6)."""
    return by_workload and product.seller == customer


def identifier_of(product: Product, customer: str, catalog: Catalog) -> str | None:
    """The seller's name for a buyer, for legacy products only."""
    if product.integration is not Integration.LEGACY:
        return None
    return catalog.identifier_of_buyer.get((product.seller, customer))


async def read_back(
    ledger: Ledger,
    market: Market,
    now: Now,
    wanted: Wanted,
    *,
    after: Place | None = None,
    rows_at_once: int = 25,
    until_micros: int | None = None,
) -> AsyncGenerator[list[ReadRecord], None]:
    """The wanted records behind a place, in batches that are never empty.

    `rows_at_once`: how many journal rows are read first; more and more, up to `ROWS_AT_ONCE`, where few of them match.
    `until_micros`: rows received later are left out, so that reading ends while usage goes on.
    """
    what = wanted.narrowed(market.catalog)
    while what is not None:
        pruned = pruned_in(market.settings(PRUNED_KIND))
        rows = await _rows(ledger, wanted.partition, what, after, rows_at_once)
        if not all(_is_known(row, market.catalog) for row in rows):
            await market.refresh()  # another server's product or workload, made since this one last looked
        known = [row for row in rows if until_micros is None or row.header.received_micros <= until_micros]
        records: Iterator[ReadRecord] = _records_of(known, market.catalog, now, wanted, after)
        if pruned is not None and not pruned.done:
            records = filter(_is_kept_after(pruned.before_micros), records)
        while batch := list(islice(records, BATCH_RECORDS)):
            yield batch
        if len(rows) < rows_at_once or not known:
            return
        last = rows[-1]
        # The place behind every record of the last row.
        after = Place(last.header.received_micros, *last.partition, last.position + 1, -1)
        rows_at_once = min(2 * rows_at_once, ROWS_AT_ONCE)


def _is_kept_after(pruned_micros: int) -> Callable[[ReadRecord], bool]:
    """What a pruning that is under way has not taken, or is about to: nobody reads half a month."""
    return lambda record: record.timestamp_micros >= pruned_micros or not record.series.dimension


def _is_known(row: JournalEntry, catalog: Catalog) -> bool:
    """Whether the catalog has what a row refers to."""
    return row.partition.product in catalog.products and all(
        series.dimension or series.workload in catalog.workloads for series in (one.key.series for one in row.entries)
    )


async def _rows(
    ledger: Ledger, partition: Partition | None, what: RecordFilter, after: Place | None, limit: int
) -> Sequence[JournalEntry]:
    """The rows from that of a place on, since not all of its records need have been read."""
    if partition is not None:
        return await ledger.scan(partition, after=0 if after is None else after.position - 1, limit=limit)
    cursor = None
    if after is not None:
        cursor = Cursor(after.received_micros, after.region, after.product, after.position - 1)
    return await ledger.history(what, after=cursor, limit=limit)


def _records_of(
    rows: Iterable[JournalEntry], catalog: Catalog, now: Now, wanted: Wanted, after: Place | None
) -> Iterator[ReadRecord]:
    for row in rows:
        here = (row.header.received_micros, *row.partition, row.position)
        read = after.nth + 1 if after is not None and after[:4] == here else 0
        yield from records_of(row, catalog, now, wanted, read=read)


def records_of(
    row: JournalEntry, catalog: Catalog, now: Now, wanted: Wanted = ANY, *, read: int = 0
) -> Iterator[ReadRecord]:
    """The wanted records of a row of a wanted partition, but for the first so many, which have been read."""
    product = catalog.products[row.partition.product]
    dimensions = catalog.dimensions[product.code]
    for nth, entry in enumerate(row.entries):
        series = entry.key.series
        identifier = identifier_of(product, series.customer, catalog)
        if not wanted.takes(series, identifier):
            continue
        if not series.dimension:
            registration = _record(row, nth, product, entry, REGISTRATION_UNIT, identifier)
            yield from _hours(registration, catalog, now, wanted, read)
        elif nth >= read and wanted.takes_time(entry.timestamp_micros):
            dimension = dimensions.get(series.dimension)
            yield _record(row, nth, product, entry, None if dimension is None else dimension.unit, identifier)


def _record(
    row: JournalEntry, nth: int, product: Product, entry: Entry, unit: str | None, identifier: str | None
) -> ReadRecord:
    return ReadRecord(
        row.partition,
        row.position,
        row.header,
        nth,
        product,
        entry.key.series,
        entry.timestamp_micros,
        entry.quantity_micros,
        entry.record_id,
        entry.allocations,
        unit,
        identifier,
    )


def _hours(registration: ReadRecord, catalog: Catalog, now: Now, wanted: Wanted, read: int) -> Iterator[ReadRecord]:
    """What followed from a registration, hour by hour."""
    since_micros = registration.timestamp_micros
    workload = catalog.workloads[registration.series.workload]
    now_micros = now(workload.account)
    first_hour = hour_of(since_micros)
    from_hour = first_hour + read
    if wanted.from_micros is not None:
        from_hour = max(from_hour, hour_of(wanted.from_micros))
    end_micros = end_micros_of(workload, now_micros)
    for hour, seconds in hours_of_running(since_micros, end_micros, now_micros, from_hour=from_hour):
        timestamp_micros = max(since_micros, hour * HOUR)
        if wanted.to_micros is not None and timestamp_micros >= wanted.to_micros:
            return
        if wanted.takes_time(timestamp_micros):
            yield registration._replace(
                nth=hour - first_hour,
                timestamp_micros=timestamp_micros,
                quantity_micros=seconds * MICROS,
                record_id=record_id_of_hour(registration.record_id, hour),
            )


def record_id_of_hour(registration_id: bytes, hour: int) -> bytes:
    """The id of a task's metering in an hour: the same whenever it is asked for, and no other record's."""
    return uuid5(UUID(bytes=registration_id), str(hour)).bytes


def _buyers_of(customer_identifier: str, catalog: Catalog) -> frozenset[str]:
    """Who goes by this name: one buyer at most for each seller."""
    sellers = {product.seller for product in catalog.products.values()}
    named = (catalog.buyer_of_identifier.get((seller, customer_identifier)) for seller in sellers)
    return frozenset(buyer for buyer in named if buyer is not None)
