"""Laws of a batch: whatever is sent, and whatever happens to it, the groups say what the service kept."""

from collections.abc import Sequence
from datetime import timedelta
from decimal import Decimal
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from meterhouse.client.doubles import RecordedTransport
from meterhouse.client.errors import (
    InvalidRequestError,
    MeteringError,
)
from meterhouse.client.outcomes import (
    Accepted,
    Conflicted,
    NotSubscribed,
    Refused,
    Replayed,
    Unsent,
)
from meterhouse.client.records import UsageRecord
from meterhouse.client.settings import ClientOptions
from tests.unit.client_batches import AT_ONCE, NOON, groups, meter, used
from tests.unit.client_service import BAD, DumbService
from tests.unit.client_ways import by_hand

_dimensions = st.sampled_from(["users"] * 12 + ["storage"] * 6 + list(BAD.values()))
_records = st.lists(
    st.builds(
        lambda number, dimension, quantity, hour, subscribed: UsageRecord(
            timestamp=NOON - timedelta(hours=hour),
            dimension=dimension,
            quantity=quantity,
            customer_aws_account_id=f"{'4' if subscribed else '9'}444000000{number:02}",
        ),
        st.integers(0, 30),
        _dimensions,
        st.sampled_from([-1, *range(5), Decimal("1.5"), Decimal("2.0")]),
        st.integers(0, 1),
        st.booleans() | st.just(True),
    ),
    max_size=80,
)


@settings(max_examples=150)
@given(
    records=_records,
    trouble=st.sampled_from([0.0, 0.2, 0.6, 0.95]),
    seed=st.integers(0, 10_000),
    names_places=st.booleans(),
    repeats_conflict=st.booleans(),
)
def test_every_record_ends_in_one_group_and_nothing_is_billed_twice(
    records: list[UsageRecord], trouble: float, seed: int, names_places: bool, repeats_conflict: bool
) -> None:
    """Random mixtures, failures, repeats and orders: the groups say exactly what the service kept."""
    service = DumbService(names_places=names_places, trouble=trouble, seed=seed, repeats_conflict=repeats_conflict)
    calls = by_hand(RecordedTransport(service), options=AT_ONCE, seed=seed)
    result = meter(calls, records)

    assert sum(groups(result).values()) == len(records)
    assert set(service.billed.values()) <= {1}
    kept_ids = {record_id for _, record_id in service.kept.values()}
    accepted = [outcome.metering_record_id for outcome in result.accepted]
    assert len(set(accepted)) == len(accepted)
    assert set(accepted) <= kept_ids
    assert {outcome.metering_record_id for outcome in result.replayed} <= set(accepted)
    for outcome in result:
        key = (
            "p",
            outcome.record.customer_aws_account_id,
            outcome.record.dimension,
            int(outcome.record.timestamp.timestamp()) // 3600,
        )
        kept = service.kept.get(key)
        is_bad = outcome.record.dimension in BAD.values() or outcome.record.quantity < 0
        match outcome:
            case Accepted() | Replayed():
                assert kept == (outcome.record.quantity, outcome.metering_record_id)
            case Refused():
                assert is_bad
                assert _is_the_right_reason(outcome.record, outcome.reason)
            case NotSubscribed():
                assert kept is None
            case Conflicted():
                assert kept is not None
                assert kept[0] != outcome.record.quantity or (repeats_conflict and outcome.was_resent)
            case Unsent():
                assert trouble
                assert (
                    kept is None
                    or kept[0] != outcome.record.quantity
                    or outcome.may_be_kept
                    or _has_like(outcome.record, records)
                )
    if not trouble:
        assert not result.unsent


def _is_the_right_reason(record: UsageRecord, reason: MeteringError) -> bool:
    if record.quantity < 0:
        return isinstance(reason, InvalidRequestError)
    return BAD[reason.code] == record.dimension


def _has_like(record: UsageRecord, records: Sequence[UsageRecord]) -> bool:
    """Whether another record of the same key was given: that one may be what is kept."""
    likes = [
        other
        for other in records
        if (other.customer_aws_account_id, other.dimension, other.timestamp)
        == (record.customer_aws_account_id, record.dimension, record.timestamp)
    ]
    return len(likes) > 1


def test_sending_again_what_was_unsent_settles_it() -> None:
    """After trouble, the unsent records sent again make the bill whole, and bill nothing twice."""
    for seed in range(20):
        service = DumbService(trouble=0.8, seed=seed)
        left = [used(number) for number in range(60)]
        options = ClientOptions(requests_per_second=None, resend_rounds=0, max_attempts=1)
        counts = [len(left)]
        for _ in range(200):
            result = meter(by_hand(RecordedTransport(service), options=options, seed=seed), left)
            left = [outcome.record for outcome in result.unsent]
            counts.append(len(left))
            if not left:
                break
        assert all(later <= earlier for earlier, later in pairwise(counts))
        assert counts[-1] == 0
        assert len(service.kept) == 60
        assert set(service.billed.values()) == {1}
