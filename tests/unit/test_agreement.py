"""What an agreement is at an instant: its states, its period, its last hour (contract §3, §4)."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterhouse.core.catalog import Agreement, AgreementState
from meterhouse.core.moment import HOUR, SECOND, micros_of_rfc3339

PENDING, ACTIVE, UNSUBSCRIBING, ENDED = AgreementState

START: Final = micros_of_rfc3339("2026-11-01T10:30:00Z")
END: Final = micros_of_rfc3339("2026-11-21T12:00:00Z")
RUNNING: Final = Agreement("agmt-1", "product", "444455556666", "arn", "X01", START)
ENDING: Final = replace(RUNNING, end_micros=END)
CLOSED: Final = replace(ENDING, closed=True)
WAITING: Final = replace(RUNNING, pending=True)

# agreement, now, state
STATES: Final = [
    (RUNNING, START - 1, PENDING),
    (RUNNING, START, ACTIVE),
    (RUNNING, END + 10**15, ACTIVE),
    (ENDING, START - 1, PENDING),
    (ENDING, START, ACTIVE),
    (ENDING, END - 1, ACTIVE),
    (ENDING, END, UNSUBSCRIBING),
    (ENDING, END + HOUR - SECOND, UNSUBSCRIBING),
    (ENDING, END + HOUR, UNSUBSCRIBING),
    (ENDING, END + HOUR + 1, ENDED),
    (ENDING, END + 10**15, ENDED),
    (CLOSED, START - 1, ENDED),
    (CLOSED, START, ENDED),
    (CLOSED, END, ENDED),
    (WAITING, START - 1, PENDING),
    (WAITING, START, PENDING),
    (WAITING, END + 10**15, PENDING),
    (replace(ENDING, pending=True), END + HOUR + 1, PENDING),
    (replace(RUNNING, end_micros=START), START, UNSUBSCRIBING),
]


@pytest.mark.parametrize(("agreement", "now", "state"), STATES)
def test_the_state_follows_from_the_dates(agreement: Agreement, now: int, state: AgreementState) -> None:
    """Pending, active, unsubscribing for one hour, ended: each begins on its microsecond."""
    assert agreement.state(now) is state


# agreement, the usage's instant, now, whether it is within the period, whether it is taken
TAKEN: Final = [
    # From the hour it began
    (RUNNING, START, START, True, True),
    (RUNNING, START - 30 * 60 * SECOND, START, True, True),
    (RUNNING, START - 30 * 60 * SECOND - 1, START, False, False),
    (RUNNING, START, START - 1, True, False),
    # Up to the end instant, while the clock is within one hour of it
    (ENDING, END - 1, END - 1, True, True),
    (ENDING, END, END, True, True),
    (ENDING, END + 1, END + 1, False, False),
    (ENDING, END, END + HOUR, True, True),
    (ENDING, END - HOUR, END + HOUR, True, True),
    (ENDING, END, END + HOUR + 1, True, False),
    (ENDING, END + 1, END + HOUR, False, False),
    # Ended at once
    (CLOSED, END, END, True, False),
    (CLOSED, END - HOUR, END + 1, True, False),
    (CLOSED, END + 1, END + 1, False, False),
    # A pending agreement has no period
    (WAITING, START, START, True, False),
    (WAITING, START - 10**12, START, True, False),
    (replace(ENDING, pending=True), END + 1, END + 1, True, False),
]


@pytest.mark.parametrize(("agreement", "usage", "now", "covered", "taken"), TAKEN)
def test_usage_is_taken_by_period_and_by_state(
    agreement: Agreement, usage: int, now: int, covered: bool, taken: bool
) -> None:
    """Usage counts from the hour of the start to the end instant, and is taken until one hour after it."""
    assert agreement.covers(usage) == covered
    assert agreement.takes(usage, now) == taken


instants: Final = st.integers(START - 3 * HOUR, START + 5 * HOUR)
agreements: Final = st.builds(
    lambda start, end, pending, closed: replace(
        RUNNING, start_micros=start, end_micros=end, pending=pending, closed=closed
    ),
    instants,
    st.none() | instants,
    st.booleans(),
    st.booleans(),
)


@given(agreements, instants, st.integers(0, 5 * HOUR))
def test_a_state_is_never_stepped_back_from(agreement: Agreement, now: int, later: int) -> None:
    """As time passes an agreement goes through its states in their order only."""
    order = list(AgreementState)
    if not agreement.pending:
        assert order.index(agreement.state(now)) <= order.index(agreement.state(now + later))


@given(agreements, instants, instants)
def test_what_is_taken_lies_in_the_period(agreement: Agreement, usage: int, now: int) -> None:
    """Nothing is taken outside the period, and nothing while the agreement is neither active nor in its last hour."""
    taken = agreement.takes(usage, now)
    assert not taken or agreement.covers(usage)
    assert taken == (agreement.covers(usage) and agreement.state(now) in (ACTIVE, UNSUBSCRIBING))
