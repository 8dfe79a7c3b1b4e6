"""Promises 1, 2, 3, 4, 6, 8 and 9: what a turn keeps, and when it keeps nothing."""

import asyncio
from collections.abc import Callable

import pytest
from msgspec.structs import replace

from meterhouse.core.usage import Allotment, ClaimKey, Entry, Kept, RecordKey
from meterhouse.ledger.protocol import Decision, Document, Keys, Ledger, RecordFilter, Stale, View
from tests.contract.usage import (
    HERE,
    HOUR_NOW,
    THERE,
    entry_of,
    fresh_id,
    header_of,
    keep,
    keeping,
    key_of,
    look,
)

FIRST_HOUR, LAST_HOUR = -17_259_888, 70_389_527
"""Of the years 1 and 9999."""


async def nothing_is_kept(ledger: Ledger) -> bool:
    """Whether a ledger is as empty as at first."""
    size = await ledger.size()
    return (size.records, size.journal_rows) == (0, 0) and not await ledger.scan(HERE, after=0, limit=10)


async def test_a_turn_keeps_records_claims_and_its_row(ledger: Ledger) -> None:
    """1: what a turn decides is kept: every record, every claim, and one journal row with all of it."""
    entries = [entry_of(key_of(customer=customer)) for customer in ("1", "2", "3")]
    claim = ClaimKey("token", "abc")
    header = header_of(request_id="first")
    await keep(ledger, entries, [(claim, b"bound")], header=header)
    seen = await look(ledger, Keys([entry.key for entry in entries], [claim]))
    assert list(seen.records.values()) == [Kept(entry.quantity_micros, entry.record_id) for entry in entries]
    assert seen.claims == {claim: b"bound"}
    (row,) = await ledger.scan(HERE, after=0, limit=10)
    assert (row.partition, row.position, row.header, list(row.entries)) == (HERE, 1, header, entries)


async def test_all_of_an_entry_comes_back(ledger: Ledger) -> None:
    """6: a row gives back each entry as it was: hours, instants, quantities, ids, allocations."""
    tags = (("team", "a"), ("stage", "prod"))
    entries = [
        entry_of(key_of(HOUR_NOW, "1"), 17, into_hour=3_599_999_999, allocations=(Allotment(10, tags), Allotment(7))),
        entry_of(key_of(FIRST_HOUR, "1", license="arn:aws:x", workload="i-1", token="t"), 0),
        entry_of(key_of(LAST_HOUR, "1"), 2**63 - 1, into_hour=1),
        entry_of(key_of(-1, "é漢🎉", "d"), 9_999_999_999_999_999),
        Entry(key_of(5, "2"), 1_795_219_200_123_456, 1, fresh_id()),  # an hour that is not its instant's
    ]
    await keep(ledger, entries)
    (row,) = await ledger.scan(HERE, after=0, limit=10)
    assert list(row.entries) == entries


@pytest.mark.parametrize("quantity_micros", [0, 1, 2**31, 2**32 - 1, 2**53 + 1, 10**16 - 1, 2**63 - 1])
async def test_quantities_come_back_exact(ledger: Ledger, quantity_micros: int) -> None:
    """6: a quantity is read back as it was kept, in a view, in the journal and in a sum."""
    entry = entry_of(key_of(), quantity_micros)
    await keep(ledger, [entry])
    assert (await look(ledger, Keys([entry.key]))).records[entry.key] == Kept(quantity_micros, entry.record_id)
    assert [found.quantity_micros for found in await ledger.sums(RecordFilter())] == [quantity_micros]


@pytest.mark.parametrize("hour", [FIRST_HOUR, -1, 0, 1, HOUR_NOW, LAST_HOUR])
async def test_any_hour_is_a_key_of_its_own(ledger: Ledger, hour: int) -> None:
    """2: an hour of any of the years 1-9999 is told from its neighbours."""
    entry = entry_of(key_of(hour))
    await keep(ledger, [entry])
    seen = await look(ledger, Keys([key_of(hour - 1), key_of(hour), key_of(hour + 1)]))
    assert list(seen.records.values()) == [None, Kept(entry.quantity_micros, entry.record_id), None]


@pytest.mark.parametrize("member", ["license", "customer", "dimension", "workload", "token"])
async def test_each_member_of_a_series_makes_another_key(ledger: Ledger, member: str) -> None:
    """2: two records differ in their keys as soon as one member of their series differs."""
    key = key_of()
    other = RecordKey(key.hour, replace(key.series, **{member: "another"}))
    await keep(ledger, [entry_of(key, 1)])
    await keep(ledger, [entry_of(other, 2)])
    seen = await look(ledger, Keys([key, other]))
    assert [kept and kept.quantity_micros for kept in seen.records.values()] == [1, 2]


