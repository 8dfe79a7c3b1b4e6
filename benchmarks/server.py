"""A server composed from the product's parts, for what `meterhouse serve` has no flag for.

    python -m benchmarks.server --ledger nothing --data FILE --catalog FILE

Ledgers: `sqlite` and `memory` are the product's. `nothing` is storage switched off: a turn finds nothing kept, is
decided, and nothing is done about it; neither gathered nor staged. All else (HTTP, signature, decoding, rules,
encoding) is the same code on the same way. `--sync-delay-ms` makes each sync of the disk slower.
"""

import argparse
import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import uvloop

from benchmarks.slow_disk import SlowDisk
from meterhouse.core.usage import Partition
from meterhouse.ledger.gather import GROUP_TURNS, QUEUE_TURNS, WAIT_SECONDS, tell_nobody
from meterhouse.ledger.judge import Sight
from meterhouse.ledger.memory import MemoryLedger, open_memory
from meterhouse.ledger.protocol import Decision, Keys, Ledger, View
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.server.log import LogLevel, configure_logs
from meterhouse.server.metrics import Metrics
from meterhouse.server.run import listen, serve
from meterhouse.server.serving import KEY_SUFFIX, Composed, collect_rarely
from meterhouse.server.settings import MEMORY, Settings
from meterhouse.service.market import Market
from meterhouse.service.master_key import keys_from
from meterhouse.service.reading import read_catalog

LEDGERS: Final = ("sqlite", "memory", "nothing")
_SLOW: Final = "slow"
_REGISTERED: Final[list[SlowDisk]] = []
"""SQLite knows a file system for as long as somebody holds it."""


class NothingKept(MemoryLedger):
    """Storage switched off. Documents are kept as in memory, for there must be a catalog; of usage nothing is."""

    def __init__(self) -> None:
        super().__init__(
            group_turns=GROUP_TURNS, queue_turns=QUEUE_TURNS, wait_seconds=WAIT_SECONDS, on_group=tell_nobody
        )

    async def turn(
        self, partition: Partition, keys: Keys, decide: Callable[[View], Decision], *, revision: int
    ) -> Decision:
        """Decides, and that is all."""
        del partition, keys, revision
        return decide(Sight(0, {}, {}, both_forms=False))


async def open_ledger(kind: str, path: Path, metrics: Metrics, sync_delay_seconds: float = 0) -> Ledger:
    """One of `LEDGERS`."""
    if kind == "nothing":
        return NothingKept()
    if kind == "memory":
        return await open_memory(on_group=metrics.committed)
    if sync_delay_seconds:
        _REGISTERED.append(SlowDisk(_SLOW, sync_delay_seconds))
    return await open_sqlite(path, on_group=metrics.committed, vfs=_SLOW if sync_delay_seconds else "")


class Joined(NamedTuple):
    """The parts of a server, joined as `meterhouse serve` joins them."""

    ledger: Ledger
    market: Market
    composed: Composed


@asynccontextmanager
async def joined(ledger: Ledger, path: Path, catalog: str, metrics: Metrics) -> AsyncIterator[Joined]:
    """A server's parts over an open ledger, which is closed behind it. The key file lies where `path` says."""
    try:
        market = await Market.open(ledger, keys_from(None, Path(f"{path}{KEY_SUFFIX}"), os.urandom), os.urandom)
        composed = Composed(Settings(data=MEMORY), ledger, market, metrics)
        await composed.load_catalog(read_catalog(catalog, "catalog"))
        yield Joined(ledger, market, composed)
    finally:
        await ledger.close()


async def _serve(given: argparse.Namespace) -> None:
    configure_logs(LogLevel.WARNING)
    listening = listen("127.0.0.1", 0)
    catalog = given.catalog.read_text(encoding="utf-8")
    metrics = Metrics()
    ledger = await open_ledger(given.ledger, given.data, metrics, given.sync_delay_ms / 1000)
    async with joined(ledger, given.data, catalog, metrics) as parts:
        collect_rarely()
        await serve(
            parts.composed.application,
            listening,
            on_ready=lambda url: print(f"Meterhouse is ready at {url}", flush=True),
        )


def main() -> None:
    """See the top."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--ledger", choices=LEDGERS, default="sqlite")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--catalog", type=Path, required=True)
    parser.add_argument("--sync-delay-ms", type=float, default=0)
    given = parser.parse_args()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(given))


if __name__ == "__main__":
    main()
