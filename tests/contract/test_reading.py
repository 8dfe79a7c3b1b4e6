"""What is read back beside the model's small cases: large pages, ties, sums beyond 64 bits, sizes, closed ledgers."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from meterhouse.core.moment import HOUR
from meterhouse.core.usage import Partition
from meterhouse.ledger.protocol import Cursor, Document, Keys, Ledger, LedgerFailure, RecordFilter, Sum
from tests.contract.usage import HERE, HOUR_NOW, THERE, entry_of, header_of, keep, keeping, key_of


async def fill(ledger: Ledger, rows: int, *, received: Callable[[int], int], partitions: int = 1) -> None:
    """So many rows of one record each, spread over partitions."""
    for start in range(0, rows, 500):
        await asyncio.gather(
            *(
                keep(
                    ledger,
                    [entry_of(key_of(HOUR_NOW + number // 50, f"{number % 50}"), number)],
                    partition=Partition("us-east-1", f"product-{number % partitions}"),
                    header=header_of(received(number)),
                )
                for number in range(start, min(start + 500, rows))
            )
        )


async def test_a_long_scan_comes_whole(ledger: Ledger) -> None:
    """4: a scan gives as many rows as were asked for, however many that is, from any position on."""
    await fill(ledger, 1500, received=lambda number: number)
    here = Partition("us-east-1", "product-0")
    for after, limit, expected in ((0, 10_000, 1500), (0, 1100, 1100), (700, 10_000, 800), (1500, 5, 0), (2**70, 5, 0)):
        rows = await ledger.scan(here, after=after, limit=limit)
        assert [row.position for row in rows] == list(range(after + 1, after + expected + 1))


@pytest.mark.parametrize("instants", [1, 3, 10_000])
async def test_history_orders_rows_of_one_instant(ledger: Ledger, instants: int) -> None:
    """Rows received at one instant, be they thousands, come by Region, product and position; pages miss none."""
    await fill(ledger, 1500, received=lambda number: 10**15 - number % instants, partitions=3)
    found: list[Cursor] = []
    after = None
    while rows := await ledger.history(RecordFilter(), after=after, limit=400):
        found += [Cursor(row.header.received_micros, *row.partition, row.position) for row in rows]
        after = found[-1]
    assert len(found) == 1500
    assert found == sorted(set(found))


async def test_history_finds_the_few_among_the_many(ledger: Ledger) -> None:
    """A filter finds its rows however far apart they lie, and gives each row whole."""
    await fill(ledger, 1200, received=lambda number: number, partitions=2)
    odd = [entry_of(key_of(customer="wanted")), entry_of(key_of(customer="beside"))]
    await keep(ledger, odd, partition=THERE, header=header_of(600))
    await keep(ledger, [entry_of(key_of(customer="wanted", dimension="x"))], partition=THERE, header=header_of(10**9))
    for what in (RecordFilter(customer="wanted"), RecordFilter(region=THERE.region)):
        first, second = await ledger.history(what, after=None, limit=10)
        assert list(first.entries) == odd
        assert second.header.received_micros == 10**9
        (page,) = await ledger.history(what, after=Cursor(600, *THERE, 1), limit=10)
        assert page == second


async def test_history_finds_what_began_before(ledger: Ledger) -> None:
    """A record without a dimension begins a metering that goes on: it is found though it is older than asked for."""
    begun, usage = (entry_of(key_of(HOUR_NOW, dimension=dimension, workload="task")) for dimension in ("", "requests"))
    await keep(ledger, [begun], header=header_of(1))
    await keep(ledger, [usage], header=header_of(2))
    for from_hour, to_hour, expected in ((HOUR_NOW + 5, HOUR_NOW + 6, [begun]), (HOUR_NOW - 5, HOUR_NOW, [])):
        what = RecordFilter(from_micros=from_hour * HOUR, to_micros=to_hour * HOUR)
        rows = await ledger.history(what, after=None, limit=9)
        assert [entry for row in rows for entry in row.entries] == expected


async def test_sums_beyond_64_bits(ledger: Ledger) -> None:
    """6: a sum is exact where it exceeds what 64 bits, or the digits of a float, can hold."""
    quantities = [2**63 - 1 - number for number in range(40)]
    await keep(ledger, [entry_of(key_of(HOUR_NOW + number), quantity) for number, quantity in enumerate(quantities)])
    (total,) = await ledger.sums(RecordFilter())
    assert total.quantity_micros == sum(quantities) > 2**68


async def test_sums_are_cut_by_months_and_whole_hours(ledger: Ledger) -> None:
    """Sums stand per month of the records' hours; a bound takes, or leaves, the whole hour that it lies in."""
    november = 498_911  # the last hour of November 2026
    entries = [entry_of(key_of(november + place), 10**place, into_hour=59) for place in range(3)]
    await keep(ledger, entries)
    assert await ledger.sums(RecordFilter()) == [
        Sum(HERE, "2026-11", "111122223333", "requests", by_workload=False, quantity_micros=1),
        Sum(HERE, "2026-12", "111122223333", "requests", by_workload=False, quantity_micros=110),
    ]
    what = RecordFilter(from_micros=november * HOUR + 60, to_micros=(november + 2) * HOUR + 1)
    assert [found.quantity_micros for found in await ledger.sums(what)] == [1, 10]


