"""`meterhouse copy`: a ledger from SQLite into PostgreSQL and back, without losing a record."""

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from meterhouse.core.usage import Allotment, ClaimKey, Partition
from meterhouse.ledger import copying
from meterhouse.ledger.copying import Copied, NotACopy, copy_ledger
from meterhouse.ledger.postgres import open_postgres
from meterhouse.ledger.protocol import Document, Ledger, RecordFilter
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.ledger.sqlite_claims import SqlitePlace
from tests.contract.usage import HERE, HOUR_NOW, THERE, entry_of, header_of, keep, key_of
from tests.e2e.serving import run_meterhouse
from tests.postgres import place_url

ELSEWHERE = Partition("eu-west-1", "product-b")


async def fill(ledger: Ledger) -> None:
    """Usage of all forms in three partitions, claims with and without rows, and documents, one of them deleted."""
    await ledger.change([Document("p", "a", b"1"), Document("p", "b", b"2"), Document("q", "é", b"")], expected=0)
    await ledger.change([Document("p", "b", None)], expected=1)
    for partition, rows in ((HERE, 300), (THERE, 7)):
        for number in range(rows):
            entries = [
                entry_of(
                    key_of(HOUR_NOW + number, str(place), license="arn:l" * (place % 2)),
                    2**62 + number * place,
                    into_hour=number,
                    allocations=(Allotment(5, (("team", "é"),)),) * (place == 1),
                )
                for place in range(4)
            ]
            claims = [(ClaimKey("token", str(number)), b"bound")] if number % 3 == 0 else []
            header = header_of(HOUR_NOW + number, f"request {number}")
            await keep(ledger, entries, claims, partition=partition, header=header, revision=2)
    await keep(ledger, [], [(ClaimKey("first", "x"), b"\0")], partition=ELSEWHERE, revision=2)


async def account_of(ledger: Ledger) -> list[Any]:
    """All that a ledger can be asked."""
    _, documents = await ledger.load()
    return [
        *[await ledger.scan(partition, after=0, limit=10**6) for partition in (HERE, THERE, ELSEWHERE)],
        await ledger.history(RecordFilter(), after=None, limit=10**6),
        await ledger.sums(RecordFilter()),
        (await ledger.size())[:2],
        set(documents),
    ]


async def test_there_and_back(tmp_path: Path) -> None:
    """Copied into PostgreSQL and back into a new file, a ledger answers whatever it is asked as before, claims too."""
    first, url, last = tmp_path / "first.db", await place_url(tmp_path), tmp_path / "last.db"
    ledger = await open_sqlite(first)
    await fill(ledger)
    expected, claims = await account_of(ledger), set(await SqlitePlace(ledger, first).claims())
    await ledger.close()
    for source, target in ((str(first), url), (url, str(last))):
        done = await asyncio.to_thread(run_meterhouse, "copy", "--from", source, "--to", target, folder=tmp_path)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == (
            "Copied: 1228 records in 308 journal rows, 104 claims and 2 documents. "
            "Counts and sums of both are the same.\n"
        )
    found = await open_sqlite(last)
    assert await account_of(found) == expected
    assert set(await SqlitePlace(found, last).claims()) == claims
    await found.close()
    remote = await open_postgres(url)
    assert await account_of(remote) == expected
    await remote.close()


async def test_an_interrupted_copy_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A copy that is cut off anywhere is gone on with: each row is copied once, and nothing is lost."""
    ledger = await open_sqlite(tmp_path / "first.db")
    await fill(ledger)
    source, target = SqlitePlace(ledger, tmp_path / "first.db"), await open_postgres(await place_url(tmp_path))
    monkeypatch.setattr(copying, "GROUP_TURNS", 64)
    cut_at: list[int] = []

    class CutOff(Exception):
        pass

    def cut_off(done: int, _total: int) -> None:
        if done not in cut_at:
            cut_at.append(done)
            raise CutOff

    copied = None
    while copied is None:
        with suppress(CutOff):
            copied = await copy_ledger(source, target, cut_off)
    assert cut_at == [0, 7, 8, 72, 136, 200, 264, 308]
    assert copied == Copied(1228, 308, 104, 2)
    assert await account_of(target) == await account_of(ledger)
    assert await copy_ledger(source, target, lambda _done, _total: None) == copied
    await ledger.close()
    await target.close()


@pytest.mark.parametrize("other", ["usage", "usage elsewhere", "a catalog", "more usage", "more claims"])
async def test_another_ledger_is_left_alone(tmp_path: Path, other: str) -> None:
    """A target that holds anything else is refused, and what it holds stays as it is."""
    ledger = await open_sqlite(tmp_path / "first.db")
    target = await open_postgres(await place_url(tmp_path))
    source = SqlitePlace(ledger, tmp_path / "first.db")
    await keep(ledger, [entry_of(key_of())])
    match other:
        case "usage":
            await keep(target, [entry_of(key_of())])
        case "usage elsewhere":
            await keep(target, [entry_of(key_of())], partition=THERE)
        case "a catalog":
            await target.change([Document("p", "a", b"1")], expected=0)
        case "more usage":
            await copy_ledger(source, target, lambda _done, _total: None)
            await keep(target, [entry_of(key_of(customer="more"))])
        case "more claims":
            await copy_ledger(source, target, lambda _done, _total: None)
            await keep(target, [], [(ClaimKey("token", "more"), b"")])
    before = await account_of(target)
    with pytest.raises(NotACopy):
        await copy_ledger(source, target, lambda _done, _total: None)
    if other != "more claims":
        assert await account_of(target) == before
    await ledger.close()
    await target.close()


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--from", "memory", "--to", "a.db"], "--from: a ledger in memory is its server's own."),
        (["--from", "none.db", "--to", "a.db"], "--from: there is no ledger at none.db."),
        (["--from", "none.db", "--to", "mysql://h/d"], "--to: mysql://h/d is neither a file nor the address"),
    ],
)
async def test_what_cannot_be_copied_is_a_sentence(tmp_path: Path, arguments: list[str], sentence: str) -> None:
    """Bad input is refused with exit code 2, and makes no file."""
    done = await asyncio.to_thread(run_meterhouse, "copy", *arguments, folder=tmp_path)
    assert done.returncode == 2
    assert done.stderr.startswith(f"meterhouse: {sentence}")
    assert not await asyncio.to_thread(lambda: list(tmp_path.glob("*.db")))
