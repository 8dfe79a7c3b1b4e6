"""MeterUsage: who may meter, when, and what a DryRun is: one row a case, its outcome last (contract §6)."""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterhouse.core.call import Following
from meterhouse.core.catalog import Account, Platform
from meterhouse.core.decide.meter_usage import SUCCESS_CLAIM, TOKEN_CLAIM
from meterhouse.core.outcome import FaultCode
from meterhouse.core.usage import ClaimKey, Partition, text_of_id
from tests.unit.batches import (
    ACTIVE,
    CLOSED,
    COMING,
    CONCURRENT,
    ELSEWHERE,
    FOREIGN,
    HOURLY,
    LEAVING,
    LEFT,
    LEGACY,
    OTHER_SELLER,
    PENDING,
    RENEWED,
    SECOND,
    SELLER,
    SUSPENDED,
    UNKNOWN,
    YOUNG,
    agreement,
    at,
)
from tests.unit.metering import (
    BY_THE_HOUR,
    KEPT,
    LITERAL,
    SAME,
    caller,
    id_of,
    meter,
    metered_market,
    outcome_of,
    register,
    seller_calls,
)
from tests.unit.rule_calls import KeptRecords, Refused

CONFLICT: Final = FaultCode.IDEMPOTENCY_CONFLICT
DUPLICATE: Final = FaultCode.DUPLICATE_REQUEST
LATE: Final = FaultCode.TIMESTAMP_OUT_OF_BOUNDS
NOT_ENTITLED: Final = FaultCode.CUSTOMER_NOT_ENTITLED

# --- entitlement ------------------------------------------------------------------------------------------------------

# account, product, what the first call comes to
FIRST_CALLS: Final = [
    (ACTIVE, LEGACY, KEPT),
    (ACTIVE, CONCURRENT, KEPT),
    (YOUNG, LEGACY, KEPT),
    (RENEWED, LEGACY, KEPT),
    (LEAVING, LEGACY, KEPT),
    (ELSEWHERE, SECOND, KEPT),
    (UNKNOWN, FOREIGN, KEPT),
    (LEFT, LEGACY, NOT_ENTITLED),
    (CLOSED, LEGACY, NOT_ENTITLED),
    (PENDING, LEGACY, NOT_ENTITLED),
    (COMING, LEGACY, NOT_ENTITLED),
    (SUSPENDED, LEGACY, NOT_ENTITLED),
    (ELSEWHERE, LEGACY, NOT_ENTITLED),
    (UNKNOWN, LEGACY, NOT_ENTITLED),
    (OTHER_SELLER, LEGACY, NOT_ENTITLED),
]


@pytest.mark.parametrize("platform", [*BY_THE_HOUR, Platform.AGENTCORE])
@pytest.mark.parametrize(("account", "code", "expected"), FIRST_CALLS)
def test_the_first_call_needs_an_agreement(platform: Platform, account: str, code: str, expected: str) -> None:
    """One that is active, or in its last hour, for this very product; and an account that is not suspended."""
    found = meter(metered_market(), KeptRecords(), code=code, by=caller(platform, account), client_token="one")
    assert outcome_of(found, set()) == expected


ENDINGS: Final = [
    replace(agreement(LEGACY, ACTIVE), end_micros=at("11:00:00")),
    replace(agreement(LEGACY, ACTIVE), closed=True, end_micros=at("12:00:00")),
    Account(ACTIVE, suspended=True),
]


@pytest.mark.parametrize("ending", ENDINGS)
@pytest.mark.parametrize("register_first", [False, True])
def test_later_calls_go_on_whatever_becomes_of_the_subscription(ending: Any, *, register_first: bool) -> None:
    """A success of either operation counts; it is the workload's own, for the product."""
    catalog, kept, task = metered_market(), KeptRecords(), caller(Platform.ECS)
    first = register(catalog, kept, by=task) if register_first else meter(catalog, kept, "11:20:00", by=task)
    assert isinstance(first, Following)
    catalog.put(ending)
    assert outcome_of(meter(catalog, kept, by=task), set()) == KEPT
    assert isinstance(register(catalog, kept, by=task), Following)
    for other, code in ((caller(Platform.ECS, number=2), LEGACY), (task, SECOND)):
        if code == SECOND and not isinstance(ending, Account):
            continue
        found = meter(catalog, kept, code=code, by=other)
        assert isinstance(found, Refused)
        assert found.code is NOT_ENTITLED


def test_a_refused_first_call_is_no_success() -> None:
    """What was refused for another reason does not count, nor does a DryRun."""
    catalog, kept = metered_market(), KeptRecords()
    assert isinstance(meter(catalog, kept, usage_dimension="hosts"), Refused)
    assert isinstance(meter(catalog, kept, dry_run=True), Following)
    assert kept.claims == {}
    catalog.put(Account(ACTIVE, suspended=True))
    found = meter(catalog, kept)
    assert isinstance(found, Refused)
    assert found.code is NOT_ENTITLED


