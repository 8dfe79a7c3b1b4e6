"""MeterUsage, RegisterUsage, ResolveCustomer and the plain BatchMeterUsage: what is sent, and what is read."""

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from meterhouse.client.doubles import RecordedTransport, answer, error_answer
from meterhouse.client.errors import (
    InvalidRequestError,
    InvalidUsageDimensionException,
    UnreadableAnswerError,
)
from meterhouse.client.records import (
    MeterUsageResult,
    RecordStatus,
    RegisterUsageResult,
    ResolveCustomerResult,
    UsageAllocation,
    UsageRecord,
)
from meterhouse.client.transport import HttpAnswer, HttpRequest
from tests.unit.client_batches import used
from tests.unit.client_service import DumbService
from tests.unit.client_ways import WAYS, Way

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    """By threads, by tasks, by hand."""
    return WAYS[request.param]


# --- MeterUsage -------------------------------------------------------------------------------------------------------


def test_meter_usage_says_all_it_is_given(way: Way) -> None:
    """Every argument has its member; those that were not given have none, but for the ClientToken."""
    calls = way(RecordedTransport([answer({"MeteringRecordId": "id-1"})] * 2))
    result = calls.meter_usage(
        product_code="p",
        timestamp=NOON,
        usage_dimension="users",
        usage_quantity=Decimal("1.5"),
        allocations=[UsageAllocation(Decimal("1.5"), {"team": "a"})],
        dry_run=True,
        client_token="a-token",
    )
    assert result == MeterUsageResult("id-1", "recorded")
    calls.meter_usage(product_code="p", timestamp=NOON, usage_dimension="users", usage_quantity=2)
    full, plain = (json.loads(request.body) for request in calls.transport.requests)
    assert full == {
        "ProductCode": "p",
        "Timestamp": NOON.timestamp(),
        "UsageDimension": "users",
        "UsageQuantityAsDecimal": "1.5",
        "DryRun": True,
        "UsageAllocations": [
            {"AllocatedUsageQuantityAsDecimal": "1.5", "Tags": [{"Key": "team", "Value": "a"}]},
        ],
        "ClientToken": "a-token",
    }
    assert plain.keys() == {"ProductCode", "Timestamp", "UsageDimension", "UsageQuantity", "ClientToken"}


METER_BREACHES: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"usage_quantity": 0.5}, TypeError, "floats are not exact"),
    ({"timestamp": datetime(2026, 11, 21)}, ValueError, "no time zone"),  # noqa: DTZ001 - the mistake itself
    ({"usage_quantity": -1}, InvalidRequestError, "not within 0"),
    ({"usage_dimension": ""}, InvalidRequestError, "usageDimension"),
    ({"product_code": "k\u00e4se"}, InvalidRequestError, "productCode"),
    ({"client_token": ""}, InvalidRequestError, "clientToken"),
    ({"client_token": "t" * 65}, InvalidRequestError, "clientToken"),
    ({"allocations": [UsageAllocation(2)]}, InvalidRequestError, "add up to 2"),
]


@pytest.mark.parametrize(("wrong", "error", "says"), METER_BREACHES)
def test_meter_usage_refuses_what_cannot_be(way: Way, wrong: dict[str, Any], error: type[Exception], says: str) -> None:
    """What breaks the API's rules is refused before it is sent."""
    usual = {"product_code": "p", "timestamp": NOON, "usage_dimension": "users", "usage_quantity": 1}
    with pytest.raises(error, match=says):
        way(RecordedTransport([])).meter_usage(**{**usual, **wrong})


# --- RegisterUsage, ResolveCustomer -----------------------------------------------------------------------------------


def test_register_usage(way: Way) -> None:
    """The nonce is sent where there is one; the rotation is a time, or None."""
    rotated = answer({"Signature": "a.b.c", "PublicKeyRotationTimestamp": 1_795_219_200.5})
    calls = way(RecordedTransport([answer({"Signature": "a.b.c"}), rotated]))
    first = calls.register_usage(product_code="p", public_key_version=1)
    assert first == RegisterUsageResult("a.b.c", None, "recorded")
    later = calls.register_usage(product_code="p", public_key_version=2, nonce="n")
    assert later.public_key_rotation_timestamp == datetime(2026, 11, 21, microsecond=500_000, tzinfo=UTC)
    assert [json.loads(request.body) for request in calls.transport.requests] == [
        {"ProductCode": "p", "PublicKeyVersion": 1},
        {"ProductCode": "p", "PublicKeyVersion": 2, "Nonce": "n"},
    ]
    with pytest.raises(InvalidRequestError, match="publicKeyVersion"):
        calls.register_usage(product_code="p", public_key_version=0)


