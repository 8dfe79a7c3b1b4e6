"""`meterhouse credential`: keys that sign calls."""

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.calling import path_of
from meterhouse.cli.telling import Column, instant, tell
from meterhouse.cli.typed import Instant, one_of, read_one
from meterhouse.core.catalog import Platform

app = App(name="credential")

CREDENTIAL: Final = (
    Column("Access key id", "access_key_id"),
    Column("Account", "account"),
    Column("Principal", "principal"),
    Column("Workload", "workload"),
    Column("Expires", "expires", instant),
)
SECRETS: Final = (
    Column("Access key id", "access_key_id"),
    Column("Secret access key", "secret_access_key"),
    Column("Session token", "session_token"),
    Column("Expires", "expires", instant),
    Column("Account", "account"),
    Column("Principal", "principal"),
)


@app.command(name="list")
def list_credentials(*, part: Part = FIRST_PART, server: Server = HERE) -> None:
    """List the credentials, without their secrets.

    Example: meterhouse credential list
    """
    server.tell_list(CREDENTIAL, "/credentials", "There are no credentials.", part)


@app.command
def create(
    account: str,
    *,
    access_key_id: str | None = None,
    secret_access_key: str | None = None,
    session_token: str | None = None,
    expires: Instant | None = None,
    principal: str | None = None,
    policy: Path | None = None,
    platform: Annotated[str | None, one_of(Platform)] = None,
    resource_id: str | None = None,
    region: str | None = None,
    launched: Instant | None = None,
    heartbeat_seconds: int | None = None,
    server: Server = HERE,
) -> None:
    """Make a credential; its secrets are shown this once.

    With --platform and --region it is one of software that runs at a buyer.

    Example: meterhouse credential create 111122223333

    Parameters
    ----------
    account
        The AWS account id that it acts for.
    access_key_id
        Its id; made up when absent.
    secret_access_key
        Its secret; made up when absent, which is better, since others can see what is typed here.
    session_token
        The session token of temporary credentials.
    expires
        Until when it is valid.
    principal
        Who acts, as an ARN; made from the account when absent.
    policy
        A file with an IAM policy, JSON or TOML; all of aws-marketplace:* is allowed when absent.
    platform
        Where the software runs.
    resource_id
        The instance, task, pod or runtime; made up when absent.
    region
        The Region in which the software runs.
    launched
        Since when the software runs; now when absent.
    heartbeat_seconds
        How long without a sign of life until it counts as ended.
    """
    workload: dict[str, Any] = {
        "platform": platform,
        "resource_id": resource_id,
        "region": region,
        "launched": launched,
        "heartbeat_seconds": heartbeat_seconds,
    }
    workload = {name: value for name, value in workload.items() if value is not None}
    body = {
        "account": account,
        "access_key_id": access_key_id,
        "secret_access_key": secret_access_key,
        "session_token": session_token,
        "expires": expires,
        "principal": principal,
        "policy": None if policy is None else read_one(policy, "policy"),
        "workload": workload or None,
    }
    server.tell(partial(tell, columns=SECRETS), "POST", "/credentials", body=body)


@app.command
def delete(access_key_id: str, *, server: Server = HERE) -> None:
    """Delete a credential: calls signed with it are refused from now on.

    Example: meterhouse credential delete AKIDEXAMPLESELLER0001

    Parameters
    ----------
    access_key_id
        Its id.
    """
    server.do(f"{access_key_id} is deleted.", "DELETE", path_of("credentials", access_key_id))
