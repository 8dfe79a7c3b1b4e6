"""What is no object of the request's shape: each cause of a SerializationException, a row each (contract §1).

What is of the shape and breaches a constraint is in `test_codec_breaches.py`.
"""

import pytest

from meterhouse.core.outcome import FaultCode
from meterhouse.core.shapes import MeterUsageRequest, RegisterUsageRequest, ResolveCustomerRequest, Shape
from tests.unit.bad_bodies import batch, refusal_of, timed, unknown

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
