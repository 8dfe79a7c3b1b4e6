"""Records and the journal, read back: what stands in them, in which order, and in parts that miss nothing."""

import asyncio
import csv
import io
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.control_market import (
    BOX,
    BUYER,
    CUSTOMER,
    FOREIGN,
    LAKE,
    LICENSE,
    NOW,
    OTHER_BUYER,
    OTHER_SELLER,
    PIPELINE,
    PIPELINE_LICENSE,
    SELLER,
    batch,
    furnish,
    record,
)
from tests.unit.control_server import ControlServer, served

TAGGED = [
    {"AllocatedUsageQuantity": 3, "Tags": [{"Key": "team", "Value": "a"}, {"Key": "env", "Value": "x"}]},
    {"AllocatedUsageQuantity": 2},
]


async def usage(server: ControlServer) -> ControlServer:
    """Usage of every kind: two products by code and by license, two sellers, two Regions, a workload, a preview."""
    await furnish(server)
    await batch(server, record("users", 5, allocations=TAGGED), record("storage", "0.50", hours_ago=2))
    await batch(server, record("users", 7, hours_ago=1, license_arn=LICENSE), product=None)
    await batch(server, record("users", 1, customer=OTHER_BUYER, hours_ago=3), region="eu-west-1")
    await batch(server, record("users", 2, license_arn=PIPELINE_LICENSE, hours_ago=4))
    await batch(server, record("users", 9), product=FOREIGN, seller=OTHER_SELLER)
    for account in (BUYER, SELLER):
        task = {"platform": "ecs", "account": account, "region": "us-east-1", "resource_id": f"task/{account}"}
        key = (await server.made("/workloads", task))["credentials"]["access_key_id"]
        said = {"ProductCode": BOX, "Timestamp": 1_795_262_400.25, "UsageDimension": "requests", "UsageQuantity": 4}
        assert (await server.meter("MeterUsage", said, key)).status == 200
    return server


async def test_a_record_is_shown_with_all_that_is_known_of_it() -> None:
    """A record's members say who, what, when, how much, and by which request, exactly."""
    async with served() as server:
        await furnish(server)
        answer = await batch(server, record("users", "5.50", allocations=[{"AllocatedUsageQuantityAsDecimal": "5.5"}]))
        (shown,) = await server.listed("/records")
        (row,) = await server.listed("/journal")
        assert shown == {
            "record_id": answer["Results"][0]["MeteringRecordId"],
            "operation": "BatchMeterUsage",
            "product": PIPELINE,
            "region": "us-east-1",
            "seller": SELLER,
            "buyer": BUYER,
            "customer_identifier": CUSTOMER,
            "license_arn": None,
            "dimension": "users",
            "timestamp": NOW,
            "hour": NOW,
            "quantity": "5.5",
            "unit": "Users",
            "allocations": [{"quantity": "5.5", "tags": []}],
            "resource_id": None,
            "request_id": row["request_id"],
            "position": 1,
            "received": row["received"],
            "preview": False,
        }


async def test_each_kind_of_usage_names_itself() -> None:
    """License, customer identifier, workload and preview are told for whoever has them, and null for all others."""
    async with served() as server:
        await usage(server)
        shown = {
            (one["product"], one["buyer"], one["dimension"], one["license_arn"]): one
            for one in await server.listed("/records")
        }
        kinds = {
            key: (one["customer_identifier"] is not None, one["resource_id"], one["preview"])
            for key, one in shown.items()
        }
        assert kinds == {
            (PIPELINE, BUYER, "users", None): (True, None, False),
            (PIPELINE, BUYER, "storage", None): (True, None, False),
            (LAKE, BUYER, "users", LICENSE): (False, None, False),
            (PIPELINE, OTHER_BUYER, "users", None): (True, None, False),
            (PIPELINE, BUYER, "users", PIPELINE_LICENSE): (True, None, False),
            (FOREIGN, BUYER, "users", None): (True, None, False),
            (BOX, BUYER, "requests", None): (True, f"task/{BUYER}", False),
            (BOX, SELLER, "requests", None): (False, f"task/{SELLER}", True),
        }
        tagged = shown[PIPELINE, BUYER, "users", None]
        assert tagged["allocations"] == [
            {"quantity": "3", "tags": [{"key": "team", "value": "a"}, {"key": "env", "value": "x"}]},
            {"quantity": "2", "tags": []},
        ]
        metered = shown[BOX, BUYER, "requests", None]
        assert (metered["timestamp"], metered["hour"]) == ("2026-11-21T12:00:00.250000Z", NOW)
        assert all(UUID(one["record_id"]).version == 4 for one in shown.values())


