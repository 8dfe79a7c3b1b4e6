"""Injected faults for software that meters itself: what boto3 in a workload sees, what was kept, how its retry ends."""

from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from botocore.exceptions import ClientError, ConnectionClosedError

from meterhouse.service.faults import FaultName
from tests.e2e.control import ask
from tests.e2e.serving import Server
from tests.e2e.workloads import ADMIN, CATALOG, Callers, metering, registering


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox with signatures verified."""
    folder = tmp_path_factory.mktemp("faults")
    with Server(folder, "--clock", "test", catalog=CATALOG, environment=ADMIN) as started:
        yield started


@pytest.fixture
def server(running: Server) -> Server:
    """The same, with nothing metered and no faults."""
    ask(running.port, "POST", "/reset")
    return running


@pytest.fixture
def caller(server: Server) -> Iterator[Callers]:
    """boto3 in new tasks."""
    with Callers(server) as callers:
        yield callers


def code_of(send: Callable[[], Any]) -> str:
    """The error by which a call fails, as boto3 tells it; empty where it does not."""
    try:
        send()
    except ClientError as error:
        return str(error.response["Error"]["Code"])
    except ConnectionClosedError:
        return "closed"
    return ""


def rows(server: Server) -> list[dict[str, Any]]:
    """The journal."""
    found: list[dict[str, Any]] = ask(server.port, "GET", "/journal")["items"]
    return found


# A fault, the error that a client without retries sees, whether the call was kept
SEEN: Final = [
    (FaultName.THROTTLE, "ThrottlingException", False),
    (FaultName.INTERNAL, "InternalServiceErrorException", False),
    (FaultName.UNAVAILABLE, "ServiceUnavailable", False),
    (FaultName.DISCONNECT, "closed", False),
    (FaultName.LOSE_ANSWER, "closed", True),
    (FaultName.DELAY, "", True),
]
CALLS: Final = [metering(ClientToken="one"), registering(Nonce="n")]


@pytest.mark.parametrize("one", CALLS, ids=lambda one: str(one["operation"]))
@pytest.mark.parametrize(("name", "error", "kept"), SEEN, ids=str)
def test_what_a_client_sees_and_its_retry(
    server: Server, caller: Callers, one: dict[str, Any], name: FaultName, error: str, *, kept: bool
) -> None:
    """The fault once; sent again the call succeeds, and what it keeps is kept once, under the first one's name."""
    ask(server.port, "POST", "/faults", {"operation": one["operation"], "fault": name, "seconds": 0.01})
    call = getattr(caller(), one["method"])
    assert code_of(lambda: call(**one["request"])) == error
    before = rows(server)
    assert len(before) == kept
    answer = call(**one["request"])
    after = rows(server)
    assert len(after) == 1
    assert after[:kept] == before
    if one["operation"] == "MeterUsage":
        assert answer["MeteringRecordId"] == after[0]["records"][0]["record_id"]
    else:
        assert answer["Signature"].count(".") == 2
    assert ask(server.port, "GET", "/faults")["items"] == []


def test_all_but_one_fault_can_strike_a_workload() -> None:
    """Only a batch has records that can be left unprocessed."""
    assert {name for name, _, _ in SEEN} == set(FaultName) - {FaultName.UNPROCESSED}


@pytest.mark.parametrize("one", CALLS, ids=lambda one: str(one["operation"]))
def test_a_single_call_has_no_unprocessed_records(server: Server, one: dict[str, Any]) -> None:
    """Such a fault is refused as it is made."""
    with pytest.raises(AssertionError, match="422"):
        ask(server.port, "POST", "/faults", {"operation": one["operation"], "fault": "unprocessed"})


@pytest.mark.parametrize("one", CALLS, ids=lambda one: str(one["operation"]))
@pytest.mark.parametrize("name", ["throttle", "internal", "unavailable", "disconnect", "lose_answer"])
def test_an_sdks_own_retries_end_right(server: Server, caller: Callers, one: dict[str, Any], name: str) -> None:
    """boto3's own retry hides a fault that is over by then, and the call is kept once."""
    ask(server.port, "POST", "/faults", {"operation": one["operation"], "fault": name})
    getattr(caller(attempts=3), one["method"])(**one["request"])
    assert len(rows(server)) == 1


@pytest.mark.parametrize("one", CALLS, ids=lambda one: str(one["operation"]))
def test_what_strikes_accepted_calls_spares_refused_ones(server: Server, caller: Callers, one: dict[str, Any]) -> None:
    """A lost answer waits for a call that is accepted."""
    ask(server.port, "POST", "/faults", {"operation": one["operation"], "fault": "lose_answer"})
    client = caller()
    call = getattr(client, one["method"])
    refused = one["request"] | {"ProductCode": "no-such-product"}
    assert code_of(lambda: call(**refused)) == "InvalidProductCodeException"
    assert code_of(lambda: call(**one["request"])) == "closed"
    assert code_of(lambda: call(**one["request"])) == ""


def test_a_fault_is_of_one_operation(server: Server, caller: Callers) -> None:
    """What strikes MeterUsage lets RegisterUsage through, and of a product only its calls are struck."""
    client, (meters, registers) = caller(), CALLS
    faults = {"operation": "MeterUsage", "fault": "internal"}
    ask(server.port, "POST", "/faults", faults | {"product": "another-product"})
    assert code_of(lambda: client.meter_usage(**meters["request"])) == ""
    ask(server.port, "POST", "/faults", faults)
    assert code_of(lambda: client.register_usage(**registers["request"])) == ""
    assert code_of(lambda: client.meter_usage(**meters["request"])) == "InternalServiceErrorException"
