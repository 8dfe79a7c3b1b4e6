"""PostgreSQL beside SQLite: `scripts/bench --only postgres,postgres-groups,postgres-growth`.

    ingest   new records through `meterhouse serve`: SQLite, PostgreSQL with one process and with two, in turn; usage of
             one product, and spread over eight. Database, servers and load share all the machine's processors.
    groups   one ledger, no HTTP: groups of 25, 250 and 1 600 new records in one partition, as the owner and under the
             lock (where another process keeps in between); through a proxy, without and with 1 ms more a round trip.
    growth   the same on an empty ledger, and on one that has grown, in turn.

The database is one of its own, in a temporary folder. The first line of each row is what it says of itself, `fsync` and
`synchronous_commit` among it; where either is off nothing is measured.
"""

import asyncio
import base64
import itertools
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import uvloop

from benchmarks import sending
from benchmarks.load import RECORDS_A_REQUEST, SELLER, SELLER_KEYS, Signer, buyer_of, open_hours
from benchmarks.measuring import CONNECTIONS, Bench, checked
from benchmarks.results import Figures, Run
from benchmarks.servers import LEDGER, Server, cpu_seconds_of, meterhouse, on_all_processors
from meterhouse.core.moment import HOUR
from meterhouse.core.profile import HOUR_SECONDS
from meterhouse.core.usage import Entry, Partition, RecordKey, Series
from meterhouse.ledger.postgres import PostgresLedger, open_postgres
from meterhouse.ledger.protocol import Decision, Header, Keys
from tests.postgres import Postgres, in_schema
from tests.postgres_proxy import before

BUYERS: Final = 400
DIMENSIONS: Final = 100
"""Of all products together, about."""
PRODUCTS: Final = (1, 8)
INGEST_SHARE: Final = 5
"""So many times fewer requests are sent than in the rows of one process: there are six runs a round."""
GROUP_SIZES: Final = (25, 250, 1600)
GROUP_SHARE: Final = 10
"""So many times shorter than a load at a rate each size of group is kept up."""
GROWN_SHARE: Final = 0.6
"""Of the records that a grown SQLite ledger has."""
GROWN_SERIES: Final = 20_000
GROWTH_ROUNDS: Final = 5
DELAY_SECONDS: Final = 0.001
KEY: Final = base64.b64encode(bytes(range(32))).decode()
HERE: Final = Partition("us-east-1", "benchmark")
HEADER: Final = Header("request", "BatchMeterUsage", "arn:aws:iam::1:user/m", "1", 0, 0, "2026-11")
SHOWN: Final = ("fsync", "synchronous_commit", "full_page_writes", "wal_sync_method", "shared_buffers")
DURABLE: Final = ("fsync", "synchronous_commit")


@contextmanager
def database() -> Iterator[Postgres]:
    """A database with memory and log enough that neither is measured."""
    with Postgres({"shared_buffers": "512MB", "max_wal_size": "8GB"}) as running:
        yield running


async def described(url: str) -> Run:
    """What a database says of itself, as a line without figures. SystemExit where it does not keep what it commits."""
    db = await asyncpg.connect(url)
    found = {name: await db.fetchval("SELECT current_setting($1)", name) for name in ("server_version", *SHOWN)}
    await db.close()
    for name in DURABLE:
        if found[name] != "on":
            raise SystemExit(f"{name} is {found[name]}: figures would be of something else")
    settings = ", ".join(f"{name} {found[name]}" for name in SHOWN)
    return Run(f"PostgreSQL {found['server_version']}: {settings}", {})


async def _empty(url: str) -> None:
    db = await asyncpg.connect(url)
    await db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CHECKPOINT")
    await db.close()


# --- through the whole server -----------------------------------------------------------------------------------------


class Contender(NamedTuple):
    """What serves."""

    name: str
    data: str | None
    """None: a new SQLite file."""
    workers: int