# A query, and the quantities that it finds, in order.
QUERIES: list[tuple[str, list[str]]] = [
    ("", ["5", "0.5", "7", "1", "2", "9", "4", "4"]),
    (f"product={PIPELINE}", ["5", "0.5", "1", "2"]),
    ("region=eu-west-1", ["1"]),
    (f"product={PIPELINE}&region=us-east-1", ["5", "0.5", "2"]),
    (f"customer={BUYER}", ["5", "0.5", "7", "2", "9", "4"]),
    (f"customer={CUSTOMER}", ["5", "0.5", "2", "4"]),
    (f"customer={CUSTOMER}&product={PIPELINE}&region=us-east-1", ["5", "0.5", "2"]),
    (f"customer={LICENSE}", ["7"]),
    (f"customer={PIPELINE_LICENSE}", ["2"]),
    ("customer=nobody", []),
    ("customer=123456789012", []),
    ("dimension=storage", ["0.5"]),
    ("dimension=", []),
    (f"dimension=users&product={LAKE}", ["7"]),
    ("from=2026-11-21T11:00:00Z", ["5", "7", "9", "4", "4"]),
    ("from=2026-11-21T12:00:00.000001Z", ["4", "4"]),
    ("to=2026-11-21T11:00:00Z", ["0.5", "1", "2"]),
    ("from=2026-11-21T10:00:00%2B00:00&to=2026-11-21T12:00:00Z", ["0.5", "7"]),
    ("from=2026-11-21T11:00:00+01:00&to=2026-11-21T12:00:00Z", ["0.5", "7"]),
    ("from=2026-11-21T13:00:00Z&to=2026-11-21T11:00:00Z", []),
    ("product=never-listed", []),
    (f"product={PIPELINE}&region=ap-south-1", []),
    ("format=json&totals=false", ["5", "0.5", "7", "1", "2", "9", "4", "4"]),
]


async def test_queries() -> None:
    """Each parameter, and several together, find the records that they say, in the order of the journal."""
    async with served() as server:
        await usage(server)
        for query, quantities in QUERIES:
            found = await server.listed(f"/records?{query}")
            assert [one["quantity"] for one in found] == quantities, query
            for limit in (1, 2, 3):
                assert await server.listed(f"/records?{query}&limit={limit}".replace("?&", "?")) == found, (
                    query,
                    limit,
                )


# A parameter off its form, and a word of the message.
REFUSED: list[tuple[str, str, str]] = [
    ("product", "a b", "product code"),
    ("product", "", "product code"),
    ("region", "US-EAST-1", "Region"),
    ("customer", "", "account id"),
    ("dimension", "a/b", "dimension"),
    ("from", "2026-11-21", "offset"),
    ("from", "2026-11-21T12:00:00", "offset"),
    ("from", "1795262400", "offset"),
    ("to", "0001-01-01T00:00:00%2B01:00", "years 1 to 9999"),
    ("to", "now", "offset"),
    ("limit", "0", "1 to 1000"),
    ("limit", "1001", "1 to 1000"),
    ("limit", "ten", "1 to 1000"),
    ("limit", "99999999999999999999", "1 to 1000"),
    ("after", "1", "next"),
    ("after", "gaFh", "next"),
    ("after", "%C3%A9", "next"),
    ("format", "xml", "none of"),
    ("totals", "yes", "true or false"),
    ("totals", "1", "true or false"),
    ("order", "desc", "unknown"),
]


