"""The window as an interval: the same instants that the judgment of one timestamp takes."""

import pytest
from hypothesis import given
from hypothesis import strategies as some

from meterhouse.core.catalog import WindowEdge
from meterhouse.core.moment import HOUR, SECOND, micros_of_rfc3339
from meterhouse.core.profile import PROFILES, Profile
from meterhouse.core.window import window_at, window_breach

NOW = micros_of_rfc3339("2026-11-01T05:30:00Z")


@pytest.mark.parametrize("edge", WindowEdge)
@given(
    now_micros=some.integers(NOW - 40 * HOUR, NOW + 40 * HOUR),
    age_micros=some.integers(-10 * 60 * SECOND, 30 * HOUR),
    profile=some.sampled_from(list(PROFILES.values())),
)
def test_the_interval_holds_what_has_no_breach(
    now_micros: int, age_micros: int, profile: Profile, edge: WindowEdge
) -> None:
    """An instant lies in the interval exactly when nothing is wrong with it."""
    seconds = profile.batch_window_seconds
    window = window_at(now_micros, seconds, profile, edge)
    timestamp_micros = now_micros - age_micros
    breach = window_breach(timestamp_micros, now_micros, seconds, profile, edge)
    assert (window.earliest_micros <= timestamp_micros <= window.latest_micros) == (breach is None)


@pytest.mark.parametrize("edge", WindowEdge)
@given(now_micros=some.integers(NOW - 40 * HOUR, NOW + 40 * HOUR), profile=some.sampled_from(list(PROFILES.values())))
def test_the_interval_ends_where_it_says(now_micros: int, profile: Profile, edge: WindowEdge) -> None:
    """Both ends are taken, and a microsecond beyond either is not."""
    seconds = profile.batch_window_seconds
    earliest, latest = window_at(now_micros, seconds, profile, edge)
    taken = [
        window_breach(instant, now_micros, seconds, profile, edge) is None
        for instant in (earliest - 1, earliest, latest, latest + 1)
    ]
    assert taken == [False, True, True, False]
