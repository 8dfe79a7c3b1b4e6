"""The strangers are who they say they are: each starts, and knows the service."""

import subprocess
from pathlib import Path

import pytest

from tests.strangers.environments import PINS, PYTHON_STRANGERS, javascript, python_of

OPERATIONS = ["BatchMeterUsage", "MeterUsage", "RegisterUsage", "ResolveCustomer"]

ASK_BOTO3 = """
import boto3
client = boto3.client("meteringmarketplace", region_name="us-east-1")
print(*client.meta.service_model.operation_names)
"""

ASK_AIOBOTOCORE = """
import asyncio
from aiobotocore.session import get_session

async def ask():
    async with get_session().create_client("meteringmarketplace", region_name="us-east-1") as client:
        print(*client.meta.service_model.operation_names)

asyncio.run(ask())
"""

ASK_AWSCLI = """
from awscli.botocore.session import get_session
print(*get_session().get_service_model("meteringmarketplace").operation_names)
"""

ASK_JAVASCRIPT = """
import * as metering from "@aws-sdk/client-marketplace-metering";
const commands = Object.keys(metering).filter(name => /^[A-Z].*[^$]Command$/.test(name));
console.log(commands.map(name => name.replace("Command", "")).join(" "));
"""


def _ask(program: Path, *arguments: str, script: str, folder: Path | None = None) -> list[str]:
    answer = subprocess.run([program, *arguments], input=script, cwd=folder, capture_output=True, text=True, check=True)
    return sorted(answer.stdout.split())


@pytest.mark.parametrize(
    ("name", "script"),
    [
        ("aiobotocore", ASK_AIOBOTOCORE),
        ("awscli", ASK_AWSCLI),
        ("boto3-2019", ASK_BOTO3),
        ("boto3-newest", ASK_BOTO3),
    ],
)
def test_a_python_stranger_knows_the_service(name: str, script: str) -> None:
    """Each Python SDK starts in its own environment and has the four operations."""
    assert _ask(python_of(name), "-", script=script) == OPERATIONS


def test_the_javascript_stranger_knows_the_service() -> None:
    """Node.js finds the SDK from the folder that it is given, and it has the four operations."""
    stranger = javascript()
    commands = _ask(stranger.node, "--input-type=module", script=ASK_JAVASCRIPT, folder=stranger.folder)
    assert commands == OPERATIONS


def test_every_stranger_is_pinned() -> None:
    """What is wanted and what is locked are there for each, with hashes."""
    for name in PYTHON_STRANGERS:
        assert (PINS / f"{name}.in").exists()
        assert "--hash=sha256:" in (PINS / f"{name}.txt").read_text()
