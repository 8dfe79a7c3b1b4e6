"""How long a task ran, against a clock that counts every second: any start, end, sign of life and now (contract §7)."""

from collections import Counter
from decimal import ROUND_HALF_EVEN, Context, Decimal
from typing import Final, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterhouse.core.catalog import Platform, Workload
from meterhouse.core.moment import SECOND, micros_of_rfc3339
from meterhouse.core.quantity import text_of_price_units
from meterhouse.core.running import MINIMUM_SECONDS, end_micros_of, hours_of_running, seconds_of_running
from meterhouse.service.registrations import running_amount_units

HOUR_SECONDS: Final = 3600
EXACT: Final = Context(prec=100)


def second_by_second(since: int, until: int, *, has_ended: bool) -> dict[int, int]:
    """The seconds of each hour, counted one after another; what the minimum lacks goes to the last."""
    counted: Counter[int] = Counter()
    last = since // HOUR_SECONDS
    for second in range(since, until):
        last = second // HOUR_SECONDS
        counted[last] += 1
    if has_ended and counted.total() < MINIMUM_SECONDS:
        counted[last] += MINIMUM_SECONDS - counted.total()
    return dict(counted)


class Life(NamedTuple):
    """A task: when it began, when it showed signs of life, when it was ended, and what time it is (all in micros)."""

    since: int
    signs: list[int]
    heartbeat_seconds: int | None
    ended: int | None
    now: int


STARTS: Final = [
    micros_of_rfc3339(text)
    for text in (
        "2026-11-21T12:00:00Z",
        "2026-11-21T12:59:59.999999Z",
        "2026-11-30T23:59:30.5Z",
        "2028-02-29T23:00:00Z",
        "1969-12-31T23:59:59.75Z",
        "0001-01-01T00:00:00Z",
    )
]


@st.composite
def lives(draw: st.DrawFn) -> Life:
    """A task of at most three hours, begun near an edge."""
    since = draw(st.sampled_from(STARTS)) + draw(st.sampled_from((0, 1, 250_000, SECOND)))
    steps = st.one_of(
        st.sampled_from((0, 1, 999_999, SECOND, 59 * SECOND, 60 * SECOND, 61 * SECOND, HOUR_SECONDS * SECOND)),
        st.integers(0, 4000 * SECOND),
    )
    signs = [since]
    for step in draw(st.lists(steps, max_size=4)):
        signs.append(signs[-1] + step)
    now = signs[-1] + draw(steps)
    ended = draw(st.none() | st.just(now) | st.integers(signs[-1], now))
    return Life(since, signs, draw(st.none() | st.sampled_from((1, 30, 60, 600, 5000))), ended, now)


def workload(life: Life) -> Workload:
    """The task as the catalog has it."""
    return Workload(
        "task/1",
        Platform.ECS,
        "444455556666",
        "us-east-1",
        life.since,
        life.ended,
        life.heartbeat_seconds,
        life.signs[-1] if len(life.signs) > 1 else None,
    )


def until(life: Life) -> tuple[int, bool]:
    """Up to when the task has run, and whether it has ended: asked of every instant that could be its end."""
    if life.ended is not None:
        return life.ended, True
    silent_micros = life.now - max(life.signs)
    if life.heartbeat_seconds is not None and silent_micros >= life.heartbeat_seconds * SECOND:
        return max(life.signs), True
    return life.now, False


