"""BatchMeterUsage: what refuses a whole batch, in order of precedence, and which of several faults is the answer
(contract §1, "Order in which faults are judged").
"""

import sys
from itertools import combinations
from typing import Any, Final, NamedTuple

import pytest
from msgspec.structs import replace

from meterhouse.core.call import Call, Following, Signer
from meterhouse.core.decide.batch_meter_usage import plan_batch_meter_usage
from meterhouse.core.outcome import Fault, FaultCode, Outcome, Step
from meterhouse.core.shapes import BatchMeterUsageRequest, Tag, Timestamp, UsageAllocation, UsageRecord
from tests.documents import code as code_in
from tests.documents import tables_of
from tests.unit.batches import (
    ACTIVE,
    CALLER,
    COMING,
    CONCURRENT,
    FOREIGN,
    LEAVING,
    LEGACY,
    NOW,
    OTHER_SELLER,
    SECOND,
    UNKNOWN,
    YOUNG,
    at,
    identifier_of,
    license_of,
    market,
    said,
    send,
)
from tests.unit.rule_calls import KeptRecords, Refused


class Breach(NamedTuple):
    """One thing that can be wrong with a batch."""

    step: Step
    why: str
    fault: FaultCode
    record: dict[str, Any]
    """Members of the one bad record."""
    request: dict[str, Any]
    """What the whole request is sent with: `code`, `region`, `account`."""


def of_record(step: Step, why: str, fault: FaultCode, /, **record: Any) -> Breach:
    """A breach of one record."""
    return Breach(step, why, fault, record, {})


def of_request(step: Step, why: str, fault: FaultCode, /, **request: Any) -> Breach:
    """A breach of the request as such."""
    return Breach(step, why, fault, {}, request)


def split(*parts: UsageAllocation) -> dict[str, Any]:
    """The member of a record that splits its quantity."""
    return {"usage_allocations": list(parts)}


BOTH_OF_A_KIND: Final[dict[str, Any]] = {"quantity": 17, "quantity_as_decimal": "17"}
NAMELESS: Final[dict[str, Any]] = {"customer_aws_account_id": None}
BY_IDENTIFIER: Final[dict[str, Any]] = {"customer_aws_account_id": None, "customer_identifier": identifier_of(ACTIVE)}
YOUNG_LICENSE: Final[dict[str, Any]] = {"customer_aws_account_id": YOUNG, "license_arn": license_of(LEGACY, YOUNG)}
LEAVING_LICENSE: Final[dict[str, Any]] = {
    "customer_aws_account_id": LEAVING,
    "license_arn": license_of(LEGACY, LEAVING),
}
COMING_LICENSE: Final[dict[str, Any]] = {"customer_aws_account_id": COMING, "license_arn": license_of(LEGACY, COMING)}

