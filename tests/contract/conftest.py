"""Every test of this folder is run with every engine."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from meterhouse.ledger.protocol import Ledger
from tests.contract.engines import ENGINES, Bounds, Engine


@pytest.fixture(params=ENGINES, ids=lambda engine: engine.name)
def engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine in turn."""
    found: Engine = request.param
    return found


@pytest.fixture(params=[engine for engine in ENGINES if engine.durable], ids=lambda engine: engine.name)
def durable_engine(request: pytest.FixtureRequest) -> Engine:
    """Each engine that declares itself durable."""
    found: Engine = request.param
    return found


@pytest.fixture
async def ledger(engine: Engine, tmp_path: Path) -> AsyncIterator[Ledger]:
    """An open, empty ledger."""
    opened = await engine.open(tmp_path, Bounds())
    yield opened
    await opened.close()
