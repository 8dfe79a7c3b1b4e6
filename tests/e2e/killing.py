"""`kill -9` under load, again and again, on one ledger: what was acknowledged must be there, once, whatever the moment.

A round: several clients send signed batches; when a random number of them has been answered the server is killed, in
the midst of the others; the ledger is looked at as the dead server left it; a new server is started on it, and every
batch of the round is sent again, answered or not.

A batch is made of

- *fresh* records, which no other batch has: they show that a batch is kept whole or not at all,
- *repeats* of what earlier rounds metered: they must be answered with the ids of then,
- *contested* records, for which batches say different quantities at the same time: one of them wins, for ever.

Whatever is acknowledged goes into `Truth`, which objects to any answer, and any ledger, that contradicts it. A test
runs a few rounds; `scripts/kill-test` runs 20.
"""

import asyncio
import sys
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from itertools import count, islice, product
from pathlib import Path
from queue import Empty, SimpleQueue
from random import Random
from threading import Lock
from typing import Any, Final, NamedTuple
from zlib import crc32

from meterhouse.core.usage import Partition, text_of_id
from meterhouse.ledger.protocol import JournalEntry
from meterhouse.ledger.sqlite import open_sqlite
from tests.e2e.market import KEYS, SELLER, now_seconds
from tests.e2e.seller import REGION, Answer, Seller
from tests.e2e.serving import Server

ROUNDS: Final = 20
CLIENTS: Final = 8
BATCHES: Final = 400
"""Batches in a round."""
BATCH_RECORDS: Final = 25
REPEATS: Final = 3
CONTESTED: Final = 2
QUANTITIES: Final = 3
"""How many different quantities are said of a contested record."""

PRODUCT: Final = "k1i2l3l4e5d6p7r8o9d0u1c2t"
BUYERS: Final = [f"{number:012}" for number in range(1, 201)]
DIMENSIONS: Final = [f"d{number}" for number in range(199)]
CONTESTED_DIMENSION: Final = "contested"
HOURS: Final = 5


class Key(NamedTuple):
    """What makes a record one."""

    timestamp: int
    customer: str
    dimension: str

    @property
    def quantity(self) -> int:
        """What every batch says of it, unless it is contested."""
        return crc32(repr(self).encode()) % 1000

    @property
    def is_contested(self) -> bool:
        """Whether batches disagree about it."""
        return self.dimension == CONTESTED_DIMENSION


Said = tuple[Key, int]
"""A record: its key and its quantity."""


class Batch(NamedTuple):
    """A request, and its number."""

    number: int
    records: Sequence[Said]
    fresh: frozenset[Key]

    def request(self) -> list[dict[str, Any]]:
        """The records as they are sent."""
        return [
            {
                "Timestamp": key.timestamp,
                "CustomerAWSAccountId": key.customer,
                "Dimension": key.dimension,
                "Quantity": quantity,
            }
            for key, quantity in self.records
        ]


def catalog() -> str:
    """One product with many dimensions, and many buyers."""
    tables = [
        f'[[products]]\ncode = "{PRODUCT}"\nname = "Killed"\nseller = "{SELLER}"\ntype = "saas"',
        *(
            f'[[products.dimensions]]\nkey = "{dimension}"\nunit = "Units"\nprice = "1"'
            for dimension in (*DIMENSIONS, CONTESTED_DIMENSION)
        ),
        *(
            f'[[agreements]]\nproduct = "{PRODUCT}"\nbuyer = "{buyer}"\nstart = 2024-01-01T00:00:00Z'
            for buyer in BUYERS
        ),
        f'[[credentials]]\naccess_key_id = "{KEYS.access_key_id}"\naccount = "{SELLER}"',
        f'secret_access_key = "{KEYS.secret_access_key}"\n',
    ]
    return "\n".join(tables)


class Load:
    """Batches to send, made from a seed."""

    def __init__(self, random: Random) -> None:
        self._random = random
        now = now_seconds()
        hours = [now - 3600 * hour - 5 for hour in range(HOURS)]
        self._keys: Iterator[Key] = (Key(*key) for key in product(hours, BUYERS, DIMENSIONS))
        self._contested = [Key(now - 5, buyer, CONTESTED_DIMENSION) for buyer in BUYERS]
        self._numbers = count()
        self._earlier: list[Key] = []

    def batches(self, batch_count: int) -> list[Batch]:
        """The batches of a round; what they have fresh is repeated from the next round on."""
        made = [self._batch() for _ in range(batch_count)]
        for batch in made:
            self._earlier += batch.fresh
        return made

    def _batch(self) -> Batch:
        repeats = self._random.sample(self._earlier, REPEATS) if self._earlier else []
        contested = self._random.sample(self._contested, CONTESTED)
        fresh = list(islice(self._keys, BATCH_RECORDS - len(repeats) - len(contested)))
        assert fresh, "no key is left: fewer rounds, or more buyers"
        said = [(key, key.quantity) for key in (*fresh, *repeats)]
        said += [(key, self._random.randrange(QUANTITIES)) for key in contested]
        self._random.shuffle(said)
        return Batch(next(self._numbers), said, frozenset(fresh))


