"""When usage may be reported: the window, the month's end, the future, to the microsecond (contract §4, "Time")."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.catalog import WindowEdge
from meterhouse.core.moment import datetime_of, micros_of_rfc3339
from meterhouse.core.profile import NEWEST, PROFILES
from meterhouse.core.window import window_at, window_breach

INSTANT, HOUR = WindowEdge.INSTANT, WindowEdge.HOUR
DAY: Final = 24 * 3600

MIDDAY: Final = "2026-11-21T12:30:00Z"
CLOSED: Final = "belongs to a month that is closed"
TOO_OLD: Final = "s or more ago"
FUTURE: Final = "in the future"

# now, timestamp, edge, what is wrong with it
EDGES: Final = [
    # 24 hours, counted from the instant
    (MIDDAY, "2026-11-21T12:30:00Z", INSTANT, None),
    (MIDDAY, "2026-11-20T12:30:01Z", INSTANT, None),
    (MIDDAY, "2026-11-20T12:30:00.000001Z", INSTANT, None),
    (MIDDAY, "2026-11-20T12:30:00Z", INSTANT, TOO_OLD),
    (MIDDAY, "2026-11-20T12:29:59.999999Z", INSTANT, TOO_OLD),
    (MIDDAY, "2026-11-20T12:29:59Z", INSTANT, TOO_OLD),
    ("2026-11-21T12:30:00.000001Z", "2026-11-20T12:30:00.000001Z", INSTANT, TOO_OLD),
    (MIDDAY, "0001-01-01T00:00:00Z", INSTANT, TOO_OLD),
    # 24 hours, counted from the timestamp's hour
    (MIDDAY, "2026-11-20T13:00:00Z", HOUR, None),
    (MIDDAY, "2026-11-20T12:59:59.999999Z", HOUR, TOO_OLD),
    (MIDDAY, "2026-11-20T12:30:01Z", HOUR, TOO_OLD),
    ("2026-11-21T12:59:59.999999Z", "2026-11-20T13:00:00Z", HOUR, None),
    ("2026-11-21T13:00:00Z", "2026-11-20T13:59:59Z", HOUR, TOO_OLD),
    ("2026-11-21T13:00:00Z", "2026-11-20T14:00:00Z", HOUR, None),
    # Five minutes ahead, whatever the edge
    (MIDDAY, "2026-11-21T12:35:00Z", INSTANT, None),
    (MIDDAY, "2026-11-21T12:35:00.000001Z", INSTANT, FUTURE),
    (MIDDAY, "2026-11-21T12:35:01Z", INSTANT, FUTURE),
    (MIDDAY, "2026-11-21T12:35:00Z", HOUR, None),
    (MIDDAY, "2026-11-21T12:35:00.000001Z", HOUR, FUTURE),
    (MIDDAY, "9999-12-31T23:59:59.999999Z", INSTANT, FUTURE),
    # The month's end: until 06:00:00 on the 1st, never longer than 24 hours
    ("2026-12-01T05:59:59.999999Z", "2026-11-30T23:59:59Z", INSTANT, None),
    ("2026-12-01T06:00:00Z", "2026-11-30T23:59:59.999999Z", INSTANT, CLOSED),
    ("2026-12-01T06:00:00Z", "2026-12-01T00:00:00Z", INSTANT, None),
    ("2026-12-01T06:00:01Z", "2026-11-30T23:00:00Z", INSTANT, CLOSED),
    ("2026-12-01T23:59:59Z", "2026-11-30T23:59:59.999999Z", INSTANT, CLOSED),
    ("2026-12-01T23:59:59Z", "2026-12-01T00:00:00Z", INSTANT, None),
    ("2026-12-01T05:00:00Z", "2026-11-30T05:00:00.000001Z", INSTANT, None),
    ("2026-12-01T05:00:00Z", "2026-11-30T05:00:00Z", INSTANT, TOO_OLD),
    ("2026-12-01T06:00:00Z", "2026-11-30T23:59:59.999999Z", HOUR, CLOSED),
    ("2026-11-30T23:57:00Z", "2026-12-01T00:02:00Z", INSTANT, None),
    # The year's end and the leap day
    ("2027-01-01T05:59:59Z", "2026-12-31T12:00:00Z", INSTANT, None),
    ("2027-01-01T06:00:00Z", "2026-12-31T12:00:00Z", INSTANT, CLOSED),
    ("2028-02-29T12:00:00Z", "2028-02-28T12:00:01Z", INSTANT, None),
    ("2028-03-01T05:59:59Z", "2028-02-29T12:00:00Z", INSTANT, None),
    ("2028-03-01T06:00:00Z", "2028-02-29T12:00:00Z", INSTANT, CLOSED),
    ("2026-03-01T05:59:59Z", "2026-02-28T12:00:00Z", INSTANT, None),
    ("2026-03-01T06:00:00Z", "2026-02-28T12:00:00Z", INSTANT, CLOSED),
]


@pytest.mark.parametrize(("now", "timestamp", "edge", "breach"), EDGES)
def test_the_edges_of_the_window(now: str, timestamp: str, edge: WindowEdge, breach: str | None) -> None:
    """A timestamp is taken or refused on the microsecond, and the reason says why; the window's ends say the same."""
    found = window_breach(micros_of_rfc3339(timestamp), micros_of_rfc3339(now), DAY, NEWEST, edge)
    earliest, latest = window_at(micros_of_rfc3339(now), DAY, NEWEST, edge)
    assert (earliest <= micros_of_rfc3339(timestamp) <= latest) == (breach is None)
    assert (found is None) == (breach is None)
    assert breach is None or breach in (found or "")


@pytest.mark.parametrize(
    ("profile", "batch_hours", "meter_hours"),
    [("2026-11", 24, 6), ("2026-06", 6, 6), ("2020-11", 1, 1), ("2018-06", 1, 1)],
)
def test_each_profile_has_its_windows(profile: str, batch_hours: int, meter_hours: int) -> None:
    """The windows are those of the dated rules."""
    row = PROFILES[profile]
    assert (row.batch_window_seconds, row.meter_window_seconds) == (batch_hours * 3600, meter_hours * 3600)
    now = micros_of_rfc3339(MIDDAY)
    oldest = now - row.batch_window_seconds * 1_000_000
    assert window_breach(oldest, now, row.batch_window_seconds, row, INSTANT) is not None
    assert window_breach(oldest + 1, now, row.batch_window_seconds, row, INSTANT) is None


instants: Final = st.integers(micros_of_rfc3339("2020-01-01T00:00:00Z"), micros_of_rfc3339("2029-12-31T00:00:00Z"))


@given(instants, st.integers(-26 * 3600 * 10**6, 400 * 10**6), st.sampled_from(WindowEdge), st.sampled_from((1, 6, 24)))
def test_the_window_is_what_a_calendar_says(now: int, away: int, edge: WindowEdge, hours: int) -> None:
    """The rule in integers equals the rule as sentences over datetimes."""
    then_time, now_time = datetime_of(now + away), datetime_of(now)
    counted_from = then_time if edge is INSTANT else then_time.replace(minute=0, second=0, microsecond=0)
    first = now_time.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    fine = (
        (then_time - now_time).total_seconds() <= 300
        and (now_time - counted_from).total_seconds() < hours * 3600
        and not (then_time < first and now_time >= first.replace(hour=6))
    )
    assert (window_breach(now + away, now, hours * 3600, NEWEST, edge) is None) == fine
    earliest, latest = window_at(now, hours * 3600, NEWEST, edge)
    assert (earliest <= now + away <= latest) == fine
