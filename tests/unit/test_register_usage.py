"""RegisterUsage: what becomes of each call, what refuses it, and in which order (contract §1, §7)."""

from itertools import combinations
from typing import Any, Final, NamedTuple

import pytest
from msgspec.structs import replace

from meterhouse.core.call import Attestation, Following
from meterhouse.core.catalog import Account, Platform, ProductKey
from meterhouse.core.decide.meter_usage import SUCCESS_CLAIM
from meterhouse.core.decide.register_usage import REGISTRATION_CLAIM, registered_micros_of
from meterhouse.core.moment import HOUR, hour_of
from meterhouse.core.outcome import FaultCode
from meterhouse.core.shapes import INT64_MAX, RegisterUsageResult
from meterhouse.core.usage import ClaimKey, Partition, RecordKey, Series
from tests.documents import code as code_in
from tests.documents import tables_of
from tests.unit.batches import (
    ACTIVE,
    CLOSED,
    COMING,
    CONCURRENT,
    ELSEWHERE,
    FOREIGN,
    LEAVING,
    LEFT,
    LEGACY,
    NOW,
    PENDING,
    SECOND,
    SELLER,
    SUSPENDED,
    UNKNOWN,
    agreement,
    at,
)
from tests.unit.metering import EUROPE, HOME, OUTSIDE, caller, meter, metered_market, register, seller_calls
from tests.unit.rule_calls import KeptRecords, Refused

CONTAINERS: Final = [Platform.ECS, Platform.EKS, Platform.FARGATE]
NOT_ENTITLED: Final = FaultCode.CUSTOMER_NOT_ENTITLED
REGISTERED: Final = "registered"


def key(version: int, rotated: str | None = None, product: str = LEGACY) -> ProductKey:
    """A version of a product's key."""
    return ProductKey(product, version, "PEM", b"", at("08:00:00"), None if rotated is None else at(rotated))


def outcome_of(following: Following | Refused) -> str:
    """A word, or the fault."""
    return following.code if isinstance(following, Refused) else REGISTERED


# --- what refuses it --------------------------------------------------------------------------------------------------


class Breach(NamedTuple):
    """One thing that can be wrong with a call."""

    step: str
    why: str
    fault: FaultCode
    said: dict[str, Any]
    called: dict[str, Any]


def said(step: str, why: str, fault: FaultCode, /, **members: Any) -> Breach:
    """A breach of the request."""
    return Breach(step, why, fault, members, {})


def called(step: str, why: str, fault: FaultCode, /, **by: Any) -> Breach:
    """A breach of who calls, or where."""
    return Breach(step, why, fault, {}, by)


BREACHES: Final = [
    # Platform
    called("platform", "no workload", FaultCode.PLATFORM_NOT_SUPPORTED, platform=OUTSIDE),
    called("platform", "one on no platform", FaultCode.PLATFORM_NOT_SUPPORTED, platform=Platform.NONE),
    called("platform", "an instance", FaultCode.PLATFORM_NOT_SUPPORTED, platform=Platform.EC2),
    called("platform", "an agent", FaultCode.PLATFORM_NOT_SUPPORTED, platform=Platform.AGENTCORE),
    # Region
    called("region", "the task runs elsewhere", FaultCode.INVALID_REGION, runs_in="sa-east-1"),
    called("region", "the server does not serve it", FaultCode.DISABLED_API, region="ap-south-1"),
    # Product
    said("product", "no such code", FaultCode.INVALID_PRODUCT_CODE, code="no-such-product"),
    # The product's Regions
    called("product region", "the product is not offered there", FaultCode.DISABLED_API, region=EUROPE),
    # Key version
    said("key version", "one that was never made", FaultCode.INVALID_PUBLIC_KEY_VERSION, version=3),
    said("key version", "the largest there can be", FaultCode.INVALID_PUBLIC_KEY_VERSION, version=INT64_MAX),
    # Entitlement
    called("entitlement", "a stranger", NOT_ENTITLED, account=UNKNOWN),
    called("entitlement", "not yet activated", NOT_ENTITLED, account=PENDING),
    called("entitlement", "not yet begun", NOT_ENTITLED, account=COMING),
    called("entitlement", "no longer", NOT_ENTITLED, account=LEFT),
    called("entitlement", "ended at once", NOT_ENTITLED, account=CLOSED),
    called("entitlement", "suspended", NOT_ENTITLED, account=SUSPENDED),
    called("entitlement", "of another product", NOT_ENTITLED, account=ELSEWHERE),
]
STEPS: Final = list(dict.fromkeys(breach.step for breach in BREACHES))


