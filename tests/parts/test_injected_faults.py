"""Which call is struck by which fault: pure, one call after another."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.shapes import BatchMeterUsageRequest, RegisterUsageRequest, ResolveCustomerRequest, UsageRecord
from meterhouse.service.faults import (
    FaultName,
    FaultRow,
    InjectedFault,
    Question,
    Strike,
    choose,
    give_back,
    kept_faults,
    new_fault,
    question_of,
    removed_fault,
    removed_faults,
    settle,
)
from meterhouse.service.refused import RefusalKind, Refused
from tests.unit.marketplace import Chance

BATCH = "BatchMeterUsage"
ASKED = Question(BATCH, "pipeline", 3)


def fault(number: int = 1, name: FaultName = FaultName.THROTTLE, **members: Any) -> InjectedFault:
    """A fault that strikes once, or as the members say."""
    return InjectedFault(
        **{"id": f"f{number}", "number": number, "operation": BATCH, "fault": name, "times": 1, **members}
    )


def faults(*some: InjectedFault) -> dict[str, InjectedFault]:
    """Faults by id."""
    return {one.id: one for one in some}


# A fault's members, a call, whether the first strikes the second.
FITS: list[tuple[dict[str, Any], Question, bool]] = [
    ({}, ASKED, True),
    ({}, Question("MeterUsage", "pipeline", 0), False),
    ({"operation": "MeterUsage"}, Question("MeterUsage", "pipeline", 0), True),
    ({"product": "pipeline"}, ASKED, True),
    ({"product": "lake"}, ASKED, False),
    ({"product": "pipeline"}, ASKED._replace(product=None), False),
    ({"times": 0}, ASKED, False),
    ({}, ASKED._replace(behind=1), False),
    ({}, ASKED._replace(refused=True), True),
    ({"name": FaultName.LOSE_ANSWER}, ASKED, True),
    ({"name": FaultName.LOSE_ANSWER}, ASKED._replace(records=0), True),
    ({"name": FaultName.LOSE_ANSWER}, ASKED._replace(refused=True), False),
    ({"name": FaultName.UNPROCESSED}, ASKED, True),
    ({"name": FaultName.UNPROCESSED}, ASKED._replace(records=0), False),
    ({"name": FaultName.UNPROCESSED}, ASKED._replace(refused=True), False),
    ({"name": FaultName.UNPROCESSED, "records": (2,)}, ASKED, True),
    ({"name": FaultName.UNPROCESSED, "records": (3,)}, ASKED, False),
]


@pytest.mark.parametrize(("members", "question", "strikes"), FITS)
def test_what_fits_a_call(members: dict[str, Any], question: Question, strikes: bool) -> None:
    """A fault fits by operation, product as sent, times left, and what there is to strike."""
    assert (choose(faults(fault(**members)), question) is not None) == strikes


def test_each_call_struck_uses_up_one_time() -> None:
    """A fault strikes as often as it says, and is gone then."""
    present = faults(fault(times=2))
    assert [choose(present, ASKED) is not None for _ in range(3)] == [True, True, False]
    assert present == {}


def test_the_fault_made_first_strikes() -> None:
    """Of several that fit, the one made first strikes, however they are stored; the others are as they were."""
    present = faults(fault(3), fault(2, product="lake"), fault(1, FaultName.DELAY, seconds=2.5))
    strike = choose(present, ASKED)
    assert strike == Strike("f1", 1, FaultName.DELAY, 2.5, ())
    assert present == faults(fault(3), fault(2, product="lake"))


def test_records_are_positions_in_the_request() -> None:
    """`unprocessed` strikes the positions that the request has; without any given, all."""
    for records, struck in ((None, (0, 1, 2)), ((0, 2, 24), (0, 2)), ((1,), (1,))):
        strike = choose(faults(fault(name=FaultName.UNPROCESSED, records=records)), ASKED)
        assert strike is not None
        assert strike.records == struck


def test_what_strikes_the_accepted_is_reserved_first() -> None:
    """Such a fault is used up at once, so that no other call is struck by it, and is gone when it has struck."""
    present = faults(fault(name=FaultName.LOSE_ANSWER))
    strike = choose(present, ASKED)
    assert strike is not None
    assert strike.is_reserved
    assert choose(present, ASKED) is None
    settle(present, strike)
    assert present == {}


def test_a_refused_call_gives_its_fault_back() -> None:
    """A reserved fault whose call is refused is as it was; one deleted meanwhile stays deleted."""
    present = faults(fault(name=FaultName.LOSE_ANSWER, times=2))
    first, second = choose(present, ASKED), choose(present, ASKED)
    assert first is not None
    assert second is not None
    settle(present, first)
    give_back(present, second)
    assert present == faults(fault(name=FaultName.LOSE_ANSWER, times=1))
    strike = choose(present, ASKED)
    assert strike is not None
    present.clear()
    give_back(present, strike)
    settle(present, strike)
    assert present == {}


def drawn(seed: int, count: int, probability: float = 0.5) -> list[bool]:
    """Which of so many calls a fault strikes."""
    present = faults(fault(times=10**9, probability=probability, seed=seed))
    return [choose(present, ASKED) is not None for _ in range(count)]


@given(seed=st.integers(0, 2**63 - 1), cut=st.integers(0, 40))
def test_chance_comes_from_the_seed(seed: int, cut: int) -> None:
    """The same seed strikes the same calls in every run, also where the faults are kept and read between two calls."""
    whole = drawn(seed, 40)
    present = faults(fault(times=10**9, probability=0.5, seed=seed))
    found = [choose(present, ASKED) is not None for _ in range(cut)]
    present = kept_faults({one.id: one.document().body or b"" for one in present.values()})
    found += [choose(present, ASKED) is not None for _ in range(40 - cut)]
    assert found == whole


def test_chance_strikes_as_often_as_it_should() -> None:
    """Of many calls about as many are struck as the probability says, and seeds differ."""
    for probability in (0.1, 0.5, 0.9):
        struck = sum(drawn(7, 4000, probability))
        assert abs(struck - 4000 * probability) < 4 * (4000 * probability * (1 - probability)) ** 0.5
    assert drawn(1, 40) != drawn(2, 40)


def test_a_fault_that_chance_passes_over_leaves_the_call_to_the_next() -> None:
    """Where chance spares a call of the first fault, the next that fits strikes it."""
    present = faults(fault(1, times=100, probability=0.5), fault(2, FaultName.INTERNAL, times=100))
    found = [choose(present, ASKED) for _ in range(50)]
    names = Counter(strike.fault for strike in found if strike is not None)
    assert sum(names.values()) == 50
    assert set(names) == {FaultName.THROTTLE, FaultName.INTERNAL}
    assert present["f1"].drawn == 50


def test_what_a_request_is_asked_about() -> None:
    """Of a request its operation, its ProductCode as sent and its records are told."""
    record: UsageRecord[Any] = UsageRecord(1, "users")
    asked = [
        (BATCH, BatchMeterUsageRequest([record, record], "pipeline"), Question(BATCH, "pipeline", 2)),
        (BATCH, BatchMeterUsageRequest([record], ""), Question(BATCH, None, 1)),
        (BATCH, BatchMeterUsageRequest([]), Question(BATCH, None, 0)),
        ("RegisterUsage", RegisterUsageRequest("box", 1), Question("RegisterUsage", "box", 0)),
        ("ResolveCustomer", ResolveCustomerRequest("t"), Question("ResolveCustomer", None, 0)),
    ]
    for operation, request, question in asked:
        assert question_of(operation, request) == question


def row(**members: Any) -> FaultRow:
    """A fault as a call carries it."""
    return FaultRow(**{"operation": BATCH, "fault": FaultName.THROTTLE, **members})


def test_faults_are_numbered_as_they_are_made() -> None:
    """Each new fault comes behind all that are there; what it does not say is made up, and shown."""
    chance = Chance()
    first = new_fault(row(), {}, chance).answer
    documents = {first.id: first.document().body or b""}
    second = new_fault(row(times=3, seed=5, records=[3, 0, 3]), documents, chance).answer
    assert (first.number, first.times, first.probability) == (1, 1, 1.0)
    assert (second.number, second.times, second.seed, second.records) == (2, 3, 5, (0, 3))
    assert first.id != second.id
    assert first.seed != 0


# A fault, the member at fault, a word of the reason.
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"operation": "DescribeUsage"}, "operation", "none of BatchMeterUsage"),
    ({"operation": "MeterUsage", "fault": FaultName.UNPROCESSED}, "fault", "no UnprocessedRecords"),
    ({"fault": FaultName.DELAY}, "seconds", "missing"),
    ({"operation": "ResolveCustomer", "product": "pipeline"}, "product", "no ProductCode"),
]


@pytest.mark.parametrize(("members", "field", "word"), REFUSED)
def test_what_could_never_strike_is_refused(members: dict[str, Any], field: str, word: str) -> None:
    """A fault that would wait for ever for its call is refused when it is made."""
    with pytest.raises(Refused, match=word) as refused:
        new_fault(row(**members), {}, Chance())
    assert (refused.value.kind, refused.value.field) == (RefusalKind.INVALID, field)


def test_faults_are_removed() -> None:
    """One by its id, or all; one that is not there is not found."""
    documents = {one.id: one.document().body or b"" for one in (fault(1), fault(2))}
    assert [document.key for document in removed_fault("f1", documents).writes] == ["f1"]  # type: ignore[union-attr]  # faults write documents alone
    assert len(removed_faults(documents).writes) == 2
    with pytest.raises(Refused) as refused:
        removed_fault("f3", documents)
    assert refused.value.kind is RefusalKind.NOT_FOUND


@given(
    made=st.lists(
        st.tuples(
            st.sampled_from(FaultName), st.integers(1, 3), st.sampled_from([1.0, 0.5]), st.sampled_from([None, "a"])
        ),
        max_size=5,
    ),
    calls=st.lists(st.tuples(st.sampled_from([None, "a", "b"]), st.integers(0, 3), st.booleans()), max_size=25),
)
def test_no_fault_strikes_more_often_than_it_says(made: list[Any], calls: list[Any]) -> None:
    """Whatever is called and refused, a fault strikes at most its times, and what is left of it is the rest."""
    present = faults(
        *(
            fault(number, name, times=times, probability=probability, product=product, seconds=1.0)
            for number, (name, times, probability, product) in enumerate(made, 1)
        )
    )
    struck: Counter[str] = Counter()
    for product, records, accepted in calls:
        question = Question(BATCH, product, records)
        strike = choose(present, question)
        if strike is not None and strike.is_reserved and not accepted:
            give_back(present, strike)
            strike = choose(present, question._replace(behind=strike.number, refused=True))
            assert strike is None or not strike.is_reserved
        if strike is not None:
            struck[strike.id] += 1
            if strike.is_reserved:
                settle(present, strike)
    for number, (_, times, _, _) in enumerate(made, 1):
        left = present.get(f"f{number}")
        assert struck[f"f{number}"] + (0 if left is None else left.times) == times
        assert left is None or (left.times > 0 and left.reserved == 0)
