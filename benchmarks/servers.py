"""The servers under load: processes on a processor of their own, and what the system says of them.

Processor time and memory are read from Linux's /proc; elsewhere these figures are missing (nan).
"""

import math
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from http.client import HTTPConnection
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks.load import catalog_text
from tests.postgres import children_of
from tests.strangers.environments import python_of

LOAD_PROCESSOR: Final = 0
SERVER_PROCESSOR: Final = 1
LEDGER: Final = "ledger.db"
"""The name of a ledger's file in its folder."""

_READY: Final = re.compile(r"ready at http://([0-9.]+):([0-9]+)")
_START_SECONDS: Final = 120
_LOOK_AGAIN_SECONDS: Final = 0.05
_ADMIN_TOKEN: Final = "benchmark-admin-token"
_STOP_SECONDS: Final = 60


class Server(NamedTuple):
    """A running server."""

    name: str
    host: str
    port: int
    pid: int
    started: float
    """When its process was started, by `time.perf_counter`."""

    @property
    def authority(self) -> str:
        """What a request's Host header says."""
        return f"{self.host}:{self.port}"

    def cpu_seconds(self) -> float:
        """Processor time used so far, of the process and its threads."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text(encoding="ascii")
        except OSError:
            return math.nan
        fields = stat.rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_megabytes(self) -> float:
        """Memory that it holds now."""
        try:
            status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        except OSError:
            return math.nan
        found = re.search(r"^VmRSS:\s+([0-9]+) kB", status, re.MULTILINE)
        return int(found[1]) * 1024 / 1e6 if found else math.nan

    def freeze_clock(self, instant: str) -> None:
        """Sets a sandbox's clock for all to an instant, such as 2030-01-01T23:59:00Z."""
        connection = HTTPConnection(self.host, self.port, timeout=60)
        headers = {"authorization": f"Bearer {_ADMIN_TOKEN}", "content-type": "application/json"}
        connection.request("PUT", "/_meterhouse/v1/clock", f'{{"now": "{instant}"}}', headers)
        answer = connection.getresponse()
        text = answer.read().decode()
        connection.close()
        if answer.status != 200:
            raise SystemExit(f"the clock could not be set: {answer.status} {text}")


def cpu_seconds_of(pid: int) -> float:
    """Processor time used so far by a process, its children, and those of them that have ended."""
    used = 0.0
    for number in (pid, *children_of(pid)):
        with suppress(OSError):  # it has ended since, and its parent has its time
            fields = Path(f"/proc/{number}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
            used += sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return used or math.nan


@contextmanager
def meterhouse(
    folder: Path, catalog: str | None = None, *options: str, environment: Mapping[str, str] | None = None
) -> Iterator[Server]:
    """`meterhouse serve` on the ledger in a folder, with its defaults and a catalog file (None: the ledger has it)."""
    command = [sys.executable, "-m", "meterhouse", "serve", "--port", "0", "--log-level", "warning"]
    if "--data" not in options:
        command += ["--data", str(folder / LEDGER)]
    if catalog is not None:
        command += ["--catalog", str(_written(folder, catalog))]
    with _running(
        "meterhouse", [*command, *options], {"METERHOUSE_ADMIN_TOKEN": _ADMIN_TOKEN, **(environment or {})}
    ) as server:
        yield server


@contextmanager
def sandbox(folder: Path, catalog: str | None = None) -> Iterator[Server]:
    """The same with a clock that can be set, so that any day's usage can be reported."""
    with meterhouse(folder, catalog, "--clock", "test") as server:
        yield server


@contextmanager
def composed(folder: Path, customers: int, ledger: str, sync_delay_ms: float = 0) -> Iterator[Server]:
    """`benchmarks.server`, on a new ledger."""
    command = [sys.executable, "-m", "benchmarks.server", "--ledger", ledger, "--data", str(folder / LEDGER)]
    command += ["--catalog", str(_written(folder, catalog_text(customers))), "--sync-delay-ms", str(sync_delay_ms)]
    with _running(ledger, command, {}) as server:
        yield server


@contextmanager
def moto() -> Iterator[Server]:
    """moto_server, in its own environment."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    command = [str(python_of("moto").parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
    started = time.perf_counter()
    with _started(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        _wait_for(port, process)
        yield Server("moto_server", "127.0.0.1", port, process.pid, started)


def _wait_for(port: int, process: "subprocess.Popen[str]") -> None:
    """Until somebody listens on a port."""
    deadline = time.monotonic() + _START_SECONDS
    never = threading.Event()
    while process.poll() is None and time.monotonic() < deadline:
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            never.wait(_LOOK_AGAIN_SECONDS)
        else:
            return
    raise SystemExit("moto_server did not start")


@contextmanager
def _running(name: str, command: Sequence[str], environment: Mapping[str, str]) -> Iterator[Server]:
    """A server that says on standard output when it is ready, and where."""
    started = time.perf_counter()
    with _started(command, stdout=subprocess.PIPE, env={**os.environ, **environment}) as process:
        assert process.stdout is not None
        found = next(filter(None, map(_READY.search, process.stdout)), None)
        if found is None:
            raise SystemExit(f"{' '.join(command)} did not start")
        yield Server(name, found[1], int(found[2]), process.pid, started)


@contextmanager
def _started(command: Sequence[str], **options: object) -> "Iterator[subprocess.Popen[str]]":
    """A process on the servers' processor, told to stop at the end and waited for."""
    process: subprocess.Popen[str] = subprocess.Popen(_pinned(command), text=True, **options)  # type: ignore[call-overload] # options of Popen, passed on
    try:
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _pinned(command: Sequence[str]) -> list[str]:
    """The command, on the servers' processor where there are two and a process can be bound to one."""
    if not can_pin() or os.sched_getaffinity(0) != {LOAD_PROCESSOR}:  # see `on_all_processors`
        return list(command)
    return ["taskset", "-c", str(SERVER_PROCESSOR), *command]


@contextmanager
def on_all_processors() -> Iterator[None]:
    """Meanwhile load and servers share all processors: for what has several servers."""
    if not can_pin():
        yield
        return
    kept = os.sched_getaffinity(0)
    os.sched_setaffinity(0, range(os.cpu_count() or 1))
    try:
        yield
    finally:
        os.sched_setaffinity(0, kept)


def can_pin() -> bool:
    """Whether load and server can have a processor each."""
    return (os.cpu_count() or 1) > 1 and hasattr(os, "sched_setaffinity")


def pin_load() -> None:
    """This process, and what it starts without saying otherwise, keeps to the load's processor."""
    if can_pin():
        os.sched_setaffinity(0, {LOAD_PROCESSOR})


def _written(folder: Path, catalog: str) -> Path:
    path = folder / "catalog.toml"
    path.write_text(catalog, encoding="utf-8")
    return path
