"""PostgreSQL beside SQLite: `python -m benchmarks.postgres [serve|groups|delay|growth …]`.

    serve    new records through `meterhouse serve`: SQLite, PostgreSQL with one process and with two, in turn; usage of
             one product, and spread over eight. Database, servers and load share the machine's processors.
    groups   one ledger, no HTTP: groups of 25, 250 and 1 600 new records in one partition, as the owner and under the
             lock (where another process keeps in between).
    delay    the same with 1 ms added to each round trip, by a proxy; and through the proxy without.
    growth   the same on an empty ledger, and on one that holds 6 million records.

The database is one of its own, in a temporary folder; its `fsync` and `synchronous_commit` stand beside the figures.
What the machine does besides is printed too: with a load average beyond the processors the figures say little.
"""

import asyncio
import base64
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

import asyncpg
import uvloop

from benchmarks.load import RECORDS_A_REQUEST, SELLER, SELLER_KEYS, Signer, open_hours
from benchmarks.machine import load_average
from benchmarks.sending import Ran, send_all
from meterhouse.core.moment import HOUR
from meterhouse.core.profile import HOUR_SECONDS
from meterhouse.core.usage import Entry, Partition, RecordKey, Series
from meterhouse.ledger.postgres import PostgresLedger, open_postgres
from meterhouse.ledger.protocol import Decision, Header, Keys
from tests.postgres import Postgres, in_schema
from tests.postgres_proxy import before

REQUESTS: Final = 3000
CONNECTIONS: Final = 64
ROUNDS: Final = 3
BUYERS: Final = 200
DIMENSIONS: Final = 100
GROUP_SIZES: Final = (25, 250, 1600)
GROUP_SECONDS: Final = 2.0
GROWN_RECORDS: Final = 6_000_000
GROWN_SERIES: Final = 20_000
GROWTH_ROUNDS: Final = 5
KEY: Final = base64.b64encode(bytes(range(32))).decode()
HERE: Final = Partition("us-east-1", "benchmark")
HEADER: Final = Header("request", "BatchMeterUsage", "arn:aws:iam::1:user/m", "1", 0, 0, "2026-11")


def say(**figures: object) -> None:
    """A line of figures."""
    print(json.dumps(figures), flush=True)


