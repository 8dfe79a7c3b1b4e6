"""The same world for the package and for the dumb model, and a story told by both."""

import json
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

from meterhouse.core.call import Call, Following, Signer
from meterhouse.core.catalog import (
    Account,
    Agreement,
    Catalog,
    Dimension,
    DryRun,
    Platform,
    Product,
    ProductKey,
    ProductType,
    WindowEdge,
    Workload,
)
from meterhouse.core.moment import datetime_of, micros_of_datetime
from meterhouse.core.profile import NEWEST
from meterhouse.core.shapes import MeterUsageRequest, MeterUsageResult, RegisterUsageRequest, RegisterUsageResult
from meterhouse.service.operations import OPERATIONS, Operation
from meterhouse.wire.codec import decode
from tests.unit import meter_model
from tests.unit.batch_model import Deal, RefusedBy
from tests.unit.batch_stories import Renewal, Suspension, Wait
from tests.unit.meter_model import Asked, Memory, Offer, Running, World
from tests.unit.meter_stories import MeterCall, RegisterCall, Story
from tests.unit.rule_calls import Refused

Ask = Callable[[Operation, Call[Any], Catalog, int], Awaitable[Following | Refused]]
"""Has a call judged, and what follows from it kept."""
End = tuple[str, Any] | str
"""What a call comes to: a word with a number or an instant, or the name of a fault."""


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


def product(code: str, offer: Offer) -> Product:
    """A product as the catalog has it."""
    return Product(
        code,
        f"prod-{code}",
        code,
        offer.seller,
        ProductType.CONTAINER,
        regions=None if offer.regions is None else tuple(offer.regions),
        window_edge=WindowEdge.HOUR if offer.ages_from_the_hour else WindowEdge.INSTANT,
        dry_run=DryRun.LITERAL if offer.literal else DryRun.ANSWER,
        dimensions=tuple(Dimension(key, "Units", 1) for key in offer.dimensions),
    )


def market(world: World) -> Catalog:
    """The same world as a catalog."""
    catalog = Catalog()
    for code, offer in world.offers.items():
        catalog.put(product(code, offer))
        for version in range(1, offer.versions + 1):
            catalog.put(ProductKey(code, version, "PEM", b"", 0))
    for name, deal in world.deals.items():
        catalog.put(agreement(name, deal))
    for buyer in world.suspended:
        catalog.put(Account(buyer, suspended=True))
    return catalog


def workload(running: Running | None) -> Workload | None:
    """A workload as its credentials carry it."""
    if running is None:
        return None
    launched_micros = micros_of_datetime(running.launched)
    return Workload(running.name, Platform(running.platform), running.account, running.region, launched_micros)


class Told:
    """A story as the package tells it: record ids are numbered in the order in which they are first seen."""

    def __init__(self, world: World, ask: Ask) -> None:
        self.catalog = market(world)
        self._ask = ask
        self._number_of: dict[str, int] = {}
        self._registered: dict[tuple[str, str], datetime] = {}

    async def hear(self, chapter: MeterCall | RegisterCall, now: datetime) -> End:
        """What a call comes to."""
        name = "MeterUsage" if isinstance(chapter, MeterCall) else "RegisterUsage"
        shape = MeterUsageRequest if isinstance(chapter, MeterCall) else RegisterUsageRequest
        asked = chapter.asked
        body = json.dumps(asked.body, default=lambda moment: moment.timestamp()).encode()
        call = Call(
            decode(body, shape),
            Signer(asked.account, f"arn:aws:iam::{asked.account}:root", workload(asked.running)),
            asked.region,
            NEWEST,
            None if asked.served is None else frozenset(asked.served),
        )
        found = await self._ask(OPERATIONS[name], call, self.catalog, micros_of_datetime(now))
        if isinstance(found, Refused):
            return str(found.code)
        if isinstance(found.answer, RegisterUsageResult):
            return self._registration(found, asked)
        assert isinstance(found.answer, MeterUsageResult)
        assert found.answer.metering_record_id is not None
        if asked.body.get("DryRun"):
            assert not found.entries
            assert found.answer.metering_record_id not in self._number_of
            return "tried", 0
        number = self._number_of.setdefault(found.answer.metering_record_id, len(self._number_of) + 1)
        return "kept" if found.entries else "same", number

    def _registration(self, found: Following, asked: Asked) -> End:
        assert asked.running is not None
        place = asked.running.name, asked.body["ProductCode"]
        for entry in found.entries:
            assert place not in self._registered
            self._registered[place] = datetime_of(entry.timestamp_micros)
        return "kept" if found.entries else "same", self._registered[place]


def modelled(world: World, memory: Memory, chapter: MeterCall | RegisterCall, now: datetime) -> End:
    """What the dumb model says of a call."""
    try:
        if isinstance(chapter, MeterCall):
            return meter_model.meter(world, memory, chapter.asked, now)
        return meter_model.register(world, memory, chapter.asked, now)
    except RefusedBy as refused:
        return str(refused)


async def tell(story: Story, ask: Ask) -> list[tuple[End, End]]:
    """Each call's end: as the package says, and as the model says."""
    told, memory, now = Told(story.world, ask), Memory(), story.begins
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
            case MeterCall() | RegisterCall():
                ends.append((await told.hear(chapter, now), modelled(world, memory, chapter, now)))
    return ends
