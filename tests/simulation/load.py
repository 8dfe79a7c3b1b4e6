"""A random load on a ledger, and what must be true of the ledger afterwards, whatever happened to it.

Run as a program (`python -m tests.simulation.load PATH SEED`) it writes without end, and prints the number of each turn
once that is acknowledged, for a test to kill.
"""

import asyncio
import random
import sys
from collections.abc import Callable, Collection, Sequence
from pathlib import Path

import apsw

from meterhouse.core.moment import HOUR
from meterhouse.core.usage import Entry, Kept, Partition, RecordKey, Series
from meterhouse.ledger.protocol import Decision, Header, JournalEntry, Keys, Ledger, View
from meterhouse.ledger.sqlite import open_sqlite

PARTITIONS = (Partition("us-east-1", "a"), Partition("eu-west-1", "b"))
HOUR_NOW = 498_000


class Turn:
    """A turn of the load, made from its number alone, so that whoever knows the number knows what it must have kept."""

    def __init__(self, number: int) -> None:
        chance = random.Random(number)
        self.number = number
        self.partition = chance.choice(PARTITIONS)
        self.header = Header(str(number), "BatchMeterUsage", "arn", "1", number, number, "2026-11")
        self.entries = [
            Entry(
                RecordKey(HOUR_NOW + number % 3, Series("", f"{number}-{place}", chance.choice("de"))),
                (HOUR_NOW + number % 3) * HOUR + place,
                chance.randrange(10**15),
                chance.randbytes(16),
            )
            for place in range(chance.randrange(1, 26))
        ]

    async def run(self, ledger: Ledger) -> Sequence[Kept]:
        """Keeps the turn's records, or learns that they are kept."""

        def decide(view: View) -> Decision:
            new = [entry for entry in self.entries if view.record(entry.key) is None]
            answer = [view.record(entry.key) or Kept(entry.quantity_micros, entry.record_id) for entry in self.entries]
            return Decision(answer, new, (), self.header if new else None)

        keys = Keys([entry.key for entry in self.entries])
        decision = await ledger.turn(self.partition, keys, decide, revision=0)
        assert isinstance(decision.answer, list)
        return decision.answer


async def write(ledger: Ledger, numbers: Sequence[int], clients: int, acknowledged: Callable[[int], None]) -> None:
    """Runs turns, so many at a time, and says of each when it is acknowledged. A turn that fails is let go."""
    waiting = iter(numbers)

    async def client() -> None:
        for number in waiting:
            await Turn(number).run(ledger)
            acknowledged(number)

    await asyncio.gather(*(client() for _ in range(clients)))


def times_begun_anew(path: Path) -> int:
    """How many times the log of an open ledger was begun anew: SQLite counts them in the log's head."""
    with path.with_name(path.name + "-wal").open("rb") as log:
        return int.from_bytes(log.read(16)[12:], "big")


async def complaints(path: Path, acknowledged: Collection[int], sent: Collection[int]) -> list[str]:
    """What is wrong with a ledger that was given the turns `sent`, of which some were acknowledged."""
    try:
        ledger = await open_sqlite(path)
        try:
            kept = await _rows(ledger)
            found = await _complaints(ledger, kept, acknowledged, sent)
        finally:
            await ledger.close()
        db = apsw.Connection(str(path))
        if db.pragma("integrity_check") != "ok":
            found.append("the file is damaged")
        if db.execute("SELECT count(*) FROM usage_records").get != sum(len(row.entries) for row in kept):
            found.append("there are records without a row")
        db.close()
    except Exception as error:  # noqa: BLE001 - a file that has lost pages can surprise its readers in any way
        return [f"cannot be read: {error!r}"]
    return found


async def _rows(ledger: Ledger) -> list[JournalEntry]:
    return [row for partition in PARTITIONS for row in await ledger.scan(partition, after=0, limit=10**6)]


async def _complaints(
    ledger: Ledger, rows: Sequence[JournalEntry], acknowledged: Collection[int], sent: Collection[int]
) -> list[str]:
    found: list[str] = []
    for partition in PARTITIONS:
        positions = [row.position for row in rows if row.partition == partition]
        if positions != list(range(1, len(positions) + 1)):
            found.append(f"{partition}: positions have gaps")
    kept = {int(row.header.request_id): row for row in rows}
    found += [f"turn {number} was acknowledged and is missing" for number in sorted(set(acknowledged) - kept.keys())]
    found += [f"turn {number} was never sent" for number in sorted(kept.keys() - set(sent))]
    for number, row in kept.items():
        turn = Turn(number)
        if (row.partition, list(row.entries)) != (turn.partition, turn.entries):
            found.append(f"turn {number} is not what it was")
        if await turn.run(ledger) != [Kept(entry.quantity_micros, entry.record_id) for entry in turn.entries]:
            found.append(f"turn {number}: records and journal disagree")
    size = await ledger.size()
    if (size.records, size.journal_rows) != (sum(len(row.entries) for row in rows), len(rows)):
        found.append("the counts disagree with the journal")
    return found


async def _write_on(path: Path, first: int) -> None:
    ledger = await open_sqlite(path)

    def acknowledged(number: int) -> None:
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()

    await write(ledger, range(first, first + 1_000_000), 8, acknowledged)


if __name__ == "__main__":
    asyncio.run(_write_on(Path(sys.argv[1]), int(sys.argv[2])))
