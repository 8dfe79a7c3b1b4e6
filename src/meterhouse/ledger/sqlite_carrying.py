"""Carrying the log over into the file, in a third thread, so that no commit waits for it.

Theory
    A commit appends pages to the log and syncs it; now and then what the log holds is carried over into the file
    (SQLite calls it a checkpoint), so that the log can begin anew. Where the writer does that within a commit, the
    group in hand and all behind it wait until thousands of pages are written and synced. SQLite lets another connection
    do it while the writer goes on appending: the passive kind waits for nobody and stops nobody.

    Nothing here bears on what is durable. A commit is durable by the sync of the log, before and after. Carrying syncs
    the log, writes the pages, syncs the file, and only then says in the shared index how far it came; a part of the log
    that was carried over is not needed any more, and no other part is ever overwritten. So whoever dies in the midst of
    it leaves a log that says everything, and the next to open it carries over all of it.

The end of a log
    The writer begins the log anew when a transaction finds all of it carried over. Under load it appends faster than
    that ever happens: each pass leaves what came in meanwhile, every time less. So when little is left, the writer
    carries it over itself, between two groups. Where a reader holds the log (a backup, a long sum), nothing can be done
    but to try again later; the log grows until the reader is gone.

A failure
    SQLite counts what a pass wrote while a reader was in the way as carried over, and leaves its sync to a later pass.
    Should that sync fail, the system forgets which pages it could not write, and a pass tried again would write only
    what came after. (The rig of the power cuts finds such a file damaged.) So after a failure the count is worth
    nothing: everybody lets go of the file, which makes SQLite read the log from its beginning when the writer connects
    again, and all of it is carried over anew. What was acknowledged is in the log meanwhile.

Rules of this file
  - One carries at a time, and never while the writer connects, which closes the others' connections and keeps them from
    connecting before it is done: each is used and closed under its own lock. Were one back too early, SQLite would
    believe its old count.
  - A lock that is taken, by SQLite's word, is no failure.
"""

import asyncio
import os
import sys
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final, NamedTuple

import apsw

from meterhouse.ledger.sqlite_beside import Beside

CARRY_PAGES: Final = 6000
"""How long the log grows before it is carried over, in pages of 4 KiB: rarely, since a page written twice is carried
once."""
AGAIN_PAGES: Final = 2000
"""How much longer after it could not be done."""
FEW_PAGES: Final = 500
"""So many the writer carries over in about the time of a commit."""
PASSES: Final = 3
_NICENESS: Final = 4
"""A little: at 10 a pass under full load on one processor took three times as long, and the log grew meanwhile."""


class Carried(NamedTuple):
    """How far a pass came, in pages of the log as it was when the pass began."""

    pages: int
    of: int


class Carrier(Beside):
    """The connection that carries over. `carry` belongs to one thread, and raises `apsw.Error`."""

    def carry(self) -> Carried:
        """Carries over what it can without making anybody wait."""
        with self._alone:
            if self._connection is None:
                _give_way()
            of, pages = self._db.wal_checkpoint("main", apsw.SQLITE_CHECKPOINT_PASSIVE)
            return Carried(pages, of)


def _give_way() -> None:
    """Has the thread that calls run behind the event loop and the writer, where they share a processor."""
    if sys.platform == "linux":  # where each thread has a niceness of its own
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)


class Carrying:
    """When the log is carried over, and by whom: on the event loop, beside the groups.

    `carry` is a pass of the carrier's, `carry_rest` one of the writer's, `connect_anew` has the writer do so;
    `log_pages` says how long the log is.
    """

    def __init__(
        self,
        carry: Callable[[], Awaitable[Carried]],
        carry_rest: Callable[[], Awaitable[None]],
        connect_anew: Callable[[], Awaitable[None]],
        log_pages: Callable[[], int],
    ) -> None:
        self._carry = carry
        self._carry_rest = carry_rest
        self._connect_anew = connect_anew
        self._log_pages = log_pages
        self._due_at = CARRY_PAGES
        self._seen = 0
        self._under_way: asyncio.Task[None] | None = None

    def look(self) -> None:
        """Sees how long the log has grown, and has it carried over when it is time."""
        pages = self._log_pages()
        if pages < self._seen:  # it has begun anew
            self._due_at = CARRY_PAGES
        self._seen = pages
        if pages >= self._due_at and self._under_way is None:
            self._under_way = asyncio.get_running_loop().create_task(self._carry_over())

    async def close(self) -> None:
        """Returns when nothing is under way."""
        if self._under_way is not None:
            await asyncio.wait([self._under_way])

    async def _carry_over(self) -> None:
        try:
            if await self._leaves_little():
                await self._carry_rest()
        except (apsw.BusyError, apsw.LockedError):
            pass
        except apsw.Error:
            await self._connect_anew()
        finally:
            self._under_way = None
            self._due_at = self._log_pages() + AGAIN_PAGES

    async def _leaves_little(self) -> bool:
        """Passes of the carrier's; whether the writer should do the rest."""
        for _ in range(PASSES):
            pages, of = await self._carry()
            left = self._log_pages() - pages
            if pages < of or left <= FEW_PAGES:
                return pages == of and left > 0
        return True