def sent(*breaches: Breach) -> Refused | Following:
    """A call with these breaches."""
    members: dict[str, Any] = {}
    by: dict[str, Any] = {"platform": Platform.ECS}
    for breach in breaches:
        members |= breach.said
        by |= breach.called
    catalog = metered_market()
    catalog.put(key(1, "09:00:00"))
    catalog.put(key(2))
    return register(catalog, KeptRecords(), by=caller(**by), **members)


def named(breach: Breach) -> str:
    """A breach in a test's name."""
    return f"{breach.step}: {breach.why}"


@pytest.mark.parametrize("breach", BREACHES, ids=named)
def test_a_breach_refuses_the_call(breach: Breach) -> None:
    """Each has the fault of its step."""
    assert outcome_of(sent(breach)) == breach.fault


@pytest.mark.parametrize("platform", CONTAINERS)
def test_without_a_breach_the_call_is_accepted(platform: Platform) -> None:
    """On every platform of containers."""
    assert outcome_of(register(metered_market(), KeptRecords(), by=caller(platform))) == REGISTERED


def test_the_breaches_are_those_of_the_document_in_its_order() -> None:
    """Every step and fault that `docs/outcomes.md` lists is tried here, in its order, and none beside them."""
    tried = [(breach.step, str(breach.fault)) for breach in BREACHES]
    documented = [(row[0], code_in(row[1])) for row in tables_of("outcomes.md")["RegisterUsage"]]
    assert list(dict.fromkeys(tried)) == documented


PAIRS: Final = [
    (first, second)
    for first, second in combinations(BREACHES, 2)
    if (first.step, first.fault) != (second.step, second.fault)
    and not first.said.keys() & second.said.keys()
    and not first.called.keys() & second.called.keys()
]


@pytest.mark.parametrize(("first", "second"), PAIRS, ids=named)
def test_of_two_breaches_the_earlier_step_decides(first: Breach, second: Breach) -> None:
    """Whatever the two are; the workload's Region comes before the server's."""
    assert outcome_of(sent(first, second)) == first.fault


def test_all_steps_meet_in_pairs() -> None:
    """Each step is tried against each other one."""
    met = {(first.step, second.step) for first, second in PAIRS}
    assert set(combinations(STEPS, 2)) - met == set()


@pytest.mark.parametrize(("runs_in", "reason"), [(None, "not served here"), (HOME, "the task or pod runs in")])
def test_the_task_s_region_is_told_from_the_servers(runs_in: str | None, reason: str) -> None:
    """Two faults, and the task's own Region first."""
    refused = register(metered_market(), KeptRecords(), by=caller(Platform.ECS, region="ap-south-1", runs_in=runs_in))
    assert isinstance(refused, Refused)
    assert reason in refused.message


# --- what it keeps, and answers ---------------------------------------------------------------------------------------


def test_a_registration_is_kept_once() -> None:
    """A record of no quantity and no dimension in the hour of the first call, and since when it is metered."""
    catalog, kept = metered_market(), KeptRecords()
    first = register(catalog, kept)
    assert isinstance(first, Following)
    (entry,) = first.entries
    resource_id = f"resource-{ACTIVE}-1"
    assert first.keeps
    assert entry.key == RecordKey(hour_of(NOW), Series("", ACTIVE, "", resource_id))
    assert (entry.timestamp_micros, entry.quantity_micros) == (NOW, 0)
    here = Partition(HOME, LEGACY)
    assert kept.claims.keys() == {
        (here, ClaimKey(SUCCESS_CLAIM, resource_id)),
        (here, ClaimKey(REGISTRATION_CLAIM, resource_id)),
    }
    assert registered_micros_of(kept.claims[here, ClaimKey(REGISTRATION_CLAIM, resource_id)]) == NOW


@pytest.mark.parametrize("later", [0, 1, HOUR, 40 * 24 * HOUR])
def test_a_repeated_call_changes_nothing(later: int) -> None:
    """However much later, and whatever key version and nonce it names."""
    catalog, kept = metered_market(), KeptRecords()
    catalog.put(key(1, "09:00:00"))
    catalog.put(key(2))
    register(catalog, kept)
    before = dict(kept.records), dict(kept.claims)
    for version, nonce in ((1, None), (2, None), (2, "n")):
        again = register(catalog, kept, version=version, nonce=nonce, now=NOW + later)
        assert isinstance(again, Following)
        assert (list(again.entries), list(again.claims), again.keeps) == ([], [], False)
    assert (kept.records, kept.claims) == before


def test_tasks_and_products_are_registered_one_by_one() -> None:
    """Another task of the same account, or another product in the same task, has a registration of its own."""
    catalog, kept = metered_market(), KeptRecords()
    for number in (1, 2):
        for code in (LEGACY, SECOND, CONCURRENT):
            following = register(catalog, kept, code=code, by=caller(Platform.EKS, number=number))
            assert isinstance(following, Following)
            assert following.keeps
    assert len(kept.records) == 6


