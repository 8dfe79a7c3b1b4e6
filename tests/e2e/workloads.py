"""Software that runs at a buyer, for end-to-end tests: its marketplace, its workloads, and stock SDKs inside them.

A stranger is given a *plan* as a file: `{"region", "endpoint", "metadata", "calls": [{"operation", "method",
"request"}]}`. It is told no keys. Where it knows the variables of its platform, `endpoint` and `metadata` are null, and
it finds the service and its credentials by them alone.
"""

import json
import os
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

import boto3
from botocore.config import Config

from tests.e2e.control import TOKEN, ask
from tests.e2e.market import now_seconds
from tests.e2e.serving import Server
from tests.e2e.strangers import VARIABLE
from tests.strangers.environments import PINS, javascript, python_of

SELLER: Final = "111122223333"
BUYER: Final = "444455556666"
OTHER_BUYER: Final = "777788889999"
STRANGER: Final = "123412341234"
BOX: Final = "b1o2x3c4o5n6t7a8i9n0e1r2s"
FOREIGN: Final = "f1o2r3e4i5g6n7p8r9o0d1u2c"

CATALOG: Final = f"""
[[products]]
code = "{BOX}"
name = "A box"
seller = "{SELLER}"
type = "container"
hourly_price = "0.12"
[[products.dimensions]]
key = "requests"
unit = "Requests"
price = "0.001"

[[products]]
code = "{FOREIGN}"
name = "Another seller's box"
seller = "222233334444"
type = "container"
hourly_price = "1"
[[products.dimensions]]
key = "requests"
unit = "Requests"
price = "1"

[[agreements]]
id = "agmt-box"
product = "{BOX}"
buyer = "{BUYER}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-foreign"
product = "{FOREIGN}"
buyer = "{OTHER_BUYER}"
start = 2024-01-01T00:00:00Z
"""

ADMIN: Final = {"METERHOUSE_ADMIN_TOKEN": TOKEN}
"""The environment of a server whose control API the tests call."""


def start(server: Server, platform: str = "ecs", account: str = BUYER, **more: Any) -> dict[str, Any]:
    """Starts a workload, launched long ago; what the control API answers."""
    about = {"platform": platform, "account": account, "region": "us-east-1", "launched": "2024-01-01T00:00:00Z"}
    started: dict[str, Any] = ask(server.port, "POST", "/workloads", about | more)
    return started


class Callers:
    """boto3 clients of new workloads, whose connections are closed at the end; a context manager."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._clients: list[Any] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in self._clients:
            client.close()

    def __call__(self, attempts: int = 1, region: str = "us-east-1", **workload: Any) -> Any:
        """A client that tries each call so often."""
        shown = start(self.server, region=region, **workload)["credentials"]
        client = boto3.client(
            "meteringmarketplace",
            region_name=region,
            endpoint_url=self.server.url,
            aws_access_key_id=shown["access_key_id"],
            aws_secret_access_key=shown["secret_access_key"],
            aws_session_token=shown["session_token"],
            config=Config(retries={"mode": "standard", "total_max_attempts": attempts}, read_timeout=60),
        )
        self._clients.append(client)
        return client


def metering(quantity: int = 5, **more: Any) -> dict[str, Any]:
    """A MeterUsage of this hour."""
    about = {"ProductCode": BOX, "Timestamp": now_seconds(), "UsageDimension": "requests", "UsageQuantity": quantity}
    return call("MeterUsage", **about | more)


def registering(**more: Any) -> dict[str, Any]:
    """A RegisterUsage."""
    return call("RegisterUsage", **{"ProductCode": BOX, "PublicKeyVersion": 1} | more)


def call(operation: str, **request: Any) -> dict[str, Any]:
    """A call of a plan."""
    method = re.sub(r"(?<!^)(?=[A-Z])", "_", operation).lower()
    return {"operation": operation, "method": method, "request": request}


class Told(NamedTuple):
    """What an SDK in a workload is told: the variables of its platform, and what it is too old to find by them."""

    variables: Mapping[str, str]
    endpoint: str | None = None
    metadata: str | None = None


def in_container(server: Server, started: Mapping[str, Any], *, with_token: bool = True) -> Told:
    """As a task or pod is told."""
    variables = {VARIABLE: server.url, "AWS_CONTAINER_CREDENTIALS_FULL_URI": started["credentials_uri"]}
    if with_token:
        variables["AWS_CONTAINER_AUTHORIZATION_TOKEN"] = started["authorization_token"]
    return Told(variables)


def on_instance(server: Server, started: Mapping[str, Any]) -> Told:
    """As an EC2 instance is told."""
    return Told({VARIABLE: server.url, "AWS_EC2_METADATA_SERVICE_ENDPOINT": started["metadata_endpoint"]})


def _environment(folder: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Nothing but these variables: no keys, no files, no settings of this machine."""
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return {"PATH": os.environ["PATH"], "HOME": str(home), **variables}


def _run(folder: Path, command: Sequence[str | Path], told: Told, **more: Any) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        command,
        env=_environment(folder, told.variables),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        **more,
    )


def spoken(name: str, folder: Path, told: Told, *calls: Mapping[str, Any], region: str = "us-east-1") -> dict[str, Any]:
    """What a stranger finds, and what comes of its calls."""
    plan = folder / "plan.json"
    plan.write_text(json.dumps({"region": region, "calls": calls, **told._asdict()}))
    if name == "javascript":
        here = javascript()
        with (PINS / "call_from_workload.mjs").open() as script:
            run = _run(folder, [here.node, "--input-type=module", "-", plan], told, cwd=here.folder, stdin=script)
    else:
        run = _run(folder, [python_of(name), PINS / "call_from_workload.py", plan], told, cwd=folder)
    assert run.returncode == 0, run.stderr
    found: dict[str, Any] = json.loads(run.stdout)
    return found


def aws(folder: Path, told: Told, one: Mapping[str, Any]) -> tuple[int, dict[str, Any], str]:
    """`aws meteringmarketplace …`: exit code, what was printed as JSON, and what was complained."""
    command = [python_of("awscli"), "-m", "awscli", "meteringmarketplace", one["method"].replace("_", "-")]
    options = ["--region", "us-east-1", "--output", "json", "--cli-input-json", json.dumps(one["request"])]
    run = _run(folder, [*command, *options], told, cwd=folder)
    return run.returncode, json.loads(run.stdout or "{}"), run.stderr
