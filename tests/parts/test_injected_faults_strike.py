"""Injected faults at work: what the client sees, what is kept, and that its retry ends right."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from meterhouse.ledger.protocol import Busy
from meterhouse.service.faults import FaultName
from tests.unit.control_market import BOX, BUYER, NOW_SECONDS, OTHER_BUYER, PIPELINE, batch, furnish, record
from tests.unit.control_server import Answer, ControlServer, Dropped, served

RECORDS = [record("users", number, hours_ago=number) for number in range(4)]
BODY = {"UsageRecords": RECORDS, "ProductCode": PIPELINE}


async def inject(server: ControlServer, name: str, operation: str = "BatchMeterUsage", **members: Any) -> Any:
    """Makes the next calls fail."""
    return await server.made("/faults", {"operation": operation, "fault": name, **members})


async def meter(server: ControlServer, body: Any = BODY) -> Answer | None:
    """A batch; None where the connection was dropped."""
    try:
        return await server.meter("BatchMeterUsage", body)
    except Dropped:
        return None


async def kept(server: ControlServer) -> list[str]:
    """The quantities that are kept, sorted."""
    return sorted(one["quantity"] for one in await server.listed("/records"))


def statuses(answer: Answer | None) -> list[str]:
    """What became of the records of a batch."""
    assert answer is not None
    assert answer.status == 200, answer.body
    return [result["Status"] for result in answer.json["Results"]]


# A fault, the answer's status and error (None: none at all), what was kept by it.
EFFECTS: list[tuple[FaultName, tuple[int, str] | None, list[str]]] = [
    (FaultName.THROTTLE, (400, "ThrottlingException"), []),
    (FaultName.INTERNAL, (500, "InternalServiceErrorException"), []),
    (FaultName.UNAVAILABLE, (503, "ServiceUnavailable"), []),
    (FaultName.DISCONNECT, None, []),
    (FaultName.LOSE_ANSWER, None, ["0", "1", "2", "3"]),
    (FaultName.DELAY, (200, ""), ["0", "1", "2", "3"]),
    (FaultName.UNPROCESSED, (200, ""), []),
]


@pytest.mark.parametrize(("name", "seen", "kept_by_it"), EFFECTS)
async def test_each_fault(name: FaultName, seen: tuple[int, str] | None, kept_by_it: list[str]) -> None:
    """Each fault: what the client saw, what was kept, that the retry keeps each record once, and that it is counted."""
    async with served() as server:
        await furnish(server)
        await inject(server, name, seconds=0.001)
        answer = await meter(server)
        if seen is None or answer is None:
            assert (seen, answer) == (None, None)
        else:
            assert (answer.status, answer.headers.get("x-amzn-errortype", "")) == seen
            assert answer.headers["x-amzn-requestid"]
        assert await kept(server) == kept_by_it
        assert await server.listed("/faults") == []
        assert statuses(await meter(server)) == ["Success"] * 4
        assert await kept(server) == ["0", "1", "2", "3"]
        metrics = (await server.ask("GET", "/_meterhouse/metrics")).body.decode()
        assert f'meterhouse_injected_faults_total{{fault="{name}"}} 1.0' in metrics


def test_each_fault_is_tried() -> None:
    """No fault is left out above."""
    assert [name for name, _, _ in EFFECTS] != []
    assert {name for name, _, _ in EFFECTS} == set(FaultName)


async def test_throttling_says_what_aws_says() -> None:
    """A throttled call is answered as AWS answers it, so that SDKs back off."""
    async with served() as server:
        await furnish(server)
        await inject(server, "throttle")
        answer = await meter(server)
        assert answer is not None
        assert answer.json == {"__type": "ThrottlingException", "message": "Rate exceeded"}


async def test_a_lost_answer_is_safe_to_retry() -> None:
    """After a lost answer the retry is told the ids that were kept, and the journal has one row."""
    async with served() as server:
        await furnish(server)
        await inject(server, "lose_answer")
        assert await meter(server) is None
        first = await server.listed("/records")
        answer = await meter(server)
        assert answer is not None
        assert [one["MeteringRecordId"] for one in answer.json["Results"]] == [one["record_id"] for one in first]
        assert len(await server.listed("/journal")) == 1
        metrics = (await server.ask("GET", "/_meterhouse/metrics")).body.decode()
        assert 'meterhouse_records_total{outcome="accepted"} 4.0' in metrics
        assert 'meterhouse_requests_total{operation="BatchMeterUsage",outcome="dropped"} 1.0' in metrics


async def test_unprocessed_records_alone_are_not_kept() -> None:
    """Records left out are given back as they were sent, in request order; the others are judged and kept."""
    async with served() as server:
        await furnish(server)
        await batch(server, record("users", 5, hours_ago=3))
        await inject(server, "unprocessed", records=[2, 0, 9])
        answer = await meter(server)
        assert statuses(answer) == ["Success", "DuplicateRecord"]
        assert answer is not None
        assert [one["UsageRecord"] for one in answer.json["Results"]] == [RECORDS[1], RECORDS[3]]
        assert answer.json["UnprocessedRecords"] == [RECORDS[0], RECORDS[2]]
        assert await kept(server) == ["1", "5"]
        metrics = (await server.ask("GET", "/_meterhouse/metrics")).body.decode()
        assert 'meterhouse_records_total{outcome="unprocessed"} 2.0' in metrics
        again = await meter(server, BODY | {"UsageRecords": answer.json["UnprocessedRecords"]})
        assert statuses(again) == ["Success", "Success"]


async def test_twins_of_which_one_is_left_out() -> None:
    """Of two records with one key the other is judged as if it had been sent alone."""
    async with served() as server:
        await furnish(server)
        twins = BODY | {"UsageRecords": [record("users", 1), record("users", 2)]}
        await inject(server, "unprocessed", records=[0])
        answer = await meter(server, twins)
        assert statuses(answer) == ["Success"]
        assert await kept(server) == ["2"]


async def test_all_unprocessed_leaves_no_row() -> None:
    """Where every record is left out nothing is kept and the journal has no row."""
    async with served() as server:
        await furnish(server)
        await inject(server, "unprocessed")
        answer = await meter(server)
        assert answer is not None
        assert answer.json == {"Results": [], "UnprocessedRecords": RECORDS}
        assert await server.listed("/journal") == []


# What is wrong with a call, what is answered, whether faults that strike first strike it.
REFUSED: list[tuple[dict[str, Any], str, bool]] = [
    ({"UsageRecords": 1}, "SerializationException", False),
    ({"ProductCode": "a b"}, "ValidationException", False),
    ({"ProductCode": "none"}, "InvalidProductCodeException", True),
    ({"UsageRecords": [record("none")]}, "InvalidUsageDimensionException", True),
    ({"UsageRecords": [record("users", 1, hours_ago=24)]}, "TimestampOutOfBoundsException", True),
]


@pytest.mark.parametrize(("wrong", "error", "passed"), REFUSED)
async def test_faults_stand_between_constraints_and_rules(wrong: dict[str, Any], error: str, passed: bool) -> None:
    """Syntax and constraints are judged before faults; the rules behind them, and not where a call must be accepted."""
    async with served() as server:
        await furnish(server)
        for name in ("unprocessed", "lose_answer"):
            await inject(server, name)
        answer = await meter(server, BODY | wrong)
        assert answer is not None
        assert answer.headers["x-amzn-errortype"] == error
        assert [fault["times"] for fault in await server.listed("/faults")] == [1, 1]
        await inject(server, "internal")
        answer = await meter(server, BODY | wrong)
        assert answer is not None
        assert answer.headers["x-amzn-errortype"] == ("InternalServiceErrorException" if passed else error)
        assert len(await server.listed("/faults")) == (2 if passed else 3)


async def test_the_whole_batch_must_be_acceptable() -> None:
    """A batch is refused for a record that the fault would have left out, and the fault strikes the next."""
    async with served() as server:
        await furnish(server)
        await inject(server, "unprocessed", records=[0])
        bad = BODY | {"UsageRecords": [record("none"), *RECORDS[1:]]}
        answer = await meter(server, bad)
        assert answer is not None
        assert answer.headers["x-amzn-errortype"] == "InvalidUsageDimensionException"
        assert statuses(await meter(server)) == ["Success"] * 3


async def test_what_the_ledger_refuses_is_refused_before_the_fault() -> None:
    """A call that is refused only within its turn is refused all the same, and the fault waits for the next."""
    async with served(signs=False) as server:
        await furnish(server)
        task = {"platform": "ecs", "account": OTHER_BUYER, "region": "us-east-1", "resource_id": "task/1"}
        key = (await server.made("/workloads", task))["credentials"]["access_key_id"]
        await inject(server, "lose_answer", "RegisterUsage")
        body = {"ProductCode": BOX, "PublicKeyVersion": 1}
        answer = await server.meter("RegisterUsage", body, key)
        assert answer.headers["x-amzn-errortype"] == "CustomerNotEntitledException"
        (waiting,) = await server.listed("/faults")
        assert waiting["times"] == 1
        await server.made("/agreements", {"product": BOX, "buyer": OTHER_BUYER})
        with pytest.raises(Dropped):
            await server.meter("RegisterUsage", body, key)
        assert (await server.meter("RegisterUsage", body, key)).status == 200
        assert len(await server.listed("/journal")) == 1


async def test_faults_of_the_other_operations(tmp_path: Path) -> None:
    """Each operation has faults of its own: they strike it, and no other."""
    async with served(signs=False) as server:
        await furnish(server)
        task = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "resource_id": "task/1"}
        key = (await server.made("/workloads", task))["credentials"]["access_key_id"]
        metering = {"ProductCode": BOX, "Timestamp": NOW_SECONDS, "UsageDimension": "requests", "UsageQuantity": 1}
        calls: list[tuple[str, dict[str, Any], str]] = [
            ("ResolveCustomer", {"RegistrationToken": "a token that is known"}, "111122223333"),
            ("MeterUsage", metering, key),
            ("RegisterUsage", {"ProductCode": BOX, "PublicKeyVersion": 1}, key),
        ]
        for struck, _, _ in calls:
            await inject(server, "unavailable", struck)
            found = [
                (operation, (await server.meter(operation, body, signer)).status) for operation, body, signer in calls
            ]
            assert {operation for operation, status in found if status == 503} == {struck}
            assert await server.listed("/faults") == []


async def test_product_is_compared_as_sent() -> None:
    """A fault for a product strikes calls that name it by its code, and no others."""
    async with served() as server:
        await furnish(server)
        await inject(server, "internal", product=PIPELINE, times=2)
        assert statuses(await meter(server, {"UsageRecords": []})) == []
        answer = await meter(server, {"UsageRecords": [], "ProductCode": PIPELINE})
        assert answer is not None
        assert answer.status == 500


async def test_a_restart_goes_on_where_it_was(tmp_path: Path) -> None:
    """What a fault has struck and drawn is kept: after a restart the same calls are struck as without one."""

    async def struck(server: ControlServer, count: int) -> list[int]:
        answers = [await meter(server, {"UsageRecords": []}) for _ in range(count)]
        return [0 if answer is None else answer.status for answer in answers]

    found: list[list[int]] = []
    for cuts in ((20,), (7, 13)):
        place = tmp_path / str(len(cuts))
        place.mkdir()
        async with served(place) as server:
            await inject(server, "internal", times=100, probability=0.5, seed=3)
            await inject(server, "disconnect", times=2, probability=0.5, seed=4)
        statuses_found: list[int] = []
        for count in cuts:
            async with served(place) as server:
                statuses_found += await struck(server, count)
        found.append(statuses_found)
    assert found[0] == found[1]
    assert set(found[0]) == {0, 200, 500}


async def test_many_calls_at_once_are_struck_as_often_as_said() -> None:
    """Under concurrency a fault strikes exactly its times, and no call fails for any other reason."""
    async with served() as server:
        await furnish(server)
        await inject(server, "throttle", times=20)
        await inject(server, "lose_answer", times=10)
        hours = [hour for hour in range(20) for _ in range(4)]
        bodies = [
            {
                "UsageRecords": [record("users", 1, hours_ago=hour, customer=(BUYER, OTHER_BUYER)[number % 2])],
                "ProductCode": PIPELINE,
            }
            for number, hour in enumerate(hours)
        ]
        answers = await asyncio.gather(*(meter(server, body) for body in bodies))
        seen = [0 if answer is None else answer.status for answer in answers]
        assert (seen.count(400), seen.count(0), seen.count(200)) == (20, 10, 50)
        assert await server.listed("/faults") == []
        for body in bodies:
            assert statuses(await meter(server, body)) == ["Success"]
        assert len(await server.listed("/records")) == 40


async def test_a_call_that_fails_by_itself_gives_its_fault_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that the busy ledger turns away is not struck: the fault waits for the next."""
    async with served() as server:
        await furnish(server)
        await inject(server, "lose_answer")
        turn = server.parts.ledger.turn

        async def busy(*_arguments: Any, **_named: Any) -> Any:
            raise Busy("too many")

        monkeypatch.setattr(server.parts.ledger, "turn", busy)
        answer = await meter(server)
        assert answer is not None
        assert answer.status == 503
        monkeypatch.setattr(server.parts.ledger, "turn", turn)
        assert [fault["times"] for fault in await server.listed("/faults")] == [1]
        assert await meter(server) is None


