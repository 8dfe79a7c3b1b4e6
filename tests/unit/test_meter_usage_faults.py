"""MeterUsage: what refuses a call, in order of precedence, and which of several faults is the answer (contract §1)."""

from itertools import combinations
from typing import Any, Final, NamedTuple

import pytest

from meterhouse.core.call import Call, Following, Signer
from meterhouse.core.catalog import Platform
from meterhouse.core.decide.meter_usage import plan_meter_usage
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.shapes import MeterUsageRequest, Tag, UsageAllocation
from meterhouse.core.usage import timestamp_of
from tests.documents import code as code_in
from tests.documents import tables_of
from tests.unit.batches import CALLER, LEFT, LEGACY, NOW, PENDING, SUSPENDED, UNKNOWN, at
from tests.unit.metering import (
    EUROPE,
    HOME,
    LITERAL,
    OUTSIDE,
    caller,
    id_of,
    meter,
    metered_market,
    workload,
)
from tests.unit.rule_calls import KeptRecords, Refused


class Breach(NamedTuple):
    """One thing that can be wrong with a call."""

    step: str
    """As `docs/outcomes.md` calls it."""
    why: str
    fault: FaultCode
    said: dict[str, Any]
    """What the request says otherwise: its members, `time`, `code`."""
    called: dict[str, Any]
    """Who calls otherwise, and where: what `caller` takes."""


def said(step: str, why: str, fault: FaultCode, /, **members: Any) -> Breach:
    """A breach of the request."""
    return Breach(step, why, fault, members, {})


def called(step: str, why: str, fault: FaultCode, /, **by: Any) -> Breach:
    """A breach of who calls, or where."""
    return Breach(step, why, fault, {}, by)


def split(*parts: UsageAllocation) -> dict[str, Any]:
    """The member that splits the quantity."""
    return {"usage_allocations": list(parts)}


REGION: Final = FaultCode.INVALID_ENDPOINT_REGION
NOT_ENTITLED: Final = FaultCode.CUSTOMER_NOT_ENTITLED
LATE: Final = FaultCode.TIMESTAMP_OUT_OF_BOUNDS
BAD_SPLIT: Final = FaultCode.INVALID_USAGE_ALLOCATIONS

BREACHES: Final = [
    # Combination
    said("combination", "both quantities", FaultCode.VALIDATION, usage_quantity=17, usage_quantity_as_decimal="17"),
    Breach(
        "combination",
        "an agent without a token",
        FaultCode.VALIDATION,
        {"client_token": None},
        {"platform": Platform.AGENTCORE},
    ),
    # Platform
    called("platform", "no workload", FaultCode.PLATFORM_NOT_SUPPORTED, platform=OUTSIDE),
    called("platform", "one on no platform", FaultCode.PLATFORM_NOT_SUPPORTED, platform=Platform.NONE),
    # Region
    called("region", "the workload runs elsewhere", REGION, runs_in="sa-east-1"),
    called("region", "the server does not serve it", REGION, region="ap-south-1"),
    # Product
    said("product", "no such code", FaultCode.INVALID_PRODUCT_CODE, code="no-such-product"),
    said("product", "case counts", FaultCode.INVALID_PRODUCT_CODE, code=LEGACY.upper()),
    # The product's Regions
    called("product region", "the product is not offered there", REGION, region=EUROPE),
    # Entitlement
    called("entitlement", "a stranger", NOT_ENTITLED, account=UNKNOWN),
    called("entitlement", "not yet", NOT_ENTITLED, account=PENDING),
    called("entitlement", "no longer", NOT_ENTITLED, account=LEFT),
    called("entitlement", "suspended", NOT_ENTITLED, account=SUSPENDED),
    Breach(
        "entitlement",
        "a stranger's dry run, literally",
        FaultCode.UNAUTHORIZED,
        {"code": LITERAL, "dry_run": True},
        {"account": UNKNOWN},
    ),
    # Dimension
    said("dimension", "no such dimension", FaultCode.INVALID_USAGE_DIMENSION, usage_dimension="hosts"),
    said("dimension", "case counts", FaultCode.INVALID_USAGE_DIMENSION, usage_dimension="Users"),
    # Window
    said("window", "6 hours", LATE, time="06:30:00"),
    said("window", "too far ahead", LATE, time="12:35:00.000001"),
    called("window", "before the launch", LATE, launched="13:00:00"),
    # Tags
    said("tags", "no tags", FaultCode.INVALID_TAG, **split(UsageAllocation(17, None, []))),
    said("tags", "a key twice", FaultCode.INVALID_TAG, **split(UsageAllocation(17, None, [Tag("a", "b")] * 2))),
    said(
        "tags",
        "a reserved key",
        FaultCode.INVALID_TAG,
        **split(UsageAllocation(1), UsageAllocation(1, None, [Tag("AWS:a", "b")])),
    ),
    # Allocations
    said("allocations", "none", BAD_SPLIT, **split()),
    said("allocations", "the sum", BAD_SPLIT, **split(UsageAllocation(16))),
    said("allocations", "the kind", BAD_SPLIT, **split(UsageAllocation(None, "17"))),
    Breach(
        "allocations",
        "an agent's",
        BAD_SPLIT,
        {"client_token": "fresh", **split(UsageAllocation(17))},
        {"platform": Platform.AGENTCORE},
    ),
    # ClientToken
    said(
        "client token", "bound to another hour", FaultCode.IDEMPOTENCY_CONFLICT, client_token="bound", time="11:20:00"
    ),
    said(
        "client token",
        "bound to another quantity",
        FaultCode.IDEMPOTENCY_CONFLICT,
        client_token="bound",
        usage_quantity=3,
    ),
    # Key
    said("key", "kept with another quantity", FaultCode.DUPLICATE_REQUEST, usage_quantity=18),
    # DryRun
    said("dry run", "allowed, literally", FaultCode.DRY_RUN_OPERATION, code=LITERAL, dry_run=True),
]


