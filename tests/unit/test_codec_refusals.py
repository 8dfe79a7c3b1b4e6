"""What the codec refuses, and as what: the table of contract §1, one row a cause."""

import json

import pytest

from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.shapes import (
    BatchMeterUsageRequest,
    MeterUsageRequest,
    RegisterUsageRequest,
    ResolveCustomerRequest,
    Shape,
)
from meterhouse.wire.codec import decode

PLAIN = '"Timestamp":1795219200,"Dimension":"users"'


def batch(text: str) -> str:
    """A body of one record that has these members besides the two that every record must have."""
    return f'{{"UsageRecords":[{{{PLAIN},{text}}}]}}'


def timed(timestamp: str) -> str:
    """A body of one record with this timestamp."""
    return f'{{"UsageRecords":[{{"Dimension":"users","Timestamp":{timestamp}}}]}}'


def unknown(text: str) -> str:
    """A body that is fine but for the value of a member that the operation does not know."""
    return f'{{"UsageRecords":[],"Unknown":{text}}}'


def refusal_of(body: bytes | str, shape: type[Shape] = BatchMeterUsageRequest) -> Fault:
    """The fault with which a body is refused."""
    with pytest.raises(Fault) as refused:
        decode(body if isinstance(body, bytes) else body.encode(), shape)
    return refused.value


