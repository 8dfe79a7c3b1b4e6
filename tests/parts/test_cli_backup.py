"""`meterhouse backup`: a copy that was read back, or none; and nothing that exists is lost by it."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from meterhouse.cli import run
from meterhouse.ledger.protocol import LedgerFailure
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.ledger.sqlite_check import Kept, read_back
from tests.simulation.load import Turn, complaints, write


async def filled(folder: Path, turns: int = 30) -> Path:
    """A ledger with some turns in it, closed."""
    path = folder / "ledger.db"
    ledger = await open_sqlite(path)
    await write(ledger, range(turns), 4, lambda _number: None)
    await ledger.close()
    return path


def expected(turns: int) -> Kept:
    """What a ledger with so many turns holds."""
    entries = [entry for number in range(turns) for entry in Turn(number).entries]
    return Kept(len(entries), sum(entry.quantity_micros for entry in entries), turns)


def left_over(folder: Path) -> list[str]:
    """Files that a backup should have taken away, or should not have made."""
    return [path.name for path in folder.iterdir() if "un" in path.name.partition(".db")[2] or "copy.db-" in path.name]


async def test_a_ledger_is_copied_while_it_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A backup beside a load holds what was acknowledged before it began, whole, and is told with its counts."""
    path, copy = tmp_path / "ledger.db", tmp_path / "copy.db"
    ledger = await open_sqlite(path)
    acknowledged: list[int] = []
    enough = asyncio.Event()

    def keep(number: int) -> None:
        acknowledged.append(number)
        if len(acknowledged) == 40:
            enough.set()

    load = asyncio.create_task(write(ledger, range(400), 4, keep))
    await enough.wait()
    before = list(acknowledged)
    assert await asyncio.to_thread(run, ["backup", str(copy), "--data", str(path), "--json"]) == 0
    await load
    await ledger.close()
    told = json.loads(capsys.readouterr().out)
    kept = read_back(copy)
    assert told == {
        "file": str(copy),
        "records": kept.records,
        "journal_rows": kept.journal_rows,
        "bytes": copy.stat().st_size,
    }
    assert kept.journal_rows >= len(before)
    assert left_over(tmp_path) == []
    assert await complaints(copy, before, range(400)) == []


async def test_a_backup_is_told_to_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A line a member, numbers in groups of three."""
    path = await filled(tmp_path)
    assert await asyncio.to_thread(run, ["backup", str(tmp_path / "copy.db"), "--data", str(path)]) == 0
    lines = dict(
        line.split(maxsplit=1) for line in capsys.readouterr().out.replace("Journal rows", "Rows").splitlines()
    )
    assert lines["Records"] == str(expected(30).records)
    assert lines["Rows"] == "30"
    assert lines["Bytes"] == f"{(tmp_path / 'copy.db').stat().st_size:,}"


async def test_what_exists_is_replaced_only_by_force(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file in the way stays as it is, unless --force says otherwise; a folder and the ledger itself stay anyway."""
    path = await filled(tmp_path)
    copy = tmp_path / "copy.db"
    copy.write_text("precious")
    backup = ["backup", str(copy), "--data", str(path)]
    assert await asyncio.to_thread(run, backup) == 2
    assert f"{copy} exists; --force replaces it." in capsys.readouterr().err
    assert copy.read_text() == "precious"
    assert await asyncio.to_thread(run, [*backup, "--force"]) == 0
    assert read_back(copy) == expected(30)
    (tmp_path / "folder").mkdir()
    assert await asyncio.to_thread(run, ["backup", str(tmp_path / "folder"), "--data", str(path), "--force"]) == 2
    (tmp_path / "link.db").symlink_to(path)
    assert await asyncio.to_thread(run, ["backup", str(tmp_path / "link.db"), "--data", str(path), "--force"]) == 2
    assert "is the ledger itself" in capsys.readouterr().err
    assert await complaints(path, range(30), range(30)) == []


