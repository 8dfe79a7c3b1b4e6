"""What only the PostgreSQL engine has: round trips, several processes on one database, and a database that goes away.

Two ledgers that are open on one database stand for two processes: they share nothing but the database.
"""

import asyncio
import random
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from meterhouse.core.usage import ClaimKey, Entry, Kept, Partition, RecordKey
from meterhouse.ledger.postgres import PostgresLedger, open_postgres
from meterhouse.ledger.postgres_statements import (
    ADD_PARTITION,
    FIND,
    FIND_WITH_CLAIMS,
    KEEP,
    LOCK_CLASS,
    begin_and_lock,
)
from meterhouse.ledger.protocol import Busy, CannotOpen, Document, Keys, LedgerFailure, Stale
from tests.contract.test_races import follow
from tests.contract.usage import HERE, HOUR_NOW, THERE, entry_of, keep, keeping, key_of, look
from tests.postgres import Postgres, in_schema, kill_if_there, place_url
from tests.postgres_proxy import Proxy, before

PARTITIONS = [Partition(region, product) for region in ("us-east-1", "eu-west-1") for product in ("a", "b")]
WARM = 5
"""Groups after which a process knows its series and takes itself for the owner."""


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that these tests may harm."""
    with Postgres() as running:
        yield running


@pytest.fixture
async def url(server: Postgres, tmp_path: Path) -> str:
    """A place of its own on that server."""
    return await _make_place(server, tmp_path)


async def _make_place(server: Postgres, place: Path) -> str:
    schema = f"place_{abs(hash(place))}"
    db = await asyncpg.connect(server.url)
    await db.execute(f"CREATE SCHEMA {schema}")
    await db.close()
    return in_schema(server.url, schema)


@asynccontextmanager
async def opened(url: str, **bounds: Any) -> AsyncIterator[PostgresLedger]:
    """A ledger, closed at the end."""
    ledger = await open_postgres(url, **bounds)
    try:
        yield ledger
    finally:
        await ledger.close()


@pytest.fixture
async def proxied(server: Postgres, url: str) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server, and the address behind it."""
    folder = Path(tempfile.mkdtemp(prefix="meterhouse-", dir="/tmp"))  # a socket's path must be short
    schema = url.rpartition("search_path=")[2]
    async with before(server.socket, folder) as (proxy, address):
        yield proxy, in_schema(address, schema)
    shutil.rmtree(folder)


async def one_group(ledger: PostgresLedger, entries: list[Entry], claims: list[Any] | None = None) -> list[Kept]:
    """A group of one turn."""
    return await keep(ledger, entries, claims or ())


@pytest.mark.parametrize("record_count", [1, 25, 1600])
@pytest.mark.parametrize("claim_count", [0, 1])
async def test_a_warm_group_of_the_owner_takes_two_round_trips(
    proxied: tuple[Proxy, str], record_count: int, claim_count: int
) -> None:
    """Whatever its size, a group whose series are known is read and kept in two; a replay is answered after one."""
    proxy, url = proxied

    def entries(hour: int) -> list[Entry]:
        return [entry_of(key_of(HOUR_NOW + hour, str(number))) for number in range(record_count)]

    def claims(hour: int) -> list[tuple[ClaimKey, bytes]]:
        return [(ClaimKey("token", f"{hour}-{number}"), b"") for number in range(claim_count)]

    async with opened(url) as ledger:
        for hour in range(WARM):
            await one_group(ledger, entries(hour), claims(hour))
        proxy.asked.clear()
        await one_group(ledger, entries(WARM), claims(WARM))
        assert proxy.asked == [FIND_WITH_CLAIMS if claim_count else FIND, KEEP]
        proxy.asked.clear()
        await one_group(ledger, entries(WARM), claims(WARM))
        assert proxy.asked == [FIND_WITH_CLAIMS if claim_count else FIND]