@pytest.mark.parametrize("instant", ["0001-01-01T00:00:00Z", "1969-12-31T23:59:59.999999Z", "9999-12-31T23:59:59Z"])
def test_any_instant_can_be_claimed(instant: str) -> None:
    """A frozen clock may show any of the years 1-9999."""
    catalog, kept = metered_market(), KeptRecords()
    register(catalog, kept, by=seller_calls(Platform.ECS), now=at(instant))
    claimed = kept.claims[Partition(HOME, LEGACY), ClaimKey(REGISTRATION_CLAIM, f"resource-{SELLER}-1")]
    assert registered_micros_of(claimed) == at(instant)


@pytest.mark.parametrize("nonce", [None, "", "n", "n" * 255])
def test_the_answer_is_still_to_be_signed(nonce: str | None) -> None:
    """What is to be attested is said anew each time, with the instant of this call."""
    catalog, kept = metered_market(), KeptRecords()
    for now in (NOW, NOW + HOUR):
        following = register(catalog, kept, nonce=nonce, now=now)
        assert isinstance(following, Following)
        assert following.answer == RegisterUsageResult()
        assert following.attestation == Attestation(LEGACY, 1, nonce, now)


# keys that there are, version asked for, outcome
VERSIONS: Final[list[tuple[list[ProductKey], int, Any]]] = [
    ([], 1, REGISTERED),
    ([], 2, FaultCode.INVALID_PUBLIC_KEY_VERSION),
    ([key(1)], 1, REGISTERED),
    ([key(1)], 2, FaultCode.INVALID_PUBLIC_KEY_VERSION),
    ([key(1, "09:00:00"), key(2)], 1, REGISTERED),
    ([key(1, "09:00:00"), key(2)], 2, REGISTERED),
    ([key(1, "09:00:00"), key(2)], 3, FaultCode.INVALID_PUBLIC_KEY_VERSION),
    ([key(1, None, SECOND), key(2, None, SECOND)], 2, FaultCode.INVALID_PUBLIC_KEY_VERSION),
    ([], INT64_MAX, FaultCode.INVALID_PUBLIC_KEY_VERSION),
]


@pytest.mark.parametrize(("keys", "version", "expected"), VERSIONS)
def test_a_version_must_exist_but_for_the_first(keys: list[ProductKey], version: int, expected: str) -> None:
    """Version 1 is made when it is first needed; a rotated version goes on; keys are a product's own."""
    catalog = metered_market()
    for one in keys:
        catalog.put(one)
    assert outcome_of(register(catalog, KeptRecords(), version=version)) == expected


# --- entitlement ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("account", "code"), [(ACTIVE, LEGACY), (LEAVING, LEGACY), (ELSEWHERE, SECOND), (UNKNOWN, FOREIGN)]
)
def test_whoever_has_an_agreement_may_register(account: str, code: str) -> None:
    """One that is active or in its last hour, for this very product."""
    assert (
        outcome_of(register(metered_market(), KeptRecords(), code=code, by=caller(Platform.ECS, account))) == REGISTERED
    )


@pytest.mark.parametrize(
    "ending",
    [
        replace(agreement(LEGACY, ACTIVE), end_micros=at("11:00:00")),
        replace(agreement(LEGACY, ACTIVE), closed=True, end_micros=at("12:00:00")),
        Account(ACTIVE, suspended=True),
    ],
)
@pytest.mark.parametrize("metered_first", [False, True])
def test_entitlement_is_asked_of_the_first_call_alone(ending: Any, *, metered_first: bool) -> None:
    """A success of either operation by this very task; a DryRun is none."""
    catalog, kept, task = metered_market(), KeptRecords(), caller(Platform.FARGATE)
    other = caller(Platform.FARGATE, number=2)
    meter(catalog, kept, by=other, dry_run=True)
    first = meter(catalog, kept, by=task) if metered_first else register(catalog, kept, by=task)
    assert isinstance(first, Following)
    catalog.put(ending)
    assert outcome_of(register(catalog, kept, by=task)) == REGISTERED
    assert outcome_of(register(catalog, kept, by=other)) == NOT_ENTITLED


def test_the_sellers_own_task_is_registered_in_preview() -> None:
    """Without an agreement, kept under its own account, and no success; another seller's product needs one."""
    catalog, kept = metered_market(), KeptRecords()
    for _ in range(2):
        assert outcome_of(register(catalog, kept, by=seller_calls(Platform.ECS))) == REGISTERED
    assert [key.series.customer for _, key in kept.records] == [SELLER]
    assert {key.kind for _, key in kept.claims} == {REGISTRATION_CLAIM}
    assert outcome_of(register(catalog, kept, code=FOREIGN, by=seller_calls(Platform.ECS))) == NOT_ENTITLED
