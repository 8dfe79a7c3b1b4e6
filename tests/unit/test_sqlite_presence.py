"""What memory tells of the records in a SQLite ledger: never that one is missing which is there."""

import apsw
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.ledger import sqlite_presence
from meterhouse.ledger.sqlite_presence import HOURS_KEPT, Presence
from meterhouse.ledger.sqlite_schema import SERIES_BITS

LIMIT = 6
"""How many series are told of here."""


def ledger(*records: tuple[int, int]) -> apsw.Connection:
    """A database with these records, as (hour, number of series)."""
    db = apsw.Connection("")
    db.execute("CREATE TABLE usage_records (key INTEGER PRIMARY KEY)")
    db.executemany(
        "INSERT INTO usage_records VALUES (?)", [((hour << SERIES_BITS) | number,) for hour, number in records]
    )
    return db


records_of_a_request = st.lists(st.tuples(st.integers(-2, 12), st.integers(1, LIMIT + 3)), min_size=1, max_size=4)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(1, LIMIT)), unique=True), st.lists(records_of_a_request))
def test_what_is_there_is_never_called_absent(
    before: list[tuple[int, int]], requests: list[list[tuple[int, int]]]
) -> None:
    """Whatever was there at the opening and came since, only what is not there is absent; and of the hours that memory
    has, all that is not there is.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_presence, "SERIES_TOLD", LIMIT)
        presence = Presence()
        presence.read(ledger(*before))
        there = set(before)
        for request in requests:
            hours, numbers = zip(*request, strict=True)
            absent = presence.absent(hours, numbers)
            assert not (absent and there.intersection(request))
            told = all(hour > max((one for one, _ in there), default=-9) and number < LIMIT for hour, number in request)
            assert absent or not told, "an hour behind all others has nothing in it"
            presence.add(hours, numbers)
            there.update(request)


def test_an_hour_that_began_since_is_told_of() -> None:
    """Of an hour that was empty at the opening, what came and what did not is known; of one that was not, nothing."""
    presence = Presence()
    presence.read(ledger((4, 1)))
    presence.add([5, 5], [1, 3])
    assert [presence.absent([5], [number]) for number in (1, 2, 3, 700)] == [False, True, False, True]
    assert presence.absent([5, 5], [2, 4])
    assert not presence.absent([5, 5], [2, 3])
    assert not presence.absent([4], [9])
    assert presence.absent([6, 5], [1, 2])
    assert not presence.absent([6, 5], [2, 1])


def test_the_hours_in_memory_are_few() -> None:
    """An hour that was let go of is not told of any more, nor are those before it; the later ones are."""
    presence = Presence()
    presence.read(ledger())
    for hour in range(HOURS_KEPT + 2):
        presence.add([hour], [1])
    assert [presence.absent([hour], [2]) for hour in (-1, 0, 1, 2, HOURS_KEPT + 1)] == [False, False, False, True, True]


@pytest.mark.parametrize("first", range(1, LIMIT))
def test_of_series_beyond_the_bound_nothing_is_told(first: int) -> None:
    """However far what memory has of an hour has grown, a series beyond the bound may always have a record there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sqlite_presence, "SERIES_TOLD", LIMIT)
        presence = Presence()
        presence.read(ledger())
        for number in range(first, LIMIT + 8):
            presence.add([1], [number])
            assert not presence.absent([1], [number])
        assert [presence.absent([1], [number]) for number in range(1, first)] == [True] * (first - 1)
        assert not any(presence.absent([1], [number]) for number in range(LIMIT, 4 * LIMIT))


def test_nothing_is_told_until_the_file_was_read_again() -> None:
    """What was learnt in a transaction that failed is forgotten, and then nothing is absent before the next reading."""
    presence = Presence()
    presence.read(ledger())
    presence.add([1], [1])
    presence.forget()
    assert not presence.absent([1], [2])
    presence.read(ledger((0, 1)))
    assert presence.absent([1], [1])
    assert not presence.absent([0], [2])
