"""Several server processes on one PostgreSQL: what one was told holds at the others, and one that dies is missed by
nobody.
"""

import asyncio
import base64
import os
import signal
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, Final, NamedTuple

import asyncpg
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.e2e.control import TOKEN as ADMIN_TOKEN
from tests.e2e.control import ask
from tests.e2e.market import (
    BUYER,
    CATALOG,
    KEYS,
    LEGACY,
    SELLER,
    TOKEN,
    now_seconds,
)
from tests.e2e.seller import Seller
from tests.e2e.serving import READY, Server, run_meterhouse
from tests.postgres import children_of, is_alive, kill_if_there, place_url_now

ENVIRONMENT: Final = {
    "METERHOUSE_ADMIN_TOKEN": ADMIN_TOKEN,
    "METERHOUSE_MASTER_KEY": base64.b64encode(b"a key of these tests, 32 bytes..").decode(),
}
HOUR_SECONDS: Final = 3600
START: Final = "2024-01-01T00:00:00Z"
END: Final = "2024-01-02T00:00:00Z"
"""When agreements begin, and end, long ago."""
CHANGES: Final = 1000
"""Of the race of changes with requests."""


@contextmanager
def two_servers(folder: Path, *options: str) -> Iterator[tuple[Server, Server]]:
    """Two processes, each on a port of its own, on one database."""
    url = place_url_now(folder)
    folders = [folder / name for name in ("one", "two")]
    for each in folders:
        each.mkdir()
    with (
        Server(folders[0], *options, data=url, catalog=CATALOG, environment=ENVIRONMENT) as one,
        Server(folders[1], *options, data=url, environment=ENVIRONMENT) as two,
    ):
        yield one, two


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two in earnest."""
    with two_servers(tmp_path_factory.mktemp("servers")) as pair:
        yield pair


@pytest.fixture(scope="module")
def sandboxes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """Two of a sandbox."""
    with two_servers(tmp_path_factory.mktemp("sandboxes"), "--clock", "test") as pair:
        yield pair


def boto(server: Server, keys: tuple[str, str] = (KEYS.access_key_id, KEYS.secret_access_key)) -> Any:
    """A client of one server, without retries."""
    return boto3.client(
        "meteringmarketplace",
        endpoint_url=server.url,
        region_name="us-east-1",
        aws_access_key_id=keys[0],
        aws_secret_access_key=keys[1],
        config=Config(retries={"total_max_attempts": 1}),
    )


def batch(client: Any, *, quantity: int = 1, hours: int = 0, buyer: str = BUYER, dimension: str = "users") -> Any:
    """One record; its result, or the error's code."""
    record = {
        "Timestamp": now_seconds() - HOUR_SECONDS * hours,
        "CustomerAWSAccountId": buyer,
        "Dimension": dimension,
        "Quantity": quantity,
    }
    try:
        return client.batch_meter_usage(ProductCode=LEGACY, UsageRecords=[record])["Results"][0]
    except ClientError as error:
        return error.response["Error"]["Code"]


def test_one_wins_whatever_process_answers(servers: tuple[Server, Server]) -> None:
    """Of records under one key, sent through both at the same time with different quantities, one is kept: each is
    answered with its id, or as in conflict with it; and both tell the same journal.
    """
    clients = [boto(server) for server in servers]
    barrier = threading.Barrier(8)

    def send(number: int) -> list[Any]:
        barrier.wait()
        return [
            batch(clients[number % 2], quantity=1 + (number + hour) % 3, hours=hour, dimension=dimension)
            for hour in range(4)
            for dimension in ("users", "storage")
        ]

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(send, range(8)))
    for place in range(8):
        results = [answer[place] for answer in answers]
        won = {
            (one["MeteringRecordId"], one["UsageRecord"]["Quantity"]) for one in results if one["Status"] == "Success"
        }
        assert len(won) == 1
        quantity = next(iter(won))[1]
        assert all((one["Status"] == "Success") == (one["UsageRecord"]["Quantity"] == quantity) for one in results)
        assert {one["Status"] for one in results} <= {"Success", "DuplicateRecord"}
    told = [ask(server.port, "GET", "/records")["items"] for server in servers]
    assert told[0] == told[1]
    assert len(told[0]) >= 8