def test_a_replay_is_a_success_like_any_other() -> None:
    """The first success is claimed once, by whichever call it was."""
    catalog, kept = metered_market(), KeptRecords()
    for _ in range(3):
        id_of(meter(catalog, kept))
    assert list(kept.claims) == [(Partition("us-east-1", LEGACY), ClaimKey(SUCCESS_CLAIM, f"resource-{ACTIVE}-1"))]


# --- preview ----------------------------------------------------------------------------------------------------------


def test_the_sellers_own_account_meters_in_preview() -> None:
    """It needs no agreement, its usage is kept under its own account, and it leaves no success behind."""
    catalog, kept, seen = metered_market(), KeptRecords(), set[str]()
    assert outcome_of(meter(catalog, kept, by=seller_calls(), client_token="one"), seen) == KEPT
    assert outcome_of(meter(catalog, kept, by=seller_calls(), client_token="one"), seen) == SAME
    assert outcome_of(meter(catalog, kept, by=seller_calls(), client_token="two", usage_quantity=1), seen) == DUPLICATE
    assert outcome_of(meter(catalog, kept, by=seller_calls(), client_token="one", usage_quantity=1), seen) == CONFLICT
    assert {key.series.customer for _, key in kept.records} == {SELLER}
    assert {key.kind for _, key in kept.claims} == {TOKEN_CLAIM}
    assert outcome_of(meter(catalog, kept, code=FOREIGN, by=seller_calls()), seen) == NOT_ENTITLED


def test_a_preview_is_judged_like_any_usage() -> None:
    """Entitlement is all that it is spared."""
    for members, fault in (
        ({"usage_dimension": "hosts"}, FaultCode.INVALID_USAGE_DIMENSION),
        ({"time": "06:30:00"}, LATE),
        ({"usage_allocations": []}, FaultCode.INVALID_USAGE_ALLOCATIONS),
    ):
        found = meter(metered_market(), KeptRecords(), by=seller_calls(), **members)
        assert isinstance(found, Refused)
        assert found.code is fault


# --- DryRun -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("platform", [*BY_THE_HOUR, Platform.AGENTCORE])
def test_a_dry_run_keeps_nothing(platform: Platform) -> None:
    """It is answered with an id that exists nowhere, before a first call and after; its token stays free."""
    catalog, kept, by = metered_market(), KeptRecords(), caller(platform)
    for _ in range(2):
        tried = meter(catalog, kept, by=by, dry_run=True, client_token="one")
        assert isinstance(tried, Following)
        assert (list(tried.entries), list(tried.claims), tried.keeps) == ([], [], False)
        assert id_of(tried) not in {text_of_id(one.record_id) for one in kept.records.values()}
        assert isinstance(meter(catalog, kept, by=by, dry_run=False, client_token="one"), Following)
    assert len(kept.records) == 1


# product, account, members, what becomes of a DryRun once the active customer's 17 users are kept under "one"
DRY_RUNS: Final[list[tuple[str, str, dict[str, Any], Any]]] = [
    (LEGACY, ACTIVE, {}, SAME),
    (LEGACY, ACTIVE, {"client_token": "one"}, SAME),
    (LEGACY, ACTIVE, {"usage_quantity": 18}, DUPLICATE),
    (LEGACY, ACTIVE, {"usage_quantity": 18, "client_token": "one"}, CONFLICT),
    (LEGACY, ACTIVE, {"usage_dimension": "hosts"}, FaultCode.INVALID_USAGE_DIMENSION),
    (LEGACY, ACTIVE, {"time": "06:30:00"}, LATE),
    (LEGACY, UNKNOWN, {}, NOT_ENTITLED),
    (LITERAL, ACTIVE, {}, FaultCode.DRY_RUN_OPERATION),
    (LITERAL, ACTIVE, {"client_token": "one"}, FaultCode.DRY_RUN_OPERATION),
    (LITERAL, ACTIVE, {"time": "11:20:00"}, FaultCode.DRY_RUN_OPERATION),
    (LITERAL, ACTIVE, {"usage_quantity": 18}, DUPLICATE),
    (LITERAL, ACTIVE, {"usage_quantity": 18, "client_token": "one"}, CONFLICT),
    (LITERAL, ACTIVE, {"usage_dimension": "hosts"}, FaultCode.INVALID_USAGE_DIMENSION),
    (LITERAL, ACTIVE, {"time": "06:30:00"}, LATE),
    (LITERAL, UNKNOWN, {}, FaultCode.UNAUTHORIZED),
    (LITERAL, UNKNOWN, {"usage_dimension": "hosts"}, FaultCode.UNAUTHORIZED),
    (LITERAL, SELLER, {}, FaultCode.DRY_RUN_OPERATION),
]