BROKEN = [
    # Not JSON
    "{",
    "}",
    " ",
    "\n",
    '{"UsageRecords":[]',
    '{"UsageRecords":[]}}',
    '{"UsageRecords":[]} x',
    '{"UsageRecords":[]}{}',
    '{"UsageRecords":[],}',
    '{"UsageRecords":[}',
    '{"UsageRecords" []}',
    "{'UsageRecords':[]}",
    "{UsageRecords:[]}",
    '{"UsageRecords":[]}\0',
    '\ufeff{"UsageRecords":[]}',
    '{"UsageRecords":[],"Unknown":[1 2]}',
    '{"UsageRecords":[],"Unknown":{1:2}}',
    '{"UsageRecords":[],"Unknown":"',
    unknown("tru"),
    unknown("truex"),
    unknown("nul"),
    unknown("01"),
    unknown("-01"),
    unknown("1."),
    unknown(".5"),
    unknown("+1"),
    unknown("-"),
    unknown("1e"),
    unknown("0x10"),
    unknown('"\\q"'),
    unknown('"\\u12"'),
    unknown('"\\uZZZZ"'),
    unknown('"\n"'),
    unknown('"\0"'),
    unknown('"\x1f"'),
    batch('"Quantity":01'),
    timed("01795219200"),
    timed("1795219200."),
    # Another JSON value than an object
    "null",
    "[]",
    '"text"',
    "5",
    "true",
    '[{"UsageRecords":[]}]',
    # NaN and Infinity, wherever they stand
    unknown("NaN"),
    unknown("Infinity"),
    unknown("-Infinity"),
    unknown("[[NaN]]"),
    batch('"Quantity":NaN'),
    timed("NaN"),
    timed("-Infinity"),
    # Wrong types
    '{"UsageRecords":{}}',
    '{"UsageRecords":"text"}',
    '{"UsageRecords":5}',
    '{"UsageRecords":false}',
    '{"UsageRecords":[5]}',
    '{"UsageRecords":["text"]}',
    '{"UsageRecords":[[]]}',
    '{"UsageRecords":[],"ProductCode":5}',
    '{"UsageRecords":[],"ProductCode":["a"]}',
    '{"UsageRecords":[{"Timestamp":1,"Dimension":5}]}',
    batch('"Quantity":"5"'),
    batch('"Quantity":true'),
    batch('"Quantity":{}'),
    batch('"QuantityAsDecimal":5'),
    batch('"QuantityAsDecimal":5.5'),
    batch('"CustomerIdentifier":5'),
    batch('"CustomerIdentifier":false'),
    batch('"CustomerAWSAccountId":444455556666'),
    batch('"LicenseArn":{}'),
    batch('"UsageAllocations":{}'),
    batch('"UsageAllocations":"text"'),
    batch('"UsageAllocations":[5]'),
    batch('"UsageAllocations":[{"AllocatedUsageQuantity":"5"}]'),
    batch('"UsageAllocations":[{"AllocatedUsageQuantityAsDecimal":5}]'),
    batch('"UsageAllocations":[{"Tags":{}}]'),
    batch('"UsageAllocations":[{"Tags":["text"]}]'),
    batch('"UsageAllocations":[{"Tags":[{"Key":5,"Value":"a"}]}]'),
    batch('"UsageAllocations":[{"Tags":[{"Key":"a","Value":null},{"Key":"a","Value":5}]}]'),
    timed("true"),
    timed("{}"),
    timed("[1795219200]"),
    # A fraction or an exponent where an integer belongs
    batch('"Quantity":5.0'),
    batch('"Quantity":5e0'),
    batch('"Quantity":5E3'),
    batch('"Quantity":-0.0'),
    batch('"UsageAllocations":[{"AllocatedUsageQuantity":5.0}]'),
    # Beyond 64 bits
    batch(f'"Quantity":{2**63}'),
    batch(f'"Quantity":{-(2**63) - 1}'),
    batch(f'"Quantity":{2**64}'),
    batch(f'"Quantity":{"9" * 20_000}'),
    batch(f'"Quantity":-{"9" * 20_000}'),
    batch(f'"UsageAllocations":[{{"AllocatedUsageQuantity":{2**63}}}]'),
    # Timestamps beyond the years 1-9999, or of no form that a client sends
    timed("-62135596801"),
    timed("-62135596800.000001"),
    timed("253402300800"),
    timed("253402300800.0"),
    timed("1e30"),
    timed("1e999999999999999999999"),
    timed("9" * 20_000),
    timed("-" + "9" * 20_000),
    timed("9" * 20_000 + ".5"),
    f'{{"UsageRecords":[{{"Dimension":"a","Timestamp":1.5}},{{"Dimension":"a","Timestamp":{"9" * 20_000}}}]}}',
    timed('""'),
    timed('"now"'),
    timed('"1795219200"'),
    timed('"2026-11-21T"'),
    timed('"2026-13-01T00:00:00Z"'),
    timed('"2026-02-29T00:00:00Z"'),
    timed('"2026-W47-6"'),
    timed('"10000-01-01T00:00:00Z"'),
    timed('"0000-01-01T00:00:00Z"'),
    timed('"0001-01-01T00:00:00+01:00"'),
    timed('"9999-12-31T23:59:59-01:00"'),
    timed('"Sat, 21 Nov 2026 00:00:00 GMT"'),
    # Half a character, wherever it stands
    batch('"CustomerIdentifier":"\\ud800"'),
    batch('"CustomerIdentifier":"\\udc00"'),
    batch('"CustomerIdentifier":"\\uD83D x"'),
    batch('"CustomerIdentifier":"\\ude00\\ud83d"'),
    unknown('"\\ud800"'),
    unknown('{"deep":["\\uDFFF"]}'),
    '{"UsageRecords":[],"\\ud800":1}',
    unknown('{"\\udbff":1}'),
]


@pytest.mark.parametrize("body", BROKEN, ids=lambda body: body[:60])
def test_what_is_no_such_object_is_a_serialization_exception(body: str) -> None:
    """Whatever cannot be read as the request's shape is refused as that, before any constraint is judged."""
    assert refusal_of(body).code is FaultCode.SERIALIZATION


NOT_UTF_8 = [
    b'{"UsageRecords":[],"ProductCode":"\xff"}',
    b'{"UsageRecords":[],"Unknown":"\xc3"}',
    b'{"UsageRecords":[],"Unknown":"\xc0\xaf"}',
    b'{"UsageRecords":[],"Unknown":"\xed\xa0\x80"}',
    b'{"UsageRecords":[],"Unknown":"\xf5\x80\x80\x80"}',
    b'{"UsageRecords":[],"\xfe":1}',
    b"\xff\xfe{\x00}\x00",
    '{"UsageRecords":[],"ProductCode":"é"}'.encode("latin-1"),
]


