"""The engines that the contract is asked of. A new engine is one row here, and brings no test of its own."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import NamedTuple

from meterhouse.ledger.gather import OnGroup, tell_nobody
from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.postgres import open_postgres
from meterhouse.ledger.protocol import Ledger
from meterhouse.ledger.sqlite import open_sqlite
from tests.postgres import place_url


class Bounds(NamedTuple):
    """How turns are gathered; the defaults are small, so that tests meet them."""

    group_turns: int = 16
    queue_turns: int = 4096
    wait_seconds: float = 30.0
    on_group: OnGroup = tell_nobody


class Engine(NamedTuple):
    """One engine: how it is opened at a place (again at the same place: reopened), and whether reopening keeps all."""

    name: str
    durable: bool
    open: Callable[[Path, Bounds], Awaitable[Ledger]]


async def _memory(_: Path, bounds: Bounds) -> Ledger:
    return await open_memory(**bounds._asdict())


async def _sqlite(place: Path, bounds: Bounds) -> Ledger:
    return await open_sqlite(place / "ledger.db", **bounds._asdict())


async def _postgres(place: Path, bounds: Bounds) -> Ledger:
    return await open_postgres(await place_url(place), **bounds._asdict())


ENGINES = (
    Engine("memory", durable=False, open=_memory),
    Engine("sqlite", durable=True, open=_sqlite),
    Engine("postgres", durable=True, open=_postgres),
)