async def test_the_second_under_a_key_is_told_of_the_first(ledger: Ledger) -> None:
    """2: under a key that is kept nothing more is kept, and the rule sees what was there."""
    first, second = entry_of(key_of(), 1), entry_of(key_of(), 2)
    await keep(ledger, [first])
    assert await keep(ledger, [second]) == [Kept(1, first.record_id)]
    assert (await ledger.size()).records == 1


async def test_partitions_have_nothing_in_common(ledger: Ledger) -> None:
    """2, 4: the same key in another partition is another record, and each partition counts its own rows."""
    claim = ClaimKey("token", "abc")
    for partition in (HERE, THERE):
        await keep(ledger, [entry_of(key_of())], [(claim, partition.region.encode())], partition=partition)
    for partition in (HERE, THERE):
        assert [row.position for row in await ledger.scan(partition, after=0, limit=9)] == [1]
        seen = await look(ledger, Keys([], [claim]), partition=partition)
        assert seen.claims == {claim: partition.region.encode()}
    assert (await ledger.size()).records == 2


async def test_claims_without_a_row(ledger: Ledger) -> None:
    """1: a decision may make claims alone; then the journal has no row."""
    claim = ClaimKey("token", "abc")
    await ledger.turn(HERE, Keys((), [claim]), lambda _: Decision(None, (), [(claim, b"")]), revision=0)
    assert (await look(ledger, Keys((), [claim]))).claims == {claim: b""}
    assert not await ledger.scan(HERE, after=0, limit=9)


async def test_a_row_without_records(ledger: Ledger) -> None:
    """4: a request that kept a claim and no record has its row and its position."""
    await ledger.turn(HERE, Keys(), lambda _: Decision(None, (), (), header_of()), revision=0)
    (row,) = await ledger.scan(HERE, after=0, limit=9)
    assert (row.position, list(row.entries)) == (1, [])


async def test_a_turn_that_keeps_nothing_leaves_no_row(ledger: Ledger) -> None:
    """4: a replay takes no position."""
    entry = entry_of(key_of())
    for _ in range(3):
        await keep(ledger, [entry])
    await keep(ledger, [entry_of(key_of(customer="2"))])
    assert [row.position for row in await ledger.scan(HERE, after=0, limit=9)] == [1, 2]


async def test_rivals_are_seen_once_both_forms_are_used(ledger: Ledger) -> None:
    """3: a rule that names the other form of a key sees what is kept under it, also the first time both forms meet."""
    by_license, by_product = key_of(license="arn:aws:l"), key_of()
    kept = entry_of(by_license)
    await keep(ledger, [kept])
    seen = await look(ledger, Keys([by_product], rivals=[by_license]))
    assert seen.records == {by_product: None, by_license: Kept(kept.quantity_micros, kept.record_id)}
    other = entry_of(by_product)
    await keep(ledger, [other])
    seen = await look(ledger, Keys([by_license], rivals=[by_product]))
    assert seen.records[by_product] == Kept(other.quantity_micros, other.record_id)


async def test_rivals_are_seen_within_a_group(ledger: Ledger) -> None:
    """3: of two turns at once, in the two forms, the second sees the first."""
    by_license, by_product = key_of(license="arn:aws:l"), key_of()
    first = entry_of(by_license)
    _, seen = await asyncio.gather(
        keep(ledger, [first]), look(ledger, Keys([by_product], rivals=[by_license])), return_exceptions=False
    )
    assert seen.records[by_license] == Kept(first.quantity_micros, first.record_id)


class Wrong(Exception):
    """What a rule of these tests raises."""


async def test_a_rule_that_raises_leaves_nothing_and_harms_nobody(ledger: Ledger) -> None:
    """8: what a rule raises reaches its caller; nothing of the turn is kept, its neighbours are."""

    def decide(_: View) -> Decision:
        raise Wrong("on purpose")

    entries = [entry_of(key_of(customer=str(number))) for number in range(5)]
    turns = [keep(ledger, [entry]) for entry in entries]
    failing = [ledger.turn(HERE, Keys([key_of(customer="x")]), decide, revision=0) for _ in range(3)]
    answers = await asyncio.gather(*turns[:3], *failing, *turns[3:], return_exceptions=True)
    assert [type(answer) for answer in answers] == [list] * 3 + [Wrong] * 3 + [list] * 2
    assert (await ledger.size()).records == 5


FOUND_OUT: dict[str, Callable[[Entry, Entry], Decision]] = {
    "a key that is kept": lambda new, kept: Decision(None, [new, entry_of(kept.key)], (), header_of()),
    "a key twice": lambda new, _: Decision(None, [new, entry_of(new.key)], (), header_of()),
    "records without a row": lambda new, _: Decision(None, [new]),
    "a negative quantity": lambda new, _: Decision(None, [replace(new, quantity_micros=-1)], (), header_of()),
    "a quantity beyond 63 bits": lambda new, _: Decision(None, [replace(new, quantity_micros=2**63)], (), header_of()),
    "a short id": lambda new, _: Decision(None, [replace(new, record_id=b"short")], (), header_of()),
    "a claim that is made": lambda new, _: Decision(None, [new], [(ClaimKey("k", "made"), b"")], header_of()),
    "a claim twice": lambda new, _: Decision(None, [new], [(ClaimKey("k", "new"), b"")] * 2, header_of()),
}


