"""The clocks: what each move leads to, for all and for one account, and that it is kept."""

from datetime import UTC
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import convert

from meterhouse.core.moment import HOUR, SECOND, micros_of_rfc3339, rfc3339
from meterhouse.ledger.protocol import Document
from meterhouse.service.clock import CLOCK_KIND, FOR_ALL, ClockMode, Clocks
from meterhouse.service.draft import FIRST_MICROS, LAST_MICROS
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import ClockRow
from tests.unit.marketplace import BUYER, NOW, SELLER

THERE = "2026-11-30T23:59:59Z"
FROZEN = micros_of_rfc3339(THERE)


class ClocksByHand(Clocks):
    """Clocks whose documents are kept in a dictionary, over a real time that a test moves."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.real = NOW
        super().__init__(self.documents, lambda: self.real)

    def move(self, account: str = FOR_ALL, **row: Any) -> ClockMode:
        """`PUT /clock`, kept as the market would keep it."""
        change = self.moved(convert(row, ClockRow), account)
        for document in change.writes:
            assert isinstance(document, Document)
            assert document.kind == CLOCK_KIND
            if document.body is None:
                self.documents.pop(document.key, None)
            else:
                self.documents[document.key] = document.body
        assert self.state(account) == change.answer
        return change.answer.mode


@pytest.fixture
def clocks() -> ClocksByHand:
    """Clocks that were never moved."""
    return ClocksByHand()


def test_time_is_real_until_it_is_moved(clocks: ClocksByHand) -> None:
    """For all and for each account."""
    assert (clocks.now_micros(), clocks.now_micros(SELLER)) == (NOW, NOW)
    assert clocks.state().mode is ClockMode.REAL


@pytest.mark.parametrize(
    ("moves", "mode", "at_once", "an_hour_later"),
    [
        ([{"now": THERE}], "frozen", FROZEN, FROZEN),
        ([{"advance_seconds": 3600}], "shifted", NOW + HOUR, NOW + 2 * HOUR),
        ([{"advance_seconds": 0.5}], "shifted", NOW + SECOND // 2, NOW + HOUR + SECOND // 2),
        ([{"advance_seconds": 0}], "real", NOW, NOW + HOUR),
        ([{"real": True}], "real", NOW, NOW + HOUR),
        ([{"now": THERE}, {"advance_seconds": 3600}], "frozen", FROZEN + HOUR, FROZEN + HOUR),
        ([{"now": THERE}, {"now": "2020-01-01T00:00:00Z"}], "frozen", 1_577_836_800 * SECOND, 1_577_836_800 * SECOND),
        ([{"now": THERE}, {"real": True}], "real", NOW, NOW + HOUR),
        ([{"advance_seconds": 60}, {"advance_seconds": 60}], "shifted", NOW + 120 * SECOND, NOW + HOUR + 120 * SECOND),
        ([{"advance_seconds": 60}, {"now": THERE}], "frozen", FROZEN, FROZEN),
        ([{"advance_seconds": 60}, {"real": True}], "real", NOW, NOW + HOUR),
    ],
)
@pytest.mark.parametrize("account", [FOR_ALL, SELLER])
def test_each_move_leads_somewhere(
    clocks: ClocksByHand, account: str, moves: list[dict[str, Any]], mode: str, at_once: int, an_hour_later: int
) -> None:
    """From each mode, for all and for one account: the mode, what the clock shows, and what it shows an hour later."""
    for move in moves:
        clocks.move(account, **move)
    assert clocks.state(account).mode == mode
    assert clocks.now_micros(account) == at_once
    clocks.real += HOUR
    assert clocks.now_micros(account) == an_hour_later


def test_an_account_overrides_the_clock_for_all(clocks: ClocksByHand) -> None:
    """Its own clock is its own, and the others follow the clock for all."""
    clocks.move(now=THERE)
    clocks.move(SELLER, advance_seconds=3600)
    assert (clocks.now_micros(SELLER), clocks.now_micros(BUYER), clocks.now_micros()) == (FROZEN + HOUR, FROZEN, FROZEN)
    clocks.move(advance_seconds=60)
    assert (clocks.now_micros(SELLER), clocks.now_micros(BUYER)) == (FROZEN + HOUR, FROZEN + 60 * SECOND)


def test_an_accounts_first_move_starts_from_the_clock_for_all(clocks: ClocksByHand) -> None:
    """A shifted clock for all is shifted further for the account alone."""
    clocks.move(advance_seconds=60)
    assert clocks.move(SELLER, advance_seconds=60) is ClockMode.SHIFTED
    assert (clocks.now_micros(SELLER), clocks.now_micros()) == (NOW + 120 * SECOND, NOW + 60 * SECOND)


def test_an_account_can_be_real_while_others_are_not(clocks: ClocksByHand) -> None:
    """Until the clock for all is real too: from then on the account follows it again."""
    clocks.move(now=THERE)
    assert clocks.move(SELLER, real=True) is ClockMode.REAL
    assert (clocks.now_micros(SELLER), clocks.now_micros(BUYER)) == (NOW, FROZEN)
    clocks.move(real=True)
    assert clocks.documents == {}
    clocks.move(now=THERE)
    assert clocks.now_micros(SELLER) == FROZEN


def test_ending_the_clock_for_all_leaves_the_accounts_own(clocks: ClocksByHand) -> None:
    """A frozen account stays frozen."""
    clocks.move(SELLER, now=THERE)
    clocks.move(real=True)
    assert (clocks.now_micros(SELLER), clocks.now_micros()) == (FROZEN, NOW)


@pytest.mark.parametrize(
    ("row", "field"),
    [
        ({}, None),
        ({"now": THERE, "real": True}, None),
        ({"now": THERE, "advance_seconds": 1}, None),
        ({"real": False}, "real"),
        ({"now": "9999-12-31T23:59:59-01:00"}, "now"),
        ({"now": "0001-01-01T00:00:00+01:00"}, "now"),
        ({"advance_seconds": 1_000_000_000_000}, "advance_seconds"),
    ],
)
def test_anything_else_is_refused(clocks: ClocksByHand, row: dict[str, Any], field: str | None) -> None:
    """One move at a time, and none beyond the calendar; the clock stays as it is."""
    clocks.move(now=THERE)
    with pytest.raises(Refused) as refused:
        clocks.move(FOR_ALL, **row)
    assert (refused.value.kind, refused.value.field) == (RefusalKind.INVALID, field)
    assert clocks.now_micros() == FROZEN


def test_the_ends_of_the_calendar_can_be_reached(clocks: ClocksByHand) -> None:
    """The first and the last instant can be frozen; a shifted clock stops at the last."""
    for micros in (FIRST_MICROS, LAST_MICROS):
        clocks.move(now=rfc3339(micros))
        assert clocks.now_micros() == micros
    clocks.move(real=True)
    clocks.move(advance_seconds=(LAST_MICROS - NOW) // SECOND)
    clocks.real += HOUR
    assert clocks.now_micros() == LAST_MICROS


def test_without_documents_time_is_real() -> None:
    """A server that is no sandbox gives the clocks an empty mapping, whatever the ledger keeps."""
    assert Clocks({}, lambda: 17).now_micros(SELLER) == 17


MOVE = st.one_of(
    st.fixed_dictionaries({"now": st.datetimes(timezones=st.just(UTC)).map(lambda at: at.isoformat())}),
    st.fixed_dictionaries({"advance_seconds": st.integers(0, 10**12) | st.floats(0, 10**9)}),
    st.just({"real": True}),
)  # fmt: skip


@given(st.lists(st.tuples(st.sampled_from([FOR_ALL, SELLER, BUYER]), MOVE, st.integers(0, 10**15)), max_size=8))
def test_no_clock_ever_leaves_the_calendar(moves: list[tuple[str, dict[str, Any], int]]) -> None:
    """Whatever the moves and however real time goes on; and advancing never leads back."""
    clocks = ClocksByHand()
    for account, row, passes in moves:
        before = clocks.now_micros(account)
        try:
            clocks.move(account, **row)
        except Refused:
            continue
        assert "advance_seconds" not in row or clocks.now_micros(account) >= before
        clocks.real += passes
        for one in (FOR_ALL, SELLER, BUYER):
            assert FIRST_MICROS <= clocks.now_micros(one) <= LAST_MICROS