BREACHES: Final = [
    # Combination
    of_record(Step.COMBINATION, "both quantities", FaultCode.VALIDATION, **BOTH_OF_A_KIND),
    of_record(Step.COMBINATION, "both names", FaultCode.VALIDATION, customer_identifier=identifier_of(ACTIVE)),
    of_record(Step.COMBINATION, "neither name", FaultCode.VALIDATION, **NAMELESS),
    of_record(Step.COMBINATION, "an empty name", FaultCode.VALIDATION, **NAMELESS, customer_identifier=""),
    of_request(Step.COMBINATION, "neither code nor license", FaultCode.VALIDATION, code=None),
    of_request(Step.COMBINATION, "an empty code and no license", FaultCode.VALIDATION, code=""),
    # Region
    of_request(Step.REGION, "the server does not serve it", FaultCode.DISABLED_API, region="sa-east-1"),
    of_request(Step.REGION, "it is no Region's name", FaultCode.DISABLED_API, region="x!"),
    # Product
    of_request(Step.PRODUCT, "no such code", FaultCode.INVALID_PRODUCT_CODE, code="no-such-product"),
    of_request(Step.PRODUCT, "another seller's code", FaultCode.INVALID_PRODUCT_CODE, code=FOREIGN),
    of_request(Step.PRODUCT, "another caller", FaultCode.INVALID_PRODUCT_CODE, account=OTHER_SELLER),
    of_request(Step.PRODUCT, "a concurrent product's code", FaultCode.INVALID_PRODUCT_CODE, code=CONCURRENT),
    Breach(
        Step.PRODUCT,
        "a concurrent product's code beside its license",
        FaultCode.INVALID_PRODUCT_CODE,
        {"license_arn": license_of(CONCURRENT, ACTIVE)},
        {"code": CONCURRENT},
    ),
    of_record(Step.PRODUCT, "an unknown license", FaultCode.INVALID_LICENSE, license_arn=license_of(LEGACY, UNKNOWN)),
    of_record(Step.PRODUCT, "a malformed license", FaultCode.INVALID_LICENSE, license_arn="arn:aws:s3:::bucket"),
    of_record(Step.PRODUCT, "an empty license", FaultCode.INVALID_LICENSE, license_arn=""),
    of_record(
        Step.PRODUCT, "another seller's license", FaultCode.INVALID_LICENSE, license_arn=license_of(FOREIGN, ACTIVE)
    ),
    of_record(
        Step.PRODUCT, "another product's license", FaultCode.INVALID_LICENSE, license_arn=license_of(SECOND, ACTIVE)
    ),
    of_record(
        Step.PRODUCT,
        "a concurrent product's license beside another code",
        FaultCode.INVALID_LICENSE,
        license_arn=license_of(CONCURRENT, ACTIVE),
    ),
    # The product's Regions
    of_request(Step.PRODUCT_REGION, "the product is not offered there", FaultCode.DISABLED_API, region="eu-west-1"),
    # Customer identifier
    of_record(
        Step.CUSTOMER,
        "an identifier nobody has",
        FaultCode.INVALID_CUSTOMER_IDENTIFIER,
        **NAMELESS | {"customer_identifier": "X-NOBODY"},
    ),
    of_record(
        Step.CUSTOMER,
        "another seller's identifier",
        FaultCode.INVALID_CUSTOMER_IDENTIFIER,
        **NAMELESS | {"customer_identifier": identifier_of(ACTIVE, OTHER_SELLER)},
    ),
    # The license's customer
    of_record(
        Step.LICENSE_CUSTOMER,
        "another customer's license",
        FaultCode.INVALID_LICENSE,
        license_arn=license_of(LEGACY, LEAVING),
    ),
    of_record(
        Step.LICENSE_CUSTOMER,
        "another customer's license, by identifier",
        FaultCode.INVALID_LICENSE,
        **BY_IDENTIFIER | {"license_arn": license_of(LEGACY, LEAVING)},
    ),
    of_record(
        Step.LICENSE_CUSTOMER,
        "a stranger with somebody's license",
        FaultCode.INVALID_LICENSE,
        customer_aws_account_id=UNKNOWN,
        license_arn=license_of(LEGACY, ACTIVE),
    ),
    # Dimension
    of_record(Step.DIMENSION, "no such dimension", FaultCode.INVALID_USAGE_DIMENSION, dimension="hosts"),
    of_record(Step.DIMENSION, "case counts", FaultCode.INVALID_USAGE_DIMENSION, dimension="Users"),
    # Window
    of_record(Step.WINDOW, "24 hours", FaultCode.TIMESTAMP_OUT_OF_BOUNDS, time="2026-11-20T12:30:00Z"),
    of_record(Step.WINDOW, "a second more", FaultCode.TIMESTAMP_OUT_OF_BOUNDS, time="2026-11-20T12:29:59Z"),
    of_record(Step.WINDOW, "too far ahead", FaultCode.TIMESTAMP_OUT_OF_BOUNDS, time="12:35:00.000001"),
    # License period
    of_record(
        Step.LICENSE_PERIOD,
        "before its hour",
        FaultCode.INVALID_LICENSE,
        time="09:59:59.999999",
        **YOUNG_LICENSE,
    ),
    of_record(
        Step.LICENSE_PERIOD, "after its end", FaultCode.INVALID_LICENSE, time="12:00:00.000001", **LEAVING_LICENSE
    ),
    of_record(Step.LICENSE_PERIOD, "it begins later today", FaultCode.INVALID_LICENSE, **COMING_LICENSE),
    # Tags
    of_record(Step.TAGS, "no tags", FaultCode.INVALID_TAG, **split(UsageAllocation(17, None, []))),
    of_record(
        Step.TAGS,
        "six tags",
        FaultCode.INVALID_TAG,
        **split(UsageAllocation(17, None, [Tag(str(number), "a") for number in range(6)])),
    ),
    of_record(
        Step.TAGS,
        "a reserved key",
        FaultCode.INVALID_TAG,
        **split(UsageAllocation(1), UsageAllocation(1, None, [Tag("aws:a", "b")])),
    ),
    # Allocations
    of_record(Step.ALLOCATIONS, "none", FaultCode.INVALID_USAGE_ALLOCATIONS, **split()),
    of_record(Step.ALLOCATIONS, "the sum", FaultCode.INVALID_USAGE_ALLOCATIONS, **split(UsageAllocation(16))),
    of_record(Step.ALLOCATIONS, "the kind", FaultCode.INVALID_USAGE_ALLOCATIONS, **split(UsageAllocation(None, "17"))),
]

