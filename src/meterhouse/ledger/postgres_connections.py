"""Connections to PostgreSQL: a few that are used in turn, and what their errors mean.

Rules of this file
  - What an error means is told by its SQLSTATE alone: texts are translated, and a distributed engine names other
    constraints.
  - After an error a connection is used again only where the SQLSTATE says that nothing but the statement failed
    (`_HARMLESS`). After any other, and after a call that was cancelled, nobody knows its state: it is dropped.
  - Whoever meets a broken connection asks for a `fresh` one: the others were opened to the same server, which may have
    gone away under all of them.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import asyncpg

from meterhouse.ledger.protocol import Busy, CannotOpen, LedgerFailure

CONNECT_SECONDS: Final = 5.0
"""The longest that a connection may take to be made."""
GRACE_SECONDS: Final = 5.0
"""How long beyond its own bound a statement is waited for before the connection is given up: the network is gone."""

Connection = Any
"""An asyncpg connection; the library brings no types."""


class Meaning(Enum):
    """What an error of the database means to the call that met it."""

    BUSY = auto()
    """It took too long, or a lock could not be had: nothing was done."""
    AGAIN = auto()
    """Someone else was faster: nothing was done, and the same call may succeed now."""
    UNFIT = auto()
    """The content cannot be kept."""
    BROKEN = auto()
    """The connection, the server or the network failed; what was being committed may be committed or not."""


_HARMLESS: Final[Mapping[str, Meaning]] = {
    "57014": Meaning.BUSY,  # query_canceled: statement_timeout
    "55P03": Meaning.BUSY,  # lock_not_available
    "23505": Meaning.AGAIN,  # unique_violation
    "40001": Meaning.AGAIN,  # serialization_failure
    "40P01": Meaning.AGAIN,  # deadlock_detected
}
_UNFIT_CLASSES: Final = ("22", "23", "54")
"""A value that its type cannot hold, a violated constraint, a limit of the program."""
FAILURES: Final = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError, TimeoutError)
"""What a call on a connection raises."""


def meaning_of(error: BaseException) -> Meaning:
    """What an error of `FAILURES` means."""
    state = _state_of(error)
    if state in _HARMLESS:
        return _HARMLESS[state]
    return Meaning.UNFIT if state[:2] in _UNFIT_CLASSES else Meaning.BROKEN


def _state_of(error: BaseException) -> str:
    state = getattr(error, "sqlstate", None)
    return state if isinstance(state, str) else ""


def failure_of(error: BaseException) -> LedgerFailure:
    """A database's error as the protocol's."""
    state = _state_of(error)
    return LedgerFailure(f"PostgreSQL failed ({state or type(error).__name__}: {_words(error)})")


def cannot_open(url: str, error: BaseException) -> CannotOpen:
    """A database that cannot be opened, named without its password."""
    return CannotOpen(f"{without_password(url)} cannot be opened: {_words(error)}")


def _words(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def without_password(url: str) -> str:
    """A connection URL as it may be logged: without its password, and without options, which may have secrets too."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    name, _, _ = user.partition(":")
    return urlunsplit((parts.scheme, f"{name}@{host}" if user else host, parts.path, "", ""))


async def connect(url: str, settings: Mapping[str, str], *, command_seconds: float | None = None) -> Connection:
    """A new connection. Raises one of `FAILURES`, and ValueError where the URL is none."""
    return await asyncpg.connect(
        url,
        timeout=CONNECT_SECONDS,
        command_timeout=command_seconds,
        max_cached_statement_lifetime=0,  # a statement prepared anew would cost round trips in the midst of a turn
        server_settings={
            "application_name": "meterhouse",
            # On Citus asyncpg's questions about types take a tenth of a second otherwise; PostgreSQL does not mind.
            "citus.override_table_visibility": "off",
            "timezone": "UTC",
            **settings,
        },
    )


class Connections:
    """At most so many connections at once, opened when they are needed."""

    def __init__(self, url: str, most: int, statement_seconds: float) -> None:
        self._url = url
        self._permits = asyncio.Semaphore(most)
        self._idle: list[Connection] = []
        self.lost = 0
        """How many were lost: behind each, another server may answer from now on, and it may know less."""
        self._statement_seconds = statement_seconds
        self._settings = {
            "statement_timeout": str(round(statement_seconds * 1000)),
            # Whoever falls asleep amid a turn must not keep a partition locked.
            "idle_in_transaction_session_timeout": str(round(statement_seconds * 2000)),
        }

    @asynccontextmanager
    async def one(self, *, fresh: bool = False) -> AsyncIterator[Connection]:
        """A connection outside of any transaction, for as long as it is needed.

        Raises `FAILURES` of connecting, and `Busy` where none comes free in the time that a statement has.
        """
        async with self._permit():
            if fresh:
                self._drop_idle()
            db = self._take()
            if db is None:
                db = await connect(self._url, self._settings, command_seconds=self._statement_seconds + GRACE_SECONDS)
            lost = self.lost
            try:
                yield db
            except BaseException as error:
                await self._after(db, lost, error)
                raise
            self._give_back(db, lost)

    @asynccontextmanager
    async def _permit(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._statement_seconds):
                await self._permits.acquire()
        except TimeoutError:
            raise Busy("every connection to the database is in use") from None
        try:
            yield
        finally:
            self._permits.release()

    @asynccontextmanager
    async def one_alive(self) -> AsyncIterator[Connection]:
        """The same, and it has just answered: for calls that must not be made twice. Raises `FAILURES`."""
        alive = False
        for fresh in (False, True):
            try:
                async with self.one(fresh=fresh) as db:
                    await db.execute("SELECT 1")
                    alive = True
                    yield db
                    return
            except FAILURES:
                if fresh or alive:
                    raise

    async def close(self) -> None:
        """Closes what is idle; whatever is in use must have come back."""
        idle, self._idle = self._idle, []
        for db in idle:
            with suppress(*FAILURES):
                await db.close(timeout=CONNECT_SECONDS)

    def _take(self) -> Connection | None:
        while self._idle:
            db = self._idle.pop()
            if not db.is_closed():
                return db
            self.lost += 1
        return None

    def _give_back(self, db: Connection, lost: int) -> None:
        if db.is_closed():
            self.lost += 1
        elif db.is_in_transaction() or lost != self.lost:  # it may be one to a server that is about to go
            db.terminate()
        else:
            self._idle.append(db)

    def _drop_idle(self) -> None:
        for db in self._idle:
            db.terminate()
        self._idle.clear()

    def _drop(self, db: Connection) -> None:
        db.terminate()
        self.lost += 1

    async def _after(self, db: Connection, lost: int, error: BaseException) -> None:
        """Rolls back and keeps a connection whose statement alone failed; drops any other."""
        trusted = _state_of(error) in _HARMLESS or (isinstance(error, Exception) and not isinstance(error, FAILURES))
        if trusted:
            try:
                if db.is_in_transaction():
                    await db.execute("ROLLBACK")
            except BaseException:
                self._drop(db)
                raise
            self._give_back(db, lost)
        else:
            self._drop(db)
