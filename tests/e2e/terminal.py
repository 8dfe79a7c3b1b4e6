r"""A command at a terminal: what appears there is read as it comes, what is typed arrives, and it has a width.

with Terminal("agreement", "list", columns=60, folder=folder, environment={…}) as terminal:
    terminal.await_text("agmt-1")          # AssertionError where the command ends without it
    terminal.type("y\n")
    assert terminal.end() == 0             # waits; the exit code
terminal.text                              # all that appeared
"""

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping
from pathlib import Path
from threading import Timer
from types import TracebackType
from typing import Final, Self

from tests.e2e.serving import PATIENCE_SECONDS

_ENDED: Final = ""


class Terminal:
    """`meterhouse` with a terminal for its input, output and errors; `piped` takes standard output away to a pipe."""

    def __init__(
        self, *words: str, folder: Path, environment: Mapping[str, str], columns: int = 100, piped: bool = False
    ) -> None:
        self.text = ""
        self._ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("METERHOUSE_", "AWS_")) and name not in {"COLUMNS", "LINES", "NO_COLOR", "CI"}
        }
        self._running = subprocess.Popen(
            [sys.executable, "-m", "meterhouse", *words],
            cwd=folder,
            env={**kept, "TERM": "xterm", **environment},
            stdin=theirs,
            stdout=subprocess.PIPE if piped else theirs,
            stderr=theirs,
            text=True,
            start_new_session=True,
        )
        os.close(theirs)
        self._watchdog = Timer(PATIENCE_SECONDS, self._running.kill)
        self._watchdog.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._watchdog.cancel()
        self._running.kill()
        self._running.wait()
        if self._running.stdout is not None:
            self._running.stdout.close()
        os.close(self._ours)

    def await_text(self, text: str) -> None:
        """Wait until this has appeared."""
        while text not in self.text:
            appeared = self._read()
            assert appeared != _ENDED, f"{text!r} did not appear in {self.text!r}"

    def type(self, text: str) -> None:
        """What a person types."""
        os.write(self._ours, text.encode())

    def interrupt(self, number: signal.Signals = signal.SIGINT) -> None:
        """Ctrl-C, or another signal."""
        self._running.send_signal(number)

    def piped(self) -> str:
        """All that went into the pipe."""
        assert self._running.stdout is not None
        return self._running.stdout.read()

    def end(self) -> int:
        """Wait until it has ended; the exit code."""
        while self._read() != _ENDED:
            pass
        return self._running.wait()

    def _read(self) -> str:
        select.select([self._ours], [], [], PATIENCE_SECONDS)
        try:
            appeared = os.read(self._ours, 65_536).decode(errors="replace").replace("\r\n", "\n")
        except OSError:  # Linux says so that nobody has the terminal open any more
            return _ENDED
        self.text += appeared
        return appeared
