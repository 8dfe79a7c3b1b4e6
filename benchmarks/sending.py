"""Sending: prepared requests over kept-alive connections, as fast as they are answered or at a rate.

As fast as they are answered (`send_all`), each connection sends its next request when the last one was answered, and a
latency is counted from the moment of sending. At a rate (`send_at_rate`), requests fall due at instants of chance, as
those of many independent callers do; one that finds every connection busy waits, and its latency is counted from the
instant it was due. So a server that stalls is charged with all who had to wait, not only with the one in hand.

A server that closes the connection behind an answer, as some do, is connected to anew: that is part of its cost.
"""

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple, cast

SUCCESS: Final = (b'"Status":"Success"', b'"MeteringRecordId"')
"""By what a record that was accepted is known in an answer: of a batch, and of a single one."""

_LENGTH: Final = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"connection: *close", re.IGNORECASE)


class Ran(NamedTuple):
    """What a run of load saw. Latencies in seconds, sorted."""

    requests: int
    seconds: float
    latencies: Sequence[float]
    statuses: dict[int, int]
    accepted: int
    """Records that were answered with Success."""

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests stayed below, in milliseconds."""
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


class _Tally:
    """What came back, and whether all of it has."""

    def __init__(self, expected: int) -> None:
        self.expected = expected
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}
        self.accepted = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def add(self, status: int, body: bytes, seconds: float) -> None:
        """Counts an answer."""
        self.latencies.append(seconds)
        self.statuses[status] = self.statuses.get(status, 0) + 1
        self.accepted += body.count(SUCCESS[0]) or body.count(SUCCESS[1])
        if len(self.latencies) == self.expected and not self.ended.done():
            self.ended.set_result(None)

    def fail(self, error: Exception) -> None:
        """The run cannot go on."""
        if not self.ended.done():
            self.ended.set_exception(error)


class _Source:
    """Where a connection's next request comes from. This one gives it at once, for as long as there are any."""

    def __init__(self, requests: Sequence[bytes]) -> None:
        self._waiting = iter(requests)

    def begin(self, connections: Sequence["_Connection"]) -> None:
        """All are connected, and the clock runs."""
        for connection in connections:
            self.idle(connection)

    def idle(self, connection: "_Connection") -> None:
        """A connection can send."""
        request = next(self._waiting, None)
        if request is not None:
            connection.send(request, time.perf_counter())


class _Clocked(_Source):
    """Gives requests when they are due, which is at a mean rate and otherwise left to chance.

    It never sleeps: it asks the clock at every turn of the loop, since a timer is late by up to a millisecond. That
    takes a whole processor, which the load has.
    """

    def __init__(self, requests: Sequence[bytes], rate: float, seed: int) -> None:
        super().__init__(requests)
        self._idle: deque[_Connection] = deque()
        self._due: deque[tuple[bytes, float]] = deque()
        self._rate = rate
        self._seed = seed
        self._at: Iterator[float] = iter(())
        self._next_at = 0.0

    def begin(self, connections: Sequence["_Connection"]) -> None:
        """All are connected, and the clock runs."""
        super().begin(connections)
        self._at = _instants(self._rate, self._seed)
        self._next_at = next(self._at)
        self._run()

    def idle(self, connection: "_Connection") -> None:
        """A connection can send: whoever waits longest goes first."""
        if self._due:
            connection.send(*self._due.popleft())
        else:
            self._idle.append(connection)

    def _run(self) -> None:
        now = time.perf_counter()
        while self._next_at <= now:
            request = next(self._waiting, None)
            if request is None:
                return
            if self._idle:
                self._idle.popleft().send(request, self._next_at)
            else:
                self._due.append((request, self._next_at))
            self._next_at = next(self._at)
        asyncio.get_running_loop().call_soon(self._run)


def _instants(rate: float, seed: int) -> Iterator[float]:
    chance = random.Random(seed)
    at = time.perf_counter()
    while True:
        at += chance.expovariate(rate)
        yield at


class _Connection(asyncio.Protocol):
    """One connection: has one request at a time under way."""

    def __init__(self, host: str, port: int, source: _Source, tally: _Tally) -> None:
        self._place = (host, port)
        self._source = source
        self._tally = tally
        self._received = b""
        self._request: bytes | None = None
        self._from = 0.0
        self._transport: asyncio.Transport | None = None
        self._connecting: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._lost.set()

    async def connect(self) -> None:
        """Connects, and sends what was to be sent meanwhile."""
        await asyncio.get_running_loop().create_connection(lambda: self, *self._place)
        if self._request is not None:
            assert self._transport is not None
            self._transport.write(self._request)

    def send(self, request: bytes, counted_from: float) -> None:
        """Sends a request, on a new connection where the server closed the last one."""
        self._request = request
        self._from = counted_from
        if self._transport is not None:
            self._transport.write(request)
        else:
            self._connecting = asyncio.ensure_future(self.connect())
            self._connecting.add_done_callback(self._connected)

    async def close(self) -> None:
        """Hangs up, and returns when that is done."""
        if self._transport is not None:
            self._transport.close()
        await self._lost.wait()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._lost.clear()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        if len(body) < int(_LENGTH.search(head)[1]):  # type: ignore[index]  # every answer has a length
            return
        now = time.perf_counter()
        self._received = b""
        self._request = None
        if _CLOSES.search(head):
            assert self._transport is not None
            self._transport.close()
            self._transport = None
        self._tally.add(int(head[9:12]), body, now - self._from)
        self._source.idle(self)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._transport is None:
            self._lost.set()
        elif self._transport.is_closing():  # and not a new one already
            self._lost.set()
            self._transport = None
            if self._request is not None:
                self._tally.fail(exc or ConnectionResetError("the server closed the connection without an answer"))

    def _connected(self, connecting: "asyncio.Task[None]") -> None:
        if not connecting.cancelled() and (error := connecting.exception()) is not None:
            self._tally.fail(error if isinstance(error, Exception) else RuntimeError(str(error)))


async def send_all(host: str, port: int, requests: Sequence[bytes], *, connections: int) -> Ran:
    """Sends every request once, each connection its next when the last was answered."""
    return await _send(host, port, requests, connections, _Source(requests))


async def send_at_rate(
    host: str, port: int, requests: Sequence[bytes], *, connections: int, rate: float, seed: int = 1
) -> Ran:
    """Sends every request once, so many a second."""
    return await _send(host, port, requests, connections, _Clocked(requests, rate, seed))


async def _send(host: str, port: int, requests: Sequence[bytes], connections: int, source: _Source) -> Ran:
    tally = _Tally(len(requests))
    made = [_Connection(host, port, source, tally) for _ in range(connections)]
    for connection in made:
        await connection.connect()
    started = time.perf_counter()
    source.begin(made)
    try:
        await tally.ended
        seconds = time.perf_counter() - started
    finally:
        await asyncio.gather(*(connection.close() for connection in made))
    return Ran(len(tally.latencies), seconds, sorted(tally.latencies), tally.statuses, tally.accepted)
