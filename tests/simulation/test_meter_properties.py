"""MeterUsage and RegisterUsage against a second, dumber model of the contract: any story must end alike in both."""

import asyncio
from collections import Counter
from typing import Any, Final

from hypothesis import given, settings

from meterhouse.core.call import Call, Following
from meterhouse.core.catalog import Catalog
from meterhouse.service.operations import Operation
from tests.unit.meter_stories import Story, stories
from tests.unit.meter_telling import Ask, End, tell
from tests.unit.rule_calls import Caller, KeptRecords, Refused, result


def over_a_dict() -> Ask:
    """Calls judged over a view of plain dicts, with nothing between the rule and what is kept."""
    kept = KeptRecords()

    async def ask(operation: Operation, call: Call[Any], catalog: Catalog, now_micros: int) -> Following | Refused:
        signer = call.signer
        caller = Caller(
            signer.account,
            call.region,
            call.profile,
            None if call.regions is None else frozenset(call.regions),
            signer.workload,
        )
        return result(operation.plan, call.request, caller, catalog, now_micros, kept)

    return ask


def told(story: Story) -> list[tuple[End, End]]:
    """A story's ends."""
    return asyncio.run(tell(story, over_a_dict()))


@settings(max_examples=100, deadline=None)
@given(stories())
def test_any_story_ends_as_the_model_says(story: Story) -> None:
    """The same record behind the same call, the same registration, or the same fault, call after call."""
    for ours, theirs in told(story):
        assert ours == theirs


def test_the_stories_meet_every_end() -> None:
    """The stories are no idle talk: every word and every fault comes up in them."""
    seen: Counter[str] = Counter()

    @settings(max_examples=200, deadline=None, database=None, derandomize=True)
    @given(stories())
    def listen(story: Story) -> None:
        for ours, _ in told(story):
            seen.update([ours if isinstance(ours, str) else ours[0]])

    listen()
    assert set(seen) == EVERY_END


EVERY_END: Final = {
    "kept",
    "same",
    "tried",
    "ValidationException",
    "PlatformNotSupportedException",
    "InvalidEndpointRegionException",
    "InvalidRegionException",
    "DisabledApiException",
    "InvalidProductCodeException",
    "InvalidPublicKeyVersionException",
    "CustomerNotEntitledException",
    "UnauthorizedException",
    "InvalidUsageDimensionException",
    "TimestampOutOfBoundsException",
    "InvalidTagException",
    "InvalidUsageAllocationsException",
    "IdempotencyConflictException",
    "DuplicateRequestException",
    "DryRunOperation",
}
