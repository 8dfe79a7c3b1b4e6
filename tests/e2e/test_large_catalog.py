"""A catalog may be larger than any other request, from whoever may load one."""

import json
import socket
from collections.abc import Iterator
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.serving import MEMORY, Server

TOKEN: Final = "token-of-the-operator"
CATALOG: Final = "/_meterhouse/v1/catalog"
AGREEMENTS: Final = 10_000
PRODUCT: Final = """
[[products]]
code = "a1b2c3d4e5f6g7h8i9j0k1l2m"
name = "Data Pipeline"
seller = "111122223333"
type = "saas"
"""
AGREEMENT: Final = """
[[agreements]]
id = "agmt-{number}"
customer_identifier = "X{number}"
product = "a1b2c3d4e5f6g7h8i9j0k1l2m"
buyer = "{number:012d}"
start = 2026-01-01T00:00:00Z
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server with an admin token."""
    with Server(tmp_path, data=MEMORY, environment={"METERHOUSE_ADMIN_TOKEN": TOKEN}) as running:
        yield running


def load(server: Server, text: str) -> tuple[int, Any]:
    """Load a catalog by a call; the answer's status and what it says."""
    connection = HTTPConnection("127.0.0.1", server.port)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {TOKEN}"}
    connection.request("POST", CATALOG, json.dumps({"toml": text}), headers)
    answer = connection.getresponse()
    said = json.loads(answer.read())
    connection.close()
    return answer.status, said


def test_a_large_catalog_is_loaded(server: Server) -> None:
    """Ten thousand agreements, more than a mebibyte, are loaded by one call, and a wrong row among them refuses all."""
    rows = [AGREEMENT.format(number=number) for number in range(AGREEMENTS)]
    wrong = "".join([PRODUCT, *rows, rows[7]])
    assert len(wrong) > 1_048_576
    status, said = load(server, wrong)
    assert status == 422
    assert "[[agreements]] no. 10001" in said["error"]["message"]
    assert load(server, "".join([PRODUCT, *rows])) == (
        200,
        {"changed": {"products": 1, "agreements": AGREEMENTS}, "registration_tokens": [], "credentials": []},
    )


# Path, Authorization, the declared length, the status and its word.
REFUSED: Final = [
    (CATALOG, f"Bearer {TOKEN}", 67_108_864, 413, "too_large"),
    (CATALOG, "Bearer another", 1_048_576, 403, "forbidden"),
    (CATALOG, "", 1_048_576, 401, "unauthorized"),
    ("/_meterhouse/v1/products", f"Bearer {TOKEN}", 1_048_576, 413, "too_large"),
]


@pytest.mark.parametrize(("path", "authorization", "length", "status", "word"), REFUSED)
def test_what_is_too_large_is_refused_unread(
    server: Server, path: str, authorization: str, length: int, status: int, word: str
) -> None:
    """Beyond its bound a body is refused by its declared length, in the form of the control API."""
    head = [f"POST {path} HTTP/1.1", "Host: here", "Content-Type: application/json", f"Content-Length: {length}"]
    head += [f"Authorization: {authorization}"] if authorization else []
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        connection.sendall("\r\n".join([*head, "", ""]).encode())
        answer = HTTPResponse(connection)
        answer.begin()
        assert (answer.status, json.loads(answer.read())["error"]["code"]) == (status, word)
