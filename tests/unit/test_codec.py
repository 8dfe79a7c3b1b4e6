"""What the codec takes, in every form that real clients send, and what it writes (contract §1, §10)."""

import json
from decimal import Decimal
from typing import Any

import pytest
from msgspec import Raw

from meterhouse.core.moment import micros_of_rfc3339
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.profile import PROFILES
from meterhouse.core.shapes import (
    Answer,
    BatchMeterUsageRequest,
    BatchMeterUsageResult,
    Metadata,
    MeterUsageRequest,
    MeterUsageResult,
    RegisterUsageRequest,
    RegisterUsageResult,
    ResolveCustomerRequest,
    ResolveCustomerResult,
    Tag,
    Timestamp,
    UsageAllocation,
    UsageRecord,
    UsageRecordResult,
)
from meterhouse.core.usage import micros_of
from meterhouse.wire import codec
from meterhouse.wire.codec import decode, encode
from meterhouse.wire.faults import body_of, status_of

Batch = BatchMeterUsageRequest[Timestamp]


def batch(body: bytes | str) -> Batch:
    """A body as a batch."""
    return decode(body if isinstance(body, bytes) else body.encode(), BatchMeterUsageRequest)


def one(text: str) -> UsageRecord[Timestamp]:
    """The only record of a batch, with these members besides the two that every record must have."""
    (record,) = batch(f'{{"UsageRecords":[{{"Timestamp":1795219200,"Dimension":"users",{text}}}]}}').usage_records
    return record


def test_every_member_finds_its_place() -> None:
    """A record that says all that can be said is read whole."""
    body = {
        "ProductCode": "legacy-pipeline",
        "UsageRecords": [
            {
                "Timestamp": 1795219200,
                "CustomerIdentifier": "X01EXAMPLEX",
                "CustomerAWSAccountId": "444455556666",
                "LicenseArn": "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef",
                "Dimension": "users",
                "Quantity": 17,
                "QuantityAsDecimal": "17.5",
                "UsageAllocations": [
                    {"AllocatedUsageQuantity": 10, "Tags": [{"Key": "BusinessUnit", "Value": "IT"}]},
                    {"AllocatedUsageQuantityAsDecimal": "7.5"},
                ],
            }
        ],
    }
    assert batch(json.dumps(body)) == BatchMeterUsageRequest(
        [
            UsageRecord(
                1795219200,
                "users",
                "X01EXAMPLEX",
                17,
                "17.5",
                [UsageAllocation(10, None, [Tag("BusinessUnit", "IT")]), UsageAllocation(None, "7.5")],
                "444455556666",
                "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef",
            )
        ],
        "legacy-pipeline",
    )


def test_the_other_operations_are_read_whole() -> None:
    """Every member of the other three requests finds its place too."""
    meter = (
        b'{"ProductCode":"a","Timestamp":1795219200,"UsageDimension":"users","UsageQuantity":5,'
        b'"UsageQuantityAsDecimal":"5","DryRun":false,"UsageAllocations":[{}],"ClientToken":"t"}'
    )
    assert decode(meter, MeterUsageRequest) == MeterUsageRequest(
        "a", 1795219200, "users", 5, "5", False, [UsageAllocation()], "t"
    )
    register = b'{"ProductCode":"a","PublicKeyVersion":9223372036854775807,"Nonce":""}'
    assert decode(register, RegisterUsageRequest) == RegisterUsageRequest("a", 2**63 - 1, "")
    assert decode(b'{"RegistrationToken":"t"}', ResolveCustomerRequest) == ResolveCustomerRequest("t")


@pytest.mark.parametrize(
    "body",
    [
        '{"UsageRecords":[]}',
        ' \t\r\n{ "UsageRecords" : [ ] } \n',
        '{"UsageRecords":[],"ProductCode":null}',
        '{"UsageRecords":null,"UsageRecords":[]}',
        '{"UsageRecords":"text","UsageRecords":[]}',
        '{"UsageRecords":[{}],"UsageRecords":[]}',
        '{"\\u0055sageRecords":[]}',
        '{"__type":"BatchMeterUsageRequest","UsageRecords":[]}',
        '{"UsageRecords":[],"Unknown":null,"unknown":[null,{"a":1.5e300,"b":"\\ud83d\\ude00"}]}',
        '{"UsageRecords":[],"Unknown":' + "9" * 20_000 + "}",
        '{"UsageRecords":[],"Unknown":1e999999999999}',
        '{"UsageRecords":[],"Unknown":0.' + "1" * 20_000 + "}",
        '{"UsageRecords":[],"Unknown":"' + "x" * 1_000_000 + '"}',
        '{"UsageRecords":[],"Unknown":"\\u0000\x7f"}',
    ],
    ids=lambda body: body[:60],
)
def test_an_empty_batch_is_read_whatever_stands_beside_it(body: str) -> None:
    """Unknown members are ignored, null ones are absent, and of a member given twice the last counts."""
    assert batch(body) == BatchMeterUsageRequest([])


