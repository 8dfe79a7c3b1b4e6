"""The disk fails while the ledger runs: full, failing, no longer writable. Nothing acknowledged is lost, what failed is
whole or nothing, and the ledger goes on by itself as soon as the disk does.
"""

import asyncio
import json
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import apsw
import pytest

from meterhouse.ledger import sqlite_carrying, sqlite_file
from meterhouse.ledger.protocol import LedgerFailure
from meterhouse.ledger.sqlite import open_sqlite
from tests.simulation.load import Turn, complaints, times_begun_anew
from tests.simulation.power import Disk

ROOT = Path(__file__).parents[2]
CARRIER = "meterhouse-ledger-carrier"
"""The thread that carries the log over."""


@pytest.fixture
def disk() -> Iterator[Disk]:
    """A disk that can fail."""
    made = Disk("failing")
    yield made
    made.close()


ERRORS = {
    "full": apsw.FullError,
    "failing": apsw.IOError,
    "read-only": apsw.ReadOnlyError,
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("operation", ["write", "sync"])
@pytest.mark.parametrize("seed", range(3))
async def test_a_failing_disk_loses_nothing_acknowledged(
    disk: Disk, tmp_path: Path, error: str, operation: str, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5, 8: whichever write or sync fails, the turn fails as a failure of the ledger or is kept; the next ones go on;
    and after a power cut at the end all that was acknowledged is there, whole.
    """
    monkeypatch.setattr(sqlite_carrying, "CARRY_PAGES", 30)
    monkeypatch.setattr(sqlite_carrying, "AGAIN_PAGES", 10)
    chance = random.Random(f"{error} {operation} {seed}")
    failing = False

    def refuse(called: str, _: str) -> apsw.Error | None:
        return ERRORS[error]("on purpose") if failing and called == operation and chance.random() < 0.3 else None

    disk.refuse = refuse
    ledger = await open_sqlite(tmp_path / "ledger.db", vfs=disk.name)
    acknowledged: list[int] = []
    failed = 0
    for number in range(60):
        failing = number % 4 == 3
        try:
            await Turn(number).run(ledger)
        except LedgerFailure:
            assert number % 4 in (3, 0)  # or, of a sync that failed in another thread, the turn after
            failed += 1
        else:
            acknowledged.append(number)
    assert failed
    picture = disk.picture()
    await ledger.close()
    picture.after_power_cut(tmp_path / "after", chance)
    assert await complaints(tmp_path / "after" / "ledger.db", acknowledged, range(60)) == []
    assert await complaints(tmp_path / "ledger.db", acknowledged, range(60)) == []


@pytest.mark.parametrize("operation", ["write", "sync"])
async def test_no_turn_fails_with_the_carrier(
    disk: Disk, tmp_path: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """5: while the thread that carries the log over can write or sync nothing of the file, turns are kept, the writer
    carries all of it over in its stead, so that the log begins anew, and after a power cut every one is there.
    """
    monkeypatch.setattr(sqlite_carrying, "CARRY_PAGES", 30)
    monkeypatch.setattr(sqlite_carrying, "AGAIN_PAGES", 10)
    refused = 0

    def refuse(called: str, name: str) -> apsw.Error | None:
        nonlocal refused
        if called != operation or name != "ledger.db" or threading.current_thread().name != CARRIER:
            return None
        refused += 1
        return apsw.IOError("on purpose")

    ledger = await open_sqlite(tmp_path / "ledger.db", vfs=disk.name)
    disk.refuse = refuse
    for number in range(200):
        await Turn(number).run(ledger)
    assert refused > 5
    assert times_begun_anew(tmp_path / "ledger.db") > 1
    picture = disk.picture()
    await ledger.close()
    picture.after_power_cut(tmp_path / "after", random.Random(0))
    assert await complaints(tmp_path / "after" / "ledger.db", range(200), range(200)) == []


async def test_every_single_failure_in_turn(disk: Disk, tmp_path: Path) -> None:
    """5, 8: with the first, the second, the third … call to the disk failing, one each, a turn run again until it is
    acknowledged is kept once.
    """
    calls = 0
    failing_call = 0

    def refuse(_operation: str, _name: str) -> apsw.Error | None:
        nonlocal calls
        calls += 1
        return apsw.IOError("on purpose") if calls == failing_call else None

    ledger = await open_sqlite(tmp_path / "ledger.db", vfs=disk.name)
    disk.refuse = refuse
    failures = 0
    for number in range(40):
        calls, failing_call = 0, number % 10 + 1
        for _ in range(3):
            try:
                await Turn(number).run(ledger)
            except LedgerFailure:
                failures += 1
            else:
                break
        else:
            raise AssertionError("the ledger did not recover")
    await ledger.close()
    assert failures > 10
    assert await complaints(tmp_path / "ledger.db", range(40), range(40)) == []


async def test_a_full_disk_and_room_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """5: on a full disk turns fail and say so, reads go on, and with room again turns are kept without reopening."""
    monkeypatch.setitem(sqlite_file.PRAGMAS, "max_page_count", 60)
    ledger = await open_sqlite(tmp_path / "ledger.db")
    failed = 0
    with suppress(LedgerFailure):
        while failed < 10_000:
            await Turn(failed).run(ledger)
            failed += 1
    with pytest.raises(LedgerFailure, match="the disk is full"):
        await Turn(failed).run(ledger)
    assert (await ledger.size()).journal_rows == failed
    assert list(await Turn(0).run(ledger))
    monkeypatch.setitem(sqlite_file.PRAGMAS, "max_page_count", 10_000)
    with pytest.raises(LedgerFailure):
        await Turn(failed).run(ledger)  # the connection in use still has the old bound, and is given up for a new one
    await Turn(failed).run(ledger)
    await ledger.close()
    assert await complaints(tmp_path / "ledger.db", range(failed + 1), range(failed + 1)) == []


FILE_SIZE_LIMITED = """
import asyncio, json, resource, sys
from pathlib import Path
from meterhouse.ledger.protocol import LedgerFailure
from meterhouse.ledger.sqlite import open_sqlite
from tests.simulation.load import Turn

async def main(path):
    ledger = await open_sqlite(path)
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    acknowledged, failures = [], []
    for number in range(400):
        try:
            await Turn(number).run(ledger)
        except LedgerFailure as failure:
            failures.append(str(failure))
            if len(failures) == 5:
                resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        else:
            acknowledged.append(number)
    await ledger.close()
    return {"acknowledged": acknowledged, "failures": failures}

print(json.dumps(asyncio.run(main(Path(sys.argv[1])))))
"""


async def test_a_file_that_may_not_grow(tmp_path: Path) -> None:
    """5: where the operating system refuses to let a file grow, turns fail, and go on once it may."""
    ran = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-c", FILE_SIZE_LIMITED, str(tmp_path / "ledger.db")],
        cwd=ROOT,
        capture_output=True,
        check=True,
        text=True,
    )
    told = json.loads(ran.stdout)
    assert len(told["failures"]) == 5
    assert len(told["acknowledged"]) == 395
    assert await complaints(tmp_path / "ledger.db", told["acknowledged"], range(400)) == []


async def test_another_programs_lock_is_waited_for_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """8: while another program holds the file's lock turns fail, and are kept once it lets go."""
    monkeypatch.setattr(sqlite_file, "BUSY_MILLISECONDS", 20)
    ledger = await open_sqlite(tmp_path / "ledger.db")
    await Turn(0).run(ledger)
    other = apsw.Connection(str(tmp_path / "ledger.db"))
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerFailure, match="another program holds a lock"):
        await Turn(1).run(ledger)
    other.execute("ROLLBACK")
    await Turn(1).run(ledger)
    other.close()
    await ledger.close()
    assert await complaints(tmp_path / "ledger.db", [0, 1], [0, 1]) == []


async def test_damage_is_told_where_it_is_met(tmp_path: Path) -> None:
    """A page damaged behind the ledger's back makes what needs it fail, as a failure of the ledger that says so."""
    path = tmp_path / "ledger.db"
    ledger = await open_sqlite(path)
    for number in range(60):
        await Turn(number).run(ledger)
    await ledger.close()
    db = apsw.Connection(str(path))
    page = db.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'usage_records'").get
    size = db.pragma("page_size")
    db.close()
    with path.open("r+b") as file:
        file.seek((page - 1) * size)
        file.write(b"\xff" * size)
    ledger = await open_sqlite(path)
    for _ in range(2):
        with pytest.raises(LedgerFailure, match="the file is damaged"):
            await Turn(0).run(ledger)
    rows = await ledger.scan(Turn(0).partition, after=0, limit=1)
    assert len(rows) == 1
    await ledger.close()
