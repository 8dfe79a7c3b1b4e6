"""A second, dumber BatchMeterUsage: contract §4 and §5 said in plain Python, with no thought for speed.

It shares nothing with the package. A request is the JSON a client would send, times are datetimes, quantities are
`Decimal`; every step goes over all records before the next begins; what is kept is a dict under a text.
"""

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

Record = dict[str, Any]


class Offer(NamedTuple):
    """A product."""

    seller: str
    concurrent: bool
    dimensions: frozenset[str]
    regions: frozenset[str] | None
    repeats_are_duplicates: bool
    ages_from_the_hour: bool


class Deal(NamedTuple):
    """An agreement."""

    product: str
    buyer: str
    license: str
    identifier: str | None
    start: datetime
    end: datetime | None
    pending: bool
    closed: bool


class World(NamedTuple):
    """Everything there is."""

    offers: dict[str, Offer]
    deals: dict[str, Deal]
    suspended: set[str]


class Request(NamedTuple):
    """A call."""

    seller: str
    region: str
    code: str | None
    records: list[Record]


class RefusedBy(Exception):
    """The whole batch is refused."""


def judge(
    world: World, kept: dict[str, tuple[Decimal, int]], request: Request, served: set[str] | None, now: datetime
) -> list[tuple[str, int | None]]:
    """The status of each record, and the number of the kept record where there is one. Raises RefusedBy."""
    records = request.records
    if not records:
        return []
    for record in records:
        _combination(request, record)
    if served is not None and request.region not in served:
        raise RefusedBy("DisabledApiException")
    product = _product(world, request)
    offer = world.offers[product]
    if offer.regions is not None and request.region not in offer.regions:
        raise RefusedBy("DisabledApiException")
    steps: list[Callable[[Record], None]] = [
        lambda record: _customer(world, offer, record),
        lambda record: _license_customer(world, offer, record),
        lambda record: _dimension(offer, record),
        lambda record: _window(offer, record, now),
        lambda record: _license_period(world, kept, request, product, record),
        _tags,
        _allocations,
    ]
    for step in steps:
        for record in records:
            step(record)
    return [_status(world, kept, request, product, record, now) for record in records]


# --- before the catalog -----------------------------------------------------------------------------------------------


def _combination(request: Request, record: Record) -> None:
    if "Quantity" in record and "QuantityAsDecimal" in record:
        raise RefusedBy("ValidationException")
    if bool(record.get("CustomerIdentifier")) == ("CustomerAWSAccountId" in record):
        raise RefusedBy("ValidationException")
    if "LicenseArn" not in record and not request.code:
        raise RefusedBy("ValidationException")


# --- product, license, customer ---------------------------------------------------------------------------------------


def _deal_of(world: World, license_arn: str) -> Deal | None:
    return next((deal for deal in world.deals.values() if deal.license == license_arn), None)


def _product(world: World, request: Request) -> str:
    named = request.code
    if named:
        offer = world.offers.get(named)
        if offer is None or offer.seller != request.seller or offer.concurrent:
            raise RefusedBy("InvalidProductCodeException")
    for record in request.records:
        if "LicenseArn" in record:
            deal = _deal_of(world, record["LicenseArn"])
            if deal is None or world.offers[deal.product].seller != request.seller:
                raise RefusedBy("InvalidLicenseException")
            if named and deal.product != named:
                raise RefusedBy("InvalidLicenseException")
            named = deal.product
    assert named
    return named


def _buyer(world: World, seller: str, record: Record) -> str | None:
    if "CustomerAWSAccountId" in record:
        return str(record["CustomerAWSAccountId"])
    for deal in world.deals.values():
        if deal.identifier == record["CustomerIdentifier"] and world.offers[deal.product].seller == seller:
            return deal.buyer
    return None


def _customer(world: World, offer: Offer, record: Record) -> None:
    if record.get("CustomerIdentifier") and (offer.concurrent or _buyer(world, offer.seller, record) is None):
        raise RefusedBy("InvalidCustomerIdentifierException")


def _license_customer(world: World, offer: Offer, record: Record) -> None:
    if "LicenseArn" in record:
        deal = _deal_of(world, record["LicenseArn"])
        if deal is None or deal.buyer != _buyer(world, offer.seller, record):
            raise RefusedBy("InvalidLicenseException")


def _dimension(offer: Offer, record: Record) -> None:
    if record["Dimension"] not in offer.dimensions:
        raise RefusedBy("InvalidUsageDimensionException")


# --- time -------------------------------------------------------------------------------------------------------------


def _hour(moment: datetime) -> datetime:
    return moment.replace(minute=0, second=0, microsecond=0)