@settings(max_examples=300, deadline=None)
@given(lives())
def test_hours_are_those_of_a_clock_that_counts(life: Life) -> None:
    """Hour by hour, and in all."""
    end_micros = end_micros_of(workload(life), life.now)
    last, has_ended = until(life)
    assert end_micros == (last if has_ended else None)
    counted = second_by_second(life.since // SECOND, last // SECOND, has_ended=has_ended)
    hours = list(hours_of_running(life.since, end_micros, life.now))
    assert {hour: seconds for hour, seconds in hours if seconds} == counted
    assert [hour for hour, _ in hours] == list(range(hours[0].hour, hours[-1].hour + 1))
    assert seconds_of_running(life.since, end_micros, life.now) == sum(counted.values())


@settings(max_examples=200, deadline=None)
@given(lives(), st.integers(0, 4000 * SECOND))
def test_a_closed_hour_never_changes(life: Life, later: int) -> None:
    """What an hour shows once it is over and the task lived on is what it shows for ever."""
    before = hours_of_running(life.since, None, life.now)
    after = dict(hours_of_running(life.since, None, life.now + later))
    for hour, seconds in before:
        if (hour + 1) * HOUR_SECONDS * SECOND <= life.now:
            assert after[hour] == seconds
        else:
            assert after[hour] >= seconds


# since, ended, seconds by hour from the first; times of 2026-11-30
SHORT: Final = [
    ("23:10:00", "23:10:00", [60]),
    ("23:10:00", "23:10:01", [60]),
    ("23:10:00", "23:10:59.999999", [60]),
    ("23:10:00", "23:11:00", [60]),
    ("23:10:00", "23:11:01", [61]),
    ("23:10:00.9", "23:11:01.1", [61]),
    ("22:59:30", "23:00:00", [60]),
    ("22:59:30", "23:00:01", [30, 30]),
    ("22:59:30", "23:00:10", [30, 30]),
    ("22:59:30", "23:00:30", [30, 30]),
    ("22:59:30", "23:00:31", [30, 31]),
    ("22:59:59.999999", "23:00:00", [60]),
    ("20:00:00", "23:00:00", [3600, 3600, 3600]),
    ("20:00:00", "23:00:00.5", [3600, 3600, 3600]),
]


@pytest.mark.parametrize(("since", "ended", "seconds"), SHORT)
def test_the_minimum_is_made_up_in_the_last_hour(since: str, ended: str, seconds: list[int]) -> None:
    """Sixty seconds at least, and what they lack falls into the last hour that had any."""
    began, over = (micros_of_rfc3339(f"2026-11-30T{time}Z") for time in (since, ended))
    assert [one.seconds for one in hours_of_running(began, over, over)] == seconds


@pytest.mark.parametrize(("ran", "shown"), [(0, 0), (1, 1), (59, 59), (60, 60), (3599, 3599), (3600, 3600)])
def test_a_running_task_shows_what_was_measured_so_far(ran: int, shown: int) -> None:
    """The minimum is no part of it until it has ended."""
    since = STARTS[0]
    assert seconds_of_running(since, None, since + ran * SECOND) == shown
    assert sum(one.seconds for one in hours_of_running(since, None, since + ran * SECOND)) == shown


# heartbeat_seconds, launched, last seen, ended, now, the end; in seconds
ENDS: Final[list[tuple[int | None, int, int | None, int | None, int, int | None]]] = [
    (None, 0, None, None, 10**9, None),
    (None, 0, 50, None, 10**9, None),
    (None, 0, 50, 70, 10**9, 70),
    (60, 0, None, None, 59, None),
    (60, 0, None, None, 60, 0),
    (60, 0, 50, None, 109, None),
    (60, 0, 50, None, 110, 50),
    (60, 0, 50, None, 10**9, 50),
    (60, 0, 0, None, 60, 0),
    # An end by a call is the platform's word: the task lived until then, whatever was not heard of it meanwhile
    (60, 0, 50, 55, 10**9, 55),
    (60, 0, 50, 5000, 10**9, 5000),
]


@pytest.mark.parametrize(("heartbeat", "launched", "seen", "ended", "now", "expected"), ENDS)
def test_when_a_task_counts_as_ended(
    heartbeat: int | None, launched: int, seen: int | None, ended: int | None, now: int, expected: int | None
) -> None:
    """By a call, or by its silence; a microsecond before its time it still runs."""
    task = Workload(
        "task/1",
        Platform.ECS,
        "444455556666",
        "us-east-1",
        launched * SECOND,
        None if ended is None else ended * SECOND,
        heartbeat,
        None if seen is None else seen * SECOND,
    )
    assert end_micros_of(task, now * SECOND) == (None if expected is None else expected * SECOND)
    if heartbeat is not None and ended is None and expected is not None:
        lapses = (expected + heartbeat) * SECOND
        assert end_micros_of(task, lapses) == expected * SECOND
        assert end_micros_of(task, lapses - 1) is None


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 10**12), st.integers(0, 10**15))
def test_an_amount_is_exact_and_rounded_once(seconds: int, price_units: int) -> None:
    """Seconds x price / 3600 in decimals of a hundred digits, cut at the eighth: half goes to the even neighbour."""
    price = EXACT.create_decimal(text_of_price_units(price_units))
    exact = EXACT.divide(EXACT.multiply(Decimal(seconds), price), Decimal(HOUR_SECONDS))
    rounded = exact.quantize(Decimal("0.00000001"), rounding=ROUND_HALF_EVEN, context=EXACT)
    assert Decimal(text_of_price_units(running_amount_units(seconds, price_units))) == rounded


@pytest.mark.parametrize(
    ("seconds", "price_units", "amount"),
    [(1800, 1, 0), (1800, 3, 2), (1800, 5, 2), (1801, 1, 1), (900, 2, 0), (1, 1800, 0)],
)
def test_half_goes_to_the_even_neighbour(seconds: int, price_units: int, amount: int) -> None:
    """0.5 to 0, 1.5 to 2, 2.5 to 2, in hundred-millionths of a dollar."""
    assert running_amount_units(seconds, price_units) == amount
