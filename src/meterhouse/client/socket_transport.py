"""HTTP over blocking sockets: the transport of `MeteringClient`.

Why not a library: docs/decisions/0008-client-transport.md.

A connection is used by one thread at a time and kept for the next request. The service may end an idle connection at
any time, even while a request is on its way to it; so a request that fails on a *kept* connection before the first byte
of an answer is sent once more, on a new one. That is safe: every request of this service may be sent twice.
"""

import os
import socket
from queue import Empty, SimpleQueue
from time import monotonic
from typing import TYPE_CHECKING
from weakref import WeakSet

from meterhouse.client.errors import AnswerTimeoutError, ConnectError, ConnectionLostError, TransportError
from meterhouse.client.transport import (
    Address,
    AnswerReader,
    HttpAnswer,
    HttpRequest,
    NetworkOptions,
    Proxy,
    Routes,
    bytes_of,
    tunnel_bytes,
)

if TYPE_CHECKING:
    from ssl import SSLContext

_CHUNK_BYTES = 65_536


class SocketTransport:
    """HTTP/1.1 with kept connections, TLS, proxies. `routes` says which proxy leads where; none by default."""

    def __init__(self, options: NetworkOptions | None = None, routes: Routes | None = None) -> None:
        self._options = options or NetworkOptions()
        self._routes = routes or Routes({})
        self._tls: SSLContext | None = None
        self.begin()
        _ALIVE.add(self)

    def begin(self) -> None:
        """Begins with no connection: at first, and in a forked process."""
        self._idle: dict[tuple[Address, bool], list[_Connection]] = {}
        self._places: SimpleQueue[None] = SimpleQueue()
        for _ in range(self._options.max_connections):
            self._places.put(None)

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """See `Transport.send`."""
        until = monotonic() + timeout_seconds
        try:
            self._places.get(timeout=timeout_seconds)
        except Empty:
            count = self._options.max_connections
            raise ConnectError(f"all {count} connections were in use for {timeout_seconds} s") from None
        try:
            kept = self._kept(request)
            if kept is not None:
                try:
                    return self._exchange(kept, request, until, timeout_seconds)
                except ConnectionLostError:
                    if kept.answer_has_begun:
                        raise
            return self._exchange(self._connect(request, until), request, until, timeout_seconds)
        finally:
            self._places.put(None)

    def close(self) -> None:
        """Ends the connections that no request is using."""
        for connections in self._idle.values():
            while connections:
                connections.pop().close()

    def _kept(self, request: HttpRequest) -> "_Connection | None":
        connections = self._idle.get((request.address, request.direct))
        oldest = monotonic() - self._options.idle_seconds
        while connections:
            try:
                connection = connections.pop()
            except IndexError:  # another thread took the last one
                return None
            if connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def _exchange(
        self, connection: "_Connection", request: HttpRequest, until: float, timeout_seconds: float
    ) -> HttpAnswer:
        try:
            answer = connection.exchange(bytes_of(request, connection.proxy), until, timeout_seconds)
        except BaseException:
            connection.close()
            raise
        if connection.reusable:
            connection.idle_since = monotonic()
            self._idle.setdefault((request.address, request.direct), []).append(connection)
        else:
            connection.close()
        return answer

    def _connect(self, request: HttpRequest, until: float) -> "_Connection":
        address = request.address
        proxy = None if request.direct else self._routes.proxy_to(address)
        place = address if proxy is None else proxy.address
        seconds = min(self._options.connect_timeout_seconds, until - monotonic())
        until = monotonic() + seconds
        stream: socket.socket | None = None
        try:
            stream = socket.create_connection((place.host, place.port), timeout=max(seconds, 0.001))
            stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if address.scheme == "https":
                if proxy is not None:
                    _tunnel(stream, address, proxy, until)
                stream.settimeout(max(until - monotonic(), 0.001))
                stream = self._tls_context().wrap_socket(stream, server_hostname=address.host)
        except (OSError, UnicodeError, TransportError) as error:  # a name may be too long to be looked up
            if stream is not None:
                stream.close()
            through = "" if proxy is None else f" through the proxy {proxy.address}"
            raise ConnectError(f"no connection to {address}{through}: {error}") from error
        return _Connection(stream, proxy)

    def _tls_context(self) -> "SSLContext":
        if self._tls is None:
            self._tls = tls_context(self._options)
        return self._tls


_ALIVE: WeakSet[SocketTransport] = WeakSet()


def _begin_all() -> None:
    for transport in _ALIVE:
        transport.begin()


# A forked child has its parent's connections, and two processes must not speak on one.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_all)


def tls_context(options: NetworkOptions) -> "SSLContext":
    """Certificates are checked against `ca_bundle`, or the system's authorities; there is no way to switch this off."""
    import ssl  # noqa: PLC0415 - 10 ms that a client of a plain http endpoint need not spend

    context = ssl.create_default_context(cafile=options.ca_bundle)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _tunnel(stream: socket.socket, address: Address, proxy: Proxy, until: float) -> None:
    """Asks the proxy for a connection to the address. Byte by byte: what follows the head is TLS, and not ours."""
    stream.sendall(tunnel_bytes(address, proxy))
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        stream.settimeout(max(until - monotonic(), 0.001))
        head += stream.recv(1) or _ended()
        if len(head) > _CHUNK_BYTES:
            raise ConnectError("the proxy's answer does not end")
    check_tunnel(head)


def check_tunnel(head: bytes) -> None:
    """Raises ConnectError unless a proxy's answer says that the way is open."""
    status_line = head.partition(b"\r\n")[0].decode("latin-1")
    if not status_line.startswith("HTTP/1.") or status_line[9:10] != "2":
        raise ConnectError(f"the proxy answers {status_line!r}")


def _ended() -> bytes:
    raise ConnectionLostError("the connection was ended before the answer was whole")


class _Connection:
    """A socket, and what is known of it."""

    __slots__ = ("_stream", "_timeout_seconds", "answer_has_begun", "idle_since", "proxy", "reusable")

    def __init__(self, stream: socket.socket, proxy: Proxy | None) -> None:
        self._stream = stream
        self._timeout_seconds = -1.0
        self.proxy = proxy
        self.reusable = False
        self.answer_has_begun = False
        self.idle_since = 0.0

    def exchange(self, said: bytes, until: float, timeout_seconds: float) -> HttpAnswer:
        """Sends, and reads one answer. Raises TransportError."""
        reader = AnswerReader()
        self.reusable = self.answer_has_begun = False
        try:
            self._limit(timeout_seconds)
            self._stream.sendall(said)
            while True:
                chunk = self._stream.recv(_CHUNK_BYTES)
                self.answer_has_begun = self.answer_has_begun or bool(chunk)
                if reader.feed(chunk) if chunk else reader.finish() or _ended():
                    self.reusable = reader.keep_alive
                    return reader.answer()
                self._limit(until - monotonic())
        except TimeoutError:
            raise AnswerTimeoutError("no whole answer came in time") from None
        except OSError as error:
            raise ConnectionLostError(f"the connection was lost: {error}") from error

    def _limit(self, seconds: float) -> None:
        # Setting a timeout is a system call, so the same one is not set again.
        if seconds != self._timeout_seconds:
            if seconds <= 0:
                raise TimeoutError
            self._stream.settimeout(seconds)
            self._timeout_seconds = seconds

    def close(self) -> None:
        """Ends the connection."""
        self._stream.close()
