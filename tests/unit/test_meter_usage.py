"""MeterUsage: what becomes of each call, one row a call and its outcome last (contract §6).

Who may call, when, and DryRun are in `test_meter_usage_entitlement.py`; what refuses a call, in
`test_meter_usage_faults.py`.
"""

from typing import Any, Final

import pytest

from meterhouse.core.call import Following
from meterhouse.core.catalog import Platform
from meterhouse.core.decide.meter_usage import SUCCESS_CLAIM, TOKEN_CLAIM
from meterhouse.core.moment import HOUR, hour_of
from meterhouse.core.outcome import FaultCode
from meterhouse.core.shapes import MeterUsageResult, Tag, UsageAllocation
from meterhouse.core.usage import Allotment, Partition, RecordKey, Series, text_of_id
from tests.unit.batches import ACTIVE, LEGACY, NOW, SECOND, at
from tests.unit.metering import BY_THE_HOUR, EUROPE, KEPT, SAME, caller, id_of, meter, metered_market, outcome_of
from tests.unit.rule_calls import KeptRecords, Refused

CONFLICT: Final = FaultCode.IDEMPOTENCY_CONFLICT
DUPLICATE: Final = FaultCode.DUPLICATE_REQUEST
LATE: Final = FaultCode.TIMESTAMP_OUT_OF_BOUNDS


def quantity(said: int | str | None) -> dict[str, Any]:
    """The members that say a quantity, as a whole number or a decimal."""
    if isinstance(said, str):
        return {"usage_quantity": None, "usage_quantity_as_decimal": said}
    return {"usage_quantity": said}


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
