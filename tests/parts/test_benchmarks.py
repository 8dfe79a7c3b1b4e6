"""The benchmarks themselves: what is sent is what they say, all is counted once, and goals are judged as written."""

import asyncio
import json
import math
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks import load, run, stages
from benchmarks.clients import read_table
from benchmarks.filling import day, fill
from benchmarks.goals import GOALS, Goal, Verdict, judged
from benchmarks.page import KEPT, files
from benchmarks.pictures import Bar, Curve, bars, curves
from benchmarks.results import Results, Run, Told, from_json, read, to_json
from benchmarks.rows import ROWS
from benchmarks.sending import Ran, send_all, send_at_rate
from benchmarks.server import joined, open_ledger
from benchmarks.tables import COLUMNS, table_of
from meterhouse.core.catalog import WindowEdge
from meterhouse.core.moment import HOUR, SECOND
from meterhouse.core.profile import NEWEST
from meterhouse.core.window import window_breach
from meterhouse.server.metrics import Metrics
from meterhouse.wire.signature import SignedRequest, read_signature, sha256_hex
from meterhouse.wire.sigv4 import authenticate

ROOT: Final = Path(__file__).resolve().parent.parent.parent
NOW: Final = 1_795_520_000 * SECOND
ANSWER: Final = b'HTTP/1.1 200 OK\r\ncontent-length: 20\r\n%b\r\n"Status":"Success"  '
"""What a server of these tests answers; the blank is for a header."""
KEPT_ALIVE: Final = ANSWER % b""
CLOSED: Final = ANSWER % b"Connection: close\r\n"


# --- what is said -----------------------------------------------------------------------------------------------------


def test_every_record_is_new() -> None:
    """A slice's records are all its customers, dimensions and hours, each once."""
    usage = load.Slice(range(30), [7, 8])
    records = list(load.new_records(usage))
    said = {(one["CustomerIdentifier"], one["Dimension"], one["Timestamp"]) for one in records}
    assert len(said) == len(records) == usage.records == 30 * 2 * load.DIMENSIONS


def test_no_record_is_lost_between_batches() -> None:
    """Batches of 25 hold all records, and more of them are refused than there are."""
    records = load.new_records(load.Slice(range(25), [7], 2))
    said = [record for body in load.batches(records, 2) for record in json.loads(body)["UsageRecords"]]
    assert len(said) == 50
    assert {one["Dimension"] for one in said} == {"dimension-0", "dimension-1"}
    with pytest.raises(IndexError):
        load.batches(load.new_records(load.Slice(range(24), [7], 1)), 1)


def test_allocations_add_up() -> None:
    """The parts of a quantity are the quantity."""
    (record,) = load.with_allocations([{"Quantity": 1}])
    assert sum(part["AllocatedUsageQuantity"] for part in record["UsageAllocations"]) == record["Quantity"]


@given(st.integers(min_value=0, max_value=400 * 24 * 60), st.sampled_from([6, 24]))
def test_open_hours_are_open(minutes: int, window_hours: int) -> None:
    """Usage of an open hour can be reported now and a quarter of an hour later, at a month's end too."""
    now = NOW + minutes * 60 * SECOND
    hours = load.open_hours(now, window_hours * 3600)
    assert len(hours) >= 5
    for later in (now, now + 900 * SECOND):
        for hour in hours:
            assert window_breach(hour * HOUR, later, window_hours * 3600, NEWEST, WindowEdge.INSTANT) is None


@pytest.mark.parametrize("workload", [None, 3], ids=["the seller's", "a workload's"])
def test_requests_are_signed(workload: int | None) -> None:
    """A prepared request holds under the keys that the catalog has for whoever sends it."""
    signer = load.Signer("127.0.0.1:8750", NOW)
    request = signer.batch(b"{}") if workload is None else signer.single(workload, b"{}")
    head, _, body = request.partition(b"\r\n\r\n")
    lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    signed = SignedRequest("POST", [(name, value) for name, _, value in lines], sha256_hex(body))
    keys = load.SELLER_KEYS if workload is None else load.workload_keys(workload)
    authenticate(signed, read_signature(signed), keys, NOW)
    assert f'"{keys.access_key_id}"' in load.catalog_text(4, 4)


def test_days_of_a_sandbox_follow_each_other() -> None:
    """A day's hours are the 24 before its instant, and those of the next day come right behind."""
    instant, hours = day(4)
    assert instant == "2030-01-06T23:59:00Z"
    assert len(hours) == 24
    assert hours[-1] + 1 == day(5)[1][0]