async def describe(url: str) -> None:
    """What the database says of itself, beside every figure."""
    db = await asyncpg.connect(url)
    names = ("server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "wal_sync_method")
    found = {name: await db.fetchval("SELECT current_setting($1)", name) for name in names}
    await db.close()
    say(database=found, processors=os.cpu_count(), load_average=load_average())


# Through the whole server


class Contender(NamedTuple):
    """What serves."""

    name: str
    options: Sequence[str]


def catalog(products: int) -> str:
    """So many products of a hundred dimensions, each sold to two hundred buyers."""
    tables = [
        f'[[credentials]]\naccess_key_id = "{SELLER_KEYS.access_key_id}"\naccount = "{SELLER}"\n',
        f'secret_access_key = "{SELLER_KEYS.secret_access_key}"\n',
    ]
    for product in range(products):
        tables.append(f'[[products]]\ncode = "{_code(product)}"\nname = "P"\nseller = "{SELLER}"\ntype = "saas"\n')
        tables += [
            f'[[products.dimensions]]\nkey = "d{number}"\nunit = "U"\nprice = "1"\n' for number in range(DIMENSIONS)
        ]
        tables += [
            f'[[agreements]]\nproduct = "{_code(product)}"\nbuyer = "{_buyer(buyer)}"\nstart = 2024-01-01T00:00:00Z\n'
            for buyer in range(BUYERS)
        ]
    return "".join(tables)


def _code(product: int) -> str:
    return f"benchmarkproductcode0{product:04}"


def _buyer(number: int) -> str:
    return f"{200_000_000_000 + number}"


def requests(signer: Signer, products: int) -> list[bytes]:
    """Requests of new records, product after product."""
    hours = open_hours(time.time_ns() // 1000)
    said = itertools.product(hours, range(DIMENSIONS), range(BUYERS // RECORDS_A_REQUEST), range(products))
    made = []
    for hour, dimension, part, product in itertools.islice(said, REQUESTS):
        records = [
            {
                "Timestamp": hour * HOUR_SECONDS,
                "CustomerAWSAccountId": _buyer(part * RECORDS_A_REQUEST + number),
                "Dimension": f"d{dimension}",
                "Quantity": number,
            }
            for number in range(RECORDS_A_REQUEST)
        ]
        made.append(signer.batch(json.dumps({"ProductCode": _code(product), "UsageRecords": records}).encode()))
    assert len(made) == REQUESTS
    return made


@contextmanager
def serving(folder: Path, options: Sequence[str]) -> Iterator[tuple[str, int]]:
    """A server; its host and port."""
    command = [sys.executable, "-m", "meterhouse", "serve", "--port", "0", "--log-level", "warning"]
    command += ["--catalog", str(folder / "catalog.toml"), *options]
    environment = {**os.environ, "METERHOUSE_MASTER_KEY": KEY}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        assert server.stdout is not None
        line = next(line for line in server.stdout if "is ready at" in line)
        host, _, port = line.strip().rpartition("/")[2].partition(":")
        yield host, int(port)
        server.terminate()


async def _empty(url: str) -> None:
    db = await asyncpg.connect(url)
    await db.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public; CHECKPOINT")
    await db.close()


def serve(database: Postgres) -> None:
    """Records a second through the whole server."""
    rates: dict[tuple[str, int], list[float]] = {}
    for _, products in itertools.product(range(ROUNDS), (1, 8)):
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "catalog.toml").write_text(catalog(products), encoding="utf-8")
            for contender in (
                Contender("sqlite, 1 process", ("--data", str(folder / "ledger.db"))),
                Contender("postgres, 1 process", ("--data", database.url)),
                Contender("postgres, 2 processes", ("--data", database.url, "--workers", "2")),
            ):
                uvloop.run(_empty(database.url))
                with serving(folder, contender.options) as (host, port):
                    prepared = requests(Signer(f"{host}:{port}", time.time_ns() // 1000), products)
                    ran: Ran = uvloop.run(send_all(host, port, prepared, connections=CONNECTIONS))
                assert ran.accepted == REQUESTS * RECORDS_A_REQUEST, ran.statuses
                rates.setdefault((contender.name, products), []).append(ran.rate * RECORDS_A_REQUEST)
                say(
                    contender=contender.name,
                    products=products,
                    records_a_second=round(ran.rate * RECORDS_A_REQUEST),
                    p50_ms=round(ran.percentile(0.5), 1),
                    p99_ms=round(ran.percentile(0.99), 1),
                    load_average=load_average(),
                )
    for (name, products), found in rates.items():
        ratio = statistics.median(found) / statistics.median(rates["sqlite, 1 process", products])
        say(contender=name, products=products, median=round(statistics.median(found)), beside_sqlite=round(ratio, 2))


# The ledger alone


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


async def measure(name: str, ledger: PostgresLedger, source: Source, other: PostgresLedger | None = None) -> float:
    """Groups of one size for a while; `other` keeps a record between each two. Records a second."""
    for _ in range(5):
        await keep(ledger, source.entries())
    seconds: list[float] = []
    records = 0
    disturbing = itertools.count(1)
    while sum(seconds) < GROUP_SECONDS:
        if other is not None:
            key = RecordKey(next(disturbing), Series("", "other", "requests"))
            await keep(other, [Entry(key, key.hour * HOUR, 1, os.urandom(16))])
        entries = source.entries()
        begun = time.perf_counter()
        await keep(ledger, entries)
        seconds.append(time.perf_counter() - begun)
        records += len(entries)
    rate = records / sum(seconds)
    seconds.sort()
    say(
        what=name,
        records_a_group=len(entries),
        records_a_second=round(rate),
        groups_a_second=round(len(seconds) / sum(seconds)),
        p50_micros=round(1e6 * statistics.median(seconds)),
        p99_micros=round(1e6 * seconds[int(len(seconds) * 0.99)]),
        load_average=load_average(),
    )
    return rate


async def _groups(name: str, url: str, address: str) -> None:
    for size in GROUP_SIZES:
        for disturbed in (False, True):
            await _empty(url)
            ledger, other = await open_postgres(address), await open_postgres(url)
            way = "under the lock" if disturbed else "as the owner"
            await measure(f"{name}, {way}", ledger, Source(size), other if disturbed else None)
            await ledger.close()
            await other.close()


def groups(database: Postgres) -> None:
    """Groups in one partition."""
    uvloop.run(_groups("socket", database.url, database.url))


def delay(database: Postgres) -> None:
    """The same through a proxy, with and without a millisecond more for each round trip."""

    async def run() -> None:
        with tempfile.TemporaryDirectory(dir="/tmp") as folder:
            async with before(database.socket, Path(folder)) as (proxy, address):
                for proxy.delay_seconds in (0.0, 0.001):
                    name = f"proxy, {proxy.delay_seconds * 1000:g} ms a round trip"
                    await _groups(name, database.url, address)

    uvloop.run(run())


FILL: Final = """
INSERT INTO usage_records (partition, hour, series, quantity_micros, position, record_id)
SELECT 1, 390000 + h, s, 1000000, h, decode(md5((h * 1000000 + s)::text), 'hex')
FROM generate_series($1::int, $2::int) h, generate_series(1, $3::int) s ORDER BY 1, 2, 3"""


def growth(database: Postgres) -> None:
    """Groups of 1 600 on an empty ledger and on a large one, in turn."""
    uvloop.run(_growth(database.url))


async def _growth(url: str) -> None:
    await _empty(url)
    db = await asyncpg.connect(url)
    await db.execute("CREATE SCHEMA grown")
    grown = await open_postgres(in_schema(url, "grown"))
    source = Source(1600)
    await keep(grown, source.entries())
    await db.execute("SET search_path = grown")
    for hour in range(0, GROWN_RECORDS // GROWN_SERIES, 25):
        await db.execute(FILL, hour, hour + 24, GROWN_SERIES)
    await db.execute("ANALYZE")
    held = await db.fetchval("SELECT count(*) FROM usage_records")
    size = await db.fetchval("SELECT pg_total_relation_size('usage_records')")
    ratios = []
    for _ in range(GROWTH_ROUNDS):
        await db.execute("DROP SCHEMA IF EXISTS young CASCADE; CREATE SCHEMA young; CHECKPOINT")
        young = await open_postgres(in_schema(url, "young"))
        rate = await measure("empty", young, Source(1600))
        await young.close()
        await db.execute("CHECKPOINT")
        ratios.append(await measure("grown", grown, source) / rate)
    await grown.close()
    await db.close()
    of_empty = [round(ratio, 2) for ratio in ratios]
    say(
        records=held,
        bytes_a_record=round(size / held, 1),
        of_empty=of_empty,
        median=round(statistics.median(ratios), 2),
    )


PARTS: Final = {"serve": serve, "groups": groups, "delay": delay, "growth": growth}


def main(arguments: Sequence[str]) -> None:
    """Runs the parts that are named, or all."""
    with Postgres({"shared_buffers": "512MB", "max_wal_size": "8GB"}) as database:
        uvloop.run(describe(database.url))
        for name in arguments or PARTS:
            PARTS[name](database)


if __name__ == "__main__":
    main(sys.argv[1:])