ALONE: Final = [
    # Breaches that need a request of their own: step, code, what is sent
    (
        Step.PRODUCT,
        FaultCode.INVALID_LICENSE,
        "licenses of two products",
        {"code": None},
        [said(license_arn=license_of(CONCURRENT, ACTIVE)), said(license_arn=license_of(SECOND, ACTIVE))],
    ),
    (
        Step.PRODUCT,
        FaultCode.INVALID_LICENSE,
        "another seller's license alone",
        {"code": None},
        [said(license_arn=license_of(FOREIGN, ACTIVE))],
    ),
    (
        Step.PRODUCT,
        FaultCode.INVALID_LICENSE,
        "a malformed license alone",
        {"code": None},
        [said(license_arn="")],
    ),
    (
        Step.COMBINATION,
        FaultCode.VALIDATION,
        "one record of two without a license",
        {"code": None},
        [said(license_arn=license_of(CONCURRENT, ACTIVE)), said()],
    ),
    (
        Step.CUSTOMER,
        FaultCode.INVALID_CUSTOMER_IDENTIFIER,
        "an identifier with a concurrent product",
        {"code": None},
        [said(**BY_IDENTIFIER, license_arn=license_of(CONCURRENT, ACTIVE))],
    ),
]


def sent(*records: UsageRecord[Timestamp], kept: KeptRecords | None = None, **request: Any) -> Refused | Following:
    """A batch with what breaches change of its request."""
    caller = CALLER._replace(
        region=request.get("region", CALLER.region), account=request.get("account", CALLER.account)
    )
    return send(market(), kept or KeptRecords(), *records, code=request.get("code", LEGACY), caller=caller)


def named(breach: Breach) -> str:
    """A breach in a test's name."""
    return f"{breach.step.name.lower()}: {breach.why}"


@pytest.mark.parametrize("breach", BREACHES, ids=named)
def test_a_breach_refuses_the_whole_batch(breach: Breach) -> None:
    """One bad record refuses the good ones before and behind it, with the fault of its step."""
    refused = sent(said(), said(**breach.record), said("11:20:00"), **breach.request)
    assert isinstance(refused, Refused)
    assert refused.code is breach.fault


@pytest.mark.parametrize(("step", "code", "why", "request_with", "records"), ALONE, ids=lambda value: str(value)[:30])
def test_a_breach_of_a_request_of_its_own(
    step: Step, code: FaultCode, why: str, request_with: dict[str, Any], records: list[UsageRecord[Timestamp]]
) -> None:
    """What needs several records or no ProductCode to be wrong is refused too."""
    refused = sent(*records, **request_with)
    assert isinstance(refused, Refused), why
    assert refused.code is code


def test_without_a_breach_the_batch_is_accepted() -> None:
    """What the breaches are planted in is itself fine."""
    accepted = sent(said(), said(), said("11:20:00"))
    assert isinstance(accepted, Following)
    assert list(accepted.outcomes) == [Outcome.ACCEPTED, Outcome.REPLAYED, Outcome.ACCEPTED]


def test_the_breaches_are_those_of_the_document_in_its_order() -> None:
    """Every step and fault that `docs/outcomes.md` lists is tried here, and none beside them."""
    tried = [(breach.step.name.lower().replace("_", " "), str(breach.fault)) for breach in BREACHES]
    documented = [(row[0], code_in(row[1])) for row in tables_of("outcomes.md")["BatchMeterUsage"]]
    assert list(dict.fromkeys(tried)) == documented
    assert [breach.step for breach in BREACHES] == sorted(breach.step for breach in BREACHES)


