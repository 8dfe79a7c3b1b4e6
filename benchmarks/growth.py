"""Rows of growth: whether a server stays as fast, and as small, as its ledger and its catalog grow.

All of them run on a sandbox's clock, set to the end of a day, so that any number of days' usage can be reported.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from benchmarks import load, servers
from benchmarks.filling import DAYS, day, with_agreements, with_history
from benchmarks.load import DIMENSIONS, RECORDS_A_REQUEST, Signer, Slice
from benchmarks.measuring import Bench, Sizes, loaded, prepared
from benchmarks.results import Figures, Run
from benchmarks.servers import LEDGER, Server

CUSTOMERS: Final = 100
"""Of the ledger that grows: 20,000 series, each with a record an hour."""
FEW: Final = 10
"""The agreements of the small catalog."""
STEPS: Final = 5
"""The fewest days over which the memory is watched."""


def growth(bench: Bench) -> Iterator[Run]:
    """A ledger with many records beside one that has a single hour of the same series, restarted for each round."""
    grown = with_history(bench.folder, bench.sizes.history_records, CUSTOMERS)
    small = with_history(bench.folder, CUSTOMERS * DIMENSIONS, CUSTOMERS)
    for number in range(bench.sizes.rounds):
        with _copy(bench, small) as folder, servers.sandbox(folder) as server:
            yield Run("empty ledger", _day_of(server, number, bench.sizes.requests, range(CUSTOMERS)))
        with servers.sandbox(grown) as server:
            figures = _day_of(server, number, bench.sizes.requests, range(CUSTOMERS))
            yield Run("grown ledger", figures | {"records_before": bench.sizes.history_records})


def agreements(bench: Bench) -> Iterator[Run]:
    """Two catalogs, each ledger knowing its series: usage of ten customers, of the same ten among many, of all."""
    sizes = bench.sizes
    large = with_agreements(bench.folder, sizes.agreements, 1)
    few = with_agreements(bench.folder, FEW, DIMENSIONS)
    for number in range(sizes.rounds):
        with _copy(bench, few) as folder, servers.sandbox(folder) as server:
            yield Run("10 agreements", _few(server, number, sizes))
        with servers.sandbox(large) as server:
            figures = _shuffled(server, DAYS - 1 - number, sizes.requests, sizes.agreements)
            yield Run("many agreements, usage of all", figures | {"agreements": sizes.agreements})
            yield Run("many agreements, usage of 10", _few(server, number, sizes))


def memory(bench: Bench) -> Iterator[Run]:
    """One server that is sent all the records, day by day: its memory, its pace and its file as they come in."""
    records = bench.sizes.history_records
    days = min(DAYS, max(STEPS, -(-records // (24 * CUSTOMERS * DIMENSIONS))))
    customers = -(-records // (days * 24 * DIMENSIONS))
    kept = 0
    with bench.place() as folder:
        with servers.sandbox(folder, load.catalog_text(customers)) as server:
            at_start = server.rss_megabytes()
            server.freeze_clock(day(0)[0])  # which loads the control API: the growth is counted from behind that
            before = server.rss_megabytes()
            for number in range(days):
                usage = Slice(range(customers), day(number)[1])
                figures = _day_of(server, number, usage.records // RECORDS_A_REQUEST, usage.customers)
                kept += usage.records // RECORDS_A_REQUEST * RECORDS_A_REQUEST
                rss = server.rss_megabytes()
                yield Run("day by day", figures | {"records_kept": kept, "rss_mb": rss, "rss_growth_mb": rss - before})
        size = (folder / LEDGER).stat().st_size
        ended = {"rss_start_mb": at_start, "rss_growth_mb": rss - before, "records_kept": kept}
        yield Run("whole", ended | {"bytes_a_record": size / kept})


def _day_of(server: Server, number: int, requests: int, customers: Sequence[int]) -> Figures:
    """A day's usage of these customers, as far as it goes."""
    instant, hours = day(number)
    server.freeze_clock(instant)
    return loaded(server, prepared(server, lambda signer: _signed(signer, Slice(customers, hours), requests)))


def _few(server: Server, round_number: int, sizes: Sizes) -> Figures:
    """The usage of so few customers that it takes days: put together as one run of them all, less the time between."""
    a_day = Slice(range(FEW), day(0)[1]).records // RECORDS_A_REQUEST
    of_a_round = (DAYS - sizes.rounds) // sizes.rounds  # the last days are others'
    days = min(of_a_round, -(-sizes.requests // a_day))
    runs = [_day_of(server, of_a_round * round_number + number, a_day, range(FEW)) for number in range(days)]
    requests = sum(run["requests"] for run in runs)
    rate = requests / sum(run["requests"] / run["requests_per_second"] for run in runs)
    return {
        "requests": requests,
        "requests_per_second": rate,
        "records_per_second": rate * RECORDS_A_REQUEST,
        "cpu_micros_per_request": sum(run["cpu_micros_per_request"] for run in runs) / days,
        "p99_ms": max(run["p99_ms"] for run in runs),
    }


def _shuffled(server: Server, number: int, requests: int, customers: int) -> Figures:
    """A record of each of the customers, in an order of chance, in as many hours as it takes."""
    instant, hours = day(number)
    server.freeze_clock(instant)

    def records() -> Iterator[dict[str, Any]]:
        for hour in hours:
            yield from load.shuffled_records(customers, hour, hour)

    def prepare(signer: Signer) -> list[bytes]:
        return [signer.batch(body) for body in load.batches(records(), requests)]

    return loaded(server, prepared(server, prepare))


def _signed(signer: Signer, usage: Slice, requests: int) -> list[bytes]:
    count = min(requests, usage.records // RECORDS_A_REQUEST)
    return [signer.batch(body) for body in load.batches(load.new_records(usage), count)]


@contextmanager
def _copy(bench: Bench, filled: Path) -> Iterator[Path]:
    """A copy of a small ledger, so that it stays as it is."""
    with bench.place() as folder:
        shutil.copytree(filled, folder, dirs_exist_ok=True)
        yield folder