@pytest.mark.parametrize(("name", "text", "word"), REFUSED)
async def test_a_parameter_off_its_form_is_refused(name: str, text: str, word: str) -> None:
    """422 names the parameter and says what is wanted."""
    async with served() as server:
        answer = await server.ask("GET", f"/records?{name}={text}")
        assert (answer.status, answer.error["field"]) == (422, name)
        assert word in answer.error["message"]


@pytest.mark.parametrize("whole", ["format=csv", "totals=true"])
@pytest.mark.parametrize("part", ["limit=10", "after=abc"])
async def test_what_comes_whole_has_no_parts(whole: str, part: str) -> None:
    """CSV and totals are all of it: a limit or cursor beside them is refused, and not ignored."""
    async with served() as server:
        answer = await server.ask("GET", f"/records?{whole}&{part}")
        assert (answer.status, answer.error["field"]) == (422, part.partition("=")[0])


async def test_csv_has_the_same_columns_and_records() -> None:
    """CSV has a line of names and then every record, cell by cell what JSON has."""
    async with served() as server:
        await usage(server)
        for query in ("", f"customer={CUSTOMER}&"):
            shown = await server.listed(f"/records?{query}limit=1000")
            answer = await server.ask("GET", f"/records?{query}format=csv")
            assert answer.headers["content-disposition"] == 'attachment; filename="records.csv"'
            rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
            assert list(rows[0]) == list(shown[0])
            for row, one in zip(rows, shown, strict=True):
                assert row["quantity"] == one["quantity"]
                assert row["license_arn"] == (one["license_arn"] or "")
                assert row["preview"] == str(one["preview"]).lower()
                assert row["position"] == str(one["position"])
                assert re.sub(r"\s", "", str(row["allocations"])) == str(one["allocations"]).replace("'", '"').replace(
                    " ", ""
                )


