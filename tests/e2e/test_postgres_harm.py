"""What can happen to a PostgreSQL under a running ledger, short of a kill: each is an error that clients send again,
costs nothing that was acknowledged, and passes by itself when its cause does.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from random import Random
from typing import Any, Final

import asyncpg
import pytest

from meterhouse.core.usage import Entry, Kept, Partition
from meterhouse.ledger.postgres import WRITING_CONNECTIONS, PostgresLedger, open_postgres
from meterhouse.ledger.postgres_statements import begin_and_lock
from meterhouse.ledger.protocol import Busy, Document, JournalEntry, Keys, LedgerFailure, Stale
from tests.contract.usage import HERE, HOUR_NOW, THERE, entry_of, keep, keeping, key_of
from tests.postgres import Postgres

NAMES: Final = iter(range(1000))
"""Of databases."""
ELSEWHERE: Final = Partition("eu-north-1", "elsewhere")


@pytest.fixture(scope="module")
def server() -> Iterator[Postgres]:
    """A server that these tests may harm."""
    with Postgres({"max_connections": "30"}) as running:
        yield running


class Place:
    """A database of its own on that server, harmed from outside."""

    def __init__(self, server: Postgres, name: str) -> None:
        self.server = server
        self.name = name
        self.url = server.url.replace("/postgres?", f"/{name}?")

    async def run(self, *statements: str, within: bool = False) -> None:
        """Runs statements as the server's owner, within the database or beside it."""
        db = await asyncpg.connect(self.url if within else self.server.url)
        try:
            for statement in statements:
                await db.execute(statement)
        finally:
            await db.close()

    async def throw_out(self) -> None:
        """Ends every connection to the database, and returns when none is left."""
        db = await asyncpg.connect(self.server.url)
        asked = "FROM pg_stat_activity WHERE datname = $1"
        left = True
        while left:
            left = await db.fetchval(f"SELECT count(pg_terminate_backend(pid)) > 0 {asked}", self.name)
        await db.close()


@pytest.fixture
async def place(server: Postgres) -> AsyncIterator[Place]:
    """A database of its own."""
    found = Place(server, f"place_{next(NAMES)}")
    await found.run(f"CREATE DATABASE {found.name}")
    yield found
    await found.run(f"DROP DATABASE IF EXISTS {found.name} WITH (FORCE)")


@asynccontextmanager
async def opened(url: str, **bounds: Any) -> AsyncIterator[PostgresLedger]:
    """A ledger, closed at the end."""
    ledger = await open_postgres(url, **bounds)
    try:
        yield ledger
    finally:
        await ledger.close()


async def is_read_only(place: Place) -> None:
    """As after a failover, where the address still leads to the old primary (25006)."""
    await place.run(f"ALTER DATABASE {place.name} SET default_transaction_read_only = on")
    await place.throw_out()


async def is_writable(place: Place) -> None:
    """And it leads to the new one."""
    await place.run(f"ALTER DATABASE {place.name} RESET default_transaction_read_only")
    await place.throw_out()


async def takes_no_connections(place: Place) -> None:
    """As while a database is moved, and with every connection broken (55000)."""
    await place.run(f"ALTER DATABASE {place.name} ALLOW_CONNECTIONS false")
    await place.throw_out()


async def takes_connections(place: Place) -> None:
    """Again."""
    await place.run(f"ALTER DATABASE {place.name} ALLOW_CONNECTIONS true")


async def has_no_connections_left(place: Place) -> None:
    """Others have taken all there are (53300)."""
    await place.run(f"ALTER DATABASE {place.name} CONNECTION LIMIT 0")
    await place.throw_out()


async def has_connections_left(place: Place) -> None:
    """Again."""
    await place.run(f"ALTER DATABASE {place.name} CONNECTION LIMIT -1")


async def has_lost_a_right(place: Place) -> None:
    """Somebody took it by mistake (42501)."""
    await place.run("REVOKE INSERT ON journal FROM server_role", within=True)


async def has_its_rights(place: Place) -> None:
    """Again."""
    await place.run("GRANT INSERT ON journal TO server_role", within=True)


async def has_a_full_disk(place: Place) -> None:
    """Where no table can grow any more (53100): raised where the disk would say it."""
    await place.run(
        "CREATE FUNCTION say_it_is_full() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'could not extend file' USING ERRCODE = '53100'; END $$",
        "CREATE TRIGGER full_disk BEFORE INSERT ON usage_records EXECUTE FUNCTION say_it_is_full()",
        within=True,
    )


async def has_room(place: Place) -> None:
    """Again."""
    await place.run("DROP TRIGGER full_disk ON usage_records", within=True)


async def is_away(place: Place) -> None:
    """Its name leads nowhere (3D000)."""
    await place.throw_out()
    await place.run(f"ALTER DATABASE {place.name} RENAME TO {place.name}_away")


