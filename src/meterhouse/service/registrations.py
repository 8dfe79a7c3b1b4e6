"""Which tasks and pods are metered by the second, and since when (contract §7).

A registration is a claim in the partition of its product, so it is looked up under its key and never searched for in
the journal, however long that is. A workload can only have registered for products that its account has an agreement
for, or sells itself; so only there is it looked for. Agreements are never deleted.

A look-up is a turn that keeps nothing: it sees whatever was acknowledged before.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

from meterhouse.core.catalog import Catalog, Workload
from meterhouse.core.decide.register_usage import PLATFORMS, REGISTRATION_CLAIM, registered_micros_of
from meterhouse.core.usage import ClaimKey, Partition
from meterhouse.ledger.protocol import Busy, Decision, Keys, Ledger, RecordFilter, Stale, View
from meterhouse.service.market import Market

_CLAIMS_AT_ONCE: Final = 500
"""How many claims one turn looks up: while it does, others wait."""
_ATTEMPTS: Final = 64
_HOUR_SECONDS: Final = 3600


class Registration(NamedTuple):
    """A task or pod is metered for a product since an instant."""

    product: str
    workload: Workload
    since_micros: int


async def registrations_of(ledger: Ledger, market: Market, workloads: Iterable[Workload]) -> Sequence[Registration]:
    """The registrations of some workloads, by workload in the order given, then by product."""
    return await _looked_up(ledger, market, list(workloads), RecordFilter())


async def all_registrations(ledger: Ledger, market: Market, what: RecordFilter) -> Sequence[Registration]:
    """All registrations of the wanted Region, product and customer."""
    workloads = [
        workload
        for workload in market.catalog.workloads.values()
        if what.customer in (None, workload.account) and what.region in (None, workload.region)
    ]
    return await _looked_up(ledger, market, workloads, what)


def running_amount_units(seconds: int, hourly_price_units: int) -> int:
    """What so many seconds of running cost, in hundred-millionths of a dollar, rounded once, half to even."""
    return round(Fraction(seconds * hourly_price_units, _HOUR_SECONDS))


async def _looked_up(
    ledger: Ledger, market: Market, workloads: Sequence[Workload], what: RecordFilter
) -> Sequence[Registration]:
    containers = [workload for workload in workloads if workload.platform in PLATFORMS]
    products = _products_of({workload.account for workload in containers}, market.catalog, what.product)
    asked: defaultdict[Partition, list[Workload]] = defaultdict(list)
    for workload in containers:
        for product in products[workload.account]:
            asked[Partition(workload.region, product)].append(workload)
    found: dict[tuple[str, str], int] = {}
    for partition, candidates in asked.items():
        for some in _batches(candidates):
            for resource_id, since_micros in (await _claims(ledger, market, partition, some)).items():
                found[resource_id, partition.product] = since_micros
    return [
        Registration(product, workload, found[workload.resource_id, product])
        for workload in containers
        for product in products[workload.account]
        if (workload.resource_id, product) in found
    ]


def _batches(workloads: Sequence[Workload]) -> Iterator[Sequence[Workload]]:
    for start in range(0, len(workloads), _CLAIMS_AT_ONCE):
        yield workloads[start : start + _CLAIMS_AT_ONCE]


def _products_of(accounts: Collection[str], catalog: Catalog, product: str | None) -> Mapping[str, Sequence[str]]:
    """The products that workloads of each account can have registered for, sorted."""
    codes = catalog.products if product is None else {product} & catalog.products.keys()
    found: dict[str, set[str]] = {account: set() for account in accounts}
    for code in codes:
        seller = catalog.products[code].seller
        if seller in found:
            found[seller].add(code)
    agreed = catalog.agreements_of_buyer
    if len(codes) * len(accounts) < len(agreed):
        pairs = ((code, account) for code in codes for account in accounts if (code, account) in agreed)
    else:
        pairs = ((code, account) for code, account in agreed if account in found and code in codes)
    for code, account in pairs:
        found[account].add(code)
    return {account: sorted(some) for account, some in found.items()}


async def _claims(
    ledger: Ledger, market: Market, partition: Partition, workloads: Sequence[Workload]
) -> Mapping[str, int]:
    """Since when each of these workloads is registered in a partition; those that are not are left out."""
    claims = [ClaimKey(REGISTRATION_CLAIM, workload.resource_id) for workload in workloads]

    def look(view: View) -> Decision:
        return Decision({key.key: value for key in claims if (value := view.claim(key)) is not None})

    for _ in range(_ATTEMPTS):
        try:
            decision = await ledger.turn(partition, Keys(claims=claims), look, revision=market.catalog.revision)
        except Stale:
            await market.refresh()
            continue
        assert isinstance(decision.answer, dict), "a turn gives back what its rule answered"
        return {resource_id: registered_micros_of(value) for resource_id, value in decision.answer.items()}
    raise Busy("the catalog keeps changing")