async def test_nothing_that_was_kept_is_touched() -> None:
    """Whatever strikes later, what was kept before is as it was."""
    async with served() as server:
        await furnish(server)
        await batch(server, *RECORDS)
        before = (await server.listed("/records"), await server.listed("/journal"))
        for name in FaultName:
            await inject(server, name, seconds=0.001)
        for _ in FaultName:
            await meter(server)
        assert (await server.listed("/records"), await server.listed("/journal")) == before


async def test_faults_are_listed_as_they_were_made() -> None:
    """Faults are shown in the order of their making, with what they will strike yet; a delete takes one or all."""
    async with served() as server:
        made = [await inject(server, "throttle", times=number) for number in (3, 1, 2)]
        assert await server.listed("/faults?limit=2") == made
        assert made[0] | {"id": "", "seed": 0} == {
            "id": "",
            "operation": "BatchMeterUsage",
            "fault": "throttle",
            "times": 3,
            "records": None,
            "seconds": None,
            "product": None,
            "probability": 1.0,
            "seed": 0,
        }
        await meter(server, {"UsageRecords": []})
        assert [fault["times"] for fault in await server.listed("/faults")] == [2, 1, 2]
        assert (await server.ask("DELETE", f"/faults/{made[1]['id']}")).status == 204
        assert [fault["id"] for fault in await server.listed("/faults")] == [made[0]["id"], made[2]["id"]]
        assert (await server.ask("DELETE", "/faults")).status == 204
        assert await server.listed("/faults") == []
        assert statuses(await meter(server, {"UsageRecords": []})) == []


async def test_without_a_sandbox_no_fault_strikes(tmp_path: Path) -> None:
    """A ledger that has faults in it, served without a sandbox, strikes nobody."""
    async with served(tmp_path) as server:
        await inject(server, "internal", times=5)
    async with served(tmp_path, sandbox=False) as server:
        assert statuses(await meter(server, {"UsageRecords": []})) == []


async def test_a_reset_empties_usage_and_faults() -> None:
    """A reset takes usage, journal and faults; catalog and clock stay, and positions begin at 1 again."""
    async with served() as server:
        await furnish(server)
        await batch(server, *RECORDS)
        await inject(server, "internal")
        clock = await server.made("/clock", method="GET")
        answer = await server.ask("POST", "/reset")
        assert (answer.status, answer.json) == (200, {})
        for path in ("/records", "/journal", "/faults", "/records?totals=true"):
            assert await server.listed(path) == []
        assert await server.made("/clock", method="GET") == clock
        assert statuses(await meter(server)) == ["Success"] * 4
        assert [row["position"] for row in await server.listed("/journal")] == [1]
