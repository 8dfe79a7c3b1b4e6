"""The operator's side for tests: the control API, in one call."""

import json
from http.client import HTTPConnection
from typing import Any, Final

TOKEN: Final = "an admin's token"
"""For servers that are started with it as METERHOUSE_ADMIN_TOKEN; one on loopback under open auth needs none."""


def ask(port: int, method: str, path: str, body: Any = None) -> Any:
    """Call `/_meterhouse/v1` + path; return the answer's JSON, None where there is none. AssertionError if refused."""
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}", "Content-Type": "application/json"}
        sent = None if body is None else json.dumps(body)
        connection.request(method, f"/_meterhouse/v1{path}", sent, headers)
        answer = connection.getresponse()
        said = answer.read()
    finally:
        connection.close()
    assert answer.status in (200, 201, 204), (answer.status, said)
    return json.loads(said) if said else None
