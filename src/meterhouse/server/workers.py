"""Several processes that serve one port: a parent that binds it, and children that serve.

    parent binds ──▶ first child opens the ledger, loads the catalog, is ready ──▶ the others ──▶ all ready: `on_ready`
                                                                                     │
                          a child that ends is replaced ◀────────────────────────────┤
                                          told to stop: the children finish, then the parent ends

Rules of this file
  - The parent serves nothing and opens no database: it has no threads, so it may fork at any time, and a child begins
    as the parent was at the start.
  - Children share nothing but the listening sockets. What one keeps, the others find in the database.
  - The sockets stay open in the parent until it stops: no connection is refused while a child is replaced.
  - A child is in a process group of its own, so that Ctrl-C reaches the parent alone, which tells the children. It
    stops when the parent has ended, however that did: the lifeline, a pipe that only the parent holds open, is closed.
  - What cannot be served at the start ends the start: the child says why in its pipe, and the parent raises it.
    Later on a child that cannot start is tried again: the database may be away for a while.
"""

import asyncio
import os
import selectors
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Final, NamedTuple

import msgspec
import structlog
from msgspec import Struct

AGAIN_SECONDS: Final = 1.0
"""How long after a child could not start it is tried again."""
_HEARD: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD)

log = structlog.get_logger("meterhouse")


class CannotServe(Exception):
    """The server cannot start; one sentence says why, `exit_code` whose fault it is (1 the system's, 2 the input's)."""

    def __init__(self, sentence: str, exit_code: int = 1) -> None:
        super().__init__(sentence)
        self.exit_code = exit_code


class Told(Struct, frozen=True):
    """What a child tells its parent once: that it is ready, or why it cannot serve."""

    url: str = ""
    sentence: str = ""
    exit_code: int = 0


class Duty(NamedTuple):
    """What a child is given."""

    is_first: bool
    """Whether it opens an empty ledger and loads the catalog; the others come when that is done."""
    tell: Callable[[Told], None]
    lifeline: int
    """A descriptor that can be read when the parent has ended."""


Work = Callable[[Duty], None]
"""Serves until it is stopped. Raises CannotServe."""


class _Child:
    """A process and its pipe."""

    def __init__(self, number: int, reading: int, *, is_first: bool) -> None:
        self.number = number
        self.reading = reading
        self.is_first = is_first
        self.heard = b""
        self.is_ready = False


