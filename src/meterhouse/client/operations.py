"""The four operations as flows: what is said goes through the API's own rules, then `exchange`, then is read.

Each flow returns the operation's result or raises its error; `batch.py` has the BatchMeterUsage for people.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, TypeVar, cast

import msgspec
from msgspec import Struct

from meterhouse.client.answers import (
    MeterAnswer,
    RegisterAnswer,
    ResolveAnswer,
    Sorted,
    read,
    read_batch,
    sort,
    time_of,
)
from meterhouse.client.errors import InvalidRequestError, UnreadableAnswerError
from meterhouse.client.flow import Caller, Flow, Reply, exchange
from meterhouse.client.records import (
    BatchOnceResult,
    MeterUsageResult,
    RecordStatus,
    RegisterUsageResult,
    ResolveCustomerResult,
    UsageAllocation,
    UsageRecord,
    UsageRecordResult,
    check_time,
)
from meterhouse.client.wording import Said, allocations_of, check, constraint, encode, quantity_of, say, timestamp_of
from meterhouse.core import shapes

value_type = TypeVar("value_type")
answer_type = TypeVar("answer_type", bound=Struct)

MOST_RECORDS: Final = 25
"""In one BatchMeterUsage (contract §4)."""


def _value(reply: Reply[value_type]) -> value_type:
    if reply.error is not None:
        raise reply.error
    assert reply.value is not None, "a reply without an error has a value"
    return reply.value


# --- BatchMeterUsage, one to one --------------------------------------------------------------------------------------


def batch_once(
    caller: Caller, records: Sequence[UsageRecord], product_code: str | None, until: float | None
) -> Flow[BatchOnceResult]:
    """One BatchMeterUsage of at most 25 records, as it is."""
    if len(records) > MOST_RECORDS:
        raise InvalidRequestError(
            f"{len(records)} records, where one request takes up to {MOST_RECORDS}: batch_meter_usage takes any number"
        )
    everything, breaches, _ = say(records)
    for record in records:
        if record.product_code not in (None, product_code):
            raise InvalidRequestError(f"one request is of one product, here {product_code}: {record.product_code}")
    for breach in breaches.values():
        raise breach
    said = cast("list[Said]", everything)  # none is None where there are no breaches
    reply: Reply[Sorted] = yield from exchange(
        caller,
        "BatchMeterUsage",
        batch_body(said, product_code),
        lambda answer: sorted_batch(said, answer),
        until=until,
    )
    found = _value(reply)
    statuses, unknown = _STATUSES, RecordStatus.UNKNOWN
    results = tuple(
        [
            UsageRecordResult(record, statuses.get(result.status, unknown), result.metering_record_id)
            for record, result in zip(records, found.results, strict=True)
            if result is not None
        ]
    )
    unprocessed = tuple(records[place] for place in sorted(found.unprocessed))
    if len(results) + len(unprocessed) < len(records):
        raise UnreadableAnswerError("the answer leaves records out", status=200, request_id=reply.request_id)
    return BatchOnceResult(results, unprocessed, reply.request_id)


_STATUSES: Final[dict[str | None, RecordStatus]] = {status.value: status for status in RecordStatus}


def batch_body(said: list[Said], product_code: str | None) -> bytes:
    """A request of these records. Raises InvalidRequestError where the code breaches its constraints."""
    if product_code not in _CODES:
        _check_code(product_code)
    return encode(shapes.BatchMeterUsageRequest(said, product_code))


_fits: Final = constraint(shapes.ProductCode)
_CODES: Final[set[str | None]] = {None}
_CODES_LIMIT: Final = 1000


def _check_code(product_code: str | None) -> None:
    if not isinstance(product_code, str) or not _fits(product_code):
        check(shapes.BatchMeterUsageRequest([], product_code), shapes.BatchMeterUsageRequest)
    if len(_CODES) < _CODES_LIMIT:
        _CODES.add(product_code)


def sorted_batch(said: list[Said], body: bytes) -> Sorted:
    """A 200's body, each result at its record's place. Raises UnreadableAnswerError."""
    try:
        return sort(said, read_batch(body))
    except ValueError as error:  # an echo whose quantity is none
        raise UnreadableAnswerError(str(error)) from None


# --- the others -------------------------------------------------------------------------------------------------------


class Metered(Struct, frozen=True, kw_only=True):
    """The arguments of MeterUsage (contract §6)."""

    product_code: str
    timestamp: datetime
    usage_dimension: str
    usage_quantity: int | Decimal
    allocations: Sequence[UsageAllocation]
    dry_run: bool
    client_token: str


def meter_usage(caller: Caller, said: Metered, until: float | None) -> Flow[MeterUsageResult]:
    """One MeterUsage; its ClientToken stays the same on every attempt."""
    UsageRecord(timestamp=said.timestamp, dimension="", quantity=said.usage_quantity)  # the same types are refused
    whole, decimal = quantity_of(said.usage_quantity)
    request = shapes.MeterUsageRequest[shapes.Timestamp](
        said.product_code,
        timestamp_of(said.timestamp),
        said.usage_dimension,
        whole,
        decimal,
        said.dry_run or None,
        allocations_of(tuple(said.allocations), whole, decimal) if said.allocations else None,
        said.client_token,
    )
    check(request, shapes.MeterUsageRequest)
    answer, request_id = yield from _ask(caller, "MeterUsage", request, _METER, until)
    return MeterUsageResult(answer.metering_record_id, request_id)


def register_usage(
    caller: Caller, product_code: str, public_key_version: int, nonce: str | None, until: float | None
) -> Flow[RegisterUsageResult]:
    """One RegisterUsage."""
    request = shapes.RegisterUsageRequest(product_code, public_key_version, nonce)
    check(request, shapes.RegisterUsageRequest)
    answer, request_id = yield from _ask(caller, "RegisterUsage", request, _REGISTER, until)
    return RegisterUsageResult(answer.signature, time_of(answer.public_key_rotation_timestamp), request_id)


def resolve_customer(caller: Caller, registration_token: str, until: float | None) -> Flow[ResolveCustomerResult]:
    """One ResolveCustomer."""
    request = shapes.ResolveCustomerRequest(registration_token)
    check(request, shapes.ResolveCustomerRequest)
    answer, request_id = yield from _ask(caller, "ResolveCustomer", request, _RESOLVE, until)
    return ResolveCustomerResult(
        answer.product_code,
        answer.customer_aws_account_id,
        answer.license_arn,
        answer.customer_identifier,
        None if answer.metadata is None else answer.metadata.agreement_id,
        request_id,
    )


_METER: Final = msgspec.json.Decoder(MeterAnswer)
_REGISTER: Final = msgspec.json.Decoder(RegisterAnswer)
_RESOLVE: Final = msgspec.json.Decoder(ResolveAnswer)


def _ask(
    caller: Caller,
    operation: str,
    request: Struct,
    decoder: "msgspec.json.Decoder[answer_type]",
    until: float | None,
) -> Flow[tuple[answer_type, str | None]]:
    reply: Reply[answer_type] = yield from exchange(
        caller, operation, encode(request), lambda body: read(body, decoder), until=until
    )
    return _value(reply), reply.request_id


# --- as it is on the wire ---------------------------------------------------------------------------------------------


def as_it_is(caller: Caller, operation: str, said: Mapping[str, Any], until: float | None) -> Flow[dict[str, Any]]:
    """Any operation, in the wire's own words both ways; judged by the service alone."""
    from meterhouse.core.profile import OPERATIONS  # noqa: PLC0415 - few say it in the wire's words

    if operation not in OPERATIONS:
        raise InvalidRequestError(f"{operation!r} is no operation: {', '.join(sorted(OPERATIONS))}")
    try:
        body = encode(_with_numbers(said))
    except UnicodeEncodeError as error:
        raise InvalidRequestError(f"what is said is no text: {error}") from None
    reply: Reply[dict[str, Any]] = yield from exchange(caller, operation, body, _read_object, until=until)
    return _value(reply)


def _with_numbers(said: Any) -> Any:
    """Times as the wire's numbers, decimals as its texts; all else as it is."""
    match said:
        case datetime():
            check_time(said)
            return timestamp_of(said)
        case Decimal():
            return format(said, "f")
        case bytes() | bytearray() | memoryview():
            raise TypeError(f"{said!r} are bytes, and the wire knows texts: decode them")
        case Mapping():
            return {name: _with_numbers(value) for name, value in said.items()}
        case list() | tuple():
            return [_with_numbers(value) for value in said]
        case _:
            return said


_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])


def _read_object(body: bytes) -> dict[str, Any]:
    return read(body, _OBJECT)
