"""A second, dumber MeterUsage and RegisterUsage: contract §6 and §7 said in plain Python, with no thought for speed.

It shares nothing with the package. A request is the JSON a client would send, times are datetimes, quantities are
`Decimal`; what is kept is a list that is searched from its beginning.
"""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, NamedTuple

from tests.unit import batch_model
from tests.unit.batch_model import Deal, RefusedBy

Body = dict[str, Any]

BY_THE_HOUR = {"ec2", "ecs", "eks", "fargate"}
CONTAINERS = {"ecs", "eks", "fargate"}


class Offer(NamedTuple):
    """A product."""

    seller: str
    dimensions: frozenset[str]
    regions: frozenset[str] | None
    ages_from_the_hour: bool
    literal: bool
    versions: int
    """How many key versions were made; 0: none yet."""


class Running(NamedTuple):
    """What runs at a buyer."""

    name: str
    platform: str
    account: str
    region: str
    launched: datetime


class World(NamedTuple):
    """Everything there is."""

    offers: dict[str, Offer]
    deals: dict[str, Deal]
    suspended: set[str]


class Asked(NamedTuple):
    """A call: who makes it, to which Region, what it says."""

    account: str
    running: Running | None
    region: str
    served: set[str] | None
    body: Body


class Memory:
    """What was kept."""

    def __init__(self) -> None:
        self.records: list[dict[str, Any]] = []
        self.tokens: list[dict[str, Any]] = []
        self.successes: list[tuple[str, str]] = []
        self.registered: dict[tuple[str, str], datetime] = {}


def meter(world: World, memory: Memory, asked: Asked, now: datetime) -> tuple[str, int]:
    """`kept` or `same`, with the record's number, or `tried` with 0. Raises RefusedBy."""
    body, running = asked.body, asked.running
    agent = running is not None and running.platform == "agentcore"
    if "UsageQuantity" in body and "UsageQuantityAsDecimal" in body:
        raise RefusedBy("ValidationException")
    if agent and "ClientToken" not in body:
        raise RefusedBy("ValidationException")
    if running is None or running.platform not in BY_THE_HOUR | {"agentcore"}:
        raise RefusedBy("PlatformNotSupportedException")
    offer = _offer(world, asked, "InvalidEndpointRegionException", "InvalidEndpointRegionException")
    _entitlement(world, memory, asked, offer, now)
    _dimension(offer, body)
    _window(offer, running, body["Timestamp"], now)
    record = {
        {"UsageQuantity": "Quantity", "UsageQuantityAsDecimal": "QuantityAsDecimal"}.get(name, name): value
        for name, value in body.items()
    }
    batch_model._tags(record)
    if agent and "UsageAllocations" in body:
        raise RefusedBy("InvalidUsageAllocationsException")
    batch_model._allocations(record)
    return _keep(memory, asked, offer, batch_model._quantity(record), agent=agent)


def register(world: World, memory: Memory, asked: Asked, now: datetime) -> tuple[str, datetime]:
    """`kept` or `same`, and since when the task is metered. Raises RefusedBy."""
    running = asked.running
    if running is None or running.platform not in CONTAINERS:
        raise RefusedBy("PlatformNotSupportedException")
    offer = _offer(world, asked, "InvalidRegionException", "DisabledApiException")
    if asked.body["PublicKeyVersion"] > max(1, offer.versions):
        raise RefusedBy("InvalidPublicKeyVersionException")
    _entitlement(world, memory, asked, offer, now)
    place = running.name, asked.body["ProductCode"]
    if offer.seller != asked.account:
        memory.successes.append(place)
    if place in memory.registered:
        return "same", memory.registered[place]
    memory.registered[place] = now
    return "kept", now


def _offer(world: World, asked: Asked, elsewhere: str, unserved: str) -> Offer:
    """Regions and product."""
    assert asked.running is not None
    if asked.running.region != asked.region:
        raise RefusedBy(elsewhere)
    if asked.served is not None and asked.region not in asked.served:
        raise RefusedBy(unserved)
    if asked.body["ProductCode"] not in world.offers:
        raise RefusedBy("InvalidProductCodeException")
    offer = world.offers[asked.body["ProductCode"]]
    if offer.regions is not None and asked.region not in offer.regions:
        raise RefusedBy(unserved)
    return offer


