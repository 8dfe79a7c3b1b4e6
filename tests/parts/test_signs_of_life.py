"""Calls as signs of life: whoever has `heartbeat_seconds` lives for as long as it is heard of (contract §7)."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.protocol import Document, Ledger, LedgerFailure
from meterhouse.service.catalog_file import LOADED_KIND, Circumstances, load
from meterhouse.service.places import Source
from meterhouse.service.reading import read_catalog
from tests.unit.control_market import BOX, BUYER, NOW, NOW_SECONDS, OTHER_BUYER, furnish
from tests.unit.control_server import ControlServer, Dropped, served

TASK: Final = "/workloads/task%2F1"
HEARTBEAT: Final = 60
USAGE: Final[dict[str, Any]] = {
    "ProductCode": BOX,
    "Timestamp": NOW_SECONDS,
    "UsageDimension": "requests",
    "UsageQuantity": 1,
}


async def begin(server: ControlServer, account: str = BUYER, **more: Any) -> str:
    """A task with a heartbeat; its access key."""
    await furnish(server)
    task = {"platform": "ecs", "account": account, "region": "us-east-1", "resource_id": "task/1"}
    started = await server.made("/workloads", task | {"heartbeat_seconds": HEARTBEAT} | more)
    key: str = started["credentials"]["access_key_id"]
    return key


async def last_seen(server: ControlServer) -> str | None:
    """When the task was last heard of."""
    seen: str | None = (await server.made(TASK, method="GET"))["last_seen"]
    return seen


async def advance(server: ControlServer, seconds: float) -> None:
    """Time passes."""
    await server.made("/clock", {"advance_seconds": seconds}, "PUT")


async def seconds_metered(server: ControlServer) -> str:
    """How long the task has run for the box."""
    (registered,) = (await server.made(TASK, method="GET"))["registered"]
    seconds: str = registered["seconds"]
    return seconds


async def test_calls_keep_a_task_alive() -> None:
    """It counts as ended at its last call once that is `heartbeat_seconds` ago; a later call takes that back."""
    async with served(signs=False) as server:
        key = await begin(server)
        await server.meter("RegisterUsage", {"ProductCode": BOX, "PublicKeyVersion": 1}, key)
        await advance(server, 50)
        assert (await server.meter("MeterUsage", USAGE, key)).status == 200
        await advance(server, HEARTBEAT - 1)
        assert await seconds_metered(server) == "109"
        await advance(server, 1)
        assert await seconds_metered(server) == "60"  # 50 seconds, and the shortfall of the minimum
        await advance(server, 1000)
        assert await seconds_metered(server) == "60"
        assert (await server.meter("MeterUsage", USAGE, key)).status == 200
        assert await seconds_metered(server) == "1110"


# operation, request, the answer's status: each by an authenticated task
CALLS: Final[list[tuple[str, dict[str, Any], int]]] = [
    ("MeterUsage", USAGE, 200),
    ("MeterUsage", USAGE | {"DryRun": True}, 200),
    ("RegisterUsage", {"ProductCode": BOX, "PublicKeyVersion": 1}, 200),
    ("MeterUsage", USAGE | {"Timestamp": "nonsense"}, 400),
    ("MeterUsage", {}, 400),
    ("MeterUsage", USAGE | {"ProductCode": "no-such-code"}, 400),
    ("MeterUsage", USAGE | {"UsageDimension": "hosts"}, 400),
    ("RegisterUsage", {"ProductCode": BOX, "PublicKeyVersion": 9}, 400),
    ("BatchMeterUsage", {"UsageRecords": []}, 200),
    ("ResolveCustomer", {"RegistrationToken": "nonsense"}, 400),
]


@pytest.mark.parametrize(("operation", "request_body", "status"), CALLS)
async def test_every_call_is_a_sign_whatever_its_end(operation: str, request_body: dict[str, Any], status: int) -> None:
    """What counts is who called, not what for."""
    async with served(signs=False) as server:
        key = await begin(server)
        assert await last_seen(server) is None
        await advance(server, 30)
        assert (await server.meter(operation, request_body, key)).status == status
        assert await last_seen(server) == "2026-11-21T12:00:30Z"


@pytest.mark.parametrize("fault", ["throttle", "internal", "unavailable", "disconnect", "lose_answer"])
async def test_a_struck_call_is_a_sign_too(fault: str) -> None:
    """An injected fault makes the answer fail, not the caller."""
    async with served() as server:
        key = await begin(server)
        await server.made("/faults", {"operation": "MeterUsage", "fault": fault})
        try:
            await server.meter("MeterUsage", USAGE, key)
        except Dropped:
            assert fault in ("disconnect", "lose_answer")
        assert await last_seen(server) == NOW


async def test_only_whoever_lapses_is_noted() -> None:
    """A task that lives until it is ended costs no change of the catalog."""
    async with served() as server:
        key = await begin(server, heartbeat_seconds=None)
        revision = server.parts.market.catalog.revision
        assert (await server.meter("MeterUsage", USAGE, key)).status == 200
        assert await last_seen(server) is None
        assert server.parts.market.catalog.revision == revision


async def test_an_ended_task_is_no_longer_heard() -> None:
    """Its credentials are refused, and nothing of it changes."""
    async with served() as server:
        key = await begin(server)
        ended = await server.made(f"{TASK}/end")
        await advance(server, 10)
        answer = await server.meter("MeterUsage", USAGE, key)
        assert (answer.status, answer.json["__type"]) == (400, "ExpiredTokenException")
        assert await server.made(TASK, method="GET") == ended


async def test_a_task_of_another_is_not_heard() -> None:
    """A call is a sign of the workload that signed it alone."""
    async with served() as server:
        await begin(server)
        other = {"platform": "ecs", "account": OTHER_BUYER, "region": "us-east-1", "heartbeat_seconds": HEARTBEAT}
        key = (await server.made("/workloads", other))["credentials"]["access_key_id"]
        await server.meter("MeterUsage", USAGE, key)
        await server.meter("MeterUsage", USAGE, BUYER)
        assert await last_seen(server) is None


async def test_signs_are_dated_by_the_account_s_clock_and_never_go_back() -> None:
    """The account's own clock; one that is set back leaves the last sign as it is."""
    async with served() as server:
        key = await begin(server)
        for now, expected in (("13:00:00", "13:00:00"), ("12:30:00", "13:00:00"), ("13:00:01", "13:00:01")):
            await server.made(f"/clock?account={BUYER}", {"now": f"2026-11-21T{now}Z"}, "PUT")
            await server.meter("MeterUsage", USAGE, key)
            assert await last_seen(server) == f"2026-11-21T{expected}Z"


