"""`meterhouse workload`: software that runs at buyers."""

from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.calling import path_of
from meterhouse.cli.credential import SECRETS
from meterhouse.cli.telling import Column, count, instant, money, number, tell, tell_table
from meterhouse.cli.typed import Instant, one_of
from meterhouse.core.catalog import Platform

app = App(name="workload")

WORKLOAD: Final = (
    Column("Resource id", "resource_id"),
    Column("Platform", "platform"),
    Column("Account", "account"),
    Column("Region", "region"),
    Column("Launched", "launched", instant),
    Column("Ended", "ended", instant),
    Column("Heartbeat seconds", "heartbeat_seconds", number, listed=False),
    Column("Last seen", "last_seen", instant, listed=False),
    Column("Registered", "registered", count, right=True),
)
REGISTERED: Final = (
    Column("Product", "product"),
    Column("Since", "since", instant),
    Column("Seconds", "seconds", number, right=True),
    Column("Amount", "amount", money, right=True),
)
VARIABLES: Final = {
    "AWS_CONTAINER_CREDENTIALS_FULL_URI": "credentials_uri",
    "AWS_CONTAINER_AUTHORIZATION_TOKEN": "authorization_token",
    "AWS_EC2_METADATA_SERVICE_ENDPOINT": "metadata_endpoint",
}
"""Where an SDK looks for its credentials by itself, and what it must find there."""

ResourceId = Annotated[str, Parameter(help="The instance, task, pod or runtime.")]


def _tell(workload: dict[str, Any]) -> None:
    tell(workload, WORKLOAD)
    if workload["registered"]:
        print()
        tell_table(workload["registered"], REGISTERED)


def _tell_started(workload: dict[str, Any]) -> None:
    _tell(workload)
    print()
    tell(workload["credentials"], SECRETS)
    print("\nAn SDK finds credentials by itself, from now on and anew before they expire, with")
    for variable, member in VARIABLES.items():
        if workload[member] is not None:
            print(f"export {variable}={workload[member]}")


@app.command(name="list")
def list_workloads(*, part: Part = FIRST_PART, server: Server = HERE) -> None:
    """List the workloads.

    Example: meterhouse workload list
    """
    server.tell_list(WORKLOAD, "/workloads", "There are no workloads.", part)


@app.command
def show(resource_id: ResourceId, *, server: Server = HERE) -> None:
    """Show a workload, and what it is metered for by the second.

    Example: meterhouse workload show task/0123456789abcdef
    """
    server.tell(_tell, "GET", path_of("workloads", resource_id))


@app.command
def start(
    platform: Annotated[str, one_of(Platform)],
    account: str,
    region: str,
    *,
    resource_id: str | None = None,
    launched: Instant | None = None,
    heartbeat_seconds: int | None = None,
    server: Server = HERE,
) -> None:
    """Start a workload; its first credentials are shown this once.

    Example: meterhouse workload start ecs 444455556666 us-east-1

    Parameters
    ----------
    platform
        Where it runs.
    account
        The AWS account id of the buyer.
    region
        The Region in which it runs.
    resource_id
        The instance, task, pod or runtime; made up when absent.
    launched
        Since when it runs; now when absent.
    heartbeat_seconds
        How long without a sign of life until it counts as ended; for ever when absent.
    """
    body = {
        "platform": platform,
        "account": account,
        "region": region,
        "resource_id": resource_id,
        "launched": launched,
        "heartbeat_seconds": heartbeat_seconds,
    }
    server.tell(_tell_started, "POST", "/workloads", body=body)


@app.command
def heartbeat(resource_id: ResourceId, *, server: Server = HERE) -> None:
    """Give a sign of life of a workload.

    Example: meterhouse workload heartbeat task/0123456789abcdef
    """
    server.tell(_tell, "POST", path_of("workloads", resource_id, "heartbeat"), body={})


@app.command
def end(resource_id: ResourceId, *, server: Server = HERE) -> None:
    """End a workload: its credentials are refused from now on.

    Example: meterhouse workload end task/0123456789abcdef
    """
    server.tell(_tell, "POST", path_of("workloads", resource_id, "end"), body={})
