"""Documents: all or nothing, one revision, one winner."""

import asyncio

import pytest

from meterhouse.ledger.protocol import Document, Keys, Ledger, Stale
from tests.contract.usage import keep, look


async def test_a_change_is_kept_under_a_new_revision(ledger: Ledger) -> None:
    """What was changed is loaded, deletions are no longer, and the changes behind a revision are told with them."""
    assert await ledger.load() == (0, [])
    assert await ledger.change([Document("p", "a", b"1"), Document("p", "b", b"2")], expected=0) == 1
    assert await ledger.change([Document("p", "a", None), Document("q", "a", b"")], expected=1) == 2
    revision, documents = await ledger.load()
    assert (revision, set(documents)) == (2, {Document("p", "b", b"2"), Document("q", "a", b"")})
    revision, documents = await ledger.changes(1)
    assert (revision, set(documents)) == (2, {Document("p", "a", None), Document("q", "a", b"")})
    assert await ledger.changes(2) == (2, [])


async def test_a_stale_change_keeps_nothing(ledger: Ledger) -> None:
    """A change that expects another revision is refused whole."""
    await ledger.change([Document("p", "a", b"1")], expected=0)
    for expected in (0, 2):
        with pytest.raises(Stale):
            await ledger.change([Document("p", "a", b"2"), Document("p", "b", b"2")], expected=expected)
    assert await ledger.load() == (1, [Document("p", "a", b"1")])


async def test_a_document_named_twice_is_what_it_was_last(ledger: Ledger) -> None:
    """Of two states of one document in a change the last counts."""
    await ledger.change([Document("p", "a", b"1"), Document("p", "a", b"2")], expected=0)
    assert await ledger.load() == (1, [Document("p", "a", b"2")])
    assert await ledger.changes(0) == (1, [Document("p", "a", b"2")])


async def test_one_of_many_changes_wins_each_revision(ledger: Ledger) -> None:
    """Of changes at once that expect the same revision one is kept, the others are stale and keep nothing."""

    async def change(number: int) -> int:
        for attempt in range(100):
            revision, _ = await ledger.load()
            try:
                return await ledger.change([Document("p", f"{number}", b"%d" % attempt)], expected=revision)
            except Stale:
                await asyncio.sleep(0)
        raise AssertionError("never its turn")

    revisions = await asyncio.gather(*(change(number) for number in range(12)))
    assert sorted(revisions) == list(range(1, 13))
    revision, documents = await ledger.load()
    assert revision == 12
    assert sorted(document.key for document in documents) == sorted(str(number) for number in range(12))


async def test_a_turn_after_a_change_is_judged_by_it(ledger: Ledger) -> None:
    """A turn that begins after a change was acknowledged knows the new revision."""
    await keep(ledger, [])
    for revision in range(1, 6):
        await ledger.change([], expected=revision - 1)
        with pytest.raises(Stale):
            await look(ledger, Keys(), revision=revision - 1)
        await look(ledger, Keys(), revision=revision)


async def test_many_documents(ledger: Ledger) -> None:
    """A change may have thousands of documents; they are kept together."""
    documents = {Document("workload", str(number), b"x" * 200) for number in range(3000)}
    await ledger.change(list(documents), expected=0)
    revision, loaded = await ledger.load()
    assert (revision, set(loaded)) == (1, documents)
