"""One request and its answer, as the ASGI application sees them.

The connection (`http.py`) makes an `Exchange` when a request has been read whole, and runs it when its turn has come:

    not begun ──http.response.start──▶ head kept back ──first http.response.body──▶ writing ──last one──▶ complete

- The head is kept back until the first body message, as ASGI asks: head and a small body leave in one write, and an
  application that fails between the two can still be answered with a 500.
- How the body is delimited is decided once, with the head: by Content-Length if the application names one, else by
  chunks, or for HTTP/1.0 by the end of the connection. HEAD, 1xx, 204 and 304 have no body, whatever is sent.
- Nothing is cancelled when the client leaves: what is sent from then on is dropped, and `receive` says http.disconnect.
- An application may send a message of type `DROP` instead of an answer: the connection is then broken off.
- Whether the connection goes on is `keep_alive`; `Connection: close` is written when it is false, whoever made it so.
"""

from __future__ import annotations

import asyncio
import http
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final, Protocol

import structlog
from uvicorn.protocols.http.flow_control import FlowControl

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

ASGI_VERSIONS: Final = {"version": "3.0", "spec_version": "2.3"}
"""Said in every scope. From 2.4 on, sending to a client that has gone would have to raise."""

DROP: Final = "meterhouse.drop"
"""The type of a message of our own: in place of an answer, the connection is dropped (for injected faults)."""
JOINED_BYTES: Final = 65_536
"""A body up to this size is written together with its head; copying a larger one costs more than a second write."""

_PHRASES = {status.value: status.phrase for status in http.HTTPStatus}
_STATUS_LINES: Final = {code: f"HTTP/1.1 {code} {_PHRASES.get(code, '')}\r\n".encode() for code in range(100, 600)}
_BODILESS: Final = frozenset((*range(100, 200), 204, 304))
_FAILED: Final = b'{"__type":"InternalServiceErrorException","message":"The request could not be answered."}'

_log: structlog.typing.FilteringBoundLogger = structlog.get_logger()


class Connection(Protocol):
    """What an exchange needs of the connection it came by."""

    transport: asyncio.Transport
    flow: FlowControl

    def standing_headers(self) -> list[tuple[bytes, bytes]]:
        """The headers that every answer carries, such as Date."""

    async def drained(self) -> None:
        """Wait until the client has taken most of what was written, or is gone."""

    def answered(self, exchange: Exchange) -> None:
        """The last byte of the answer has been written."""


