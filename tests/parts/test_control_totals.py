"""What tasks ran, hour by hour, and what everything adds up to: exact, and the same whichever way it is read."""

import asyncio
import csv
import io
from collections import defaultdict
from datetime import UTC, date, datetime
from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterhouse.core.catalog import Platform, Workload
from meterhouse.core.moment import HOUR, SECOND, hour_of, micros_of_rfc3339, month_of_hour
from meterhouse.core.running import end_micros_of, hours_of_running
from meterhouse.service.readback import Wanted
from meterhouse.service.totals import seconds_by_month
from tests.unit.control_market import (
    BOX,
    BUYER,
    CUSTOMER,
    LAKE,
    LICENSE,
    OTHER_BUYER,
    PIPELINE,
    SELLER,
    batch,
    furnish,
    record,
)
from tests.unit.control_server import ControlServer, served

EXACT = Context(prec=200)


async def clock(server: ControlServer, now: str) -> None:
    """Freezes the clock for all."""
    await server.made("/clock", {"now": now}, "PUT")


async def register(server: ControlServer, resource_id: str, account: str = BUYER, **more: Any) -> str:
    """Starts a task that registers for the box; the path by which it is asked for."""
    task = {"platform": "ecs", "account": account, "region": "us-east-1", "resource_id": resource_id}
    key = (await server.made("/workloads", task | more))["credentials"]["access_key_id"]
    for _ in range(2):
        answer = await server.meter("RegisterUsage", {"ProductCode": BOX, "PublicKeyVersion": 1}, key)
        assert answer.status == 200, answer.body
    return f"/workloads/{resource_id.replace('/', '%2F')}"


async def test_a_task_is_metered_hour_by_hour(tmp_path: Path) -> None:
    """A registered task has a record an hour, by the second, whose ids stay the same, also across a restart."""
    async with served(tmp_path, signs=False) as server:
        await furnish(server)
        await clock(server, "2026-11-30T22:59:00.5Z")
        path = await register(server, "task/1")
        await clock(server, "2026-12-01T00:00:30Z")
        running = await server.listed("/records")
        (row,) = await server.listed("/journal")
        assert [(one["timestamp"], one["hour"], one["quantity"]) for one in running] == [
            ("2026-11-30T22:59:00.500000Z", "2026-11-30T22:00:00Z", "60"),
            ("2026-11-30T23:00:00Z", "2026-11-30T23:00:00Z", "3600"),
            ("2026-12-01T00:00:00Z", "2026-12-01T00:00:00Z", "30"),
        ]
        assert running[0] | {"record_id": "", "timestamp": "", "hour": "", "quantity": ""} == {
            "record_id": "",
            "operation": "RegisterUsage",
            "product": BOX,
            "region": "us-east-1",
            "seller": SELLER,
            "buyer": BUYER,
            "customer_identifier": CUSTOMER,
            "license_arn": None,
            "dimension": "",
            "timestamp": "",
            "hour": "",
            "quantity": "",
            "unit": "seconds",
            "allocations": [],
            "resource_id": "task/1",
            "request_id": row["request_id"],
            "position": 1,
            "received": row["received"],
            "preview": False,
        }
        assert (row["operation"], row["records"]) == ("RegisterUsage", [])
        await server.made(f"{path}/end")
    async with served(tmp_path, signs=False) as server:
        await clock(server, "2026-12-05T00:00:00Z")
        ended = await server.listed("/records")
        assert ended == running
        assert len({one["record_id"] for one in ended}) == 3
        assert all(UUID(one["record_id"]).version == 5 for one in ended)


async def test_parts_of_a_task_that_runs_on() -> None:
    """A cursor within a task's hours stays good while it runs on: what is behind it then is each later hour, once."""
    async with served(signs=False) as server:
        await furnish(server)
        await register(server, "task/1")
        await batch(server, record("users", 1))
        await clock(server, "2026-11-21T15:30:00Z")
        part = await server.made("/records?limit=2", method="GET")
        assert [one["quantity"] for one in part["items"]] == ["3600", "3600"]
        await clock(server, "2026-11-21T17:00:01Z")
        rest = (await server.made(f"/records?after={part['next']}", method="GET"))["items"]
        assert [one["quantity"] for one in rest] == ["3600", "3600", "3600", "1", "1"]