def test_what_one_was_told_holds_at_the_other(servers: tuple[Server, Server]) -> None:
    """New credentials, tokens and agreements made through one are taken by the other at once; what was ended or deleted
    through one is refused by the other at once, in either direction.
    """
    for one, two in (servers, servers[::-1]):
        made = ask(one.port, "POST", "/credentials", {"account": SELLER})
        client = boto(two, (made["access_key_id"], made["secret_access_key"]))
        assert client.resolve_customer(RegistrationToken=TOKEN)["CustomerAWSAccountId"] == BUYER
        assert batch(client, hours=4, buyer=BUYER)["Status"] in {"Success", "DuplicateRecord"}
        buyer = f"{Random(one.port).randrange(10**12):012}"
        assert batch(client, buyer=buyer)["Status"] == "CustomerNotSubscribed"
        agreement = ask(one.port, "POST", "/agreements", {"product": LEGACY, "buyer": buyer, "start": START})
        assert batch(client, buyer=buyer)["Status"] == "Success"
        token = ask(one.port, "POST", "/registration-tokens", {"agreement": agreement["id"]})
        assert client.resolve_customer(RegistrationToken=token["token"])["CustomerAWSAccountId"] == buyer
        ask(one.port, "PATCH", f"/accounts/{buyer}", {"suspended": True})
        assert batch(client, buyer=buyer, dimension="storage")["Status"] == "CustomerNotSubscribed"
        ask(one.port, "DELETE", f"/credentials/{made['access_key_id']}")
        assert batch(client, buyer=buyer) == "UnrecognizedClientException"
        with pytest.raises(ClientError, match="UnrecognizedClient"):
            client.resolve_customer(RegistrationToken=TOKEN)


def test_an_ended_agreement_is_refused_from_its_acknowledgement(servers: tuple[Server, Server]) -> None:
    """Through a thousand changes at one server, a request that any of the two was sent after an acknowledgement is
    judged by what was acknowledged: refused while the buyer's agreement has ended, taken while there is a new one.
    """
    buyer = "121212121212"
    said = now_seconds()
    kept, record = (
        {"Timestamp": said, "CustomerAWSAccountId": buyer, "Dimension": "users", "Quantity": quantity}
        for quantity in (1, 2)  # a repetition would be answered as before; what differs is judged by the agreement
    )
    made = {"product": LEGACY, "buyer": buyer, "start": START}
    first = ask(servers[0].port, "POST", "/agreements", made)
    with Seller(servers[1].port, KEYS) as seller:
        assert seller.batch(LEGACY, [kept]).body["Results"][0]["Status"] == "Success"
    state = _State()
    wrong: list[Any] = []

    def change() -> None:
        try:
            agreement = first
            for number in range(CHANGES):
                ended = number % 2 == 0
                state.begin()
                if ended:
                    ask(servers[0].port, "PATCH", f"/agreements/{agreement['id']}", {"end": END})
                else:
                    agreement = ask(servers[0].port, "POST", "/agreements", made)
                state.acknowledge(ended=ended)
                assert state.is_judged.wait(60)
        finally:
            state.is_over = True

    def send(server: Server) -> None:
        with Seller(server.port, KEYS) as seller:
            while not state.is_over:
                before = state.now()
                (result,) = seller.batch(LEGACY, [record]).body["Results"]
                if before is not None and state.now() == before:  # no change began or was acknowledged meanwhile
                    if result["Status"] != ("CustomerNotSubscribed" if before.ended else "DuplicateRecord"):
                        wrong.append((server.port, before, result))
                    state.is_judged.set()

    with ThreadPoolExecutor(3) as pool:
        running = [pool.submit(change), *(pool.submit(send, server) for server in servers)]
        for each in running:
            each.result()
    assert not wrong


class Acknowledged(NamedTuple):
    """A change, by its number, and what it said."""

    number: int
    ended: bool