def test_resolve_customer(way: Way) -> None:
    """A concurrent product's buyer has a license and no identifier; a legacy product's may lack the rest."""
    full = {
        "ProductCode": "p",
        "CustomerAWSAccountId": "444455556666",
        "LicenseArn": "arn",
        "Metadata": {"AgreementId": "agmt-1"},
        "SomethingNew": [1],
    }
    calls = way(RecordedTransport([answer(full), answer({"ProductCode": "p", "CustomerIdentifier": "X01"})]))
    assert calls.resolve_customer("token") == ResolveCustomerResult(
        "p", "444455556666", "arn", None, "agmt-1", "recorded"
    )
    assert calls.resolve_customer("token") == ResolveCustomerResult("p", None, None, "X01", None, "recorded")
    assert json.loads(calls.transport.requests[0].body) == {"RegistrationToken": "token"}


def test_a_token_is_never_repeated_in_a_message(way: Way) -> None:
    """A registration token is a secret, also where it is refused."""
    with pytest.raises(InvalidRequestError, match="registrationToken") as raised:
        way(RecordedTransport([])).resolve_customer("")
    assert "token'" not in raised.value.message.replace("registrationToken'", "")


# --- BatchMeterUsage, one to one --------------------------------------------------------------------------------------


def test_one_batch_one_to_one(way: Way) -> None:
    """Each record has its status, in the order given; an unprocessed one is apart."""
    service: Any = DumbService()

    def leaving_one(request: HttpRequest) -> HttpAnswer:
        said = json.loads(request.body)
        unprocessed = said["UsageRecords"].pop(1)
        made = service(HttpRequest(request.address, request.headers, json.dumps(said).encode()))
        return answer({**json.loads(made.body), "UnprocessedRecords": [unprocessed]})

    records = [used(1), used(2), used(3, account="999900000000"), used(1, quantity=2)]
    calls = way(RecordedTransport(leaving_one))
    result = calls.batch_meter_usage_once(records, product_code="p")
    assert [one.record for one in result.results] == [records[0], records[2], records[3]]
    assert [one.status for one in result.results] == [
        RecordStatus.SUCCESS,
        RecordStatus.CUSTOMER_NOT_SUBSCRIBED,
        RecordStatus.DUPLICATE_RECORD,
    ]
    assert [one.metering_record_id for one in result.results] == ["id-0", None, None]
    assert result.unprocessed_records == (records[1],)
    assert len(calls.transport.requests) == 1


def test_one_batch_refuses_what_cannot_be_one(way: Way) -> None:
    """26 records, another product among them, a breach: nothing is sent."""
    calls = way(RecordedTransport([]))
    for records, says in (
        ([used(number) for number in range(26)], "26 records"),
        ([used(1), used(2, product_code="q")], "one product, here p: q"),
        ([used(1), used(2, "")], "dimension"),
    ):
        with pytest.raises(InvalidRequestError, match=says):
            calls.batch_meter_usage_once(records, product_code="p")


def test_one_batch_raises_what_condemns_it(way: Way) -> None:
    """The plain call leaves isolation to others: one bad record is the whole batch's error."""
    calls = way(RecordedTransport(DumbService()))
    with pytest.raises(InvalidUsageDimensionException):
        calls.batch_meter_usage_once([used(1), used(2, "bad-dimension")], product_code="p")


def test_an_empty_batch_is_answered(way: Way) -> None:
    """No records are a valid request, and an empty result."""
    calls = way(RecordedTransport(DumbService()))
    result = calls.batch_meter_usage_once([])
    assert (result.results, result.unprocessed_records) == ((), ())
    assert calls.transport.requests[0].body == b'{"UsageRecords":[]}'


def test_an_answer_that_leaves_a_record_out_is_unreadable(way: Way) -> None:
    """In the plain call every record has a result, or there is none."""
    calls = way(RecordedTransport([answer({"Results": [], "UnprocessedRecords": []})]))
    with pytest.raises(UnreadableAnswerError, match="leaves records out"):
        calls.batch_meter_usage_once([used(1)], product_code="p")


def test_the_wires_own_words_go_through(way: Way) -> None:
    """`call` takes what boto3 takes, datetimes and decimals too, and gives all members there are."""
    calls = way(RecordedTransport([answer({"MeteringRecordId": "x", "New": 1})]))
    said = {"Timestamp": NOON, "UsageQuantityAsDecimal": Decimal("1.50"), "UsageAllocations": ({"Tags": []},)}
    assert calls.call("MeterUsage", said) == {"MeteringRecordId": "x", "New": 1}
    assert json.loads(calls.transport.requests[0].body) == {
        "Timestamp": NOON.timestamp(),
        "UsageQuantityAsDecimal": "1.50",
        "UsageAllocations": [{"Tags": []}],
    }
    with pytest.raises(ValueError, match="no time zone"):
        calls.call("MeterUsage", {"Timestamp": datetime(2026, 11, 21)})  # noqa: DTZ001 - the mistake itself


def test_an_error_of_the_plain_call_is_its_class(way: Way) -> None:
    """Also where the answer is to a record that breaks no rule here."""
    record = UsageRecord(timestamp=NOON, dimension="x", quantity=1, customer_aws_account_id="4")
    calls = way(RecordedTransport([error_answer("InvalidUsageDimensionException", "no such dimension")]))
    with pytest.raises(InvalidUsageDimensionException, match="no such dimension"):
        calls.batch_meter_usage_once([record], product_code="p")
