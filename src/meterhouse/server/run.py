"""How the server is run: its sockets, its start, and its end in good order.

    listen ──▶ application starts ──▶ accept, `on_ready` ──▶ told to stop ──▶ finish what began ──▶ application ends

- The sockets are bound and listening before the application starts, so a port that is taken is found before a database
  is opened; whoever connects early waits, and is served.
- Told to stop (SIGTERM, SIGINT, or the caller's event), the server accepts nobody more, closes what is idle, and gives
  the rest `shutdown_seconds`. A second signal cuts that short. A third one finds the system's own handlers.
- Whatever the application raises as it starts or ends comes out of `serve` unchanged: it knows best what to say.
"""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from email.utils import formatdate
from typing import Any, Final, Self

from uvicorn.config import Config
from uvicorn.server import ServerState

from meterhouse.server.bounds import CONTRACT, Bounds, Room, no_room
from meterhouse.server.exchange import ASGI_VERSIONS, Application, Message
from meterhouse.server.http import BoundedProtocol

BACKLOG: Final = 2048
"""Connections that the system may keep waiting until they are accepted."""

_PORT_TRIES: Final = 8
_CANCEL_SECONDS: Final = 1.0
_WHY: Final = {
    errno.EADDRINUSE: "another program already uses that port",
    errno.EACCES: "this user may not open that port",
    errno.EPERM: "this user may not open that port",
    errno.EADDRNOTAVAIL: "this machine has no such address",
    errno.EAFNOSUPPORT: "this machine does not speak that kind of address",
}
_PASSED_OVER: Final = frozenset((errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT))


class CannotListen(Exception):
    """The host and port cannot be listened on; the message is one sentence that names both and says why."""

    def __init__(self, host: str, port: int, why: str) -> None:
        super().__init__(f"Cannot listen on {_authority(host, port)}: {why}.")


class StartFailed(Exception):
    """The application said, in its lifespan protocol, that it cannot start or end; the message is its own."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Sockets that listen, and the address that clients are told. Processes that share one may each serve it."""

    url: str
    sockets: tuple[socket.socket, ...]

    @classmethod
    def on(cls, sock: socket.socket) -> Self:
        """A bound TCP socket that someone else made."""
        host, port = sock.getsockname()[:2]
        return cls(f"http://{_authority(host, port)}", (sock,))

    def close(self) -> None:
        """Let the port go."""
        for sock in self.sockets:
            sock.close()


def listen(host: str, port: int) -> Listening:
    """Listen on every address that `host` names; port 0 takes a free one, the same for all. Raises CannotListen."""
    if not 0 <= port <= 65_535:
        raise CannotListen(host, port, "a port is a number from 0 to 65535")
    try:
        found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        raise CannotListen(host, port, "the host's name is not known") from None
    addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
    for last in range(_PORT_TRIES, 0, -1):
        try:
            sockets = _listen_on_all(addresses, port)
        except OSError as error:
            if port == 0 and error.errno == errno.EADDRINUSE and last > 1:
                continue  # the free port of the first address was taken on another
            why = _WHY.get(error.errno or 0) or os.strerror(error.errno or 0)
            raise CannotListen(host, port, why) from None
        return Listening(f"http://{_authority(host, sockets[0].getsockname()[1])}", tuple(sockets))
    raise AssertionError("the last try returns or raises")


def _listen_on_all(addresses: Sequence[tuple[int, Any]], port: int) -> list[socket.socket]:
    sockets: list[socket.socket] = []
    missing: OSError | None = None
    try:
        for family, address in addresses:
            try:
                sockets.append(_listen_on(family, (address[0], port, *address[2:])))
            except OSError as error:
                if error.errno not in _PASSED_OVER:
                    raise
                missing = error  # a name such as localhost may stand for an address that this machine lacks
                continue
            port = sockets[0].getsockname()[1]
        if missing is not None and not sockets:
            raise missing
    except OSError:
        for sock in sockets:
            sock.close()
        raise
    return sockets


def _listen_on(family: int, address: Any) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        if os.name == "posix":  # elsewhere the option lets two servers share one port
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


async def serve(
    application: Application,
    listening: Listening,
    *,
    on_ready: Callable[[str], None],
    on_hangup: Callable[[], None] | None = None,
    bounds: Bounds = CONTRACT,
    room: Room = no_room,
    shutdown_seconds: float = 20,
    stop: asyncio.Event | None = None,
) -> int:
    """Serve until SIGTERM, SIGINT or `stop`; the answer is how many requests were cut off because time was up.

    `on_ready` is given the URL, once, when requests are answered. `on_hangup` is called for each SIGHUP. Signals are
    heard only in the main thread. Meant to be run by `uvloop.run`.
    """
    stopping = stop or asyncio.Event()
    forced = asyncio.Event()
    lifespan = _Lifespan(application)
    try:
        with _signals(stopping, forced, on_hangup):
            await lifespan.say("startup")
            server = Server(application, bounds, lifespan.state, room)
            try:
                if not stopping.is_set():
                    await server.open(listening)
                    on_ready(listening.url)
                await stopping.wait()
                await server.finish(shutdown_seconds, forced)
            finally:
                cut_count = await server.cut()
                await lifespan.say("shutdown")
    finally:
        listening.close()
    return cut_count


