"""MeterUsage: what becomes of each call, one row a call and its outcome last (contract §6).

What refuses a call before anything is looked up is in `test_meter_usage_faults.py`.
"""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterhouse.core.call import Following
from meterhouse.core.catalog import Account, Platform
from meterhouse.core.decide.meter_usage import SUCCESS_CLAIM, TOKEN_CLAIM
from meterhouse.core.moment import HOUR, hour_of
from meterhouse.core.outcome import FaultCode
from meterhouse.core.shapes import MeterUsageResult, Tag, UsageAllocation
from meterhouse.core.usage import Allotment, ClaimKey, Partition, RecordKey, Series, text_of_id
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
    NOW,
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
    EUROPE,
    LITERAL,
    caller,
    id_of,
    meter,
    metered_market,
    register,
    seller_calls,
)
from tests.unit.rule_calls import KeptRecords, Refused

KEPT: Final = "kept"
"""A new record."""
SAME: Final = "same"
"""The record that is kept under the key already."""
CONFLICT: Final = FaultCode.IDEMPOTENCY_CONFLICT
DUPLICATE: Final = FaultCode.DUPLICATE_REQUEST
LATE: Final = FaultCode.TIMESTAMP_OUT_OF_BOUNDS
NOT_ENTITLED: Final = FaultCode.CUSTOMER_NOT_ENTITLED

BY_THE_HOUR: Final = [Platform.EC2, Platform.ECS, Platform.EKS, Platform.FARGATE]


def quantity(said: int | str | None) -> dict[str, Any]:
    """The members that say a quantity, as a whole number or a decimal."""
    if isinstance(said, str):
        return {"usage_quantity": None, "usage_quantity_as_decimal": said}
    return {"usage_quantity": said}


def outcome_of(following: Following | Refused, seen: set[str]) -> str:
    """What became of a call, in a word of the tables."""
    if isinstance(following, Refused):
        return following.code
    record_id = id_of(following)
    word = KEPT if following.entries else SAME
    assert (word == KEPT) == (record_id not in seen), "only a new record has a new id"
    seen.add(record_id)
    return word


# workload, time, dimension, quantity, ClientToken, outcome; each row sees what the rows above have left
CALLS: Final[list[tuple[Any, ...]]] = [
    # One key, one quantity by value, whichever member says it
    (1, "12:20:00", "users", 17, None, KEPT),
    (1, "12:20:00", "users", 17, None, SAME),
    (1, "12:20:00", "users", "17", None, SAME),
    (1, "12:20:00", "users", "17.000000", None, SAME),
    (1, "12:20:00", "users", 18, None, DUPLICATE),
    (1, "12:20:00", "users", "17.000001", None, DUPLICATE),
    (1, "12:20:00", "users", None, None, DUPLICATE),
    # The hour, rounded down
    (1, "12:00:00", "users", 17, None, SAME),
    (1, "12:35:00", "users", 17, None, SAME),
    (1, "12:35:00", "users", 18, None, DUPLICATE),
    (1, "11:59:59.999999", "users", 17, None, KEPT),
    (1, "11:00:00", "users", 18, None, DUPLICATE),
    # Another dimension, and another workload of the account, have keys of their own
    (1, "12:20:00", "requests", 18, None, KEPT),
    (2, "12:20:00", "users", 18, None, KEPT),
    (2, "12:20:00", "users", 17, None, DUPLICATE),
    # Absent is 0, and a 0 occupies its hour
    (1, "10:00:00", "users", None, None, KEPT),
    (1, "10:00:00", "users", 0, None, SAME),
    (1, "10:00:00", "users", "0.0", None, SAME),
    (1, "10:00:00", "users", 5, None, DUPLICATE),
    (1, "09:00:00", "users", "9999999999.999999", None, KEPT),
    (1, "08:00:00", "users", 2147483647, None, KEPT),
    (1, "08:00:00", "users", "2147483647.0", None, SAME),
    # A fresh token never makes a record a new one, and a replay binds its token as a first call does
    (1, "12:20:00", "users", 17, "first", SAME),
    (1, "12:20:00", "users", 17, "second", SAME),
    (1, "12:20:00", "users", 18, "third", DUPLICATE),
    # The token of a refused call is free
    (1, "12:20:00", "users", 17, "third", SAME),
    # The same token with other parameters, also where the hour alone would say another word
    (1, "12:20:00", "users", 18, "first", CONFLICT),
    (1, "12:20:00", "users", 17, "first", SAME),
    (1, "12:40:00", "users", 17, "first", LATE),
    (1, "12:01:00", "users", 17, "first", SAME),
    (1, "12:01:00", "users", "17.0", "first", SAME),
    (1, "11:20:00", "users", 17, "first", CONFLICT),
    (1, "07:20:00", "users", 17, "first", CONFLICT),
    (1, "12:20:00", "requests", 17, "first", CONFLICT),
    (1, "12:20:00", "requests", 18, "first", CONFLICT),
    (1, "07:20:00", "users", 3, "second", CONFLICT),
    # A new record binds its token too; the token is the workload's own
    (1, "07:20:00", "users", 3, "fourth", KEPT),
    (1, "07:20:00", "users", 4, "fourth", CONFLICT),
    (1, "07:20:00", "users", 3, "first of all", SAME),
    (2, "07:20:00", "users", 4, "fourth", KEPT),
    (2, "12:20:00", "users", 18, "first", SAME),
]


