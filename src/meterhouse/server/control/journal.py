"""The journal: the requests that kept something.

Of one product in one Region the rows come in the order in which they were committed, and positions count from 1 without
a gap: a reader that goes on from the last position it has seen misses none. Rows of several partitions have no such
order; they come by (received, Region, product, position).
"""

import asyncio
import re
from typing import Annotated, Final

from msgspec import UNSET, Meta, UnsetType

from meterhouse.core.catalog import Catalog
from meterhouse.core.moment import rfc3339
from meterhouse.core.quantity import text_of_micros
from meterhouse.core.usage import Partition, text_of_id
from meterhouse.ledger.protocol import Cursor, JournalEntry, RecordFilter
from meterhouse.server.control.answers import JournalAnswer, JournalRecordAnswer, Page
from meterhouse.server.control.pages import DEFAULT_LIMIT, Limit, cursor_of, place_of_cursor
from meterhouse.server.control.parts import Answered, Asked, ControlCall
from meterhouse.server.control.texts import allocation_answers
from meterhouse.service.forms import ProductCode, Region
from meterhouse.service.readback import identifier_of
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import Row

_ROWS_IN_A_ROW: Final = 20
"""How many rows are written out before others get their turn."""
_POSITION: Final = re.compile(r"[0-9]{1,18}")


class JournalQuery(Row, kw_only=True):
    """Which rows."""

    product: ProductCode | UnsetType = UNSET
    region: Region | UnsetType = UNSET
    after: (
        Annotated[
            str,
            Meta(description="Where to go on: a `next`; with product and region also the last position that was seen."),
        ]
        | UnsetType
    ) = UNSET
    limit: Limit = DEFAULT_LIMIT


async def list_journal(asked: Asked) -> Answered:
    """`GET /journal`."""
    query: JournalQuery = asked.query
    parts = asked.parts
    if query.product is not UNSET and query.region is not UNSET:
        position = 0 if query.after is UNSET else _position(query.after)
        found = await parts.ledger.scan(Partition(query.region, query.product), after=position, limit=query.limit + 1)
    else:
        what = RecordFilter(
            None if query.region is UNSET else query.region, None if query.product is UNSET else query.product
        )
        cursor = None if query.after is UNSET else _cursor(query.after)
        found = await parts.ledger.history(what, after=cursor, limit=query.limit + 1)
    if any(row.partition.product not in parts.market.catalog.products for row in found):
        await parts.market.refresh()  # another server's product, made since this one last looked
    shown = found[: query.limit]
    following = cursor_of(_place(shown[-1])) if len(found) > len(shown) else None
    answers: list[JournalAnswer] = []
    for start in range(0, len(shown), _ROWS_IN_A_ROW):
        answers += [journal_answer(row, parts.market.catalog) for row in shown[start : start + _ROWS_IN_A_ROW]]
        await asyncio.sleep(0)  # a row may have 25 records, and others want to be served
    return Answered(Page(items=answers, next=following))


def _place(row: JournalEntry) -> Cursor:
    return Cursor(row.header.received_micros, *row.partition, row.position)


def _cursor(after: str) -> Cursor:
    if _POSITION.fullmatch(after):
        reason = "a position counts within one product and Region: give both, or go on from a `next`"
        raise Refused(RefusalKind.INVALID, reason, "after")
    return place_of_cursor(after, Cursor)


def _position(after: str) -> int:
    if _POSITION.fullmatch(after):
        return int(after)
    return max(0, place_of_cursor(after, Cursor).position)


def journal_answer(row: JournalEntry, catalog: Catalog) -> JournalAnswer:
    """A row; what follows from a registration stands among the records only."""
    header = row.header
    product = catalog.products[row.partition.product]
    return JournalAnswer(
        position=row.position,
        request_id=header.request_id,
        operation=header.operation,
        principal=header.principal,
        account=header.account,
        region=row.partition.region,
        product=row.partition.product,
        received=rfc3339(header.received_micros),
        now=rfc3339(header.now_micros),
        profile=header.profile,
        records=[
            JournalRecordAnswer(
                record_id=text_of_id(entry.record_id),
                buyer=series.customer,
                customer_identifier=identifier_of(product, series.customer, catalog),
                license_arn=series.license or None,
                dimension=series.dimension,
                timestamp=rfc3339(entry.timestamp_micros),
                quantity=text_of_micros(entry.quantity_micros),
                allocations=allocation_answers(entry.allocations),
                resource_id=series.workload or None,
            )
            for entry in row.entries
            if (series := entry.key.series).dimension
        ],
    )


CALLS: Final = (
    ControlCall(
        "GET",
        "/journal",
        "The requests that kept something new.",
        list_journal,
        Page[JournalAnswer],
        query=JournalQuery,
    ),
)
