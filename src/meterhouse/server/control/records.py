"""Usage records and the journal, read back: in parts as JSON, whole as CSV, or added up.

CSV is for people and their spreadsheets: a cell that a spreadsheet would run as a formula gets an apostrophe before it,
so that it is shown as text. Programs read JSON, where nothing is changed.
"""

import csv
import io
import re
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import aclosing
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from meterhouse.core.moment import HOUR, hour_of, rfc3339
from meterhouse.core.quantity import text_of_micros, text_of_price_units
from meterhouse.core.usage import text_of_id
from meterhouse.server.control.answers import Page, RecordAnswer, TotalAnswer
from meterhouse.server.control.pages import DEFAULT_LIMIT, After, Limit, bad_cursor, cursor_of, place_of_cursor
from meterhouse.server.control.parts import Answered, Asked, ControlCall, ControlParts
from meterhouse.server.control.texts import allocation_answers
from meterhouse.service.draft import micros_of
from meterhouse.service.forms import Instant, ProductCode, Region
from meterhouse.service.readback import ROWS_AT_ONCE, Place, ReadRecord, Wanted, read_back
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import Row
from meterhouse.service.totals import Total, totals

CSV: Final = "text/csv; charset=utf-8"
_ACCOUNT_ID: Final = re.compile(r"[0-9]{12}")
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")
"""How a cell begins that spreadsheets take for a formula."""


class Format(StrEnum):
    """How records are written."""

    JSON = "json"
    CSV = "csv"


class RecordsQuery(Row, kw_only=True):
    """Which records; what is absent may be any."""

    product: ProductCode | UnsetType = UNSET
    customer: (
        Annotated[
            str,
            Meta(
                min_length=1,
                max_length=2048,
                description="The buyer's account id, customer identifier, or license.",
                extra={"wanted": "an account id, a customer identifier or a license ARN"},
            ),
        ]
        | UnsetType
    ) = UNSET
    dimension: (
        Annotated[
            str,
            Meta(
                pattern=r"^[A-Za-z0-9_.-]{0,100}$(?!\n)",
                description="A dimension's key; empty: what follows from RegisterUsage.",
                extra={"wanted": "a dimension's key: up to 100 of A-Z, a-z, 0-9 and _.-"},
            ),
        ]
        | UnsetType
    ) = UNSET
    region: Region | UnsetType = UNSET
    from_: Instant | UnsetType = msgspec.field(name="from", default=UNSET)
    to: Instant | UnsetType = UNSET
    after: After | UnsetType = UNSET
    limit: Limit | UnsetType = UNSET
    format: Annotated[Format, Meta(description="`csv` streams all of it, with the same columns.")] = Format.JSON
    totals: Annotated[bool, Meta(description="Sums by month, buyer and dimension instead of records.")] = False


def wanted_of(query: RecordsQuery) -> Wanted:
    """What a query asks for.

    Of the three ways to name a customer, twelve digits are an account, and `arn:` begins a license.
    """
    customer = None if query.customer is UNSET else query.customer
    names: dict[str, str] = {}
    if customer is not None:
        is_account, is_license = _ACCOUNT_ID.fullmatch(customer), customer.startswith("arn:")
        names["customer" if is_account else "license" if is_license else "customer_identifier"] = customer
    return Wanted(
        region=_given(query.region),
        product=_given(query.product),
        dimension=_given(query.dimension),
        from_micros=None if query.from_ is UNSET else micros_of(query.from_, "from"),
        to_micros=None if query.to is UNSET else micros_of(query.to, "to"),
        **names,
    )


def _given(text: str | UnsetType) -> str | None:
    return None if text is UNSET else text


def record_answer(record: ReadRecord) -> RecordAnswer:
    """A usage record."""
    series, header = record.series, record.header
    return RecordAnswer(
        record_id=text_of_id(record.record_id),
        operation=header.operation,
        product=record.partition.product,
        region=record.partition.region,
        seller=record.product.seller,
        buyer=series.customer,
        customer_identifier=record.customer_identifier,
        license_arn=series.license or None,
        dimension=series.dimension,
        timestamp=rfc3339(record.timestamp_micros),
        hour=rfc3339(hour_of(record.timestamp_micros) * HOUR),
        quantity=text_of_micros(record.quantity_micros),
        unit=record.unit,
        allocations=allocation_answers(record.allocations),
        resource_id=series.workload or None,
        request_id=header.request_id,
        position=record.position,
        received=rfc3339(header.received_micros),
        preview=record.preview,
    )


