"""What the ledger costs: microseconds per turn of 25 new records, and bytes per record on disk.

    python benchmarks/ledger.py [--records 200000] [--series 20000] [--shuffled]

Prints, for groups of 1, 8 and 64 concurrent turns, with and without sync: processor time and wall time per turn, of the
whole process (so the callers' share counts too, about 15 us). `first` is the hour in which every series is new, `then`
are the hours after it. Ratios between lines count; absolute figures belong to one machine and one hour.
"""

import argparse
import asyncio
import gc
import os
import random
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from meterhouse.core.usage import Entry, Partition, RecordKey, Series
from meterhouse.ledger import sqlite_file
from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.protocol import Decision, Header, Keys, Ledger, RecordFilter, View
from meterhouse.ledger.sqlite import open_sqlite

PARTITION = Partition("us-east-1", "4w1vgsrkqdkypbz43g7qkk4uz")
FIRST_HOUR = 498_000
RECORDS = 25


class Load:
    """Requests of 25 new records: every series once an hour, in one order every hour or in a new one each."""

    def __init__(self, series: int, *, shuffled: bool) -> None:
        chance = random.Random(1)
        self.series = [
            Series(
                f"arn:aws:license-manager::000000000001:license:l-{chance.getrandbits(128):032x}",
                f"{chance.randrange(10**12):012d}",
                chance.choice(("requests", "storage_gb", "seats", "compute-hours")),
            )
            for _ in range(series)
        ]
        self._order = list(range(series))
        self._chance = chance
        self._shuffled = shuffled
        self._requests = self._all()

    def __iter__(self) -> Iterator[tuple[list[RecordKey], int]]:
        return self._requests

    def _all(self) -> Iterator[tuple[list[RecordKey], int]]:
        hour = FIRST_HOUR
        while True:
            if self._shuffled:
                self._chance.shuffle(self._order)
            for start in range(0, len(self._order) - RECORDS + 1, RECORDS):
                keys = [RecordKey(hour, self.series[place]) for place in self._order[start : start + RECORDS]]
                yield keys, hour * 3_600_000_000
            hour += 1


def request(keys: list[RecordKey], instant: int) -> tuple[Keys, Header, list[Entry]]:
    """What a request comes to before its turn: none of the ledger's work."""
    ids = os.urandom(16 * len(keys))
    header = Header(
        "7d6c1c0e-1f0b-4f7e-9a55-0a4f6a1b2c3d",
        "BatchMeterUsage",
        "arn:aws:iam::000000000001:user/metering",
        "000000000001",
        instant + 1_234_567,
        instant + 1_234_567,
        "2026-11",
    )
    entries = [
        Entry(key, instant + place * 7_000_000, 1_000_000 * (place * 37 % 1000 + 1), ids[place * 16 : place * 16 + 16])
        for place, key in enumerate(keys)
    ]
    return Keys(keys), header, entries


async def run(ledger: Ledger, load: Load, clients: int, records: int) -> tuple[float, float]:
    """Processor and wall microseconds per turn, with so many clients that each wait for their answer."""
    prepared = [request(*next(iter(load))) for _ in range(records // RECORDS)]
    gc.freeze()  # as a server does after its start: what stands for long is not looked through again and again
    waiting = iter(prepared)

    async def client() -> None:
        for keys, header, entries in waiting:

            def decide(view: View, header: Header = header, entries: list[Entry] = entries) -> Decision:
                new = [entry for entry in entries if view.record(entry.key) is None]
                return Decision(None, new, (), header)

            await ledger.turn(PARTITION, keys, decide, revision=0)

    processor, wall = time.process_time(), time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    processor, wall = time.process_time() - processor, time.perf_counter() - wall
    return processor / len(prepared) * 1e6, wall / len(prepared) * 1e6


async def measure(name: str, records: int, load: Load, folder: Path) -> None:
    """One engine, all group sizes, printed."""
    ledger = await (open_memory() if name == "memory" else open_sqlite(folder / f"{name}.db"))
    runs = [
        ("first", 64, len(load.series)),
        ("then", 64, records),
        ("then", 8, records // 4),
        ("then", 1, records // 20),
    ]
    for hour, clients, share in runs:
        processor, wall = await run(ledger, load, clients, share)
        print(f"{name:8} {hour:5} {clients:3} at a time: {processor:5.0f} us processor, {wall:5.0f} us wall a turn")
    began = time.perf_counter()
    sums = await ledger.sums(RecordFilter())
    read = time.perf_counter() - began
    size = await ledger.size()
    print(f"{name:8} {size.records} records, {size.journal_rows} rows; {len(sums)} sums in {read:.2f} s")
    await ledger.close()
    if name != "memory":
        size_on_disk = (folder / f"{name}.db").stat().st_size
        print(f"{name:8} {size_on_disk / size.records:.1f} bytes a record on disk")


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--records", type=int, default=200_000)
    parser.add_argument("--series", type=int, default=20_000)
    parser.add_argument("--shuffled", action="store_true", help="another order of the customers every hour")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=".") as folder:
        for name, synchronous in (("memory", ""), ("synced", "FULL"), ("unsynced", "OFF")):
            sqlite_file.PRAGMAS["synchronous"] = synchronous or "FULL"
            asyncio.run(measure(name, asked.records, Load(asked.series, shuffled=asked.shuffled), Path(folder)))


if __name__ == "__main__":
    main()
