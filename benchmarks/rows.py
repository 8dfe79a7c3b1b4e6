"""The rows of benchmarks, in the order in which they are run and shown. A new one is a row here, and its function."""

from typing import Final, NamedTuple

from benchmarks import postgres
from benchmarks.clients import clients
from benchmarks.growth import agreements, growth, memory
from benchmarks.ingest import allocations, beside_moto, single, slow_disk, storage
from benchmarks.instructions import instructions
from benchmarks.latency import latency
from benchmarks.measuring import Measure
from benchmarks.stages import stages
from benchmarks.starting import starting


class Row(NamedTuple):
    """A benchmark."""

    name: str
    what: str
    """What exactly is measured, for whoever reads the figures."""
    measure: Measure
    quick: bool = True
    """Whether it is part of the quick run."""


ROWS: Final = {
    row.name: row
    for row in (
        Row(
            "ingest",
            "BatchMeterUsage requests of 25 new records, signed, over 64 kept-alive connections as fast as they are "
            "answered. `meterhouse serve` with its defaults on a new SQLite ledger: every rule on, each answer after "
            "the sync. `moto_server`, which checks and keeps nothing, gets the same requests; it hangs up behind each "
            "answer, so the load connects anew.",
            beside_moto,
        ),
        Row(
            "allocations",
            "The same, each record with four allocations of two tags, beside records without.",
            allocations,
        ),
        Row(
            "single",
            "MeterUsage: one new record a call with a ClientToken of its own, as SDKs send it, by workloads that each "
            "sign with their own keys; 64 connections.",
            single,
        ),
        Row(
            "storage",
            "The same server composed over three ledgers, 64 connections. `sqlite` keeps and syncs. `nothing` is "
            "storage off: HTTP, signature, decoding, rules and encoding as ever, but a turn finds nothing kept, and "
            "nothing is gathered, staged or written. `memory` is the engine in memory: gathered, judged and kept.",
            storage,
        ),
        Row(
            "slow-disk",
            "The composed server on the usual disk under 64 connections, and on one whose every sync takes 2 ms longer "
            "(a SQLite file system that waits before it syncs) under 256.",
            slow_disk,
            quick=False,
        ),
        Row(
            "growth",
            "25-record batches, 64 connections, on a ledger with {records} records (20,000 series, one record an hour "
            "each, filled in process) and on one with a single hour of the same series; both restarted for each round. "
            "A sandbox's clock is set to a day of its own each round.",
            growth,
        ),
        Row(
            "agreements",
            "25-record batches, 64 connections, by the number of agreements in the catalog; both ledgers know their "
            "series from an hour before. With 10: their 200 dimensions in turn. With {agreements}: a record of each "
            "customer an hour, customers in an order of chance; and, on the same catalog, the usage of ten of them.",
            agreements,
        ),
        Row(
            "latency",
            "How long a caller waits for the answer to 25 new records. Full load: 64 connections as fast as they are "
            "answered. A half and a quarter of that rate: requests fall due at instants of chance, and wait for one of "
            "64 connections; the latency counts from when a request was due. One connection: one after the other.",
            latency,
        ),
        Row(
            "start-up",
            "From the begin of the process to the answer to a signed batch that is kept: on a new file with a catalog "
            "of 100 agreements and 200 dimensions to load, and on a ledger of {records} records with that catalog.",
            starting,
        ),
        Row(
            "memory",
            "One server that is sent {records} new records, day by day (a sandbox's clock is set on a day each time), "
            "with its memory (RSS) after each day. The growth counts from behind the first setting of the clock, which "
            "loads the control API; `rss_start` is before it. The file's size once the server has stopped, by records.",
            memory,
        ),
        Row(
            "postgres",
            "BatchMeterUsage requests of 25 new records, signed, over 64 connections, through `meterhouse serve` on a "
            "new ledger: SQLite, PostgreSQL with one process, and with two. Usage of one product, and of eight "
            "(40,000 series between them). Database, servers and load share all processors; the database listens on a "
            "Unix socket.",
            postgres.ingest,
            quick=False,
        ),
        Row(
            "postgres-groups",
            "The PostgreSQL engine alone, without HTTP: groups of new records in one partition, one after another, of "
            "turns of 25, through a proxy on a Unix socket. As the owner: two round trips. Under the lock: four, and "
            "another process keeps a record between each two groups. And with 1 ms more for each round trip.",
            postgres.groups,
            quick=False,
        ),
        Row(
            "postgres-growth",
            "The same with groups of 1,600, on an empty ledger and on one with six tenths of {records} records (20,000 "
            "series, one record an hour each), in turn, without the proxy. Then what they add to tables and log.",
            postgres.growth,
            quick=False,
        ),
        Row(
            "client",
            "`benchmarks/client.py`: what a call of 25 records costs whoever makes it, processor and wall time, one "
            "kept-alive connection to a server that answers a constant.",
            clients,
        ),
        Row(
            "stages",
            "The stage budget: processor time per 25-record request of each stage run by itself in one process, "
            "without a network, and of the whole application over a ledger on disk with 64 requests under way.",
            stages,
        ),
        Row(
            "instructions",
            "The same in instructions, counted by Valgrind's callgrind: what a busy machine does not change. Neither "
            "the kernel's nor waiting for memory is in it.",
            instructions,
        ),
    )
}