@pytest.mark.parametrize(
    "nested",
    [
        "[" * 63 + "]" * 63,
        '{"a":' * 63 + "1" + "}" * 63,
        "[" + ",".join(["[[{}]]"] * 10_000) + "]",
        '["' + "[" * 1_000 + '"]',
        '["' + "]{" * 1_000 + '"]',
        '["' + "[" * 1_000 + '\\"' + "[" * 1_000 + '"]',
        '["' + "[" * 1_000 + '\\\\"]',
        "[" + ",".join(['"\\"[{"'] * 1_000) + "]",
    ],
    ids=lambda nested: nested[:40],
)
def test_64_levels_are_not_too_deep_and_brackets_in_strings_are_none(nested: str) -> None:
    """The outermost object counts as the first level; brackets in strings do not count, behind escapes either."""
    assert batch(f'{{"UsageRecords":[],"Unknown":{nested}}}') == BatchMeterUsageRequest([])


@pytest.mark.parametrize(
    ("text", "member", "value"),
    [
        ('"Quantity":0', "quantity", 0),
        ('"Quantity":-0', "quantity", 0),
        ('"Quantity":2147483647', "quantity", 2147483647),
        ('"Quantity":null', "quantity", None),
        ('"Quantity":5,"Quantity":null', "quantity", None),
        ('"Quantity":9,"Quantity":5', "quantity", 5),
        ('"Quantity":"nine","Quantity":5', "quantity", 5),
        (f'"Quantity":{2**64},"Quantity":5', "quantity", 5),
        ('"QuantityAsDecimal":"0"', "quantity_as_decimal", "0"),
        ('"QuantityAsDecimal":"9999999999.999999"', "quantity_as_decimal", "9999999999.999999"),
        ('"CustomerIdentifier":""', "customer_identifier", ""),
        ('"CustomerIdentifier":"é\\u00e9\\ud83d\\ude00😀"', "customer_identifier", "éé😀😀"),
        ('"CustomerIdentifier":"' + "😀" * 255 + '"', "customer_identifier", "😀" * 255),
        ('"CustomerIdentifier":"\\\\ud800"', "customer_identifier", "\\ud800"),
        ('"CustomerAWSAccountId":"1"', "customer_aws_account_id", "1"),
        ('"CustomerAWSAccountId":"' + "9" * 255 + '"', "customer_aws_account_id", "9" * 255),
        ('"LicenseArn":""', "license_arn", ""),
        ('"LicenseArn":"no license at all"', "license_arn", "no license at all"),
        ('"UsageAllocations":[]', "usage_allocations", []),
        ('"UsageAllocations":[{"Tags":[]}]', "usage_allocations", [UsageAllocation(tags=[])]),
        ('"UsageAllocations":[{"Tags":null}]', "usage_allocations", [UsageAllocation()]),
        (
            '"UsageAllocations":[{"Tags":[{"Key":"","Value":"é"}]}]',
            "usage_allocations",
            [UsageAllocation(tags=[Tag("", "é")])],
        ),
    ],
    ids=lambda value: str(value)[:50],
)
def test_a_member_is_read_as_its_value(text: str, member: str, value: object) -> None:
    """Bounds are inclusive; what another rule judges by an error of its own passes here."""
    assert getattr(one(text), member) == value


def test_what_rules_judge_passes_on_the_careful_path_too() -> None:
    """An ISO-8601 time is read the careful way: tags, allocations and licenses are left to their rules there too."""
    tag = '{"Key":"","Value":"é"}'
    said = f'"LicenseArn":"none","UsageAllocations":[{{"Tags":[{",".join([tag] * 6)}]}}]'
    body = f'{{"UsageRecords":[{{"Timestamp":"2026-11-21T00:00:00Z","Dimension":"users",{said}}}]}}'
    (record,) = batch(body).usage_records
    assert record.license_arn == "none"
    assert record.usage_allocations == [UsageAllocation(tags=[Tag("", "é")] * 6)]