def sent(*breaches: Breach) -> Refused | Following:
    """A call with these breaches, by a workload that has metered 17 users before, under the token `bound`."""
    catalog, kept = metered_market(), KeptRecords()
    members: dict[str, Any] = {}
    by: dict[str, Any] = {}
    for breach in breaches:
        members |= breach.said
        by |= breach.called
    for code in (LEGACY, LITERAL):
        id_of(meter(catalog, kept, code=code, client_token="bound"))
    return meter(catalog, kept, **{"time": "12:20:00", **members}, by=caller(**by))


def named(breach: Breach) -> str:
    """A breach in a test's name."""
    return f"{breach.step}: {breach.why}"


@pytest.mark.parametrize("breach", BREACHES, ids=named)
def test_a_breach_refuses_the_call(breach: Breach) -> None:
    """Each has the fault of its step."""
    refused = sent(breach)
    assert isinstance(refused, Refused)
    assert refused.code is breach.fault


def test_without_a_breach_the_call_is_accepted() -> None:
    """What the breaches are planted in is itself fine."""
    assert isinstance(sent(), Following)


STEPS: Final = list(dict.fromkeys(breach.step for breach in BREACHES))


def test_the_breaches_are_those_of_the_document_in_its_order() -> None:
    """Every step and fault that `docs/outcomes.md` lists is tried here, in its order, and none beside them."""
    tried = [(breach.step, str(breach.fault)) for breach in BREACHES]
    documented = [(row[0], code_in(row[1])) for row in tables_of("outcomes.md")["MeterUsage"]]
    assert list(dict.fromkeys(tried)) == documented


PAIRS: Final = [
    (first, second)
    for first, second in combinations(BREACHES, 2)
    if first.step != second.step
    and not first.said.keys() & second.said.keys()
    and not first.called.keys() & second.called.keys()
    # Not entitled, and a dry run that is told literally: that is a row of its own, with another fault
    and (first.fault, second.step) != (NOT_ENTITLED, "dry run")
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=named)
def test_of_two_breaches_the_earlier_step_decides(first: Breach, second: Breach) -> None:
    """Whatever the two are; the steps stand in the order of the document."""
    assert STEPS.index(first.step) < STEPS.index(second.step)
    refused = sent(first, second)
    assert isinstance(refused, Refused)
    assert refused.code is first.fault


