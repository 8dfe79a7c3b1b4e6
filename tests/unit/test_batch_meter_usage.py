"""BatchMeterUsage: what becomes of each record, one row a record and its outcome last (contract §4).

What refuses a batch is in `test_batch_faults.py`.
"""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterhouse.core.call import Following
from meterhouse.core.catalog import Account, ProductType
from meterhouse.core.moment import HOUR, hour_of
from meterhouse.core.outcome import STATUS_OF_OUTCOME, FaultCode, Outcome
from meterhouse.core.shapes import (
    BatchMeterUsageResult,
    Tag,
    Timestamp,
    UsageAllocation,
    UsageRecord,
)
from meterhouse.core.usage import Allotment, Partition, RecordKey, Series
from tests.unit.batches import (
    ACTIVE,
    CALLER,
    CLOSED,
    COMING,
    CONCURRENT,
    ELSEWHERE,
    HOURLY,
    LEAVING,
    LEFT,
    LEGACY,
    NOW,
    PENDING,
    RENEWED,
    REPEATING,
    SECOND,
    SUSPENDED,
    UNKNOWN,
    YOUNG,
    agreement,
    at,
    identifier_of,
    license_of,
    market,
    said,
    send,
)
from tests.unit.rule_calls import KeptRecords, Refused

REPLAYED, NOT_SUBSCRIBED, CONFLICTED, ACCEPTED = Outcome


def record(row: tuple[Any, ...]) -> UsageRecord[Timestamp]:
    """The record of a row: customer, how it is named, time, dimension, quantity."""
    buyer, form, time, dimension, quantity, _outcome = row
    return said(
        time,
        dimension=dimension,
        quantity=quantity if isinstance(quantity, int) else None,
        quantity_as_decimal=quantity if isinstance(quantity, str) else None,
        customer_aws_account_id=None if form == "identifier" else buyer,
        customer_identifier=identifier_of(buyer) if form == "identifier" else None,
        license_arn=license_of(LEGACY, buyer) if form == "license" else None,
    )


