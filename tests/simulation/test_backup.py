"""A backup of a ledger, running or not: the state of one moment, complete."""

import asyncio
import subprocess
import sys
from pathlib import Path

import apsw
import pytest

from meterhouse.ledger.protocol import CannotOpen, LedgerFailure
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.ledger.sqlite_backup import back_up
from tests.simulation.load import Turn, complaints, write
from tests.simulation.test_opening import damage

ROOT = Path(__file__).parents[2]


def unfinished(folder: Path) -> list[Path]:
    """What a backup that was not finished would have left."""
    return list(folder.glob("*unfinished*"))


async def test_a_running_ledger_is_copied(tmp_path: Path) -> None:
    """Copies made amid a load, by this process and by another, hold all that was acknowledged before they began, and
    are whole; the load goes on.
    """
    path = tmp_path / "ledger.db"
    ledger = await open_sqlite(path)
    acknowledged: list[int] = []
    load = asyncio.create_task(write(ledger, range(400), 4, acknowledged.append))
    copies: list[tuple[Path, list[int]]] = []
    for number in range(3):
        target = tmp_path / f"copy-{number}.db"
        copies.append((target, list(acknowledged)))
        await asyncio.to_thread(back_up, path, target)
    target = tmp_path / "copy-from-outside.db"
    copies.append((target, list(acknowledged)))
    program = "import sys; from pathlib import Path; from meterhouse.ledger.sqlite_backup import back_up; "
    program += "back_up(Path(sys.argv[1]), Path(sys.argv[2]))"
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", program, str(path), str(target)], cwd=ROOT, check=True, text=True
    )
    await load
    await ledger.close()
    for target, acknowledged_then in copies:
        assert await complaints(target, acknowledged_then, range(400)) == []
    assert await complaints(path, range(400), range(400)) == []
    assert not unfinished(tmp_path)


async def test_a_stopped_ledger_is_copied_with_its_log(tmp_path: Path) -> None:
    """What a killed server left in its log is in the copy too."""
    path, killed = tmp_path / "ledger.db", tmp_path / "killed.db"
    ledger = await open_sqlite(path)
    for number in range(5):
        await Turn(number).run(ledger)
    for beside in ("", "-wal"):
        killed.with_name(killed.name + beside).write_bytes(path.with_name(path.name + beside).read_bytes())
    await ledger.close()
    back_up(killed, tmp_path / "copy.db")
    assert await complaints(tmp_path / "copy.db", range(5), range(5)) == []


async def test_a_log_is_left_to_the_server(tmp_path: Path) -> None:
    """A file and the log that a killed server left beside it are as they were; a file without a log is left without."""
    path, killed = tmp_path / "ledger.db", tmp_path / "killed.db"
    ledger = await open_sqlite(path)
    await Turn(0).run(ledger)
    before = {}
    for beside in ("", "-wal"):
        before[beside] = path.with_name(path.name + beside).read_bytes()
        killed.with_name(killed.name + beside).write_bytes(before[beside])
    await ledger.close()
    back_up(killed, tmp_path / "copy.db")
    assert {beside: killed.with_name(killed.name + beside).read_bytes() for beside in before} == before
    assert before["-wal"]
    assert await complaints(tmp_path / "copy.db", [0], [0]) == []
    back_up(path, tmp_path / "another.db")
    assert not path.with_name("ledger.db-wal").exists()
    assert not path.with_name("ledger.db-shm").exists()


async def test_a_backup_is_refused_with_a_reason(tmp_path: Path) -> None:
    """No ledger there, none of ours, damaged, or something in the way: each is refused, and nothing is left behind."""
    path = tmp_path / "ledger.db"
    ledger = await open_sqlite(path)
    for number in range(40):
        await Turn(number).run(ledger)
    await ledger.close()
    (tmp_path / "text.db").write_text("hello " * 1000)
    (tmp_path / "empty.db").touch()
    apsw.Connection(str(tmp_path / "foreign.db")).execute("CREATE TABLE t (a)")
    damaged = tmp_path / "damaged.db"
    damaged.write_bytes(path.read_bytes())
    damage(damaged, 3 * 4096, b"\xff" * 4096)
    copy = tmp_path / "copy.db"
    refusals: list[tuple[Path, Path, type[Exception], str]] = [
        (tmp_path / "none.db", copy, CannotOpen, "does not exist"),
        (tmp_path / "empty.db", copy, CannotOpen, "is an empty file"),
        (tmp_path / "foreign.db", copy, CannotOpen, "not a Meterhouse ledger"),
        (tmp_path / "text.db", copy, LedgerFailure, "not a SQLite database"),
        (damaged, copy, LedgerFailure, "damaged"),
        (path, tmp_path / "text.db", CannotOpen, "exists"),
        (path, tmp_path / "missing" / "copy.db", CannotOpen, "is not a directory"),
    ]
    for source, target, kind, reason in refusals:
        with pytest.raises(kind, match=reason):
            back_up(source, target)
    assert not copy.exists()
    assert not unfinished(tmp_path)
    back_up(path, copy)
    assert await complaints(copy, range(40), range(40)) == []
