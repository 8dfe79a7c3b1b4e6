"""When usage may be reported: the time window that both meter operations share (contract §4, §6, "Time")."""

from typing import NamedTuple

from meterhouse.core.catalog import WindowEdge
from meterhouse.core.moment import HOUR, SECOND, hour_of, month_start_of_hour, rfc3339
from meterhouse.core.profile import Profile


class Window(NamedTuple):
    """The instants whose usage may be reported now, both ends included."""

    earliest_micros: int
    latest_micros: int


def window_at(now_micros: int, window_seconds: int, profile: Profile, edge: WindowEdge) -> Window:
    """The window at an instant: exactly the timestamps in which `window_breach` finds nothing wrong."""
    too_old_micros = now_micros - window_seconds * SECOND
    earliest = too_old_micros + 1 if edge is WindowEdge.INSTANT else (hour_of(too_old_micros) + 1) * HOUR
    month_start = month_start_of_hour(hour_of(now_micros))
    if now_micros >= month_start + profile.month_grace_seconds * SECOND:
        earliest = max(earliest, month_start)
    return Window(earliest, now_micros + profile.future_seconds * SECOND)


def window_breach(
    timestamp_micros: int, now_micros: int, window_seconds: int, profile: Profile, edge: WindowEdge
) -> str | None:
    """Why a timestamp is out of bounds at this instant, as the end of a sentence; None where it is within them."""
    if timestamp_micros > now_micros + profile.future_seconds * SECOND:
        return f"{rfc3339(timestamp_micros)} lies more than {profile.future_seconds} s in the future"
    counted_from = timestamp_micros if edge is WindowEdge.INSTANT else hour_of(timestamp_micros) * HOUR
    if now_micros - counted_from >= window_seconds * SECOND:
        return f"{rfc3339(timestamp_micros)} is {window_seconds} s or more ago"
    month_start = month_start_of_hour(hour_of(now_micros))
    if timestamp_micros < month_start and now_micros >= month_start + profile.month_grace_seconds * SECOND:
        return f"{rfc3339(timestamp_micros)} belongs to a month that is closed"
    return None
