"""What was kept, added up by month, buyer and dimension, and what it costs (catalog contract, `totals=true`).

Quantities come from two places. What was metered by calls the ledger adds up itself, in whole hours; where a wanted
time lies within an hour, the records of that hour are read one by one. What follows from registrations is computed, per
task and month, from when it began and ended.

Everything is added exactly, and an amount is rounded once, of its sum. Rows of one buyer, dimension and month are one
row where unit and price are the same; two products may call different things `users`. Previews are not billed and left
out. Prices are those of today: what a dimension costs is not kept with its usage.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final, NamedTuple

from meterhouse.core.catalog import Catalog, Product, Workload
from meterhouse.core.moment import HOUR, SECOND, hour_of, month_of_hour, month_start_of_hour
from meterhouse.core.pruned import PRUNED_KIND, Pruned, pruned_in
from meterhouse.core.quantity import MICROS, amount_units
from meterhouse.core.running import MINIMUM_SECONDS, end_micros_of
from meterhouse.ledger.protocol import Ledger, RecordFilter
from meterhouse.service.draft import LAST_MICROS
from meterhouse.service.market import Market
from meterhouse.service.readback import REGISTRATION_UNIT, Now, Wanted, identifier_of, is_preview, read_back
from meterhouse.service.registrations import Registration, all_registrations, running_amount_units

_HOUR_SECONDS: Final = 3600
_LAST_HOUR: Final = LAST_MICROS // HOUR
_INTO_NEXT_MONTH: Final = 32 * 24
"""Hours from a month's first to one that lies in the next, whichever month it is."""


class Total(NamedTuple):
    """One row of the totals, in the order in which they are listed."""

    month: str
    """UTC, as `2026-11`."""
    buyer: str
    dimension: str
    """Empty: what follows from registrations."""
    unit: str | None
    price_units: int | None
    """Of one unit (of an hour, where the unit is seconds); with `unit` None where the product no longer has the
    dimension."""
    quantity_micros: int
    amount_units: int | None
    """In hundred-millionths of a US dollar; None where the price is not known."""


class _Kind(NamedTuple):
    month: str
    buyer: str
    dimension: str
    unit: str | None
    price_units: int | None


