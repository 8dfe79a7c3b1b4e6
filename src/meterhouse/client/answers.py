"""Reading answers: what a 200's body says, and which result is which record's.

An answer is read generously: unknown members are ignored, absent ones are None, and a time may be a number or a text,
as botocore reads it. What is not there cannot be made up, though: a body that is no JSON object of the operation's form
is an UnreadableAnswerError, which is tried again like an answer that was lost.

AWS promises no order of the results. So a result is a record's where the echo says so: by its place if the echo there
is the record, else by what the record is about.
"""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, Generic, TypeVar

import msgspec
from msgspec import Raw, Struct

from meterhouse.client.errors import UnreadableAnswerError
from meterhouse.client.wording import Said
from meterhouse.core import shapes
from meterhouse.core.moment import SECOND, datetime_of, micros_of_datetime
from meterhouse.core.quantity import micros_of as quantity_micros_of
from meterhouse.wire.canonical import instant_of_http_date

type_of_time = TypeVar("type_of_time")
type_of_echo = TypeVar("type_of_echo")
answer_type = TypeVar("answer_type")


class Echo(Struct, Generic[type_of_time], rename=shapes.wire_name, gc=False):
    """A record as the service repeats it, whatever it repeats: nothing of it is checked."""

    timestamp: type_of_time
    dimension: str
    customer_identifier: str | None = None
    quantity: int | None = None
    quantity_as_decimal: str | None = None
    customer_aws_account_id: str | None = None
    license_arn: str | None = None


class RecordAnswer(Struct, Generic[type_of_echo], rename=shapes.wire_name, gc=False):
    """One of the results."""

    usage_record: type_of_echo
    status: str | None = None
    metering_record_id: str | None = None


class BatchAnswer(Struct, Generic[type_of_echo], rename=shapes.wire_name, gc=False):
    """The answer to BatchMeterUsage."""

    results: list[RecordAnswer[type_of_echo]] | None = None
    unprocessed_records: list[type_of_echo] | None = None


class MeterAnswer(Struct, rename=shapes.wire_name):
    """The answer to MeterUsage."""

    metering_record_id: str


class RegisterAnswer(Struct, rename=shapes.wire_name):
    """The answer to RegisterUsage."""

    signature: str
    public_key_rotation_timestamp: Raw = Raw(b"null")  # `Raw | None` would take None alone


class _Metadata(Struct, rename=shapes.wire_name):
    agreement_id: str | None = None


class ResolveAnswer(Struct, rename=shapes.wire_name):
    """The answer to ResolveCustomer."""

    product_code: str
    customer_identifier: str | None = None
    customer_aws_account_id: str | None = None
    license_arn: str | None = None
    metadata: _Metadata | None = None


_USUAL: Final = msgspec.json.Decoder(BatchAnswer[shapes.UsageRecord[int]])
"""What nearly every answer fits: echoes of valid records with whole seconds, to be compared with those at C's speed."""
_ANY: Final = msgspec.json.Decoder(BatchAnswer[Echo[Raw]])


def read_batch(body: bytes) -> BatchAnswer[Any]:
    """The answer to BatchMeterUsage; its times are whole seconds where `int`, anything the service says where `Raw`."""
    try:
        return _USUAL.decode(body)
    except msgspec.ValidationError:
        return read(body, _ANY)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableAnswerError(f"the answer cannot be read: {error}") from None


def read(body: bytes, decoder: "msgspec.json.Decoder[answer_type]") -> answer_type:
    """An answer of any form. Raises UnreadableAnswerError."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableAnswerError(f"the answer cannot be read: {error}") from None


def micros_of(said: int | Raw) -> int:
    """The instant that a time in an answer names: epoch seconds, or an ISO-8601 or HTTP date. UnreadableAnswerError."""
    if isinstance(said, int):
        return said * SECOND
    text = bytes(said).decode().strip('"')
    try:
        return int(Decimal(text) * SECOND)
    except InvalidOperation:
        pass
    http_date = instant_of_http_date(text)
    if http_date is not None:
        return http_date.seconds * SECOND
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise UnreadableAnswerError(f"{text[:50]!r} is no time") from None
    return micros_of_datetime(moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC))


def time_of(said: Raw) -> datetime | None:
    """As a datetime, UTC; None for null."""
    try:
        return None if bytes(said) == b"null" else datetime_of(micros_of(said))
    except OverflowError:
        raise UnreadableAnswerError("the answer has a time beyond the year 9999") from None


# --- which result is whose --------------------------------------------------------------------------------------------


class Sorted(Struct, frozen=True):
    """The answer to a batch, sorted by its records."""

    results: Sequence[RecordAnswer[Any] | None]
    """By place in the batch; None where the answer has no result for a record."""
    unprocessed: frozenset[int]
    """Places of the records that are to be sent again."""


def sort(said: list[Said], answer: BatchAnswer[Any]) -> Sorted:
    """Which result is which record's. Results for records that were not sent are left out."""
    results = answer.results or []
    if [result.usage_record for result in results] == said:
        return Sorted(results, frozenset())
    places: dict[tuple[object, ...], list[int]] = {}
    for place in range(len(said) - 1, -1, -1):
        places.setdefault(_about(said[place]), []).append(place)
    found: list[RecordAnswer[Any] | None] = [None] * len(said)
    for result in results:
        waiting = places.get(_about(result.usage_record))
        if waiting:
            found[waiting.pop()] = result
    unprocessed = set()
    for echo in answer.unprocessed_records or ():
        waiting = places.get(_about(echo))
        if waiting:
            unprocessed.add(waiting.pop())
    return Sorted(found, frozenset(unprocessed))


def _about(said: Said | Echo[Any]) -> tuple[object, ...]:
    """What a record is about: its time, names and quantity by value."""
    return (
        micros_of(said.timestamp),
        said.dimension,
        said.customer_aws_account_id,
        said.license_arn,
        said.customer_identifier or None,
        quantity_micros_of(said.quantity, said.quantity_as_decimal),
    )
