"""The HTTP connection without the network: requests are put in as bytes, and answers are counted.

What the system takes for a socket's bytes is left out, and so is the load: what remains is the server's own work.
"""

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from uvicorn.config import Config
from uvicorn.server import ServerState

from meterhouse.server.exchange import Application
from meterhouse.server.http import BoundedProtocol

_DATE: Final = (b"date", b"Tue, 24 Nov 2026 12:00:00 GMT")


class Connections:
    """As many connections to an application as a server under load has. Made within a running loop."""

    def __init__(self, application: Application, count: int) -> None:
        config = Config(  # as server/run.py makes it
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
        state = ServerState()
        state.default_headers = [_DATE]
        self.answers: list[bytes] = []
        """What was answered to the last requests, in the order in which that happened."""
        self._expected = 0
        self._answered: asyncio.Future[None] | None = None
        self._connections = [BoundedProtocol(config, state, {}) for _ in range(count)]
        for connection in self._connections:
            connection.connection_made(_Transport(self))

    async def send(self, requests: Sequence[bytes]) -> None:
        """Sends requests, one a connection at a time, and returns when all are answered."""
        for start in range(0, len(requests), len(self._connections)):
            together = requests[start : start + len(self._connections)]
            self.answers = []
            self._expected = len(together)
            self._answered = asyncio.get_running_loop().create_future()
            for connection, request in zip(self._connections, together, strict=False):
                connection.data_received(request)
            await self._answered

    def close(self) -> None:
        """Lets go of the connections and their timers."""
        for connection in self._connections:
            connection.connection_lost(None)

    def answered(self, answer: bytes) -> None:
        """An answer has been written."""
        self.answers.append(answer)
        if len(self.answers) == self._expected:
            assert self._answered is not None
            self._answered.set_result(None)

    def broken(self) -> None:
        """A connection was cut: an answer will not come."""
        if self._answered is not None and not self._answered.done():
            self._answered.set_exception(ConnectionAbortedError("the server cut a connection"))


class _Transport(asyncio.Transport):
    """What a connection writes to. An answer of this size is one write."""

    def __init__(self, connections: Connections) -> None:
        super().__init__()
        self._connections = connections

    def write(self, data: Any) -> None:
        self._connections.answered(bytes(data))

    def is_closing(self) -> bool:
        return False

    def close(self) -> None:
        self._connections.broken()

    abort = close
