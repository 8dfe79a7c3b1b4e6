"""MeterUsage and RegisterUsage through the house and every engine: stories and races end as the model says.

The rules are the same as over plain dicts (`tests/simulation/test_meter_properties.py`); here a ledger keeps what
follows.
"""

import asyncio
import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import HealthCheck, given, settings

from meterhouse.core.call import Attestation, Call, Following, NewIds, Signer
from meterhouse.core.catalog import Catalog, Platform
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.profile import NEWEST
from meterhouse.core.shapes import Answer, MeterUsageRequest, RegisterUsageRequest, RegisterUsageResult
from meterhouse.core.usage import text_of_id, timestamp_of
from meterhouse.ledger.protocol import Ledger
from meterhouse.service.house import House
from meterhouse.service.operations import OPERATIONS, Operation
from tests.contract.engines import Bounds, Engine
from tests.unit.batches import ACTIVE, LEGACY, NOW, at
from tests.unit.meter_stories import Story, stories
from tests.unit.meter_telling import Ask, tell
from tests.unit.metering import HOME, metered_market, workload
from tests.unit.rule_calls import Refused

CALLERS: Final = 50


class Stopped:
    """A clock that shows what it is told to."""

    def __init__(self, micros: int = NOW) -> None:
        self.micros = micros

    def now_micros(self, account: str) -> int:
        """The instant."""
        return self.micros


class Occasion:
    """What a request is known by."""

    request_id = "request"
    received_micros = 0

    def answered(self, answer: Answer) -> None:
        """Not of interest before the turn is over."""


def ids(count: int) -> NewIds:
    """That many ids."""
    octets = [os.urandom(16) for _ in range(count)]
    return NewIds(octets, [text_of_id(each) for each in octets])


async def unsigned(_attestation: Attestation) -> RegisterUsageResult:
    """An answer that nobody reads."""
    return RegisterUsageResult("signed")


def through(ledger: Ledger) -> Ask:
    """Calls judged by a house over a ledger."""
    clock = Stopped()

    async def ask(operation: Operation, call: Call[Any], catalog: Catalog, now_micros: int) -> Following | Refused:
        clock.micros = now_micros
        house = House(ledger, catalog, clock, ids, unsigned)
        try:
            return await house.call(operation, call, Occasion())
        except Fault as fault:
            return Refused(fault.code, fault.message)

    return ask


def test_any_story_ends_as_the_model_says(engine: Engine) -> None:
    """Call after call, over a ledger that was empty."""

    async def told(story: Story) -> None:
        with tempfile.TemporaryDirectory() as place:
            ledger = await engine.open(Path(place), Bounds())
            try:
                for ours, theirs in await tell(story, through(ledger)):
                    assert ours == theirs
            finally:
                await ledger.close()

    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    @given(stories())
    def listen(story: Story) -> None:
        asyncio.run(told(story))

    listen()


def call_of(request: Any, platform: Platform) -> Call[Any]:
    """A call by the active customer's workload."""
    return Call(request, Signer(ACTIVE, "arn", workload(platform)), HOME, NEWEST)


def metering(token: str, quantity: int = 17) -> MeterUsageRequest[Any]:
    """A MeterUsage of users."""
    return MeterUsageRequest(LEGACY, timestamp_of(at("12:20:00")), "users", quantity, client_token=token)


async def at_once(ledger: Ledger, name: str, calls: Sequence[Call[Any]]) -> list[Following | FaultCode]:
    """What becomes of calls that come together."""
    house = House(ledger, metered_market(), Stopped(), ids, unsigned)

    async def one(call: Call[Any]) -> Following | FaultCode:
        try:
            return await house.call(OPERATIONS[name], call, Occasion())
        except Fault as fault:
            return fault.code

    return await asyncio.gather(*map(one, calls))


async def test_identical_calls_with_fresh_tokens_are_one_record(ledger: Ledger) -> None:
    """Fifty at once, each under a token of its own: one record, one row, one id for all."""
    ends = await at_once(
        ledger, "MeterUsage", [call_of(metering(f"token-{number}"), Platform.EC2) for number in range(CALLERS)]
    )
    assert all(isinstance(end, Following) for end in ends)
    assert len({str(end.answer) for end in ends if isinstance(end, Following)}) == 1
    assert (await ledger.size())[:2] == (1, 1)


async def test_an_agents_calls_add_up(ledger: Ledger) -> None:
    """Fifty at once under fifty tokens, each sent twice: fifty records."""
    calls = [call_of(metering(f"token-{number % CALLERS}"), Platform.AGENTCORE) for number in range(2 * CALLERS)]
    ends = await at_once(ledger, "MeterUsage", calls)
    assert len({str(end.answer) for end in ends if isinstance(end, Following)}) == CALLERS
    assert (await ledger.size())[:2] == (CALLERS, CALLERS)


@pytest.mark.parametrize(
    ("platform", "refused"),
    [(Platform.EC2, FaultCode.DUPLICATE_REQUEST), (Platform.AGENTCORE, FaultCode.IDEMPOTENCY_CONFLICT)],
)
async def test_of_different_quantities_one_wins(ledger: Ledger, platform: Platform, refused: FaultCode) -> None:
    """Fifty quantities at once, for one hour or under one token: one is kept, and all others are refused."""
    tokens = [f"token-{number}" if platform is Platform.EC2 else "token" for number in range(CALLERS)]
    calls = [call_of(metering(token, number), platform) for number, token in enumerate(tokens)]
    ends = await at_once(ledger, "MeterUsage", calls)
    assert sum(isinstance(end, Following) for end in ends) == 1
    assert ends.count(refused) == CALLERS - 1
    assert (await ledger.size())[:2] == (1, 1)


async def test_a_task_is_registered_once(ledger: Ledger) -> None:
    """Fifty calls at once: one registration, an answer to each."""
    calls = [call_of(RegisterUsageRequest(LEGACY, 1), Platform.ECS) for _ in range(CALLERS)]
    ends = await at_once(ledger, "RegisterUsage", calls)
    assert [isinstance(end, Following) and end.answer for end in ends] == [RegisterUsageResult("signed")] * CALLERS
    assert sum(isinstance(end, Following) and end.keeps for end in ends) == 1
    assert (await ledger.size())[:2] == (1, 1)