FILTERS: list[tuple[str, list[str]]] = [
    ("", ["1800", "3600", "3600", "900"]),
    ("from=2026-11-21T12:30:00Z", ["1800", "3600", "3600", "900"]),
    ("from=2026-11-21T12:30:01Z", ["3600", "3600", "900"]),
    ("from=2026-11-21T14:00:00Z", ["3600", "900"]),
    ("from=2026-11-21T14:00:00.000001Z", ["900"]),
    ("from=2026-11-21T15:00:00Z", ["900"]),
    ("from=2026-11-21T15:00:01Z", []),
    ("to=2026-11-21T12:30:00Z", []),
    ("to=2026-11-21T12:30:01Z", ["1800"]),
    ("to=2026-11-21T14:00:00Z", ["1800", "3600"]),
    ("to=2026-11-21T14:00:00.000001Z", ["1800", "3600", "3600"]),
    ("from=2026-11-21T13:00:00Z&to=2026-11-21T15:00:00Z", ["3600", "3600"]),
    ("dimension=", ["1800", "3600", "3600", "900"]),
    ("dimension=requests", []),
    (f"customer={BUYER}&product={BOX}&region=us-east-1", ["1800", "3600", "3600", "900"]),
    (f"customer={OTHER_BUYER}", []),
    (f"customer={LICENSE}", []),
]


async def test_hours_are_found_by_their_own_time() -> None:
    """`from` and `to` judge each hour's own timestamp: the registration's instant, or the hour's beginning."""
    async with served(signs=False) as server:
        await furnish(server)
        await clock(server, "2026-11-21T12:30:00Z")
        path = await register(server, "task/1")
        await clock(server, "2026-11-21T15:15:00Z")
        await server.made(f"{path}/end")
        await clock(server, "2026-11-22T00:00:00Z")
        for query, quantities in FILTERS:
            assert [one["quantity"] for one in await server.listed(f"/records?limit=2&{query}")] == quantities, query
            totals = await server.listed(f"/records?totals=true&{query}")
            seconds = sum(int(quantity) for quantity in quantities)
            assert [total["quantity"] for total in totals] == ([str(seconds)] if quantities else []), query


async def test_what_a_workload_is_registered_for() -> None:
    """A workload shows since when it is metered for which product, how long and for what; a preview costs nothing."""
    async with served(signs=False) as server:
        await furnish(server)
        paths = [await register(server, f"task/{account}", account) for account in (SELLER, BUYER)]
        await clock(server, "2026-11-21T12:00:10Z")
        registered = {"product": BOX, "since": "2026-11-21T12:00:00Z", "seconds": "10"}
        amounts = ("0", "0.00033333")
        for path, amount in zip(paths, amounts, strict=True):
            shown = await server.made(path, method="GET")
            assert shown["registered"] == [registered | {"amount": amount}]
        assert [one["registered"][0]["amount"] for one in await server.listed("/workloads")] == list(amounts)
        assert (await server.made(f"{paths[0]}/end"))["registered"][0]["seconds"] == "60"
        await clock(server, "2026-11-21T14:00:00Z")
        assert [one["registered"][0]["seconds"] for one in await server.listed("/workloads?limit=1")] == ["60", "7200"]
        await server.made("/reset")
        assert [one["registered"] for one in await server.listed("/workloads")] == [[], []]


async def test_a_silent_task_has_ended() -> None:
    """A task that has shown no sign of life for its time is metered to its last one, until it shows another."""
    async with served(signs=False) as server:
        await furnish(server)
        path = await register(server, "task/1", heartbeat_seconds=120)
        await clock(server, "2026-11-21T12:01:40Z")
        await server.made(f"{path}/heartbeat")
        for now, seconds in (
            ("2026-11-21T12:03:39Z", "219"),
            ("2026-11-21T12:03:40Z", "100"),
            ("2026-11-22T00:00:00Z", "100"),
        ):
            await clock(server, now)
            (shown,) = await server.listed("/records")
            assert shown["quantity"] == seconds
            assert (await server.made(path, method="GET"))["registered"][0]["seconds"] == seconds
        beaten = await server.made(f"{path}/heartbeat")
        assert (beaten["ended"], beaten["registered"][0]["seconds"]) == (None, "43200")


async def test_ten_thousand_years_of_running_are_read_at_once() -> None:
    """Totals, workloads and the last hours of a task cost the same however long it has run."""
    async with served(signs=False) as server:
        await furnish(server)
        path = await register(server, "task/1")
        await clock(server, "9999-12-31T23:30:00Z")
        (last,) = await server.listed("/records?from=9999-12-31T23:00:00Z")
        assert last["quantity"] == "1800"
        totals = await server.listed("/records?totals=true&from=9999-11-30T00:00:00Z")
        assert [(total["month"], total["quantity"]) for total in totals] == [
            ("9999-11", "86400"),
            ("9999-12", "2676600"),
        ]
        hours = (date(9999, 12, 31) - date(2026, 11, 21)).days * 24 + Decimal("11.5")
        (registered,) = (await server.made(path, method="GET"))["registered"]
        assert Decimal(registered["amount"]) == hours * Decimal("0.12")