async def is_back(place: Place) -> None:
    """Again."""
    await place.run(f"ALTER DATABASE {place.name}_away RENAME TO {place.name}")


Harm = Callable[[Place], Awaitable[None]]
HARMS: Final[list[tuple[Harm, Harm]]] = [
    (is_read_only, is_writable),
    (takes_no_connections, takes_connections),
    (has_no_connections_left, has_connections_left),
    (has_lost_a_right, has_its_rights),
    (has_a_full_disk, has_room),
    (is_away, is_back),
]


@pytest.mark.parametrize("warm", [1, 5])
@pytest.mark.parametrize(("harm", "undo"), HARMS, ids=[harm.__name__ for harm, _ in HARMS])
async def test_harm_passes(place: Place, harm: Harm, undo: Harm, warm: int) -> None:
    """While it lasts turns and changes fail as what is sent again, and leave nothing; then they succeed, by themselves;
    whether or not the process takes itself for the partition's owner.
    """
    url = await _served_as_a_role(place)
    async with opened(url) as ledger:
        for hour in range(warm):
            await keep(ledger, [entry_of(key_of(hour))])
        entry = entry_of(key_of(HOUR_NOW, "while it lasts"))
        await harm(place)
        for _ in range(3):
            with pytest.raises((Busy, LedgerFailure)):
                await keep(ledger, [entry])
        await undo(place)
        assert await keep(ledger, [entry]) == [Kept(entry.quantity_micros, entry.record_id)]
        assert await ledger.change([Document("p", "a", b"1")], expected=0) == 1
        rows = await ledger.scan(HERE, after=0, limit=99)
        assert [row.position for row in rows] == list(range(1, warm + 2))
        assert (await ledger.size()).records == warm + 1


async def _served_as_a_role(place: Place) -> str:
    """Migrated by the owner, and the address for a role that can only use it."""
    async with opened(place.url):
        pass
    await place.run(
        "DO $$ BEGIN CREATE ROLE server_role LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
        "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO server_role",
        within=True,
    )
    return place.url.replace("postgres@", "server_role@")


USAGE_TABLES: Final = ("partitions", "partition_heads", "usage_records", "journal", "series", "claims")


async def test_numbers_are_not_remembered_across_a_failover(place: Place) -> None:
    """A standby that took over without the last moments has not seen the last series, and gives their numbers to
    others: nobody's usage is kept under another's name, by whichever process and in whichever partition.
    """
    saved = [f"CREATE TABLE saved_{table} AS TABLE {table}" for table in USAGE_TABLES]
    played_back = [
        statement
        for table in USAGE_TABLES
        for statement in (f"TRUNCATE {table}", f"INSERT INTO {table} TABLE saved_{table}")
    ]
    lost, new, again = (entry_of(key_of(HOUR_NOW + hour, name)) for hour, name in enumerate(("lost", "new", "lost")))
    async with opened(place.url) as one:
        for hour in range(5):
            await keep(one, [entry_of(key_of(hour))])
        await place.run(*saved, within=True)
        await keep(one, [lost])
        await keep(one, [lost], partition=THERE)
        await place.run(*played_back, within=True)
        await place.throw_out()
        async with opened(place.url) as two:
            await keep(two, [new])
            await keep(two, [new], partition=ELSEWHERE)
        assert await keep(one, [again]) == [Kept(again.quantity_micros, again.record_id)]
        assert await keep(one, [again], partition=THERE) == [Kept(again.quantity_micros, again.record_id)]
    async with opened(place.url) as three:
        kept = [entry for row in await three.scan(HERE, after=5, limit=99) for entry in row.entries]
        assert kept == [new, again]
        for partition, entry in ((THERE, again), (ELSEWHERE, new)):
            assert [list(row.entries) for row in await three.scan(partition, after=0, limit=99)] == [[entry]]


async def test_a_catalog_that_was_played_back_is_not_taken_for_another(place: Place) -> None:
    """9: whoever knows of changes that the database has lost judges nothing by them: it fails until it is started
    again, and then has what there is.
    """
    async with opened(place.url) as one:
        for revision in range(2):
            await one.change([Document("p", "a", b"%d" % revision)], expected=revision)
        await place.run("UPDATE catalog SET revision = 1", within=True)
        with pytest.raises(LedgerFailure, match="revision 1, and this process has seen 2"):
            await one.changes(2)
        entry = entry_of(key_of())
        with pytest.raises(Stale):
            await one.turn(HERE, Keys([entry.key]), keeping([entry]), revision=2)
    async with opened(place.url) as two:
        assert (await two.load())[0] == 1


