"""The client for a shell: AWS's input form, groups as JSON, and whether all went well."""

import json
from typing import Any

import pytest

from meterhouse.client.client import MeteringClient
from meterhouse.client.doubles import ManualClock, RecordedTransport, answer
from meterhouse.client.errors import InvalidRequestError, MeteringError
from meterhouse.client.shell import VERBS, Printed, call_operation
from meterhouse.core.profile import OPERATIONS
from tests.unit.client_service import DumbService
from tests.unit.client_ways import KEYS


def run(verb: str, said: Any, answers: Any = (), **more: Any) -> Printed:
    """Calls an operation as the command does."""
    client = MeteringClient(
        region="us-east-1",
        endpoint_url="http://metering.test",
        credentials=KEYS,
        transport=RecordedTransport(answers),
        clock=ManualClock(),
    )
    return call_operation(client, verb, said if isinstance(said, str) else json.dumps(said), **more)


def _said(number: int, **more: Any) -> dict[str, Any]:
    record = {
        "Timestamp": "2026-11-21T12:00:00Z",
        "Dimension": "users",
        "CustomerAWSAccountId": f"{444400000000 + number}",
        "QuantityAsDecimal": "1.50",
    }
    return {**record, **more}


def test_every_operation_has_a_verb() -> None:
    """As AWS's command line names them."""
    assert set(VERBS.values()) == OPERATIONS


def test_a_batch_of_any_size_is_told_by_groups() -> None:
    """30 records, one of them bad, one in conflict: each is in its group, and the whole is no success."""
    records = [_said(number) for number in range(30)]
    records[3]["Dimension"] = "bad-dimension"
    records.append(_said(0, QuantityAsDecimal="2"))
    service = DumbService()
    printed = run("batch-meter-usage", {"ProductCode": "p", "UsageRecords": records}, service)
    told = json.loads(printed.text)
    assert {name: len(group) for name, group in told.items()} == {
        "accepted": 29,
        "replayed": 0,
        "conflicted": 1,
        "not_subscribed": 0,
        "refused": 1,
        "unsent": 0,
    }
    assert told["accepted"][0] == {
        "timestamp": "2026-11-21T12:00:00Z",
        "dimension": "users",
        "quantity": "1.50",
        "customer_aws_account_id": "444400000000",
        "metering_record_id": service.kept["p", "444400000000", "users", 1_795_262_400 // 3600][1],
        "request_id": "recorded",
    }
    assert told["refused"][0]["reason"].startswith("InvalidUsageDimensionException")
    assert not printed.is_success
    assert run("batch-meter-usage", {"ProductCode": "p", "UsageRecords": records[:3]}, DumbService()).is_success


def test_numbers_times_and_allocations_are_read_as_aws_writes_them() -> None:
    """Epoch seconds, integers and allocations arrive as they were written."""
    allocations = [
        {"AllocatedUsageQuantity": 2, "Tags": [{"Key": "a", "Value": "b"}]},
        {"AllocatedUsageQuantity": 1},
    ]
    record = {
        "Timestamp": 1_795_262_400.25,
        "Dimension": "users",
        "CustomerIdentifier": "X01",
        "Quantity": 3,
        "UsageAllocations": allocations,
    }
    requests: list[Any] = []

    def keeping(request: Any) -> Any:
        requests.append(json.loads(request.body))
        return DumbService()(request)

    assert run("batch-meter-usage", {"ProductCode": "p", "UsageRecords": [record]}, keeping).is_success
    assert requests == [{"ProductCode": "p", "UsageRecords": [record]}]


def test_once_is_the_one_request_that_aws_would_be_sent() -> None:
    """The answer as it came, and success only where every record has it."""
    for status, is_success in (("Success", True), ("DuplicateRecord", False)):
        said = {"Results": [{"UsageRecord": _said(1), "Status": status}], "UnprocessedRecords": []}
        printed = run("batch-meter-usage", {"UsageRecords": [_said(1)]}, [answer(said)], once=True)
        assert json.loads(printed.text) == said
        assert printed.is_success is is_success
    left = {"Results": [], "UnprocessedRecords": [_said(1)]}
    assert not run("batch-meter-usage", {"UsageRecords": [_said(1)]}, [answer(left)], once=True).is_success


def test_the_other_operations_print_their_answer() -> None:
    """Member for member, in AWS's words."""
    for verb, asked, said in (
        ("meter-usage", {"ProductCode": "p"}, {"MeteringRecordId": "x"}),
        ("register-usage", {"ProductCode": "p"}, {"Signature": "a.b.c"}),
        ("resolve-customer", {"RegistrationToken": "t"}, {"ProductCode": "p", "Metadata": {"AgreementId": "agmt-1"}}),
    ):
        printed = run(verb, asked, [answer(said)])
        assert json.loads(printed.text) == said
        assert printed.is_success


WRONG = [
    ("bill", "{}", "'bill' is no operation"),
    ("meter-usage", "{", "no JSON object"),
    ("meter-usage", "[]", "no JSON object"),
    ("batch-meter-usage", {"UsageRecords": [{"Dimension": "users"}]}, "timestamp"),
    ("batch-meter-usage", {"UsageRecords": [7]}, "must be an object"),
    ("batch-meter-usage", {"UsageRecords": [_said(1, Quantity=1)]}, "must not both be given"),
]


@pytest.mark.parametrize(("verb", "said", "says"), WRONG)
def test_bad_input_is_said(verb: str, said: Any, says: str) -> None:
    """What cannot be read is refused before anything is sent."""
    with pytest.raises(InvalidRequestError, match=says):
        run(verb, said)


def test_a_failure_is_raised() -> None:
    """Errors of the service are the command's to tell."""
    with pytest.raises(MeteringError):
        run("resolve-customer", {}, [answer({"__type": "InvalidTokenException"}, 400)])
