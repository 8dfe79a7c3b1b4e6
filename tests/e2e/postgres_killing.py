"""`kill -9` under load of whatever serves from PostgreSQL: a server process, a backend of the database, the database.

A round: several clients send signed batches to two servers, in turns, while one of the victims is killed; whoever is
refused sends the same batch again, to whichever answers, until it is acknowledged. Refusals must be such as SDKs retry.
Then the ledger is held against all that was acknowledged (`killing.Truth`): nothing lost, nothing doubled.

    server     one of the processes of a server with two; its parent replaces it
    servers    a whole server, parent and processes; it is started again
    backend    one connection of the database, which throws out all the others
    database   all of PostgreSQL; it is started again

A test runs each once; `scripts/kill-test-postgres` runs 30 rounds.
"""

import asyncio
import base64
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.client import HTTPException
from itertools import cycle
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from threading import Event, Lock
from typing import Final, NamedTuple

import asyncpg

from meterhouse.core.usage import Partition
from meterhouse.ledger.postgres import open_postgres
from meterhouse.ledger.protocol import JournalEntry
from tests.e2e.killing import PRODUCT, Batch, Load, Truth, catalog
from tests.e2e.market import KEYS
from tests.e2e.seller import REGION, Answer, Seller
from tests.e2e.serving import Server
from tests.postgres import Postgres, children_of, kill_if_there

ROUNDS: Final = 30
CLIENTS: Final = 8
BATCHES: Final = 240
"""Batches in a round."""
PATIENCE_SECONDS: Final = 60
RETRIED: Final = frozenset({500, 503})
"""What every SDK sends again."""
ENVIRONMENT: Final = {"METERHOUSE_MASTER_KEY": base64.b64encode(b"a key of these tests, 32 bytes..").decode()}


class Arena(NamedTuple):
    """What can be killed."""

    database: Postgres
    servers: Sequence[Server]


def kill_a_process(arena: Arena, random: Random) -> None:
    """One of a server's processes."""
    kill_if_there(random.choice(children_of(random.choice(arena.servers).process.pid)))


def kill_a_server(arena: Arena, random: Random) -> None:
    """A server with all its processes, and a new one in its place."""
    server = random.choice(arena.servers)
    children = children_of(server.process.pid)
    server.kill()
    for child in children:
        kill_if_there(child)
    server.start()


def kill_a_backend(arena: Arena, _random: Random) -> None:
    """One of the database's, amid whatever it does."""
    kill_if_there(asyncio.run(_a_backend_of(arena.database.url)))


async def _a_backend_of(url: str) -> int:
    db = await asyncpg.connect(url)
    try:
        number: int = await db.fetchval(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'meterhouse' ORDER BY state_change DESC LIMIT 1"
        )
        return number
    finally:
        await db.close()


def kill_the_database(arena: Arena, _random: Random) -> None:
    """All of it, and started again."""
    arena.database.kill()
    arena.database.start()


VICTIMS: Final[dict[str, Callable[[Arena, Random], None]]] = {
    "server": kill_a_process,
    "servers": kill_a_server,
    "backend": kill_a_backend,
    "database": kill_the_database,
}


class Sent(NamedTuple):
    """How a round went."""

    retries: int
    longest_seconds: float
    """The longest that a client waited until its batch was acknowledged."""