async def test_a_warm_group_under_the_lock_takes_four_round_trips(proxied: tuple[Proxy, str], url: str) -> None:
    """Where another process keeps in the same partition, a group takes four, whatever its size."""
    proxy, proxied_url = proxied
    async with opened(proxied_url) as watched, opened(url) as other:
        for hour in range(12):
            proxy.asked.clear()
            await one_group(watched, [entry_of(key_of(hour, str(number))) for number in range(25)])
            await one_group(other, [entry_of(key_of(hour, f"other {number}")) for number in range(25)])
        assert proxy.asked == [begin_and_lock(1), FIND, KEEP, "COMMIT"]


async def test_turns_at_once_share_their_round_trips(proxied: tuple[Proxy, str]) -> None:
    """A hundred turns at once are one or two groups: they do not pay for their round trips one by one."""
    proxy, url = proxied
    async with opened(url) as ledger:
        for hour in range(WARM):
            await one_group(ledger, [entry_of(key_of(hour, str(number))) for number in range(100)])
        proxy.asked.clear()
        await asyncio.gather(*(one_group(ledger, [entry_of(key_of(WARM, str(number)))]) for number in range(100)))
        assert len(proxy.asked) <= 4


@pytest.mark.parametrize("warm", [0, WARM])
async def test_an_answer_that_was_lost_is_read_from_the_database(
    proxied: tuple[Proxy, str], url: str, warm: int
) -> None:
    """Where a commit's answer is lost the turn is judged again, and answered with the ids that were kept: once."""
    proxy, proxied_url = proxied
    claim = ClaimKey("token", "abc")
    async with opened(proxied_url) as ledger:
        for hour in range(warm):
            await one_group(ledger, [entry_of(key_of(hour))])
        entries = [entry_of(key_of(HOUR_NOW, str(number)), number) for number in range(3)]
        proxy.loses_answer_to = lambda asked: asked == ("COMMIT" if warm == 0 else KEEP)
        kept = await keep(ledger, entries, [(claim, b"bound")])
        assert proxy.lost == 1
        assert kept == [Kept(entry.quantity_micros, entry.record_id) for entry in entries]
        assert [row.position for row in await ledger.scan(HERE, after=0, limit=99)] == list(range(1, warm + 2))
        assert (await ledger.size()).records == warm + 3
    async with opened(url) as other:
        seen = await look(other, Keys([entry.key for entry in entries], [claim]))
        assert list(seen.records.values()) == kept
        assert seen.claims == {claim: b"bound"}


async def test_a_question_that_was_lost_is_asked_again(proxied: tuple[Proxy, str]) -> None:
    """A connection that breaks before anything was kept costs the client nothing."""
    proxy, url = proxied
    async with opened(url) as ledger:
        for hour in range(WARM):
            for lost in (FIND, "BEGIN"):
                proxy.loses_answer_to = lambda asked, lost=lost: asked.startswith(lost)
                entry = entry_of(key_of(hour, lost))
                assert await one_group(ledger, [entry]) == [Kept(entry.quantity_micros, entry.record_id)]
        assert (await ledger.size()).records == 2 * WARM


async def test_processes_share_partitions(url: str) -> None:
    """2, 3, 4: eight writers through two processes, on four partitions: one winner a key, whoever answered, and who
    follows the journal through either misses nothing.
    """
    chance = random.Random(1)
    keys = [key_of(HOUR_NOW + hour, customer) for hour in range(4) for customer in "abcdefgh"]
    claimed: list[tuple[Partition, Entry, Kept]] = []
    async with opened(url) as one, opened(url) as two:

        async def write(ledger: PostgresLedger) -> None:
            for _ in range(30):
                partition = chance.choice(PARTITIONS)
                entries = [entry_of(key, chance.randrange(3)) for key in chance.choices(keys, k=chance.randrange(1, 9))]
                answers = await keep(ledger, entries, partition=partition)
                claimed.extend((partition, entry, kept) for entry, kept in zip(entries, answers, strict=True))

        ended = asyncio.Event()
        followers = [
            asyncio.create_task(follow(ledger, partition, ended)) for ledger in (one, two) for partition in PARTITIONS
        ]
        await asyncio.gather(*(write(ledger) for ledger in (one, two) * 4))
        ended.set()
        journals = await asyncio.gather(*followers)
        assert journals[:4] == journals[4:]
        winners: dict[tuple[Partition, RecordKey], Kept] = {}
        for partition, rows in zip(PARTITIONS, journals[:4], strict=True):
            assert [row.position for row in rows] == list(range(1, len(rows) + 1))
            for row in rows:
                for entry in row.entries:
                    assert (partition, entry.key) not in winners
                    winners[partition, entry.key] = Kept(entry.quantity_micros, entry.record_id)
        assert all(winners[partition, entry.key] == kept for partition, entry, kept in claimed)
        assert (await two.size()).records == len(winners)