async def test_many_records_are_added_up(ledger: Ledger) -> None:
    """6: sums over more records than are read at a time are those of all of them."""
    await asyncio.gather(
        *(
            keep(ledger, [entry_of(key_of(hour, str(customer)), customer) for customer in range(1000)])
            for hour in range(55)
        )
    )
    found = await ledger.sums(RecordFilter())
    assert [(one.customer, one.quantity_micros) for one in found] == sorted(
        (str(customer), customer * 55) for customer in range(1000)
    )


async def test_size_counts(ledger: Ledger) -> None:
    """The size counts records and rows, and is never less than before."""
    assert (await ledger.size())[:2] == (0, 0)
    await keep(ledger, [entry_of(key_of(customer=str(number))) for number in range(30)])
    await keep(ledger, [entry_of(key_of(customer="other"))], partition=THERE)
    size = await ledger.size()
    assert size[:2] == (31, 2)
    assert size.bytes_on_disk >= 0


async def test_a_reset_leaves_documents_alone(ledger: Ledger) -> None:
    """A reset empties usage and claims, positions begin at 1 again, and documents and their revision stay."""
    document = Document("product", "a", b"1")
    await ledger.change([document], expected=0)
    entry = entry_of(key_of())
    await keep(ledger, [entry], revision=1)
    await ledger.reset()
    assert (await ledger.size())[:2] == (0, 0)
    assert await ledger.history(RecordFilter(), after=None, limit=9) == []
    assert await ledger.load() == (1, [document])
    await keep(ledger, [entry], revision=1)
    assert [row.position for row in await ledger.scan(HERE, after=0, limit=9)] == [1]


CALLS: dict[str, Callable[[Ledger], Awaitable[Any]]] = {
    "turn": lambda ledger: ledger.turn(HERE, Keys([key_of()]), keeping([entry_of(key_of())]), revision=0),
    "scan": lambda ledger: ledger.scan(HERE, after=0, limit=1),
    "history": lambda ledger: ledger.history(RecordFilter(), after=None, limit=1),
    "sums": lambda ledger: ledger.sums(RecordFilter()),
    "size": lambda ledger: ledger.size(),
    "load": lambda ledger: ledger.load(),
    "changes": lambda ledger: ledger.changes(0),
    "change": lambda ledger: ledger.change([], expected=0),
    "reset": lambda ledger: ledger.reset(),
}


@pytest.mark.parametrize("call", CALLS)
async def test_a_closed_ledger_answers_no_more(ledger: Ledger, call: str) -> None:
    """After `close` every call fails as a failure of the ledger."""
    await ledger.close()
    with pytest.raises(LedgerFailure):
        await CALLS[call](ledger)