class Workers:
    """The parent of so many children. `close_sockets` lets go of the parent's own."""

    def __init__(
        self, count: int, work: Work, on_ready: Callable[[str], None], close_sockets: Callable[[], None]
    ) -> None:
        self._count = count
        self._work = work
        self._on_ready = on_ready
        self._close_sockets = close_sockets
        self._children: dict[int, _Child] = {}
        self._selector = selectors.DefaultSelector()
        self._is_stopping = False
        self._has_begun = False
        """Whether the first child was ready once."""
        self._said_ready = False
        self._failure: Told | None = None
        self._again_at: float | None = None

    def run(self) -> None:
        """Until SIGTERM or SIGINT, and all children have ended. Raises CannotServe where the first cannot start."""
        self._lifeline = os.pipe()
        with self._signals() as bell:
            self._selector.register(bell, selectors.EVENT_READ)
            self._start(is_first=True)
            while self._children or not self._is_stopping:
                for key, _ in self._selector.select(self._patience_seconds()):
                    if key.fd == bell:
                        for number in os.read(bell, 512):
                            self._hear(signal.Signals(number))
                    else:
                        self._listen(key.data)
                self._reap()
                self._replace()
        for end in self._lifeline:
            os.close(end)
        if self._failure is not None:
            raise CannotServe(self._failure.sentence, self._failure.exit_code)

    @contextmanager
    def _signals(self) -> Iterator[int]:
        """A descriptor that can be read when a signal has come, its number in a byte."""
        bell, clapper = os.pipe()
        os.set_blocking(bell, False)
        os.set_blocking(clapper, False)
        self._bell = (bell, clapper)
        before = {number: signal.signal(number, lambda *_: None) for number in _HEARD}
        signal.set_wakeup_fd(clapper)
        try:
            yield bell
        finally:
            signal.set_wakeup_fd(-1)
            for number, action in before.items():
                signal.signal(number, action)
            os.close(bell)
            os.close(clapper)

    def _patience_seconds(self) -> float | None:
        return None if self._again_at is None else max(0.0, self._again_at - time.monotonic())

    def _hear(self, number: signal.Signals) -> None:
        match number:
            case signal.SIGTERM | signal.SIGINT:
                self._stop()
            case signal.SIGHUP:
                ready = [child for child in self._children.values() if child.is_ready]
                for child in ready[:1]:  # one loads the catalog file again, and all find what it changed
                    _signal(child.number, signal.SIGHUP)

    def _stop(self) -> None:
        self._is_stopping = True
        self._close_sockets()
        for number in self._children:
            _signal(number, signal.SIGTERM)

    def _start(self, *, is_first: bool) -> None:
        reading, writing = os.pipe()
        number = os.fork()
        if number == 0:
            self._live(Duty(is_first, lambda told: _tell(writing, told), self._lifeline[0]))
        os.close(writing)
        child = self._children[number] = _Child(number, reading, is_first=is_first)
        self._selector.register(reading, selectors.EVENT_READ, child)

    def _live(self, duty: Duty) -> None:
        """The child's whole life."""
        exit_code = 1
        try:
            os.setpgid(0, 0)
            signal.set_wakeup_fd(-1)
            for number in _HEARD:
                signal.signal(number, signal.SIG_DFL)
            self._selector.close()
            for end in (self._lifeline[1], *self._bell, *(child.reading for child in self._children.values())):
                os.close(end)
            self._work(duty)
            exit_code = 0
        except CannotServe as failure:
            duty.tell(Told(sentence=str(failure), exit_code=failure.exit_code))
        except BaseException:  # a child must never go on as if it were the parent
            log.exception("bug")
        finally:
            os._exit(exit_code)

    def _listen(self, child: _Child) -> None:
        heard = os.read(child.reading, 65_536)
        child.heard += heard
        if not heard:
            self._selector.unregister(child.reading)
            os.close(child.reading)
        elif child.heard.endswith(b"\n"):
            told = msgspec.json.decode(child.heard, type=Told)
            child.heard = b""
            if told.url:
                self._ready(child, told.url)
            elif self._has_begun:
                log.warning("worker_cannot_start", reason=told.sentence)
            else:
                self._failure = told

    def _ready(self, child: _Child, url: str) -> None:
        child.is_ready = True
        self._has_begun = True
        if not self._said_ready and sum(child.is_ready for child in self._children.values()) == self._count:
            self._said_ready = True
            self._on_ready(url)

    def _reap(self) -> None:
        for number in list(self._children):
            with suppress(ChildProcessError):
                ended, status = os.waitpid(number, os.WNOHANG)
                if ended:
                    self._ended(self._children.pop(number), os.waitstatus_to_exitcode(status))

    def _ended(self, child: _Child, exit_code: int) -> None:
        with suppress(KeyError):  # it has said its last word, and that was read, or its pipe is read now
            self._selector.get_key(child.reading)
            self._listen(child)
            with suppress(KeyError):
                self._selector.unregister(child.reading)
                os.close(child.reading)
        if self._is_stopping:
            return
        if not self._has_begun:
            self._failure = self._failure or Told(sentence="the first worker ended", exit_code=1)
            self._stop()
            return
        log.warning("worker_ended", pid=child.number, exit_code=exit_code)
        if not child.is_ready:
            self._again_at = time.monotonic() + AGAIN_SECONDS

    def _replace(self) -> None:
        """Starts what is missing, once the first child is ready, and not before the time for another try."""
        if self._is_stopping or not self._has_begun:
            return
        if self._again_at is not None:
            if time.monotonic() < self._again_at:
                return
            self._again_at = None
        while len(self._children) < self._count:
            self._start(is_first=False)


async def until_orphaned(lifeline: int, stop: asyncio.Event) -> None:
    """Sets `stop` when the parent has ended."""
    loop = asyncio.get_running_loop()
    orphaned = asyncio.Event()
    loop.add_reader(lifeline, orphaned.set)
    try:
        await orphaned.wait()
    finally:
        loop.remove_reader(lifeline)
    stop.set()


def _tell(writing: int, told: Told) -> None:
    with suppress(BrokenPipeError):  # the parent has ended
        os.write(writing, msgspec.json.encode(told) + b"\n")


def _signal(number: int, what: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(number, what)