class Sums:
    """Quantities gathered by what they are of."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._quantities: defaultdict[_Kind, int] = defaultdict(int)

    def add(self, product: str, month: str, buyer: str, dimension: str, quantity_micros: int) -> None:
        """Adds what was metered by calls."""
        known = self._catalog.dimensions[product].get(dimension)
        unit, price = (None, None) if known is None else (known.unit, known.price_units)
        self._quantities[_Kind(month, buyer, dimension, unit, price)] += quantity_micros

    def add_seconds(self, product: Product, month: str, buyer: str, seconds: int) -> None:
        """Adds what follows from a registration."""
        kind = _Kind(month, buyer, "", REGISTRATION_UNIT, product.hourly_price_units)
        self._quantities[kind] += seconds * MICROS

    def totals(self) -> list[Total]:
        """All rows, in their order."""
        # What has no unit any more stands first; None and text do not compare.
        kinds = sorted(self._quantities, key=lambda kind: (*kind[:3], kind.unit or "", kind.price_units or 0))
        return [Total(*kind, self._quantities[kind], _amount(kind, self._quantities[kind])) for kind in kinds]


async def totals(ledger: Ledger, market: Market, now: Now, wanted: Wanted) -> list[Total]:
    """The totals of the wanted records."""
    await market.refresh()
    what = wanted.narrowed(market.catalog)
    if what is None:
        return []
    whole, edges = _divided(_without_pruned(wanted, pruned_in(market.settings(PRUNED_KIND))))
    sums = Sums(market.catalog)
    if whole is not None:
        await _add_whole_hours(ledger, market, wanted, what._replace(from_micros=whole[0], to_micros=whole[1]), sums)
    for edge in edges:
        await _add_edge(ledger, market, now, edge, sums)
    if wanted.dimension in (None, "") and wanted.license is None:
        for registration in await all_registrations(ledger, market, what):
            _add_registration(registration, market.catalog, now, wanted, sums)
    return sums.totals()


async def _add_whole_hours(ledger: Ledger, market: Market, wanted: Wanted, what: RecordFilter, sums: Sums) -> None:
    found = await ledger.sums(what)
    if any(one.partition.product not in market.catalog.products for one in found):
        await market.refresh()
    catalog = market.catalog
    for one in found:
        product = catalog.products[one.partition.product]
        identifier = identifier_of(product, one.customer, catalog)
        if (
            one.dimension
            and not is_preview(product, one.customer, by_workload=one.by_workload)
            and wanted.customer_identifier in (None, identifier)
        ):
            sums.add(product.code, one.month, one.customer, one.dimension, one.quantity_micros)


async def _add_edge(ledger: Ledger, market: Market, now: Now, edge: Wanted, sums: Sums) -> None:
    async for batch in read_back(ledger, market, now, edge):
        for record in batch:
            if record.series.dimension and not record.preview:
                month = month_of_hour(hour_of(record.timestamp_micros))
                series = record.series
                sums.add(record.product.code, month, series.customer, series.dimension, record.quantity_micros)


def _without_pruned(wanted: Wanted, pruned: Pruned | None) -> Wanted:
    """Of what was metered by calls, that which no pruning under way takes: nobody is told half a month."""
    if pruned is None or pruned.done:
        return wanted
    first_micros = pruned.before_micros
    if wanted.from_micros is not None:
        first_micros = max(first_micros, wanted.from_micros)
    return wanted._replace(from_micros=first_micros)


def _divided(wanted: Wanted) -> tuple[tuple[int | None, int | None] | None, list[Wanted]]:
    """The whole hours of the wanted times (None where there are none), and what is left at their edges."""
    start, end = wanted.from_micros, wanted.to_micros
    first = None if start is None else -(-start // HOUR) * HOUR
    last = None if end is None else end // HOUR * HOUR
    if first is not None and last is not None and first >= last:
        whole = None
        edges = [(start, end)] if first > last else [(start, first), (last, end)]
    else:
        whole = (first, last)
        edges = [(start, first), (last, end)]
    some = [edge for edge in edges if edge[0] is not None and edge[1] is not None and edge[0] < edge[1]]
    return whole, [wanted._replace(from_micros=begin, to_micros=end) for begin, end in some]


def _add_registration(registration: Registration, catalog: Catalog, now: Now, wanted: Wanted, sums: Sums) -> None:
    product, workload = catalog.products[registration.product], registration.workload
    identifier = identifier_of(product, workload.account, catalog)
    if is_preview(product, workload.account, by_workload=True) or wanted.customer_identifier not in (None, identifier):
        return
    now_micros = now(workload.account)
    for month, seconds in seconds_by_month(registration.since_micros, workload, now_micros, wanted):
        sums.add_seconds(product, month, workload.account, seconds)


def seconds_by_month(
    since_micros: int, workload: Workload, now_micros: int, wanted: Wanted
) -> Iterator[tuple[str, int]]:
    """What `core.running.hours_of_running` gives for the hours that begin at a wanted time, added up by month.

    An hour begins at its start, the first one at the registration. Costs as much as there are months.
    """
    end_micros = end_micros_of(workload, now_micros)
    since = since_micros // SECOND
    until = max(since, (now_micros if end_micros is None else end_micros) // SECOND)
    shortfall = 0 if end_micros is None else max(0, MINIMUM_SECONDS - (until - since))
    last_hour = max(since, until - 1) // _HOUR_SECONDS
    hour, stop = _wanted_hours(since_micros, last_hour, wanted)
    while hour <= stop:
        month_end = min(stop, _last_hour_of_month(hour))
        begins, ends = max(since, hour * _HOUR_SECONDS), min(until, (month_end + 1) * _HOUR_SECONDS)
        yield month_of_hour(hour), ends - begins + (shortfall if month_end == last_hour else 0)
        hour = month_end + 1


def _wanted_hours(since_micros: int, last_hour: int, wanted: Wanted) -> tuple[int, int]:
    """The first and the last hour that begins at a wanted time; the last before the first where there is none."""
    first = hour_of(since_micros)
    if wanted.from_micros is not None and wanted.from_micros > since_micros:
        first = -(-wanted.from_micros // HOUR)
    if wanted.to_micros is None:
        return first, last_hour
    if wanted.to_micros <= since_micros:
        return first, first - 1
    return first, min(last_hour, (wanted.to_micros - 1) // HOUR)


def _last_hour_of_month(hour: int) -> int:
    beyond = month_start_of_hour(hour) // HOUR + _INTO_NEXT_MONTH
    return _LAST_HOUR if beyond > _LAST_HOUR else month_start_of_hour(beyond) // HOUR - 1


def _amount(kind: _Kind, quantity_micros: int) -> int | None:
    """What it costs, rounded once, half to even; a registration's price is that of an hour."""
    if kind.price_units is None:
        return None
    if kind.dimension:
        return amount_units(quantity_micros, kind.price_units)
    return running_amount_units(quantity_micros // MICROS, kind.price_units)