class Server:
    """Listening sockets and their connections, from the first to the last. Belongs to one event loop."""

    def __init__(
        self, application: Application, bounds: Bounds, app_state: dict[str, Any], room: Room = no_room
    ) -> None:
        config = Config(
            application,
            interface="asgi3",
            lifespan="off",
            ws="none",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
        )
        config.load()
        self._state = ServerState()
        self._roll = self._state.connections = _Roll()
        self._connect = lambda: BoundedProtocol(config, self._state, app_state, bounds=bounds, room=room)
        self._servers: dict[str, list[asyncio.AbstractServer]] = {}
        self._dating: asyncio.TimerHandle | None = None

    async def open(self, listening: Listening) -> None:
        """Accept clients from here on."""
        if self._dating is None:
            self._date()
        loop = asyncio.get_running_loop()
        servers = self._servers.setdefault(listening.url, [])
        for sock in listening.sockets:
            servers.append(await loop.create_server(self._connect, sock=sock, backlog=BACKLOG))

    def shut(self, listening: Listening) -> None:
        """Accept nobody more at these sockets, and end their connections when what has begun is finished."""
        addresses = {sock.getsockname()[:2] for sock in listening.sockets}
        for server in self._servers.pop(listening.url):
            server.close()
        for connection in list(self._roll):
            if connection.server in addresses:
                connection.shutdown()

    async def finish(self, seconds: float, forced: asyncio.Event) -> None:
        """Accept nobody more, and wait until what has begun is finished, but no longer than `seconds` or `forced`."""
        self._close()
        for connection in list(self._roll):
            connection.shutdown()
        waits = {asyncio.ensure_future(self._finished()), asyncio.ensure_future(forced.wait())}
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def cut(self) -> int:
        """End what is not finished; counts the requests among it."""
        self._close()
        unfinished = set(self._state.tasks)
        for task in unfinished:
            task.cancel()
        for connection in list(self._roll):
            connection.transport.abort()
        if unfinished:
            await asyncio.wait(unfinished, timeout=_CANCEL_SECONDS)
        if self._dating is not None:
            self._dating.cancel()
        return len(unfinished)

    def _close(self) -> None:
        for servers in self._servers.values():
            for server in servers:
                server.close()

    async def _finished(self) -> None:
        await self._roll.empty.wait()
        while self._state.tasks:
            await asyncio.wait(set(self._state.tasks))

    def _date(self) -> None:
        """Clients set their clocks right by Date, so it is renewed each second."""
        self._state.default_headers = [(b"date", formatdate(usegmt=True).encode())]
        self._dating = asyncio.get_running_loop().call_later(1, self._date)


class _Roll(set[Any]):
    """The open connections; `empty` says that there is none."""

    def __init__(self) -> None:
        super().__init__()
        self.empty = asyncio.Event()
        self.empty.set()

    def add(self, connection: Any) -> None:
        super().add(connection)
        self.empty.clear()

    def discard(self, connection: Any) -> None:
        super().discard(connection)
        if not self:
            self.empty.set()


class _Lifespan:
    """ASGI's lifespan protocol: the application runs beside the server and is told to start and to end."""

    def __init__(self, application: Application) -> None:
        self.state: dict[str, Any] = {}
        self._application = application
        self._told: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._running: asyncio.Task[None] | None = None

    async def say(self, what: str) -> None:
        """Say "startup" or "shutdown" and wait for the answer; what the application raises instead is raised here."""
        if self._running is None:
            self._running = asyncio.ensure_future(self._run())
        self._told.put_nowait({"type": f"lifespan.{what}"})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait({answer, self._running}, return_when=asyncio.FIRST_COMPLETED)
        if self._running.done():
            self._running.result()
        if not answer.done():
            answer.cancel()
            raise StartFailed(f"The application ended without an answer to {what}.")
        if answer.result()["type"] != f"lifespan.{what}.complete":
            raise StartFailed(answer.result().get("message") or f"The application answered {what} with a failure.")

    async def _run(self) -> None:
        scope = {"type": "lifespan", "asgi": ASGI_VERSIONS, "state": self.state}
        await self._application(scope, self._told.get, self._answers.put)


@contextmanager
def _signals(stopping: asyncio.Event, forced: asyncio.Event, on_hangup: Callable[[], None] | None) -> Iterator[None]:
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    heard: list[int] = []

    def forget() -> None:
        while heard:
            loop.remove_signal_handler(heard.pop())

    def on_stop() -> None:
        if stopping.is_set():
            forced.set()
            forget()
        stopping.set()

    for number, call in ((signal.SIGTERM, on_stop), (signal.SIGINT, on_stop), (signal.SIGHUP, on_hangup)):
        if call is not None:
            loop.add_signal_handler(number, call)
            heard.append(number)
    try:
        yield
    finally:
        forget()