@pytest.mark.parametrize("platform", BY_THE_HOUR)
def test_each_call_has_its_outcome(platform: Platform) -> None:
    """The table, on every platform that meters by the hour."""
    catalog, kept, seen = metered_market(), KeptRecords(), set[str]()
    found = []
    for number, time, dimension, said, token, _ in CALLS:
        following = meter(
            catalog,
            kept,
            time,
            by=caller(platform, number=number),
            usage_dimension=dimension,
            client_token=token,
            **quantity(said),
        )
        found.append(outcome_of(following, seen))
    assert list(zip(CALLS, found, strict=True)) == [(row, row[-1]) for row in CALLS]


# time, dimension, quantity, ClientToken, outcome
AGENT_CALLS: Final[list[tuple[Any, ...]]] = [
    # Different tokens add up, whatever else they say
    ("12:20:00", "users", 17, "one", KEPT),
    ("12:20:00", "users", 17, "two", KEPT),
    ("12:20:00", "users", 18, "three", KEPT),
    ("12:20:00", "requests", 17, "four", KEPT),
    ("12:20:00", "users", None, "five", KEPT),
    # The same token with the same parameters is the same record; the time counts to the microsecond
    ("12:20:00", "users", 17, "one", SAME),
    ("12:20:00", "users", "17.0", "one", SAME),
    ("12:20:00", "users", 0, "five", SAME),
    ("12:20:00.000001", "users", 17, "one", CONFLICT),
    ("12:21:00", "users", 17, "one", CONFLICT),
    ("11:20:00", "users", 17, "one", CONFLICT),
    ("12:20:00", "requests", 17, "one", CONFLICT),
    ("12:20:00", "users", 18, "one", CONFLICT),
    ("12:20:00", "users", "17.000001", "one", CONFLICT),
    ("12:20:00", "users", 17, "one", SAME),
    # Times are not rounded
    ("12:20:00.000001", "users", 17, "six", KEPT),
    ("12:20:00.000001", "users", 17, "six", SAME),
    # The window is judged before the token
    ("06:30:00", "users", 17, "one", LATE),
    ("06:30:00.000001", "users", 17, "seven", KEPT),
]


def test_an_agent_meters_by_token() -> None:
    """AgentCore: the table."""
    catalog, kept, seen = metered_market(), KeptRecords(), set[str]()
    found = [
        outcome_of(
            meter(
                catalog,
                kept,
                time,
                by=caller(Platform.AGENTCORE),
                usage_dimension=dimension,
                client_token=token,
                **quantity(said),
            ),
            seen,
        )
        for time, dimension, said, token, _ in AGENT_CALLS
    ]
    assert list(zip(AGENT_CALLS, found, strict=True)) == [(row, row[-1]) for row in AGENT_CALLS]
    assert len(kept.records) == found.count(KEPT)


def test_an_agents_replay_is_refused_once_its_window_has_closed() -> None:
    """The window comes before the token: six hours later the same call is out of bounds."""
    catalog, kept, agent = metered_market(), KeptRecords(), caller(Platform.AGENTCORE)
    first = meter(catalog, kept, by=agent, client_token="one")
    assert id_of(meter(catalog, kept, by=agent, client_token="one", now=at("18:19:59.999999"))) == id_of(first)
    late = meter(catalog, kept, by=agent, client_token="one", now=at("18:20:00"))
    assert isinstance(late, Refused)
    assert late.code is LATE


def test_a_token_belongs_to_a_workload_and_a_product() -> None:
    """Other parameters under the same token are no conflict for another workload, or another product."""
    catalog, kept = metered_market(), KeptRecords()
    for code in (LEGACY, SECOND):
        for number in (1, 2):
            for platform in (Platform.EC2, Platform.AGENTCORE):
                by = caller(platform, number=number + 2 * (platform is Platform.EC2))
                members: dict[str, Any] = {"client_token": "one", "usage_quantity": 10 * number + len(code)}
                assert isinstance(meter(catalog, kept, code=code, by=by, **members), Following)
    assert len(kept.records) == 8


