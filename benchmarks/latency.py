"""How long a caller waits: at full load, at a half and a quarter of it, and alone."""

import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from benchmarks import load, servers
from benchmarks.load import Signer
from benchmarks.measuring import Bench, loaded, prepared, rated
from benchmarks.results import Run

LOADS: Final = (("half load", 0.5, 1.5), ("a quarter", 0.25, 1.0))
"""What a load is called, its share of the full one, and the most that is sent for it, in requests of a run."""
_RUNS: Final = 4
"""How many runs' requests one server gets here, at most."""


def latency(bench: Bench) -> Iterator[Run]:
    """Full load first, which says what a half and a quarter of it are; then one connection alone."""
    sizes = bench.sizes
    for seed in range(sizes.rounds):
        usage = load.slice_for(sizes.requests * _RUNS, load.open_hours(time.time_ns() // 1000))
        with bench.place() as folder, servers.meterhouse(folder, load.catalog_text(len(usage.customers))) as server:
            next_batches = _Batches(load.new_records(usage))
            full = loaded(server, prepared(server, next_batches.of(sizes.requests)))
            yield Run("full load", full)
            for name, share, most in LOADS:
                rate = full["requests_per_second"] * share
                count = min(int(rate * sizes.rated_seconds), int(sizes.requests * most))
                yield Run(name, rated(server, prepared(server, next_batches.of(count)), rate, seed))
            yield Run(
                "one connection", loaded(server, prepared(server, next_batches.of(sizes.requests // 10)), connections=1)
            )


class _Batches:
    """Requests of the records that come next."""

    def __init__(self, records: Iterator[dict[str, Any]]) -> None:
        self._records = records

    def of(self, count: int) -> load.Prepare:
        """So many."""

        def prepare(signer: Signer) -> Sequence[bytes]:
            return [signer.batch(body) for body in load.batches(self._records, count)]

        return prepare
