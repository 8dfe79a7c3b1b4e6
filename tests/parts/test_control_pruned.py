"""What readers are told while old months are being removed."""

from typing import Any

from meterhouse.core.pruned import PRUNED_KEY, PRUNED_KIND, Pruned, body_of
from meterhouse.ledger.protocol import Document
from meterhouse.service.draft import Change
from tests.unit.control_market import BOX, BUYER, batch, furnish, record
from tests.unit.control_server import ControlServer, served


async def mark(server: ControlServer, *, done: bool) -> None:
    """Says that what is before December is pruned, or is about to be."""
    document = Document(PRUNED_KIND, PRUNED_KEY, body_of(Pruned("2026-12", "", done)))
    await server.parts.market.change(lambda _catalog: Change([document], None))


async def told(server: ControlServer) -> tuple[list[Any], list[Any], list[Any]]:
    """Quantities of records, of all in the CSV, and of totals."""
    records = await server.listed("/records")
    sheet = await server.ask("GET", "/records?format=csv")
    totals = await server.listed("/records?totals=true")
    return (
        [(one["dimension"], one["quantity"]) for one in records],
        sheet.body.decode().splitlines()[1:],
        [(one["month"], one["dimension"], one["quantity"]) for one in totals],
    )


async def test_nobody_reads_half_a_month() -> None:
    """From the moment that a month is about to be removed nothing of it is told, but for what RegisterUsage began."""
    async with served(signs=False) as server:
        await furnish(server)
        await server.made("/clock", {"now": "2026-11-30T22:00:00Z"}, "PUT")
        task = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "resource_id": "task/1"}
        key = (await server.made("/workloads", task))["credentials"]["access_key_id"]
        assert (await server.meter("RegisterUsage", {"ProductCode": BOX, "PublicKeyVersion": 1}, key)).status == 200
        await batch(server, record(quantity=5) | {"Timestamp": 1_796_076_000})  # 2026-11-30T22:00:00Z
        await server.made("/clock", {"now": "2026-12-01T01:00:00Z"}, "PUT")
        await batch(server, record(quantity=7) | {"Timestamp": 1_796_086_800})
        registered = [("", "3600"), ("", "3600"), ("", "3600")]
        before = await told(server)
        assert before[0] == [*registered, ("users", "5"), ("users", "7")]
        assert before[2] == [("2026-11", "", "7200"), ("2026-11", "users", "5"), *before[2][2:]]
        await mark(server, done=False)
        after = await told(server)
        assert after[0] == [*registered, ("users", "7")]
        assert len(after[1]) == 4
        assert after[2] == [row for row in before[2] if row != ("2026-11", "users", "5")]
        assert (await server.listed("/records?totals=true&to=2026-11-30T23:30:00Z&dimension=users")) == []
        await mark(server, done=True)
        assert await told(server) == before, "what is there is told: a pruning that is done has taken it"