async def test_csv_is_answered_in_pieces() -> None:
    """A long CSV leaves piece by piece, and has every record once."""
    async with served() as server:
        await furnish(server)
        count = 2600
        for start in range(0, count, 25):
            records = [
                record("users", number, hours_ago=number // 200, customer=f"{number % 200:012}")
                for number in range(start, start + 25)
            ]
            await _subscribe(server, {one["CustomerAWSAccountId"] for one in records})
            await batch(server, *records)
        answer = await server.ask("GET", "/records?format=csv")
        rows = list(csv.DictReader(io.StringIO(answer.body.decode(), newline="")))
        assert sorted(int(row["quantity"]) for row in rows) == list(range(count))
        assert len(answer.pieces) > 3
        assert max(answer.pieces) < len(answer.body) / 2


async def _subscribe(server: ControlServer, buyers: set[str]) -> None:
    present = {agreement.buyer for agreement in server.parts.market.catalog.agreements.values()}
    for buyer in sorted(buyers - present):
        await server.made("/agreements", {"product": PIPELINE, "buyer": buyer, "start": "2026-01-01T00:00:00Z"})


async def test_no_cell_is_run_as_a_formula() -> None:
    """What a spreadsheet would take for a formula gets an apostrophe before it in CSV, and stays as it is in JSON."""
    async with served() as server:
        await furnish(server)
        product = {"code": "=1", "name": "N", "seller": SELLER, "type": "saas"}
        dimension = {"key": "-x", "unit": "@SUM(A1)", "price": "1"}
        await server.made("/products", product | {"dimensions": [dimension]})
        agreement = {"product": "=1", "buyer": OTHER_SELLER, "customer_identifier": "+1", "start": NOW}
        await server.made("/agreements", agreement)
        await batch(server, record("-x", 1, customer=OTHER_SELLER), product="=1")
        (shown,) = await server.listed("/records")
        body = (await server.ask("GET", "/records?format=csv")).body.decode()
        (row,) = csv.DictReader(io.StringIO(body, newline=""))
        for name in ("product", "dimension", "unit", "customer_identifier"):
            assert row[name] == f"'{shown[name]}"
            assert shown[name][0] in "=+-@"


# The journal


async def test_a_row_of_the_journal() -> None:
    """A row says who asked what, when by both clocks, by which rules, and which records came of it."""
    async with served() as server:
        await furnish(server)
        answer = await batch(server, record("users", 5, allocations=TAGGED), record("users", "1.5", hours_ago=1))
        (row,) = await server.listed("/journal")
        records = row.pop("records")
        assert {name: row[name] for name in row if name not in ("request_id", "received")} == {
            "position": 1,
            "operation": "BatchMeterUsage",
            "principal": f"arn:aws:iam::{SELLER}:root",
            "account": SELLER,
            "region": "us-east-1",
            "product": PIPELINE,
            "now": NOW,
            "profile": "2026-11",
        }
        assert [one["record_id"] for one in records] == [one["MeteringRecordId"] for one in answer["Results"]]
        assert records[1] | {"record_id": ""} == {
            "record_id": "",
            "buyer": BUYER,
            "customer_identifier": CUSTOMER,
            "license_arn": None,
            "dimension": "users",
            "timestamp": "2026-11-21T11:00:00Z",
            "quantity": "1.5",
            "allocations": [],
            "resource_id": None,
        }


async def test_only_what_keeps_something_leaves_a_row() -> None:
    """A replay, an empty list, a refusal and a conflict leave no row; a batch that keeps one record does."""
    async with served() as server:
        await furnish(server)
        await batch(server, record("users", 5))
        await batch(server, record("users", 5))
        await batch(server, record("users", 6))
        await batch(server)
        assert (
            await server.meter("BatchMeterUsage", {"UsageRecords": [record("none")], "ProductCode": PIPELINE})
        ).status == 400
        await batch(server, record("users", 5), record("users", 6, hours_ago=1))
        rows = await server.listed("/journal")
        assert [(row["position"], len(row["records"])) for row in rows] == [(1, 1), (2, 1)]


async def test_positions_count_per_product_and_region() -> None:
    """Positions count from 1, gapless, per product and Region; `after` takes one, also when nothing has come since."""
    async with served() as server:
        await usage(server)
        here = f"/journal?product={PIPELINE}&region=us-east-1"
        assert [row["position"] for row in await server.listed(here)] == [1, 2]
        part = await server.made(f"{here}&after=2", method="GET")
        assert part == {"items": [], "next": None}
        await batch(server, record("users", 1, hours_ago=5))
        (row,) = await server.listed(f"{here}&after=2")
        assert row["position"] == 3
        assert [row["position"] for row in await server.listed(f"{here}&limit=1")] == [1, 2, 3]
        for query, expected in ((f"product={PIPELINE}", 4), ("region=us-east-1", 7), ("", 8), ("region=eu-west-1", 1)):
            for limit in (1, 3, 1000):
                assert len(await server.listed(f"/journal?limit={limit}&{query}")) == expected


JOURNAL_REFUSED = [
    ("after", "1"),
    ("after", f"1&product={PIPELINE}"),
    ("after", "1&region=us-east-1"),
    ("after", f"-1&product={PIPELINE}&region=us-east-1"),
    ("after", f"x&product={PIPELINE}&region=us-east-1"),
    ("after", f"1.0&product={PIPELINE}&region=us-east-1"),
    ("limit", "0"),
    ("limit", "1001"),
    ("product", "a b"),
    ("region", "x"),
    ("customer", BUYER),
]


@pytest.mark.parametrize(("name", "text"), JOURNAL_REFUSED)
async def test_what_the_journal_refuses(name: str, text: str) -> None:
    """422 for a position without its partition, a limit beyond bounds, and what is no parameter."""
    async with served() as server:
        answer = await server.ask("GET", f"/journal?{name}={text}")
        assert (answer.status, answer.error["field"]) == (422, name)


async def test_a_reader_that_follows_misses_nothing() -> None:
    """While many requests commit at once, a reader that goes on from the last position sees each row once, in order."""
    async with served() as server:
        await furnish(server)
        seen: list[int] = []
        done = asyncio.Event()

        async def follow() -> None:
            while True:
                ended = done.is_set()
                path = f"/journal?product={PIPELINE}&region=us-east-1&limit=3&after={seen[-1] if seen else 0}"
                rows = (await server.made(path, method="GET"))["items"]
                seen.extend(row["position"] for row in rows)
                if ended and not rows:
                    return
                await asyncio.sleep(0)

        async def write() -> None:
            writes = [batch(server, record("users", number, hours_ago=number % 20)) for number in range(20)]
            writes += [batch(server, record("storage", number, hours_ago=number % 20)) for number in range(20)]
            await asyncio.gather(*writes)
            done.set()

        await asyncio.gather(follow(), write())
        assert seen == list(range(1, 41))


async def test_cursors_outlive_what_comes_after(tmp_path: Path) -> None:
    """A cursor stays good across a restart, and what was added meanwhile comes behind it."""
    async with served(tmp_path) as server:
        await usage(server)
        records = await server.made("/records?limit=5", method="GET")
        rows = await server.made("/journal?limit=5", method="GET")
    async with served(tmp_path) as server:
        await batch(server, record("users", 77, hours_ago=6))
        assert [one["quantity"] for one in await server.listed(f"/records?after={records['next']}")] == [
            "9",
            "4",
            "4",
            "77",
        ]
        assert len(await server.listed(f"/journal?after={rows['next']}")) == 3


BATCHES = st.lists(
    st.tuples(
        st.sampled_from([PIPELINE, LAKE]),
        st.sampled_from(["us-east-1", "eu-west-1"]),
        st.lists(
            st.tuples(st.integers(0, 9), st.sampled_from([BUYER, OTHER_BUYER])), min_size=1, max_size=6, unique=True
        ),
    ),
    max_size=8,
)


def _naive(kept: Sequence[dict[str, Any]], query: dict[str, str]) -> list[str]:
    """The ids of the records that a query wants, by looking at each."""
    return [
        one["record_id"]
        for one in kept
        if query.get("product", one["product"]) == one["product"]
        and query.get("region", one["region"]) == one["region"]
        and query.get("customer", one["buyer"]) == one["buyer"]
        and query.get("from", one["timestamp"]) <= one["timestamp"]
        and one["timestamp"] < query.get("to", "9")
    ]


@settings(max_examples=25)
@given(
    batches=BATCHES,
    limit=st.integers(1, 12),
    wanted=st.fixed_dictionaries(
        {},
        optional={
            "product": st.sampled_from([PIPELINE, LAKE]),
            "region": st.sampled_from(["us-east-1", "eu-west-1"]),
            "customer": st.sampled_from([BUYER, OTHER_BUYER]),
            "from": st.integers(2, 12).map(lambda hour: f"2026-11-21T{hour:02}:00:00Z"),
            "to": st.integers(2, 12).map(lambda hour: f"2026-11-21T{hour:02}:00:00Z"),
        },
    ),
)
def test_parts_together_are_the_whole(batches: Any, limit: int, wanted: dict[str, str]) -> None:
    """Whatever was metered and however it is asked for, the parts of a list are what looking at each record finds."""

    async def check() -> None:
        async with served() as server:
            await furnish(server)
            license_arn = "arn:aws:license-manager::111122223333:license:l-00000000000000000000000000000003"
            other = {"product": LAKE, "buyer": OTHER_BUYER, "license_arn": license_arn, "start": "2026-01-01T00:00:00Z"}
            await server.made("/agreements", other)
            licenses = {BUYER: LICENSE, OTHER_BUYER: license_arn}
            for product, region, named in batches:
                records = [
                    record(
                        "users", hour + 1, hours_ago=hour, customer=customer,
                        license_arn=licenses[customer] if product == LAKE else None,
                    )
                    for hour, customer in named
                ]  # fmt: skip
                await batch(server, *records, product=None if product == LAKE else product, region=region)
            everything = await server.listed("/records?limit=1000")
            assert len(everything) == len(
                {(product, region, *named) for product, region, some in batches for named in some}
            )
            query = "&".join([f"limit={limit}", *(f"{name}={value}" for name, value in wanted.items())])
            found = await server.listed(f"/records?{query}")
            assert [one["record_id"] for one in found] == _naive(everything, wanted)

    asyncio.run(check())
