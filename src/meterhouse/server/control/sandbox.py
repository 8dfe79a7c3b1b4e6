"""What a sandbox alone can do: move clocks, make calls fail, begin anew. Everybody can read the clock."""

from typing import Final

from msgspec import UNSET, UnsetType

from meterhouse.core.moment import rfc3339
from meterhouse.server.control.answers import ClockAnswer, Done, FaultAnswer, Page
from meterhouse.server.control.pages import PageQuery, page_of
from meterhouse.server.control.parts import Answered, Asked, ControlCall
from meterhouse.service.clock import FOR_ALL, Clocks
from meterhouse.service.faults import (
    FAULT_KIND,
    FaultRow,
    InjectedFault,
    kept_faults,
    new_fault,
    removed_fault,
    removed_faults,
)
from meterhouse.service.forms import AccountId
from meterhouse.service.rows import ClockRow, Row


class ClockQuery(Row, kw_only=True):
    """Whose clock: an account's; absent: the clock for all."""

    account: AccountId | UnsetType = UNSET


def clock_answer(clocks: Clocks, account: str) -> ClockAnswer:
    """A clock."""
    return ClockAnswer(now=rfc3339(clocks.now_micros(account)), mode=clocks.state(account).mode)


def _account(asked: Asked) -> str:
    account: str | UnsetType = asked.query.account
    return FOR_ALL if account is UNSET else account


async def show_clock(asked: Asked) -> Answered:
    """`GET /clock`."""
    return Answered(clock_answer(asked.parts.clocks, _account(asked)))


async def move_clock(asked: Asked) -> Answered:
    """`PUT /clock`."""
    clocks, account = asked.parts.clocks, _account(asked)
    await asked.parts.market.change(lambda _catalog: clocks.moved(asked.body, account))
    return Answered(clock_answer(clocks, account))


def fault_answer(fault: InjectedFault) -> FaultAnswer:
    """An injected fault."""
    return FaultAnswer(
        id=fault.id,
        operation=fault.operation,
        fault=fault.fault,
        times=fault.times,
        records=None if fault.records is None else list(fault.records),
        seconds=fault.seconds,
        product=fault.product,
        probability=fault.probability,
        seed=fault.seed,
    )


async def list_faults(asked: Asked) -> Answered:
    """`GET /faults`: those that will strike yet, in the order in which they were made."""
    kept = kept_faults(asked.parts.market.settings(FAULT_KIND))
    by_number = {f"{fault.number:020}": fault for fault in kept.values() if fault.times}
    faults, following = await page_of(by_number, asked.query)
    return Answered(Page(items=[fault_answer(fault) for fault in faults], next=following))


async def make_fault(asked: Asked) -> Answered:
    """`POST /faults`."""
    documents, random_bytes = asked.parts.market.settings(FAULT_KIND), asked.parts.sources.random_bytes
    fault = await asked.parts.market.change(lambda _catalog: new_fault(asked.body, documents, random_bytes))
    return Answered(fault_answer(fault), 201)


async def remove_fault(asked: Asked) -> Answered:
    """`DELETE /faults/{id}`."""
    documents, fault_id = asked.parts.market.settings(FAULT_KIND), asked.path["id"]
    await asked.parts.market.change(lambda _catalog: removed_fault(fault_id, documents))
    return Answered(None, 204)


async def remove_faults(asked: Asked) -> Answered:
    """`DELETE /faults`."""
    documents = asked.parts.market.settings(FAULT_KIND)
    await asked.parts.market.change(lambda _catalog: removed_faults(documents))
    return Answered(None, 204)


async def reset(asked: Asked) -> Answered:
    """`POST /reset`: usage, journal, what workloads metered and registered, and faults are gone; the catalog stays."""
    documents = asked.parts.market.settings(FAULT_KIND)
    await asked.parts.market.change(lambda _catalog: removed_faults(documents))
    await asked.parts.ledger.reset()
    return Answered(Done())


CALLS: Final = (
    ControlCall("GET", "/clock", "What time it is.", show_clock, ClockAnswer, query=ClockQuery),
    ControlCall(
        "PUT",
        "/clock",
        "Freezes a clock, moves it ahead, or ends that; signatures are always checked against real time.",
        move_clock,
        ClockAnswer,
        query=ClockQuery,
        body=ClockRow,
        sandbox=True,
    ),
    ControlCall(
        "GET",
        "/faults",
        "The faults that will strike yet.",
        list_faults,
        Page[FaultAnswer],
        query=PageQuery,
        sandbox=True,
    ),
    ControlCall(
        "POST", "/faults", "Makes the next calls fail.", make_fault, FaultAnswer, 201, body=FaultRow, sandbox=True
    ),
    ControlCall("DELETE", "/faults", "Removes all faults.", remove_faults, None, 204, sandbox=True),
    ControlCall("DELETE", "/faults/{id}", "Removes a fault.", remove_fault, None, 204, refusals=(404,), sandbox=True),
    ControlCall("POST", "/reset", "Empties usage, journal and faults.", reset, Done, sandbox=True),
)
