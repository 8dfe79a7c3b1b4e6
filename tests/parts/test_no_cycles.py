"""What a request leaves behind: no ring of objects, so that its memory is free at once and not at the next search.

A refusal is an exception, an exception holds the frames it came through, and a frame that still names the exception
closes a ring that holds the request with its body. The server looks for rings seldom (`server/serving.py`), because
there are none: that is what is shown here, for each way in which a request can end.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.unit.control_market import BOX, BUYER, NOW_SECONDS, PIPELINE, SELLER, furnish, record
from tests.unit.control_server import served

TASK = "the workload"
"""Stands for the access key of the task that the test starts."""


def batch(said: dict[str, Any]) -> dict[str, Any]:
    """A batch of one record."""
    return {"UsageRecords": [said], "ProductCode": PIPELINE}


_RECORD = record()
_METERED = {"ProductCode": BOX, "Timestamp": NOW_SECONDS, "UsageDimension": "requests", "UsageQuantity": 5}

# How it ends, what is sent (operation, body, signer), the status.
ENDS: list[tuple[str, tuple[str, Any, str], int]] = [
    ("kept", ("BatchMeterUsage", batch(_RECORD), SELLER), 200),
    ("a conflict", ("BatchMeterUsage", batch(record(quantity=77)), SELLER), 200),
    ("refused by a gate", ("BatchMeterUsage", batch(_RECORD), "AKIDNOBODY0000000000"), 400),
    ("no JSON", ("BatchMeterUsage", "nonsense", SELLER), 400),
    ("a breach", ("BatchMeterUsage", batch({**_RECORD, "Quantity": -1}), SELLER), 400),
    ("a wrong type", ("BatchMeterUsage", batch({**_RECORD, "Quantity": "5"}), SELLER), 400),
    ("an unknown dimension", ("BatchMeterUsage", batch(record("nonsense")), SELLER), 400),
    ("too old", ("BatchMeterUsage", batch(record(hours_ago=100)), SELLER), 400),
    ("an unknown token", ("ResolveCustomer", {"RegistrationToken": "nonsense"}, SELLER), 400),
    ("metered", ("MeterUsage", _METERED, TASK), 200),
    ("refused inside the turn", ("MeterUsage", {**_METERED, "UsageQuantity": 6}, TASK), 400),
]


@contextmanager
def no_search() -> Iterator[None]:
    """Garbage is not looked for meanwhile."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@pytest.mark.parametrize("durable", [False, True])
@pytest.mark.parametrize(("asked", "status"), [row[1:] for row in ENDS], ids=[row[0] for row in ENDS])
async def test_a_request_leaves_no_ring(
    tmp_path: Path, asked: tuple[str, Any, str], status: int, *, durable: bool
) -> None:
    """However a request ends, nothing of it stays in memory until garbage is looked for."""
    async with served(tmp_path if durable else None) as server:
        await furnish(server)
        workload = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "resource_id": "task/1"}
        started = await server.made("/workloads", workload)
        operation, body, signer = asked
        key = started["credentials"]["access_key_id"] if signer == TASK else signer
        await server.meter("MeterUsage", _METERED, started["credentials"]["access_key_id"])
        await server.meter(operation, body, key)
        with no_search():
            answer = await server.meter(operation, body, key)
            assert (answer.status, gc.collect()) == (status, 0), answer.body