class _State:
    """What was acknowledged last, and nothing while a change is under way."""

    def __init__(self) -> None:
        self._number = 0
        self._last: Acknowledged | None = None
        self.is_over = False
        self.is_judged = threading.Event()
        """Whether a request that was sent after the last acknowledgement has been answered."""

    def begin(self) -> None:
        """A change is sent."""
        self._last = None
        self.is_judged.clear()

    def acknowledge(self, *, ended: bool) -> None:
        """It is acknowledged."""
        self._number += 1
        self._last = Acknowledged(self._number, ended)

    def now(self) -> Acknowledged | None:
        """What was acknowledged last; None while another is under way."""
        return self._last


def test_the_clock_is_one(sandboxes: tuple[Server, Server]) -> None:
    """A clock that was frozen, moved and ended through one sandbox is that of the other, from the acknowledgement."""
    one, two = sandboxes
    client = boto(two)
    ask(one.port, "PUT", "/clock", {"now": "2025-06-01T12:00:00Z"})
    assert batch(client) == "TimestampOutOfBoundsException"
    ask(two.port, "PUT", "/clock", {"real": True})
    assert batch(boto(one))["Status"] == "Success"
    ask(two.port, "PUT", "/clock", {"advance_seconds": 86_400 * 400})
    assert batch(boto(one)) == "TimestampOutOfBoundsException"
    ask(one.port, "PUT", "/clock", {"real": True})
    assert batch(client)["Status"] == "Success"


def test_a_fault_strikes_wherever_a_request_comes(sandboxes: tuple[Server, Server]) -> None:
    """A fault that was injected through one sandbox strikes at the other, and as often as was said over both."""
    one, two = sandboxes
    for injecting, struck in ((one, two), (two, one)):
        ask(injecting.port, "POST", "/faults", {"operation": "BatchMeterUsage", "fault": "throttle", "times": 2})
        assert batch(boto(struck)) == "ThrottlingException"
        assert batch(boto(injecting)) == "ThrottlingException"
        assert batch(boto(struck))["Status"] == "Success"


def test_a_reset_holds_for_both(sandboxes: tuple[Server, Server]) -> None:
    """What one sandbox has emptied is empty at the other, and the same usage is kept anew."""
    one, two = sandboxes
    first = batch(boto(one), quantity=5, dimension="storage")
    ask(two.port, "POST", "/reset")
    second = batch(boto(one), quantity=6, dimension="storage")
    assert (first["Status"], second["Status"]) == ("Success", "Success")
    assert first["MeteringRecordId"] != second["MeteringRecordId"]
    assert len(ask(one.port, "GET", "/records")["items"]) == len(ask(two.port, "GET", "/records")["items"]) == 1


def start_workers(folder: Path, count: int = 2, *options: str) -> Server:
    """So many processes behind one port."""
    return Server(
        folder,
        "--workers",
        str(count),
        *options,
        data=place_url_now(folder),
        catalog=CATALOG,
        environment=ENVIRONMENT,
    )


def test_workers_serve_one_port(tmp_path: Path) -> None:
    """Several processes say once that they are ready, answer on one port, and stop in good order."""
    with start_workers(tmp_path, 3) as server:
        assert len(children_of(server.process.pid)) == 3
        assert not [line for line in server.said if READY in line]
        for number in range(20):
            assert batch(boto(server), quantity=7, hours=number % 4)["Status"] == "Success"
        assert server.stop() == 0
        started = [line for line in server.logged() if line["event"] == "started"]
        assert len(started) == 3
        assert len([line for line in server.logged() if line["event"] == "catalog_loaded"]) == 1


def test_workers_throttle_together(tmp_path: Path) -> None:
    """Three processes let pass one burst between them, whichever is asked."""
    rates = tmp_path / "rates.toml"
    rates.write_text("[BatchMeterUsage]\nper_second = 0.001\nburst = 7\n")
    with start_workers(tmp_path, 3, "--throttle", str(rates)) as server, ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _number: _status_of_a_call(server), range(40)))
    assert (answers.count(200), answers.count(400)) == (7, 33)


def _status_of_a_call(server: Server) -> int:
    """Of one over a connection of its own."""
    with Seller(server.port, KEYS) as seller:
        return seller.batch(LEGACY, []).status