async def test_a_new_partition_has_one_number(url: str) -> None:
    """Processes that meet new partitions at the same time give each one number, and none a second."""
    async with opened(url) as one, opened(url) as two:
        names = [Partition("us-east-1", f"product-{number}") for number in range(20)]
        await asyncio.gather(
            *(
                keep(ledger, [entry_of(key_of(hour))], partition=name)
                for name in names
                for hour, ledger in enumerate((one, two))
            )
        )
        for name in names:
            assert [row.position for row in await one.scan(name, after=0, limit=9)] == [1, 2]


async def test_a_reset_is_noticed_by_all_processes(url: str) -> None:
    """What another process has emptied is not remembered: the same keys are kept again, under the right names."""
    async with opened(url) as one, opened(url) as two:
        for round_number in range(3):
            for ledger in (one, two, one):
                for hour in range(3):
                    customer = f"{round_number}-{hour}"
                    await keep(ledger, [entry_of(key_of(hour, customer)), entry_of(key_of(hour, "every round"))])
            await (one, two)[round_number % 2].reset()
            assert (await one.size())[:2] == (0, 0)
        entry = entry_of(key_of(0, "every round"))
        assert await keep(two, [entry]) == [Kept(entry.quantity_micros, entry.record_id)]
        (row,) = await one.scan(HERE, after=0, limit=9)
        assert list(row.entries) == [entry]


async def test_a_reset_meets_a_new_partition(url: str) -> None:
    """1, 4: a partition that has its number and no head yet, and in which something is kept for the first time while
    all is emptied, is emptied whole or left whole: head, journal and records agree, and the next turn finds its place.
    """
    async with opened(url) as one, opened(url) as two:
        db = await asyncpg.connect(url)
        await db.execute(ADD_PARTITION, *HERE)
        await db.execute("BEGIN; LOCK TABLE claims")  # so the reset stops before it comes to the head
        resetting = asyncio.create_task(one.reset())
        await _wait(db, 1)
        keeping_first = asyncio.create_task(keep(two, [entry_of(key_of(0))]))
        await _wait(db, 2, keeping_first)
        await db.execute("COMMIT")
        await db.close()
        await asyncio.gather(resetting, keeping_first)
        await keep(two, [entry_of(key_of(1))])
        rows = await one.scan(HERE, after=0, limit=9)
        assert [row.position for row in rows] == [1, 2]
        assert (await one.size())[:2] == (2, 2)


async def _wait(db: Any, count: int, task: "asyncio.Task[Any] | None" = None) -> None:
    """Returns when so many wait for locks, or a task has ended without."""
    waiting = 0
    while waiting < count and (task is None or not task.done()):
        waiting = await db.fetchval("SELECT count(*) FROM pg_locks WHERE NOT granted")


