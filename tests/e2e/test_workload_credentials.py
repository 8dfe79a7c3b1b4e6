"""Stock SDKs inside workloads: they are told where the service is and where their platform is, and find all else.

No keys, no files, no Region but the one that the software itself names; the variables of a container, or of an
instance. What they meter is metered as their workload.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.e2e.control import ask
from tests.e2e.market import now_seconds
from tests.e2e.serving import Server
from tests.e2e.workloads import (
    ADMIN,
    BOX,
    BUYER,
    CATALOG,
    FOREIGN,
    Told,
    aws,
    in_container,
    metering,
    on_instance,
    registering,
    spoken,
    start,
)

KNOW_THE_VARIABLES = ("boto3-newest", "javascript")
CONTAINERS = [*KNOW_THE_VARIABLES, "boto3-2019"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with metadata services; signatures are verified."""
    with Server(tmp_path_factory.mktemp("workloads"), "--imds", catalog=CATALOG, environment=ADMIN) as running:
        yield running


def records_of(server: Server, resource_id: str) -> list[dict[str, Any]]:
    """What a workload has metered."""
    items = ask(server.port, "GET", "/records?limit=1000")["items"]
    return [one for one in items if one["resource_id"] == resource_id]


def old(name: str, server: Server, told: Told) -> Told:
    """What an SDK of 2019 is told in place of the variables that it does not know."""
    if name != "boto3-2019":
        return told
    return told._replace(endpoint=server.url, metadata=told.variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT"))


def check_container(server: Server, started: dict[str, Any], outcomes: list[Any]) -> None:
    """A task that metered, metered again, and registered."""
    metered, again, registered = outcomes
    assert metered == again
    assert registered["Signature"].count(".") == 2
    usage, registration = records_of(server, started["resource_id"])
    assert usage | {"record_id": metered["MeteringRecordId"], "buyer": BUYER, "dimension": "requests"} == usage
    assert (registration["operation"], registration["buyer"]) == ("RegisterUsage", BUYER)


@pytest.mark.parametrize("name", CONTAINERS)
@pytest.mark.parametrize("with_token", [True, False], ids=["token", "address-alone"])
def test_an_sdk_in_a_container_finds_its_credentials(
    server: Server, tmp_path: Path, name: str, *, with_token: bool
) -> None:
    """By AWS_CONTAINER_CREDENTIALS_FULL_URI, with the authorization token beside it or without."""
    started = start(server, "fargate")
    told = old(name, server, in_container(server, started, with_token=with_token))
    found = spoken(name, tmp_path, told, metering(), metering(), registering(Nonce="n"))
    assert found["found_by"] == (None if name == "javascript" else "container-role")
    check_container(server, started, found["outcomes"])


@pytest.mark.parametrize("name", CONTAINERS)
def test_an_sdk_on_an_instance_finds_its_credentials(server: Server, tmp_path: Path, name: str) -> None:
    """By the metadata service, a session token first; registering is for containers alone."""
    started = start(server, "ec2")
    told = old(name, server, on_instance(server, started))
    found = spoken(name, tmp_path, told, metering(), metering(6), registering())
    metered, conflicting, registered = found["outcomes"]
    assert found["found_by"] == (None if name == "javascript" else "iam-role")
    assert conflicting["code"] == "DuplicateRequestException"
    assert registered["code"] == "PlatformNotSupportedException"
    (usage,) = records_of(server, started["resource_id"])
    assert (usage["record_id"], usage["quantity"]) == (metered["MeteringRecordId"], "5")


def test_the_aws_command_line_finds_its_credentials(server: Server, tmp_path: Path) -> None:
    """In a container and on an instance alike."""
    started = start(server, "eks")
    told = in_container(server, started)
    outcomes = []
    for one in (metering(), metering(), registering(Nonce="n")):
        code, printed, complained = aws(tmp_path, told, one)
        assert code == 0, complained
        outcomes.append(printed)
    check_container(server, started, outcomes)
    instance = start(server, "ec2")
    code, printed, complained = aws(tmp_path, on_instance(server, instance), metering())
    assert code == 0, complained
    assert [one["record_id"] for one in records_of(server, instance["resource_id"])] == [printed["MeteringRecordId"]]


# What a task says, and the error that it hears; each in the order of the contract's steps
REFUSED: Final = [
    (metering(UsageQuantity=1, UsageQuantityAsDecimal="1"), "ValidationException"),
    (metering(ProductCode="no-such-product"), "InvalidProductCodeException"),
    (metering(ProductCode=FOREIGN), "CustomerNotEntitledException"),
    (metering(UsageDimension="hosts"), "InvalidUsageDimensionException"),
    (metering(Timestamp=now_seconds() - 7 * 3600), "TimestampOutOfBoundsException"),
    (metering(UsageAllocations=[{"Tags": [{"Key": "aws:a", "Value": "b"}]}]), "InvalidTagException"),
    (metering(UsageAllocations=[{"AllocatedUsageQuantity": 4}]), "InvalidUsageAllocationsException"),
    (metering(UsageQuantity=6, ClientToken="bound"), "IdempotencyConflictException"),
    (metering(UsageQuantity=6), "DuplicateRequestException"),
    (registering(ProductCode="no-such-product"), "InvalidProductCodeException"),
    (registering(PublicKeyVersion=9), "InvalidPublicKeyVersionException"),
    (registering(ProductCode=FOREIGN), "CustomerNotEntitledException"),
]
UNMODELLED: Final = {"ValidationException"}


def test_errors_have_the_classes_of_the_sdk(server: Server, tmp_path: Path) -> None:
    """boto3 raises each modelled error by its own class, so that software can catch it."""
    told = in_container(server, start(server))
    said = [metering(ClientToken="bound"), *(one for one, _ in REFUSED)]
    first, *found = spoken("boto3-newest", tmp_path, told, *said)["outcomes"]
    assert first.keys() == {"MeteringRecordId"}
    expected = [{"code": code, "class": "ClientError" if code in UNMODELLED else code} for _, code in REFUSED]
    assert found == expected


@pytest.mark.parametrize("name", KNOW_THE_VARIABLES)
def test_a_wrong_token_finds_nothing(server: Server, tmp_path: Path, name: str) -> None:
    """Software that was given another's token has no credentials, and sends nothing."""
    started, other = start(server), start(server)
    told = in_container(server, started | {"authorization_token": other["authorization_token"]})
    (outcome,) = spoken(name, tmp_path, told, metering())["outcomes"]
    assert outcome.get("unsaid") == "CredentialRetrievalError" or outcome.get("code") == "CredentialsProviderError"
    assert records_of(server, started["resource_id"]) == []


def test_an_ended_task_finds_nothing(server: Server, tmp_path: Path) -> None:
    """The address leads nowhere once the task was ended."""
    started = start(server, resource_id="task/ended")
    ask(server.port, "POST", "/workloads/task%2Fended/end")
    (outcome,) = spoken("boto3-newest", tmp_path, in_container(server, started), metering())["outcomes"]
    assert outcome == {"unsaid": "CredentialRetrievalError"}


def test_an_instance_can_tell_its_region_by_its_identity_document(server: Server, tmp_path: Path) -> None:
    """What software on EC2 reads to know where it is: a workload's Region is the only one that it may call."""
    started = start(server, "ec2", region="eu-west-1")
    told = on_instance(server, started)
    (here,) = spoken("boto3-newest", tmp_path, told, metering(), region="eu-west-1")["outcomes"]
    (there,) = spoken("boto3-newest", tmp_path, told, metering(), region="us-east-1")["outcomes"]
    assert "MeteringRecordId" in here
    assert there == {"code": "InvalidEndpointRegionException", "class": "InvalidEndpointRegionException"}
    assert {one["region"] for one in records_of(server, started["resource_id"])} == {"eu-west-1"}
    assert BOX in {one["product"] for one in records_of(server, started["resource_id"])}
