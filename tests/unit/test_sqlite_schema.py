"""The tables of the SQLite engine."""

import re
from functools import partial
from pathlib import Path

import apsw
import pytest

from meterhouse.core.usage import Entry, Partition, RecordKey, Series
from meterhouse.ledger import sqlite_file
from meterhouse.ledger.judge import Turn
from meterhouse.ledger.protocol import CannotOpen, Decision, Header, Keys, View
from meterhouse.ledger.sqlite_file import connect_to_write
from meterhouse.ledger.sqlite_schema import APPLICATION_ID, STEPS
from meterhouse.ledger.sqlite_writer import Writer

HEADER = Header("request", "BatchMeterUsage", "arn", "1", 0, 0, "2026-11")
DOCUMENTED = Path(__file__).parents[2] / "docs" / "ledger-schema.sql"


def tables_of(db: apsw.Connection) -> list[tuple[str, str, str]]:
    """Every table and index with the statement that made it, spaces and names in quotes aside."""
    found = db.execute("SELECT type, name, ifnull(sql, '') FROM sqlite_schema ORDER BY type, name").fetchall()
    return [(str(kind), str(name), re.sub(r"\s+", " ", str(text))) for kind, name, text in found]


def test_the_steps_come_to_the_documented_schema(tmp_path: Path) -> None:
    """A ledger made by all steps has exactly the tables, columns and indexes that the documentation shows."""
    made = connect_to_write(tmp_path / "made.db", "")
    documented = apsw.Connection(":memory:")
    text = DOCUMENTED.read_text()
    documented.execute(re.sub(r"--[^\n]*", "", text))
    assert tables_of(made) == tables_of(documented)
    assert f"0x{made.pragma('application_id'):08X}" in text
    assert f"user_version = {made.pragma('user_version')}" in text
    assert (made.pragma("application_id"), made.pragma("user_version")) == (APPLICATION_ID, len(STEPS))
    made.close()
    documented.close()


def test_a_step_is_made_once_and_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older file is brought up to date by the steps it has not seen, once, and what it holds stays."""
    path = tmp_path / "ledger.db"
    connect_to_write(path, "").close()
    more = ("ALTER TABLE catalog ADD COLUMN first TEXT;", "ALTER TABLE catalog ADD COLUMN second TEXT;")
    monkeypatch.setattr(sqlite_file, "STEPS", (*STEPS, *more))
    for _ in range(2):
        db = connect_to_write(path, "")
        assert db.pragma("user_version") == len(STEPS) + 2
        assert db.execute("SELECT * FROM catalog").fetchall() == [(1, 0, None, None)]
        db.close()


def test_a_step_that_fails_leaves_the_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A step is whole or nothing, its number with it."""
    path = tmp_path / "ledger.db"
    connect_to_write(path, "").close()
    monkeypatch.setattr(sqlite_file, "STEPS", (*STEPS, "CREATE TABLE half (a); CREATE TABLE half (a);"))
    with pytest.raises(apsw.SQLError):
        connect_to_write(path, "")
    monkeypatch.undo()
    db = connect_to_write(path, "")
    assert db.pragma("user_version") == len(STEPS)
    assert "half" not in [name for _, name, _ in tables_of(db)]
    db.close()


def test_what_is_set_is_in_force(tmp_path: Path) -> None:
    """Each setting of the writing connection is what SQLite then says it is: WAL and full syncs above all."""
    db = connect_to_write(tmp_path / "ledger.db", "")
    meant = {"WAL": "wal", "FULL": 2, "MEMORY": 2}
    for name, value in sqlite_file.PRAGMAS.items():
        assert db.pragma(name) == meant.get(str(value), value), name
    db.close()


def keeping_turn(first: int, count: int) -> Turn:
    """A turn that keeps what is new of so many series in one hour, and answers how many were."""
    entries = [
        Entry(RecordKey(1, Series("", str(number), "d")), 0, 1, number.to_bytes(16, "big"))
        for number in range(first, first + count)
    ]

    def decide(view: View) -> Decision:
        new = [entry for entry in entries if view.record(entry.key) is None]
        return Decision(len(new), new, (), HEADER if new else None)

    return Turn(Partition("us-east-1", "a"), Keys([entry.key for entry in entries]), decide, 0)


def test_a_writer_knows_only_so_many_series(tmp_path: Path) -> None:
    """However many series a ledger has, the writer keeps the numbers of a bounded count of them in memory."""
    writer = Writer(partial(connect_to_write, tmp_path / "ledger.db", ""), series_kept=40)
    for start in range(0, 500, 10):
        writer.keep([keeping_turn(start, 10)])
        assert len(writer._series) <= 40 + 2 * 10
    verdicts = writer.keep([keeping_turn(0, 500)])
    assert [getattr(verdict, "answer", verdict) for verdict in verdicts] == [0]
    assert writer.keep([keeping_turn(490, 20)])[0].answer == 10  # type: ignore[union-attr] # an exception would fail too
    writer.close()


def test_a_file_that_turns_foreign_is_refused(tmp_path: Path) -> None:
    """A file whose mark is gone is no ledger, whatever its tables."""
    path = tmp_path / "ledger.db"
    db = connect_to_write(path, "")
    db.pragma("application_id", 7)
    db.close()
    with pytest.raises(CannotOpen, match="not a Meterhouse ledger"):
        connect_to_write(path, "")
