"""`meterhouse prune`: what it says, and what it refuses."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

import pytest

from meterhouse.cli import run
from meterhouse.core.moment import HOUR
from meterhouse.core.pruned import start_of_month
from meterhouse.ledger.sqlite import open_sqlite
from tests.contract.usage import entry_of, keep, key_of

NEW_YEAR = start_of_month("2026-01") // HOUR

Said = Callable[[], tuple[str, str]]


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Said:
    """What was printed since the last time, on standard output and on standard error."""

    def read() -> tuple[str, str]:
        out, error = capsys.readouterr()
        return out, error

    return read


async def fill(file: Path) -> None:
    """A ledger with usage of November, December and January."""
    ledger = await open_sqlite(file)
    await keep(ledger, [entry_of(key_of(NEW_YEAR + hour)) for hour in (-1000, -2, -1, 0, 1)])
    await ledger.close()


async def test_old_months_are_pruned(tmp_path: Path, said: Said) -> None:
    """A dry run lists the months, a pruning says what it did, and the next finds nothing; for programs as JSON."""
    data, file = str(tmp_path / "ledger.db"), tmp_path / "old.jsonl"
    await fill(tmp_path / "ledger.db")
    words = ["prune", "--before", "2026-01", "--data", data]
    assert await asyncio.to_thread(run, [*words, "--dry-run"]) == 0
    assert [line.split() for line in said()[0].splitlines()[2:]] == [["2025-11", "1"], ["2025-12", "2"]]
    assert await asyncio.to_thread(run, [*words, "--dry-run", "--json"]) == 0
    assert json.loads(said()[0]) == {"before": "2026-01", "records": 3, "months": {"2025-11": 1, "2025-12": 2}}
    assert not file.exists()
    assert await asyncio.to_thread(run, [*words, "--export", str(file)]) == 0
    assert [line.split("  ")[-1].strip() for line in said()[0].splitlines()] == [str(file), "3", "3", "0"]
    assert await asyncio.to_thread(run, [*words, "--export", str(file), "--json"]) == 0
    assert json.loads(said()[0]) == {
        "before": "2026-01",
        "export": str(file),
        "exported_records": 3,
        "removed_records": 0,
        "forgotten_tokens": 0,
    }
    for more in (["--dry-run"], ["--export", str(tmp_path / "another.jsonl")]):
        assert await asyncio.to_thread(run, [*words, *more]) == 0
        assert said() == ("Nothing is older than 2026-01.\n", "")
    assert not (tmp_path / "another.jsonl").exists()


async def test_a_server_of_the_file_must_be_stopped(tmp_path: Path, said: Said) -> None:
    """A ledger that is open is not pruned, nor exported; the sentence says why."""
    await fill(tmp_path / "ledger.db")
    ledger = await open_sqlite(tmp_path / "ledger.db")
    words = ["prune", "--before", "2026-01", "--data", str(tmp_path / "ledger.db"), "--export", str(tmp_path / "f")]
    assert await asyncio.to_thread(run, words) == 1
    assert said()[1] == f"meterhouse: {tmp_path / 'ledger.db'} is in use by another server.\n"
    assert not (tmp_path / "f").exists()
    await ledger.close()


@pytest.mark.parametrize(("before", "sentence"), [("9999-01", "can still be sent again"), ("2026", "is no month")])
async def test_a_month_that_will_not_do_is_bad_input(tmp_path: Path, said: Said, before: str, sentence: str) -> None:
    """What is no month, or not over for two days, is refused as bad input."""
    await fill(tmp_path / "ledger.db")
    words = ["prune", "--before", before, "--data", str(tmp_path / "ledger.db"), "--export", str(tmp_path / "f")]
    assert await asyncio.to_thread(run, words) == 2
    assert sentence in said()[1]


async def test_a_place_that_cannot_be_written_is_told(tmp_path: Path, said: Said) -> None:
    """An export that cannot be made removes nothing."""
    await fill(tmp_path / "ledger.db")
    file = tmp_path / "nowhere" / "f"
    words = ["prune", "--before", "2026-01", "--data", str(tmp_path / "ledger.db"), "--export", str(file)]
    assert await asyncio.to_thread(run, words) == 1
    assert said()[1] == f"meterhouse: {file} cannot be written or read: No such file or directory.\n"
    ledger = await open_sqlite(tmp_path / "ledger.db")
    assert (await ledger.size()).records == 5
    await ledger.close()