PAIRS: Final = [
    (first, second)
    for first, second in combinations(BREACHES, 2)
    if first.step < second.step and not first.request.keys() & second.request.keys()
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=named)
def test_the_earlier_step_decides_whatever_the_order_of_the_records(first: Breach, second: Breach) -> None:
    """Of two breaches in one batch the earlier step's is the answer, before or behind the other, or in one record."""
    request = first.request | second.request
    one, other = said(**first.record), said(**second.record)
    batches = [(one, other), (other, one), (said(), other, said("11:20:00"), one)]
    if first.record and second.record and not first.record.keys() & second.record.keys():
        batches.append((said(**first.record | second.record),))
    for records in batches:
        refused = sent(*records, **request)
        assert isinstance(refused, Refused)
        assert refused.code is first.fault


def test_both_steps_of_a_region_are_told_apart() -> None:
    """Where neither the server nor the product serves a Region, the server's refusal comes first."""
    for region, whose in (
        ("ap-south-1", "not served here"),
        ("sa-east-1", "not served here"),
        ("eu-west-1", "product"),
    ):
        refused = sent(said(), region=region)
        assert isinstance(refused, Refused)
        assert refused.code is FaultCode.DISABLED_API
        assert whose in refused.message


@pytest.mark.parametrize("breach", [breach for breach in BREACHES if breach.record and not breach.request], ids=named)
def test_within_one_step_the_first_record_decides_and_is_named(breach: Breach) -> None:
    """The message says which record it is, counted from 1."""
    bad = said(**breach.record)
    for records, number in (((bad, said(), bad), 1), ((said(), bad, bad), 2), ((said(), said(), bad), 3)):
        refused = sent(*records)
        assert isinstance(refused, Refused)
        assert refused.message.startswith(f"usageRecords.{number}.member: ")


@pytest.mark.parametrize("breach", [breach for breach in BREACHES if breach.step > 1 and not breach.record], ids=named)
def test_what_is_wrong_with_the_request_names_no_record(breach: Breach) -> None:
    """A Region or a ProductCode is every record's."""
    refused = sent(said(), said(), **breach.request)
    assert isinstance(refused, Refused)
    assert "usageRecords" not in refused.message


def test_the_first_record_decides_between_two_breaches_of_one_step() -> None:
    """Two different breaches of one step: the record's place counts, not what is wrong with it."""
    old, ahead = said("2026-11-20T12:00:00Z"), said("12:40:00")
    for records, reason in (((old, ahead), "or more ago"), ((ahead, old), "in the future")):
        refused = sent(*records)
        assert isinstance(refused, Refused)
        assert reason in refused.message


@pytest.mark.parametrize(
    ("now", "time", "refused"),
    [
        ("2026-12-01T05:59:59.999999Z", "2026-11-30T23:59:59Z", False),
        ("2026-12-01T06:00:00Z", "2026-11-30T23:59:59Z", True),
        ("2026-12-01T06:00:00Z", "2026-12-01T00:00:00Z", False),
        ("2028-03-01T05:59:59Z", "2028-02-29T06:00:00Z", False),
        ("2028-03-01T06:00:00Z", "2028-02-29T23:59:59Z", True),
        ("2027-01-01T05:59:59Z", "2026-12-31T06:00:00Z", False),
        ("2027-01-01T06:00:00Z", "2026-12-31T23:59:59Z", True),
        ("2026-11-21T12:30:00Z", "2026-11-20T12:30:01Z", False),
        ("2026-11-21T12:30:00Z", "2026-11-20T12:30:00Z", True),
        ("2026-11-21T12:30:00Z", "2026-11-21T12:35:00Z", False),
        ("2026-11-21T12:30:00Z", "2026-11-21T12:35:00.000001Z", True),
    ],
)
def test_the_window_closes_on_the_instant(now: str, time: str, refused: bool) -> None:
    """24 hours, the month's end at 06:00:00, the leap day, five minutes ahead; one late record refuses the batch."""
    found = send(market(), KeptRecords(), said(now), said(time), now=at(now))
    assert isinstance(found, Refused) == refused
    assert not isinstance(found, Refused) or found.code is FaultCode.TIMESTAMP_OUT_OF_BOUNDS


# --- where the ledger is needed to tell -------------------------------------------------------------------------------

