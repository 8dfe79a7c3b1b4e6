"""Promise 5, as far as reopening goes (`tests/simulation` takes the power away): durable engines alone."""

import asyncio
from pathlib import Path

from meterhouse.core.usage import ClaimKey, Kept
from meterhouse.ledger.protocol import Document, Keys, RecordFilter
from tests.contract.engines import Bounds, Engine
from tests.contract.usage import HERE, THERE, entry_of, keep, key_of, look


async def test_reopening_finds_everything(durable_engine: Engine, tmp_path: Path) -> None:
    """5: records, claims, journals, sums, documents and the revision are there after reopening, and go on."""
    ledger = await durable_engine.open(tmp_path, Bounds())
    entries = [entry_of(key_of(customer=str(number)), number) for number in range(40)]
    claim = ClaimKey("token", "abc")
    await ledger.change([Document("p", "a", b"1"), Document("p", "b", None)], expected=0)
    await asyncio.gather(*(keep(ledger, [entry], revision=1) for entry in entries))
    await keep(ledger, [entry_of(key_of())], [(claim, b"v")], partition=THERE, revision=1)
    before = [
        await ledger.scan(HERE, after=0, limit=99),
        await ledger.history(RecordFilter(), after=None, limit=99),
        await ledger.sums(RecordFilter()),
        (await ledger.size())[:2],
        await ledger.load(),
        await ledger.changes(0),
    ]
    await ledger.close()

    ledger = await durable_engine.open(tmp_path, Bounds())
    assert before == [
        await ledger.scan(HERE, after=0, limit=99),
        await ledger.history(RecordFilter(), after=None, limit=99),
        await ledger.sums(RecordFilter()),
        (await ledger.size())[:2],
        await ledger.load(),
        await ledger.changes(0),
    ]
    seen = await look(ledger, Keys([entry.key for entry in entries]), revision=1)
    assert list(seen.records.values()) == [Kept(entry.quantity_micros, entry.record_id) for entry in entries]
    assert (await look(ledger, Keys((), [claim]), partition=THERE, revision=1)).claims == {claim: b"v"}
    again = await keep(ledger, [entry_of(entries[0].key), entry_of(key_of(customer="new"))], revision=1)
    assert again[0] == Kept(entries[0].quantity_micros, entries[0].record_id)
    assert [row.position for row in await ledger.scan(HERE, after=38, limit=9)] == [39, 40, 41]
    await ledger.close()
