"""The bytes of a journal row."""

from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.moment import HOUR
from meterhouse.core.usage import Allotment, Entry, RecordKey, Series
from meterhouse.ledger.packing import entries_of, pack, strip, unpack
from meterhouse.ledger.protocol import Header

HEADER = Header("7d6c1c0e-1f0b-4f7e-9a55-0a4f6a1b2c3d", "BatchMeterUsage", "arn:é", "1", -5, 2**53, "2026-11")
SERIES = {1: Series("", "1", "d"), 2**35 - 1: Series("arn:l", "2", "漢", "i-1", "t")}
INSTANTS = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999)
ALLOCATIONS = st.lists(
    st.builds(Allotment, st.integers(0, 2**63 - 1), st.lists(st.tuples(st.text(), st.text())).map(tuple)), max_size=3
).map(tuple)


@st.composite
def records(draw: st.DrawFn) -> tuple[int, Entry]:
    """A record and the number of its series; its hour is mostly that of its instant."""
    number = draw(st.sampled_from(list(SERIES)))
    instant = draw(INSTANTS)
    hour = draw(st.sampled_from([instant // HOUR, instant // HOUR, 7]))
    key = RecordKey(hour, SERIES[number])
    quantity = draw(st.integers(0, 2**63 - 1))
    return number, Entry(key, instant, quantity, draw(st.binary(min_size=16, max_size=16)), draw(ALLOCATIONS))


@given(st.lists(records(), max_size=6))
def test_what_is_packed_comes_back(numbered: list[tuple[int, Entry]]) -> None:
    """A row's head and records are read back as they were, none, one or many."""
    body = unpack(pack(HEADER, [entry for _, entry in numbered], [number for number, _ in numbered]))
    assert body.header == HEADER
    assert entries_of(body, SERIES) == [entry for _, entry in numbered]


@given(st.lists(records(), max_size=6), st.integers(0, 500_000))
def test_what_is_older_is_taken_out(numbered: list[tuple[int, Entry]], hour: int) -> None:
    """A stripped row is the row as if its older records had never been; and it says which these were."""
    body = unpack(pack(HEADER, [entry for _, entry in numbered], [number for number, _ in numbered]))
    stripped, removed = strip(body, hour)
    assert unpack(stripped).header == HEADER
    assert entries_of(unpack(stripped), SERIES) == [entry for _, entry in numbered if entry.key.hour >= hour]
    assert removed == [(entry.key.hour, number) for number, entry in numbered if entry.key.hour < hour]


def test_a_usual_row_is_small() -> None:
    """25 plain records of one hour take less than 40 bytes each, the row's head included."""
    entries = [
        Entry(RecordKey(498_000, SERIES[1]), 498_000 * HOUR + 7_000_000 * place, 1_000_000 * (place + 1), bytes(16))
        for place in range(25)
    ]
    assert len(pack(HEADER, entries, [100_000 + place for place in range(25)])) < 40 * 25
