"""Rows of plain ingest: new records as fast as they are answered, each run on a new ledger, contenders in turn."""

import time
from collections.abc import Iterator
from itertools import islice
from typing import Final

from benchmarks import load, servers
from benchmarks.load import Prepare, Signer
from benchmarks.measuring import CONNECTIONS, Bench, loaded, prepared
from benchmarks.results import Figures, Run
from benchmarks.servers import Server
from meterhouse.core.profile import NEWEST

SLOW_CONNECTIONS: Final = 256
SLOW_SYNC_MS: Final = 2.0

_HEAVY: Final = 3
"""A batch with a hundred allocations is as heavy as several without: so many times fewer are sent."""


def _usage(requests: int) -> load.Slice:
    return load.slice_for(requests, load.open_hours(time.time_ns() // 1000))


def _batches(requests: int, usage: load.Slice, *, allocated: bool = False) -> Prepare:
    def prepare(signer: Signer) -> list[bytes]:
        records = load.new_records(usage)
        said = load.with_allocations(records) if allocated else records
        return [signer.batch(body) for body in load.batches(said, requests)]

    return prepare


def _figures(server: Server, prepare: Prepare, records_a_request: int = load.RECORDS_A_REQUEST) -> Figures:
    return loaded(server, prepared(server, prepare), records_a_request=records_a_request)


def beside_moto(bench: Bench) -> Iterator[Run]:
    """`meterhouse serve` with its defaults, and moto_server."""
    usage = _usage(bench.sizes.requests)
    for _ in range(bench.sizes.rounds):
        with bench.place() as folder, servers.meterhouse(folder, load.catalog_text(len(usage.customers))) as server:
            yield Run("meterhouse", _figures(server, _batches(bench.sizes.requests, usage)))
        with servers.moto() as server:
            requests = prepared(server, _batches(bench.sizes.peer_requests, usage))
            yield Run("moto_server", loaded(server, requests, accepts=False))


def allocations(bench: Bench) -> Iterator[Run]:
    """Each record with four allocations of two tags, and without, in turn."""
    requests = bench.sizes.requests // _HEAVY
    usage = _usage(requests)
    for _ in range(bench.sizes.rounds):
        for name, allocated in (("without", False), ("with 4 allocations", True)):
            with bench.place() as folder, servers.meterhouse(folder, load.catalog_text(len(usage.customers))) as server:
                yield Run(name, _figures(server, _batches(requests, usage, allocated=allocated)))


def single(bench: Bench) -> Iterator[Run]:
    """MeterUsage: a record a call, by workloads that each sign with their own keys."""
    hours = load.open_hours(time.time_ns() // 1000, NEWEST.meter_window_seconds)
    workloads = -(-bench.sizes.requests // (load.DIMENSIONS * len(hours)))
    usage = load.Slice(range(workloads), hours)

    def prepare(signer: Signer) -> list[bytes]:
        return [signer.single(*said) for said in islice(load.metered(usage), bench.sizes.requests)]

    for _ in range(bench.sizes.rounds):
        with bench.place() as folder, servers.meterhouse(folder, load.catalog_text(workloads, workloads)) as server:
            yield Run("meterhouse", _figures(server, prepare, 1))


def storage(bench: Bench) -> Iterator[Run]:
    """The same server, composed from its parts over three ledgers."""
    usage = _usage(bench.sizes.requests)
    for _ in range(bench.sizes.rounds):
        for ledger in ("sqlite", "nothing", "memory"):
            with bench.place() as folder, servers.composed(folder, len(usage.customers), ledger) as server:
                yield Run(ledger, _figures(server, _batches(bench.sizes.requests, usage)))


def slow_disk(bench: Bench) -> Iterator[Run]:
    """The usual disk under 64 connections, and one whose syncs take 2 ms longer under 256."""
    usage = _usage(bench.sizes.requests)
    for _ in range(bench.sizes.rounds):
        for name, delay_ms, connections in (
            ("usual disk", 0.0, CONNECTIONS),
            ("2 ms more a sync", SLOW_SYNC_MS, SLOW_CONNECTIONS),
        ):
            with bench.place() as folder, servers.composed(folder, len(usage.customers), "sqlite", delay_ms) as server:
                requests = prepared(server, _batches(bench.sizes.requests, usage))
                yield Run(name, loaded(server, requests, connections=connections))