def test_a_text_that_does_not_fit_is_found_beside_those_that_are_known_to() -> None:
    """All records are screened at once, and each is screened."""
    accounts = ("444455556666", "444455556666", "not an account")
    one(f'"CustomerAWSAccountId":"{accounts[0]}"')
    body = ",".join(f'{{"Timestamp":1,"Dimension":"a","CustomerAWSAccountId":"{account}"}}' for account in accounts)
    with pytest.raises(Fault, match=r"usageRecords\.3\.member\.customerAWSAccountId"):
        batch(f'{{"UsageRecords":[{body}]}}')


def test_an_empty_product_code_counts_as_absent_where_none_is_needed() -> None:
    """Real clients send it; the rules read it as not given."""
    assert not batch('{"UsageRecords":[],"ProductCode":""}').product_code


@pytest.mark.parametrize(
    ("said", "instant"),
    [
        ("1795219200", "2026-11-21T00:00:00Z"),
        ("1795219200.0", "2026-11-21T00:00:00Z"),
        ("1795219200.000000", "2026-11-21T00:00:00Z"),
        ("1795219200.456", "2026-11-21T00:00:00.456Z"),
        ("1795219200.456789", "2026-11-21T00:00:00.456789Z"),
        ("1795219200.4567899", "2026-11-21T00:00:00.456789Z"),
        ("1795219200." + "9" * 20_000, "2026-11-21T00:00:00.999999Z"),
        ("1795219200.5e0", "2026-11-21T00:00:00.5Z"),
        ("1.795219200456789e9", "2026-11-21T00:00:00.456789Z"),
        ("1.7952192E+9", "2026-11-21T00:00:00Z"),
        ("17952192000000e-4", "2026-11-21T00:00:00Z"),
        ("0", "1970-01-01T00:00:00Z"),
        ("-0", "1970-01-01T00:00:00Z"),
        ("-0.0", "1970-01-01T00:00:00Z"),
        ("0e99", "1970-01-01T00:00:00Z"),
        ("1e-99", "1970-01-01T00:00:00Z"),
        ("-0.5", "1969-12-31T23:59:59.5Z"),
        ("-1.0000019", "1969-12-31T23:59:58.999999Z"),
        ("-62135596800", "0001-01-01T00:00:00Z"),
        ("-62135596799.5", "0001-01-01T00:00:00.5Z"),
        ("253402300799", "9999-12-31T23:59:59Z"),
        ("253402300799.9999999", "9999-12-31T23:59:59.999999Z"),
        ('"2026-11-21T00:00:00Z"', "2026-11-21T00:00:00Z"),
        ('"2026-11-21T00:00:00"', "2026-11-21T00:00:00Z"),
        ('"2026-11-21 00:00:00"', "2026-11-21T00:00:00Z"),
        ('"2026-11-21"', "2026-11-21T00:00:00Z"),
        ('"2026-11-21T00:00:00.000Z"', "2026-11-21T00:00:00Z"),
        ('"2026-11-21T00:00:00.456Z"', "2026-11-21T00:00:00.456Z"),
        ('"2026-11-21T00:00:00.4567899Z"', "2026-11-21T00:00:00.456789Z"),
        ('"2026-11-21T01:30:00+01:30"', "2026-11-21T00:00:00Z"),
        ('"2026-11-20T16:00:00-08:00"', "2026-11-21T00:00:00Z"),
        ('"20261121T000000Z"', "2026-11-21T00:00:00Z"),
        ('"2024-02-29T12:00:00Z"', "2024-02-29T12:00:00Z"),
        ('"0001-01-01T00:00:00Z"', "0001-01-01T00:00:00Z"),
        ('"9999-12-31T23:59:59.999999Z"', "9999-12-31T23:59:59.999999Z"),
    ],
    ids=lambda value: value[:40],
)
def test_a_timestamp_is_read_exactly_and_echoed_by_value(said: str, instant: str) -> None:
    """Numbers and ISO-8601 texts name the instant they say, cut to microseconds; the echo is an equal plain number."""
    body = f'{{"UsageRecords":[{{"Timestamp":{said},"Dimension":"users"}}]}}'
    (record,) = batch(body).usage_records
    assert micros_of(record.timestamp) == micros_of_rfc3339(instant)
    answer = encode(BatchMeterUsageResult([UsageRecordResult(record, "Success", "id")], []))
    echo = json.loads(answer, parse_float=Decimal, parse_int=Decimal)["Results"][0]["UsageRecord"]["Timestamp"]
    assert echo * 1_000_000 == micros_of_rfc3339(instant)
    assert b"e" not in bytes(answer).split(b'"Timestamp":')[1].split(b",")[0].lower()


