"""HTTP over asyncio: the transport of `AsyncMeteringClient`.

Why not a library: docs/decisions/0008-client-transport.md.

As `socket_transport`, with tasks for threads; what that file says of kept connections holds here. Connections belong to
the event loop that they were made on: a client that is used on another loop later begins with new ones.

Timeouts cost a heap entry and its removal for each request, a tenth of what a call takes. So a connection has one timer
that is set for an instant and, when it strikes too early because a later request moved the instant, set again.
"""

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, cast

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

_LONGEST_HEAD_BYTES: Final = 65_536
_BUFFER_BYTES: Final = 16_384
"""Three times a usual answer; a longer one comes in several pieces."""


class AsyncSocketTransport:
    """HTTP/1.1 with kept connections, TLS, proxies. `routes` says which proxy leads where; none by default."""

    def __init__(self, options: NetworkOptions | None = None, routes: Routes | None = None) -> None:
        self._options = options or NetworkOptions()
        self._routes = routes or Routes({})
        self._tls: SSLContext | None = None
        self._pool: _Pool | None = None

    async def send_async(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """See `AsyncTransport.send_async`."""
        loop = asyncio.get_running_loop()
        pool = self._pool
        if pool is None or pool.loop is not loop:
            if pool is not None:
                pool.leave()
            pool = self._pool = _Pool(loop, self._options.max_connections)
        until = loop.time() + timeout_seconds
        if pool.free:
            pool.free -= 1
        else:
            await pool.place(timeout_seconds)
        try:
            # As few coroutines within one another as can be: each costs as much as the work in it.
            kept = connection = pool.take(request, self._options.idle_seconds)
            if connection is None:
                connection = await self._connect(loop, request, until)
            try:
                try:
                    await connection.ask(bytes_of(request, connection.proxy), until)
                except ConnectionLostError:
                    if kept is None or kept.answer_has_begun:
                        raise
                    connection = await self._connect(loop, request, until)
                    await connection.ask(bytes_of(request, connection.proxy), until)
            except BaseException:
                # Cancelled, late or lost: an answer may still come, and must not be taken for the next one's.
                connection.close()
                raise
            return pool.keep(request, connection)
        finally:
            pool.give_back()

    async def close_async(self) -> None:
        """Ends the connections that no request is using."""
        if self._pool is not None:
            pool, self._pool = self._pool, None
            if pool.loop is not asyncio.get_running_loop():
                pool.leave()
                return
            idle = [connection for connections in pool.idle.values() for connection in connections]
            for connection in idle:
                connection.close()
            await asyncio.gather(*(connection.gone for connection in idle))

    async def _connect(self, loop: asyncio.AbstractEventLoop, request: HttpRequest, until: float) -> "_Connection":
        address = request.address
        proxy = None if request.direct else self._routes.proxy_to(address)
        seconds = min(self._options.connect_timeout_seconds, until - loop.time())
        try:
            async with asyncio.timeout(seconds):
                return await self._open(loop, address, proxy)
        except (OSError, UnicodeError, TransportError) as error:  # TimeoutError is an OSError
            through = "" if proxy is None else f" through the proxy {proxy.address}"
            reason = str(error) or f"none within {seconds:g} s"
            raise ConnectError(f"no connection to {address}{through}: {reason}") from error

    async def _open(self, loop: asyncio.AbstractEventLoop, address: Address, proxy: Proxy | None) -> "_Connection":
        place = address if proxy is None else proxy.address
        secure = address.scheme == "https"
        if secure and self._tls is None:
            from meterhouse.client.socket_transport import tls_context  # noqa: PLC0415 - the other way to send, for https

            self._tls = tls_context(self._options)
        tls = self._tls if secure and proxy is None else None
        _, connection = await loop.create_connection(
            lambda: _Connection(loop, proxy),
            place.host,
            place.port,
            ssl=tls,
            server_hostname=address.host if tls is not None else None,
        )
        if secure and proxy is not None:
            try:
                await connection.tunnel(address, proxy)
                assert self._tls is not None, "made above"
                await connection.secure(self._tls, address.host)
            except BaseException:
                connection.close()
                raise
        return connection


class _Pool:
    """The connections of one event loop."""

    def __init__(self, loop: asyncio.AbstractEventLoop, max_connections: int) -> None:
        self.loop = loop
        self.free = max_connections
        """Places for connections that nobody uses."""
        self.idle: dict[tuple[Address, bool], list[_Connection]] = {}
        self._count = max_connections
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def place(self, timeout_seconds: float) -> None:
        """Waits for a place. Raises ConnectError."""
        waiting = self.loop.create_future()
        self._waiting.append(waiting)
        try:
            async with asyncio.timeout(timeout_seconds):
                await waiting
        except BaseException as why:
            if not waiting.cancel() and not waiting.cancelled():
                self.give_back()  # a place came as we were leaving
            if isinstance(why, TimeoutError):
                raise ConnectError(f"all {self._count} connections were in use for {timeout_seconds} s") from None
            raise

    def give_back(self) -> None:
        """A place is free: the next in line has it."""
        while self._waiting:
            waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)
                return
        self.free += 1

    def leave(self) -> None:
        """The client is used on another loop now: this one ends its connections, if it still runs."""
        if not self.loop.is_closed():
            for connections in self.idle.values():
                for connection in connections:
                    self.loop.call_soon_threadsafe(connection.close)

    def take(self, request: HttpRequest, idle_seconds: float) -> "_Connection | None":
        """A kept connection that can serve a request, if there is one."""
        connections = self.idle.get((request.address, request.direct))
        oldest = self.loop.time() - idle_seconds
        while connections:
            connection = connections.pop()
            if connection.is_open and connection.idle_since > oldest:
                return connection
            connection.close()
        return None

    def keep(self, request: HttpRequest, connection: "_Connection") -> HttpAnswer:
        """The answer that has come; its connection is kept if it can go on."""
        answer = connection.answer()
        if connection.is_reusable:
            connection.idle_since = self.loop.time()
            self.idle.setdefault((request.address, request.direct), []).append(connection)
        else:
            connection.close()
        return answer