def test_a_worker_that_dies_is_replaced(tmp_path: Path) -> None:
    """`kill -9` of one process after the other: the port goes on answering, and there are as many as before."""
    with start_workers(tmp_path) as server:
        for _ in range(3):
            before = children_of(server.process.pid)
            kill_if_there(before[0])
            while len(after := children_of(server.process.pid)) < 2 or before[0] in after:
                _answers(server)
            _answers(server)
        assert server.stop(signal.SIGINT) == 0
        assert len([line for line in server.logged() if line["event"] == "worker_ended"]) == 3


def _answers(server: Server) -> None:
    """A request over a connection of its own is answered; one that lands on a dying process is sent again."""
    for _ in range(20):
        try:
            with Seller(server.port, KEYS) as seller:
                assert seller.batch(LEGACY, []).status == 200
                return
        except OSError:
            continue
    raise AssertionError("nobody answers")


def test_workers_end_with_their_parent(tmp_path: Path) -> None:
    """Where the parent is killed its children finish and end by themselves: none goes on without anybody to ask."""
    with start_workers(tmp_path) as server:
        children = children_of(server.process.pid)
        server.kill()
        while any(is_alive(child) for child in children):
            os.sched_yield()


def test_a_hang_up_loads_the_catalog_once(tmp_path: Path) -> None:
    """SIGHUP has one process load the file again, and what it says holds for all."""
    with start_workers(tmp_path) as server:
        server.catalog.write_text(CATALOG + f'\n[[accounts]]\nid = "{BUYER}"\nsuspended = true\n')
        server.hang_up()
        while len([line for line in server.logged() if line["event"] == "catalog_loaded"]) < 2:
            os.sched_yield()
        for _ in range(10):
            assert batch(boto(server))["Status"] == "CustomerNotSubscribed"


REFUSED = [
    (("--workers", "2"), "more than one process needs PostgreSQL", 2),
    (("--workers", "0"), "--workers: 0 processes cannot serve", 2),
    (("--workers", "2", "--imds", "--data", "postgresql://h/d"), "--imds: its ports are those of one process", 2),
    (("--data", "postgresql://me:secret@127.0.0.1:1/d"), "postgresql://me@127.0.0.1:1/d cannot be opened", 1),
    (("--data", "postgresql://127.0.0.1:1/d", "--workers", "2"), "postgresql://127.0.0.1:1/d cannot be opened", 1),
]


@pytest.mark.parametrize(("options", "sentence", "exit_code"), REFUSED)
def test_what_cannot_be_served_is_a_sentence(
    tmp_path: Path, options: tuple[str, ...], sentence: str, exit_code: int
) -> None:
    """A start that fails says why in one sentence, without a password, whichever process found out."""
    done = run_meterhouse("serve", "--port", "0", *options, folder=tmp_path, environment=ENVIRONMENT)
    assert (done.returncode, done.stdout) == (exit_code, "")
    told = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(told) == 1
    assert told[0].startswith("meterhouse: ")
    assert sentence in told[0]
    assert "secret" not in told[0]


@pytest.mark.parametrize(
    ("environment", "sentence"),
    [
        ({}, "METERHOUSE_MASTER_KEY is not set: it must hold 32 random bytes in base64"),
        ({"METERHOUSE_MASTER_KEY": "a secret"}, "METERHOUSE_MASTER_KEY is not base64"),
        ({"METERHOUSE_MASTER_KEY": "c2hvcnQ="}, "METERHOUSE_MASTER_KEY holds 5 bytes"),
    ],
)
@pytest.mark.parametrize("workers", ["1", "2"])
def test_the_master_key_is_needed(tmp_path: Path, environment: dict[str, str], sentence: str, workers: str) -> None:
    """PostgreSQL has no key file: without a good key in the variable nothing is served, and an empty database stays
    empty.
    """
    url = place_url_now(tmp_path)
    options = ("serve", "--port", "0", "--data", url, "--workers", workers)
    done = run_meterhouse(*options, folder=tmp_path, environment=environment)
    assert (done.returncode, done.stdout) == (1, "")
    told = [line for line in done.stderr.splitlines() if not line.startswith("{")]
    assert len(told) == 1
    assert told[0].startswith(f"meterhouse: {sentence}")
    assert asyncio.run(_tables_in(url)) == 0


async def _tables_in(url: str) -> int:
    db = await asyncpg.connect(url)
    count: int = await db.fetchval("SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
    await db.close()
    return count