@pytest.mark.parametrize(("code", "account", "members", "expected"), DRY_RUNS)
def test_a_dry_run_is_judged_as_the_call_would_be(
    code: str, account: str, members: dict[str, Any], expected: str
) -> None:
    """Every refusal is the call's own; where it would be accepted, and entitled, the product's switch says how."""
    catalog, kept = metered_market(), KeptRecords()
    id_of(meter(catalog, kept, code=code, client_token="one"))
    before = dict(kept.records), dict(kept.claims)
    found = meter(catalog, kept, code=code, by=caller(account=account), dry_run=True, **members)
    assert (found.code if isinstance(found, Refused) else SAME) == expected
    assert (kept.records, kept.claims) == before


def test_without_dry_run_the_literal_product_is_like_any_other() -> None:
    """The switch is about DryRun alone."""
    catalog, kept = metered_market(), KeptRecords()
    assert isinstance(meter(catalog, kept, code=LITERAL, dry_run=False), Following)
    found = meter(catalog, kept, code=LITERAL, by=caller(account=UNKNOWN), dry_run=False)
    assert isinstance(found, Refused)
    assert found.code is NOT_ENTITLED


# --- time -------------------------------------------------------------------------------------------------------------

# now, timestamp, launched, product, taken
TIMES: Final = [
    # Six hours, to the microsecond
    ("12:30:00", "06:30:00.000001", "2026-11-01T00:00:00Z", LEGACY, True),
    ("12:30:00", "06:30:00", "2026-11-01T00:00:00Z", LEGACY, False),
    ("12:30:00", "06:29:59.999999", "2026-11-01T00:00:00Z", LEGACY, False),
    # Counted from the hour, where the product says so
    ("12:30:00", "06:59:59.999999", "2026-11-01T00:00:00Z", HOURLY, False),
    ("12:30:00", "07:00:00", "2026-11-01T00:00:00Z", HOURLY, True),
    ("12:59:59.999999", "07:00:00", "2026-11-01T00:00:00Z", HOURLY, True),
    ("13:00:00", "07:59:59.999999", "2026-11-01T00:00:00Z", HOURLY, False),
    # Five minutes ahead
    ("12:30:00", "12:35:00", "2026-11-01T00:00:00Z", LEGACY, True),
    ("12:30:00", "12:35:00.000001", "2026-11-01T00:00:00Z", LEGACY, False),
    ("12:30:00", "12:35:00", "2026-11-01T00:00:00Z", HOURLY, True),
    ("12:30:00", "12:35:00.000001", "2026-11-01T00:00:00Z", HOURLY, False),
    # The launch, rounded down to its hour
    ("12:30:00", "11:00:00", "11:59:59", LEGACY, True),
    ("12:30:00", "10:59:59.999999", "11:59:59", LEGACY, False),
    ("12:30:00", "11:00:00", "11:00:00", LEGACY, True),
    ("12:30:00", "12:00:00", "12:34:00", LEGACY, True),
    ("12:30:00", "12:34:00", "13:00:00", LEGACY, False),
    # The month's end: six hours of grace, which the window of six hours never outlasts
    ("2026-12-01T05:59:59.999998Z", "2026-11-30T23:59:59.999999Z", "2026-11-01T00:00:00Z", LEGACY, True),
    ("2026-12-01T05:59:59.999999Z", "2026-11-30T23:59:59.999999Z", "2026-11-01T00:00:00Z", LEGACY, False),
    ("2026-12-01T06:00:00Z", "2026-11-30T23:59:59.999999Z", "2026-11-01T00:00:00Z", LEGACY, False),
    ("2026-12-01T06:00:00Z", "2026-12-01T00:00:00Z", "2026-11-01T00:00:00Z", LEGACY, False),
    ("2026-12-01T06:00:00Z", "2026-12-01T00:00:00.000001Z", "2026-11-01T00:00:00Z", LEGACY, True),
    ("2028-03-01T05:59:59Z", "2028-02-29T23:59:59.5Z", "2026-11-01T00:00:00Z", LEGACY, True),
    ("2028-03-01T06:00:00Z", "2028-02-29T23:59:59.5Z", "2026-11-01T00:00:00Z", LEGACY, False),
]


@pytest.mark.parametrize(("now", "time", "launched", "code", "taken"), TIMES)
@pytest.mark.parametrize("platform", [Platform.EC2, Platform.AGENTCORE])
def test_the_window_is_six_hours_and_not_before_the_launch(
    now: str, time: str, launched: str, code: str, *, taken: bool, platform: Platform
) -> None:
    """To the microsecond, on either kind of platform."""
    by = caller(platform, launched=launched)
    found = meter(metered_market(), KeptRecords(), time, code=code, by=by, now=at(now), client_token="one")
    assert (found.code if isinstance(found, Refused) else KEPT) == (KEPT if taken else LATE)
