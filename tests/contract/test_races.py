"""Promises 2, 3, 4, 7 and 8 under concurrency: races, readers that follow, cancellation, and bounded waiting."""

import asyncio
import random
from collections import defaultdict
from pathlib import Path

import pytest

from meterhouse.core.usage import Entry, Kept, Partition, RecordKey
from meterhouse.ledger.protocol import Busy, JournalEntry, Keys, Ledger, RecordFilter
from tests.contract.engines import Bounds, Engine
from tests.contract.usage import HERE, HOUR_NOW, entry_of, keep, keeping, key_of, look

PARTITIONS = [Partition(region, product) for region in ("us-east-1", "eu-west-1") for product in ("a", "b")]
SEEDS = [1, 2, 3]


async def pause(chance: random.Random, most: int) -> None:
    """Lets others go first, some number of times."""
    for _ in range(chance.randrange(most)):
        await asyncio.sleep(0)


async def follow(ledger: Ledger, partition: Partition, ended: asyncio.Event) -> list[JournalEntry]:
    """Reads a partition's rows as they come, by the position of the last one seen, until the writers have ended."""
    rows: list[JournalEntry] = []
    while True:
        last_look = ended.is_set()
        found = await ledger.scan(partition, after=rows[-1].position if rows else 0, limit=7)
        rows.extend(found)
        if last_look and not found:
            return rows
        await asyncio.sleep(0)


@pytest.mark.parametrize("seed", SEEDS)
async def test_one_winner_per_key_and_followers_miss_nothing(ledger: Ledger, seed: int) -> None:
    """2, 3, 4: of many turns at once under the same keys one wins each, every loser is told the winner's id, and who
    follows the journal sees every row once, in order, without a gap.
    """
    chance = random.Random(seed)
    keys = [key_of(HOUR_NOW + hour, customer) for hour in range(3) for customer in "abcdef"]
    claimed: list[tuple[Partition, Entry, Kept]] = []

    async def write() -> None:
        for _ in range(6):
            await pause(chance, 4)
            partition = chance.choice(PARTITIONS)
            entries = [entry_of(key, chance.randrange(3)) for key in chance.choices(keys, k=chance.randrange(1, 6))]
            answers = await keep(ledger, entries, partition=partition)
            claimed.extend((partition, entry, kept) for entry, kept in zip(entries, answers, strict=True))

    ended = asyncio.Event()
    followers = [asyncio.create_task(follow(ledger, partition, ended)) for partition in PARTITIONS]
    await asyncio.gather(*(write() for _ in range(40)))
    ended.set()
    journals = await asyncio.gather(*followers)

    winners: dict[tuple[Partition, RecordKey], Kept] = {}
    for partition, rows in zip(PARTITIONS, journals, strict=True):
        assert [row.position for row in rows] == list(range(1, len(rows) + 1))
        for row in rows:
            for entry in row.entries:
                assert (partition, entry.key) not in winners
                winners[partition, entry.key] = Kept(entry.quantity_micros, entry.record_id)
    assert all(winners[partition, entry.key] == kept for partition, entry, kept in claimed)
    assert {entry.record_id for _, entry, kept in claimed if entry.record_id == kept.record_id} == {
        kept.record_id for kept in winners.values()
    }
    assert (await ledger.size()).records == len(winners)


async def test_a_later_read_sees_it(ledger: Ledger) -> None:
    """3: as soon as a turn is answered, every read and every turn sees what it kept."""

    async def write(customer: str) -> None:
        for hour in range(5):
            entry = entry_of(key_of(hour, customer))
            await keep(ledger, [entry])
            seen, rows = await asyncio.gather(look(ledger, Keys([entry.key])), ledger.scan(HERE, after=0, limit=1000))
            assert seen.records[entry.key] == Kept(entry.quantity_micros, entry.record_id)
            assert entry in [found for row in rows for found in row.entries]

    await asyncio.gather(*(write(customer) for customer in "abcdefgh"))


