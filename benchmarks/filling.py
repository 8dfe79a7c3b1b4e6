"""Ledgers that have grown, filled in process: the records go to the ledger as a server's would, without the HTTP.

Each is a folder that `meterhouse serve` can be started on. What is filled once is left for the rows that come after.
"""

import asyncio
import os
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.load import DIMENSIONS, PRODUCT, RECORDS_A_REQUEST, REGION, SELLER, Slice, buyer_of, catalog_text
from benchmarks.server import Joined, joined
from benchmarks.servers import LEDGER
from meterhouse.core.catalog import Agreement, Catalog
from meterhouse.core.moment import HOUR, hour_of, micros_of_datetime
from meterhouse.core.profile import NEWEST
from meterhouse.core.usage import BY_PRODUCT, Entry, Partition, RecordKey, Series, text_of_id
from meterhouse.ledger.protocol import Decision, Header, Keys, View
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.server.metrics import Metrics
from meterhouse.service.draft import Change

FIRST_HOUR: Final = hour_of(micros_of_datetime(datetime(2030, 1, 2, tzinfo=UTC)))
"""From here on lie the days whose usage is sent to a ledger that has grown; what is filled in lies before."""
DAYS: Final = 30
"""To the end of the month."""

_AT_A_TIME: Final = 512
_FACTS_AT_A_TIME: Final = 20_000
_PARTITION: Final = Partition(REGION, PRODUCT)
_START_MICROS: Final = micros_of_datetime(datetime(2026, 1, 1, tzinfo=UTC))


def day(number: int) -> tuple[str, range]:
    """A day from `FIRST_DAY` on: an instant at its end, and its hours."""
    assert number < DAYS, "the month has no more days"
    first = FIRST_HOUR + 24 * number
    return f"2030-01-{2 + number:02}T23:59:00Z", range(first, first + 24)


def with_history(parent: Path, records: int, customers: int) -> Path:
    """The folder of a ledger with records of so many customers in all dimensions, over as many hours as it takes."""
    hours = max(1, records // (customers * DIMENSIONS))
    folder = parent / f"{hours}-hours-of-{customers}"
    if not folder.exists():
        usage = Slice(range(customers), range(FIRST_HOUR - hours, FIRST_HOUR))
        _fill(folder, catalog_text(customers), usage, ())
    return folder


def with_agreements(parent: Path, agreements: int, dimensions: int) -> Path:
    """The folder of a ledger with so many agreements, each with usage of its first dimensions in one hour before."""
    folder = parent / f"{agreements}-agreements"
    if not folder.exists():
        hour = FIRST_HOUR - 1
        usage = Slice(range(agreements), range(hour, hour + 1), dimensions)
        _fill(folder, catalog_text(0), usage, range(agreements))
    return folder


def _fill(folder: Path, catalog: str, usage: Slice, agreements: Sequence[int]) -> None:
    draft = folder.with_name(folder.name + ".draft")
    draft.mkdir()
    uvloop.run(_filled(draft / LEDGER, catalog, usage, agreements))
    draft.rename(folder)
    os.sync()  # what is still to be written must not slow the syncs that are measured


async def _filled(path: Path, catalog: str, usage: Slice, agreements: Sequence[int]) -> None:
    ledger = await open_sqlite(path, group_turns=_AT_A_TIME)
    async with joined(ledger, path, catalog, Metrics()) as parts:
        for start in range(0, len(agreements), _FACTS_AT_A_TIME):
            facts = [_agreement(number) for number in agreements[start : start + _FACTS_AT_A_TIME]]
            await parts.market.change(_adding(facts))
        await fill(parts, usage)


async def fill(parts: Joined, usage: Slice) -> None:
    """Keeps a slice's usage."""
    requests = _requests(usage)
    await asyncio.gather(*(_send(parts, requests) for _ in range(_AT_A_TIME)))


async def _send(parts: Joined, requests: Iterator[Sequence[Entry]]) -> None:
    ledger, revision = parts.ledger, parts.market.catalog.revision
    for entries in requests:
        instant = entries[0].timestamp_micros
        request_id = text_of_id(entries[0].record_id)
        principal = f"arn:aws:iam::{SELLER}:root"
        header = Header(request_id, "BatchMeterUsage", principal, SELLER, instant, instant, NEWEST.name)
        decision = Decision(None, entries, (), header)
        keys = Keys([entry.key for entry in entries], forms=BY_PRODUCT)
        await ledger.turn(_PARTITION, keys, _always(decision), revision=revision)


def _adding(facts: Sequence[Agreement]) -> Callable[[Catalog], Change[None]]:
    def plan(_catalog: Catalog) -> Change[None]:
        return Change(facts, None)

    return plan


def _always(decision: Decision) -> Callable[[View], Decision]:
    def decide(_view: View) -> Decision:
        return decision

    return decide


def _requests(usage: Slice) -> Iterator[Sequence[Entry]]:
    """Batches of a slice's records, an hour after the other."""
    series = [
        Series("", buyer_of(customer), f"dimension-{dimension}")
        for dimension in range(usage.dimensions)
        for customer in usage.customers
    ]
    for hour in usage.hours:
        for start in range(0, len(series), RECORDS_A_REQUEST):
            batch = series[start : start + RECORDS_A_REQUEST]
            ids = os.urandom(16 * len(batch))
            yield [
                Entry(RecordKey(hour, one), hour * HOUR, 1_000_000 * (place % 100), ids[16 * place : 16 * place + 16])
                for place, one in enumerate(batch)
            ]


def _agreement(number: int) -> Agreement:
    return Agreement(
        id=f"agmt-{number}",
        product=PRODUCT,
        buyer=buyer_of(number),
        license_arn=f"arn:aws:license-manager::{SELLER}:license:l-{number:032x}",
        customer_identifier=f"C{number}",
        start_micros=_START_MICROS,
    )