class Clients:
    """Send batches until each is acknowledged."""

    def __init__(self, servers: Sequence[Server], batches: Sequence[Batch], truth: Truth, harm_after: int) -> None:
        self._servers = servers
        self._waiting: SimpleQueue[Batch] = SimpleQueue()
        for batch in batches:
            self._waiting.put(batch)
        self._truth = truth
        self._harm_after = harm_after
        self._lock = Lock()
        self._answered = 0
        self._retries = 0
        self._longest = 0.0
        self.is_time = Event()
        """Whether enough has been answered for the harm to be done."""

    def send_all(self, harm: Callable[[], None]) -> Sent:
        """Returns when every batch is acknowledged and the harm is done."""
        with ThreadPoolExecutor(CLIENTS + 1) as pool:
            harming = pool.submit(self._harm, harm)
            for running in [pool.submit(self._client, number) for number in range(CLIENTS)]:
                running.result()
            harming.result()
        return Sent(self._retries, self._longest)

    def _harm(self, harm: Callable[[], None]) -> None:
        assert self.is_time.wait(PATIENCE_SECONDS), "nobody was answered"
        harm()

    def _client(self, number: int) -> None:
        turns = cycle([*self._servers[number % 2 :], *self._servers[: number % 2]])
        while True:
            try:
                batch = self._waiting.get_nowait()
            except Empty:
                return
            begun = time.monotonic()
            self._truth.hear(batch, self._acknowledged(batch, turns, begun + PATIENCE_SECONDS))
            with self._lock:
                self._longest = max(self._longest, time.monotonic() - begun)
                self._answered += 1
                if self._answered == self._harm_after:
                    self.is_time.set()

    def _acknowledged(self, batch: Batch, turns: Iterator[Server], deadline: float) -> Answer:
        while time.monotonic() < deadline:
            try:
                with Seller(next(turns).port, KEYS) as seller:
                    answer = seller.batch(PRODUCT, batch.request())
            except (OSError, HTTPException):
                answer = None
            if answer is not None and answer.status == 200:
                return answer
            assert answer is None or answer.status in RETRIED, f"no SDK would send that again: {answer}"
            with self._lock:
                self._retries += 1
        raise AssertionError("the service did not come back")


async def journal_of(url: str) -> Sequence[JournalEntry]:
    """All that a ledger has kept of the product's usage."""
    ledger = await open_postgres(url)
    try:
        size = await ledger.size()
        rows = await ledger.scan(Partition(REGION, PRODUCT), after=0, limit=sys.maxsize)
        assert size.records == sum(len(row.entries) for row in rows), "a record without its row, or a row without it"
        return rows
    finally:
        await ledger.close()


def run(victims: Sequence[str], seed: int, folder: Path, batch_count: int = BATCHES) -> Iterator[str]:
    """Runs a round for each victim; yields a sentence on each. AssertionError where anything is lost or doubled."""
    random = Random(seed)
    load, truth = Load(random), Truth()
    with ExitStack() as stack:
        database = stack.enter_context(Postgres())
        servers = []
        for number in range(2):
            place = folder / str(number)
            place.mkdir()
            server = Server(
                place,
                *("--workers", "2", "--log-level", "warning"),
                data=database.url,
                catalog=catalog() if number == 0 else None,
                environment=ENVIRONMENT,
            )
            servers.append(stack.enter_context(server))
        arena = Arena(database, servers)
        for number, victim in enumerate(victims, 1):
            batches = load.batches(batch_count)
            truth.expect(batches)
            clients = Clients(servers, batches, truth, random.randrange(batch_count // 10, batch_count // 2))
            sent = clients.send_all(partial(VICTIMS[victim], arena, random))
            rows = asyncio.run(journal_of(database.url))
            truth.check(rows)
            yield (
                f"round {number}: {victim} killed, {sent.retries} times sent again, {sent.longest_seconds:.1f} s the "
                f"longest wait, {len(rows)} batches kept: lost 0, doubled 0"
            )
        assert [server.stop() for server in servers] == [0, 0]


def main(arguments: Sequence[str]) -> None:
    """`kill-test-postgres [ROUNDS [SEED]]`."""
    rounds = int(arguments[0]) if arguments else ROUNDS
    seed = int(arguments[1]) if len(arguments) > 1 else Random().randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    victims = [victim for _, victim in zip(range(rounds), cycle(VICTIMS), strict=False)]
    with tempfile.TemporaryDirectory() as folder:
        for sentence in run(victims, seed, Path(folder)):
            sys.stdout.write(f"{sentence}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
