"""A proxy before PostgreSQL, on a Unix socket of its own: counts round trips, makes them longer, and cuts connections.

A round trip is a message after which a client waits: a simple query, or the Sync at the end of an extended one
(PostgreSQL's frontend protocol 3.0). `asked` has each one's text where it is simple, else the texts of the statements
that it binds, as they were prepared.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

SIMPLE, PARSE, BIND, SYNC = b"Q", b"P", b"B", b"S"


class Proxy:
    """Between a ledger and its database."""

    def __init__(self, server: Path) -> None:
        self._server = server
        self.asked: list[str] = []
        self.delay_seconds = 0.0
        self.loses_answer_to: Callable[[str], bool] | None = None
        """Which question's answer is lost with its connection, once: the database has done what was asked."""
        self.lost = 0

    async def serve(self, client: asyncio.StreamReader, answers: asyncio.StreamWriter) -> None:
        """One connection."""
        reader, writer = await asyncio.open_unix_connection(str(self._server))
        conversation = _Conversation(self, client, answers, reader, writer)
        try:
            await conversation.run()
        finally:
            for end in (answers, writer):
                end.close()
                with suppress(OSError):
                    await end.wait_closed()


class _Conversation:
    def __init__(self, proxy: Proxy, client: Any, answers: Any, reader: Any, writer: Any) -> None:
        self._proxy = proxy
        self._client, self._answers, self._reader, self._writer = client, answers, reader, writer
        self._prepared: dict[bytes, str] = {}
        self._bound: list[str] = []
        self._is_losing = asyncio.Event()

    async def run(self) -> None:
        tasks = [asyncio.ensure_future(self._ask()), asyncio.ensure_future(self._answer())]
        _, others = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for other in others:
            other.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _ask(self) -> None:
        length = await self._client.readexactly(4)
        self._writer.write(length + await self._client.readexactly(int.from_bytes(length) - 4))
        while True:
            kind, length = await self._client.readexactly(1), await self._client.readexactly(4)
            body = await self._client.readexactly(int.from_bytes(length) - 4)
            asked = self._note(kind, body)
            if asked is not None:
                self._proxy.asked.append(asked)
                await asyncio.sleep(self._proxy.delay_seconds)
                if self._proxy.loses_answer_to is not None and self._proxy.loses_answer_to(asked):
                    self._proxy.loses_answer_to = None
                    self._is_losing.set()
            self._writer.write(kind + length + body)
            await self._writer.drain()

    def _note(self, kind: bytes, body: bytes) -> str | None:
        """What a round trip asks, at the message with which it begins."""
        if kind == SIMPLE:
            return body.rstrip(b"\0").decode()
        if kind == PARSE:
            name, text, _ = body.split(b"\0", 2)
            self._prepared[name] = text.decode()
            self._bound.append("PREPARE")
        elif kind == BIND:
            name = body.split(b"\0", 2)[1]
            self._bound.append(self._prepared.get(name, "?"))
        elif kind == SYNC:
            bound, self._bound = self._bound, []
            return "; ".join(bound)
        return None

    async def _answer(self) -> None:
        while answer := await self._reader.read(65_536):
            if self._is_losing.is_set():
                self._proxy.lost += 1
                return
            self._answers.write(answer)
            await self._answers.drain()


@asynccontextmanager
async def before(server: Path, folder: Path) -> AsyncIterator[tuple[Proxy, str]]:
    """A proxy before the server that listens on a socket, and the address of the server's database behind it."""
    proxy = Proxy(server)
    listening = await asyncio.start_unix_server(proxy.serve, str(folder / server.name))
    try:
        yield proxy, f"postgresql://postgres@/postgres?host={quote(str(folder), safe='')}"
    finally:
        listening.close()