@pytest.mark.parametrize("seed", SEEDS)
async def test_cancelled_turns_are_whole_or_nothing(ledger: Ledger, seed: int) -> None:
    """8: turns cancelled at any moment are kept whole or not at all; the others are kept, and positions have no gap."""
    chance = random.Random(seed)
    sent = [[entry_of(key_of(HOUR_NOW, f"{number}-{place}")) for place in range(4)] for number in range(120)]

    async def meddle(task: asyncio.Task[list[Kept]]) -> None:
        await pause(chance, 30)
        task.cancel()

    tasks = [asyncio.create_task(keep(ledger, entries)) for entries in sent]
    meddlers = [asyncio.create_task(meddle(task)) for task in tasks if chance.random() < 0.5]
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.gather(*meddlers)
    await keep(ledger, [entry_of(key_of(customer="last"))])  # whatever was under way when it was cancelled is done now

    rows = await ledger.scan(HERE, after=0, limit=1000)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    kept: dict[RecordKey, int] = {entry.key: row.position for row in rows for entry in row.entries}
    for entries, answer in zip(sent, answers, strict=True):
        places = {kept.get(entry.key) for entry in entries}
        assert len(places) == 1
        assert places != {None} or isinstance(answer, asyncio.CancelledError)
    seen = await look(ledger, Keys([entry.key for entries in sent for entry in entries]))
    assert {key for key, found in seen.records.items() if found} == kept.keys() - {key_of(customer="last")}


async def test_cancelled_before_it_begins_is_never_judged(engine: Engine, tmp_path: Path) -> None:
    """8: a turn cancelled while it waits for its group is not judged."""
    ledger = await engine.open(tmp_path, Bounds())
    asked: list[bool] = []

    async def turn() -> None:
        def decide(view: object) -> object:
            asked.append(True)
            raise AssertionError(view)

        await ledger.turn(HERE, Keys(), decide, revision=0)  # type: ignore[arg-type] # it never gets so far

    task = asyncio.create_task(turn())
    await asyncio.sleep(0)  # now it waits; the group is formed in the next round of the loop
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await ledger.close()
    assert task.cancelled()
    assert not asked


async def test_waiting_is_bounded_in_number(engine: Engine, tmp_path: Path) -> None:
    """7: of more turns than may wait the last are refused as busy, at once and leaving nothing; a retry is safe."""
    ledger = await engine.open(tmp_path, Bounds(queue_turns=10))
    entries = [entry_of(key_of(customer=str(number))) for number in range(25)]
    answers = await asyncio.gather(*(keep(ledger, [entry]) for entry in entries), return_exceptions=True)
    refused = [entry for entry, answer in zip(entries, answers, strict=True) if isinstance(answer, Busy)]
    assert len(refused) == 15
    assert not any((await look(ledger, Keys([entry.key for entry in refused]))).records.values())
    for entry in refused:
        assert await keep(ledger, [entry]) == [Kept(entry.quantity_micros, entry.record_id)]
    assert (await ledger.size()).records == 25
    await ledger.close()


async def test_waiting_is_bounded_in_time(engine: Engine, tmp_path: Path) -> None:
    """7: with no patience at all each turn is kept or refused as busy, and what was refused left nothing."""
    ledger = await engine.open(tmp_path, Bounds(group_turns=1, wait_seconds=0.0))
    entries = [entry_of(key_of(customer=str(number))) for number in range(50)]
    answers = await asyncio.gather(*(keep(ledger, [entry]) for entry in entries), return_exceptions=True)
    assert {type(answer) for answer in answers} <= {list, Busy}
    seen = await look(ledger, Keys([entry.key for entry in entries]))
    assert [kept is not None for kept in seen.records.values()] == [isinstance(answer, list) for answer in answers]
    await ledger.close()