async def test_no_turn_is_kept_by_an_old_catalog_after_a_change_was_acknowledged(url: str) -> None:
    """9: through 1,000 changes by one process, whatever is kept by the other after a change was acknowledged was
    prepared with that change; and a turn that fits no revision leaves nothing.
    """
    changes = 1000
    acknowledged = 0
    kept_by_old: list[tuple[int, int]] = []
    outcomes = {"kept": 0, "stale": 0}
    something_kept = asyncio.Event()
    async with opened(url) as changer, opened(url) as keeper:

        async def change() -> None:
            nonlocal acknowledged
            for revision in range(changes):
                acknowledged = await changer.change([Document("p", "a", b"%d" % revision)], expected=revision)
                if revision == changes // 2:
                    await something_kept.wait()  # the changes must not be so fast that nothing is kept between them

        async def write(partition: Partition) -> None:
            number = 0
            while acknowledged < changes:
                begun = acknowledged
                number += 1
                entry = entry_of(key_of(customer=str(number)))
                prepared_with = random.Random(number).choice([begun, max(begun - 1, 0)])
                try:
                    await keeper.turn(partition, Keys([entry.key]), keeping([entry]), revision=prepared_with)
                except Stale:
                    outcomes["stale"] += 1
                else:
                    outcomes["kept"] += 1
                    something_kept.set()
                    if prepared_with < begun:
                        kept_by_old.append((prepared_with, begun))

        await asyncio.gather(change(), *(write(partition) for partition in PARTITIONS))
        assert not kept_by_old
        assert outcomes["kept"] > 0
        assert outcomes["stale"] > 0
        rows = sum([len(await keeper.scan(partition, after=0, limit=10**6)) for partition in PARTITIONS])
        assert rows == outcomes["kept"] == (await changer.size()).records


async def test_a_change_waits_for_the_turns_under_way(url: str) -> None:
    """9: while a turn that was judged is not committed, no change is acknowledged; and then it is."""
    async with opened(url) as ledger:
        db = await asyncpg.connect(url)
        await db.execute("BEGIN")
        await db.execute(f"SELECT pg_advisory_xact_lock_shared({LOCK_CLASS}, hashtext(current_schema()))")
        changing = asyncio.create_task(ledger.change([], expected=0))
        await _someone_waits(db)
        assert not changing.done()
        await db.execute("COMMIT")
        assert await changing == 1
        await db.close()


async def _someone_waits(db: Any) -> None:
    """Returns when a change waits for its lock."""
    waiting = False
    while not waiting:
        waiting = await db.fetchval("SELECT count(*) > 0 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")


async def test_a_partition_that_stays_locked_is_busy(url: str) -> None:
    """7: a turn whose partition is locked for too long is refused as busy and leaves nothing; another's goes on."""
    async with opened(url, statement_seconds=0.2) as ledger:
        await keep(ledger, [entry_of(key_of())])
        db = await asyncpg.connect(url)
        await db.execute(begin_and_lock(1))
        entry = entry_of(key_of(customer="waits"))
        with pytest.raises(Busy):
            await keep(ledger, [entry])
        await keep(ledger, [entry], partition=THERE)
        await db.execute("COMMIT")
        await db.close()
        assert await keep(ledger, [entry]) == [Kept(entry.quantity_micros, entry.record_id)]


async def test_whoever_falls_asleep_amid_a_turn_lets_go(url: str) -> None:
    """7: a process that stops in the midst of a turn does not keep its partition for ever."""
    async with opened(url, statement_seconds=0.2) as ledger:
        await keep(ledger, [entry_of(key_of())])
        async with ledger._writing.one(fresh=True) as asleep:
            await asleep.execute(begin_and_lock(1))
            entry = entry_of(key_of(customer="comes later"))
            for _ in range(50):
                try:
                    await keep(ledger, [entry])
                    break
                except Busy:
                    continue
            assert (await look(ledger, Keys([entry.key]))).records[entry.key] is not None


async def test_a_killed_backend_costs_nothing(server: Postgres, url: str) -> None:
    """5, 8: `kill -9` of a backend throws out every connection of the server; what was acknowledged is there, and turns
    go on as soon as the server answers again.
    """
    async with opened(url) as ledger:
        acknowledged = await _keep_while(ledger, lambda: _kill_a_backend(url))
        await _holds(ledger, acknowledged)