@pytest.mark.parametrize("body", NOT_UTF_8, ids=repr)
def test_what_is_not_utf_8_is_a_serialization_exception(body: bytes) -> None:
    """Invalid UTF-8 is refused in every member, also in one that the operation does not know."""
    assert refusal_of(body).code is FaultCode.SERIALIZATION


DEEP = [
    (unknown("[" * 64 + "]" * 64), "65 levels of lists"),
    (unknown('{"a":' * 64 + "1" + "}" * 64), "65 levels of objects"),
    (unknown('[{"a":' * 32 + "1" + "}]" * 32), "65 levels, mixed"),
    (unknown("[" * 100_000 + "]" * 100_000), "100,000 levels"),
    (unknown("[" * 100_000), "100,000 levels that never close"),
    (unknown('{"a":' * 100_000), "100,000 objects that never close"),
    (unknown('["]",' * 1_000 + "1" + ',"["]' * 1_000), "brackets in strings that would cancel the real ones"),
    (unknown('["]",' * 100_000 + "1" + ',"["]' * 100_000), "the same, 100,000 levels deep"),
    (unknown('["\\"]",' * 1_000 + "1" + ',"\\"["]' * 1_000), "brackets behind an escaped quote"),
    (unknown('["\\\\","]",' * 1_000 + "1" + ',"[","\\\\"]' * 1_000), "brackets behind an escaped backslash"),
    ("[" * 70 + '"' + '\\"' * 400_000, "a string of escaped quotes that never ends"),
    ("[" * 70 + '"' + "\\" * 800_001, "a string of backslashes that never ends"),
    ("]" * 100_000 + "[" * 100_000, "brackets the wrong way round"),
]


@pytest.mark.parametrize(("body", "why"), DEEP, ids=lambda value: value[:50])
def test_what_nests_deeper_than_64_levels_is_a_serialization_exception(body: str, why: str) -> None:
    """Depth is judged over the whole body, whatever its strings hold, and no parser comes to its own limit."""
    assert refusal_of(body).code is FaultCode.SERIALIZATION, why


OTHER_SHAPES = [
    ('{"ProductCode":"a","Timestamp":1,"UsageDimension":"a","DryRun":"true"}', MeterUsageRequest),
    ('{"ProductCode":"a","Timestamp":1,"UsageDimension":"a","DryRun":1}', MeterUsageRequest),
    ('{"ProductCode":"a","Timestamp":1,"UsageDimension":"a","UsageQuantity":1.0}', MeterUsageRequest),
    ('{"ProductCode":"a","Timestamp":1,"UsageDimension":"a","ClientToken":5}', MeterUsageRequest),
    ('{"ProductCode":"a","Timestamp":1e99,"UsageDimension":"a"}', MeterUsageRequest),
    ('{"ProductCode":"a","PublicKeyVersion":1.0}', RegisterUsageRequest),
    ('{"ProductCode":"a","PublicKeyVersion":"1"}', RegisterUsageRequest),
    (f'{{"ProductCode":"a","PublicKeyVersion":{2**63}}}', RegisterUsageRequest),
    ('{"ProductCode":"a","PublicKeyVersion":1,"Nonce":[]}', RegisterUsageRequest),
    ('{"RegistrationToken":5}', ResolveCustomerRequest),
    ('{"RegistrationToken":["a"]}', ResolveCustomerRequest),
]


@pytest.mark.parametrize(("body", "shape"), OTHER_SHAPES)
def test_wrong_types_are_refused_in_every_operation(body: str, shape: type[Shape]) -> None:
    """The same rules hold for the members of all four operations."""
    assert refusal_of(body, shape).code is FaultCode.SERIALIZATION


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
