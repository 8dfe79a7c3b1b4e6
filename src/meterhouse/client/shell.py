"""The client for a shell: an operation's input as JSON in AWS's form, its outcome as JSON.

What `meterhouse call VERB --cli-input-json TEXT` prints and how it ends. Numbers and times are taken as AWS's command
line takes them: a timestamp as epoch seconds or ISO-8601. BatchMeterUsage takes any number of records and tells what
became of each by group; with `once` it is the one request that AWS's command line would send.
"""

from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any, Final

import msgspec
from msgspec import Struct
from msgspec import inspect as shape_info

from meterhouse.client.client import MeteringClient
from meterhouse.client.errors import InvalidRequestError
from meterhouse.client.outcomes import (
    Accepted,
    BatchResult,
    Conflicted,
    NotSubscribed,
    RecordOutcome,
    Refused,
    Replayed,
    Unsent,
)
from meterhouse.client.records import UsageAllocation, UsageRecord
from meterhouse.core import shapes
from meterhouse.core.moment import datetime_of
from meterhouse.core.outcome import Fault
from meterhouse.core.usage import micros_of
from meterhouse.wire.careful import constraints_of
from meterhouse.wire.codec import decode

VERBS: Final = {
    "batch-meter-usage": "BatchMeterUsage",
    "meter-usage": "MeterUsage",
    "register-usage": "RegisterUsage",
    "resolve-customer": "ResolveCustomer",
}
"""The operations as a shell names them."""

_INPUTS: Final = {
    "BatchMeterUsage": shapes.BatchMeterUsageRequest[int],
    "MeterUsage": shapes.MeterUsageRequest[int],
    "RegisterUsage": shapes.RegisterUsageRequest,
    "ResolveCustomer": shapes.ResolveCustomerRequest,
}

_GROUPS: Final = {
    Accepted: "accepted",
    Replayed: "replayed",
    Conflicted: "conflicted",
    NotSubscribed: "not_subscribed",
    Refused: "refused",
    Unsent: "unsent",
}


class Printed(Struct, frozen=True):
    """What a command prints, and whether all went well."""

    text: str
    is_success: bool


def call_operation(client: MeteringClient, verb: str, input_json: str, *, once: bool = False) -> Printed:
    """Calls an operation with an input in AWS's form (`{"ProductCode": "…", "UsageRecords": […]}`).

    `is_success` is False where a record was not accepted. Raises MeteringError for all else that goes wrong:
    InvalidRequestError where the verb is none, the input is no JSON object, or it has a member that the operation does
    not know: a service ignores those, so a misspelt Quantity would be metered as 0.
    """
    operation = VERBS.get(verb)
    if operation is None:
        raise InvalidRequestError(f"{verb!r} is no operation: {', '.join(VERBS)}")
    try:
        said = msgspec.json.decode(input_json, type=dict[str, Any])
    except msgspec.DecodeError as error:
        raise InvalidRequestError(f"the input is no JSON object: {error}") from None
    _check_members(said, shape_info.type_info(_INPUTS[operation]), "")
    if operation == "BatchMeterUsage" and not once:
        records = [_record(place, one) for place, one in enumerate(said["UsageRecords"], 1)]
        return _printed_batch(client.batch_meter_usage(records, product_code=said.get("ProductCode") or None))
    answer = client.call(operation, said)
    return Printed(_pretty(answer), _is_all_success(answer))


def _check_members(said: object, kind: shape_info.Type, where: str) -> None:
    """Refuses unknown members, and a list of records that is missing or none."""
    kind, _ = constraints_of(kind)
    if isinstance(kind, shape_info.ListType) and isinstance(said, list):
        for place, one in enumerate(said, 1):
            _check_members(one, kind.item_type, f"{where}.{place}")
    elif isinstance(kind, shape_info.StructType) and isinstance(said, dict):
        fields = {field.encode_name: field for field in kind.fields}
        for name, value in said.items():
            path = f"{where}.{name}" if where else name
            if name not in fields:
                raise InvalidRequestError(f"{path} is no member; known are {', '.join(fields)}")
            _check_members(value, fields[name].type, path)
        if "UsageRecords" in fields and not isinstance(said.get("UsageRecords"), list):
            raise InvalidRequestError("UsageRecords must be given, a list")


def _is_all_success(answer: Mapping[str, Any]) -> bool:
    statuses = {result.get("Status") for result in answer.get("Results") or ()}
    return statuses <= {"Success"} and not answer.get("UnprocessedRecords")


def _record(place: int, said: object) -> UsageRecord:
    """A record in AWS's form as one of ours, read by the service's own decoder. Raises InvalidRequestError."""
    body = msgspec.json.encode({"UsageRecords": [said]})
    try:
        (record,) = decode(body, shapes.BatchMeterUsageRequest).usage_records
        return UsageRecord(
            timestamp=datetime_of(micros_of(record.timestamp)),
            dimension=record.dimension,
            quantity=_quantity(record.quantity, record.quantity_as_decimal),
            customer_aws_account_id=record.customer_aws_account_id,
            license_arn=record.license_arn,
            customer_identifier=record.customer_identifier,
            allocations=tuple(map(_allocation, record.usage_allocations or ())),
        )
    except Fault as fault:
        raise InvalidRequestError(fault.message.replace("usageRecords.1.", f"usageRecords.{place}.")) from None


def _quantity(whole: int | None, decimal: str | None) -> int | Decimal:
    if whole is not None and decimal is not None:
        raise InvalidRequestError("Quantity and QuantityAsDecimal must not both be given")
    return Decimal(decimal) if decimal is not None else whole or 0


def _allocation(said: shapes.UsageAllocation) -> UsageAllocation:
    quantity = _quantity(said.allocated_usage_quantity, said.allocated_usage_quantity_as_decimal)
    return UsageAllocation(quantity, tuple((tag.key, tag.value) for tag in said.tags or ()))


def _printed_batch(result: BatchResult) -> Printed:
    groups: dict[str, list[dict[str, Any]]] = {name: [] for name in _GROUPS.values()}
    for outcome in result:
        groups[_GROUPS[type(outcome)]].append(_told(outcome))
    return Printed(_pretty(groups), not result.rejected)


def _told(outcome: RecordOutcome) -> dict[str, Any]:
    record = outcome.record
    told: dict[str, Any] = {
        "timestamp": record.timestamp,
        "dimension": record.dimension,
        "quantity": record.quantity,
        "customer_aws_account_id": record.customer_aws_account_id,
        "license_arn": record.license_arn,
        "customer_identifier": record.customer_identifier,
    }
    match outcome:
        case Accepted() | Replayed():
            told |= {"metering_record_id": outcome.metering_record_id, "request_id": outcome.request_id}
        case Conflicted() | NotSubscribed():
            told |= {"request_id": outcome.request_id}
        case Refused() | Unsent():
            told |= {"reason": str(outcome.reason), "may_be_kept": outcome.may_be_kept}
    return {name: _plain(value) for name, value in told.items() if value is not None}


def _plain(value: object) -> object:
    match value:
        case datetime():
            return value.isoformat().replace("+00:00", "Z")
        case Decimal():
            return format(value, "f")
        case _:
            return value


def _pretty(tree: object) -> str:
    return msgspec.json.format(msgspec.json.encode(tree), indent=2).decode()
