"""Metadata services on real ports: one an instance, the same after a restart, gone with the instance."""

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.e2e.control import ask
from tests.e2e.serving import Server
from tests.e2e.workloads import ADMIN, BUYER, CATALOG, start

TTL = "X-aws-ec2-metadata-token-ttl-seconds"
TOKEN = "X-aws-ec2-metadata-token"
IDENTITY = "/latest/dynamic/instance-identity/document"
ROLE = "/latest/meta-data/iam/security-credentials"


def serving(folder: Path, *options: str) -> Server:
    """A server with metadata services."""
    return Server(folder, "--imds", *options, catalog=CATALOG, environment=ADMIN)


@contextmanager
def connected(endpoint: str) -> Iterator[HTTPConnection]:
    """A connection to a metadata service."""
    address = urlsplit(endpoint)
    assert address.hostname == "127.0.0.1"
    connection = HTTPConnection(address.hostname, address.port, timeout=20)
    try:
        yield connection
    finally:
        connection.close()


def asked(connection: HTTPConnection, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    """What is answered."""
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    answer = connection.getresponse()
    return answer.status, answer.read()


def document(connection: HTTPConnection, path: str) -> Any:
    """A document, with a token of its own."""
    status, token = asked(connection, "PUT", "/latest/api/token", **{TTL: "60"})
    assert status == 200
    status, text = asked(connection, "GET", path, **{TOKEN: token.decode()})
    assert status == 200
    return json.loads(text)


def identity(endpoint: str) -> str:
    """Whose a metadata service is."""
    with connected(endpoint) as connection:
        found: str = document(connection, IDENTITY)["instanceId"]
    return found


def test_each_instance_has_a_port_and_an_identity_of_its_own(tmp_path: Path) -> None:
    """And a token of one opens nothing at another."""
    with serving(tmp_path) as server:
        endpoints = {name: start(server, "ec2", resource_id=name)["metadata_endpoint"] for name in ("i-1", "i-2")}
        assert {name: identity(endpoint) for name, endpoint in endpoints.items()} == {"i-1": "i-1", "i-2": "i-2"}
        with connected(endpoints["i-1"]) as one, connected(endpoints["i-2"]) as other:
            _, token = asked(one, "PUT", "/latest/api/token", **{TTL: "60"})
            assert asked(other, "GET", IDENTITY, **{TOKEN: token.decode()})[0] == 401


def test_only_instances_have_one(tmp_path: Path) -> None:
    """Containers and agents find their credentials by their address."""
    with serving(tmp_path) as server:
        for platform in ("ecs", "eks", "fargate", "agentcore", "none"):
            assert start(server, platform)["metadata_endpoint"] is None


def test_without_imds_there_is_none(tmp_path: Path) -> None:
    """The flag is off by default."""
    with Server(tmp_path, catalog=CATALOG, environment=ADMIN) as server:
        assert start(server, "ec2")["metadata_endpoint"] is None


def test_it_is_at_the_same_port_after_a_restart(tmp_path: Path) -> None:
    """Also after a kill; so software that was told an address finds it again."""
    with serving(tmp_path) as server:
        endpoints = {name: start(server, "ec2", resource_id=name)["metadata_endpoint"] for name in ("i-1", "i-2")}
        for end in (server.stop, server.kill):
            end()
            with pytest.raises(ConnectionRefusedError):
                identity(endpoints["i-1"])
            server.start()
            assert {name: identity(endpoint) for name, endpoint in endpoints.items()} == {"i-1": "i-1", "i-2": "i-2"}


def test_a_port_that_was_taken_meanwhile_is_replaced(tmp_path: Path) -> None:
    """The server starts all the same, says so in its log, and keeps the new port from then on."""
    with serving(tmp_path) as server:
        endpoint = start(server, "ec2", resource_id="i-1")["metadata_endpoint"]
        server.stop()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", urlsplit(endpoint).port))
            taken.listen()
            server.start()
            (warning,) = (line for line in server.logged() if line["event"] == "metadata_port_taken")
            assert identity(f"http://127.0.0.1:{warning['instead']}") == "i-1"
        server.stop()
        server.start()
        assert identity(f"http://127.0.0.1:{warning['instead']}") == "i-1"
        assert len([line for line in server.logged() if line["event"] == "metadata_port_taken"]) == 1


def test_it_closes_when_its_instance_ends(tmp_path: Path) -> None:
    """Open connections too, and it stays closed; those of others go on."""
    with serving(tmp_path) as server:
        endpoints = {name: start(server, "ec2", resource_id=name)["metadata_endpoint"] for name in ("i-1", "i-2")}
        with connected(endpoints["i-1"]) as one, connected(endpoints["i-2"]) as other:
            assert document(one, IDENTITY)["instanceId"] == "i-1"
            assert document(other, IDENTITY)["instanceId"] == "i-2"
            ask(server.port, "POST", "/workloads/i-1/end")
            assert one.sock.recv(1) == b""
            assert document(other, IDENTITY)["instanceId"] == "i-2"
        for _ in range(2):
            with pytest.raises(ConnectionRefusedError):
                identity(endpoints["i-1"])
            server.stop()
            server.start()


def test_bounds_hold_here_too(tmp_path: Path) -> None:
    """A head without end is refused, as everywhere."""
    with serving(tmp_path) as server, connected(start(server, "ec2")["metadata_endpoint"]) as connection:
        assert asked(connection, "GET", ROLE, x="y" * 70_000)[0] == 431


def test_workloads_of_the_catalog_file_have_none(tmp_path: Path) -> None:
    """Their keys are in the file; a platform hands nothing out."""
    row = f"""
[[credentials]]
access_key_id = "AKIDINSTANCE"
secret_access_key = "secret"
account = "{BUYER}"
[credentials.workload]
platform = "ec2"
resource_id = "i-of-the-file"
region = "us-east-1"
"""
    with Server(tmp_path, "--imds", catalog=CATALOG + row, environment=ADMIN) as server:
        items = ask(server.port, "GET", "/workloads")["items"]
        assert [one["resource_id"] for one in items] == ["i-of-the-file"]
        assert "metadata_endpoint" not in items[0]