async def test_a_ledger_in_use_is_not_replaced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A running server's ledger is no target, not even by force; nor a name beside which a log was left."""
    path = await filled(tmp_path)
    other = tmp_path / "other.db"
    ledger = await open_sqlite(other)
    await Turn(1).run(ledger)
    assert await asyncio.to_thread(run, ["backup", str(other), "--data", str(path), "--force"]) == 2
    assert "is in use, or was not closed in order" in capsys.readouterr().err
    await ledger.close()
    assert await complaints(other, [1], [1]) == []
    (tmp_path / "copy.db-wal").touch()
    assert await asyncio.to_thread(run, ["backup", str(tmp_path / "copy.db"), "--data", str(path)]) == 2
    assert not (tmp_path / "copy.db").exists()


BROKEN: dict[str, tuple[str, str]] = {
    # What somebody did to the file; what is said of it.
    "a quantity": (
        "UPDATE usage_records SET quantity_micros = quantity_micros + 1 WHERE key % 7 = 0",
        "contradicts itself",
    ),
    "a record is gone": (
        "DELETE FROM usage_records WHERE key = (SELECT min(key) FROM usage_records)",
        "contradicts itself",
    ),
    "a row is gone": ("DELETE FROM journal WHERE id = (SELECT min(id) FROM journal)", "has a gap in its journal"),
    "the last row is gone": ("DELETE FROM journal WHERE id = (SELECT max(id) FROM journal)", "contradicts itself"),
    "a count": ("UPDATE partitions SET records = records + 1", "contradicts itself"),
    "a series is gone": ("DELETE FROM series WHERE id = (SELECT min(id) FROM series)", "contradicts itself"),
    "all records are gone": ("DELETE FROM usage_records", "contradicts itself"),
    "a row is damaged": ("UPDATE journal SET body = x'93' WHERE id = (SELECT max(id) FROM journal)", "is damaged"),
}


@pytest.mark.parametrize("what", BROKEN)
async def test_what_contradicts_itself_gets_no_name(
    what: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A ledger whose records and journal do not come to the same is no backup: exit code 1, and no file."""
    path = await filled(tmp_path)
    statement, sentence = BROKEN[what]
    db = apsw.Connection(str(path))
    db.execute(statement)
    db.close()
    assert await asyncio.to_thread(run, ["backup", str(tmp_path / "copy.db"), "--data", str(path)]) == 1
    assert sentence in capsys.readouterr().err
    assert not (tmp_path / "copy.db").exists()
    assert left_over(tmp_path) == []


async def test_a_damaged_copy_is_known(tmp_path: Path) -> None:
    """A page that is not what it was is found, wherever it is."""
    path = await filled(tmp_path)
    whole = path.read_bytes()
    assert read_back(path) == expected(30)
    pages = len(whole) // 4096
    for page in range(1, pages):
        path.write_bytes(whole[: page * 4096] + b"\x5a" * 4096 + whole[(page + 1) * 4096 :])
        with pytest.raises(LedgerFailure):
            read_back(path)


async def test_reading_back_writes_nothing(tmp_path: Path) -> None:
    """Neither the file changes, nor is one made beside it."""
    path = await filled(tmp_path)
    before = files_in(tmp_path)
    told: list[tuple[int, int]] = []
    read_back(path, lambda done, total: told.append((done, total)))
    assert files_in(tmp_path) == before
    assert told == [(0, 30)]


def files_in(folder: Path) -> dict[str, bytes]:
    """All files, and what is in them."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


async def test_an_empty_ledger_is_copied(tmp_path: Path) -> None:
    """No usage is no contradiction."""
    path = await filled(tmp_path, 0)
    assert await asyncio.to_thread(run, ["backup", str(tmp_path / "copy.db"), "--data", str(path)]) == 0
    assert read_back(tmp_path / "copy.db") == Kept()


async def test_whoever_comes_first_keeps_the_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that appears under the name while the copy is made is not replaced."""
    path = await filled(tmp_path)
    copy = tmp_path / "copy.db"

    def read_back_and_lose_the_race(unverified: Path, _on_rows: Callable[[int, int], None]) -> Kept:
        copy.write_text("somebody else's")
        return read_back(unverified)

    monkeypatch.setattr("meterhouse.ledger.sqlite_check.read_back", read_back_and_lose_the_race)
    assert await asyncio.to_thread(run, ["backup", str(copy), "--data", str(path)]) == 1
    assert f"{copy} cannot be made: File exists." in capsys.readouterr().err
    assert copy.read_text() == "somebody else's"
    assert left_over(tmp_path) == []