def test_times_of_all_forms_stand_side_by_side() -> None:
    """One record's form of a timestamp does not change how the others are read."""
    forms = ["1795219200", "1795219200.5", '"2026-11-21T00:00:01Z"', "1.7952192025E9"]
    body = ",".join(f'{{"Timestamp":{form},"Dimension":"users"}}' for form in forms)
    read = [micros_of(record.timestamp) for record in batch(f'{{"UsageRecords":[{body}]}}').usage_records]
    assert [micros - 1795219200_000_000 for micros in read] == [0, 500_000, 1_000_000, 2_500_000]


def test_a_body_just_under_a_mebibyte_is_read() -> None:
    """The largest body that passes the gate, full of allocations, is read whole."""
    allocations = [
        {"AllocatedUsageQuantity": 1, "Tags": [{"Key": f"key-{number}", "Value": "[{" * 5}]} for number in range(600)
    ]
    record = {"Timestamp": 1795219200, "Dimension": "users", "Quantity": 600, "UsageAllocations": allocations}
    body = json.dumps({"UsageRecords": [record] * 25}).encode()
    body += b" " * (1_048_575 - len(body))
    assert [len(said.usage_allocations or ()) for said in batch(body).usage_records] == [600] * 25


@pytest.mark.parametrize("name", PROFILES)
def test_a_hidden_member_is_ignored_whatever_is_in_it(name: str) -> None:
    """What a profile's API did not know is read as an unknown member is: not at all."""
    hidden = PROFILES[name].hidden
    members = {"LicenseArn": 5, "QuantityAsDecimal": 2**70, "UsageAllocations": "text", "CustomerAWSAccountId": []}
    wrong = {member: value for member, value in members.items() if member in hidden}
    right = {"Timestamp": 1795219200.5, "Dimension": "users", "Quantity": 5}
    body = json.dumps({"UsageRecords": [right | wrong]}).encode()
    (record,) = decode(body, BatchMeterUsageRequest, hidden).usage_records
    assert (micros_of(record.timestamp), record.dimension, record.quantity) == (1795219200_500_000, "users", 5)
    assert record.license_arn is None
    assert record.usage_allocations is None


def test_a_hidden_member_may_still_not_be_broken() -> None:
    """UTF-8, depth and NaN are judged over the whole body, hidden members too."""
    body = b'{"UsageRecords":[],"LicenseArn":NaN}'
    with pytest.raises(Fault) as refused:
        decode(body, BatchMeterUsageRequest, PROFILES["2020-11"].hidden)
    assert refused.value.code is FaultCode.SERIALIZATION


RECORD: UsageRecord[Timestamp] = UsageRecord(
    Raw(b"253402300799.999999"), "users", quantity=5, customer_aws_account_id="444455556666", license_arn="arn"
)

ANSWERS: list[tuple[Answer, str, dict[str, Any]]] = [
    (BatchMeterUsageResult([], []), "2026-11", {"Results": [], "UnprocessedRecords": []}),
    (
        BatchMeterUsageResult([UsageRecordResult(RECORD, "DuplicateRecord")], [RECORD]),
        "2026-11",
        {
            "Results": [
                {
                    "UsageRecord": {
                        "Timestamp": Decimal("253402300799.999999"),
                        "Dimension": "users",
                        "Quantity": 5,
                        "CustomerAWSAccountId": "444455556666",
                        "LicenseArn": "arn",
                    },
                    "Status": "DuplicateRecord",
                }
            ],
            "UnprocessedRecords": [
                {
                    "Timestamp": Decimal("253402300799.999999"),
                    "Dimension": "users",
                    "Quantity": 5,
                    "CustomerAWSAccountId": "444455556666",
                    "LicenseArn": "arn",
                }
            ],
        },
    ),
    (
        BatchMeterUsageResult([UsageRecordResult(RECORD, "Success", "id")], []),
        "2020-11",
        {
            "Results": [
                {
                    "UsageRecord": {
                        "Timestamp": Decimal("253402300799.999999"),
                        "Dimension": "users",
                        "Quantity": 5,
                    },
                    "Status": "Success",
                    "MeteringRecordId": "id",
                }
            ],
            "UnprocessedRecords": [],
        },
    ),
    (MeterUsageResult("id"), "2026-11", {"MeteringRecordId": "id"}),
    (
        RegisterUsageResult("jwt", 1795219200),
        "2026-11",
        {"Signature": "jwt", "PublicKeyRotationTimestamp": 1795219200},
    ),
    (RegisterUsageResult("jwt"), "2026-11", {"Signature": "jwt"}),
    (
        ResolveCustomerResult("X01", "code", "444455556666", "arn", Metadata("agmt-1")),
        "2026-11",
        {
            "CustomerIdentifier": "X01",
            "ProductCode": "code",
            "CustomerAWSAccountId": "444455556666",
            "LicenseArn": "arn",
            "Metadata": {"AgreementId": "agmt-1"},
        },
    ),
    (
        ResolveCustomerResult(None, "code", "444455556666", "arn", Metadata("agmt-1")),
        "2026-06",
        {"ProductCode": "code", "CustomerAWSAccountId": "444455556666", "LicenseArn": "arn"},
    ),
    (
        ResolveCustomerResult("X01", "code", "444455556666", "arn", Metadata("agmt-1")),
        "2018-06",
        {"CustomerIdentifier": "X01", "ProductCode": "code"},
    ),
]