# --- sending ----------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def answering(answer: Callable[[int], bytes], hold_seconds: float = 0) -> AsyncIterator[int]:
    """A server that says `answer(number)` to each request of one byte; the first waits. Gives its port."""
    heard = 0
    talks = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal heard
        talks.append(asyncio.current_task())
        while await reader.read(1):
            heard += 1
            if heard == 1 and hold_seconds:
                await asyncio.sleep(hold_seconds)
            said = answer(heard)
            writer.write(said)
            if said != KEPT_ALIVE:
                break
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*filter(None, talks))


def _figures(ran: Ran) -> tuple[int, dict[int, int], int]:
    return ran.requests, ran.statuses, ran.accepted


@pytest.mark.parametrize("said", [KEPT_ALIVE, CLOSED], ids=["kept alive", "hung up on"])
async def test_all_requests_are_answered(said: bytes) -> None:
    """Each request is sent once and its answer counted, also by a server that hangs up behind each answer."""
    async with answering(lambda _number: said) as port:
        ran = await asyncio.to_thread(send_all, "127.0.0.1", port, [b"x"] * 40, connections=4)
    assert _figures(ran) == (40, {200: 40}, 40)
    assert list(ran.latencies) == sorted(ran.latencies)


async def test_a_server_that_says_nothing_ends_the_run() -> None:
    """A connection that is closed without an answer is no result."""
    async with answering(lambda number: KEPT_ALIVE if number < 3 else b"") as port:
        with pytest.raises(ConnectionError):
            await asyncio.to_thread(send_all, "127.0.0.1", port, [b"x"] * 10, connections=1)


async def test_waiting_for_a_connection_counts() -> None:
    """At a rate, a latency counts from when its request was due: whoever waits behind a stalled one is late too."""
    async with answering(lambda _number: KEPT_ALIVE, hold_seconds=0.05) as port:
        ran = await asyncio.to_thread(send_at_rate, "127.0.0.1", port, [b"x"] * 5, connections=1, rate=1e6)
    assert _figures(ran) == (5, {200: 5}, 5)
    assert min(ran.latencies) > 0.04


# --- ledgers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("kind", "kept"), [("sqlite", 50), ("memory", 50), ("nothing", 0)])
async def test_what_a_ledger_of_the_benchmarks_keeps(tmp_path: Path, kind: str, kept: int) -> None:
    """Those of the product keep all that is filled in, on a slow disk too; with storage off nothing is kept."""
    metrics, path = Metrics(), tmp_path / "ledger.db"
    ledger = await open_ledger(kind, path, metrics, sync_delay_seconds=0.001)
    async with joined(ledger, path, load.catalog_text(25), metrics) as parts:
        await fill(parts, load.Slice(range(25), [7], 2))
        assert (await ledger.size()).records == kept


def test_the_stage_budget_covers_a_request(tmp_path: Path) -> None:
    """Every stage and the whole are measured, and the whole accepts the records."""
    (spent,) = stages.budget(tmp_path, 1, stages.Meter())
    assert list(spent) == list(stages.MEASURED)
    assert all(micros > 0 for micros in spent.values())


def test_a_stage_that_grew_by_half_is_told() -> None:
    """Less growth is let pass, and so is whatever the rest does."""
    recorded = {"decode": 0.10, "plan": 0.10, stages.REST: 0.01}
    now = {"decode": 0.149, "plan": 0.151, stages.REST: 0.5}
    assert [sentence.split()[0] for sentence in stages.grown(now, recorded)] == ["plan"]


def test_the_recorded_shares_are_of_these_stages() -> None:
    """What `--check` holds against is whole: each stage in each measure, adding up to one."""
    recorded = json.loads(run.RECORDED.read_text(encoding="utf-8"))
    assert set(recorded) == {"stages", "instructions"}
    for shares in recorded.values():
        assert set(shares) == {*stages.STAGES, stages.REST}
        assert sum(shares.values()) == pytest.approx(1, abs=0.001)


# --- results ----------------------------------------------------------------------------------------------------------


def results_of(rows: dict[str, Told]) -> Results:
    """Results of a run."""
    return Results("scripts/bench", "0.1", "abc", {"processors": 2}, {"rounds": 3}, rows)


def told(*runs: Run) -> Told:
    """A row of runs."""
    return Told("what", "2026-11-24", 0.1, runs)


INGEST: Final = told(
    Run("meterhouse", {"requests_per_second": 5000.0, "cpu_micros_per_request": 200.0}),
    Run("moto_server", {"requests_per_second": 500.0, "cpu_micros_per_request": 1900.0}),
    Run("meterhouse", {"requests_per_second": 9999.0, "cpu_micros_per_request": 999.0}),
    Run("meterhouse", {"requests_per_second": 1.0, "cpu_micros_per_request": 1.0}),
)


