"""A connection driven by hand: a transport that only remembers, and a loop whose clock moves when the test says so."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPResponse
from io import BytesIO
from typing import Any, cast

from structlog.testing import capture_logs
from uvicorn.config import Config
from uvicorn.server import ServerState

from meterhouse.server.bounds import CONTRACT, Bounds
from meterhouse.server.exchange import Application, Receive, Scope, Send
from meterhouse.server.http import BoundedProtocol
from meterhouse.server.refusal import BODY_TOO_LARGE


class HandClock(asyncio.SelectorEventLoop):
    """Time stands still until `now` is set; timers set so far are counted."""

    now = 1000.0
    timer_count = 0

    def time(self) -> float:
        """The test's time."""
        return self.now

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override] # passed on as it is
        """As it was, but counted."""
        self.timer_count += 1
        return super().call_at(*args, **kwargs)


class RecordingTransport(asyncio.Transport):
    """Remembers what is done to it, and tells the protocol of its end as a real one does: a turn of the loop later."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__({"peername": ("192.0.2.7", 40_000), "sockname": ("192.0.2.1", 8750)})
        self.loop = loop
        self.protocol: BoundedProtocol
        self.written = bytearray()
        self.unsent = False
        self._reads = True
        self.half_closed = False
        self.aborted = False
        self.closing = False
        self.lost = False

    def write(self, data: bytes | bytearray | memoryview) -> None:
        """Remember it, unless the connection has ended."""
        assert not self.closing, "nothing may be written after the close"
        assert not self.half_closed, "nothing may be written after the end"
        self.written += data

    def close(self) -> None:
        """Close once what was written has left."""
        if not self.closing:
            self.closing = True
            if not self.unsent:
                self._lose()

    def abort(self) -> None:
        """Cut the connection."""
        self.closing = self.aborted = True
        self._lose()

    def _lose(self) -> None:
        if not self.lost:
            self.lost = True
            self.loop.call_soon(self.protocol.connection_lost, None)

    def is_closing(self) -> bool:
        """Whether it has ended."""
        return self.closing

    def is_reading(self) -> bool:
        """Whether the server reads what comes."""
        return self._reads

    def pause_reading(self) -> None:
        """The server reads no more for now."""
        assert self._reads
        self._reads = False

    def resume_reading(self) -> None:
        """The server reads on."""
        assert not self._reads
        self._reads = True

    def can_write_eof(self) -> bool:
        """As TCP can."""
        return True

    def write_eof(self) -> None:
        """The server has no more to say."""
        self.half_closed = True


@dataclass(frozen=True)
class Answer:
    """An answer as Python's own client reads it."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Recorder:
    """An application that remembers its requests, holds them on demand, and answers with method, path and body."""

    requests: list[tuple[Scope, bytes]] = field(default_factory=list)
    holding: bool = False
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        message = await receive()
        too_large = BODY_TOO_LARGE in scope.get("extensions", {})
        assert message["type"] == ("http.disconnect" if too_large else "http.request")
        assert too_large or message["more_body"] is False, "a request is whole when the application gets it"
        body = message.get("body", b"")
        self.requests.append((scope, body))
        if self.holding:
            await self.released.wait()
        text = b"%b %b %b" % (scope["method"].encode(), scope["raw_path"], body)
        headers = [(b"content-length", b"%d" % len(text)), (b"content-type", b"text/plain")]
        await send({"type": "http.response.start", "status": 413 if too_large else 200, "headers": headers})
        await send({"type": "http.response.body", "body": text})


class ByHand:
    """One connection: bytes in, answers out, seconds as the test likes."""

    def __init__(self, application: Application, bounds: Bounds) -> None:
        self.loop = HandClock()
        config = Config(application, interface="asgi3", lifespan="off", ws="none", log_config=None, access_log=False)
        config.load()
        self.state = ServerState()
        self.state.default_headers = [(b"date", b"Tue, 24 Nov 2026 12:00:00 GMT")]
        self.transport = RecordingTransport(self.loop)
        self.protocol = BoundedProtocol(config, self.state, {"house": "open"}, self.loop, bounds=bounds)
        self.transport.protocol = self.protocol
        self.loop.call_soon(self.protocol.connection_made, self.transport)
        self.settle()

    def settle(self) -> None:
        """Let everything run that can run now."""

        async def turns() -> None:
            for _ in range(20):
                await asyncio.sleep(0)

        self.loop.run_until_complete(turns())

    def give(self, *pieces: bytes) -> None:
        """Bytes from the client, in these pieces, each when the one before has had its effect."""
        for piece in pieces:
            if self.transport.is_reading() and not self.transport.closing:
                self.protocol.data_received(piece)
            self.settle()

    def settle_until(self, request_count: int) -> None:
        """Let so many requests be answered; each turn must answer some."""
        while (before := self.state.total_requests) < request_count:
            self.settle()
            assert self.state.total_requests > before, "nothing goes on"

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.loop.now += seconds
        self.settle()

    def do(self, act: Callable[[], object]) -> None:
        """Something happens to the connection, and has its effect."""
        act()
        self.settle()

    def end(self) -> bool:
        """The client sends no more; whether the connection stays for its answers."""
        stays = self.protocol.eof_received()
        if not stays:
            self.transport.close()
        self.settle()
        return stays

    def ended(self) -> bool:
        """Whether the server has nothing more to do with the connection."""
        return self.transport.closing

    def answers(self, *methods: str) -> list[Answer]:
        """All that was written, read as answers to requests of these methods (else POST)."""
        stream = BytesIO(bytes(self.transport.written))
        given = iter(methods)
        found = []
        while stream.tell() < len(self.transport.written):
            found.append(read_answer(stream, next(given, "POST")))
        return found

    @property
    def statuses(self) -> list[int]:
        """The status of each answer so far."""
        return [answer.status for answer in self.answers()]


class _Stream:
    """Lets Python's client read one answer after another from the same bytes."""

    def __init__(self, stream: BytesIO) -> None:
        self._stream = stream

    def makefile(self, _mode: str) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def close(self) -> None:
        pass


def read_answer(stream: BytesIO, method: str) -> Answer:
    """Read one answer; an interim one (100) is passed over by Python's client."""
    response = HTTPResponse(cast("Any", _Stream(stream)), method=method)
    response.begin()
    body = response.read()
    return Answer(response.status, {name.lower(): value for name, value in response.getheaders()}, body)


@contextmanager
def by_hand(
    application: Application | None = None, bounds: Bounds = CONTRACT, *, logged: tuple[str, ...] = ()
) -> Iterator[ByHand]:
    """Open a connection, and end it and its tasks when the test is over; exactly this must have been logged."""
    connection = ByHand(application or Recorder(), bounds)
    try:
        with capture_logs() as logs:
            yield connection
        assert tuple(entry["event"] for entry in logs) == logged
    finally:
        if not connection.ended():
            connection.do(connection.transport.abort)
        for task in asyncio.all_tasks(connection.loop):
            task.cancel()
        connection.settle()
        connection.loop.close()