def _entitlement(world: World, memory: Memory, asked: Asked, offer: Offer, now: datetime) -> None:
    assert asked.running is not None
    code = asked.body["ProductCode"]
    if asked.account == offer.seller or (asked.running.name, code) in memory.successes:
        return
    if asked.account not in world.suspended:
        for deal in world.deals.values():
            if (deal.product, deal.buyer) == (code, asked.account) and _open(deal, now):
                return
    literally = offer.literal and asked.body.get("DryRun")
    raise RefusedBy("UnauthorizedException" if literally else "CustomerNotEntitledException")


def _open(deal: Deal, now: datetime) -> bool:
    if deal.pending or deal.closed or now < deal.start:
        return False
    return deal.end is None or now - deal.end <= timedelta(hours=1)


def _dimension(offer: Offer, body: Body) -> None:
    if body["UsageDimension"] not in offer.dimensions:
        raise RefusedBy("InvalidUsageDimensionException")


def _window(offer: Offer, running: Running, then: datetime, now: datetime) -> None:
    counted = batch_model._hour(then) if offer.ages_from_the_hour else then
    if now - counted >= timedelta(hours=6) or then - now > timedelta(minutes=5):
        raise RefusedBy("TimestampOutOfBoundsException")
    if (then.year, then.month) < (now.year, now.month) and (now.day, now.hour) >= (1, 6):
        raise RefusedBy("TimestampOutOfBoundsException")
    if then < batch_model._hour(running.launched):
        raise RefusedBy("TimestampOutOfBoundsException")


def _parts(body: Body) -> list[str]:
    """The allocations in an order of their own."""
    parts = []
    for one in body.get("UsageAllocations", ()):
        quantity = Decimal(one.get("AllocatedUsageQuantityAsDecimal", 0)) + one.get("AllocatedUsageQuantity", 0)
        tags = sorted((tag["Key"], tag["Value"]) for tag in one.get("Tags", ()))
        parts.append(f"{quantity.normalize():f} {tags}")
    return sorted(parts)


def _keep(memory: Memory, asked: Asked, offer: Offer, quantity: Decimal, *, agent: bool) -> tuple[str, int]:
    """ClientToken, then key, then DryRun."""
    assert asked.running is not None
    body, code, token = asked.body, asked.body["ProductCode"], asked.body.get("ClientToken")
    then = body["Timestamp"]
    about = {"workload": asked.running.name, "product": code, "dimension": body["UsageDimension"]}
    parameters = {
        "when": then if agent else batch_model._hour(then),
        "dimension": body["UsageDimension"],
        "quantity": quantity,
        "parts": _parts(body),
    }
    bound = [one for one in memory.tokens if (one["workload"], one["product"], one["token"]) == (*_place(about), token)]
    if bound and bound[0]["parameters"] != parameters:
        raise RefusedBy("IdempotencyConflictException")
    key = {**about, "token": token} if agent else {**about, "hour": batch_model._hour(then)}
    found = [one for one in memory.records if all(one.get(name) == value for name, value in key.items())]
    if found and found[0]["quantity"] != quantity:
        raise RefusedBy("DuplicateRequestException")
    if body.get("DryRun"):
        if offer.literal:
            raise RefusedBy("DryRunOperation")
        return "tried", 0
    if asked.account != offer.seller:
        memory.successes.append((asked.running.name, code))
    if token is not None and not bound:
        memory.tokens.append({**about, "token": token, "parameters": parameters})
    if found:
        return "same", found[0]["number"]
    number = len(memory.records) + 1
    memory.records.append({**key, "quantity": quantity, "number": number})
    return "kept", number


def _place(about: dict[str, Any]) -> tuple[str, str]:
    return about["workload"], about["product"]
