"""When the log is carried over, and by whom, by table."""

import asyncio
import threading
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import apsw
import pytest

from meterhouse.ledger import sqlite
from meterhouse.ledger.sqlite_carrying import AGAIN_PAGES, CARRY_PAGES, FEW_PAGES, PASSES, Carried, Carrier, Carrying
from meterhouse.ledger.sqlite_file import connect_to_carry, connect_to_read, connect_to_write
from meterhouse.ledger.sqlite_reader import Reader

READER, LOCKED, FAILS = "a reader holds the log", "a lock is taken", "the disk fails"


class Log:
    """A log that grows by so many pages during each pass; a pass carries over what was there when it began."""

    def __init__(self, grows: Sequence[int | str]) -> None:
        self.pages = CARRY_PAGES
        self.passes = 0
        self.rests = 0
        self.connected = 0
        self._grows: Iterator[int | str] = iter(grows)

    async def carry(self) -> Carried:
        """A pass."""
        self.passes += 1
        of, grows = self.pages, next(self._grows)
        await asyncio.sleep(0)
        if grows == FAILS:
            raise apsw.IOError(FAILS)
        if grows == LOCKED:
            raise apsw.BusyError(LOCKED)
        if grows == READER:
            return Carried(of - 1, of)
        self.pages = max(0, self.pages + int(grows))
        return Carried(of, of)

    async def carry_rest(self) -> None:
        """The writer's."""
        self.rests += 1

    async def connect_anew(self) -> None:
        """The writer's."""
        self.connected += 1


@pytest.mark.parametrize(
    ("grows", "passes", "rests", "connected"),
    [
        ([0], 1, 0, 0),
        ([1], 1, 1, 0),
        ([FEW_PAGES], 1, 1, 0),
        ([FEW_PAGES + 1, FEW_PAGES], 2, 1, 0),
        ([9 * FEW_PAGES, FEW_PAGES + 1, 0], 3, 0, 0),
        ([FEW_PAGES + 1] * PASSES, PASSES, 1, 0),
        ([-CARRY_PAGES], 1, 0, 0),
        ([READER], 1, 0, 0),
        ([FEW_PAGES + 1, READER], 2, 0, 0),
        ([LOCKED], 1, 0, 0),
        ([FAILS], 1, 0, 1),
    ],
)
async def test_who_carries_over(grows: Sequence[int | str], passes: int, rests: int, connected: int) -> None:
    """The carrier makes passes until little is left; the writer does the rest, unless there is none, or a reader holds
    the log or a lock is taken; where it fails, all is begun afresh.
    """
    log = Log(grows)
    carrying = Carrying(log.carry, log.carry_rest, log.connect_anew, lambda: log.pages)
    carrying.look()
    carrying.look()
    await carrying.close()
    assert (log.passes, log.rests, log.connected) == (passes, rests, connected)


async def test_when_it_is_due() -> None:
    """Not before the log is long; after a try not before it is longer again; and from the start once it begun anew."""
    log = Log([READER] * 3)
    carrying = Carrying(log.carry, log.carry_rest, log.connect_anew, lambda: log.pages)
    passes = []
    for pages in (
        CARRY_PAGES - 1,
        CARRY_PAGES,
        CARRY_PAGES + AGAIN_PAGES - 1,
        CARRY_PAGES + AGAIN_PAGES,
        10,
        CARRY_PAGES - 1,
        CARRY_PAGES,
    ):
        log.pages = pages
        carrying.look()
        await carrying.close()
        passes.append(log.passes)
    assert passes == [0, 1, 1, 2, 2, 2, 3]


def test_nobody_is_back_before_the_writer_has_connected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reader and carrier have let go of the file when the writer connects, and cannot connect meanwhile."""
    path = tmp_path / "ledger.db"
    connect_to_write(path, "").close()
    reader, carrier = Reader(partial(connect_to_read, path, "")), Carrier(partial(connect_to_carry, path, ""))
    carrier.carry()
    assert reader.within_one_transaction(reader.counts) == (0, 0)
    free: list[bool] = []

    def is_free(lock: threading.RLock) -> None:
        free.append(lock.acquire(blocking=False))

    def connect(path: Path, vfs: str) -> apsw.Connection:
        assert (reader._connection, carrier._connection) == (None, None)
        for lock in (reader._alone, carrier._alone):
            other = threading.Thread(target=is_free, args=(lock,))
            other.start()
            other.join()
        return connect_to_write(path, vfs)

    monkeypatch.setattr(sqlite, "connect_to_write", connect)
    writing = sqlite._connect(path, "", (carrier, reader))
    assert free == [False, False]
    carrier.carry()
    assert reader.within_one_transaction(reader.counts) == (0, 0)
    for one in (carrier, reader, writing):
        one.close()
