"""HTTP/1.x as it arrives: one connection, every bound on it, and no request started before it is whole.

uvicorn's protocol reads as much header as a client cares to send, and waits for as long as it likes. This one puts a
bound on every byte and every second (`bounds.py`), and gathers the body before it starts the application, so that a
slow client costs one timer and never a running task. `exchange.py` takes over when a request is whole.

What is being read, and what ends it:

    reading │ the next byte belongs to         │ deadline                          │ when it passes
    ────────┼──────────────────────────────────┼───────────────────────────────────┼──────────────────────
    REST    │ nothing yet, or stray line ends  │ idle_seconds after the answer     │ closed without a word
    HEAD    │ request line and headers         │ head_seconds after its first byte │ 408
    BODY    │ body, chunk framing, trailers    │ body_seconds after the head       │ 408
    SHUT    │ nothing: it is thrown away       │ linger_seconds after the answer   │ cut

Rules of this file:

- *Answers leave in order.* What comes while a request is being answered waits in `_waiting`. A refusal (400, 408, 431,
  a body too large) is an exchange like any other and waits too: it must not pass for the answer to an earlier request.
- *Little is read ahead.* llhttp cannot be stopped in the middle of what it is fed, so it is fed pieces; once a whole
  request waits behind another, nothing more is fed or read. One connection holds at most two bodies, a head, and what
  one read of the socket brings.
- *Trailers and chunk extensions are read past*, within the bound of a head, and reach nobody: a trailer must not pass
  for a header.
- *No deadline while whole requests are being answered*, except that a client which does not take its answer has
  idle_seconds to read on.
- *A refused client may still be writing.* Closing a socket that has unread bytes resets the connection, and the reset
  can overtake the refusal. So only the sending side is shut, and what still comes is thrown away, within bounds.
"""

from __future__ import annotations

import asyncio
import contextvars
import enum
import re
import urllib.parse
from collections import deque
from typing import Any, Final

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from meterhouse.server import refusal
from meterhouse.server.bounds import CONTRACT, PIECE_BYTES, Bounds, Room, Tally, no_room
from meterhouse.server.deadline import Deadline
from meterhouse.server.exchange import ASGI_VERSIONS, Exchange, Scope


class Reading(enum.Enum):
    """What the next byte of a connection belongs to; the table is at the top of the file."""

    REST = "nothing yet"
    HEAD = "a head"
    BODY = "a body"
    SHUT = "nothing any more"


REST, HEAD, BODY, SHUT = Reading

_REQUEST_LINE: Final = re.compile(rb"(?:\r?\n)*(?P<method>[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}) \S+ HTTP/1\.[01]\r?\n")


