"""Opening a SQLite ledger: what is refused, in one clear sentence, and what is left untouched."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw
import pytest

from meterhouse.ledger import sqlite_file
from meterhouse.ledger.protocol import CannotOpen
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.ledger.sqlite_schema import STEPS
from tests.simulation.load import Turn
from tests.simulation.power import Disk

ROOT = Path(__file__).parents[2]


async def make(path: Path) -> None:
    """A ledger with something in it."""
    ledger = await open_sqlite(path)
    await Turn(0).run(ledger)
    await ledger.close()


def sql(path: Path, *statements: str) -> None:
    """Runs statements on a SQLite file."""
    db = apsw.Connection(str(path))
    for statement in statements:
        db.execute(statement)
    db.close()


def damage(path: Path, offset: int, written: bytes) -> None:
    """Overwrites bytes of a file."""
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(written)


REFUSED: dict[str, tuple[Callable[[Path], object], str]] = {
    "text": (lambda path: path.write_text("hello " * 1000), "not a SQLite database"),
    "a few bytes": (lambda path: path.write_bytes(b"SQLite format 3"), "not a SQLite database"),
    "another program's file": (lambda path: sql(path, "CREATE TABLE t (a)"), "not a Meterhouse ledger"),
    "another program's empty file": (lambda path: sql(path, "PRAGMA user_version = 1"), "not a Meterhouse ledger"),
    "a directory": (lambda path: path.mkdir(), "is a directory"),
}


@pytest.mark.parametrize("what", REFUSED)
async def test_what_is_no_ledger_is_refused(tmp_path: Path, what: str) -> None:
    """A file that is not ours is refused, with a reason, and not changed."""
    path = tmp_path / "ledger.db"
    make_it, reason = REFUSED[what]
    make_it(path)
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(CannotOpen, match=reason):
        await open_sqlite(path)
    assert (path.read_bytes() if path.is_file() else None) == before


async def test_a_missing_directory_is_named(tmp_path: Path) -> None:
    """A ledger in a directory that does not exist is refused, and the directory is named."""
    with pytest.raises(CannotOpen, match="missing is not a directory"):
        await open_sqlite(tmp_path / "missing" / "ledger.db")


DAMAGED = {
    "the magic words": (0, b"\x00" * 16),
    "the page size": (16, b"\x00\x07"),
    "the tables' list": (100, b"\xff" * 60),
}


@pytest.mark.parametrize("what", DAMAGED)
async def test_a_damaged_head_is_refused(tmp_path: Path, what: str) -> None:
    """A ledger whose first page is damaged is refused as damaged."""
    path = tmp_path / "ledger.db"
    await make(path)
    damage(path, *DAMAGED[what])
    with pytest.raises(CannotOpen, match="damaged"):
        await open_sqlite(path)


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    """A ledger written by a newer version is refused, says both versions, and is left as it is."""
    path = tmp_path / "ledger.db"
    await make(path)
    sql(path, f"PRAGMA user_version = {len(STEPS) + 1}")
    with pytest.raises(CannotOpen, match=f"has schema {len(STEPS) + 1}, .* up to {len(STEPS)}"):
        await open_sqlite(path)
    db = apsw.Connection(str(path))
    assert db.pragma("user_version") == len(STEPS) + 1
    db.close()


async def test_a_read_only_file_is_refused(tmp_path: Path) -> None:
    """A ledger that cannot be written is refused at once, not at the first turn."""
    path = tmp_path / "ledger.db"
    await make(path)
    disk = Disk("read-only")
    disk.read_only = True
    with pytest.raises(CannotOpen, match="read-only"):
        await open_sqlite(path, vfs=disk.name)
    disk.close()


async def test_two_servers_never_share_a_ledger(tmp_path: Path) -> None:
    """A second opening of a running ledger is refused, under any name of the file; after closing it is free."""
    path, other = tmp_path / "ledger.db", tmp_path / "other.db"
    other.symlink_to(path)
    ledger = await open_sqlite(path)
    for name in (path, other, tmp_path / "." / "ledger.db"):
        with pytest.raises(CannotOpen, match="in use by another server"):
            await open_sqlite(name)
    await Turn(0).run(ledger)
    await ledger.close()
    await (await open_sqlite(other)).close()


HOLDER = """
import asyncio, sys
from pathlib import Path
from meterhouse.ledger.sqlite import open_sqlite

async def main():
    ledger = await open_sqlite(Path(sys.argv[1]))
    print("open", flush=True)
    sys.stdin.read()

asyncio.run(main())
"""


@contextmanager
def held(path: Path) -> Iterator[None]:
    """Another process has the ledger open, and is killed in the end."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"open\n"
        try:
            yield
        finally:
            holder.kill()


async def test_another_process_holds_the_ledger_until_it_dies(tmp_path: Path) -> None:
    """A ledger that another process has open is refused; killed, it holds it no longer."""
    path = tmp_path / "ledger.db"
    with held(path), pytest.raises(CannotOpen, match="in use by another server"):
        await open_sqlite(path)
    await (await open_sqlite(path)).close()


async def test_a_locked_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that another program has locked for itself is refused after a short wait."""
    monkeypatch.setattr(sqlite_file, "BUSY_MILLISECONDS", 20)
    path = tmp_path / "ledger.db"
    await make(path)
    other = apsw.Connection(str(path))
    other.pragma("locking_mode", "EXCLUSIVE")
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(CannotOpen, match="another program holds a lock"):
        await open_sqlite(path)
    other.execute("ROLLBACK")
    other.close()
    await (await open_sqlite(path)).close()


async def test_a_refused_opening_leaves_nothing_behind(tmp_path: Path) -> None:
    """A refused file is not held: once it is gone a ledger can be made in its place."""
    path = tmp_path / "ledger.db"
    path.write_text("hello " * 1000)
    with pytest.raises(CannotOpen):
        await open_sqlite(path)
    path.unlink()
    await make(path)
