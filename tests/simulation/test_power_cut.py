"""Promise 5 where it can really fail: the power goes at any point of a random load, and unsynced writes are lost."""

import random
import threading
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from meterhouse.ledger import sqlite, sqlite_carrying, sqlite_file
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.ledger.sqlite_writer import Writer
from tests.simulation.load import PARTITIONS, complaints, write
from tests.simulation.power import Disk, Picture

TURNS = 60
LONGER = range(4 * TURNS)
"""Over so many turns the log is carried over, and begins anew, several times."""
CLIENTS = 6
CUTS = 24
CARRIER = "meterhouse-ledger-carrier"
"""The thread that carries the log over."""


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk that can lose power."""
    made = Disk("power")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is carried over into the file every few commits, so that cuts fall into that too."""
    monkeypatch.setattr(sqlite_carrying, "CARRY_PAGES", 40)
    monkeypatch.setattr(sqlite_carrying, "AGAIN_PAGES", 10)


async def cut_at_random(
    disk: Disk, folder: Path, seed: int, *, turns: range = range(TURNS), while_carrying: bool = False
) -> list[str]:
    """Takes pictures of the disk at random points of a load, and says what is wrong after a power cut at each."""
    chance = random.Random(seed)
    share = 0.25 if while_carrying else 0.03 * TURNS / len(turns)
    acknowledged: list[int] = []
    pictures: list[tuple[Picture, list[int]]] = []

    def taken() -> tuple[Picture, list[int]]:
        acknowledged_before = list(acknowledged)  # first: while a picture is taken other threads go on
        return disk.picture(), acknowledged_before

    def step() -> None:
        if while_carrying and threading.current_thread().name != CARRIER:
            return
        if chance.random() < share and len(pictures) < CUTS:
            pictures.append(taken())

    disk.on_step = step
    ledger = await open_sqlite(folder / "ledger.db", vfs=disk.name)
    await write(ledger, turns, CLIENTS, acknowledged.append)
    pictures.append(taken())
    await ledger.close()
    assert len(pictures) > CUTS // 2

    found: list[str] = []
    for number, (picture, acknowledged_then) in enumerate(pictures):
        after = folder / f"after-{number}"
        picture.after_power_cut(after, chance)
        found += [f"cut {number}: {one}" for one in await complaints(after / "ledger.db", acknowledged_then, turns)]
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_a_power_cut_loses_nothing_acknowledged(disk: Disk, tmp_path: Path, seed: int) -> None:
    """5, 1, 4: after a power cut at any point no acknowledged turn is missing, none is half there, positions are
    gapless, and records and journal agree.
    """
    assert await cut_at_random(disk, tmp_path, seed) == []


@pytest.mark.parametrize("seed", range(6))
async def test_a_power_cut_while_the_log_is_carried_over(disk: Disk, tmp_path: Path, seed: int) -> None:
    """5, 1, 4: the same where the power goes between two steps of the thread that carries the log over."""
    assert await cut_at_random(disk, tmp_path, seed, turns=LONGER, while_carrying=True) == []


@pytest.mark.parametrize("seed", range(3))
async def test_what_a_killed_server_had_not_synced_is_synced_by_the_next(disk: Disk, tmp_path: Path, seed: int) -> None:
    """5: a server is killed between writing and syncing; the next one finds the turn and tells a retry that it is kept;
    then the power goes, and the turn is there.
    """
    chance = random.Random(seed)
    pictures: list[Picture] = []
    disk.on_step = lambda: pictures.append(disk.picture()) if chance.random() < 0.05 and len(pictures) < CUTS else None
    ledger = await open_sqlite(tmp_path / "ledger.db", vfs=disk.name)
    await write(ledger, range(TURNS), 1, lambda _: None)
    await ledger.close()
    disk.on_step = lambda: None

    found: list[str] = []
    for number, picture in enumerate(pictures):
        killed, after = tmp_path / f"killed-{number}", tmp_path / f"after-{number}"
        picture.after_kill(killed)
        disk.resume(picture)
        ledger = await open_sqlite(killed / "ledger.db", vfs=disk.name)
        kept = sum([len(await ledger.scan(partition, after=0, limit=TURNS)) for partition in PARTITIONS])
        await write(ledger, range(kept), 1, lambda _: None)  # one client: the turns kept are the first so many
        disk.picture().after_power_cut(after, chance)
        await ledger.close()
        found += [f"cut {number}: {one}" for one in await complaints(after / "ledger.db", range(kept), range(TURNS))]
    assert found == []


@pytest.mark.parametrize("synchronous", ["OFF", "NORMAL"])
async def test_the_rig_notices_a_ledger_that_does_not_sync(
    disk: Disk, tmp_path: Path, synchronous: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same load and the same cuts find turns missing, or a file beyond use, as soon as commits are not synced."""
    monkeypatch.setitem(sqlite_file.PRAGMAS, "synchronous", synchronous)
    found = await cut_at_random(disk, tmp_path, 0)
    assert any("was acknowledged and is missing" in one or "cannot be read" in one for one in found)


async def test_the_rig_notices_a_log_that_is_carried_over_without_a_sync(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where commits are synced, but not what is carried over, the log begins anew too early, and cuts find it out."""
    connect, carry_rest = sqlite_file.connect_to_carry, Writer.carry_rest

    def connect_without_sync(path: Path, vfs: str) -> apsw.Connection:
        db = connect(path, vfs)
        db.pragma("synchronous", "OFF")
        return db

    def carry_rest_without_sync(writer: Writer) -> None:
        db = writer._ready()
        db.pragma("synchronous", "OFF")
        carry_rest(writer)
        db.pragma("synchronous", "FULL")

    monkeypatch.setattr(sqlite, "connect_to_carry", connect_without_sync)
    monkeypatch.setattr(Writer, "carry_rest", carry_rest_without_sync)
    for seed in range(12):  # some find nothing: what is not synced may survive
        folder = tmp_path / str(seed)
        folder.mkdir()
        found = await cut_at_random(disk, folder, seed, turns=LONGER)
        if any("was acknowledged and is missing" in one or "cannot be read" in one for one in found):
            return
    raise AssertionError("no cut found anything missing")