def ingest(bench: Bench) -> Iterator[Run]:
    """Records a second through the whole server, of all contenders in turn."""
    count = max(40, bench.sizes.requests // INGEST_SHARE)
    with on_all_processors(), database() as running:
        yield uvloop.run(described(running.url))
        contenders = (
            Contender("SQLite, 1 process", None, 1),
            Contender("PostgreSQL, 1 process", running.url, 1),
            Contender("PostgreSQL, 2 processes", running.url, 2),
        )
        for _, products, contender in itertools.product(range(bench.sizes.rounds), PRODUCTS, contenders):
            uvloop.run(_empty(running.url))
            name = f"{contender.name}, {products} product{'s'[: products > 1]}"
            with bench.place() as folder, _serving(folder, contender, products) as server:
                yield Run(name, _figures(server, running, requests(server.authority, products, count)))


@contextmanager
def _serving(folder: Path, contender: Contender, products: int) -> Iterator[Server]:
    data = contender.data or str(folder / LEDGER)
    options = ("--data", data, "--workers", str(contender.workers))
    with meterhouse(folder, catalog(products), *options, environment={"METERHOUSE_MASTER_KEY": KEY}) as server:
        yield server


def _figures(server: Server, running: Postgres, prepared: Sequence[bytes]) -> Figures:
    count, used = len(prepared), (cpu_seconds_of(server.pid), cpu_seconds_of(running.process_id))
    ran = sending.send_all(server.host, server.port, prepared, connections=CONNECTIONS)
    by_server, by_database = cpu_seconds_of(server.pid) - used[0], cpu_seconds_of(running.process_id) - used[1]
    return checked(server, ran, RECORDS_A_REQUEST) | {
        "requests_per_second": ran.rate,
        "records_per_second": ran.rate * RECORDS_A_REQUEST,
        "cpu_micros_per_request": 1e6 * by_server / count,
        "database_cpu_micros_per_request": 1e6 * by_database / count,
    }


def catalog(products: int) -> str:
    """So many products, a hundred dimensions between them, each sold to four hundred buyers."""
    tables = [
        f'[[credentials]]\naccess_key_id = "{SELLER_KEYS.access_key_id}"\naccount = "{SELLER}"\n',
        f'secret_access_key = "{SELLER_KEYS.secret_access_key}"\n',
    ]
    for product in range(products):
        tables.append(f'[[products]]\ncode = "{_code(product)}"\nname = "P"\nseller = "{SELLER}"\ntype = "saas"\n')
        tables += [
            f'[[products.dimensions]]\nkey = "d{number}"\nunit = "U"\nprice = "1"\n'
            for number in range(DIMENSIONS // products)
        ]
        tables += [
            f'[[agreements]]\nproduct = "{_code(product)}"\nbuyer = "{buyer_of(buyer)}"\nstart = 2024-01-01T00:00:00Z\n'
            for buyer in range(BUYERS)
        ]
    return "".join(tables)


def _code(product: int) -> str:
    return f"benchmarkproductcode0{product:04}"


def requests(authority: str, products: int, count: int) -> list[bytes]:
    """Signed requests of new records, product after product."""
    signer = Signer(authority, time.time_ns() // 1000)
    hours = open_hours(time.time_ns() // 1000)
    parts = range(BUYERS // RECORDS_A_REQUEST)
    said = itertools.product(hours, range(DIMENSIONS // products), parts, range(products))
    made = []
    for hour, dimension, part, product in itertools.islice(said, count):
        records = [
            {
                "Timestamp": hour * HOUR_SECONDS,
                "CustomerAWSAccountId": buyer_of(part * RECORDS_A_REQUEST + number),
                "Dimension": f"d{dimension}",
                "Quantity": number,
            }
            for number in range(RECORDS_A_REQUEST)
        ]
        made.append(signer.batch(json.dumps({"ProductCode": _code(product), "UsageRecords": records}).encode()))
    assert len(made) == count
    return made


# --- the ledger alone -------------------------------------------------------------------------------------------------


class Source:
    """New records without end: the same series, hour after hour."""

    def __init__(self, size: int, first_hour: int = 400_000) -> None:
        self._series = [Series("", str(number), "requests") for number in range(max(size, 1600))]
        self._keys = ((hour, series) for hour in itertools.count(first_hour) for series in self._series)
        self._size = size
        self._ids = itertools.count(1)

    def entries(self) -> list[Entry]:
        """The records of a group."""
        return [
            Entry(RecordKey(hour, series), hour * HOUR, 1_000_000, next(self._ids).to_bytes(16))
            for hour, series in itertools.islice(self._keys, self._size)
        ]


async def keep(ledger: PostgresLedger, entries: Sequence[Entry]) -> None:
    """A group of turns of 25 records each."""
    parts = [entries[start : start + RECORDS_A_REQUEST] for start in range(0, len(entries), RECORDS_A_REQUEST)]

    async def turn(part: Sequence[Entry]) -> None:
        decision = Decision(None, part, (), HEADER)
        await ledger.turn(HERE, Keys([entry.key for entry in part]), lambda _view: decision, revision=0)

    await asyncio.gather(*(turn(part) for part in parts))


async def measure(
    ledger: PostgresLedger, source: Source, keep_up_seconds: float, other: PostgresLedger | None = None
) -> Figures:
    """Groups of one size for a while; `other` keeps a record between each two."""
    for _ in range(5):
        await keep(ledger, source.entries())
    seconds: list[float] = []
    records = 0
    disturbing = itertools.count(1)
    while sum(seconds) < keep_up_seconds:
        if other is not None:
            key = RecordKey(next(disturbing), Series("", "other", "requests"))
            await keep(other, [Entry(key, key.hour * HOUR, 1, os.urandom(16))])
        entries = source.entries()
        begun = time.perf_counter()
        await keep(ledger, entries)
        seconds.append(time.perf_counter() - begun)
        records += len(entries)
    seconds.sort()
    return {
        "records_per_second": records / sum(seconds),
        "groups_per_second": len(seconds) / sum(seconds),
        "p50_ms": 1000 * statistics.median(seconds),
        "p99_ms": 1000 * seconds[int(len(seconds) * 0.99)],
    }


WAYS: Final = (("as the owner", False), ("under the lock", True))
DELAYS: Final = (("", 0.0), (", 1 ms more a round trip", DELAY_SECONDS))


def groups(bench: Bench) -> Iterator[Run]:
    """Groups in one partition, of each size, in each way, with and without a slower network."""
    with on_all_processors(), database() as running:
        yield uvloop.run(described(running.url))
        seconds = bench.sizes.rated_seconds / GROUP_SHARE
        for _, size, (delay, delay_seconds), (way, disturbed) in itertools.product(
            range(bench.sizes.rounds), GROUP_SIZES, DELAYS, WAYS
        ):
            figures = uvloop.run(_one_size(running, size, delay_seconds, seconds, disturbed=disturbed))
            yield Run(f"{size:,} records, {way}{delay}", figures)


async def _one_size(
    running: Postgres, size: int, delay_seconds: float, keep_up_seconds: float, *, disturbed: bool
) -> Figures:
    await _empty(running.url)
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a socket's path must be short
        async with before(running.socket, Path(folder)) as (proxy, address), AsyncExitStack() as stack:
            ledger = await stack.enter_async_context(_opened(address))
            other = await stack.enter_async_context(_opened(running.url)) if disturbed else None
            proxy.delay_seconds = delay_seconds
            return await measure(ledger, Source(size), keep_up_seconds, other)


@asynccontextmanager
async def _opened(url: str) -> AsyncIterator[PostgresLedger]:
    ledger = await open_postgres(url)
    try:
        yield ledger
    finally:
        await ledger.close()


FILL: Final = """
INSERT INTO usage_records (partition, hour, series, quantity_micros, position, record_id)
SELECT 1, 390000 + h, s, 1000000, h, decode(md5((h * 1000000 + s)::text), 'hex')
FROM generate_series($1::int, $2::int) h, generate_series(1, $3::int) s ORDER BY 1, 2, 3"""
FILLED_HOURS: Final = 25
"""At a time."""


def growth(bench: Bench) -> Iterator[Run]:
    """Groups of 1 600 on an empty ledger and on a grown one, in turn."""
    hours = max(1, int(bench.sizes.history_records * GROWN_SHARE) // GROWN_SERIES)
    seconds = 2 * bench.sizes.rated_seconds / GROUP_SHARE
    with on_all_processors(), database() as running, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run(described(running.url))
        grown, source, kept = runner.run(_grown(running.url, hours))
        for _ in range(GROWTH_ROUNDS):
            yield Run("empty ledger", runner.run(_on_an_empty_one(running.url, seconds)))
            yield Run("grown ledger", kept | runner.run(measure(grown, source, seconds)))
        written = runner.run(_written_for_a_record(running.url, grown, source))
        yield Run("grown ledger", kept | written)
        runner.run(grown.close())


async def _grown(url: str, hours: int) -> tuple[PostgresLedger, Source, Figures]:
    """A ledger that has kept every series for so many hours."""
    db = await asyncpg.connect(in_schema(url, "grown"))
    await db.execute("CREATE SCHEMA grown")
    grown, source = await open_postgres(in_schema(url, "grown")), Source(1600)
    await keep(grown, source.entries())
    for hour in range(0, hours, FILLED_HOURS):
        await db.execute(FILL, hour, min(hour + FILLED_HOURS, hours) - 1, GROWN_SERIES)
    await db.execute("ANALYZE")
    records = await db.fetchval("SELECT count(*) FROM usage_records")
    await db.close()
    return grown, source, {"records_before": records}


async def _on_an_empty_one(url: str, seconds: float) -> Figures:
    db = await asyncpg.connect(url)
    await db.execute("DROP SCHEMA IF EXISTS young CASCADE; CREATE SCHEMA young; CHECKPOINT")
    async with _opened(in_schema(url, "young")) as young:
        figures = await measure(young, Source(1600), seconds)
    await db.execute("CHECKPOINT")
    await db.close()
    return figures


_MEASURED_GROUPS: Final = 50
_SIZES: Final = """
SELECT pg_current_wal_lsn() - '0/0'::pg_lsn,
  (SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class c
   WHERE c.relkind = 'r' AND c.relnamespace = 'grown'::regnamespace)"""


async def _written_for_a_record(url: str, ledger: PostgresLedger, source: Source) -> Figures:
    """What groups of 1 600 of the same series add to the tables and to the log."""
    db = await asyncpg.connect(url)
    begun = await db.fetchrow(_SIZES)
    records = 0
    for _ in range(_MEASURED_GROUPS):
        entries = source.entries()
        records += len(entries)
        await keep(ledger, entries)
    ended = await db.fetchrow(_SIZES)
    await db.close()
    log, tables = (float(after - earlier) / records for earlier, after in zip(begun, ended, strict=True))
    return {"bytes_a_record": tables, "log_bytes_a_record": log}
