"""Servers for tests: one in a thread over a dummy application, one in a process of its own."""

import asyncio
import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Queue
from typing import Any

import uvloop

from meterhouse.server.exchange import Application, Receive, Scope, Send
from meterhouse.server.refusal import BODY_TOO_LARGE
from meterhouse.server.run import Listening, listen, serve

PATIENCE_SECONDS = 20
GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"


class Dummy:
    """Answers with the client's port and the body's length; /slow waits until it is released."""

    def __init__(self) -> None:
        self.seen: Queue[str] = Queue()
        self.loop: asyncio.AbstractEventLoop
        self.released: asyncio.Event

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Follow the lifespan, or answer a request."""
        if scope["type"] == "lifespan":
            self.loop, self.released = asyncio.get_running_loop(), asyncio.Event()
            for what in ("startup", "shutdown"):
                await receive()
                self.seen.put(what)
                await send({"type": f"lifespan.{what}.complete"})
            return
        body = (await receive()).get("body", b"")
        self.seen.put(scope["path"])
        if scope["path"] == "/slow":
            await self.released.wait()
        text = f"{scope['client'][1]} {len(body)}".encode()
        status = 413 if BODY_TOO_LARGE in scope.get("extensions", {}) else 200
        headers = [(b"content-length", b"%d" % len(text))]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    def release(self) -> None:
        """Let /slow be answered."""
        self.loop.call_soon_threadsafe(self.released.set)


class Running:
    """A server in a thread of its own."""

    def __init__(self, application: Application, listening: Listening, **settings: Any) -> None:
        self._ready: Queue[str | None] = Queue()
        self._application = application
        self._listening = listening
        self._settings = settings
        self.outcome: int | BaseException | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.url = self._ready.get(timeout=PATIENCE_SECONDS)

    def _run(self) -> None:
        try:
            self.outcome = uvloop.run(self._serve())
        except Exception as error:  # noqa: BLE001 - the outcome is for the test to judge
            self.outcome = error
        finally:
            self._ready.put(None)

    async def _serve(self) -> int:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        return await serve(
            self._application, self._listening, on_ready=self._ready.put, stop=self._stop, **self._settings
        )

    @property
    def port(self) -> int:
        """The port of the URL that was said to be ready."""
        assert self.url is not None
        return int(self.url.rpartition(":")[2])

    def is_running(self) -> bool:
        """Whether the server has not ended yet."""
        return self._thread.is_alive()

    def stop(self) -> None:
        """Tell the server to stop."""
        with suppress(RuntimeError):  # it has just ended by itself
            self._loop.call_soon_threadsafe(self._stop.set)

    def join(self) -> None:
        """Wait until it has stopped."""
        self._thread.join(PATIENCE_SECONDS)
        assert not self._thread.is_alive()

    def open(self) -> socket.socket:
        """A raw connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    def client(self) -> http.client.HTTPConnection:
        """Python's own client."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)


@contextmanager
def running(application: Application, host: str = "127.0.0.1", **settings: Any) -> Iterator[Running]:
    """A server on a free port, stopped at the end."""
    server = Running(application, listen(host, 0), **settings)
    try:
        yield server
    finally:
        if server.is_running():
            server.stop()
        server.join()


def read_all(sock: socket.socket) -> bytes:
    """Read until the server ends."""
    return b"".join(iter(lambda: sock.recv(65_536), b""))


def status_of(text: bytes) -> int | None:
    """The status of an answer, or None where nothing was said."""
    return int(text.split(b" ", 2)[1]) if text else None


class Separate:
    """A server in a process of its own, and what it says."""

    def __init__(self, shutdown_seconds: float) -> None:
        program = [sys.executable, str(Path(__file__).with_name("edge_server.py")), str(shutdown_seconds)]
        self._process = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
        self.await_line("startup")
        self.port = int(self._line().rpartition(":")[2])

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def await_line(self, text: str) -> None:
        """Wait until it says this next."""
        assert self._line() == text

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> tuple[int, list[str]]:
        """Its exit code, and what it still said."""
        rest, _ = self._process.communicate(timeout=PATIENCE_SECONDS)
        return self._process.returncode, rest.split("\n")[:-1]

    def kill(self) -> None:
        """End it whatever it does."""
        self._process.kill()
        self._process.communicate()

    def open(self) -> socket.socket:
        """A raw connection to it."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_SECONDS)

    def peak_bytes(self) -> int:
        """The most memory it has had so far."""
        client = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        client.request("GET", "/peak")
        kibibytes = int(client.getresponse().read())
        client.close()
        self.await_line("GET /peak")
        return kibibytes * 1024


@contextmanager
def separate(shutdown_seconds: float = PATIENCE_SECONDS) -> Iterator[Separate]:
    """A server in a process of its own, ended whatever happens."""
    server = Separate(shutdown_seconds)
    try:
        yield server
    finally:
        server.kill()