class _Connection(asyncio.BufferedProtocol):
    """One connection: at most one request at a time.

    It reads into a buffer of its own. A plain protocol is handed bytes, for which asyncio allocates 256 KiB each time.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, proxy: Proxy | None) -> None:
        self._loop = loop
        self._buffer = memoryview(bytearray(_BUFFER_BYTES))
        self._transport: asyncio.Transport | None = None
        self._reader: AnswerReader | None = None
        self._waiting: asyncio.Future[None] | None = None
        self._tunnel_head: bytearray | None = None
        self._until = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self.gone: asyncio.Future[None] = loop.create_future()
        """Settled once the connection is over."""
        self.proxy = proxy
        self.idle_since = 0.0

    @property
    def is_open(self) -> bool:
        """Whether a request can be sent."""
        return self._transport is not None and not self._transport.is_closing()

    @property
    def answer_has_begun(self) -> bool:
        """Whether any byte of the last answer has come."""
        return self._reader is not None and self._reader.has_begun

    @property
    def is_reusable(self) -> bool:
        """Whether it can serve another request after the last answer."""
        return self._reader is not None and self._reader.keep_alive and self.is_open

    def ask(self, said: bytes, until: float) -> "asyncio.Future[None]":
        """Sends; what is returned is settled when the answer is whole, or with a TransportError."""
        self._reader = AnswerReader()
        waiting = self._write(said)
        self._until = until
        if self._timer is None or self._timer.when() > until:
            self._set_timer()
        return waiting

    def answer(self) -> HttpAnswer:
        """The answer that has come."""
        assert self._reader is not None, "something was asked"
        self._waiting = None
        return self._reader.answer()

    def _write(self, said: bytes) -> "asyncio.Future[None]":
        self._waiting = waiting = self._loop.create_future()
        if self._transport is None or self._transport.is_closing():
            waiting.set_exception(ConnectionLostError("the connection was ended before the request was sent"))
        else:
            self._transport.write(said)
        return waiting

    async def tunnel(self, address: Address, proxy: Proxy) -> None:
        """Asks the proxy for a connection to the address. The caller bounds the time."""
        from meterhouse.client.socket_transport import check_tunnel  # noqa: PLC0415 - few have a proxy to tunnel

        self._tunnel_head = bytearray()
        await self._write(tunnel_bytes(address, proxy))
        self._waiting = None
        head, self._tunnel_head = bytes(self._tunnel_head), None
        check_tunnel(head)

    async def secure(self, tls: "SSLContext", host: str) -> None:
        """Speaks TLS from here on."""
        assert self._transport is not None, "a connection is handed out once it is made"
        self._transport = await self._loop.start_tls(self._transport, self, tls, server_hostname=host)

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(self._until, self._strike)

    def _strike(self) -> None:
        self._timer = None
        if self._waiting is None or self._waiting.done():
            return
        if self._loop.time() < self._until:
            self._set_timer()
        else:
            self._settle(AnswerTimeoutError("no whole answer came in time"))

    def _settle(self, failure: TransportError | None = None) -> None:
        waiting = self._waiting
        if waiting is None or waiting.done():
            return
        if failure is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(failure)

    def close(self) -> None:
        """Ends the connection."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._transport is not None:
            self._transport.abort()

    # What follows is called by asyncio, by these names.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)  # uvloop's has its methods, but not its class

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where bytes that have come are to be put."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes came: of the answer, or of the proxy's."""
        chunk = self._buffer[:nbytes]
        if self._tunnel_head is not None:
            self._tunnel_head += chunk
            if self._tunnel_head.endswith(b"\r\n\r\n") or len(self._tunnel_head) > _LONGEST_HEAD_BYTES:
                self._settle()
            return
        if self._waiting is None or self._reader is None:
            self.close()  # nobody asked: whatever this is, it answers nothing
            return
        try:
            if self._reader.feed(chunk):
                self._settle()
        except TransportError as failure:
            self._settle(failure)

    def eof_received(self) -> None:
        """The service will send no more."""
        if self._reader is not None and self._tunnel_head is None and self._reader.finish():
            self._settle()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is over."""
        why = f": {exc}" if exc is not None else " before the answer was whole"
        self._settle(ConnectionLostError(f"the connection was lost{why}"))
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if not self.gone.done():
            self.gone.set_result(None)
