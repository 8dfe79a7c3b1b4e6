"""What a type checker says of programs that use the client: misuse is refused before it runs.

Each line of `MISUSED` that ends in a marker must be refused, with that code, and every other line must pass. mypy looks
as strictly as it does at this project itself.
"""

import re
import sys
from pathlib import Path

import pytest
from mypy import api

MISUSED = """
import asyncio
from datetime import UTC, datetime
from decimal import Decimal
from typing import assert_never

from meterhouse import (
    Accepted,
    AsyncMeteringClient,
    BatchResult,
    Conflicted,
    MeteringClient,
    NotSubscribed,
    RecordOutcome,
    Refused,
    Replayed,
    Unsent,
    UsageRecord,
)

client = MeteringClient(region="us-east-1")
records = [UsageRecord(timestamp=datetime.now(UTC), dimension="users", quantity=1, customer_aws_account_id="4")]


def as_success() -> bool:
    return client.batch_meter_usage(records, product_code="p")  # refused: return-value


def as_condition(result: BatchResult) -> None:
    if result:
        print("all billed")  # refused: unreachable


def as_condition_of_one(result: BatchResult) -> None:
    success: bool = result  # refused: assignment
    same: bool = result == True  # refused: comparison-overlap


def as_results(result: BatchResult) -> list[str]:
    return [outcome.metering_record_id for outcome in result]  # refused: union-attr


def as_list_of_ids(result: BatchResult) -> None:
    print(result.results)  # refused: attr-defined
    print(result.metering_record_ids)  # refused: attr-defined


def as_sum(result: BatchResult) -> int:
    return sum(1 for outcome in result if outcome.status == "Success")  # refused: union-attr


def with_a_group_forgotten(outcome: RecordOutcome) -> str:
    match outcome:
        case Accepted() | Replayed():
            return outcome.metering_record_id
        case Conflicted() | NotSubscribed():
            return "no"
        case Refused():
            return outcome.reason.message
    assert_never(outcome)  # refused: arg-type


def with_every_group(outcome: RecordOutcome) -> str:
    match outcome:
        case Accepted() | Replayed():
            return outcome.metering_record_id
        case Conflicted() | NotSubscribed():
            return "no"
        case Refused() | Unsent():
            return outcome.reason.message
    assert_never(outcome)


def a_rejected_record_has_no_id(result: BatchResult) -> list[str]:
    ids = [outcome.metering_record_id for outcome in result.accepted]
    ids += [outcome.metering_record_id for outcome in result.rejected]  # refused: union-attr
    return ids


def a_float() -> UsageRecord:
    return UsageRecord(timestamp=datetime.now(UTC), dimension="users", quantity=0.5)  # refused: arg-type


def no_quantity() -> UsageRecord:
    return UsageRecord(timestamp=datetime.now(UTC), dimension="users")  # refused: call-arg


def decimals() -> UsageRecord:
    return UsageRecord(timestamp=datetime.now(UTC), dimension="users", quantity=Decimal("0.5"))


def changed() -> None:
    records[0].quantity = 2  # refused: misc


def misspelt() -> None:
    MeteringClient(regoin="us-east-1")  # refused: call-arg


async def forgotten(tasks: AsyncMeteringClient) -> None:
    tasks.batch_meter_usage(records)  # refused: unused-coroutine


def plainly(one: MeteringClient) -> None:
    answer = one.batch_meter_usage_once(records)
    for each in answer.results:
        record_id: str = each.metering_record_id  # refused: assignment
        if each:
            print("billed")  # refused: unreachable


asyncio.run(forgotten(AsyncMeteringClient()))
"""

_MARKER = re.compile(r"# refused: ([\w-]+)$")
_SAID = re.compile(r"^[^:]+:(\d+): error: .*\[([\w-]+)\]$", re.MULTILINE)


@pytest.fixture(scope="module")
def said(tmp_path_factory: pytest.TempPathFactory) -> dict[int, set[str]]:
    """What mypy says, by line."""
    program = tmp_path_factory.mktemp("typing") / "program.py"
    program.write_text(MISUSED)
    options = ["--strict", "--warn-unreachable", "--no-error-summary", "--python-executable", sys.executable]
    cache = Path(__file__).resolve().parents[2] / ".mypy_cache" / "typing"
    told, troubles, _ = api.run([*options, "--config-file", "", "--cache-dir", str(cache), str(program)])
    assert not troubles
    lines: dict[int, set[str]] = {}
    for number, code in _SAID.findall(told):
        lines.setdefault(int(number), set()).add(code)
    return lines


LINES = list(enumerate(MISUSED.splitlines(), 1))


@pytest.mark.parametrize(("number", "line"), [(number, line) for number, line in LINES if _MARKER.search(line)])
def test_misuse_is_refused(said: dict[int, set[str]], number: int, line: str) -> None:
    """A checker objects to this very line, for this very reason."""
    marker = _MARKER.search(line)
    assert marker is not None
    assert marker[1] in said.get(number, set())


def test_good_use_is_not(said: dict[int, set[str]]) -> None:
    """No other line is objected to."""
    assert {number for number, line in LINES if _MARKER.search(line)} == set(said)