KEPT_YOUNG: Final = said("11:20:00", **YOUNG_LICENSE)
BAD_TAGS: Final = said(usage_allocations=[UsageAllocation(17, None, [])])
BAD_SUM: Final = said(usage_allocations=[UsageAllocation(16)])


def after_a_late_start(*records: UsageRecord[Timestamp]) -> Refused | Following:
    """What becomes of a batch once the young customer's kept record lies outside its license's period."""
    catalog, kept = market(), KeptRecords()
    assert isinstance(send(catalog, kept, KEPT_YOUNG), Following)
    late = next(one for one in catalog.agreements.values() if one.buyer == YOUNG)
    catalog.put(replace(late, start_micros=at("12:00:00")))
    return send(catalog, kept, *records)


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([KEPT_YOUNG], Outcome.REPLAYED),
        ([KEPT_YOUNG, said()], Outcome.REPLAYED),
        ([KEPT_YOUNG, said("11:20:00", quantity=18, **YOUNG_LICENSE)], FaultCode.INVALID_LICENSE),
        ([KEPT_YOUNG, said("10:20:00", **YOUNG_LICENSE)], FaultCode.INVALID_LICENSE),
        ([KEPT_YOUNG, BAD_TAGS], FaultCode.INVALID_TAG),
        ([KEPT_YOUNG, BAD_SUM], FaultCode.INVALID_USAGE_ALLOCATIONS),
        ([BAD_SUM, KEPT_YOUNG, BAD_TAGS], FaultCode.INVALID_TAG),
        ([BAD_TAGS, said("10:20:00", **YOUNG_LICENSE)], FaultCode.INVALID_LICENSE),
        ([said("10:20:00", **YOUNG_LICENSE), BAD_SUM], FaultCode.INVALID_LICENSE),
        ([KEPT_YOUNG, said("2026-11-20T11:20:00Z")], FaultCode.TIMESTAMP_OUT_OF_BOUNDS),
    ],
)
def test_steps_behind_the_license_period_wait_for_the_ledger(
    records: list[UsageRecord[Timestamp]], expected: Outcome | FaultCode
) -> None:
    """Only what is kept tells a replay from a record outside its period; tags and allocations come behind that."""
    found = after_a_late_start(*records)
    assert (found.code if isinstance(found, Refused) else found.outcomes[0]) is expected


@pytest.mark.parametrize("record", [BAD_TAGS, BAD_SUM, said(dimension="hosts")])
def test_a_batch_that_needs_no_ledger_to_be_refused_costs_no_turn(record: UsageRecord[Timestamp]) -> None:
    """The first half of the rule raises what the ledger could not change."""
    call = Call(
        BatchMeterUsageRequest([said(), record], LEGACY), Signer(CALLER.account, "arn"), "us-east-1", CALLER.profile
    )
    with pytest.raises(Fault):
        plan_batch_meter_usage(call, market(), NOW)


def test_names_that_are_refused_are_not_remembered() -> None:
    """A caller could make up names without end: only what is meant well is noted beside the catalog."""
    catalog = market()
    for number in range(100):
        for made_up in (
            {"dimension": f"hosts-{number}"},
            {"license_arn": f"arn-{number}"},
            {"customer_aws_account_id": None, "customer_identifier": f"X-{number}"},
        ):
            assert isinstance(send(catalog, KeptRecords(), said(**made_up)), Refused)
        assert isinstance(send(catalog, KeptRecords(), said(), code=f"code-{number}"), Refused)
    assert sum(map(len, catalog._remembered.values())) == 0
    send(catalog, KeptRecords(), said())
    noted = [name for notes in catalog._remembered.values() for name in notes if isinstance(name, tuple)]
    assert noted == [(None, ACTIVE, None, "users")]


def test_made_up_customers_are_not_kept_for_ever() -> None:
    """A customer nobody knows is noted, once for all its names, but not interned: some Pythons never forget that."""
    catalog = market()
    for dimension in ("users", "requests"):
        send(catalog, KeptRecords(), said(customer_aws_account_id=str(432_100_009_876), dimension=dimension))
    (notes,) = catalog._remembered.values()
    first, second = (name[1] for name in notes if isinstance(name, tuple))
    assert first is second
    assert sys.intern(str(432_100_009_876)) is not first