# customer, named by, time, dimension, quantity, outcome; each row sees what the rows above have left
RECORDS: Final[list[tuple[Any, ...]]] = [
    # One key, one quantity by value, whichever member and whichever name says it
    (ACTIVE, "account", "12:20:00", "users", 17, ACCEPTED),
    (ACTIVE, "account", "12:20:00", "users", 17, REPLAYED),
    (ACTIVE, "account", "12:20:00", "users", "17", REPLAYED),
    (ACTIVE, "account", "12:20:00", "users", "17.0", REPLAYED),
    (ACTIVE, "account", "12:20:00", "users", "17.000000", REPLAYED),
    (ACTIVE, "identifier", "12:20:00", "users", 17, REPLAYED),
    (ACTIVE, "account", "12:20:00", "users", 18, CONFLICTED),
    (ACTIVE, "account", "12:20:00", "users", "17.000001", CONFLICTED),
    (ACTIVE, "identifier", "12:20:00", "users", 18, CONFLICTED),
    (ACTIVE, "account", "12:20:00", "users", None, CONFLICTED),
    (ACTIVE, "account", "12:20:00", "users", 17, REPLAYED),
    # The hour, rounded down
    (ACTIVE, "account", "12:00:00", "users", 17, REPLAYED),
    (ACTIVE, "account", "12:30:00", "users", 17, REPLAYED),
    (ACTIVE, "account", "12:35:00", "users", 17, REPLAYED),
    (ACTIVE, "account", "11:59:59.999999", "users", 17, ACCEPTED),
    (ACTIVE, "account", "11:00:00", "users", 18, CONFLICTED),
    # Another dimension is another key
    (ACTIVE, "account", "12:20:00", "requests", 18, ACCEPTED),
    # Absent is 0, and a 0 occupies its hour
    (ACTIVE, "account", "10:00:00", "users", None, ACCEPTED),
    (ACTIVE, "account", "10:00:00", "users", 0, REPLAYED),
    (ACTIVE, "account", "10:00:00", "users", "0.00", REPLAYED),
    (ACTIVE, "account", "10:00:00", "users", 5, CONFLICTED),
    (ACTIVE, "account", "09:00:00", "users", 0, ACCEPTED),
    (ACTIVE, "account", "09:00:00", "users", "9999999999.999999", CONFLICTED),
    (ACTIVE, "account", "08:00:00", "users", "9999999999.999999", ACCEPTED),
    (ACTIVE, "account", "07:00:00", "users", 2147483647, ACCEPTED),
    # The license has a key of its own
    (ACTIVE, "license", "12:20:00", "users", 17, ACCEPTED),
    (ACTIVE, "license", "12:20:00", "users", 17, REPLAYED),
    (ACTIVE, "license", "12:20:00", "users", 18, CONFLICTED),
    (ACTIVE, "account", "12:20:00", "users", 17, REPLAYED),
    # Yesterday's usage, to the second
    (ACTIVE, "account", "2026-11-20T12:30:01Z", "users", 17, ACCEPTED),
    (ACTIVE, "account", "2026-11-20T12:30:00.000001Z", "users", 17, REPLAYED),
    # Nobody's customer
    (UNKNOWN, "account", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    (ELSEWHERE, "account", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    (ELSEWHERE, "identifier", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    # Not yet a customer
    (PENDING, "account", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    (PENDING, "license", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    (COMING, "account", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    # A customer who may not
    (SUSPENDED, "account", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    (SUSPENDED, "identifier", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    (SUSPENDED, "license", "12:20:00", "users", 17, NOT_SUBSCRIBED),
    # From the hour the agreement began
    (YOUNG, "account", "09:59:59.999999", "users", 17, NOT_SUBSCRIBED),
    (YOUNG, "account", "10:00:00", "users", 17, ACCEPTED),
    (YOUNG, "license", "10:00:00", "users", 17, ACCEPTED),
    # The last hour after unsubscribing: usage up to the end instant
    (LEAVING, "account", "12:00:00.000001", "users", 17, NOT_SUBSCRIBED),
    (LEAVING, "account", "12:00:00", "users", 17, ACCEPTED),
    (LEAVING, "license", "12:00:00", "users", 17, ACCEPTED),
    (LEAVING, "identifier", "11:59:59", "users", 17, ACCEPTED),
    (LEAVING, "account", "12:20:00", "users", 17, REPLAYED),
    (LEAVING, "account", "12:20:00", "users", 18, NOT_SUBSCRIBED),
    # The last hour is over, or was never given
    (LEFT, "account", "11:20:00", "users", 17, NOT_SUBSCRIBED),
    (LEFT, "license", "11:20:00", "users", 17, NOT_SUBSCRIBED),
    (CLOSED, "account", "11:20:00", "users", 17, NOT_SUBSCRIBED),
    (CLOSED, "license", "11:20:00", "users", 17, NOT_SUBSCRIBED),
    # Two agreements, with a gap between them
    (RENEWED, "account", "2026-11-20T17:00:00Z", "users", 17, NOT_SUBSCRIBED),
    (RENEWED, "account", "2026-11-20T20:00:00Z", "users", 17, NOT_SUBSCRIBED),
    (RENEWED, "account", "08:59:59", "users", 17, NOT_SUBSCRIBED),
    (RENEWED, "account", "09:00:00", "users", 17, ACCEPTED),
    (RENEWED, "identifier", "12:20:00", "users", 17, ACCEPTED),
]


def outcomes_of(following: Following | Refused) -> list[Outcome]:
    """What became of the records of a batch that was accepted."""
    assert isinstance(following, Following), following
    return list(following.outcomes)


def answer_of(following: Following | Refused) -> BatchMeterUsageResult:
    """The answer to a batch that was accepted."""
    assert isinstance(following, Following), following
    assert isinstance(following.answer, BatchMeterUsageResult)
    return following.answer


def test_each_record_has_its_outcome_when_it_is_sent_alone() -> None:
    """The table, one batch a row."""
    catalog, kept = market(), KeptRecords()
    found = [outcomes_of(send(catalog, kept, record(row)))[0] for row in RECORDS]
    assert list(zip(RECORDS, found, strict=True)) == [(row, row[-1]) for row in RECORDS]


@pytest.mark.parametrize("size", [2, 7, 25])
def test_records_of_one_batch_are_judged_as_if_sent_one_after_the_other(size: int) -> None:
    """The table in batches: each record sees what those before it in the same batch have left."""
    catalog, kept = market(), KeptRecords()
    found = []
    for first in range(0, len(RECORDS), size):
        found += outcomes_of(send(catalog, kept, *map(record, RECORDS[first : first + size])))
    assert list(zip(RECORDS, found, strict=True)) == [(row, row[-1]) for row in RECORDS]


@pytest.mark.parametrize("size", [1, 25])
def test_every_result_has_its_status_and_only_success_an_id(size: int) -> None:
    """A replay has the id of the record it repeats, a new record a new one, all others none."""
    catalog, kept = market(), KeptRecords()
    id_of: dict[RecordKey, str | None] = {}
    seen = set()
    for first in range(0, len(RECORDS), size):
        rows = RECORDS[first : first + size]
        following = send(catalog, kept, *map(record, rows))
        for row, answered in zip(rows, answer_of(following).results, strict=True):
            assert answered.status == STATUS_OF_OUTCOME[row[-1]]
            assert answered.usage_record == record(row)
            key = RecordKey(
                hour_of(at(row[2])), Series(license_of(LEGACY, row[0]) if row[1] == "license" else "", row[0], row[3])
            )
            if row[-1] is ACCEPTED:
                assert answered.metering_record_id not in seen
                id_of[key] = answered.metering_record_id
                seen.add(answered.metering_record_id)
            else:
                assert answered.metering_record_id == (id_of[key] if row[-1] is REPLAYED else None)


def test_every_outcome_is_in_the_table() -> None:
    """No outcome goes untried."""
    assert {row[-1] for row in RECORDS} == set(Outcome)


def test_what_is_kept_is_what_was_said() -> None:
    """The unrounded time, exact quantity and allocations, under the key, in the partition of Region and product."""
    catalog, kept = market(), KeptRecords()
    parts = [UsageAllocation(None, "2.5", [Tag("BusinessUnit", "IT")]), UsageAllocation(None, "1.0")]
    usage = said("12:20:00.123456", quantity=None, quantity_as_decimal="3.5", usage_allocations=parts)
    following = send(catalog, kept, usage)
    assert isinstance(following, Following)
    (entry,) = following.entries
    assert following.keeps
    assert entry.timestamp_micros == at("12:20:00.123456")
    assert entry.quantity_micros == 3_500_000
    assert entry.allocations == (Allotment(2_500_000, (("BusinessUnit", "IT"),)), Allotment(1_000_000))
    key = RecordKey(hour_of(NOW), Series("", ACTIVE, "users"))
    assert entry.key == key
    assert kept.records.keys() == {(Partition("us-east-1", LEGACY), key)}
    (answered,) = answer_of(following).results
    assert answered.usage_record is usage
    assert answer_of(following).unprocessed_records == []


def test_nothing_new_leaves_no_row_in_the_journal() -> None:
    """A batch of replays, conflicts and strangers keeps nothing."""
    catalog, kept = market(), KeptRecords()
    send(catalog, kept, said())
    following = send(catalog, kept, said(), said(quantity=18), said(customer_aws_account_id=UNKNOWN))
    assert isinstance(following, Following)
    assert outcomes_of(following) == [REPLAYED, CONFLICTED, NOT_SUBSCRIBED]
    assert (following.entries, following.claims, following.keeps) == ([], (), False)


@pytest.mark.parametrize("code", [None, "", LEGACY, CONCURRENT, "no-such-product"])
@pytest.mark.parametrize("region", ["us-east-1", "eu-west-1", "ap-south-1"])
def test_an_empty_batch_is_fine_whatever_else_is_not(code: str | None, region: str) -> None:
    """Two empty lists, before product or Region are looked at."""
    following = send(market(), KeptRecords(), code=code, caller=CALLER._replace(region=region))
    assert answer_of(following) == BatchMeterUsageResult([], [])
    assert isinstance(following, Following)
    assert not following.keeps


def test_results_come_in_the_order_of_the_records() -> None:
    """25 records of as many hours, and each result is its own record's."""
    records = [said(f"{hour:02}:00:00", quantity=hour) for hour in reversed(range(12))]
    records += [said(f"{hour:02}:30:00", dimension="requests") for hour in range(12)] + [said()]
    following = send(market(), KeptRecords(), *records)
    assert [answered.usage_record for answered in answer_of(following).results] == records
    assert outcomes_of(following) == [ACCEPTED] * 25


def test_a_region_has_keys_of_its_own() -> None:
    """The same usage sent to two Regions is two records: that is AWS's own trap."""
    catalog, kept = market(), KeptRecords()
    for region in ("us-east-1", "eu-west-1"):
        caller = CALLER._replace(region=region)
        assert outcomes_of(send(catalog, kept, said(), code=SECOND, caller=caller)) == [ACCEPTED]
        assert outcomes_of(send(catalog, kept, said(), code=SECOND, caller=caller)) == [REPLAYED]


def test_a_concurrent_product_is_metered_by_license() -> None:
    """Without a ProductCode the license names the product."""
    catalog, kept = market(), KeptRecords()
    usage = said(license_arn=license_of(CONCURRENT, ACTIVE))
    assert outcomes_of(send(catalog, kept, usage, code=None)) == [ACCEPTED]
    assert outcomes_of(send(catalog, kept, usage, code="")) == [REPLAYED]
    assert {partition.product for partition, _ in kept.records} == {CONCURRENT}


def test_a_legacy_product_may_be_named_by_license_alone() -> None:
    """With either name of the customer, and it leads to the same key as with the code beside it."""
    catalog, kept = market(), KeptRecords()
    by_account = said(license_arn=license_of(LEGACY, ACTIVE))
    by_identifier = said(
        license_arn=license_of(LEGACY, ACTIVE),
        customer_aws_account_id=None,
        customer_identifier=identifier_of(ACTIVE),
    )
    assert outcomes_of(send(catalog, kept, by_account, code=None)) == [ACCEPTED]
    assert outcomes_of(send(catalog, kept, by_identifier, code=None)) == [REPLAYED]
    assert outcomes_of(send(catalog, kept, by_account, code=LEGACY)) == [REPLAYED]


def test_an_empty_customer_identifier_is_none() -> None:
    """Clients that send every member send it empty beside the account id."""
    catalog, kept = market(), KeptRecords()
    assert outcomes_of(send(catalog, kept, said(customer_identifier=""))) == [ACCEPTED]
    assert outcomes_of(send(catalog, kept, said())) == [REPLAYED]


def test_allocations_take_no_part_in_the_comparison() -> None:
    """The same quantity split otherwise is a replay, and the first split stays."""
    catalog, kept = market(), KeptRecords()
    first = said(usage_allocations=[UsageAllocation(17)])
    other = said(usage_allocations=[UsageAllocation(10, None, [Tag("a", "b")]), UsageAllocation(7)])
    assert outcomes_of(send(catalog, kept, first, other, said())) == [ACCEPTED, REPLAYED, REPLAYED]


def test_a_product_may_answer_a_replay_as_a_duplicate() -> None:
    """`identical_repeat` changes the status and leaves out the id; the outcome, and what is kept, stay as they are."""
    catalog, kept = market(), KeptRecords()
    following = send(catalog, kept, said(), said(), said(quantity=18), code=REPEATING)
    assert outcomes_of(following) == [ACCEPTED, REPLAYED, CONFLICTED]
    results = answer_of(following).results
    assert [answered.status for answered in results] == ["Success", "DuplicateRecord", "DuplicateRecord"]
    assert [answered.metering_record_id is None for answered in results] == [False, True, True]
    assert len(kept.records) == 1


# --- after the end ----------------------------------------------------------------------------------------------------


# how it is named, what happens after the first record was accepted, what comes of the same record, of another quantity
AFTERWARDS: Final = [
    ("account", {"end_micros": at("12:25:00")}, "12:30:00", REPLAYED, CONFLICTED),
    ("account", {"end_micros": at("12:25:00")}, "13:25:00", REPLAYED, CONFLICTED),
    ("account", {"end_micros": at("12:25:00")}, "13:25:00.000001", REPLAYED, NOT_SUBSCRIBED),
    ("account", {"end_micros": at("12:25:00"), "closed": True}, "12:30:00", REPLAYED, NOT_SUBSCRIBED),
    ("account", {"end_micros": at("12:10:00")}, "12:30:00", REPLAYED, NOT_SUBSCRIBED),
    ("account", {"start_micros": at("14:00:00")}, "12:30:00", REPLAYED, NOT_SUBSCRIBED),
    ("license", {"end_micros": at("12:25:00")}, "13:25:00", REPLAYED, CONFLICTED),
    ("license", {"end_micros": at("12:25:00")}, "13:25:00.000001", REPLAYED, NOT_SUBSCRIBED),
    ("license", {"end_micros": at("12:10:00")}, "12:30:00", REPLAYED, FaultCode.INVALID_LICENSE),
    ("license", {"end_micros": at("12:10:00"), "closed": True}, "12:30:00", REPLAYED, FaultCode.INVALID_LICENSE),
    ("license", {"start_micros": at("14:00:00")}, "12:30:00", REPLAYED, FaultCode.INVALID_LICENSE),
]


@pytest.mark.parametrize(("form", "change", "now", "same", "other"), AFTERWARDS)
def test_a_replay_is_exempt_from_subscription_and_license_period(
    form: str, change: dict[str, Any], now: str, same: Outcome, other: Outcome | FaultCode
) -> None:
    """A retry after a lost answer is safe for as long as its window is open; what is no replay is judged as usual."""
    catalog, kept = market(), KeptRecords()
    row = (ACTIVE, form, "12:20:00", "users", 17, None)
    first = answer_of(send(catalog, kept, record(row)))
    catalog.put(replace(catalog.agreements[agreement(LEGACY, ACTIVE).id], **change))
    again = send(catalog, kept, record(row), now=at(now))
    assert outcomes_of(again) == [same]
    assert answer_of(again).results[0].metering_record_id == first.results[0].metering_record_id
    changed = send(catalog, kept, record((ACTIVE, form, "12:20:00", "users", 18, None)), now=at(now))
    assert (changed.code if isinstance(changed, Refused) else changed.outcomes[0]) is other


def test_a_replay_is_exempt_from_suspension() -> None:
    """A buyer suspended meanwhile does not make a retry unsafe."""
    catalog, kept = market(), KeptRecords()
    send(catalog, kept, said())
    catalog.put(Account(ACTIVE, suspended=True))
    assert outcomes_of(send(catalog, kept, said(), said(quantity=18), said("11:00:00"))) == [
        REPLAYED,
        NOT_SUBSCRIBED,
        NOT_SUBSCRIBED,
    ]
    catalog.put(Account(ACTIVE))
    assert outcomes_of(send(catalog, kept, said("11:00:00"))) == [ACCEPTED]


def test_a_replay_is_not_exempt_from_its_window() -> None:
    """24 hours later the same record is out of bounds."""
    catalog, kept = market(), KeptRecords()
    send(catalog, kept, said())
    late = send(catalog, kept, said(), now=at("12:20:00") + 24 * HOUR)
    assert isinstance(late, Refused)
    assert late.code is FaultCode.TIMESTAMP_OUT_OF_BOUNDS


@pytest.mark.parametrize(
    ("change", "outcome"),
    [
        ({}, ACCEPTED),
        ({"closed": True}, NOT_SUBSCRIBED),
        ({"pending": True}, NOT_SUBSCRIBED),
        ({"start_micros": NOW + 1}, NOT_SUBSCRIBED),
        ({"start_micros": NOW}, ACCEPTED),
        ({"end_micros": NOW - HOUR}, NOT_SUBSCRIBED),
    ],
)
def test_an_only_agreement_that_has_no_end_is_taken_while_it_runs(change: dict[str, Any], outcome: Outcome) -> None:
    """Closed, pending or not yet begun it takes nothing, even without an end."""
    catalog = market()
    catalog.put(replace(agreement(LEGACY, ACTIVE), **change))
    assert outcomes_of(send(catalog, KeptRecords(), said())) == [outcome]


def test_a_renewal_leaves_the_license_and_its_keys_as_they_are() -> None:
    """An agreement renewed in its last hour goes on under the same key."""
    catalog, kept = market(), KeptRecords()
    usage = said(license_arn=license_of(LEGACY, LEAVING), customer_aws_account_id=LEAVING, time="11:20:00")
    later = said(license_arn=license_of(LEGACY, LEAVING), customer_aws_account_id=LEAVING)
    assert outcomes_of(send(catalog, kept, usage)) == [ACCEPTED]
    assert isinstance(send(catalog, kept, later), Refused)
    catalog.put(replace(agreement(LEGACY, LEAVING), end_micros=at("2027-01-01T00:00:00Z")))
    assert outcomes_of(send(catalog, kept, usage, later)) == [REPLAYED, ACCEPTED]


def test_an_agreement_is_looked_at_anew_after_every_change() -> None:
    """What a rule remembered of a customer does not outlive the fact it came from."""
    catalog, kept = market(), KeptRecords()
    usage = said(customer_aws_account_id=PENDING)
    assert outcomes_of(send(catalog, kept, usage)) == [NOT_SUBSCRIBED]
    catalog.put(replace(agreement(LEGACY, PENDING), pending=False))
    assert outcomes_of(send(catalog, kept, usage)) == [ACCEPTED]


# --- the product's switches and profiles ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "time", "taken"),
    [
        (SECOND, "2026-11-20T12:30:00.000001Z", True),
        (SECOND, "2026-11-20T12:30:00Z", False),
        (HOURLY, "2026-11-20T12:59:59Z", False),
        (HOURLY, "2026-11-20T13:00:00Z", True),
    ],
)
def test_a_product_says_from_where_an_age_is_counted(code: str, time: str, taken: bool) -> None:
    """From the instant, or from the timestamp's hour."""
    assert isinstance(send(market(), KeptRecords(), said(time), code=code), Following) == taken


@pytest.mark.parametrize("product_type", ProductType)
def test_the_type_of_a_product_makes_no_difference(product_type: ProductType) -> None:
    """It tells people what the product is, and refuses nothing."""
    catalog = market()
    catalog.put(replace(catalog.products[LEGACY], type=product_type))
    assert outcomes_of(send(catalog, KeptRecords(), said())) == [ACCEPTED]


def test_a_call_without_license_needs_one_agreement_that_takes_it() -> None:
    """Whichever of a buyer's agreements it is: the latest begun need not be the one."""
    catalog, kept = market(), KeptRecords()
    catalog.put(agreement(LEGACY, ACTIVE, at("13:00:00"), 2))
    catalog.put(agreement(LEGACY, ACTIVE, at("2026-02-01T00:00:00Z"), 3, pending=True))
    catalog.put(agreement(LEGACY, ACTIVE, at("2026-03-01T00:00:00Z"), 4, end_micros=at("2026-04-01T00:00:00Z")))
    assert outcomes_of(send(catalog, kept, said())) == [ACCEPTED]
    catalog.put(replace(agreement(LEGACY, ACTIVE), closed=True))
    assert outcomes_of(send(catalog, kept, said("11:20:00"))) == [NOT_SUBSCRIBED]
