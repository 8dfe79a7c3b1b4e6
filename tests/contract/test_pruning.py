"""Pruning: old months leave a ledger, whole and only when they are in a file; what stays is as it was."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import pytest

from meterhouse.core.decide.meter_usage import TOKEN_CLAIM
from meterhouse.core.moment import HOUR, SECOND, rfc3339
from meterhouse.core.profile import PROFILES
from meterhouse.core.pruned import PRUNED_KIND, pruned_in, start_of_month
from meterhouse.core.usage import Allotment, ClaimKey, Entry, Partition
from meterhouse.ledger import postgres_pruning, sqlite_pruning
from meterhouse.ledger.archive import NotAnArchive, read_archive
from meterhouse.ledger.copying import copy_ledger
from meterhouse.ledger.postgres import open_postgres
from meterhouse.ledger.postgres_pruning import open_prunable_postgres
from meterhouse.ledger.protocol import Document, JournalEntry, Keys, Ledger, RecordFilter
from meterhouse.ledger.pruning import SETTLED_SECONDS, CannotPrune, Done, Prunable, look, prune
from meterhouse.ledger.sqlite_check import read_back
from meterhouse.ledger.sqlite_claims import SqlitePlace
from meterhouse.ledger.sqlite_pruning import open_prunable_sqlite
from tests.contract.engines import ENGINES, Bounds, Engine
from tests.contract.usage import HERE, THERE, entry_of, header_of, keep, key_of
from tests.contract.usage import look as look_at
from tests.postgres import place_url

BEFORE: Final = "2026-02"
FIRST_KEPT: Final = start_of_month(BEFORE) // HOUR
NOW: Final = start_of_month("2026-03")
ROOT: Final = Path(__file__).parents[2]


def quiet(_done: int, _total: int | None, _what: str) -> None:
    """Tells nobody."""


async def prunable(engine: Engine, place: Path) -> AbstractAsyncContextManager[Prunable]:
    """A ledger as it is opened to be pruned."""
    if engine.name == "postgres":
        return open_prunable_postgres(await place_url(place))
    return open_prunable_sqlite(place / "ledger.db")


async def pruned(engine: Engine, place: Path, before: str = BEFORE) -> Done:
    """One pruning, begun or gone on with."""
    async with await prunable(engine, place) as opened:
        return await prune(opened, before, place / "old.jsonl", NOW, quiet)


def token_of(hour: int) -> bytes:
    """What a ClientToken of an hour is bound to."""
    return bytes(32) + hour.to_bytes(8, "big", signed=True)


def registration(hour: int, workload: str) -> Entry:
    """What RegisterUsage keeps."""
    return entry_of(key_of(hour, dimension="", workload=workload), 0)


async def fill(ledger: Ledger) -> list[tuple[Partition, Sequence[Entry]]]:
    """Usage of both sides of the month's end in two partitions, rows with both, a registration, claims; its rows."""
    rows: list[tuple[Partition, Sequence[Entry]]] = []
    for partition, count in ((HERE, 40), (THERE, 3)):
        for number in range(count):
            hours = [FIRST_KEPT - 1 - number, FIRST_KEPT - 800, FIRST_KEPT + number][: 1 + number % 3]
            entries: Sequence[Entry] = [
                entry_of(
                    key_of(hour, f"{number:012d}", license="arn:l" * (number % 2)),
                    2**40 + number,
                    into_hour=number,
                    allocations=(Allotment(5, (("team", "\u00e9"),)),) * (place == 0),
                )
                for place, hour in enumerate(hours)
            ]
            rows.append((partition, entries))
        rows.append((partition, [registration(FIRST_KEPT - 5, f"task-{count}")]))
        rows.append((partition, [entry_of(key_of(FIRST_KEPT), 7)]))
    for partition, entries in rows:
        await keep(ledger, entries, partition=partition, header=header_of(entries[0].timestamp_micros))
    claims = [
        (ClaimKey(TOKEN_CLAIM, "old"), token_of(FIRST_KEPT - 1)),
        (ClaimKey(TOKEN_CLAIM, "new"), token_of(FIRST_KEPT)),
        (ClaimKey(TOKEN_CLAIM, "of another version"), bytes(32)),
        (ClaimKey("success", "task-40"), b""),
    ]
    await keep(ledger, [], claims)
    return rows


