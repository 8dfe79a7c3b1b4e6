"""Instants as integers of microseconds since the epoch, UTC: exact, cheap to compare, no time zone to forget."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Final

SECOND: Final = 1_000_000
HOUR: Final = 3600 * SECOND

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def micros_of_datetime(moment: datetime) -> int:
    """Microseconds since the epoch of an aware datetime; ValueError for a naive one."""
    if moment.tzinfo is None:
        raise ValueError("a time without a time zone could be any of 24 hours")
    return (moment - _EPOCH) // _MICROSECOND


_FIRST_MICROS: Final = micros_of_datetime(datetime.min.replace(tzinfo=UTC))
_LAST_MICROS: Final = micros_of_datetime(datetime.max.replace(tzinfo=UTC))


def datetime_of(micros: int) -> datetime:
    """The UTC datetime of an instant within the years 1-9999 (OverflowError beyond them)."""
    return _EPOCH + timedelta(microseconds=micros)


def rfc3339(micros: int) -> str:
    """`2026-11-30T23:59:59Z`, with microseconds only where there are any."""
    return datetime_of(micros).isoformat().replace("+00:00", "Z")


def micros_of_rfc3339(text: str) -> int:
    """The instant that an RFC 3339 text with an offset (or `Z`) names, cut to microseconds.

    ValueError otherwise, and beyond the years 1-9999 of UTC.
    """
    micros = micros_of_datetime(datetime.fromisoformat(text))
    if not _FIRST_MICROS <= micros <= _LAST_MICROS:
        raise ValueError(f"{text} lies, in UTC, beyond the years 1-9999")
    return micros


def hour_of(micros: int) -> int:
    """The hour an instant lies in, counted from the epoch (contract §4: UTC, rounded down)."""
    return micros // HOUR


@lru_cache(maxsize=4096)
def month_start_of_hour(hour: int) -> int:
    """The first instant of the UTC month that an hour lies in."""
    moment = datetime_of(hour * HOUR)
    return micros_of_datetime(moment.replace(day=1, hour=0))


def month_of_hour(hour: int) -> str:
    """The UTC month of an hour, as `2026-11`."""
    return datetime_of(hour * HOUR).isoformat()[:7]