@pytest.mark.parametrize(("answer", "profile", "expected"), ANSWERS)
def test_an_answer_has_what_its_profile_knows(answer: Answer, profile: str, expected: dict[str, Any]) -> None:
    """Absent members are left out, the two lists of a batch are always there, and times stay exact."""
    assert json.loads(encode(answer, PROFILES[profile].hidden), parse_float=Decimal) == expected


def test_usual_bodies_take_the_fast_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What SDKs send every hour is not parsed twice: without the careful path it is read all the same."""

    def parse(body: bytes) -> object:
        raise AssertionError("the careful path was taken")

    monkeypatch.setattr(codec, "parse", parse)
    record = '"Dimension":"users","CustomerIdentifier":"","CustomerAWSAccountId":"444455556666","LicenseArn":"arn"'
    for timestamp in ("1795219200", "1795219200.0", "1795219200.456789"):
        for quantity in ('"Quantity":17', '"QuantityAsDecimal":"17.5"', '"Unknown":[{}]'):
            said = batch(f'{{"UsageRecords":[{{"Timestamp":{timestamp},{record},{quantity}}}],"ProductCode":"a"}}')
            assert said.usage_records[0].dimension == "users"


def test_neither_tokens_nor_names_without_bound_are_remembered() -> None:
    """The texts found to fit a pattern are kept only where they are short and no secret."""
    decode(b'{"RegistrationToken":"a-token-nobody-may-find"}', ResolveCustomerRequest)
    batch('{"UsageRecords":[],"ProductCode":"a-code-worth-keeping"}')
    kept = set().union(*codec._FITTING.values())
    assert "a-code-worth-keeping" in kept
    assert "a-token-nobody-may-find" not in kept


def test_texts_that_fit_are_forgotten_beyond_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many account ids are named, memory does not grow with them, and none is refused."""
    monkeypatch.setattr(codec, "_FITTING_LIMIT", 10)
    known = codec._FITTING["^[0-9]+$"]
    known.clear()
    for number in range(100):
        assert one(f'"CustomerAWSAccountId":"{number}"').customer_aws_account_id == str(number)
        assert str(number) in known
        assert len(known) <= 10


@pytest.mark.parametrize(
    ("code", "status"),
    [
        (FaultCode.REQUEST_ENTITY_TOO_LARGE, 413),
        (FaultCode.INTERNAL_SERVICE_ERROR, 500),
        (FaultCode.SERVICE_UNAVAILABLE, 503),
        *(
            (code, 400)
            for code in FaultCode
            if code
            not in (
                FaultCode.REQUEST_ENTITY_TOO_LARGE,
                FaultCode.INTERNAL_SERVICE_ERROR,
                FaultCode.SERVICE_UNAVAILABLE,
            )
        ),
    ],
)
def test_a_fault_has_its_status(code: FaultCode, status: int) -> None:
    """Everything is 400 but what is too large, a bug, or a ledger that cannot keep."""
    assert status_of(code) == status


def test_the_body_of_a_fault_is_its_name_and_a_sentence() -> None:
    """The plain name without prefix or suffix, and a message that is always valid UTF-8."""
    body = json.loads(body_of(Fault(FaultCode.INVALID_TAG, "a \ud800 tag")))
    assert body == {"__type": "InvalidTagException", "message": "a ? tag"}