def old_of(entries: Sequence[Entry]) -> list[Entry]:
    """Those that a pruning takes."""
    return [entry for entry in entries if entry.key.hour < FIRST_KEPT and entry.key.series.dimension]


async def rows_of(ledger: Ledger, partition: Partition) -> Sequence[JournalEntry]:
    """A whole journal."""
    return await ledger.scan(partition, after=0, limit=10**6)


async def test_old_months_leave_and_all_else_stays(durable_engine: Engine, tmp_path: Path) -> None:
    """Records of older months are in the file and not in the ledger; rows, positions and the rest are as before."""
    ledger = await durable_engine.open(tmp_path, Bounds())
    rows = await fill(ledger)
    before = {partition: await rows_of(ledger, partition) for partition in (HERE, THERE)}
    await ledger.close()
    old = [entry for _, entries in rows for entry in old_of(entries)]
    assert (await pruned(durable_engine, tmp_path))[1:] == (len(old), 1)

    ledger = await durable_engine.open(tmp_path, Bounds())
    revision, documents = await ledger.load()
    mark = pruned_in({one.key: one.body for one in documents if one.kind == PRUNED_KIND and one.body is not None})
    assert mark is not None
    assert (mark.before, mark.done) == (BEFORE, True)
    for partition in (HERE, THERE):
        expected = [
            row._replace(entries=[entry for entry in row.entries if entry not in old]) for row in before[partition]
        ]
        assert await rows_of(ledger, partition) == expected
    kept = [entry for _, entries in rows for entry in entries if entry not in old]
    assert (await ledger.size())[:2] == (len(kept), len(rows) + 1)
    assert sum(one.quantity_micros for one in await ledger.sums(RecordFilter())) == sum(
        entry.quantity_micros for entry in kept
    )
    claims = [ClaimKey(TOKEN_CLAIM, name) for name in ("old", "new", "of another version")]
    seen = await look_at(
        ledger, Keys([kept[0].key, old[0].key], [*claims, ClaimKey("success", "task-40")]), revision=revision
    )
    assert [seen.claims[claim] is not None for claim in seen.claims] == [False, True, True, True]
    assert seen.records[old[0].key] is None
    await keep(ledger, [entry_of(key_of(FIRST_KEPT + 900))], revision=revision)
    assert (await rows_of(ledger, HERE))[-1].position == len(before[HERE]) + 1
    await ledger.close()


async def test_the_file_has_what_is_gone(durable_engine: Engine, tmp_path: Path) -> None:
    """Each line of the export is a request with what was removed of it, as the journal tells it."""
    ledger = await durable_engine.open(tmp_path, Bounds())
    rows = await fill(ledger)
    await ledger.close()
    await pruned(durable_engine, tmp_path)
    lines = [json.loads(line) for line in (tmp_path / "old.jsonl").read_text().splitlines()]
    assert lines[0] == {"archive": 1, "before": BEFORE}
    told = [record for line in lines[1:-1] for record in line["records"]]
    assert sorted(record["timestamp"] for record in told) == sorted(
        rfc3339(entry.timestamp_micros) for _, entries in rows for entry in old_of(entries)
    )
    assert (lines[1]["request_id"], lines[1]["operation"], lines[1]["position"]) == ("request", "BatchMeterUsage", 1)
    archive = read_archive(tmp_path / "old.jsonl")
    assert archive.records == len(told)
    assert sum(archive.sums.values()) == sum(entry.quantity_micros for _, entries in rows for entry in old_of(entries))


