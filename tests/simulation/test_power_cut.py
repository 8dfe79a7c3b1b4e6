"""Promise 5 where it can really fail: the power goes at any point of a random load, and unsynced writes are lost."""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from meterhouse.ledger import sqlite_file
from meterhouse.ledger.sqlite import open_sqlite
from tests.simulation.load import PARTITIONS, complaints, write
from tests.simulation.power import Disk, Picture

TURNS = 60
CLIENTS = 6
CUTS = 24


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk that can lose power."""
    made = Disk("power")
    yield made
    made.close()


@pytest.fixture(autouse=True)
def frequent_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    """The log is carried over into the file every few commits, so that cuts fall into that too."""
    monkeypatch.setitem(sqlite_file.PRAGMAS, "wal_autocheckpoint", 40)


async def cut_at_random(disk: Disk, folder: Path, seed: int) -> list[str]:
    """Takes pictures of the disk at random points of a load, and says what is wrong after a power cut at each."""
    chance = random.Random(seed)
    acknowledged: list[int] = []
    pictures: list[tuple[Picture, list[int]]] = []

    def step() -> None:
        if chance.random() < 0.03 and len(pictures) < CUTS:
            pictures.append((disk.picture(), list(acknowledged)))

    disk.on_step = step
    ledger = await open_sqlite(folder / "ledger.db", vfs=disk.name)
    await write(ledger, range(TURNS), CLIENTS, acknowledged.append)
    pictures.append((disk.picture(), list(acknowledged)))
    await ledger.close()
    assert len(pictures) > CUTS // 2

    found: list[str] = []
    for number, (picture, acknowledged_then) in enumerate(pictures):
        after = folder / f"after-{number}"
        picture.after_power_cut(after, chance)
        found += [
            f"cut {number}: {one}" for one in await complaints(after / "ledger.db", acknowledged_then, range(TURNS))
        ]
    return found


@pytest.mark.parametrize("seed", range(6))
async def test_a_power_cut_loses_nothing_acknowledged(disk: Disk, tmp_path: Path, seed: int) -> None:
    """5, 1, 4: after a power cut at any point no acknowledged turn is missing, none is half there, positions are
    gapless, and records and journal agree.
    """
    assert await cut_at_random(disk, tmp_path, seed) == []


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