class Counting:
    """A ledger that counts changes of documents, and fails them when it is told to."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.changes_made = 0
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def change(self, documents: Sequence[Document], *, expected: int) -> int:
        """As the ledger's."""
        if self.fails:
            raise LedgerFailure("the disk is full")
        self.changes_made += 1
        return await self._ledger.change(documents, expected=expected)


async def test_signs_that_come_together_are_kept_together() -> None:
    """A hundred calls at once by ten tasks are answered, and cost a handful of changes."""
    ledger = Counting(await open_memory())
    async with served(ledger=ledger) as server:
        await furnish(server)
        task = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "heartbeat_seconds": HEARTBEAT}
        keys = [(await server.made("/workloads", task))["credentials"]["access_key_id"] for _ in range(10)]
        await advance(server, 10)
        before = ledger.changes_made
        answers = await asyncio.gather(*(server.meter("MeterUsage", USAGE, key) for key in keys * 10))
        assert [answer.status for answer in answers] == [200] * 100
        assert ledger.changes_made - before <= 5
        seen = [one["last_seen"] for one in await server.listed("/workloads")]
        assert seen == ["2026-11-21T12:00:10Z"] * 10


async def test_an_answer_waits_until_the_sign_is_kept() -> None:
    """Where it cannot be kept the call is refused, retrying is safe, and the usage is counted once."""
    ledger = Counting(await open_memory())
    async with served(ledger=ledger) as server:
        key = await begin(server)
        ledger.fails = True
        refused = await server.meter("MeterUsage", USAGE, key)
        assert (refused.status, refused.json["__type"]) == (503, "ServiceUnavailable")
        ledger.fails = False
        assert (await server.meter("MeterUsage", USAGE, key)).status == 200
        assert len(await server.listed("/records")) == 1
        assert await last_seen(server) == NOW


async def test_a_sign_outlives_the_server(tmp_path: Path) -> None:
    """It is in the ledger when the server is started again."""
    async with served(tmp_path) as server:
        key = await begin(server)
        await server.meter("MeterUsage", USAGE, key)
    async with served(tmp_path) as server:
        assert await last_seen(server) == NOW


OPEN: Final = f"""
[open]
account = "{BUYER}"
region = "us-east-1"
[open.workload]
platform = "ecs"
resource_id = "task/1"
region = "us-east-1"
heartbeat_seconds = {HEARTBEAT}
"""


async def test_the_open_workload_lives_and_ends_like_any_other(tmp_path: Path) -> None:
    """Whoever signs with no known key is heard of as it, and refused once it was ended, also after a restart."""
    async with served(tmp_path) as server:
        await furnish(server)
        await server.parts.market.change(lambda catalog: opened(server, catalog))
        assert (await server.meter("MeterUsage", USAGE, "anybody")).status == 200
        assert await last_seen(server) == NOW
        await server.made(f"{TASK}/end")
        assert (await server.meter("MeterUsage", USAGE, "anybody")).json["__type"] == "ExpiredTokenException"
    async with served(tmp_path) as server:
        assert (await server.meter("MeterUsage", USAGE, "anybody")).json["__type"] == "ExpiredTokenException"


def opened(server: ControlServer, catalog: Any) -> Any:
    """`[open]` loaded from a file, the only way there is."""
    market = server.parts.market
    circumstances = Circumstances(Source.FILE, market.settings(LOADED_KIND), market.seal.fingerprint, {})
    return load(read_catalog(OPEN, "catalog.toml"), catalog, circumstances, server.parts.sources)