async def test_a_look_changes_nothing(durable_engine: Engine, tmp_path: Path) -> None:
    """What would be removed is counted by month, and nothing is kept or removed."""
    ledger = await durable_engine.open(tmp_path, Bounds())
    rows = await fill(ledger)
    await ledger.close()
    async with await prunable(durable_engine, tmp_path) as opened:
        found = await look(opened, BEFORE)
        assert (await opened.ledger.load())[1] == []
        assert (await opened.ledger.size()).records == sum(len(entries) for _, entries in rows)
    old = [entry for _, entries in rows for entry in old_of(entries)]
    assert found.records == len(old)
    assert found.months == {
        "2025-12": sum(entry.key.hour < start_of_month("2026-01") // HOUR for entry in old),
        "2026-01": sum(entry.key.hour >= start_of_month("2026-01") // HOUR for entry in old),
    }


async def test_pruning_again_finds_nothing(durable_engine: Engine, tmp_path: Path) -> None:
    """Called again with the same words, or for an earlier month, it removes nothing and says so."""
    ledger = await durable_engine.open(tmp_path, Bounds())
    await fill(ledger)
    await ledger.close()
    first = await pruned(durable_engine, tmp_path)
    again = await pruned(durable_engine, tmp_path)
    assert again == Done(first.archive, 0, 0)
    (tmp_path / "old.jsonl").unlink()
    assert await pruned(durable_engine, tmp_path, "2026-01") == Done(None, 0, 0)
    assert not (tmp_path / "old.jsonl").exists()


async def test_a_pruned_ledger_can_be_copied(tmp_path: Path) -> None:
    """What was pruned is copied as any other ledger: the same positions, counts, sums and claims, and none more."""
    sqlite, postgres = (engine for engine in ENGINES if engine.durable)
    ledger = await sqlite.open(tmp_path, Bounds())
    await fill(ledger)
    await ledger.close()
    await pruned(sqlite, tmp_path)
    ledger, remote = await sqlite.open(tmp_path, Bounds()), await open_postgres(await place_url(tmp_path))
    copied = await copy_ledger(SqlitePlace(ledger, tmp_path / "ledger.db"), remote, lambda _done, _total: None)
    assert copied.records == (await ledger.size()).records
    for partition in (HERE, THERE):
        assert await rows_of(remote, partition) == await rows_of(ledger, partition)
    await ledger.close()
    await remote.close()
    assert (await pruned(postgres, tmp_path)).removed_records == 0


async def test_the_log_stays_short(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many batches there are, the log of a file holds but a few of them."""
    monkeypatch.setattr(sqlite_pruning, "BATCH_RECORDS", 2)
    monkeypatch.setattr(sqlite_pruning, "CARRIED_BATCHES", 2)
    engine = next(one for one in ENGINES if one.name == "sqlite")
    ledger = await engine.open(tmp_path, Bounds())
    await fill(ledger)
    await ledger.close()
    log, sizes = tmp_path / "ledger.db-wal", []

    def measure(_done: int, _total: int | None, what: str) -> None:
        if what == "Records are removed":
            sizes.append(log.stat().st_size)

    async with open_prunable_sqlite(tmp_path / "ledger.db") as opened:
        await prune(opened, BEFORE, tmp_path / "old.jsonl", NOW, measure)
    assert len(sizes) > 12
    assert sizes[-1] < 2 * sizes[3]


class Died(Exception):
    """Stands for a power cut."""


async def test_what_was_interrupted_goes_on(
    durable_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Interrupted after each batch, the same call goes on, and in the end all is gone, and once."""
    for module in (sqlite_pruning, postgres_pruning):
        monkeypatch.setattr(module, "BATCH_RECORDS", 4)
    ledger = await durable_engine.open(tmp_path, Bounds())
    rows = await fill(ledger)
    await ledger.close()
    old = sum(len(old_of(entries)) for _, entries in rows)
    removed: list[int] = []

    def die(done: int, _total: int | None, what: str) -> None:
        if what == "Records are removed":
            removed.append(done)
            raise Died

    for _ in range(3):
        async with await prunable(durable_engine, tmp_path) as opened:
            with pytest.raises(Died):
                await prune(opened, BEFORE, tmp_path / "old.jsonl", NOW, die)
    done = await pruned(durable_engine, tmp_path)
    assert sum(removed) + done.removed_records == old
    assert done.archive is not None
    assert done.archive.records == old


DYING: Final = """
import asyncio, os, signal, sys
from pathlib import Path
from meterhouse.ledger import postgres_pruning, pruning, sqlite_pruning

kind, where, file, last = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
sqlite_pruning.BATCH_RECORDS = postgres_pruning.BATCH_RECORDS = 20
pruning.SCANNED_ROWS = 20
steps = 0

def step(*_):
    global steps
    steps += 1
    if steps == last:
        os.kill(os.getpid(), signal.SIGKILL)

async def main():
    opened = postgres_pruning.open_prunable_postgres(where) if kind == "postgres" else (
        sqlite_pruning.open_prunable_sqlite(Path(where)))
    async with opened as place:
        keep = place.ledger.change
        async def change(*given, **named):
            step()
            revision = await keep(*given, **named)
            step()
            return revision
        place.ledger.change = change
        await pruning.prune(place, "%s", file, %d, step)

asyncio.run(main())
"""


async def test_killed_at_every_step_it_goes_on(durable_engine: Engine, tmp_path: Path) -> None:
    """`kill -9` at each step in turn, before and after each commit: nothing is lost, and what stays adds up."""
    ledger = await durable_engine.open(tmp_path, Bounds())
    rows = await fill(ledger)
    await ledger.close()
    where = await place_url(tmp_path) if durable_engine.name == "postgres" else str(tmp_path / "ledger.db")
    file = tmp_path / "old.jsonl"
    text = DYING % (BEFORE, NOW)
    for last in range(1, 40):
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", text, durable_engine.name, where, str(file), str(last), cwd=ROOT
        )
        if await process.wait() == 0:
            break
        assert process.returncode == -9
    else:
        raise AssertionError("it never came to an end")
    assert last > 3
    old = [entry for _, entries in rows for entry in old_of(entries)]
    assert read_archive(file).records == len(old)
    ledger = await durable_engine.open(tmp_path, Bounds())
    assert (await ledger.size()).records == sum(len(entries) for _, entries in rows) - len(old)
    await ledger.close()
    if durable_engine.name == "sqlite":
        assert read_back(tmp_path / "ledger.db").records == sum(len(entries) for _, entries in rows) - len(old)


async def test_servers_go_on_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PostgreSQL turns of the same partition are kept between the batches, at gapless positions."""
    monkeypatch.setattr(postgres_pruning, "BATCH_RECORDS", 4)
    engine = next(one for one in ENGINES if one.name == "postgres")
    ledger = await engine.open(tmp_path, Bounds())
    await fill(ledger)
    position = (await rows_of(ledger, HERE))[-1].position
    between = 0

    async def prune_slowly() -> Done:
        async with await prunable(engine, tmp_path) as opened:
            real = opened.remove

            async def remove(hour: int, positions: Any) -> AsyncIterator[int]:
                nonlocal between
                async for count in real(hour, positions):
                    revision, _ = await ledger.load()
                    await keep(ledger, [entry_of(key_of(FIRST_KEPT + 1000 + between))], revision=revision)
                    between += 1
                    yield count

            monkeypatch.setattr(opened, "remove", remove)
            return await prune(opened, BEFORE, tmp_path / "old.jsonl", NOW, quiet)

    done = await prune_slowly()
    assert done.archive is not None
    assert done.removed_records == done.archive.records
    assert between > 3
    found = await rows_of(ledger, HERE)
    assert [row.position for row in found] == list(range(1, position + between + 1))
    counted = sum(len(row.entries) for row in found) + sum(len(row.entries) for row in await rows_of(ledger, THERE))
    assert (await ledger.size()).records == counted
    await ledger.close()


async def change(ledger: Ledger, *documents: Document) -> None:
    """Keeps documents."""
    revision, _ = await ledger.load()
    await ledger.change(documents, expected=revision)


async def test_an_export_of_anything_else_will_not_do(
    durable_engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is cut, changed, of another month or of another state of the ledger removes nothing."""
    file = tmp_path / "old.jsonl"
    ledger = await durable_engine.open(tmp_path, Bounds())
    await fill(ledger)
    await ledger.close()

    async with await prunable(durable_engine, tmp_path) as opened:
        size = (await opened.ledger.size())[:2]

        def fails(_hour: int, _positions: Any) -> AsyncIterator[int]:
            raise Died

        # An export of the month before is made, and its pruning dies; then its mark is taken back.
        with monkeypatch.context() as dying:
            dying.setattr(opened, "remove", fails)
            with pytest.raises(Died):
                await prune(opened, "2026-01", file, NOW, quiet)
        with pytest.raises(CannotPrune, match="the pruning before 2026-01 has not ended"):
            await prune(opened, BEFORE, tmp_path / "other.jsonl", NOW, quiet)
        whole = file.read_bytes()
        for text, reason in (
            (whole[:-1], "no whole export"),
            (whole[: whole.rindex(b"\n", 0, -1) + 1], "no whole export"),
            (whole.replace(b'"quantity":"1099511', b'"quantity":"2099511', 1), "damaged"),
            (whole.replace(b"user/m", b"user/n", 1), "damaged"),
            (b"", "no whole export"),
        ):
            file.write_bytes(text)
            with pytest.raises(NotAnArchive, match=reason):
                await prune(opened, "2026-01", file, NOW, quiet)
        file.unlink()
        with pytest.raises(CannotPrune, match="is not there: name that export"):
            await prune(opened, "2026-01", file, NOW, quiet)
        await change(opened.ledger, Document(PRUNED_KIND, "", None))
        file.write_bytes(whole)
        with pytest.raises(CannotPrune, match="is the export of what is before 2026-01, not 2026-02"):
            await prune(opened, BEFORE, file, NOW, quiet)
        assert (await opened.ledger.size())[:2] == size
        revision, _ = await opened.ledger.load()
        await keep(opened.ledger, [entry_of(key_of(FIRST_KEPT - 900, "999999999999"))], revision=revision)
        with pytest.raises(CannotPrune, match="its counts or sums differ"):
            await prune(opened, "2026-01", file, NOW, quiet)


async def test_a_ledger_whose_clock_was_moved_is_not_pruned(durable_engine: Engine, tmp_path: Path) -> None:
    """Where a clock was moved old usage may still come, so nothing is pruned until it is real again."""
    ledger = await durable_engine.open(tmp_path, Bounds())
    await change(ledger, Document("clock", "111122223333", b"x"))
    await ledger.close()
    with pytest.raises(CannotPrune, match="a clock of this ledger was moved"):
        await pruned(durable_engine, tmp_path)


def test_no_window_reaches_a_month_that_can_be_pruned() -> None:
    """A month may be pruned only when no profile takes its usage any more, by clocks that are off by a day."""
    for profile in PROFILES.values():
        longest = max(profile.batch_window_seconds, profile.meter_window_seconds) + profile.future_seconds
        assert longest + 3600 + 20 * 3600 < SETTLED_SECONDS
        assert profile.month_grace_seconds < SETTLED_SECONDS


@pytest.mark.parametrize(
    ("before", "now_micros", "reason"),
    [
        ("2026-03", NOW, "can still be sent again"),
        ("2026-03", NOW + SETTLED_SECONDS * SECOND - 1, "can still be sent again"),
        ("2026-13", NOW, "is no month"),
        ("2026-1", NOW, "is no month"),
        ("soon", NOW, "is no month"),
    ],
)
async def test_only_whole_old_months_are_pruned(tmp_path: Path, before: str, now_micros: int, reason: str) -> None:
    """What is no month, or one whose usage can still come, is refused before anything is looked at."""
    async with open_prunable_sqlite(tmp_path / "ledger.db") as opened:
        with pytest.raises(CannotPrune, match=reason):
            await prune(opened, before, tmp_path / "old.jsonl", now_micros, quiet)
        assert not (tmp_path / "old.jsonl").exists()