async def test_closing_waits_for_what_is_under_way(engine: Engine, tmp_path: Path) -> None:
    """5, 8: turns that were taken before `close` are answered, and closing twice does no harm."""
    ledger = await engine.open(tmp_path, Bounds())
    tasks = [asyncio.create_task(keep(ledger, [entry_of(key_of(customer=str(number)))])) for number in range(40)]
    await asyncio.sleep(0)
    await asyncio.gather(ledger.close(), ledger.close())
    assert all(isinstance(answer, list) for answer in await asyncio.gather(*tasks, return_exceptions=True))


async def test_a_reset_falls_between_turns(ledger: Ledger) -> None:
    """1: a reset amid turns leaves what was kept after it, whole: positions from 1, and each record in a row."""
    entries = [entry_of(key_of(customer=str(number))) for number in range(60)]
    tasks = [asyncio.create_task(keep(ledger, [entry])) for entry in entries[:30]]
    await asyncio.sleep(0)
    resetting = asyncio.create_task(ledger.reset())
    tasks += [asyncio.create_task(keep(ledger, [entry])) for entry in entries[30:]]
    await asyncio.gather(resetting, *tasks)
    rows = await ledger.scan(HERE, after=0, limit=100)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    seen = await look(ledger, Keys([entry.key for entry in entries]))
    assert {key for key, kept in seen.records.items() if kept} == {entry.key for row in rows for entry in row.entries}
    assert (await ledger.size()).records == len(rows)


async def test_reads_amid_resets(ledger: Ledger) -> None:
    """3: what is read while the ledger is emptied again and again was kept once: whole rows, never another's name."""
    chance = random.Random(1)

    async def write() -> None:
        for number in range(60):
            customer = str(number)
            await keep(ledger, [entry_of(key_of(HOUR_NOW, customer), number), entry_of(key_of(0, customer), number)])

    async def reset() -> None:
        while not written.done():
            await ledger.reset()
            await pause(chance, 20)

    async def read() -> None:
        while not written.done():
            await asyncio.sleep(0)
            rows = await ledger.history(RecordFilter(), after=None, limit=50)
            for row in [*rows, *await ledger.scan(HERE, after=0, limit=50)]:
                assert [str(entry.quantity_micros) for entry in row.entries] == [row.entries[0].key.series.customer] * 2
            assert all(found.customer == str(found.quantity_micros) for found in await ledger.sums(RecordFilter()))

    written = asyncio.create_task(write())
    await asyncio.gather(written, reset(), read(), read())


async def test_turns_and_changes_have_one_order(ledger: Ledger) -> None:
    """9: while the catalog changes, each turn is kept under the revision it was prepared with, or is stale."""
    revision = 0
    outcomes: defaultdict[str, int] = defaultdict(int)

    async def write(number: int) -> None:
        entry = entry_of(key_of(customer=str(number)))
        for _ in range(50):
            try:
                await ledger.turn(HERE, Keys([entry.key]), keeping([entry]), revision=revision)
            except Exception as error:  # noqa: BLE001 - counted by its name, and judged below
                outcomes[type(error).__name__] += 1
                await asyncio.sleep(0)
            else:
                outcomes["kept"] += 1
                return

    async def change() -> None:
        nonlocal revision
        for _ in range(10):
            revision = await ledger.change([], expected=revision)

    await asyncio.gather(change(), *(write(number) for number in range(20)))
    assert set(outcomes) <= {"kept", "Stale"}
    assert outcomes["kept"] == 20
    assert revision == 10


async def test_whoever_watches_is_told_of_each_group(engine: Engine, tmp_path: Path) -> None:
    """Every engine tells how many turns it kept together: each turn once, and no group beyond the bound."""
    told: list[int] = []
    ledger = await engine.open(tmp_path, Bounds(group_turns=4, on_group=lambda turns, _seconds: told.append(turns)))
    await asyncio.gather(*(keep(ledger, [entry_of(key_of(customer=f"{number}"))]) for number in range(10)))
    await ledger.close()
    assert (sum(told), max(told) <= 4) == (10, True)