def _window(offer: Offer, record: Record, now: datetime) -> None:
    then = record["Timestamp"]
    counted = _hour(then) if offer.ages_from_the_hour else then
    if now - counted >= timedelta(hours=24) or then - now > timedelta(minutes=5):
        raise RefusedBy("TimestampOutOfBoundsException")
    if (then.year, then.month) < (now.year, now.month) and (now.day, now.hour) >= (1, 6):
        raise RefusedBy("TimestampOutOfBoundsException")


def _in_period(deal: Deal, then: datetime) -> bool:
    return deal.pending or (then >= _hour(deal.start) and (deal.end is None or then <= deal.end))


def _license_period(
    world: World, kept: dict[str, tuple[Decimal, int]], request: Request, product: str, record: Record
) -> None:
    if "LicenseArn" in record:
        deal = _deal_of(world, record["LicenseArn"])
        same = kept.get(_key(world, request, product, record))
        is_replay = same is not None and same[0] == _quantity(record)
        if deal is not None and not _in_period(deal, record["Timestamp"]) and not is_replay:
            raise RefusedBy("InvalidLicenseException")


def _takes(deal: Deal, then: datetime, now: datetime) -> bool:
    if deal.pending or deal.closed or now < deal.start or not _in_period(deal, then):
        return False
    return deal.end is None or now - deal.end <= timedelta(hours=1)


# --- quantity, allocations, tags --------------------------------------------------------------------------------------


def _quantity(record: Record) -> Decimal:
    return Decimal(record.get("QuantityAsDecimal", 0)) + Decimal(record.get("Quantity", 0))


def _tags(record: Record) -> None:
    for allocation in record.get("UsageAllocations", ()):
        if "Tags" in allocation:
            tags = allocation["Tags"]
            keys = [tag["Key"] for tag in tags]
            if not 1 <= len(tags) <= 5 or len(set(keys)) != len(keys):
                raise RefusedBy("InvalidTagException")
            for tag in tags:
                for text, longest in ((tag["Key"], 100), (tag["Value"], 256)):
                    if not 1 <= len(text) <= longest or re.search(r"[^a-zA-Z0-9+ -=._:/@]", text):
                        raise RefusedBy("InvalidTagException")
                if tag["Key"].lower().startswith("aws:"):
                    raise RefusedBy("InvalidTagException")


def _allocations(record: Record) -> None:
    if "UsageAllocations" not in record:
        return
    allocations = record["UsageAllocations"]
    total, tag_sets = Decimal(0), []
    for allocation in allocations:
        whole, exact = "AllocatedUsageQuantity" in allocation, "AllocatedUsageQuantityAsDecimal" in allocation
        if (whole and exact) or (whole and "QuantityAsDecimal" in record) or (exact and "Quantity" in record):
            raise RefusedBy("InvalidUsageAllocationsException")
        total += Decimal(allocation.get("AllocatedUsageQuantityAsDecimal", 0))
        total += allocation.get("AllocatedUsageQuantity", 0)
        tag_sets.append({(tag["Key"], tag["Value"]) for tag in allocation.get("Tags", ())})
    twice = any(tags in tag_sets[:place] for place, tags in enumerate(tag_sets))
    if not 1 <= len(allocations) <= 2500 or total != _quantity(record) or twice:
        raise RefusedBy("InvalidUsageAllocationsException")


# --- outcomes ---------------------------------------------------------------------------------------------------------


def _key(world: World, request: Request, product: str, record: Record) -> str:
    buyer = _buyer(world, request.seller, record)
    named_by = record.get("LicenseArn") or f"product {product}"
    return f"{request.region} {product} {named_by} {buyer} {record['Dimension']} {_hour(record['Timestamp'])}"


def _status(
    world: World,
    kept: dict[str, tuple[Decimal, int]],
    request: Request,
    product: str,
    record: Record,
    now: datetime,
) -> tuple[str, int | None]:
    key, quantity, buyer = (
        _key(world, request, product, record),
        _quantity(record),
        _buyer(world, request.seller, record),
    )
    if key in kept and kept[key][0] == quantity:
        repeated: tuple[str, int | None] = ("Success", kept[key][1])
        return ("DuplicateRecord", None) if world.offers[product].repeats_are_duplicates else repeated
    deals = [deal for deal in world.deals.values() if (deal.product, deal.buyer) == (product, buyer)]
    if "LicenseArn" in record:
        deals = [deal for deal in deals if deal.license == record["LicenseArn"]]
    if buyer in world.suspended or not any(_takes(deal, record["Timestamp"], now) for deal in deals):
        return "CustomerNotSubscribed", None
    if key in kept:
        return "DuplicateRecord", None
    kept[key] = (quantity, len(kept) + 1)
    return "Success", kept[key][1]