class Truth:
    """What the server has acknowledged, and what may no longer be otherwise."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._kept: dict[Key, tuple[int, str]] = {}
        self._lost: set[Said] = set()
        self._batch_of_fresh: dict[Key, Batch] = {}
        self.acknowledged: set[int] = set()

    def expect(self, batches: Sequence[Batch]) -> None:
        """These batches will be sent."""
        self._batch_of_fresh.update((key, batch) for batch in batches for key in batch.fresh)

    def hear(self, batch: Batch, answer: Answer) -> None:
        """Notes an answer; AssertionError where it contradicts an earlier one."""
        assert answer.status == 200, answer
        results = answer.body["Results"]
        assert len(results) == len(batch.records)
        assert answer.body["UnprocessedRecords"] == []
        with self._lock:
            for (key, quantity), result in zip(batch.records, results, strict=True):
                if result["Status"] == "Success":
                    kept = quantity, result["MeteringRecordId"]
                    assert self._kept.setdefault(key, kept) == kept, f"{key} was {self._kept[key]}, and now is {kept}"
                else:
                    assert result["Status"] == "DuplicateRecord", result
                    assert key.is_contested, f"{key} was never said otherwise, and is in conflict"
                    self._lost.add((key, quantity))
            self.acknowledged.add(batch.number)

    def check(self, journal: Sequence[JournalEntry]) -> None:
        """Holds a ledger's journal against all that was acknowledged."""
        assert [row.position for row in journal] == list(range(1, len(journal) + 1)), "the journal has a gap"
        found: dict[Key, tuple[int, str]] = {}
        whole: set[int] = set()
        for row in journal:
            keys = set()
            for entry in row.entries:
                series = entry.key.series
                key = Key(entry.timestamp_micros // 1_000_000, series.customer, series.dimension)
                assert key not in found, f"{key} is kept twice"
                found[key] = entry.quantity_micros // 1_000_000, text_of_id(entry.record_id)
                assert key.is_contested or found[key][0] == key.quantity, f"{key} is kept as {found[key]}"
                keys.add(key)
            fresh = {key for key in keys if not key.is_contested}
            batch = self._batch_of_fresh[min(fresh)]
            assert fresh == batch.fresh, f"the batch {batch.number} is kept in part"
            whole.add(batch.number)
        missing = self.acknowledged - whole
        assert not missing, f"acknowledged, and not kept: the batches {sorted(missing)}"
        for key, kept in self._kept.items():
            assert found.get(key) == kept, f"{key} was acknowledged as {kept}, and is kept as {found.get(key)}"
        for key, quantity in self._lost:
            assert found[key][0] != quantity, f"{key} was in conflict with {quantity}, and is kept with it"


def send(server: Server, batches: Sequence[Batch], truth: Truth, kill_after: int | None) -> int:
    """Several clients send these batches at once; how many were answered.

    The server is killed as soon as `kill_after` of them were, which ends all clients; None: it is not.
    """
    waiting: SimpleQueue[Batch] = SimpleQueue()
    for batch in batches:
        waiting.put(batch)
    lock = Lock()
    answered = 0

    def client() -> None:
        nonlocal answered
        with Seller(server.port, KEYS) as seller:
            while True:
                try:
                    batch = waiting.get_nowait()
                    answer = seller.batch(PRODUCT, batch.request())
                except Empty:
                    return
                except (OSError, HTTPException):
                    if kill_after is None:
                        raise
                    return
                truth.hear(batch, answer)
                with lock:
                    answered += 1
                    if answered == kill_after:
                        server.process.kill()

    with ThreadPoolExecutor(max_workers=CLIENTS) as pool:
        for running in [pool.submit(client) for _ in range(CLIENTS)]:
            running.result()
    assert kill_after is None or answered >= kill_after, "the server did not answer although it was not killed yet"
    return answered


async def journal_of(path: Path) -> Sequence[JournalEntry]:
    """All that a ledger has kept of the product's usage."""
    ledger = await open_sqlite(path)
    try:
        size = await ledger.size()
        rows = await ledger.scan(Partition(REGION, PRODUCT), after=0, limit=sys.maxsize)
        assert size.records == sum(len(row.entries) for row in rows), "a record without its row, or a row without it"
        return rows
    finally:
        await ledger.close()


def run(rounds: int, seed: int, folder: Path, batch_count: int = BATCHES) -> Iterator[str]:
    """Runs rounds; yields a sentence on each. AssertionError where anything acknowledged is missing, doubled or new."""
    random = Random(seed)
    load, truth = Load(random), Truth()
    server = Server(folder, "--log-level", "warning", catalog=catalog())
    with server:
        for number in range(1, rounds + 1):
            batches = load.batches(batch_count)
            truth.expect(batches)
            answered = send(server, batches, truth, random.randrange(batch_count // 20, batch_count * 9 // 10))
            server.kill()
            rows = asyncio.run(journal_of(server.ledger))
            truth.check(rows)
            server.start()
            again = send(server, batches, truth, None)
            assert again == len(batches)
            yield f"round {number}: killed after {answered} answers, {len(rows)} batches kept until then, all is there"
        assert server.stop() == 0
        truth.check(asyncio.run(journal_of(server.ledger)))


def main(arguments: Sequence[str]) -> None:
    """`kill-test [ROUNDS [SEED]]`."""
    rounds = int(arguments[0]) if arguments else ROUNDS
    seed = int(arguments[1]) if len(arguments) > 1 else Random().randrange(2**32)
    sys.stdout.write(f"seed {seed}\n")
    with tempfile.TemporaryDirectory() as folder:
        for sentence in run(rounds, seed, Path(folder)):
            sys.stdout.write(f"{sentence}\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
