"""A real server for tests: `meterhouse serve` as a process of its own, on a port that the system picks.

How to use it:

    with Server(tmp_path, catalog=CATALOG) as server:          # started, and answering
        client = boto3.client("meteringmarketplace", endpoint_url=server.url, …)
        server.stop()                                          # SIGTERM; the exit code
        server.start()                                         # again, on the same data and catalog

Options of `serve` are given as they are written on the command line (`Server(tmp_path, "--auth", "open")`), and its
METERHOUSE_… variables as `environment`. `kill()` is `kill -9`. What was printed before the server was ready is in
`said`; later lines come by `next_line()`; `logged()` is its log, a dictionary a line. Its data is `ledger`, in the
folder. Leaving the `with` ends whatever still runs.

`run_meterhouse` runs any command to its end instead: for refusals, and for commands that need no server.
"""

import json
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlsplit

READY: Final = "Meterhouse is ready at "
MEMORY: Final = "memory"
PATIENCE_SECONDS: Final = 60
"""When a process that says nothing is taken for dead: far beyond what a busy machine needs."""

_COMMAND: Final = (sys.executable, "-m", "meterhouse")


def _environment(given: Mapping[str, str]) -> dict[str, str]:
    """This process's, without settings that would change what a test is about."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("METERHOUSE_", "AWS_"))}
    return {**kept, "PYTHONUNBUFFERED": "1", **given}


def run_meterhouse(
    *arguments: str, folder: Path, environment: Mapping[str, str] | None = None, before: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command of the command line to its end, in a folder. `before` are words to put before the command."""
    return subprocess.run(
        [*before, *_COMMAND, *arguments],
        cwd=folder,
        env=_environment(environment or {}),
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE_SECONDS,
    )


class Server:
    """`meterhouse serve` in a folder; started by `with`, or by `start`."""

    def __init__(
        self,
        folder: Path,
        *options: str,
        catalog: str | None = None,
        data: str = "ledger.db",
        environment: Mapping[str, str] | None = None,
        before: Sequence[str] = (),
    ) -> None:
        """`data` is a file's name in the folder, "memory", or the address of a database. `before` are words to put
        before the command.
        """
        self.folder = folder
        self.ledger = folder / data
        self.catalog = folder / "catalog.toml"
        self.url = ""
        self.port = 0
        self.said: list[str] = []
        if catalog is not None:
            self.catalog.write_text(catalog)
            options = ("--catalog", str(self.catalog), *options)
        self.before = before
        is_address = data == MEMORY or "://" in data
        where = ("--port", "0", "--data", data if is_address else str(self.ledger))
        self._command = [*_COMMAND, "serve", *where, *options]
        self._environment = _environment(environment or {})
        self._log = folder / "server.log"
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self.start() if self._process is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self.kill()

    @property
    def process(self) -> "subprocess.Popen[str]":
        """The process that runs."""
        assert self._process is not None, "the server is not running"
        return self._process

    def start(self) -> Self:
        """Start it, and return when it answers."""
        assert self._process is None, "the server is running already"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*self.before, *self._command],
                cwd=self.folder,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        self.said = []
        while not (line := self.next_line()).startswith(READY):
            self.said.append(line)
        self.url = line.removeprefix(READY)
        port = urlsplit(self.url).port
        assert port, line
        self.port = port
        return self

    def next_line(self) -> str:
        """The next line that it prints, waited for."""
        process = self.process
        assert process.stdout is not None
        watchdog = Timer(PATIENCE_SECONDS, process.kill)
        watchdog.start()
        try:
            line = process.stdout.readline()
        finally:
            watchdog.cancel()
            watchdog.join()
        if not line:
            raise AssertionError(f"the server ended with exit code {self.ended()}:\n{self._log.read_text()[-2000:]}")
        return line.rstrip("\n")

    def stop(self, signal_number: int = signal.SIGTERM) -> int:
        """Ask it to stop, and return its exit code when it has."""
        self.process.send_signal(signal_number)
        return self.ended()

    def kill(self) -> None:
        """`kill -9`."""
        self.process.kill()
        self.ended()

    def hang_up(self) -> None:
        """SIGHUP: read the catalog file again."""
        self.process.send_signal(signal.SIGHUP)

    def logged(self) -> list[dict[str, Any]]:
        """What it has logged so far, over all its starts."""
        return [json.loads(line) for line in self._log.read_text().splitlines()]

    def resident_bytes(self) -> int:
        """The memory that it holds (where the system tells: Linux); elsewhere 0."""
        status = Path(f"/proc/{self.process.pid}/statm")
        return int(status.read_text().split()[1]) * resource.getpagesize() if status.exists() else 0

    def ended(self) -> int:
        """Its exit code, when it has ended by itself, or by a signal that it was sent."""
        process, self._process = self.process, None
        try:
            return process.wait(PATIENCE_SECONDS)
        finally:
            process.kill()
            assert process.stdout is not None
            process.stdout.close()
