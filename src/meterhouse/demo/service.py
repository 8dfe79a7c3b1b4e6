"""The service that the demo talks to: `meterhouse serve`, started as anyone would start it, and stopped again."""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

READY: Final = "Meterhouse is ready at "
_STOP_SECONDS: Final = 30
_LOOK_UP_SECONDS: Final = 1


class Ended(Exception):
    """The service is not there (any more); its own last words say why."""


class Service:
    """A running service."""

    def __init__(self, running: subprocess.Popen[str], log: Path) -> None:
        self._running = running
        self._log = log

    def url(self) -> str:
        """Where it is, as soon as it answers. Raises Ended where it does not start."""
        assert self._running.stdout is not None, "its output was asked for"
        line = self._running.stdout.readline()
        if not line.startswith(READY):
            self.wait()
        return line.removeprefix(READY).strip()

    def wait(self) -> None:
        """Returns never: raises Ended when the service has ended by itself."""
        while True:
            # Not for ever at once: a signal that comes just before the wait begins, or to another thread, does not end
            # it, and Python would raise the Ctrl-C only behind it.
            with suppress(subprocess.TimeoutExpired):
                code = self._running.wait(_LOOK_UP_SECONDS)
                break
        said = self._log.read_text(encoding="utf-8").splitlines() or [f"The service ended with exit code {code}."]
        raise Ended(said[-1].removeprefix("meterhouse: "))

    def stop(self) -> None:
        """Lets it finish what it has begun, and waits until it has."""
        self._running.terminate()
        try:
            self._running.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()


@contextmanager
def started(typed: Sequence[str], environment: Mapping[str, str], folder: Path) -> Iterator[Service]:
    """The service while it runs, in its folder. A Ctrl-C does not reach it, but the demo, which then stops it."""
    log = folder / "serve.log"
    words = [sys.executable, "-m", *typed, "--log-level", "warning"]
    with (
        log.open("w", encoding="utf-8") as errors,
        subprocess.Popen(  # noqa: S603 - it is Meterhouse itself
            words,
            cwd=folder,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        ) as running,
    ):
        service = Service(running, log)
        try:
            yield service
        finally:
            service.stop()
