"""Injected faults, seen through boto3 over a real socket: what it saw, what was kept, and that its retry ends right."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, ConnectionClosedError

from meterhouse.service.faults import FaultName
from tests.e2e.control import TOKEN as ADMIN_TOKEN
from tests.e2e.control import ask
from tests.e2e.market import BUYER, CATALOG, KEYS, LEGACY, TOKEN, now_seconds
from tests.e2e.serving import Server

HOUR_SECONDS = 3600


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox with signatures verified."""
    environment = {"METERHOUSE_ADMIN_TOKEN": ADMIN_TOKEN}
    folder = tmp_path_factory.mktemp("faults")
    with Server(folder, "--clock", "test", catalog=CATALOG, environment=environment) as started:
        yield started


@pytest.fixture
def server(running: Server) -> Server:
    """The same, with nothing metered and no faults."""
    ask(running.port, "POST", "/reset")
    return running


def boto(server: Server, attempts: int = 1) -> Any:
    """A client that tries so often."""
    return boto3.client(
        "meteringmarketplace",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=KEYS.access_key_id,
        aws_secret_access_key=KEYS.secret_access_key,
        config=Config(retries={"mode": "standard", "total_max_attempts": attempts}, read_timeout=60),
    )


def usage(count: int = 3) -> dict[str, Any]:
    """A batch of so many new records, an hour apart."""
    now = now_seconds()
    records = [
        {
            "Timestamp": now - HOUR_SECONDS * number,
            "CustomerAWSAccountId": BUYER,
            "Dimension": "users",
            "Quantity": number + 1,
        }
        for number in range(min(count, 4))
    ]
    return {"ProductCode": LEGACY, "UsageRecords": records}


def kept(server: Server) -> list[tuple[str, str]]:
    """The ids and quantities that are kept."""
    return [(one["record_id"], one["quantity"]) for one in ask(server.port, "GET", "/records")["items"]]


def inject(server: Server, name: str, **members: Any) -> None:
    """Makes the next calls fail."""
    ask(server.port, "POST", "/faults", {"operation": "BatchMeterUsage", "fault": name, **members})


def code_of(call: Callable[[], Any]) -> str:
    """The error by which a call fails, as boto3 tells it."""
    try:
        call()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except ConnectionClosedError:
        return "closed"
    return ""


# A fault, the error that a client without retries sees, how many records it kept.
SEEN = [
    (FaultName.THROTTLE, "ThrottlingException", 0),
    (FaultName.INTERNAL, "InternalServiceErrorException", 0),
    (FaultName.UNAVAILABLE, "ServiceUnavailable", 0),
    (FaultName.DISCONNECT, "closed", 0),
    (FaultName.LOSE_ANSWER, "closed", 3),
    (FaultName.DELAY, "", 3),
    (FaultName.UNPROCESSED, "", 0),
]


@pytest.mark.parametrize(("name", "error", "count"), SEEN, ids=[name for name, _, _ in SEEN])
def test_what_a_client_sees_and_its_retry(server: Server, name: FaultName, error: str, count: int) -> None:
    """A client without retries sees the fault; sent again, the batch succeeds, and each record is kept once."""
    inject(server, name, seconds=0.01)
    client, batch = boto(server), usage()
    assert code_of(lambda: client.batch_meter_usage(**batch)) == error
    before = kept(server)
    assert len(before) == count
    results = client.batch_meter_usage(**batch)["Results"]
    assert [result["Status"] for result in results] == ["Success"] * 3
    after = kept(server)
    assert [result["MeteringRecordId"] for result in results] == [record_id for record_id, _ in after]
    assert after[:count] == before
    assert sorted(quantity for _, quantity in after) == ["1", "2", "3"]


def test_every_fault_is_seen_by_a_client() -> None:
    """No fault is left out above."""
    assert {name for name, _, _ in SEEN} == set(FaultName)


@pytest.mark.parametrize("name", ["throttle", "internal", "unavailable", "disconnect", "lose_answer"])
def test_an_sdks_own_retries_end_right(server: Server, name: str) -> None:
    """boto3's own retry hides a fault that is over by then, and what it has metered is kept once."""
    inject(server, name)
    results = boto(server, attempts=3).batch_meter_usage(**usage())["Results"]
    assert [result["Status"] for result in results] == ["Success"] * 3
    assert [result["MeteringRecordId"] for result in results] == [record_id for record_id, _ in kept(server)]
    assert ask(server.port, "GET", "/faults")["items"] == []
    assert len(ask(server.port, "GET", "/journal")["items"]) == 1


def test_unprocessed_records_come_back(server: Server) -> None:
    """The records left out are given back, the others are kept, and sending those again completes the batch."""
    inject(server, "unprocessed", records=[0, 2])
    client, batch = boto(server), usage()
    answer = client.batch_meter_usage(**batch)
    assert [result["UsageRecord"]["Quantity"] for result in answer["Results"]] == [2]
    assert [record["Quantity"] for record in answer["UnprocessedRecords"]] == [1, 3]
    assert [quantity for _, quantity in kept(server)] == ["2"]
    again = client.batch_meter_usage(ProductCode=LEGACY, UsageRecords=answer["UnprocessedRecords"])
    assert (len(again["Results"]), again["UnprocessedRecords"]) == (2, [])
    assert sorted(quantity for _, quantity in kept(server)) == ["1", "2", "3"]


def test_a_delay_is_waited_for(server: Server) -> None:
    """A delayed call is answered after its time, as if nothing had been; others are not kept waiting by it."""
    inject(server, "delay", seconds=0.3)
    begun = time.monotonic()
    assert code_of(lambda: boto(server).batch_meter_usage(**usage())) == ""
    assert time.monotonic() - begun >= 0.3
    assert len(kept(server)) == 3


def test_faults_of_resolve_customer(server: Server) -> None:
    """ResolveCustomer has faults too: dropped, then answered."""
    client = boto(server)
    for name, error in (("disconnect", "closed"), ("lose_answer", "closed"), ("throttle", "ThrottlingException")):
        ask(server.port, "POST", "/faults", {"operation": "ResolveCustomer", "fault": name})
        assert code_of(lambda: client.resolve_customer(RegistrationToken=TOKEN)) == error
    assert client.resolve_customer(RegistrationToken=TOKEN)["ProductCode"] == LEGACY


def test_faults_outlive_a_restart(server: Server) -> None:
    """A fault that has strikes left after a `kill -9` strikes the rest of them, and no more."""
    inject(server, "throttle", times=3)
    batch = usage()
    assert code_of(lambda: boto(server).batch_meter_usage(**batch)) == "ThrottlingException"
    server.kill()
    server.start()
    (left,) = ask(server.port, "GET", "/faults")["items"]
    assert left["times"] == 2
    client = boto(server)
    found = [code_of(lambda: client.batch_meter_usage(**batch)) for _ in range(3)]
    assert found == ["ThrottlingException", "ThrottlingException", ""]


def test_faults_are_logged_with_their_request(server: Server) -> None:
    """The log tells which request a fault has struck, so that nobody takes it for a real failure."""
    inject(server, "internal")
    code_of(lambda: boto(server).batch_meter_usage(**usage()))
    struck = [line for line in server.logged() if line["event"] == "struck"][-1]
    refused = [line for line in server.logged() if line["event"] == "refused"][-1]
    assert (struck["fault"], struck["request_id"]) == ("internal", refused["request_id"])
