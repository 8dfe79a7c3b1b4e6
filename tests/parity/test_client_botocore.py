"""The client against botocore: the same requests, the same signatures, the same reading, retries and endpoints."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple
from unittest.mock import patch

import botocore.auth
import botocore.session
import pytest
from botocore.exceptions import ClientError

from meterhouse.client.answers import micros_of, read_batch
from meterhouse.client.credentials import Credentials
from meterhouse.client.doubles import RecordedTransport, answer, error_answer
from meterhouse.client.errors import (
    MeteringError,
)
from meterhouse.client.flow import Instant, error_of
from meterhouse.client.records import UsageAllocation, UsageRecord
from meterhouse.client.transport import HttpRequest
from tests.parity.client_oracle import botocore_client, parsed_by_botocore
from tests.unit.client_ways import by_hand

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
EXACT: Final = NOON + timedelta(microseconds=123_456)
LICENSE: Final = "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef"


class _Sent(Exception):
    """Carries what botocore was about to send."""


def sent_by_botocore(method: str, arguments: dict[str, Any], session_token: str | None = None) -> Any:
    """The request that botocore would send, seen at its before-send event."""
    client = botocore_client(session_token)

    def stop(request: Any, **_: Any) -> None:
        raise _Sent(request)

    client.meta.events.register_first("before-send", stop)
    try:
        getattr(client, method)(**arguments)
    except _Sent as seen:
        return seen.args[0]
    finally:
        client.meta.events.unregister("before-send", stop)
    raise AssertionError("botocore sent nothing")


# --- requests ---------------------------------------------------------------------------------------------------------


class Said(NamedTuple):
    """One thing to say, to us and to botocore."""

    name: str
    method: str
    ours: dict[str, Any]
    theirs: dict[str, Any]


def _record(**more: Any) -> UsageRecord:
    return UsageRecord(**{"timestamp": NOON, "dimension": "users", "quantity": 7, **more})


SAID: Final = [
    Said(
        "a batch by product code",
        "batch_meter_usage_once",
        {
            "product_code": "p",
            "records": [
                _record(customer_identifier="X01"),
                _record(customer_identifier="X02", timestamp=EXACT, quantity=0),
                _record(customer_aws_account_id="444455556666", dimension='d"\u00fc\u2028\U0001f600/'),
            ],
        },
        {
            "ProductCode": "p",
            "UsageRecords": [
                {"Timestamp": NOON, "Dimension": "users", "Quantity": 7, "CustomerIdentifier": "X01"},
                {"Timestamp": EXACT, "Dimension": "users", "Quantity": 0, "CustomerIdentifier": "X02"},
                {
                    "Timestamp": NOON,
                    "Dimension": 'd"\u00fc\u2028\U0001f600/',
                    "Quantity": 7,
                    "CustomerAWSAccountId": "444455556666",
                },
            ],
        },
    ),
    Said(
        "a batch by license, in decimals, allocated",
        "batch_meter_usage_once",
        {
            "records": [
                _record(
                    customer_aws_account_id="4",
                    license_arn=LICENSE,
                    quantity=Decimal("1.50"),
                    allocations=[UsageAllocation(Decimal("0.5"), {"team": "a", "b": "c"}), UsageAllocation(Decimal(1))],
                )
            ]
        },
        {
            "UsageRecords": [
                {
                    "Timestamp": NOON,
                    "Dimension": "users",
                    "QuantityAsDecimal": "1.50",
                    "CustomerAWSAccountId": "4",
                    "LicenseArn": LICENSE,
                    "UsageAllocations": [
                        {
                            "AllocatedUsageQuantityAsDecimal": "0.5",
                            "Tags": [{"Key": "team", "Value": "a"}, {"Key": "b", "Value": "c"}],
                        },
                        {"AllocatedUsageQuantityAsDecimal": "1"},
                    ],
                }
            ]
        },
    ),
    Said("an empty batch", "batch_meter_usage_once", {"records": []}, {"UsageRecords": []}),
    Said(
        "metering",
        "meter_usage",
        {
            "product_code": "p",
            "timestamp": EXACT,
            "usage_dimension": "users",
            "usage_quantity": 7,
            "allocations": [UsageAllocation(7, {"team": "a"})],
            "dry_run": True,
            "client_token": "t",
        },
        {
            "ProductCode": "p",
            "Timestamp": EXACT,
            "UsageDimension": "users",
            "UsageQuantity": 7,
            "UsageAllocations": [{"AllocatedUsageQuantity": 7, "Tags": [{"Key": "team", "Value": "a"}]}],
            "DryRun": True,
            "ClientToken": "t",
        },
    ),
    Said(
        "metering in decimals",
        "meter_usage",
        {"product_code": "p", "timestamp": NOON, "usage_dimension": "u", "usage_quantity": Decimal("0.000001")},
        {
            "ProductCode": "p",
            "Timestamp": NOON,
            "UsageDimension": "u",
            "UsageQuantityAsDecimal": "0.000001",
            "ClientToken": "a-token",
        },
    ),
    Said(
        "registering",
        "register_usage",
        {"product_code": "p", "public_key_version": 3, "nonce": "n"},
        {"ProductCode": "p", "PublicKeyVersion": 3, "Nonce": "n"},
    ),
    Said(
        "registering without a nonce",
        "register_usage",
        {"product_code": "p", "public_key_version": 1},
        {"ProductCode": "p", "PublicKeyVersion": 1},
    ),
    Said("resolving", "resolve_customer", {"registration_token": "t\u00f6k+/="}, {"RegistrationToken": "t\u00f6k+/="}),
]


def _sent_by_us(said: Said) -> HttpRequest:
    calls = by_hand(RecordedTransport([error_answer("AccessDeniedException")]))
    with pytest.raises(MeteringError):
        getattr(calls, said.method)(**said.ours)
    (request,) = calls.transport.requests
    made: HttpRequest = request
    return made


@pytest.mark.parametrize("said", SAID, ids=[said.name for said in SAID])
def test_a_request_is_botocores_member_for_member(said: Said) -> None:
    """The same body by value, the same target and content type, to the same place."""
    ours, theirs = _sent_by_us(said), sent_by_botocore(said.method.removesuffix("_once"), said.theirs)
    assert json.loads(ours.body) == json.loads(theirs.body)
    headers = {name.lower().decode(): value.decode() for name, value in ours.headers}
    for name in ("content-type", "x-amz-target"):
        assert headers[name] == _text(theirs.headers[name])
    assert headers["amz-sdk-request"].split(";")[0] == _text(theirs.headers["amz-sdk-request"]).split(";")[0]
    assert headers.keys() | {"content-length"} >= {name.lower() for name in theirs.headers}
    assert f"{ours.address}{ours.target.decode()}" == theirs.url


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


# --- signatures -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("session_token", [None, "a session token/+=="])
@pytest.mark.parametrize("said", SAID, ids=[said.name for said in SAID])
def test_a_signature_is_botocores(said: Said, session_token: str | None) -> None:
    """For the same input, keys and instant, both sign the same headers and come to the same signature."""
    moment = datetime(2026, 11, 21, 13, 14, 15, tzinfo=UTC)

    with patch.object(botocore.auth, "get_current_datetime", lambda **_: moment.replace(tzinfo=None)):
        theirs = sent_by_botocore(said.method.removesuffix("_once"), said.theirs, session_token)
    assert _text(theirs.headers["X-Amz-Date"]) == "20261121T131415Z"
    body = theirs.body if isinstance(theirs.body, bytes) else theirs.body.encode()
    operation = _text(theirs.headers["X-Amz-Target"]).split(".")[1]
    calls = by_hand(RecordedTransport([]))
    keys = Credentials("AKIDEXAMPLE", "a secret that signs", session_token)
    now = Instant(int(moment.timestamp()) * 1_000_000, 0.0)
    ours = calls.caller.request(operation, body, keys, now, 1, "invocation")
    headers = {name.lower().decode(): value.decode() for name, value in ours.headers}
    assert headers["authorization"] == _text(theirs.headers["Authorization"])
    assert headers.get("x-amz-security-token") == (
        None if session_token is None else _text(theirs.headers["X-Amz-Security-Token"])
    )


# --- answers ----------------------------------------------------------------------------------------------------------


ECHO: Final = {"Timestamp": 1_795_262_400, "Dimension": "users", "CustomerIdentifier": "X01", "Quantity": 7}
BATCHES: Final = {
    "one of each": {
        "Results": [
            {"UsageRecord": ECHO, "MeteringRecordId": "id-1", "Status": "Success"},
            {"UsageRecord": {**ECHO, "CustomerIdentifier": "X02"}, "Status": "DuplicateRecord"},
            {"UsageRecord": {**ECHO, "CustomerIdentifier": "X03"}, "Status": "CustomerNotSubscribed"},
        ],
        "UnprocessedRecords": [{**ECHO, "CustomerIdentifier": "X04"}],
    },
    "fractions of seconds": {
        "Results": [{"UsageRecord": {**ECHO, "Timestamp": 1_795_262_400.123456}, "Status": "Success"}],
        "UnprocessedRecords": [],
    },
    "times as texts": {
        "Results": [{"UsageRecord": {**ECHO, "Timestamp": "2026-11-21T12:00:00.5Z"}, "Status": "Success"}],
        "UnprocessedRecords": [{**ECHO, "Timestamp": "Sat, 21 Nov 2026 12:00:00 GMT"}],
    },
    "members of later years": {
        "Results": [{"UsageRecord": {**ECHO, "Unit": "x"}, "Status": "Success", "Score": [1]}],
        "UnprocessedRecords": [],
        "Trace": {"a": None},
    },
    "decimals and licenses": {
        "Results": [
            {
                "UsageRecord": {
                    "Timestamp": 0,
                    "Dimension": "d",
                    "QuantityAsDecimal": "1.50",
                    "CustomerAWSAccountId": "4",
                    "LicenseArn": LICENSE,
                },
                "Status": "Success",
            }
        ],
        "UnprocessedRecords": [],
    },
    "nothing": {},
}


def _as_botocore_has_it(echo: Any) -> dict[str, Any]:
    members = {
        "Timestamp": micros_of(echo.timestamp),
        "Dimension": echo.dimension,
        "CustomerIdentifier": echo.customer_identifier,
        "Quantity": echo.quantity,
        "QuantityAsDecimal": echo.quantity_as_decimal,
        "CustomerAWSAccountId": echo.customer_aws_account_id,
        "LicenseArn": echo.license_arn,
    }
    return {name: value for name, value in members.items() if value is not None}


def _with_micros(echo: dict[str, Any]) -> dict[str, Any]:
    instant = (echo["Timestamp"] - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return {**echo, "Timestamp": instant}


@pytest.mark.parametrize("said", BATCHES.values(), ids=BATCHES)
def test_an_answer_is_read_as_botocore_reads_it(said: dict[str, Any]) -> None:
    """Every result and unprocessed record, member for member, of the same bytes."""
    given = answer(said)
    theirs, ours = parsed_by_botocore("BatchMeterUsage", given), read_batch(given.body)
    assert [
        {"UsageRecord": _as_botocore_has_it(one.usage_record), "Status": one.status, "Id": one.metering_record_id}
        for one in ours.results or ()
    ] == [
        {"UsageRecord": _with_micros(one["UsageRecord"]), "Status": one["Status"], "Id": one.get("MeteringRecordId")}
        for one in theirs.get("Results", ())
    ]
    assert [_as_botocore_has_it(one) for one in ours.unprocessed_records or ()] == [
        _with_micros(one) for one in theirs.get("UnprocessedRecords", ())
    ]


OTHERS: Final = [
    ("meter_usage", {"product_code": "p", "timestamp": NOON, "usage_dimension": "u", "usage_quantity": 1},
     "MeterUsage", {"MeteringRecordId": "id"}),
    ("register_usage", {"product_code": "p", "public_key_version": 1},
     "RegisterUsage", {"Signature": "a.b.c", "PublicKeyRotationTimestamp": 1_795_262_400.5}),
    ("register_usage", {"product_code": "p", "public_key_version": 1}, "RegisterUsage", {"Signature": "a.b.c"}),
    ("resolve_customer", {"registration_token": "t"}, "ResolveCustomer",
     {"ProductCode": "p", "CustomerAWSAccountId": "4", "LicenseArn": LICENSE, "Metadata": {"AgreementId": "agmt-1"}}),
    ("resolve_customer", {"registration_token": "t"}, "ResolveCustomer",
     {"ProductCode": "p", "CustomerIdentifier": "X01", "Metadata": {}}),
]  # fmt: skip


@pytest.mark.parametrize(("method", "arguments", "operation", "said"), OTHERS)
def test_the_other_answers_are_read_as_botocore_reads_them(
    method: str, arguments: dict[str, Any], operation: str, said: dict[str, Any]
) -> None:
    """Member for member; what botocore leaves out is None."""
    given = answer(said)
    theirs = parsed_by_botocore(operation, given)
    ours = getattr(by_hand(RecordedTransport([given])), method)(**arguments)
    names = {
        "metering_record_id": "MeteringRecordId",
        "signature": "Signature",
        "public_key_rotation_timestamp": "PublicKeyRotationTimestamp",
        "product_code": "ProductCode",
        "customer_aws_account_id": "CustomerAWSAccountId",
        "license_arn": "LicenseArn",
        "customer_identifier": "CustomerIdentifier",
    }
    read = {names[name]: getattr(ours, name) for name in ours.__struct_fields__ if name in names}
    expected = {name: value for name, value in theirs.items() if name not in ("ResponseMetadata", "Metadata")}
    assert {name: value for name, value in read.items() if value is not None} == expected
    if "Metadata" in theirs:
        assert ours.agreement_id == theirs["Metadata"].get("AgreementId")


ERRORS: Final = [
    {"__type": "InvalidTokenException", "message": "m"},
    {"__type": "com.amazon.coral.service#UnknownOperationException"},
    {"__type": "aws.marketplace#ThrottlingException", "Message": "Rate exceeded"},
    {"message": "no name"},
]


@pytest.mark.parametrize("said", ERRORS)
@pytest.mark.parametrize("status", [400, 403, 500])
def test_an_error_is_read_as_botocore_reads_it(said: dict[str, Any], status: int) -> None:
    """The same code and message of the same bytes."""
    given = answer(said, status)
    theirs = parsed_by_botocore("ResolveCustomer", given)["Error"]
    ours = error_of("ResolveCustomer", given)
    assert (ours.code, ours.message) == (theirs["Code"], theirs.get("Message", ""))


def _modelled() -> Iterator[tuple[str, str, int]]:
    service = botocore_client().meta.service_model
    for operation in service.operation_names:
        for shape in service.operation_model(operation).error_shapes:
            yield operation, shape.name, shape.metadata.get("error", {}).get("httpStatusCode", 400)


@pytest.mark.parametrize(("operation", "name", "status"), list(_modelled()))
def test_every_modelled_error_arrives_as_its_class(operation: str, name: str, status: int) -> None:
    """What boto3 has under client.exceptions, every operation of ours raises by a class of the same name."""
    methods: dict[str, Any] = {
        "BatchMeterUsage": ("batch_meter_usage_once", {"records": [], "product_code": "p"}),
        "MeterUsage": OTHERS[0][:2],
        "RegisterUsage": OTHERS[1][:2],
        "ResolveCustomer": OTHERS[3][:2],
    }
    method, arguments = methods[operation]
    calls = by_hand(RecordedTransport([error_answer(name, "why", status)] * 3))
    with pytest.raises(MeteringError) as raised:
        getattr(calls, method)(**arguments)
    error = raised.value
    assert type(error).__name__ == name == error.code
    assert isinstance(getattr(botocore_client().exceptions, name), type)
    assert issubclass(getattr(botocore_client().exceptions, name), ClientError)
    assert (error.message, error.status, error.request_id) == ("why", status, "recorded")