# Totals


async def test_totals_of_everything() -> None:
    """Totals have a row per month, buyer, dimension and price, in order; previews are left out."""
    async with served(signs=False) as server:
        await furnish(server)
        await register(server, "task/1")
        await register(server, "task/seller", SELLER)
        await batch(server, record("users", 3), record("storage", "0.000001"), record("users", 0, customer=OTHER_BUYER))
        await batch(server, record("users", 2, hours_ago=1), region="eu-west-1")
        await batch(server, record("users", 4, license_arn=LICENSE), product=None)
        await clock(server, "2026-11-21T13:00:07Z")
        expected = [
            ("2026-11", BUYER, "", "seconds", "3607", "0.12", "0.12023333"),
            ("2026-11", BUYER, "storage", "GB", "0.000001", "0.00000001", "0"),
            ("2026-11", BUYER, "users", "Users", "5", "0.25", "1.25"),
            ("2026-11", BUYER, "users", "Users", "4", "0.3", "1.2"),
            ("2026-11", OTHER_BUYER, "users", "Users", "0", "0.25", "0"),
        ]
        part = await server.made("/records?totals=true", method="GET")
        assert [tuple(total.values()) for total in part["items"]] == expected
        assert part["next"] is None
        body = (await server.ask("GET", "/records?totals=true&format=csv")).body.decode()
        assert [tuple(row) for row in csv.reader(io.StringIO(body, newline=""))] == [
            ("month", "buyer", "dimension", "unit", "quantity", "price", "amount"),
            *expected,
        ]
        for query, count in (
            (f"customer={CUSTOMER}", 3),
            (f"customer={LICENSE}", 1),
            ("dimension=", 1),
            ("region=eu-west-1", 1),
        ):
            assert len(await server.listed(f"/records?totals=true&{query}")) == count, query
        assert await server.listed("/records?totals=true&customer=nobody") == []


async def test_an_amount_is_rounded_once_half_to_even() -> None:
    """An amount is rounded of the sum, not of its parts, at the 8th decimal, half to even."""
    async with served(signs=False) as server:
        await furnish(server)
        for hour, quantity, amount in (
            (1, "0.5", "0"),
            (2, "1", "0.00000002"),
            (3, "1", "0.00000002"),
            (4, "0.000001", "0.00000003"),
        ):
            await batch(server, record("storage", quantity, hours_ago=hour))
            (total,) = await server.listed("/records?totals=true")
            assert total["amount"] == amount


async def test_a_dimension_that_is_gone_has_no_price() -> None:
    """Usage of a dimension that the product no longer has keeps its quantity; what it costs nobody can say."""
    async with served(signs=False) as server:
        await furnish(server)
        await batch(server, record("users", 3), record("storage", 1))
        await server.made(
            f"/products/{PIPELINE}", {"dimensions": [{"key": "users", "unit": "Users", "price": "1"}]}, "PATCH"
        )
        totals = await server.listed("/records?totals=true")
        assert [(one["dimension"], one["unit"], one["quantity"], one["price"], one["amount"]) for one in totals] == [
            ("storage", None, "1", None, None),
            ("users", "Users", "3", "1", "3"),
        ]
        assert [one["unit"] for one in await server.listed("/records")] == ["Users", None]


def _naive(records: list[dict[str, Any]], price: dict[tuple[str, str], tuple[str, str, int]]) -> list[tuple[Any, ...]]:
    """Totals by adding up records one by one, with fractions."""
    sums: dict[tuple[str, ...], Fraction] = defaultdict(Fraction)
    for one in records:
        if not one["preview"]:
            unit, of_one, _ = price[one["product"], one["dimension"]]
            sums[one["timestamp"][:7], one["buyer"], one["dimension"], unit, of_one] += Fraction(one["quantity"])
    return [
        (
            month,
            buyer,
            dimension,
            unit,
            quantity,
            of_one,
            _rounded(quantity * Fraction(of_one) / (1 if dimension else 3600)),
        )
        for (month, buyer, dimension, unit, of_one), quantity in sorted(sums.items())
    ]


def _rounded(amount: Fraction) -> Decimal:
    exact = EXACT.divide(Decimal(amount.numerator), Decimal(amount.denominator))
    return exact.quantize(Decimal("0.00000001"), ROUND_HALF_EVEN, EXACT)


PRICES = {
    (PIPELINE, "users"): ("Users", "0.25", 1),
    (PIPELINE, "storage"): ("GB", "0.00000001", 1),
    (LAKE, "users"): ("Users", "0.3", 1),
    (BOX, ""): ("seconds", "0.12", 3600),
}
INSTANTS = st.sampled_from(
    [
        "2026-11-30T20:00:00Z",
        "2026-11-30T23:30:00.5Z",
        "2026-12-01T00:00:00Z",
        "2026-12-01T00:30:00.25Z",
        "2026-12-01T03:00:00Z",
    ]
)