async def test_waiting_for_a_connection_is_bounded(place: Place) -> None:
    """7: where all connections are held for too long a turn is refused as busy and leaves nothing, and then goes on."""
    async with opened(place.url, statement_seconds=0.1) as ledger:
        await keep(ledger, [entry_of(key_of())])
        entry = entry_of(key_of(customer="waits"))
        async with AsyncExitStack() as held:
            for _ in range(WRITING_CONNECTIONS):
                await held.enter_async_context(ledger._writing.one())
            with pytest.raises(Busy):
                await keep(ledger, [entry])
        assert await keep(ledger, [entry]) == [Kept(entry.quantity_micros, entry.record_id)]
        assert (await ledger.size()).records == 2


PARTITIONS: Final = [Partition(region, product) for region in ("us-east-1", "eu-west-1") for product in ("a", "b")]


async def cuts_a_half_off(place: Place) -> None:
    """Some connections end, in the midst of whatever they do."""
    await place.run(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
        "WHERE application_name = 'meterhouse' AND random() < 0.5"
    )


async def interrupts_statements(place: Place) -> None:
    """As `statement_timeout` does, wherever they are."""
    await place.run(
        "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE application_name = 'meterhouse' AND random() < 0.7"
    )


async def holds_a_head(place: Place) -> None:
    """Somebody sleeps on a partition's lock for longer than a turn waits for it."""
    await place.run(begin_and_lock(1), f"SELECT pg_sleep({2 * SHORT_SECONDS})", "ROLLBACK", within=True)


async def only_reads_for_a_while(place: Place) -> None:
    """And then it writes again."""
    await is_read_only(place)
    await is_writable(place)


async def restarts(place: Place) -> None:
    """In good order, with everybody thrown out."""
    await asyncio.to_thread(place.server.restart)


SHORT_SECONDS: Final = 0.2
"""What a statement may take, in a test in which many take too long."""
AMID_LOAD: Final[tuple[Harm, ...]] = (
    cuts_a_half_off,
    interrupts_statements,
    holds_a_head,
    only_reads_for_a_while,
    restarts,
)


async def test_all_harm_under_load(place: Place) -> None:
    """2 to 8: while eight writers keep usage of four partitions through two processes, and turns are given up amid, all
    that can happen happens: what was acknowledged is there, once, and whoever follows the journal misses nothing.
    """
    chance = Random(20_261_125)
    acknowledged: list[tuple[Partition, Entry, Kept]] = []
    journals: list[list[JournalEntry]] = [[] for _ in PARTITIONS]
    ended, heard = asyncio.Event(), asyncio.Event()
    async with (
        opened(place.url, statement_seconds=SHORT_SECONDS) as one,
        opened(place.url, statement_seconds=SHORT_SECONDS) as two,
    ):

        async def write(ledger: PostgresLedger) -> None:
            while not ended.is_set():
                keys = {
                    key_of(HOUR_NOW + chance.randrange(3000), str(chance.randrange(300)))
                    for _ in range(chance.randrange(1, 20))
                }
                entries = [entry_of(key, chance.randrange(3)) for key in keys]
                partition = chance.choice(PARTITIONS)
                turn = asyncio.ensure_future(keep(ledger, entries, partition=partition))
                if chance.random() < 0.03:
                    await asyncio.wait([turn], timeout=chance.random() / 100)
                    turn.cancel()
                (answer,) = await asyncio.gather(turn, return_exceptions=True)
                if isinstance(answer, list):
                    acknowledged.extend((partition, *each) for each in zip(entries, answer, strict=True))
                    heard.set()
                else:
                    assert isinstance(answer, (Busy, LedgerFailure, asyncio.CancelledError)), answer
                    await asyncio.sleep(0.002)  # as clients do before they send it again

        async def follow(partition: Partition, seen: list[JournalEntry]) -> None:
            found: Sequence[JournalEntry] = ()
            while found or not ended.is_set():
                with suppress(Busy, LedgerFailure):
                    found = await two.scan(partition, after=len(seen), limit=50)
                    seen.extend(found)
                    assert [row.position for row in found] == list(range(len(seen) - len(found) + 1, len(seen) + 1))
                await asyncio.sleep(0)

        async def harm() -> None:
            for each in chance.sample(AMID_LOAD * 2, len(AMID_LOAD) * 2):
                before = len(acknowledged)
                await each(place)
                while len(acknowledged) < before + 500:
                    heard.clear()
                    await heard.wait()
            ended.set()

        await asyncio.gather(harm(), *(write(ledger) for ledger in (one, two) * 4), *map(follow, PARTITIONS, journals))
        for partition, rows in zip(PARTITIONS, journals, strict=True):
            rows.extend(await one.scan(partition, after=len(rows), limit=10**6))
            assert [row.position for row in rows] == list(range(1, len(rows) + 1))
        kept = [
            ((partition, entry.key), Kept(entry.quantity_micros, entry.record_id))
            for partition, rows in zip(PARTITIONS, journals, strict=True)
            for row in rows
            for entry in row.entries
        ]
        assert len(dict(kept)) == len(kept) == (await one.size()).records
        winners = dict(kept)
        assert all(winners[partition, entry.key] == told for partition, entry, told in acknowledged)