def total_answer(total: Total) -> TotalAnswer:
    """A row of the totals."""
    return TotalAnswer(
        month=total.month,
        buyer=total.buyer,
        dimension=total.dimension,
        unit=total.unit,
        quantity=text_of_micros(total.quantity_micros),
        price=None if total.price_units is None else text_of_price_units(total.price_units),
        amount=None if total.amount_units is None else text_of_price_units(total.amount_units),
    )


async def list_records(asked: Asked) -> Answered:
    """`GET /records`."""
    query: RecordsQuery = asked.query
    whole = query.totals or query.format is Format.CSV
    for field in ("after", "limit"):
        if whole and getattr(query, field) is not UNSET:
            reason = "all of it is answered, so there are no parts"
            raise Refused(RefusalKind.INVALID, f"{reason}: leave it out with totals=true or format=csv", field)
    wanted = wanted_of(query)
    if query.totals:
        return await _list_totals(asked.parts, wanted, query.format)
    if query.format is Format.CSV:
        return _csv("records", _csv_of_records(asked.parts, wanted))
    return Answered(await _page(asked.parts, wanted, query))


async def _page(parts: ControlParts, wanted: Wanted, query: RecordsQuery) -> Page[RecordAnswer]:
    limit = DEFAULT_LIMIT if query.limit is UNSET else query.limit
    after = None if query.after is UNSET else place_of_record(query.after)
    found: list[ReadRecord] = []
    reading = read_back(parts.ledger, parts.market, parts.clocks.now_micros, wanted, after=after)
    async with aclosing(reading):
        async for batch in reading:
            found += batch[: limit + 1 - len(found)]
            if len(found) > limit:
                break
    shown = found[:limit]
    following = cursor_of(shown[-1].place) if len(found) > limit else None
    return Page(items=[record_answer(record) for record in shown], next=following)


def place_of_record(cursor: str) -> Place:
    """The record behind which to go on. Raises Refused."""
    place = place_of_cursor(cursor, Place)
    if place.position < 1 or place.nth < 0:
        raise bad_cursor()
    return place


async def _list_totals(parts: ControlParts, wanted: Wanted, form: Format) -> Answered:
    found = await totals(parts.ledger, parts.market, parts.clocks.now_micros, wanted)
    answers = [total_answer(total) for total in found]
    return _csv("totals", _csv_of_totals(answers)) if form is Format.CSV else Answered(Page(items=answers))


# CSV


def _csv(name: str, body: AsyncIterator[bytes]) -> Answered:
    headers = {"content-disposition": f'attachment; filename="{name}.csv"'}
    return Answered(body, content_type=CSV, headers=headers)


async def _csv_of_records(parts: ControlParts, wanted: Wanted) -> AsyncIterator[bytes]:
    """All records that were received before now: what comes meanwhile is left for the next time."""
    yield _lines([RecordAnswer.__struct_fields__])
    reading = read_back(
        parts.ledger,
        parts.market,
        parts.clocks.now_micros,
        wanted,
        rows_at_once=ROWS_AT_ONCE,
        until_micros=parts.real_now(),
    )
    async with aclosing(reading):
        async for batch in reading:
            yield _lines(_cells(record_answer(record)) for record in batch)


async def _csv_of_totals(answers: Sequence[TotalAnswer]) -> AsyncIterator[bytes]:
    yield _lines([TotalAnswer.__struct_fields__, *map(_cells, answers)])


def _lines(rows: Iterable[Sequence[str]]) -> bytes:
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    return text.getvalue().encode()


def _cells(answer: Struct) -> list[str]:
    return [_cell(getattr(answer, name)) for name in answer.__struct_fields__]


def _cell(value: Any) -> str:
    match value:
        case None:
            return ""
        case str():
            return f"'{value}" if value.startswith(_FORMULA) else value
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case _:
            return msgspec.json.encode(value).decode()


CALLS: Final = (
    ControlCall(
        "GET",
        "/records",
        "The usage records that are kept, in the order of the journal.",
        list_records,
        Page[RecordAnswer],
        query=RecordsQuery,
        other_answers=(Page[TotalAnswer],),
        also={CSV: "`format=csv`: all of it, with a line of names."},
    ),
)
