"""Instants are whole microseconds since the epoch, UTC; held against `datetime`."""

from datetime import UTC, datetime, timedelta, timezone
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from meterhouse.core.moment import (
    HOUR,
    datetime_of,
    hour_of,
    micros_of_datetime,
    micros_of_rfc3339,
    month_of_hour,
    month_start_of_hour,
    rfc3339,
)
from meterhouse.core.usage import micros_of, timestamp_of

offsets: Final = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments: Final = st.builds(datetime_of, st.integers(-62_000_000_000_000_000, 253_000_000_000_000_000)).flatmap(
    lambda moment: offsets.map(moment.astimezone)
)


@given(moments)
def test_an_instant_has_one_number_whatever_its_zone(moment: datetime) -> None:
    """There and back again, to the microsecond."""
    micros = micros_of_datetime(moment)
    assert datetime_of(micros) == moment
    assert micros_of_datetime(moment.astimezone(UTC)) == micros


@given(moments, moments)
def test_instants_keep_their_order(one: datetime, other: datetime) -> None:
    """Later is greater."""
    assert (one < other) == (micros_of_datetime(one) < micros_of_datetime(other))


@given(moments)
def test_rfc_3339_is_written_in_utc_and_read_back(moment: datetime) -> None:
    """Text and number are one instant; decimals are written only where there are any."""
    micros = micros_of_datetime(moment)
    text = rfc3339(micros)
    assert text.endswith("Z")
    assert ("." in text) == (micros % 1_000_000 != 0)
    assert micros_of_rfc3339(text) == micros
    assert micros_of_rfc3339(moment.isoformat()) == micros


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (1, "1970-01-01T00:00:00.000001Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (1_795_219_200_500_000, "2026-11-21T00:00:00.500000Z"),
        (-62_135_596_800_000_000, "0001-01-01T00:00:00Z"),
        (253_402_300_799_999_999, "9999-12-31T23:59:59.999999Z"),
    ],
)
def test_an_instant_as_people_write_it(micros: int, text: str) -> None:
    """From the first microsecond of the year 1 to the last of the year 9999."""
    assert rfc3339(micros) == text
    assert micros_of_rfc3339(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-11-21",
        "2026-11-21T00:00:00",
        "2026-02-29T00:00:00Z",
        "2026-11-21T25:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
    ],
)
def test_what_names_no_instant_of_the_years_1_to_9999_is_refused(text: str) -> None:
    """A text without an offset could be any of 24 hours; one beyond the calendar could not be written again."""
    with pytest.raises(ValueError):
        micros_of_rfc3339(text)


def test_a_naive_time_is_refused() -> None:
    """A time without a zone is no instant."""
    with pytest.raises(ValueError, match="time zone"):
        micros_of_datetime(datetime_of(0).replace(tzinfo=None))


@given(moments)
def test_an_hour_is_rounded_down_and_its_month_is_utcs(moment: datetime) -> None:
    """Also before the epoch, where rounding down is away from zero."""
    utc = moment.astimezone(UTC)
    hour = hour_of(micros_of_datetime(moment))
    assert datetime_of(hour * HOUR) == utc.replace(minute=0, second=0, microsecond=0)
    first = utc.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    assert datetime_of(month_start_of_hour(hour)) == first
    assert month_of_hour(hour) == f"{utc.year:04}-{utc.month:02}"


@given(st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999))
def test_an_instant_is_carried_exactly_in_a_timestamp(micros: int) -> None:
    """Whole seconds as an int, others as seconds with six decimals, and back."""
    timestamp = timestamp_of(micros)
    assert isinstance(timestamp, int) == (micros % 1_000_000 == 0)
    assert micros_of(timestamp) == micros


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        (b"0.5", 500_000),
        (b"-0.5", -500_000),
        (b"-0.000001", -1),
        (b"-1.5", -1_500_000),
        (b"1795219200.456", 1_795_219_200_456_000),
        (b"253402300799.999999", 253_402_300_799_999_999),
    ],
)
def test_a_timestamp_with_decimals_is_read_exactly(text: bytes, micros: int) -> None:
    """The sign belongs to the whole number, also where the seconds are 0."""
    assert micros_of(Raw(text)) == micros