def test_a_token_is_bound_for_longer_than_any_window() -> None:
    """A day later it is still bound, to a record whose own hour is long closed."""
    catalog, kept = metered_market(), KeptRecords()
    id_of(meter(catalog, kept, client_token="one"))
    tomorrow = meter(catalog, kept, "2026-11-22T12:20:00Z", now=NOW + 24 * HOUR, client_token="one")
    assert isinstance(tomorrow, Refused)
    assert tomorrow.code is CONFLICT


A: Final = UsageAllocation(10, None, [Tag("team", "a"), Tag("unit", "x")])
A_TURNED: Final = UsageAllocation(10, None, [Tag("unit", "x"), Tag("team", "a")])
B: Final = UsageAllocation(7)


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([A, B], [A, B], SAME),
        ([A, B], [B, A], SAME),
        ([A, B], [B, A_TURNED], SAME),
        ([A, B], [UsageAllocation(None, None, [Tag("a", "b")]), A, B], CONFLICT),
        ([A, B], None, CONFLICT),
        ([A, B], [UsageAllocation(17)], CONFLICT),
        ([A, B], [UsageAllocation(10, None, [Tag("team", "a")]), B], CONFLICT),
        ([A, B], [UsageAllocation(7, None, A.tags), UsageAllocation(10)], CONFLICT),
        (None, [UsageAllocation(17)], CONFLICT),
        (None, None, SAME),
    ],
)
def test_a_token_is_bound_to_the_allocations_in_any_order(first: Any, second: Any, expected: str) -> None:
    """Order of allocations and of tags does not count; what they say does. Under a fresh token they never count."""
    catalog, kept = metered_market(), KeptRecords()
    id_of(meter(catalog, kept, usage_allocations=first, client_token="one"))
    again = meter(catalog, kept, usage_allocations=second, client_token="one")
    assert (again.code if isinstance(again, Refused) else SAME) == expected
    fresh = meter(catalog, kept, usage_allocations=second, client_token="two")
    assert isinstance(fresh, Following)
    assert not fresh.entries


def test_what_is_kept_is_what_was_said() -> None:
    """Unrounded time, exact quantity, allocations, the signer's account and workload; in Region and product."""
    catalog, kept = metered_market(), KeptRecords()
    parts = [UsageAllocation(None, "2.5", [Tag("team", "a")]), UsageAllocation(None, "1.0")]
    following = meter(catalog, kept, "12:20:00.25", usage_allocations=parts, client_token="one", **quantity("3.5"))
    assert isinstance(following, Following)
    (entry,) = following.entries
    assert following.keeps
    assert entry.timestamp_micros == at("12:20:00.25")
    assert entry.quantity_micros == 3_500_000
    assert entry.allocations == (Allotment(2_500_000, (("team", "a"),)), Allotment(1_000_000))
    assert entry.key == RecordKey(hour_of(NOW), Series("", ACTIVE, "users", f"resource-{ACTIVE}-1"))
    assert following.answer == MeterUsageResult(text_of_id(entry.record_id))
    assert kept.records.keys() == {(Partition("us-east-1", LEGACY), entry.key)}
    assert {key.kind for _, key in kept.claims} == {SUCCESS_CLAIM, TOKEN_CLAIM}


def test_an_agents_record_is_kept_under_its_token() -> None:
    """The token is part of the series; the time is kept as it was said."""
    catalog, kept = metered_market(), KeptRecords()
    following = meter(catalog, kept, "12:20:00.25", by=caller(Platform.AGENTCORE), client_token="one")
    assert isinstance(following, Following)
    (entry,) = following.entries
    assert entry.key == RecordKey(hour_of(NOW), Series("", ACTIVE, "users", f"resource-{ACTIVE}-1", "one"))
    assert entry.timestamp_micros == at("12:20:00.25")


def test_a_replay_leaves_no_row_in_the_journal() -> None:
    """It keeps its token alone, and without a token nothing."""
    catalog, kept = metered_market(), KeptRecords()
    id_of(meter(catalog, kept))
    for token, claims in ((None, 0), ("one", 1), ("one", 0)):
        again = meter(catalog, kept, client_token=token)
        assert isinstance(again, Following)
        assert (list(again.entries), again.keeps, len(again.claims)) == ([], False, claims)


def test_regions_have_keys_and_tokens_of_their_own() -> None:
    """Workloads of two Regions share nothing, whatever they are called."""
    catalog, kept = metered_market(), KeptRecords()
    for number, region in enumerate(("us-east-1", EUROPE), 1):
        by = caller(region=region, number=number)
        assert isinstance(
            meter(catalog, kept, code=SECOND, by=by, usage_quantity=number, client_token="one"), Following
        )


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