@settings(max_examples=20)
@given(
    usage=st.lists(
        st.tuples(
            st.sampled_from(["users", "storage"]),
            st.decimals("0", "99", places=3).map(lambda quantity: f"{quantity.normalize():f}"),
            st.integers(0, 8),
            st.sampled_from([0, 1, 0.25]),
            st.sampled_from([BUYER, OTHER_BUYER]),
        ),
        max_size=6,
        unique_by=lambda said: (said[0], said[2], said[4]),
    ),
    tasks=st.lists(
        st.tuples(st.integers(0, 30_000), st.integers(0, 30_000) | st.none(), st.sampled_from([BUYER, SELLER])),
        max_size=3,
    ),
    start=INSTANTS | st.none(),
    end=INSTANTS | st.none(),
)
def test_totals_are_the_sum_of_the_records(
    usage: list[Any], tasks: list[Any], start: str | None, end: str | None
) -> None:
    """Over month ends, tasks, previews and times within hours: totals equal the records added up one by one."""

    async def check() -> None:
        async with served(signs=False) as server:
            await furnish(server)
            now = micros_of_rfc3339("2026-12-01T04:00:00Z") // SECOND
            for number, (began, ran, account) in enumerate(tasks):
                await server.made("/clock", {"now": _text(now - 30_000 + began)}, "PUT")
                path = await register(server, f"task/{number}", account)
                if ran is not None:
                    await server.made("/clock", {"now": _text(now - 30_000 + began + ran)}, "PUT")
                    await server.made(f"{path}/end")
            await server.made("/clock", {"now": _text(now)}, "PUT")
            for dimension, quantity, hours_ago, into, customer in usage:
                said = record(dimension, quantity, customer=customer) | {
                    "Timestamp": now - 3600 * (hours_ago + 1) + into
                }
                await batch(server, said)
            times = "".join(f"&{name}={value}" for name, value in (("from", start), ("to", end)) if value is not None)
            records = await server.listed(f"/records?limit=1000{times}")
            totals = await server.listed(f"/records?totals=true{times}")
            found = [
                (
                    *[total[name] for name in ("month", "buyer", "dimension", "unit")],
                    Fraction(total["quantity"]),
                    total["price"],
                    Decimal(total["amount"]),
                )
                for total in totals
            ]
            assert found == _naive(records, PRICES)

    asyncio.run(check())


def _text(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()


@settings(max_examples=300)
@given(
    since=st.integers(-(10**16), 10**16),
    length=st.integers(0, 4 * 10**13),
    ahead=st.integers(-(10**12), 10**13),
    heartbeat=st.none() | st.integers(1, 10**6),
    ended=st.booleans(),
    bounds=st.tuples(st.none() | st.integers(-(10**12), 5 * 10**13), st.none() | st.integers(-(10**12), 5 * 10**13)),
    whole=st.booleans(),
)
def test_months_of_running_are_its_hours_added_up(
    since: int,
    length: int,
    ahead: int,
    heartbeat: int | None,
    ended: bool,
    bounds: tuple[int | None, int | None],
    whole: bool,
) -> None:
    """By month and by hour a task's seconds are the same, from any instant to any other."""
    start, end = (
        None if bound is None else (since + bound) // HOUR * HOUR if whole else since + bound for bound in bounds
    )
    now = since + length + ahead
    workload = Workload(
        "task/1", Platform.ECS, BUYER, "us-east-1", since, since + length if ended else None, heartbeat, since
    )
    wanted = Wanted(from_micros=start, to_micros=end)
    expected: dict[str, int] = defaultdict(int)
    for hour, seconds in hours_of_running(since, end_micros_of(workload, now), now):
        timestamp = max(since, hour * HOUR)
        if (start is None or start <= timestamp) and (end is None or timestamp < end):
            expected[month_of_hour(hour_of(timestamp))] += seconds
    assert dict(seconds_by_month(since, workload, now, wanted)) == expected


@pytest.mark.parametrize("from_hour", [None, 0, 5, 9, 10, 11, 12, 13, 20])
def test_hours_can_begin_anywhere(from_hour: int | None) -> None:
    """Hours from one on are the hours without those before it."""
    since, end = 10 * HOUR + HOUR // 2, 12 * HOUR + 1
    all_hours = list(hours_of_running(since, end, end))
    found = list(hours_of_running(since, end, end, from_hour=from_hour))
    assert found == [one for one in all_hours if from_hour is None or one.hour >= from_hour]
