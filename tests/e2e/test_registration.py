"""RegisterUsage with a real server: verified by a stranger, and billed alike whatever becomes of the server."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from meterhouse.wire.keys import SigningCredentials
from tests.e2e.control import ask
from tests.e2e.seller import Seller
from tests.e2e.serving import Server
from tests.e2e.workloads import ADMIN, BOX, BUYER, CATALOG, metering, registering, start
from tests.strangers.environments import PINS, javascript

BEGINS: Final = "2026-11-30T23:58:10Z"


def keys_of(started: dict[str, Any]) -> SigningCredentials:
    """The credentials that a workload was started with."""
    shown = started["credentials"]
    return SigningCredentials(shown["access_key_id"], shown["secret_access_key"], shown["session_token"])


def register(server: Server, keys: SigningCredentials, **more: Any) -> dict[str, Any]:
    """What RegisterUsage answers; it must be a success."""
    with Seller(server.port, keys) as caller:
        answer = caller.call("RegisterUsage", registering(**more)["request"])
    assert answer.status == 200, answer.body
    return answer.body


def judged(token: str, pem: str) -> "subprocess.CompletedProcess[str]":
    """What Node.js says of a JWT."""
    here = javascript()
    return subprocess.run(
        [here.node, PINS / "verify_jwt.mjs", token, pem], capture_output=True, text=True, check=False, timeout=60
    )


def test_a_stranger_verifies_the_signature(tmp_path: Path) -> None:
    """Node.js' own crypto, with the PEM that the product's owner fetches; and refuses it by another version's."""
    with Server(tmp_path, catalog=CATALOG, environment=ADMIN) as server:
        keys = keys_of(start(server))
        pems = {1: ask(server.port, "GET", f"/products/{BOX}/keys/1")["pem"]}
        answer = register(server, keys, Nonce="ünïcødé")
        said = judged(answer["Signature"], pems[1])
        assert said.returncode == 0, said.stderr
        found = json.loads(said.stdout)
        assert found["header"] == {"alg": "PS256", "typ": "JWT"}
        assert found["claims"] | {"productCode": BOX, "publicKeyVersion": 1, "nonce": "ünïcødé"} == found["claims"]
        assert found["claims"].keys() == {"productCode", "publicKeyVersion", "nonce", "iat"}
        pems[2] = ask(server.port, "POST", f"/products/{BOX}/keys")["pem"]
        rotated = register(server, keys)
        assert rotated["PublicKeyRotationTimestamp"] > 0
        assert judged(rotated["Signature"], pems[1]).returncode == 0
        assert judged(rotated["Signature"], pems[2]).returncode == 1
        assert judged(register(server, keys, PublicKeyVersion=2)["Signature"], pems[2]).returncode == 0


def go_on(_server: Server) -> None:
    """Nothing happens to the server."""


def stop_and_start(server: Server) -> None:
    """It is stopped in good order, and started again."""
    assert server.stop() == 0
    server.start()


def kill_and_start(server: Server) -> None:
    """It is killed with `kill -9`, and started again."""
    server.kill()
    server.start()


def billed(folder: Path, meanwhile: Callable[[Server], None]) -> tuple[Any, Any, Any]:
    """What two tasks come to over a month's end: totals, hours, and what each is registered for."""
    folder.mkdir()
    with Server(folder, "--clock", "test", catalog=CATALOG, environment=ADMIN) as server:
        ask(server.port, "PUT", "/clock", {"now": BEGINS})
        talking = start(server, resource_id="task/talking", heartbeat_seconds=90)
        silent = start(server, resource_id="task/silent")
        ask(server.port, "GET", f"/products/{BOX}/keys/1")
        for started in (talking, silent):
            register(server, keys_of(started))
        meanwhile(server)
        for wait in (40, 89.5, 60, 3600, 86_400):
            ask(server.port, "PUT", "/clock", {"advance_seconds": wait})
            if wait < 90:  # a call that is refused is a sign of life too
                with Seller(server.port, keys_of(talking)) as caller:
                    refused = caller.call("MeterUsage", metering(UsageDimension="hosts")["request"])
                    assert refused.code == "InvalidUsageDimensionException"
            if wait > 60:
                meanwhile(server)
        ask(server.port, "POST", "/workloads/task%2Fsilent/end")
        meanwhile(server)
        ask(server.port, "PUT", "/clock", {"advance_seconds": 100})
        rows = ask(server.port, "GET", "/records?limit=1000")["items"]
        hours = [(one["resource_id"], one["timestamp"], one["quantity"]) for one in rows]
        tasks = [(one["resource_id"], one["registered"]) for one in ask(server.port, "GET", "/workloads")["items"]]
        return ask(server.port, "GET", "/records?totals=true")["items"], hours, tasks


EXPECTED: Final = [("2026-11", 110 + 110), ("2026-12", 79 + 79 + 3600 + 86_400)]
"""Both run from 23:58:10; the talking one up to its last call at 00:01:19.5, the silent one on, until it is ended."""


@pytest.mark.parametrize("meanwhile", [go_on, stop_and_start, kill_and_start])
def test_a_task_is_billed_alike_whatever_becomes_of_the_server(
    tmp_path: Path, meanwhile: Callable[[Server], None]
) -> None:
    """Whether it ran all the time, was stopped again and again, or was killed right after what it had answered."""
    totals, hours, tasks = billed(tmp_path / "interrupted", meanwhile)
    assert [(one["month"], int(one["quantity"]), one["buyer"]) for one in totals] == [
        (month, seconds, BUYER) for month, seconds in EXPECTED
    ]
    assert sum(int(quantity) for _, _, quantity in hours) == sum(seconds for _, seconds in EXPECTED)
    assert {name: registered[0]["seconds"] for name, registered in tasks} == {
        "task/talking": str(110 + 79),
        "task/silent": str(110 + 79 + 3600 + 86_400),
    }
