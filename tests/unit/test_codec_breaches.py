"""Breaches of constraints: one ValidationException lists them all, in Coral's form (contract §1)."""

import json

import pytest

from meterhouse.core.outcome import FaultCode
from meterhouse.core.shapes import (
    BatchMeterUsageRequest,
    MeterUsageRequest,
    RegisterUsageRequest,
    ResolveCustomerRequest,
    Shape,
)
from tests.unit.bad_bodies import PLAIN, batch, refusal_of, timed


def violation(value: str, path: str, constraint: str) -> str:
    """One breach in Coral's form."""
    return f"Value {value} at '{path}' failed to satisfy constraint: {constraint}"


def at_least(length: int) -> str:
    """The constraint of a least length."""
    return f"Member must have length greater than or equal to {length}"


def at_most(length: int) -> str:
    """The constraint of a greatest length."""
    return f"Member must have length less than or equal to {length}"


def pattern(text: str) -> str:
    """The constraint of a pattern."""
    return f"Member must satisfy regular expression pattern: {text}"


NOT_NULL = "Member must not be null"
DECIMAL = pattern(r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?$")
RECORD = "usageRecords.1.member"
ALLOCATION = f"{RECORD}.usageAllocations.1.member"

BREACHES: list[tuple[type[Shape], str, list[str]]] = [
    (BatchMeterUsageRequest, "", [violation("null", "usageRecords", NOT_NULL)]),
    (BatchMeterUsageRequest, "{}", [violation("null", "usageRecords", NOT_NULL)]),
    (BatchMeterUsageRequest, '{"UsageRecords":null}', [violation("null", "usageRecords", NOT_NULL)]),
    (BatchMeterUsageRequest, '{"UsageRecords":[],"UsageRecords":null}', [violation("null", "usageRecords", NOT_NULL)]),
    (BatchMeterUsageRequest, '{"usageRecords":[]}', [violation("null", "usageRecords", NOT_NULL)]),
    (BatchMeterUsageRequest, '{"UsageRecords":[null]}', [violation("null", RECORD, NOT_NULL)]),
    (
        BatchMeterUsageRequest,
        '{"UsageRecords":[{}]}',
        [violation("null", f"{RECORD}.timestamp", NOT_NULL), violation("null", f"{RECORD}.dimension", NOT_NULL)],
    ),
    (
        BatchMeterUsageRequest,
        f'{{"UsageRecords":[{{{PLAIN}}},null,{{"Timestamp":null,"Dimension":"users"}}]}}',
        [
            violation("null", "usageRecords.2.member", NOT_NULL),
            violation("null", "usageRecords.3.member.timestamp", NOT_NULL),
        ],
    ),
    (
        BatchMeterUsageRequest,
        f'{{"UsageRecords":[{",".join([f"{{{PLAIN}}}"] * 26)}]}}',
        [violation("'[26 members]'", "usageRecords", at_most(25))],
    ),
    (
        BatchMeterUsageRequest,
        f'{{"UsageRecords":[],"ProductCode":"{"a" * 256}"}}',
        [violation(f"'{'a' * 64}…'", "productCode", at_most(255))],
    ),
    (
        BatchMeterUsageRequest,
        '{"UsageRecords":[],"ProductCode":"a b"}',
        [violation("'a b'", "productCode", pattern("^[-a-zA-Z0-9/=:_.@]*$"))],
    ),
    (
        BatchMeterUsageRequest,
        '{"UsageRecords":[],"ProductCode":"a\\n"}',
        [violation("'a\n'", "productCode", pattern("^[-a-zA-Z0-9/=:_.@]*$"))],
    ),
    (
        BatchMeterUsageRequest,
        '{"UsageRecords":[{"Timestamp":1,"Dimension":""}]}',
        [
            violation("''", f"{RECORD}.dimension", at_least(1)),
            violation("''", f"{RECORD}.dimension", pattern(r"[\s\S]+")),
        ],
    ),
    (
        BatchMeterUsageRequest,
        f'{{"UsageRecords":[{{"Timestamp":1,"Dimension":"{"é" * 256}"}}]}}',
        [violation(f"'{'é' * 64}…'", f"{RECORD}.dimension", at_most(255))],
    ),
    (
        BatchMeterUsageRequest,
        batch(f'"CustomerIdentifier":"{"a" * 256}"'),
        [violation(f"'{'a' * 64}…'", f"{RECORD}.customerIdentifier", at_most(255))],
    ),
    (
        BatchMeterUsageRequest,
        batch('"CustomerAWSAccountId":""'),
        [
            violation("''", f"{RECORD}.customerAWSAccountId", at_least(1)),
            violation("''", f"{RECORD}.customerAWSAccountId", pattern("^[0-9]+$")),
        ],
    ),
    (
        BatchMeterUsageRequest,
        batch('"CustomerAWSAccountId":"12345678901٣"'),
        [violation("'12345678901٣'", f"{RECORD}.customerAWSAccountId", pattern("^[0-9]+$"))],
    ),
    (
        BatchMeterUsageRequest,
        batch('"Quantity":-1'),
        [violation("'-1'", f"{RECORD}.quantity", "Member must have value greater than or equal to 0")],
    ),
    (
        BatchMeterUsageRequest,
        batch(f'"Quantity":{-(2**63)}'),
        [violation(f"'{-(2**63)}'", f"{RECORD}.quantity", "Member must have value greater than or equal to 0")],
    ),
    (
        BatchMeterUsageRequest,
        batch('"Quantity":2147483648'),
        [violation("'2147483648'", f"{RECORD}.quantity", "Member must have value less than or equal to 2147483647")],
    ),
    (
        BatchMeterUsageRequest,
        batch(f'"Quantity":{2**63 - 1}'),
        [violation(f"'{2**63 - 1}'", f"{RECORD}.quantity", "Member must have value less than or equal to 2147483647")],
    ),
    (
        BatchMeterUsageRequest,
        batch('"QuantityAsDecimal":""'),
        [
            violation("''", f"{RECORD}.quantityAsDecimal", at_least(1)),
            violation("''", f"{RECORD}.quantityAsDecimal", DECIMAL),
        ],
    ),
    *(
        (
            BatchMeterUsageRequest,
            batch(f'"QuantityAsDecimal":"{text}"'),
            [violation(f"'{text}'", f"{RECORD}.quantityAsDecimal", DECIMAL)],
        )
        for text in (
            "017",
            ".5",
            "5.",
            "-1",
            "+1",
            "1e3",
            "1,5",
            " 1",
            "1 ",
            "NaN",
            "0.1234567",
            "10000000000",
            "\u0661",
        )
    ),
    (
        BatchMeterUsageRequest,
        batch('"QuantityAsDecimal":"99999999999.999999"'),
        [
            violation("'99999999999.999999'", f"{RECORD}.quantityAsDecimal", at_most(17)),
            violation("'99999999999.999999'", f"{RECORD}.quantityAsDecimal", DECIMAL),
        ],
    ),
    (
        BatchMeterUsageRequest,
        batch('"UsageAllocations":[null]'),
        [violation("null", ALLOCATION, NOT_NULL)],
    ),
    (
        BatchMeterUsageRequest,
        batch('"UsageAllocations":[{"AllocatedUsageQuantity":-1,"AllocatedUsageQuantityAsDecimal":"x"}]'),
        [
            violation(
                "'-1'", f"{ALLOCATION}.allocatedUsageQuantity", "Member must have value greater than or equal to 0"
            ),
            violation("'x'", f"{ALLOCATION}.allocatedUsageQuantityAsDecimal", DECIMAL),
        ],
    ),
    (
        BatchMeterUsageRequest,
        batch('"UsageAllocations":[{"Tags":[null,{"Key":"a"},{"Value":"a"}]}]'),
        [
            violation("null", f"{ALLOCATION}.tags.1.member", NOT_NULL),
            violation("null", f"{ALLOCATION}.tags.2.member.value", NOT_NULL),
            violation("null", f"{ALLOCATION}.tags.3.member.key", NOT_NULL),
        ],
    ),
    (
        MeterUsageRequest,
        "{}",
        [
            violation("null", "productCode", NOT_NULL),
            violation("null", "timestamp", NOT_NULL),
            violation("null", "usageDimension", NOT_NULL),
        ],
    ),
    (
        MeterUsageRequest,
        '{"ProductCode":"","Timestamp":1,"UsageDimension":"a"}',
        [violation("null", "productCode", NOT_NULL)],
    ),
    (
        MeterUsageRequest,
        f'{{"ProductCode":"a","Timestamp":1,"UsageDimension":"a","ClientToken":"{"t" * 65}"}}',
        [violation(f"'{'t' * 64}…'", "clientToken", at_most(64))],
    ),
    (
        MeterUsageRequest,
        '{"ProductCode":"a","Timestamp":1,"UsageDimension":"a","ClientToken":"","UsageQuantity":-1}',
        [
            violation("'-1'", "usageQuantity", "Member must have value greater than or equal to 0"),
            violation("''", "clientToken", at_least(1)),
        ],
    ),
    (
        RegisterUsageRequest,
        '{"ProductCode":"","PublicKeyVersion":0}',
        [
            violation("null", "productCode", NOT_NULL),
            violation("'0'", "publicKeyVersion", "Member must have value greater than or equal to 1"),
        ],
    ),
    (
        RegisterUsageRequest,
        f'{{"ProductCode":"a","PublicKeyVersion":1,"Nonce":"{"n" * 256}"}}',
        [violation(f"'{'n' * 64}…'", "nonce", at_most(255))],
    ),
    (ResolveCustomerRequest, "{}", [violation("null", "registrationToken", NOT_NULL)]),
    (
        ResolveCustomerRequest,
        '{"RegistrationToken":""}',
        [violation("''", "registrationToken", pattern(r"[\s\S]+"))],
    ),
]


@pytest.mark.parametrize(("shape", "body", "expected"), BREACHES)
def test_constraint_breaches_are_listed_all_in_corals_form(shape: type[Shape], body: str, expected: list[str]) -> None:
    """One ValidationException lists every breach, in the order of the shape, with Coral's paths and words."""
    fault = refusal_of(body, shape)
    assert fault.code is FaultCode.VALIDATION
    count = f"{len(expected)} validation error{'s' if len(expected) > 1 else ''} detected: "
    assert fault.message == count + "; ".join(expected)


def test_a_wrong_type_behind_a_breach_is_still_a_wrong_type() -> None:
    """Syntax is judged over the whole body before constraints are."""
    assert refusal_of(batch('"Quantity":-1,"LicenseArn":5')).code is FaultCode.SERIALIZATION


def test_thousands_of_breaches_are_listed() -> None:
    """All that a request in good faith can breach is listed: each of 2500 allocations, twice."""
    allocation = '{"AllocatedUsageQuantity":-1,"AllocatedUsageQuantityAsDecimal":"x"}'
    fault = refusal_of(batch(f'"UsageAllocations":[{",".join([allocation] * 2500)}]'))
    assert fault.message.startswith("5000 validation errors detected: ")
    assert fault.message.count("; ") == 4999
    assert f"Value '-1' at '{RECORD}.usageAllocations.2500.member.allocatedUsageQuantity'" in fault.message


def test_a_list_of_breaches_does_not_outgrow_the_largest_body() -> None:
    """Of a body made of nothing but breaches all are counted, and as many told as a mebibyte has room for."""
    count = 200_000
    fault = refusal_of(batch(f'"UsageAllocations":[{",".join(["null"] * count)}]'))
    assert fault.code is FaultCode.VALIDATION
    assert fault.message.startswith(f"{count} validation errors detected: Value null at '{RECORD}.usageAllocations.1.")
    told = fault.message.count("; Value") + 1
    assert fault.message.endswith(f"{NOT_NULL_ENDING}; and {count - told} more")
    assert 1_000_000 < len(fault.message) < 1_100_000


NOT_NULL_ENDING = f"failed to satisfy constraint: {NOT_NULL}"


def test_no_message_repeats_a_registration_token() -> None:
    """A token that is refused for its type is not echoed either: it is somebody's way into an account."""
    body = json.dumps({"RegistrationToken": {"secret-token": "secret-token"}})
    assert "secret-token" not in refusal_of(body, ResolveCustomerRequest).message


def test_no_message_repeats_a_long_value_whole() -> None:
    """A body near the limit must not come back in its own refusal."""
    for body in (
        timed('"' + "x" * 900_000 + '"'),
        timed("9" * 900_000),
        batch(f'"CustomerAWSAccountId":"{"x" * 9000}"'),
    ):
        assert len(refusal_of(body).message) < 500