class _Stop(Exception):
    """Ends the parser's run over a piece, once the request in it is refused."""


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's httptools protocol with every bound of the contract. It reads; `Exchange` answers."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        bounds: Bounds = CONTRACT,
        room: Room = no_room,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.bounds = bounds
        self._room = room
        # What is being read
        self._reading = REST
        self._request: Scope = {}
        self._body: bytes | bytearray = b""
        self._keep_alive = True
        self._continue_due = False
        self._tally = Tally(bounds)
        self._piece_bytes = min(PIECE_BYTES, bounds.head_bytes)
        self._alone = True  # no request has ended in this piece
        self._declared_bytes = 0  # Content-Length, once the body is known to come in several pieces
        # What is being answered
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._paused = False
        self._held: bytes | memoryview = b""
        self._context = contextvars.copy_context()  # no request inherits the variables of the one before it
        # How it ends
        self._stopping = False
        self._lingers = False
        self._thrown_bytes = 0
        # When
        self._stalled = False
        self._deadline = Deadline(self.loop, self._late)

    # The transport's side

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as in the class above
        """A client has come. One that never sends a byte is idle from here on."""
        super().connection_made(transport)
        self._deadline.set(self.bounds.idle_seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone. What waited is dropped; what runs goes on, and learns of it when it asks."""
        self._deadline.end()
        self._reading = SHUT
        self._waiting.clear()
        self._held = self._body = b""
        if self._current is not None:
            self._current.disconnect()
        super().connection_lost(exc)

    def eof_received(self) -> bool:  # type: ignore[override] # the class above gives None, which counts as false
        """The client sends no more, but it may wait for answers to what it sent: true keeps the connection for them."""
        if self._current is None:
            return False
        self._lingers = False
        self._end_after_last()
        return True

    def resume_writing(self) -> None:
        """The client has taken most of what was written."""
        super().resume_writing()
        self._stalled = False
        self._watch_again()

    async def drained(self) -> None:
        """Wait until the client takes what was written, for as long as it might be idle; then it is cut."""
        self._stalled = True
        self._deadline.set(self.bounds.idle_seconds)
        await self.flow.drain()

    def shutdown(self) -> None:
        """The server stops: what has begun to arrive is still answered, and nothing after it."""
        if self._current is not None:
            self._end_after_last()
        elif self._reading in (HEAD, BODY):
            self._stopping = True
        else:
            self._lingers = False
            self._hang_up()

    # Feeding the parser

    def data_received(self, data: bytes) -> None:
        """Take what one read of the socket brought."""
        if self._paused:  # a transport may have read before it was told
            self._held = bytes(self._held) + data
        elif len(data) <= self._piece_bytes and self._reading is not HEAD:
            self._feed(data)
        else:
            self._feed_pieces(memoryview(data))

    def _feed_pieces(self, data: memoryview) -> None:
        while data:
            if self._paused:
                self._held = data
                return
            size = self._piece_bytes
            if self._reading is BODY:  # nothing else can be in what was declared
                size = max(size, self._declared_bytes - len(self._body))
            elif self._reading is HEAD:
                size = min(size, self._tally.head_room_bytes)
                if size <= 0:
                    self._refuse(refusal.HEAD_LARGE)
                    continue
            piece, data = data[:size], data[size:]
            self._feed(piece)

    def _feed(self, piece: bytes | memoryview) -> None:
        if self._reading is SHUT:
            self._throw_away(len(piece))
            return
        self._alone = True
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade as offer:
            self._ignore_upgrade(piece[offer.args[0] :])
        except httptools.HttpParserCallbackError:
            if self._reading is not SHUT:  # so it was no _Stop, but a bug in one of the methods that the parser calls
                raise
        except httptools.HttpParserInvalidMethodError:
            self._say_otherwise(bytes(piece))
        except httptools.HttpParserError:
            self._refuse(refusal.MALFORMED)
        else:
            if self._reading is not REST:
                self._count(len(piece))

    def _count(self, piece_bytes: int) -> None:
        """The piece ended inside a request: see that a deadline runs and the bounds are kept."""
        tally = self._tally
        begins = tally.begins
        if self._reading is HEAD:
            if begins:
                self._watch_again()
                if not self._alone:
                    piece_bytes = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            tally.add_to_head(piece_bytes)
        elif self._reading is BODY and begins:
            tally.begin_framing()
            self._begin_long_body()
        elif self._reading is BODY:
            tally.add_to_body(piece_bytes, len(self._body))
            if tally.exceeds_gap():
                self._refuse(refusal.HEAD_LARGE)
            elif tally.exceeds_framing():
                self._refuse(refusal.MOSTLY_FRAMING)

    def _begin_long_body(self) -> None:
        """The body did not come along with its head: what the head says about it is looked at now."""
        self._watch_again()
        fields = dict(self._request["headers"])
        self._declared_bytes = int(fields.get(b"content-length", b"0"))
        if self._exceeds_room(self._declared_bytes):
            self._refuse_body()
        elif b"expect" in fields and not self._body and self._request["http_version"] == "1.1":
            self._continue_due = fields[b"expect"].lower() == b"100-continue"
            if self._continue_due and self._current is None:
                self._say_continue()

    def _say_otherwise(self, piece: bytes) -> None:
        """A method that the parser does not know is for the application to refuse, by the path (contract §1).

        So it is said again under a name that the parser knows, and given its own before anybody looks.
        """
        line = _REQUEST_LINE.match(piece) if self._alone else None
        if line is None or self._reading is not HEAD:
            self._refuse(refusal.MALFORMED)
            return
        earlier = self._request
        self._new_parser()
        self._feed(b"POST" + piece[line.end("method") :])
        if self._request is not earlier:
            self._request["method"] = line["method"].decode("ascii")

    def _new_parser(self) -> None:
        self.parser = httptools.HttpRequestParser(self)
        self.parser.set_dangerous_leniencies(lenient_data_after_close=True)

    def _ignore_upgrade(self, rest: bytes | memoryview) -> None:
        """No other protocol is spoken, so an offer to switch counts for nothing (RFC 9110 §7.8).

        llhttp takes what follows such a head for the other protocol. So the head is said again, to a new parser and
        without its Upgrade header; the application still sees that header, since it may have been signed.
        """
        method = self.parser.get_method()
        if method == b"CONNECT":
            self._refuse(refusal.NO_TUNNEL)
            return
        headers, earlier = self.headers, self._request
        lines = [b"%b %b HTTP/%b" % (method, self.url, self.parser.get_http_version().encode())]
        lines += [b"%b: %b" % header for header in headers if header[0] != b"upgrade"]
        self._new_parser()
        self._feed(b"\r\n".join((*lines, b"", b"")))
        if self._request is not earlier:
            self._request["headers"] = headers
        if rest:
            self._feed(rest)

    def _throw_away(self, byte_count: int) -> None:
        self._thrown_bytes += byte_count
        if self._thrown_bytes > self.bounds.linger_bytes:
            if self._current is None:
                self.transport.abort()
            else:
                self._pause()

    def _pause(self) -> None:
        self._paused = True
        self.flow.pause_reading()

    def _resume(self) -> None:
        """Read on, first what was held back. The pause was not the client's, so its time begins anew."""
        self._paused = False
        held, self._held = self._held, b""
        self._feed_pieces(memoryview(held))
        if not self._paused and not self.transport.is_closing():
            self.flow.resume_reading()
            self._watch_again()

    # The parser's side

    def on_message_begin(self) -> None:
        """The first byte of a request line."""
        if self._reading is SHUT:
            raise _Stop
        self._reading = HEAD
        self._tally.begin()
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header; or after the head a trailer, and then the list is one that nobody reads."""
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is whole: measure it, and say what the application will see of it."""
        parser = self.parser
        if parser.should_upgrade():
            return  # `_ignore_upgrade` comes next
        url = self.url
        headers = self.headers
        method = parser.get_method()
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            self._refuse(refusal.NOT_HTTP_1)
            raise _Stop
        if len(dict(headers)) != len(headers) and [name for name, _ in headers].count(b"host") > 1:
            self._refuse(refusal.TWO_HOSTS)
            raise _Stop
        path, raw_path, query_string = ("/", b"/", b"") if url == b"/" else self._target()
        self._request = {
            "type": "http",
            "asgi": ASGI_VERSIONS,
            "http_version": version,
            "method": method.decode("ascii"),
            "scheme": self.scheme,
            "path": path,
            "raw_path": raw_path,
            "query_string": query_string,
            "root_path": "",
            "headers": headers,
            "client": self.client,
            "server": self.server,
            "state": self.app_state.copy(),
        }
        self._keep_alive = version == "1.1" and parser.should_keep_alive()
        self._reading = BODY
        self._tally.begin()
        self._body = b""
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """A part of the body, and by far most often all of it."""
        gathered = self._body
        if not gathered:
            self._body = body
        elif isinstance(gathered, bytearray):
            gathered += body
        else:
            self._body = bytearray().join((gathered, body))
        if len(self._body) >= self.bounds.body_bytes and self._exceeds_room(len(self._body)):
            self._refuse_body()
            raise _Stop

    def _exceeds_room(self, byte_count: int) -> bool:
        return byte_count >= self.bounds.body_bytes and byte_count >= self._room(self._request)

    def on_message_complete(self) -> None:
        """The request is whole: its turn is now, or after those before it."""
        if self._reading is not BODY:
            return  # the head was an offer to switch, and is about to be said again
        body = self._body
        keep_alive = self._keep_alive and not self._stopping
        self._reading = REST if keep_alive else SHUT
        self._body = b""
        self._alone = False
        self._continue_due = False
        whole = body if isinstance(body, bytes) else bytes(body)
        self._take(Exchange(self, self.app, self._request, whole, keep_alive=keep_alive))

    def _target(self) -> tuple[str, bytes, bytes]:
        """Path, raw path and query of a request target in any of its forms but CONNECT's."""
        try:
            parsed = httptools.parse_url(self.url)
        except httptools.HttpParserInvalidURLError:
            self._refuse(refusal.MALFORMED)
            raise _Stop from None
        raw_path = parsed.path or b"/"
        path = raw_path.decode("ascii")
        return urllib.parse.unquote(path) if "%" in path else path, raw_path, parsed.query or b""

    # Answering

    def _take(self, exchange: Exchange) -> None:
        if self._current is None:
            self._deadline.clear()
            self._start(exchange)
        else:
            self._waiting.append(exchange)
            self._pause()
            self._watch_again()

    def _start(self, exchange: Exchange) -> None:
        self._current = exchange
        task = self.loop.create_task(exchange.run(), context=self._context.copy())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    def standing_headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer carries; the server renews it each second."""
        return self.server_state.default_headers

    def answered(self, exchange: Exchange) -> None:
        """The last byte has been written: now the next request's turn, or rest, or the end."""
        self.server_state.total_requests += 1
        self._current = None
        if not exchange.keep_alive:
            self._hang_up()
            return
        if self._waiting:
            self._start(self._waiting.popleft())
        if self._paused and not self._waiting:
            self._resume()
        if self._current is None:
            if self._reading is REST:
                self._deadline.set(self.bounds.idle_seconds)
            elif self._continue_due:
                self._say_continue()

    def _say_continue(self) -> None:
        self._continue_due = False
        self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _refuse(self, answer: refusal.Refusal) -> None:
        """Answer for HTTP itself, after the answers to what came before, and read no further request."""
        scope = {"type": "http", "http_version": "1.1", "method": "GET", "path": ""}
        self._give_up(Exchange(self, answer, scope, None, keep_alive=False))

    def _refuse_body(self) -> None:
        """The application says 413 in its own form; it gets no byte of the body."""
        self._request["extensions"] = {refusal.BODY_TOO_LARGE: {}}
        self._give_up(Exchange(self, self.app, self._request, None, keep_alive=False))

    def _give_up(self, exchange: Exchange) -> None:
        self._reading = SHUT
        self._lingers = True
        self._body = b""
        self._take(exchange)

    # Ending

    def _end_after_last(self) -> None:
        last = self._waiting[-1] if self._waiting else self._current
        if last is not None:
            last.keep_alive = False
        self._reading = SHUT
        self._body = b""
        self._watch_again()

    def _hang_up(self) -> None:
        """Close when what was written has left; a client that does not take it is cut by the deadline."""
        self._reading = SHUT
        if self._lingers and self._thrown_bytes <= self.bounds.linger_bytes and self.transport.can_write_eof():
            self.transport.write_eof()
            if self._paused:
                self._resume()
            self._deadline.set(self.bounds.linger_seconds)
        else:
            self.transport.close()
            self._deadline.set(self.bounds.idle_seconds)

    # Time

    def _watch_again(self) -> None:
        """Set the deadline that the table at the top names, from now."""
        if self._stalled:
            return
        if self._paused:
            self._deadline.clear()
        elif self._reading is HEAD:
            self._deadline.set(self.bounds.head_seconds)
        elif self._reading is BODY:
            self._deadline.set(self.bounds.body_seconds)
        elif self._current is not None:
            self._deadline.clear()
        else:
            self._deadline.set(self.bounds.idle_seconds if self._reading is REST else self.bounds.linger_seconds)

    def _late(self) -> None:
        if self._stalled or self._reading is SHUT:
            self.transport.abort()
        elif self._reading is HEAD:
            self._refuse(refusal.HEAD_LATE)
        elif self._reading is BODY:
            self._refuse(refusal.BODY_LATE)
        else:
            self._hang_up()
