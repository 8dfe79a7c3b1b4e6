"""Sending: prepared requests over kept-alive connections, as fast as they are answered or at a rate.

As fast as they are answered (`send_all`), each connection sends its next request when the last one was answered, and a
latency is counted from the moment of sending. At a rate (`send_at_rate`), requests fall due at instants of chance, as
those of many independent callers do; one that finds every connection busy waits, and its latency is counted from the
instant it was due. So a server that stalls is charged with all who had to wait, not only with the one in hand.

A server that closes the connection behind an answer, as some do, is connected to anew: that is part of its cost.

The load takes as little of its processor as it can, and none while it waits, because what are two processors to the
system may be the two halves of one core: a load that is busy then makes the server slow. So the sockets are waited for
to the microsecond and without an event loop, and answers are looked through once the run is over.
"""

import random
import re
import select
import selectors
import socket
import time
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

SUCCESS: Final = (b'"Status":"Success"', b'"MeteringRecordId"')
"""By what a record that was accepted is known in an answer: of a batch, and of a single one."""
PATIENCE_SECONDS: Final = 60
"""How long no answer at all may come."""

_LENGTH: Final = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)
_CLOSES: Final = re.compile(rb"connection: *close", re.IGNORECASE)
_END_OF_HEAD: Final = b"\r\n\r\n"
_READ_BYTES: Final = 262_144


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


class _Connection:
    """One connection: has one request at a time under way."""

    def __init__(self, host: str, port: int, selector: selectors.DefaultSelector) -> None:
        self._place = (host, port)
        self._selector = selector
        self._received = b""
        self._from = 0.0
        self._socket: socket.socket | None = self._connected()

    def send(self, request: bytes, counted_from: float) -> None:
        """Sends a request, on a new connection where the server closed the last one."""
        self._from = counted_from
        if self._socket is None:
            self._socket = self._connected()
        self._socket.sendall(request)

    def answer(self) -> tuple[bytes, float] | None:
        """Takes what has come: the whole answer and its latency, or None where some of it is still to come."""
        assert self._socket is not None, "nothing comes on a closed connection"
        piece = self._socket.recv(_READ_BYTES)
        if not piece:
            raise ConnectionResetError("the server closed the connection without an answer")
        received = self._received = self._received + piece if self._received else piece
        head_bytes = received.find(_END_OF_HEAD)
        if head_bytes < 0:
            return None
        length = _LENGTH.search(received, 0, head_bytes)
        assert length is not None, "every answer has a length"
        if len(received) < head_bytes + len(_END_OF_HEAD) + int(length[1]):
            return None
        latency = time.perf_counter() - self._from
        self._received = b""
        if _CLOSES.search(received, 0, head_bytes):
            self.close()
        return received, latency

    def close(self) -> None:
        """Hangs up."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None

    def _connected(self) -> socket.socket:
        connected = socket.create_connection(self._place, PATIENCE_SECONDS)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._selector.register(connected, selectors.EVENT_READ, self)
        return connected


class _Line:
    """The requests still to be sent, and when the first of them is due."""

    def __init__(self, requests: Sequence[bytes], instants: Iterator[float] | None) -> None:
        self._requests = iter(requests)
        self._instants = instants
        self._started = time.perf_counter()
        self.due_at = 0.0
        """0: at once."""
        self.first: bytes | None = None
        self._advance()

    def send(self, connection: _Connection) -> None:
        """The first goes out."""
        assert self.first is not None
        connection.send(self.first, self.due_at or time.perf_counter())
        self._advance()

    def _advance(self) -> None:
        self.first = next(self._requests, None)
        if self._instants is not None:
            self.due_at = self._started + next(self._instants)


def send_all(host: str, port: int, requests: Sequence[bytes], *, connections: int) -> Ran:
    """Sends every request once, each connection its next when the last was answered."""
    return _send(host, port, requests, connections, None)


def send_at_rate(
    host: str, port: int, requests: Sequence[bytes], *, connections: int, rate: float, seed: int = 1
) -> Ran:
    """Sends every request once, so many a second."""
    return _send(host, port, requests, connections, _instants(rate, seed))


def _send(host: str, port: int, requests: Sequence[bytes], connections: int, due: Iterator[float] | None) -> Ran:
    """`due`: how long after the begin each request falls due; None: all at once, each counted from when it is sent."""
    answers: list[tuple[bytes, float]] = []
    with selectors.DefaultSelector() as selector:
        idle = deque(_Connection(host, port, selector) for _ in range(connections))
        made = tuple(idle)
        started = time.perf_counter()
        line = _Line(requests, due)
        try:
            while len(answers) < len(requests):
                while line.first is not None and idle and line.due_at <= time.perf_counter():
                    line.send(idle.popleft())
                until = line.due_at - time.perf_counter() if line.first is not None and idle else PATIENCE_SECONDS
                for connection in _ready(selector, until):
                    answer = connection.answer()
                    if answer is not None:
                        answers.append(answer)
                        idle.append(connection)
            seconds = time.perf_counter() - started
        finally:
            for connection in made:
                connection.close()
    return Ran(
        len(answers),
        seconds,
        sorted(latency for _, latency in answers),
        dict(Counter(int(answer[9:12]) for answer, _ in answers)),
        sum(answer.count(SUCCESS[0]) or answer.count(SUCCESS[1]) for answer, _ in answers),
    )


def _ready(selector: selectors.DefaultSelector, seconds: float) -> list[_Connection]:
    """The connections on which something has come; none where nothing has within the time. TimeoutError where that is
    `PATIENCE_SECONDS`.
    """
    if seconds < PATIENCE_SECONDS:
        # A selector waits for whole milliseconds, which is longer than requests are apart; `select` for microseconds.
        came, _, _ = select.select((selector.fileno(),), (), (), max(0, seconds))
        return [key.data for key, _ in selector.select(0)] if came else []
    found = selector.select(PATIENCE_SECONDS)
    if not found:
        raise TimeoutError(f"no answer came within {PATIENCE_SECONDS} seconds")
    return [key.data for key, _ in found]


def _instants(rate: float, seed: int) -> Iterator[float]:
    chance = random.Random(seed)
    at = 0.0
    while True:
        at += chance.expovariate(rate)
        yield at
