"""Which row of a file is which row of the past: made-up ids stay, whatever comes, goes or moves."""

from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.moment import micros_of_rfc3339
from meterhouse.service.agreements import new_agreement
from meterhouse.service.listing import edited_account
from meterhouse.service.places import Source
from meterhouse.service.rows import AccountPatch, AgreementRow
from tests.unit.marketplace import (
    AGREEMENT,
    BUYER,
    PRODUCT,
    Place,
)

SUSPENDED = f'[[accounts]]\nid = "{BUYER}"\nsuspended = true\n'
NAMED = AGREEMENT + 'id = "agmt-1"\n'


def ids_by_end(place: Place) -> dict[int | None, str]:
    """The agreements' made-up ids, by their ends, which tell them apart here."""
    return {agreement.end_micros: agreement.id for agreement in place.catalog.agreements.values()}


def ending(year: int) -> str:
    """An agreement without an id, told from others by its end."""
    return AGREEMENT + f"end = {year}-01-01T00:00:00Z\n"


@given(st.permutations(range(2030, 2035)))
def test_the_order_of_tables_means_nothing(years: list[int]) -> None:
    """Rows without ids of one and the same group, in any order, are the agreements they were."""
    place = Place()
    place.load(PRODUCT + "".join(ending(year) for year in range(2030, 2035)))
    before = ids_by_end(place)
    assert place.load("".join(ending(year) for year in years) + PRODUCT).changed == {}
    assert ids_by_end(place) == before
    assert len(before) == 5


def test_a_changed_row_takes_the_place_that_is_left() -> None:
    """The rows that did not change find theirs first."""
    place = Place()
    place.load(PRODUCT + ending(2030) + ending(2031) + ending(2032))
    before = ids_by_end(place)
    place.load(PRODUCT + ending(2032) + ending(2039) + ending(2030))
    after = ids_by_end(place)
    assert len(after) == 3
    assert sorted(after.values()) == sorted(before.values())
    changed = micros_of_rfc3339("2031-01-01T00:00:00Z"), micros_of_rfc3339("2039-01-01T00:00:00Z")
    assert before[changed[0]] == after[changed[1]]


def test_a_new_row_takes_a_new_place() -> None:
    """One more of the same group is one more agreement."""
    place = Place()
    place.load(PRODUCT + ending(2030))
    before = set(place.catalog.agreements)
    place.load(PRODUCT + ending(2031) + ending(2030))
    assert before < set(place.catalog.agreements)
    assert len(place.catalog.agreements) == 2


def test_an_id_written_later_is_the_made_up_one() -> None:
    """Whoever copies the made-up id into the file changes nothing, and its old place is not given to another row."""
    place = Place()
    place.load(PRODUCT + ending(2030) + ending(2031))
    first, second = place.catalog.agreements.values()
    named = ending(2030) + f'id = "{first.id}"\n'
    assert place.load(PRODUCT + named + ending(2031)).changed == {}
    place.load(PRODUCT + named + ending(2031) + ending(2032))
    assert len(place.catalog.agreements) == 3
    assert place.catalog.agreements[first.id] == first
    assert place.catalog.agreements[second.id] == second


def test_identical_rows_are_several_agreements() -> None:
    """Two of the same are two."""
    place = Place()
    place.load(PRODUCT + AGREEMENT * 2)
    assert len(place.catalog.agreements) == 2
    assert place.load(PRODUCT + AGREEMENT * 2).changed == {}
    assert len({agreement.customer_identifier for agreement in place.catalog.agreements.values()}) == 1


@given(st.lists(st.lists(st.sampled_from(range(2030, 2036)), max_size=5), max_size=5))
def test_any_history_of_a_group_keeps_its_rows_apart(history: list[list[int]]) -> None:
    """Whatever rows come and go, each load leaves one agreement a row of the file, and two rows are never one."""
    place = Place()
    for years in history:
        place.load(PRODUCT + "".join(ending(year) for year in years))
        ends = [agreement.end_micros for agreement in place.catalog.agreements.values()]
        for year in years:
            assert ends.count(micros_of_rfc3339(f"{year}-01-01T00:00:00Z")) >= years.count(year)


@given(st.lists(st.tuples(st.sampled_from(Source), st.integers(0, 5)), max_size=6))
def test_any_history_of_two_sources_makes_no_more_than_the_longest(history: list[tuple[Source, int]]) -> None:
    """Places are shared: however often and by whom a group is loaded, it has as many agreements as it had rows."""
    place = Place()
    for source, count in history:
        place.load(PRODUCT + AGREEMENT * count, source)
    assert len(place.catalog.agreements) == max((count for _, count in history), default=0)


def test_each_source_is_compared_with_its_own_past() -> None:
    """A call that loads for the first time applies its rows, whatever the file's past; and then no more."""
    place = Place()
    place.load(PRODUCT + SUSPENDED)
    place.keep(edited_account(BUYER, AccountPatch(suspended=False), place.catalog))
    assert place.load(PRODUCT + SUSPENDED, Source.CALL).changed == {"accounts": 1}
    place.keep(edited_account(BUYER, AccountPatch(suspended=False), place.catalog))
    for source in Source:
        assert place.load(PRODUCT + SUSPENDED, source).changed == {}
    assert not place.catalog.suspended(BUYER)


def test_a_file_loaded_by_both_ways_makes_one_agreement() -> None:
    """A row without an id is at the same place for both sources."""
    place = Place()
    place.load(PRODUCT + AGREEMENT * 2)
    agreements = dict(place.catalog.agreements)
    assert place.load(PRODUCT + AGREEMENT * 2, Source.CALL).changed == {}
    assert place.catalog.agreements == agreements
    place.load(PRODUCT + AGREEMENT * 3, Source.CALL)
    assert place.load(PRODUCT + AGREEMENT * 3).changed == {}
    assert len(place.catalog.agreements) == 3


def test_a_row_may_name_what_a_call_made() -> None:
    """It then describes it anew."""
    place = Place()
    place.load(PRODUCT)
    row = AgreementRow(id="agmt-1", product="pipeline", buyer=BUYER)
    made = place.keep(new_agreement(row, place.catalog, place.sources))
    place.load(PRODUCT + NAMED + "end = 2030-01-01T00:00:00Z\n")
    after = place.catalog.agreements["agmt-1"]
    assert after.license_arn == made.license_arn
    assert after.end_micros == micros_of_rfc3339("2030-01-01T00:00:00Z")