@pytest.mark.parametrize("mistake", FOUND_OUT)
async def test_a_mistaken_rule_is_found_out(ledger: Ledger, mistake: str) -> None:
    """1, 2: a rule that would break the ledger's promises fails alone, as a bug, and leaves nothing."""
    kept, new = entry_of(key_of(customer="kept")), entry_of(key_of(customer="new"))
    await keep(ledger, [kept], [(ClaimKey("k", "made"), b"")])
    decision = FOUND_OUT[mistake](new, kept)
    keys = Keys([kept.key, new.key], [ClaimKey("k", "made"), ClaimKey("k", "new")])
    neighbour = entry_of(key_of(customer="neighbour"))
    failed, _ = await asyncio.gather(
        ledger.turn(HERE, keys, lambda _: decision, revision=0), keep(ledger, [neighbour]), return_exceptions=True
    )
    assert isinstance(failed, AssertionError)
    seen = await look(ledger, keys)
    assert seen.records == {kept.key: Kept(kept.quantity_micros, kept.record_id), new.key: None}
    assert seen.claims[ClaimKey("k", "new")] is None
    assert (await ledger.size()).records == 2
    assert [row.position for row in await ledger.scan(HERE, after=0, limit=9)] == [1, 2]


async def test_a_rule_that_keeps_what_its_neighbour_staged_is_found_out(ledger: Ledger) -> None:
    """2: a rule that does not look, and keeps under a key that an earlier turn of its group keeps, fails; so do no
    others, before it or behind it.
    """
    first, blind, last = entry_of(key_of(), 1), entry_of(key_of(), 2), entry_of(key_of(), 3)
    bystander = entry_of(key_of(customer="bystander"))
    answers = await asyncio.gather(
        keep(ledger, [first]),
        ledger.turn(
            HERE,
            Keys([blind.key, bystander.key]),
            lambda _: Decision(None, [bystander, blind], (), header_of()),
            revision=0,
        ),
        keep(ledger, [last, bystander]),
        return_exceptions=True,
    )
    assert isinstance(answers[1], AssertionError)
    assert answers[2] == [Kept(1, first.record_id), Kept(bystander.quantity_micros, bystander.record_id)]
    assert [row.position for row in await ledger.scan(HERE, after=0, limit=9)] == [1, 2]


async def test_content_that_cannot_be_kept_fails_alone(ledger: Ledger) -> None:
    """8: a turn with text that is no Unicode is kept whole or fails whole, and its neighbours are kept."""
    torn = entry_of(key_of(customer="torn \ud800"))
    entries = [entry_of(key_of(customer=str(number))) for number in range(6)]
    turns = [keep(ledger, [entry]) for entry in entries]
    answers = await asyncio.gather(*turns[:3], keep(ledger, [torn]), *turns[3:], return_exceptions=True)
    failed = answers.pop(3)
    assert [type(answer) for answer in answers] == [list] * 6
    assert (await ledger.size()).records == (6 if isinstance(failed, Exception) else 7)
    positions = [row.position for row in await ledger.scan(HERE, after=0, limit=9)]
    assert positions == list(range(1, len(positions) + 1))


@pytest.mark.parametrize("revision", [0, 2, 7])
async def test_a_turn_of_another_revision_is_stale(ledger: Ledger, revision: int) -> None:
    """9: a turn prepared with another revision than the catalog's is not judged and leaves nothing."""
    assert await ledger.change([Document("product", "a", b"1")], expected=0) == 1
    asked: list[View] = []

    def decide(view: View) -> Decision:
        asked.append(view)
        return keeping([entry_of(key_of())])(view)

    with pytest.raises(Stale):
        await ledger.turn(HERE, Keys([key_of()]), decide, revision=revision)
    assert not asked
    assert await nothing_is_kept(ledger)
    await keep(ledger, [entry_of(key_of())], revision=1)


async def test_a_stale_turn_harms_nobody(ledger: Ledger) -> None:
    """9: of a group only those turns are stale whose revision has moved."""
    await ledger.change([], expected=0)
    entries = [entry_of(key_of(customer=str(number))) for number in range(6)]
    answers = await asyncio.gather(
        *(keep(ledger, [entry], revision=number % 2) for number, entry in enumerate(entries)), return_exceptions=True
    )
    assert [type(answer) for answer in answers] == [Stale, list] * 3
    assert (await ledger.size()).records == 3
