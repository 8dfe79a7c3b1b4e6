"""Ingest: signed 25-record BatchMeterUsage requests of new records, durable, one server process, beside moto_server.

    python -m benchmarks.ingest [--requests 20000] [--connections 64] [--rounds 3] [--json FILE]

The load runs on one processor, the server on the other (where the system lets them be pinned). Rounds alternate between
the two servers; the table shows medians. moto_server checks and stores nothing; it is what people test against today.
"""

import argparse
import asyncio
import json
import os
import platform
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import uvloop

from benchmarks import load
from tests.strangers.environments import python_of

READY = re.compile(r"ready at http://([0-9.]+):([0-9]+)")
PEER_REQUESTS = 3000
"""moto_server is slow: this many requests are enough to measure it."""


class Server(NamedTuple):
    """A running server."""

    host: str
    port: int
    process: "subprocess.Popen[str]"

    def cpu_seconds(self) -> float:
        """Processor time used so far, of the process and its threads."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Row(NamedTuple):
    """One measured run."""

    server: str
    requests_per_second: float
    records_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_micros_per_request: float


@contextmanager
def meterhouse(folder: Path, catalog: str, *options: str) -> Iterator[Server]:
    """A Meterhouse server on a fresh ledger."""
    path = folder / "catalog.toml"
    path.write_text(catalog, encoding="utf-8")
    command = [sys.executable, "-m", "meterhouse", "serve", "--port", "0", "--data", str(folder / "ledger.db")]
    process = subprocess.Popen(
        _pinned([*command, "--catalog", str(path), "--log-level", "warning", *options], 1),
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    found = next(filter(None, map(READY.search, process.stdout)), None)
    if found is None:
        raise SystemExit("meterhouse serve did not start")
    try:
        yield Server(found[1], int(found[2]), process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


@contextmanager
def moto() -> Iterator[Server]:
    """moto_server, in its own environment."""
    port = 18765
    executable = python_of("moto").parent / "moto_server"
    process = subprocess.Popen(
        _pinned([str(executable), "-H", "127.0.0.1", "-p", str(port)], 1),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        _wait_for(port)
        yield Server("127.0.0.1", port, process)
    finally:
        process.terminate()
        process.wait(30)


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 60
    while True:
        answered = subprocess.run(
            [sys.executable, "-c", f"import socket; socket.create_connection(('127.0.0.1', {port}), 1)"],
            capture_output=True,
            check=False,
        )
        if answered.returncode == 0:
            return
        if time.monotonic() > deadline:
            raise SystemExit("moto_server did not start")


def _pinned(command: list[str], processor: int) -> list[str]:
    """The command, on one processor where `taskset` can be had."""
    if (os.cpu_count() or 1) < 2 or not hasattr(os, "sched_setaffinity"):
        return command
    return ["taskset", "-c", str(processor), *command]


def measure(name: str, server: Server, requests: Sequence[bytes], connections: int) -> Row:
    """Sends the requests and says what came of it."""
    used = server.cpu_seconds()
    ran = uvloop.run(load.send_all(server.host, server.port, requests, connections=connections))
    used = server.cpu_seconds() - used
    if set(ran.statuses) != {200}:
        raise SystemExit(f"{name} answered {ran.statuses}")
    return Row(
        name,
        ran.rate,
        ran.rate * load.RECORDS_A_REQUEST,
        ran.percentile(0.5),
        ran.percentile(0.99),
        1e6 * used / ran.requests,
    )


def requests_for(host: str, count: int, customers: int) -> list[bytes]:
    """Signed requests of new records, as of now."""
    now_seconds = int(time.time())
    records = load.new_records(customers, now_seconds)
    return load.signed_requests(host, load.bodies(records, count), now_seconds * 1_000_000)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the rounds, prints the table, writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=20_000)
    parser.add_argument("--connections", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--without-peer", action="store_true")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    if hasattr(os, "sched_setaffinity") and (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, {0})
    rows = [row for _ in range(given.rounds) for row in _round(given)]
    medians = [_median(name, rows) for name in dict.fromkeys(row.server for row in rows)]
    _print(medians)
    if given.json:
        machine = {"python": platform.python_version(), "system": platform.platform(), "processors": os.cpu_count()}
        told = {"machine": machine, "settings": vars(given) | {"json": None}, "rows": [row._asdict() for row in rows]}
        given.json.write_text(json.dumps(told, indent=2), encoding="utf-8")
    return 0


def _round(given: argparse.Namespace) -> Iterator[Row]:
    customers = max(1, -(-given.requests * load.RECORDS_A_REQUEST // (load.DIMENSIONS * 20)))
    with tempfile.TemporaryDirectory() as name, meterhouse(Path(name), load.catalog_text(customers)) as server:
        yield measure("meterhouse", server, requests_for("127.0.0.1", given.requests, customers), given.connections)
    if not given.without_peer:
        with moto() as server:
            count = min(given.requests, PEER_REQUESTS)
            yield measure("moto_server", server, requests_for("127.0.0.1", count, customers), given.connections)


def _median(name: str, rows: Sequence[Row]) -> Row:
    mine = [row for row in rows if row.server == name]
    return Row(name, *(statistics.median(values) for values in list(zip(*mine, strict=True))[1:]))


def _print(rows: Sequence[Row]) -> None:
    print(f"{'server':<14}{'requests/s':>12}{'records/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'CPU µs/request':>16}")
    for row in rows:
        print(
            f"{row.server:<14}{row.requests_per_second:>12,.0f}{row.records_per_second:>12,.0f}"
            f"{row.p50_ms:>10.2f}{row.p99_ms:>10.2f}{row.cpu_micros_per_request:>16,.0f}"
        )
    if len(rows) > 1:
        ours, peer = rows
        print(
            f"ratio: {ours.requests_per_second / peer.requests_per_second:.1f} times the requests, "
            f"1/{peer.cpu_micros_per_request / ours.cpu_micros_per_request:.1f} of the CPU a request"
        )


if __name__ == "__main__":
    sys.exit(main())