class Exchange:
    """A whole request, and the state of its answer; `keep_alive` may be made false until it is complete."""

    __slots__ = (
        "_application",
        "_bodiless",
        "_body",
        "_body_refused",
        "_chunked",
        "_connection",
        "_ended",
        "_head",
        "_remaining_bytes",
        "complete",
        "disconnected",
        "keep_alive",
        "scope",
    )

    def __init__(
        self, connection: Connection, application: Application, scope: Scope, body: bytes | None, *, keep_alive: bool
    ) -> None:
        self._connection = connection
        self._application = application
        self.scope = scope
        self._body = body
        self._body_refused = body is None
        self.keep_alive = keep_alive
        self.disconnected = False
        self.complete = False
        self._head: bytes | None = None  # None: not begun; then the bytes kept back; empty once they are written
        self._ended: asyncio.Event | None = None  # made only for an application that waits for the client to leave

    async def run(self) -> None:
        """Let the application answer; one that fails or stops half-way is a bug, and costs this connection only."""
        try:
            await self._application(self.scope, self.receive, self.send)
        except Exception:  # noqa: BLE001 - a bug of the application, whatever it is: the other requests go on
            _log.exception("application_failed", method=self.scope["method"], path=self.scope["path"])
            self._fail()
        except BaseException:  # cancelled, or the process is being ended: the client must not wait for an answer
            self._connection.transport.abort()
            raise
        else:
            if not self.complete and not self.disconnected:
                _log.error("application_gave_no_answer", method=self.scope["method"], path=self.scope["path"])
                self._fail()

    def disconnect(self) -> None:
        """The client has gone: whatever is still sent is dropped."""
        self.disconnected = True
        if self._ended is not None:
            self._ended.set()

    async def receive(self) -> Message:
        """The whole body the first time; after that, wait until the client leaves or the answer is complete.

        Where the body was refused, it is as if the client had left: no application takes it for an empty one.
        """
        body, self._body = self._body, None
        if body is not None:
            return {"type": "http.request", "body": body, "more_body": False}
        if not (self._body_refused or self.disconnected or self.complete):
            if self._ended is None:
                self._ended = asyncio.Event()
            await self._ended.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take the next message; RuntimeError on one that is out of order or contradicts Content-Length."""
        if self._connection.flow.write_paused and not self.disconnected:
            await self._connection.drained()
        if self.disconnected:
            return
        kind = message["type"]
        if self._head is None:
            if kind == DROP:
                self._drop()
                return
            if kind != "http.response.start":
                raise RuntimeError(f"http.response.start must come first, not {kind}")
            self._begin(message)
        elif self.complete:
            raise RuntimeError(f"{kind} came after the answer was complete")
        elif kind != "http.response.body":
            raise RuntimeError(f"http.response.body must follow http.response.start, not {kind}")
        else:
            self._write(message.get("body", b""), more_body=message.get("more_body", False))

    def _drop(self) -> None:
        """Break the connection off: the client sees that there is no answer, and cannot tell why."""
        self.disconnect()
        self._connection.transport.abort()

    def _begin(self, message: Message) -> None:
        status = message["status"]
        lines = [_STATUS_LINES[status]]
        line_count = 1
        length: int | None = None
        for given_name, value in (*self._connection.standing_headers(), *message.get("headers", ())):
            name = given_name.lower()
            if name == b"content-length":
                length = int(value)
            elif name == b"transfer-encoding":
                continue  # delimiting the body is done here, once
            elif name == b"connection" and b"close" in value.lower():
                self.keep_alive = False
                continue
            lines += (name, b": ", value, b"\r\n")
            line_count += 1
        scope = self.scope
        self._bodiless = scope["method"] == "HEAD" or status in _BODILESS
        self._remaining_bytes = length
        self._chunked = False
        if (
            length is None and not self._bodiless and scope["http_version"] != "1.0"
        ):  # which ends its connections anyway
            self._chunked = True
            lines.append(b"transfer-encoding: chunked\r\n")
            line_count += 1
        if not self.keep_alive:
            lines.append(b"connection: close\r\n")
            line_count += 1
        head = b"".join(lines)
        if head.count(b"\n") != line_count or head.count(b"\r") != line_count or b"\0" in head:
            raise RuntimeError("a header's name or value holds a line break or NUL")
        self._head = head + b"\r\n"

    def _write(self, body: bytes, *, more_body: bool) -> None:
        if self._bodiless:
            body = b""
        elif self._chunked:
            body = (b"%x\r\n%b\r\n" % (len(body), body) if body else b"") + (b"" if more_body else b"0\r\n\r\n")
        elif self._remaining_bytes is not None:
            self._remaining_bytes -= len(body)
            if self._remaining_bytes < 0 or (self._remaining_bytes and not more_body):
                raise RuntimeError("the body's length differs from Content-Length")
        transport = self._connection.transport
        if self._head:
            if len(body) <= JOINED_BYTES:
                body = self._head + body
            else:
                transport.write(self._head)
            self._head = b""
        if body:
            transport.write(body)
        if not more_body:
            self.complete = True
            if self._ended is not None:
                self._ended.set()
            self._connection.answered(self)

    def _fail(self) -> None:
        """Say 500 where nothing has been said yet, else break off: a cut answer must not pass for a whole one."""
        if self.disconnected or self.complete:
            return
        if self._head == b"":
            self._connection.transport.abort()
            return
        self.keep_alive = False
        length = str(len(_FAILED)).encode()
        headers = [(b"content-type", b"application/json"), (b"content-length", length)]
        self._begin({"type": "http.response.start", "status": 500, "headers": headers})
        self._write(_FAILED, more_body=False)
