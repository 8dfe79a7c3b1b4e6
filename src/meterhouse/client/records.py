"""What is said and what is answered, in Python's manner: aware datetimes, exact numbers, frozen values.

Rules of this file. A mistake of the program (a float, a time without a zone) is refused where it is made, by TypeError
or ValueError at construction. What the API's rules refuse (a length, a pattern, a sum) is judged by `wording.py`, with
the rest of a batch, since there one bad record must not stop the others.
"""

from collections.abc import Mapping
from datetime import datetime, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any, NoReturn

from msgspec import Struct
from msgspec.structs import force_setattr


def _check_quantity(quantity: object) -> None:
    """Whole or decimal, never binary: TypeError and ValueError say what to write instead."""
    if isinstance(quantity, bool) or not isinstance(quantity, int | Decimal):
        if isinstance(quantity, float):
            raise TypeError(
                f"the quantity {quantity!r} is a float, and floats are not exact (0.1 + 0.2 is 0.30000000000000004): "
                f"give an int, or Decimal('{quantity!r}')"
            )
        raise TypeError(f"a quantity is an int or a Decimal, not {type(quantity).__name__}")
    if isinstance(quantity, Decimal) and not quantity.is_finite():
        raise ValueError(f"a quantity is a number, and {quantity} is none")


def check_time(moment: object) -> None:
    """An aware datetime: TypeError and ValueError say what to write instead."""
    if not isinstance(moment, datetime):
        raise TypeError(f"a time is a datetime, not {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError(f"{moment} has no time zone and could mean any of 24 hours: give tzinfo=UTC, or its own")


def _pairs_of(tags: Any) -> tuple[tuple[str, str], ...]:
    """Tags as pairs of texts; TypeError for anything else, which might be billed under another name."""
    pairs = tuple(tags.items() if isinstance(tags, Mapping) else tags)
    for pair in pairs:
        if not isinstance(pair, tuple) or [type(text) for text in pair] != [str, str]:
            raise TypeError(
                f"tags are a mapping of texts, such as {{'team': 'search'}}, or pairs of them: not {pair!r}"
            )
    return pairs


class UsageAllocation(Struct, frozen=True, gc=False):
    """A part of a record's quantity, and the tags it belongs to (contract §5)."""

    quantity: int | Decimal
    """In the product's unit; of the record's kind, both whole or both Decimal."""
    tags: Mapping[str, str] | tuple[tuple[str, str], ...] = ()
    """Up to 5: keys of 1-100, values of 1-256 characters, no key beginning with `aws:`. Kept as pairs."""

    def __post_init__(self) -> None:
        _check_quantity(self.quantity)
        if self.tags != ():
            force_setattr(self, "tags", _pairs_of(self.tags))


class UsageRecord(Struct, frozen=True, kw_only=True, gc=False):
    """One customer's usage of one dimension in one hour (contract §4). TypeError for a float, ValueError for a time
    without a zone.
    """

    timestamp: datetime
    """Aware, to the microsecond. Its hour (UTC) is what counts; less than 24 hours ago when it is sent."""
    dimension: str
    """A dimension's key, 1-255 characters."""
    quantity: int | Decimal
    """In the dimension's unit: an int of 0-2147483647, or a Decimal of 0-9999999999.999999 with up to 6 places. A 0
    occupies its hour: a later quantity for it is a conflict.
    """
    customer_aws_account_id: str | None = None
    """The buyer's AWS account id. Either this or `customer_identifier`."""
    license_arn: str | None = None
    """The license that the usage is on; the only way to name a product with concurrent agreements."""
    customer_identifier: str | None = None
    """The buyer's opaque name, for legacy products."""
    allocations: tuple[UsageAllocation, ...] = ()
    """How the quantity is split, if it is: up to 2500 parts that add up to it, each with another set of tags."""
    product_code: str | None = None
    """Where the records of one call are of several products: this one's, in place of the call's."""

    def __post_init__(self) -> None:
        if type(self.quantity) is not int:
            _check_quantity(self.quantity)
        if type(self.timestamp) is not datetime or type(self.timestamp.tzinfo) is not timezone:
            check_time(self.timestamp)
        if self.allocations != ():
            parts = tuple(self.allocations)
            for part in parts:
                if not isinstance(part, UsageAllocation):
                    raise TypeError(f"an allocation is a UsageAllocation, not {type(part).__name__}")
            force_setattr(self, "allocations", parts)


class RecordStatus(StrEnum):
    """The wire's word on a record of an accepted batch (contract §4). Only the first means that it will be billed."""

    SUCCESS = "Success"
    CUSTOMER_NOT_SUBSCRIBED = "CustomerNotSubscribed"
    DUPLICATE_RECORD = "DuplicateRecord"
    UNKNOWN = "Unknown"
    """A word that this version of the client does not know; no success."""

    @classmethod
    def _missing_(cls, value: object) -> "RecordStatus":
        del value
        return cls.UNKNOWN


class UsageRecordResult(Struct, frozen=True, gc=False):
    """What the service says of one record. A result in the list does *not* mean that the record was accepted."""

    record: UsageRecord
    status: RecordStatus
    metering_record_id: str | None
    """Of SUCCESS; the same one again for the same record sent again."""

    def __bool__(self) -> NoReturn:
        raise TypeError("a record's result is not true or false: compare its status")


class BatchOnceResult(Struct, frozen=True):
    """The answer to one BatchMeterUsage, one to one."""

    results: tuple[UsageRecordResult, ...]
    """In the order given; of every record but the unprocessed ones."""
    unprocessed_records: tuple[UsageRecord, ...]
    """Not kept, by a failure of the service: to be sent again as they are."""
    request_id: str | None

    def __bool__(self) -> NoReturn:
        raise TypeError("a result is not true or false: look at each status, and at unprocessed_records")


class MeterUsageResult(Struct, frozen=True):
    """A kept record of the calling software's own usage (contract §6)."""

    metering_record_id: str
    request_id: str | None


class RegisterUsageResult(Struct, frozen=True):
    """The service meters this task or pod from now on (contract §7)."""

    signature: str
    """A JWT, for `verify_registration_signature`."""
    public_key_rotation_timestamp: datetime | None
    """When the key version asked for was rotated out, if it was."""
    request_id: str | None


class ResolveCustomerResult(Struct, frozen=True):
    """The buyer behind a registration token (contract §8)."""

    product_code: str
    customer_aws_account_id: str | None
    license_arn: str | None
    """What `UsageRecord.license_arn` wants."""
    customer_identifier: str | None
    """For legacy products only."""
    agreement_id: str | None
    request_id: str | None
