"""How the log is carried over: it begins anew whatever the load, and keeps clear of readers and backups."""

import asyncio
from pathlib import Path

import apsw
import pytest

from meterhouse.ledger import sqlite_carrying
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.ledger.sqlite_backup import back_up
from tests.simulation.load import Turn, complaints, times_begun_anew, write

TURNS = 500
"""Their pages are more than ten times those after which the log is carried over."""


@pytest.fixture(autouse=True)
def frequent_carrying(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is carried over every few commits."""
    monkeypatch.setattr(sqlite_carrying, "CARRY_PAGES", 100)
    monkeypatch.setattr(sqlite_carrying, "AGAIN_PAGES", 30)


@pytest.mark.parametrize("clients", [1, 8])
async def test_the_log_begins_anew_under_load(tmp_path: Path, clients: int) -> None:
    """Under a load without a pause the log begins anew again and again; once the ledger is closed the log is gone."""
    path = tmp_path / "ledger.db"
    ledger = await open_sqlite(path)
    await write(ledger, range(TURNS), clients, lambda _: None)
    assert times_begun_anew(path) > 2
    await ledger.close()
    assert not path.with_name("ledger.db-wal").exists()
    assert await complaints(path, range(TURNS), range(TURNS)) == []


async def test_a_reader_that_holds_the_log_is_waited_for(tmp_path: Path) -> None:
    """While another program reads, turns go on, and the log grows; once it has read, the log begins anew."""
    path = tmp_path / "ledger.db"
    ledger = await open_sqlite(path)
    await Turn(0).run(ledger)
    other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)
    other.execute("BEGIN; SELECT count(*) FROM journal").fetchall()
    await write(ledger, range(1, TURNS // 2), 4, lambda _: None)
    before = times_begun_anew(path)
    await write(ledger, range(TURNS // 2, TURNS), 4, lambda _: None)
    held = times_begun_anew(path)
    assert held == before
    assert other.execute("SELECT count(*) FROM journal").get == 1
    other.execute("COMMIT")
    other.close()
    await write(ledger, range(TURNS, 2 * TURNS), 4, lambda _: None)
    assert times_begun_anew(path) > held
    await ledger.close()
    assert await complaints(path, range(2 * TURNS), range(2 * TURNS)) == []


async def test_backups_beside_it_are_whole(tmp_path: Path) -> None:
    """Copies made amid a load, while the log is carried over again and again, hold all that was acknowledged before."""
    path = tmp_path / "ledger.db"
    ledger = await open_sqlite(path)
    acknowledged: list[int] = []
    load = asyncio.create_task(write(ledger, range(TURNS), 4, acknowledged.append))
    copies: list[tuple[Path, list[int]]] = []
    while not load.done():
        target = tmp_path / f"copy-{len(copies)}.db"
        copies.append((target, list(acknowledged)))
        await asyncio.to_thread(back_up, path, target)
    await load
    await ledger.close()
    for target, acknowledged_then in copies:
        assert await complaints(target, acknowledged_then, range(TURNS)) == []


async def test_reads_and_resets_beside_it(tmp_path: Path) -> None:
    """What a long row of slices finds, and what a reset empties, is the same while the log is carried over."""
    path = tmp_path / "ledger.db"
    ledger = await open_sqlite(path)
    load = asyncio.create_task(write(ledger, range(TURNS), 4, lambda _: None))
    seen = 0
    while not load.done():
        rows = await ledger.scan(Turn(0).partition, after=0, limit=TURNS)
        assert [row.position for row in rows] == list(range(1, len(rows) + 1))
        assert len(rows) >= seen
        seen = len(rows)
    await load
    await ledger.reset()
    assert (await ledger.size()).records == 0
    await write(ledger, range(TURNS), 4, lambda _: None)
    await ledger.close()
    assert await complaints(path, range(TURNS), range(TURNS)) == []
