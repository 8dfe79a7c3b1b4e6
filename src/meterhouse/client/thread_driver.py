"""The driver of a flow by threads: it does what a step asks for, and nothing else. `asyncio_driver` is its like.

Forked flows run in threads of the call's own, and their ends come back through a queue. How many run at a time is the
flow's to decide: it forks no more than it wants. Where a single one is forked and waited for, which is the usual call
of at most 25 records, it runs in the caller's own thread.
"""

import threading
from collections.abc import Callable
from typing import Any, Protocol

from meterhouse.client.errors import TransportError
from meterhouse.client.flow import Blocking, Flow, Fork, Instant, Join, Joined, Now, Send, Sleep, value_type
from meterhouse.client.transport import Transport

_MOST_THREADS = 64


class Clock(Protocol):
    """What time it is, and waiting. A test's clock need not wait."""

    def now(self) -> Instant:
        """The present instant."""

    def sleep(self, until: float) -> None:
        """Returns at a monotonic instant, for `MeteringClient`."""

    async def sleep_async(self, until: float) -> None:
        """Returns at a monotonic instant, for `AsyncMeteringClient`."""


def run(flow: Flow[value_type], transport: Transport, clock: Clock) -> value_type:
    """Runs a flow to its end; what it returns, or what it raises."""
    forks: _Threads | None = None
    result: Any = None
    try:
        while True:
            try:
                step = flow.send(result)
            except StopIteration as stop:
                value: value_type = stop.value
                return value
            match step:
                case Send():
                    try:
                        result = transport.send(step.request, step.timeout_seconds)
                    except TransportError as failure:
                        result = failure
                case Now():
                    result = clock.now()
                case Sleep():
                    clock.sleep(step.until)
                    result = None
                case Blocking():
                    result = step.call()
                case Fork():
                    if forks is None:
                        forks = _Threads(lambda forked: run(forked, transport, clock))
                    forks.fork(step)
                    result = None
                case Join():
                    assert forks is not None, "a flow waits only for what it has forked"
                    result = forks.join()
    finally:
        if forks is not None:
            forks.end()


class _OverError(Exception):
    """The call that a forked flow is part of is over: nobody waits for it any more."""


def _unless_over(flow: Flow[value_type], is_over: threading.Event) -> Flow[value_type]:
    """The flow, until the call that forked it is over: then it takes no further step."""
    result: Any = None
    while True:
        try:
            step = flow.send(result)
        except StopIteration as stop:
            value: value_type = stop.value
            return value
        if is_over.is_set():
            flow.close()
            raise _OverError
        result = yield step


class _Threads:
    """The forks of one call, and threads that run them: as many as have been at work at the same time.

    They are daemons, so that a program that was interrupted can end without their answers.
    """

    def __init__(self, run_one: Callable[[Flow[Any]], Any]) -> None:
        self._run_one = run_one
        self._is_over = threading.Event()
        self._waiting: list[Fork] = []
        self._running = 0
        self._threads: list[threading.Thread] = []

    def fork(self, fork: Fork) -> None:
        self._waiting.append(fork)

    def join(self) -> Joined:
        if len(self._waiting) == 1 and not self._running:
            fork = self._waiting.pop()
            return Joined(fork.name, self._run_one(fork.flow))
        if not self._threads:
            from queue import SimpleQueue  # noqa: PLC0415 - few calls have more than 25 records

            self._forked: SimpleQueue[Fork | None] = SimpleQueue()
            self._ended: SimpleQueue[Joined | BaseException] = SimpleQueue()
        self._running += len(self._waiting)
        while len(self._threads) < min(self._running, _MOST_THREADS):
            thread = threading.Thread(target=self._work, name="meterhouse-call", daemon=True)
            self._threads.append(thread)
            thread.start()
        for fork in self._waiting:
            self._forked.put(fork)
        self._waiting.clear()
        ended = self._ended.get()
        self._running -= 1
        if isinstance(ended, BaseException):
            raise ended
        return ended

    def _work(self) -> None:
        while (fork := self._forked.get()) is not None:
            try:
                self._ended.put(Joined(fork.name, self._run_one(_unless_over(fork.flow, self._is_over))))
            except BaseException as surprise:  # noqa: BLE001 - raised again where the caller waits for it
                self._ended.put(surprise)

    def end(self) -> None:
        # Where some are still at work the call was interrupted. Their answers may take a minute, and whoever pressed
        # Ctrl-C waits for none of them; each ends with the step that it is at.
        self._is_over.set()
        for _ in self._threads:
            self._forked.put(None)
        if self._running == 0:
            for thread in self._threads:
                thread.join()


class SystemClock:
    """The machine's clocks. `wall_micros` gives the wall clock's time."""

    def __init__(self, wall_micros: Callable[[], int], seconds: Callable[[], float]) -> None:
        self._wall_micros = wall_micros
        self._seconds = seconds

    def now(self) -> Instant:
        """The present instant."""
        return Instant(self._wall_micros(), self._seconds())

    def sleep(self, until: float) -> None:
        """Returns at a monotonic instant."""
        threading.Event().wait(max(0.0, until - self._seconds()))

    async def sleep_async(self, until: float) -> None:
        """Returns at a monotonic instant."""
        import asyncio  # noqa: PLC0415 - there already where this is called

        await asyncio.sleep(max(0.0, until - self._seconds()))
