"""The control API over real sockets: what only HTTP itself can get wrong, and changes while many meter."""

import csv
import io
import json
import socket
import threading
from collections.abc import Iterator
from http.client import HTTPConnection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.control import TOKEN, ask
from tests.e2e.market import BUYER, CATALOG, KEYS, LEGACY, OTHER_BUYER, now_seconds
from tests.e2e.seller import Seller
from tests.e2e.serving import Server

AUTHORIZED = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
CONNECTIONS = 64


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox with signatures verified."""
    environment = {"METERHOUSE_ADMIN_TOKEN": TOKEN}
    folder = tmp_path_factory.mktemp("control")
    with Server(folder, "--clock", "test", catalog=CATALOG, environment=environment) as started:
        yield started


@pytest.fixture
def connection(server: Server) -> Iterator[HTTPConnection]:
    """One connection to it."""
    opened = HTTPConnection("127.0.0.1", server.port, timeout=60)
    yield opened
    opened.close()


def fetch(
    connection: HTTPConnection, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """One request, and its whole answer."""
    connection.request(method, f"/_meterhouse{path}", body, AUTHORIZED if headers is None else headers)
    answer = connection.getresponse()
    return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()


def test_one_connection_carries_every_kind_of_answer(connection: HTTPConnection) -> None:
    """Success, refusal, HEAD, OPTIONS, DELETE and what streams leave the connection ready for the next request."""
    asked = [
        ("GET", "/health", 200),
        ("HEAD", "/health", 200),
        ("GET", "/v1/products", 200),
        ("HEAD", "/v1/records?format=csv", 200),
        ("GET", "/v1/records?format=csv", 200),
        ("OPTIONS", "/v1/products", 204),
        ("DELETE", "/v1/faults", 204),
        ("GET", "/v1/nothing", 404),
        ("PUT", "/v1/products", 405),
        ("GET", "/metrics", 200),
        ("POST", "/v1/reset", 200),
        ("GET", "/v1/openapi.json", 200),
    ]
    used = None
    for method, path, status in asked:
        found, _, body = fetch(connection, method, path)
        assert found == status, (method, path, body)
        assert (body == b"") == (method == "HEAD" or status == 204)
        used = used or connection.sock
        assert connection.sock is used


def test_a_slash_in_a_parameter(server: Server, connection: HTTPConnection) -> None:
    """A percent-encoded slash is part of its parameter, from the socket to the catalog."""
    task = {"platform": "ecs", "account": BUYER, "region": "us-east-1", "resource_id": "task/0123"}
    started = ask(server.port, "POST", "/workloads", task)
    assert ask(server.port, "GET", "/workloads/task%2F0123")["resource_id"] == "task/0123"
    address = started["credentials_uri"]
    assert address.startswith(f"{server.url}/_meterhouse/credentials/")
    status, _, body = fetch(connection, "GET", address.removeprefix(f"{server.url}/_meterhouse"), headers={})
    assert (status, json.loads(body)["AccessKeyId"]) == (200, started["credentials"]["access_key_id"])
    assert ask(server.port, "POST", "/workloads/task%2F0123/end", {})["ended"] is not None


def test_a_body_beyond_bounds(connection: HTTPConnection) -> None:
    """A body of a mebibyte is 413 in the usual form, where no catalog is loaded."""
    status, headers, body = fetch(connection, "POST", "/v1/products", b" " * 1_048_576)
    assert (status, headers["content-type"]) == (413, "application/json")
    assert json.loads(body)["error"]["code"] == "too_large"


def test_access_over_a_socket(connection: HTTPConnection) -> None:
    """401 without the token, 403 with another, for a path that is not there as for one that is."""
    for path in ("/v1/products", "/v1/nothing", "/metrics", "/nothing"):
        assert fetch(connection, "GET", path, headers={})[0] == 401
        assert fetch(connection, "GET", path, headers={"Authorization": "Bearer x"})[0] == 403
    assert fetch(connection, "GET", "/health", headers={})[0] == 200


def test_a_laptops_server_answers_the_laptop(tmp_path: Path) -> None:
    """Under open auth on loopback no token is needed; another Host, as after a name was made to point here, is 403."""
    with Server(tmp_path, "--auth", "open", data="memory") as server:
        connection = HTTPConnection("127.0.0.1", server.port, timeout=60)
        for host, status in ((f"localhost:{server.port}", 200), ("attacker.example.com", 403)):
            assert fetch(connection, "GET", "/v1/products", headers={"Host": host})[0] == status
        connection.close()


def test_a_long_csv_over_a_socket(server: Server, connection: HTTPConnection) -> None:
    """A long CSV comes whole, in chunks; a client that leaves in the middle of it harms nobody."""
    ask(server.port, "POST", "/reset", {})
    allocations = [
        {"AllocatedUsageQuantity": 1, "Tags": [{"Key": "part", "Value": f"{part:0200}"}]} for part in range(40)
    ]
    usage = {"Timestamp": now_seconds(), "CustomerAWSAccountId": BUYER, "Dimension": "users", "Quantity": 40}
    for number in range(120):
        with Seller(server.port, KEYS, region_named(number)) as seller:
            assert seller.batch(LEGACY, [usage | {"UsageAllocations": allocations}]).status == 200
    _leave_early(server.port)
    status, headers, body = fetch(connection, "GET", "/v1/records?format=csv")
    assert (status, headers["transfer-encoding"]) == (200, "chunked")
    rows = list(csv.DictReader(io.StringIO(body.decode(), newline="")))
    assert len({row["region"] for row in rows}) == 120
    assert fetch(connection, "GET", "/health")[0] == 200


def _leave_early(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port)) as leaving:
        request = f"GET /_meterhouse/v1/records?format=csv HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        leaving.sendall(request.encode())
        assert leaving.recv(1000).startswith(b"HTTP/1.1 200")


def region_named(number: int) -> str:
    """A Region of its own for each number: usage there has keys that no other has."""
    letters = "abcdefghij"
    return f"us-{''.join(letters[int(digit)] for digit in str(number))}-1"


def test_no_request_sees_half_of_a_change(server: Server) -> None:
    """While 64 connections meter, changes suspend one of two buyers and restore the other at once: each batch finds
    exactly one of them suspended.
    """
    numbers = count(1000)
    found: list[tuple[str, ...]] = []
    failures: list[Any] = []
    done = threading.Event()
    ask(server.port, "POST", "/agreements", {"product": LEGACY, "buyer": OTHER_BUYER, "start": "2024-01-01T00:00:00Z"})
    _suspend(server, 0)

    def meter() -> None:
        now = now_seconds()
        records = [
            {"Timestamp": now, "CustomerAWSAccountId": buyer, "Dimension": "users", "Quantity": 1}
            for buyer in (BUYER, OTHER_BUYER)
        ]
        while not done.is_set():
            with Seller(server.port, KEYS, region_named(next(numbers))) as seller:
                answer = seller.batch(LEGACY, records)
            if answer.status != 200:
                failures.append(answer)
                return
            found.append(tuple(sorted(result["Status"] for result in answer.body["Results"])))

    threads = [threading.Thread(target=meter) for _ in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for turn in range(1, 20):
        _suspend(server, turn % 2)
    done.set()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(found) >= CONNECTIONS
    assert set(found) == {("CustomerNotSubscribed", "Success")}


def _suspend(server: Server, which: int) -> None:
    toml = "".join(
        f'[[accounts]]\nid = "{buyer}"\nsuspended = {str(number == which).lower()}\n'
        for number, buyer in enumerate((BUYER, OTHER_BUYER))
    )
    ask(server.port, "POST", "/catalog", {"toml": toml})


def test_what_was_changed_is_there_after_a_kill(tmp_path: Path) -> None:
    """What a call was answered is kept: after `kill -9` catalog, clock, records and journal are as they were."""
    environment = {"METERHOUSE_ADMIN_TOKEN": TOKEN}
    with Server(tmp_path, "--clock", "test", catalog=CATALOG, environment=environment) as server:
        ask(server.port, "PATCH", "/agreements/agmt-legacy", {"end": "2099-01-01T00:00:00Z"})
        ask(server.port, "PATCH", f"/accounts/{BUYER}", {"suspended": False})
        ask(server.port, "PUT", "/clock", {"advance_seconds": 60})
        with Seller(server.port, KEYS) as seller:
            usage = {"Timestamp": now_seconds(), "CustomerAWSAccountId": BUYER, "Dimension": "users", "Quantity": 1}
            assert seller.batch(LEGACY, [usage]).status == 200
        paths = (
            "/products",
            "/agreements",
            "/accounts",
            "/credentials",
            "/records",
            "/journal",
            "/records?totals=true",
        )
        before = [ask(server.port, "GET", path) for path in paths]
        server.kill()
        server.start()
        assert [ask(server.port, "GET", path) for path in paths] == before
        assert ask(server.port, "GET", "/clock")["mode"] == "shifted"
