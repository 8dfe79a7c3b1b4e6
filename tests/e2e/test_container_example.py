"""The worked container example: it registers, meters by the hour, and meets each failure as AWS's guide asks.

Its hours are those of the test clock: a wait moves the server's clock, and takes no time. Its signatures are of real
time, as all are.
"""

import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, Final

import pytest

from meterhouse.core.moment import SECOND, micros_of_rfc3339
from tests.document_blocks import ROOT
from tests.e2e.control import ask
from tests.e2e.serving import PATIENCE_SECONDS, Server
from tests.e2e.strangers import VARIABLE
from tests.e2e.workloads import ADMIN, BOX, BUYER, CATALOG, FOREIGN, Callers, start

HERE: Final = ROOT / "examples" / "container"
Container = Callable[..., Any]

BEGINS: Final = "2026-11-30T20:10:00Z"
HOUR: Final = 3600


def example(name: str) -> ModuleType:
    """A module of the example, which finds its neighbours by their plain names."""
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


verify = example("verify")
meter = example("meter")
del sys.modules["verify"], sys.modules["meter"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox."""
    folder = tmp_path_factory.mktemp("container")
    with Server(folder, "--clock", "test", catalog=CATALOG, environment=ADMIN) as started:
        yield started


@pytest.fixture
def server(running: Server) -> Server:
    """The same at the beginning of the story, with nothing metered."""
    ask(running.port, "POST", "/reset")
    ask(running.port, "PUT", "/clock", {"now": BEGINS})
    return running


class StoryClock:
    """Waits move the server's clock, and nobody waits."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.seconds = micros_of_rfc3339(BEGINS) / SECOND
        self.waited: list[float] = []

    def now(self) -> float:
        """The instant."""
        return self.seconds

    def wait(self, seconds: float) -> None:
        """Time passes."""
        self.waited.append(seconds)
        self.move(seconds)

    def move(self, seconds: float) -> None:
        """The same, without a wait."""
        self.seconds += seconds
        ask(self.server.port, "PUT", "/clock", {"advance_seconds": seconds})


@pytest.fixture
def container(server: Server) -> Iterator[Container]:
    """The example's meter in a new task, told to send each call once."""
    with Callers(server) as caller:
        yield lambda product=BOX, **workload: meter.Meter(caller(**workload), product, "requests", StoryClock(server))


def pem(server: Server, product: str = BOX, version: int = 1) -> bytes:
    """The key that ships with the software."""
    text: str = ask(server.port, "GET", f"/products/{product}/keys/{version}")["pem"]
    return text.encode()


def strike(server: Server, fault: str, operation: str = "MeterUsage", times: int = 1) -> None:
    """Makes calls fail."""
    ask(server.port, "POST", "/faults", {"operation": operation, "fault": fault, "times": times, "seconds": 0.01})


def kept(server: Server) -> list[tuple[str, str]]:
    """The hours and quantities that were metered."""
    items = ask(server.port, "GET", "/records?dimension=requests")["items"]
    return [(one["hour"][11:16], one["quantity"]) for one in items]


# --- starting ---------------------------------------------------------------------------------------------------------


def test_it_registers_and_verifies(server: Server, container: Container, capsys: pytest.CaptureFixture[str]) -> None:
    """Once, and again after a restart of the container's software; a rotated key is told."""
    box = container()
    box.register(pem(server), 1)
    box.register(pem(server), 1)
    assert capsys.readouterr().out == "registered\n" * 2
    rotated = ask(server.port, "POST", f"/products/{BOX}/keys")["version"]
    box.register(pem(server), 1)
    assert "was rotated" in capsys.readouterr().out
    box.register(pem(server, version=rotated), rotated)
    assert capsys.readouterr().out == "registered\n"


# How it is started, and what the service says to that
ENDS: Final[list[tuple[dict[str, Any], int, str]]] = [
    ({"product": FOREIGN}, 1, "CustomerNotEntitledException"),
    ({"account": "123412341234"}, 1, "CustomerNotEntitledException"),
    ({"platform": "ec2"}, 1, "PlatformNotSupportedException"),
    ({"product": "no-such-product"}, 1, "InvalidProductCodeException"),
    ({}, 9, "InvalidPublicKeyVersionException"),
]


@pytest.mark.parametrize(("how", "version", "code"), ENDS)
def test_it_ends_at_once_where_it_has_no_right_to_run(
    server: Server, container: Container, how: dict[str, Any], version: int, code: str
) -> None:
    """A refusal at the start ends the container, without a single retry."""
    box = container(**how)
    with pytest.raises(SystemExit, match=code):
        box.register(pem(server), version)
    assert box.clock.waited == []


def test_it_ends_where_the_answer_is_not_the_services(server: Server, container: Container) -> None:
    """An answer that another key has signed is worth nothing."""
    with pytest.raises(SystemExit, match="not signed by this key"):
        container().register(pem(server, FOREIGN), 1)


@pytest.mark.parametrize("fault", ["throttle", "internal", "unavailable", "disconnect", "lose_answer"])
def test_it_waits_for_a_service_in_trouble(server: Server, container: Container, fault: str) -> None:
    """What may pass is tried again, each time later than before; the task is registered once."""
    strike(server, fault, "RegisterUsage", times=4)
    box = container()
    box.register(pem(server), 1)
    assert len(box.clock.waited) == 4
    assert all(later > earlier for earlier, later in zip(box.clock.waited, box.clock.waited[1:], strict=False))
    assert len(ask(server.port, "GET", "/journal")["items"]) == 1


def test_it_gives_up_after_half_an_hour(server: Server, container: Container) -> None:
    """Not before, and not much after; and then it ends."""
    strike(server, "unavailable", "RegisterUsage", times=1000)
    box = container()
    with pytest.raises(SystemExit, match="ServiceUnavailable"):
        box.register(pem(server), 1)
    assert 1800 - 450 < sum(box.clock.waited) <= 1800


# --- metering ---------------------------------------------------------------------------------------------------------


def test_it_meters_each_hour_once_it_is_over(server: Server, container: Container) -> None:
    """With the hour's whole quantity; an hour without work is not metered, and the last one when it ends."""
    box = container()
    for work in (3, 4):
        box.count(work)
        box.deliver()
        assert kept(server) == []
        box.clock.move(20 * 60)
    box.clock.move(20 * 60)
    box.deliver()
    assert kept(server) == [("20:00", "7")]
    box.clock.move(HOUR)
    box.count(2)
    box.deliver()
    box.deliver(closing=True)
    assert kept(server) == [("20:00", "7"), ("22:00", "2")]
    assert not box.counted


@pytest.mark.parametrize("fault", ["throttle", "internal", "unavailable", "disconnect", "lose_answer"])
def test_no_failure_loses_or_doubles_an_hour(server: Server, container: Container, fault: str) -> None:
    """Whatever happens to the first calls, the hour is metered once."""
    box = container()
    box.count(5)
    box.clock.move(HOUR)
    strike(server, fault, times=3)
    box.deliver()
    assert kept(server) == [("20:00", "5")]
    assert (len(box.clock.waited), box.must_stop) == (3, False)


def test_it_works_on_while_usage_cannot_be_sent(server: Server, container: Container) -> None:
    """For two hours at least no work is refused; then it is; and all hours are delivered when the service is back."""
    strike(server, "unavailable", times=100_000)
    box = container()
    began: float | None = None
    while not box.must_stop:
        box.count()
        box.clock.wait(HOUR - box.clock.now() % HOUR + 1)
        began = began or box.clock.now()
        box.deliver()
    assert box.clock.now() - began >= 2 * HOUR
    assert kept(server) == []
    hours = len(box.counted)
    ask(server.port, "DELETE", "/faults")
    box.deliver(closing=True)
    assert [quantity for _, quantity in kept(server)] == ["1"] * hours
    assert not box.must_stop


def test_what_no_retry_can_change_is_told_and_left(
    server: Server, container: Container, capsys: pytest.CaptureFixture[str]
) -> None:
    """An hour that is metered with another quantity, or that is too old: said aloud, and the next one is delivered."""
    box = container()
    box.count(5)
    box.deliver(closing=True)
    box.count(6)
    box.clock.move(HOUR)
    box.deliver()
    assert "NOT METERED, 6 requests of 20:00: it is metered already" in capsys.readouterr().out
    box.count(7)
    box.clock.move(8 * HOUR)
    box.count(8)
    box.deliver(closing=True)
    assert "NOT METERED, 7 requests of 21:00: it is too late" in capsys.readouterr().out
    assert kept(server) == [("20:00", "5"), ("05:00", "8")]
    assert not box.must_stop


def test_a_mistake_of_its_own_is_no_reason_to_stop_at_once(server: Server, container: Container) -> None:
    """A dimension that the product lacks is not retried in vain, stays counted, and stops it after two hours."""
    box = container()
    box.dimension = "hosts"
    box.count(5)
    box.clock.move(HOUR)
    box.deliver()
    assert box.clock.waited == []
    assert list(box.counted.values()) == [5]
    assert not box.must_stop
    box.clock.move(2 * HOUR)
    assert box.must_stop


# --- as a process -----------------------------------------------------------------------------------------------------


@pytest.fixture
def real_time(tmp_path: Path) -> Iterator[Server]:
    """A server on real time."""
    with Server(tmp_path, catalog=CATALOG, environment=ADMIN) as started:
        yield started


def process_in(server: Server, folder: Path, **more: str) -> "subprocess.Popen[str]":
    """The example as a container runs it: told what it is, where the service is, and how to find its credentials."""
    started = start(server, "fargate")
    (folder / "key.pem").write_bytes(pem(server))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(folder),
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
        VARIABLE: server.url,
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": started["credentials_uri"],
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": started["authorization_token"],
        "PRODUCT_CODE": BOX,
        "DIMENSION": "requests",
        "PUBLIC_KEY": str(folder / "key.pem"),
        "PUBLIC_KEY_VERSION": "1",
    }
    return subprocess.Popen(
        [sys.executable, HERE / "meter.py"],
        env=environment | more,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_it_meters_what_it_was_given(real_time: Server, tmp_path: Path) -> None:
    """From standard input to the ledger, with credentials that it finds by itself."""
    process = process_in(real_time, tmp_path)
    said, complained = process.communicate("one\ntwo\nthree\n", PATIENCE_SECONDS)
    assert process.returncode == 0, complained
    registered, metered = said.splitlines()
    assert registered == "registered"
    assert metered.startswith("metered 3 requests of ")
    assert [quantity for _, quantity in kept(real_time)] == ["3"]


def test_it_meters_the_rest_when_it_is_told_to_end(real_time: Server, tmp_path: Path) -> None:
    """SIGTERM, as an orchestrator stops it."""
    process = process_in(real_time, tmp_path)
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stdout.readline() == "registered\n"
    process.stdin.write("one\n" * 50_000)  # more than fits into the pipe: when it is written, most of it is counted
    process.stdin.flush()
    process.send_signal(signal.SIGTERM)
    said, complained = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 0, complained
    ((_, quantity),) = kept(real_time)
    assert said.startswith(f"metered {quantity} requests of ")
    assert int(quantity) > 10_000


def test_it_does_not_run_without_a_right_to(real_time: Server, tmp_path: Path) -> None:
    """Its exit code and one sentence say so."""
    process = process_in(real_time, tmp_path, PRODUCT_CODE=FOREIGN)
    said, complained = process.communicate("one\n", PATIENCE_SECONDS)
    assert (process.returncode, said) == (1, "")
    assert "no right to run" in complained
    assert "CustomerNotEntitledException" in complained
    assert BUYER not in complained
