"""BatchMeterUsage against a second, dumber model of the contract: any story must end alike in both."""

import json
from collections import Counter
from datetime import datetime
from typing import Any, Final

from hypothesis import given, settings

from meterhouse.core.call import Following
from meterhouse.core.catalog import (
    Account,
    Agreement,
    Catalog,
    Dimension,
    IdenticalRepeat,
    Integration,
    Product,
    ProductType,
    WindowEdge,
)
from meterhouse.core.decide.batch_meter_usage import plan_batch_meter_usage
from meterhouse.core.moment import micros_of_datetime
from meterhouse.core.profile import NEWEST
from meterhouse.core.shapes import BatchMeterUsageRequest, BatchMeterUsageResult
from meterhouse.wire.codec import decode
from tests.unit import batch_model
from tests.unit.batch_model import Deal, Offer, RefusedBy, World
from tests.unit.batch_stories import Batch, Renewal, Story, Suspension, Wait, stories
from tests.unit.rule_calls import Caller, KeptRecords, Refused, result

Statuses = list[tuple[str, int | None]]


def product(code: str, offer: Offer) -> Product:
    """A product as the catalog has it."""
    return Product(
        code,
        f"prod-{code}",
        code,
        offer.seller,
        ProductType.SAAS,
        Integration.CONCURRENT if offer.concurrent else Integration.LEGACY,
        regions=None if offer.regions is None else tuple(offer.regions),
        identical_repeat=(
            IdenticalRepeat.DUPLICATE_RECORD if offer.repeats_are_duplicates else IdenticalRepeat.SUCCESS
        ),
        window_edge=WindowEdge.HOUR if offer.ages_from_the_hour else WindowEdge.INSTANT,
        dimensions=tuple(Dimension(key, "Units", 1) for key in offer.dimensions),
    )


def agreement(name: str, deal: Deal) -> Agreement:
    """An agreement as the catalog has it."""
    return Agreement(
        name,
        deal.product,
        deal.buyer,
        deal.license,
        deal.identifier,
        micros_of_datetime(deal.start),
        None if deal.end is None else micros_of_datetime(deal.end),
        deal.pending,
        deal.closed,
    )


def market(world: World) -> Catalog:
    """The same world as a catalog."""
    catalog = Catalog()
    for name, deal in world.deals.items():
        catalog.put(agreement(name, deal))
    for code, offer in world.offers.items():
        catalog.put(product(code, offer))
    for buyer in world.suspended:
        catalog.put(Account(buyer, suspended=True))
    return catalog


def body_of(batch: Batch) -> bytes:
    """The bytes that a client would send."""
    said: dict[str, Any] = {"UsageRecords": batch.request.records}
    if batch.request.code is not None:
        said["ProductCode"] = batch.request.code
    return json.dumps(said, default=lambda moment: moment.timestamp()).encode()


class Told:
    """A story as the package tells it: its ids are numbered in the order in which they are first seen."""

    def __init__(self, world: World) -> None:
        self.catalog = market(world)
        self.kept = KeptRecords()
        self.number_of: dict[str, int] = {}

    def send(self, batch: Batch, now: datetime) -> Statuses | str:
        """The statuses with their numbers, or the name of the fault."""
        request = decode(body_of(batch), BatchMeterUsageRequest)
        caller = Caller(
            batch.request.seller,
            batch.request.region,
            NEWEST,
            None if batch.served is None else frozenset(batch.served),
        )
        found = result(plan_batch_meter_usage, request, caller, self.catalog, micros_of_datetime(now), self.kept)
        if isinstance(found, Refused):
            return str(found.code)
        assert isinstance(found, Following)
        assert isinstance(found.answer, BatchMeterUsageResult)
        assert found.answer.unprocessed_records == []
        return [(one.status, self._number(one.metering_record_id)) for one in found.answer.results]

    def _number(self, record_id: str | None) -> int | None:
        return None if record_id is None else self.number_of.setdefault(record_id, len(self.number_of) + 1)


def modelled(world: World, kept: dict[str, Any], batch: Batch, now: datetime) -> Statuses | str:
    """What the dumb model says of a batch."""
    try:
        return batch_model.judge(world, kept, batch.request, batch.served, now)
    except RefusedBy as refused:
        return str(refused)


def tell(story: Story) -> list[tuple[Any, Any]]:
    """Each batch's end: as the package says, and as the model says."""
    told, kept, now = Told(story.world), dict[str, Any](), story.begins
    world = World(dict(story.world.offers), dict(story.world.deals), set(story.world.suspended))
    ends = []
    for chapter in story.chapters:
        match chapter:
            case Wait(span):
                now += span
            case Renewal(number, deal):
                world.deals[f"agmt-{number}"] = deal
                told.catalog.put(agreement(f"agmt-{number}", deal))
            case Suspension(buyer, suspended):
                (world.suspended.add if suspended else world.suspended.discard)(buyer)
                told.catalog.put(Account(buyer, suspended))
            case Batch():
                ends.append((told.send(chapter, now), modelled(world, kept, chapter, now)))
    assert len(told.kept.records) == len(kept)
    return ends


@settings(max_examples=75)
@given(stories())
def test_any_story_ends_as_the_model_says(story: Story) -> None:
    """The same statuses with the same records behind them, or the same fault, batch after batch."""
    for ours, theirs in tell(story):
        assert ours == theirs


def test_the_stories_meet_every_end() -> None:
    """The stories are no idle talk: every status and every fault comes up in them."""
    seen: Counter[str] = Counter()

    @settings(max_examples=250, database=None, derandomize=True)
    @given(stories())
    def listen(story: Story) -> None:
        for ours, theirs in tell(story):
            assert ours == theirs
            seen.update([ours] if isinstance(ours, str) else [status for status, _ in ours])

    listen()
    assert set(seen) == EVERY_END


EVERY_END: Final = {
    "Success",
    "DuplicateRecord",
    "CustomerNotSubscribed",
    "ValidationException",
    "DisabledApiException",
    "InvalidProductCodeException",
    "InvalidLicenseException",
    "InvalidCustomerIdentifierException",
    "InvalidUsageDimensionException",
    "TimestampOutOfBoundsException",
    "InvalidTagException",
    "InvalidUsageAllocationsException",
}