def test_all_steps_meet_in_pairs() -> None:
    """Each step is tried against each other one, but for three pairs.

    The first is a row of its own, the second cannot be (what is no product has no switch), the third is below.
    """
    met = {(first.step, second.step) for first, second in PAIRS}
    assert set(combinations(STEPS, 2)) - met == {
        ("entitlement", "dry run"),
        ("product", "dry run"),
        ("tags", "allocations"),
    }


@pytest.mark.parametrize("platform", [Platform.EC2, Platform.AGENTCORE])
def test_tags_come_before_allocations(platform: Platform) -> None:
    """A list that has both wrong, also where the workload may give none at all."""
    parts = [UsageAllocation(1), UsageAllocation(1, None, [])]
    refused = meter(metered_market(), KeptRecords(), by=caller(platform), client_token="one", usage_allocations=parts)
    assert isinstance(refused, Refused)
    assert refused.code is FaultCode.INVALID_TAG


def test_the_three_steps_of_a_region_are_told_apart() -> None:
    """The workload's Region, then the server's, then the product's: one fault, three reasons."""
    rows: list[tuple[dict[str, Any], str]] = [
        ({"region": "ap-south-1", "runs_in": HOME}, "the workload runs in us-east-1"),
        ({"region": "ap-south-1"}, "not served here"),
        ({"region": "sa-east-1"}, "not served here"),
        ({"region": EUROPE}, "the product"),
    ]
    for by, reason in rows:
        refused = meter(metered_market(), KeptRecords(), by=caller(**by))
        assert isinstance(refused, Refused)
        assert refused.code is REGION
        assert reason in refused.message


@pytest.mark.parametrize("code", ["no-such-product", LEGACY])
def test_an_unserved_region_hides_whether_a_product_exists(code: str) -> None:
    """The server's Regions come before the product."""
    refused = meter(metered_market(), KeptRecords(), code=code, by=caller(region="ap-south-1"))
    assert isinstance(refused, Refused)
    assert refused.code is REGION


def test_the_missing_token_is_told_as_a_breach_of_a_constraint() -> None:
    """AgentCore: as Coral says that a required member is missing."""
    refused = meter(metered_market(), KeptRecords(), by=caller(Platform.AGENTCORE))
    assert isinstance(refused, Refused)
    assert refused.message == (
        "1 validation error detected: Value null at 'clientToken' failed to satisfy constraint: Member must not be null"
    )


@pytest.mark.parametrize("platform", [Platform.EC2, Platform.ECS, Platform.EKS, Platform.FARGATE])
def test_no_other_platform_needs_a_token(platform: Platform) -> None:
    """It is the workload's platform that decides."""
    assert isinstance(meter(metered_market(), KeptRecords(), by=caller(platform)), Following)


@pytest.mark.parametrize(
    "breach",
    [one for one in BREACHES if one.step not in {"entitlement", "client token", "key", "dry run"}],
    ids=named,
)
def test_what_needs_no_ledger_costs_no_turn(breach: Breach) -> None:
    """The first half of the rule raises what the ledger could not change."""
    by = caller(**breach.called)
    members: dict[str, Any] = {"usage_dimension": "users", "usage_quantity": 17} | breach.said
    time = timestamp_of(at(members.pop("time", "12:20:00")))
    request = MeterUsageRequest(members.pop("code", LEGACY), time, **members)
    call = Call(request, Signer(by.account, "arn", by.workload), by.region, CALLER.profile, CALLER.regions)
    with pytest.raises(Fault):
        plan_meter_usage(call, metered_market(), NOW)


def test_a_workload_is_read_from_the_signer_alone() -> None:
    """The same body from two workloads is two records, each of its own account."""
    catalog, kept = metered_market(), KeptRecords()
    one, other = (meter(catalog, kept, by=caller(number=number), client_token="one") for number in (1, 2))
    assert id_of(one) != id_of(other)
    assert {key.series.workload for _, key in kept.records} == {
        running.resource_id for number in (1, 2) if (running := workload(number=number)) is not None
    }
