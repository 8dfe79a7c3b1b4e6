"""What a person sees while something takes long: after a second a bar on standard error, gone when it is done.

There is none where standard error is no terminal.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock, Timer
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.progress import Progress

PATIENCE_SECONDS: Final = 1.0
"""What is done within this shows no bar."""


class Bar:
    """How far something is. Shows itself when its time has come, until it is closed."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._lock = Lock()
        self._shown: Progress | None = None
        self._closed = False
        self._hidden = False
        self._done = 0
        self._total: int | None = None
        self._timer = Timer(PATIENCE_SECONDS, self._show)
        if sys.stderr.isatty():
            self._timer.daemon = True
            self._timer.start()

    def advance(self, done: int, total: int | None = None, what: str | None = None) -> None:
        """So much is done, of so much (None: nobody knows); `what` is being done, where that is something new."""
        with self._lock:
            self._done, self._total, self._what = done, total, what or self._what
            self._draw()

    @contextmanager
    def hidden(self) -> Iterator[None]:
        """Vanishes for as long as something else is printed to the same terminal."""
        if not sys.stdout.isatty():
            yield
            return
        with self._lock:
            self._hidden = True
            if self._shown is not None:
                self._shown.stop()
        yield
        with self._lock:
            self._hidden = False
            if self._shown is not None:
                self._shown.start()

    def close(self) -> None:
        """Vanishes."""
        self._timer.cancel()
        with self._lock:
            self._closed = True
            if self._shown is not None:
                self._shown.stop()

    def _show(self) -> None:
        # Costs a tenth of a second to import, which is well spent only here.
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        with self._lock:
            if self._closed:
                return
            self._shown = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[said]}"),
                TimeElapsedColumn(),
                console=Console(stderr=True),
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._shown.add_task(self._what, total=None, said="")
            self._draw()
            if not self._hidden:
                self._shown.start()

    def _draw(self) -> None:
        if self._shown is not None:
            said = f"{self._done:,}" if self._total is None else f"{self._done:,} of {self._total:,}"
            (task,) = self._shown.task_ids
            self._shown.update(
                task, description=self._what, completed=self._done, total=self._total, said=said if self._done else ""
            )


@contextmanager
def waiting(what: str) -> Iterator[Bar]:
    """A bar as long as the block takes; nobody sees it before its time, or where there is no terminal."""
    bar = Bar(what)
    try:
        yield bar
    finally:
        bar.close()