async def test_a_restart_costs_nothing(server: Postgres, url: str) -> None:
    """5, 8: a restart of the database loses and doubles nothing, and turns go on by themselves."""

    async def restart() -> None:
        await asyncio.to_thread(server.restart)

    async with opened(url) as ledger:
        await _holds(ledger, await _keep_while(ledger, restart))


async def test_a_killed_database_loses_nothing(server: Postgres, url: str) -> None:
    """5: `kill -9` of the whole database loses nothing that was acknowledged, and turns go on by themselves."""

    async def kill() -> None:
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)

    async with opened(url) as ledger:
        await _holds(ledger, await _keep_while(ledger, kill))


async def _kill_a_backend(url: str) -> None:
    db = await asyncpg.connect(url)
    number = await db.fetchval("SELECT pid FROM pg_stat_activity WHERE application_name = 'meterhouse' LIMIT 1")
    kill_if_there(number)
    db.terminate()


async def _keep_while(ledger: PostgresLedger, harm: Any) -> dict[RecordKey, Kept]:
    """Keeps records without a pause, through harm done to the database; what was acknowledged, before and after."""
    acknowledged: dict[RecordKey, Kept] = {}
    number = (await _size_when_back(ledger)).records * 1000
    enough, harmed = asyncio.Event(), asyncio.Event()

    async def write(partition: Partition, place: int) -> None:
        after = 0
        mine = number + place * 100
        while after < 3:
            mine += 1
            entries = [entry_of(key_of(hour, str(mine)), mine) for hour in range(5)]
            try:
                answers = await keep(ledger, entries, partition=partition)
            except (Busy, LedgerFailure):  # what a client is told to send again
                await asyncio.sleep(0.01)
                mine -= 1
                continue
            if harmed.is_set():
                after += 1
            if len(acknowledged) >= 200:
                enough.set()
            acknowledged.update(
                {
                    RecordKey(entry.key.hour, entry.key.series): kept
                    for entry, kept in zip(entries, answers, strict=True)
                }
            )

    async def do_harm() -> None:
        await enough.wait()
        await harm()
        harmed.set()

    await asyncio.gather(do_harm(), write(HERE, 0))
    return acknowledged


async def _size_when_back(ledger: PostgresLedger) -> Any:
    while True:
        try:
            return await ledger.size()
        except (Busy, LedgerFailure):
            await asyncio.sleep(0.01)


async def _holds(ledger: PostgresLedger, acknowledged: dict[RecordKey, Kept]) -> None:
    """What was acknowledged is there, as it was; journal and records agree, and positions have no gap."""
    seen = await look(ledger, Keys(list(acknowledged)))
    assert seen.records == acknowledged
    rows = await ledger.scan(HERE, after=0, limit=10**6)
    assert [row.position for row in rows] == list(range(1, len(rows) + 1))
    kept = [entry.key for row in rows for entry in row.entries]
    assert len(kept) == len(set(kept)) == (await ledger.size()).records


async def test_asynchronous_commits_are_refused(url: str) -> None:
    """5: a database that acknowledges what is not on its disk is not opened."""
    with pytest.raises(CannotOpen, match="synchronous_commit is off"):
        await open_postgres(f"{url}&synchronous_commit=off")


async def test_a_database_that_is_not_there_is_named_without_its_password() -> None:
    """A server that cannot be reached is a sentence, and the password is not in it."""
    with pytest.raises(CannotOpen, match=r"^postgresql://me@127\.0\.0\.1:1/x cannot be opened") as refused:
        await open_postgres("postgresql://me:secret@127.0.0.1:1/x")
    assert "secret" not in str(refused.value)


async def test_the_place_of_a_test_is_empty(tmp_path: Path) -> None:
    """Each test has a place of its own on the shared server."""
    async with opened(await place_url(tmp_path)) as ledger:
        assert (await ledger.size())[:2] == (0, 0)