def test_medians_are_by_contender() -> None:
    """A run that went badly, or too well, does not move the figure."""
    assert INGEST.medians["meterhouse"] == {"requests_per_second": 5000.0, "cpu_micros_per_request": 200.0}
    assert INGEST.medians["moto_server"]["requests_per_second"] == 500.0


def test_results_survive_their_file() -> None:
    """What is read from a file is what was written, to four digits; what could not be measured stays unmeasured."""
    row = told(Run("a", {"p50_ms": 1.23456, "rss_mb": math.nan}))
    results = results_of({"ingest": row, "single": row._replace(others=math.nan)})
    back = from_json(to_json(results))
    (again,) = back.rows["ingest"].runs
    assert back.rows["ingest"].others == row.others
    assert math.isnan(back.rows["single"].others)
    assert again.figures["p50_ms"] == 1.235
    assert math.isnan(again.figures["rss_mb"])
    assert back._replace(rows={}) == results._replace(rows={})


@pytest.mark.parametrize(
    ("at_most", "figure", "verdict"),
    [
        (False, 20.0, Verdict.AIM),
        (False, 19.9, Verdict.MUST),
        (False, 10.0, Verdict.MUST),
        (False, 9.9, Verdict.MISSED),
        (True, 10.0, Verdict.AIM),
        (True, 10.1, Verdict.MUST),
        (True, 20.1, Verdict.MISSED),
        (False, math.nan, Verdict.NOT_RUN),
    ],
)
def test_verdicts(at_most: bool, figure: float, verdict: Verdict) -> None:
    """A goal is met at its limit, missed beyond, and says so where it was not run."""
    must, aim = (20.0, 10.0) if at_most else (10.0, 20.0)
    assert Goal("what", "row", lambda _medians: 0.0, must, aim, "{}", at_most).met(figure) is verdict


def test_goals_are_judged_by_their_rows() -> None:
    """Ratios are of medians; a goal whose row was not run says so and shows no figure."""
    throughput, cpu, *others = judged(results_of({"ingest": INGEST}))
    assert (throughput.measured, throughput.verdict) == ("10.0 times", Verdict.MUST)
    assert (cpu.measured, cpu.verdict) == ("9.5 times", Verdict.MISSED)
    assert {(one.measured, one.verdict) for one in others} == {("", Verdict.NOT_RUN)}
    assert {goal.row for goal in GOALS} <= set(ROWS)


def test_a_row_shows_its_medians() -> None:
    """A line a contender, with the figures it has."""
    head, first, second = table_of("ingest", INGEST)
    assert list(head) == ["", "requests/s", "CPU µs a request"]
    assert [list(first), list(second)] == [["meterhouse", "5,000", "200"], ["moto_server", "500", "1,900"]]
    assert set(INGEST.runs[0].figures) <= set(COLUMNS)


def test_the_clients_table_is_read() -> None:
    """Of what benchmarks/client.py prints, the first table counts; a name may hold blanks and commas."""
    printed = (
        "a call of 25 records                 CPU us  wall us  boto3 is  capo async is\n"
        "boto3                                  1483     1733      1.0x           0.4x\n"
        "exchange alone: sockets                  21       36     70.6x          30.7x\n"
        "\nimport, client, first call           CPU ms of boto3\n"
        "boto3                                   283     1.00\n"
    )
    assert list(read_table(printed)) == [
        Run("boto3", {"cpu_micros_per_call": 1483, "wall_micros_per_call": 1733}),
        Run("exchange alone: sockets", {"cpu_micros_per_call": 21, "wall_micros_per_call": 36}),
    ]


@pytest.mark.parametrize("path", sorted(files(read(ROOT / KEPT))))
def test_the_page_is_made_from_its_results(path: str) -> None:
    """The page on performance and its pictures are what the results beside them come to: none of it is typed."""
    written = (ROOT / path).read_text(encoding="utf-8")
    assert written == files(read(ROOT / KEPT))[path], "run scripts/bench --write-docs docs/performance/results.json"


def test_pictures_are_drawn() -> None:
    """Each is an SVG that a reader takes, with a bar or a point for each value and every label in it."""
    drawn = bars("Speed & more", [Bar("slow", 10, ours=False), Bar("fast", 100)])
    assert len(_elements(drawn, "rect")) == 3
    assert {"Speed & more", "slow", "fast", "100"} <= {element.text for element in _elements(drawn, "text")}
    drawn = curves("Growth", "millions", [Curve("pace", [(1, 5), (2, 4.5)]), Curve("memory", [(1, 60), (2, 61)])])
    assert len(_elements(drawn, "circle")) == 4


def _elements(drawn: str, name: str) -> list[ET.Element]:
    return ET.fromstring(drawn).findall(f"{{http://www.w3.org/2000/svg}}{name}")  # noqa: S314 - drawn here
