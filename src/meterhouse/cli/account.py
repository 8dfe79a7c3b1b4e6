"""`meterhouse account`: AWS accounts as the marketplace sees them."""

from functools import partial
from typing import Annotated, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.calling import path_of
from meterhouse.cli.telling import Column, tell

app = App(name="account")

ACCOUNT: Final = (Column("Account", "id"), Column("Suspended", "suspended"))
_tell = partial(tell, columns=ACCOUNT)

AccountId = Annotated[str, Parameter(help="The AWS account id, 12 digits.")]


@app.command(name="list")
def list_accounts(*, part: Part = FIRST_PART, server: Server = HERE) -> None:
    """List the accounts for which anything was set.

    Example: meterhouse account list
    """
    server.tell_list(ACCOUNT, "/accounts", "Nothing was set for any account.", part)


@app.command
def show(account: AccountId, *, server: Server = HERE) -> None:
    """Show an account.

    Example: meterhouse account show 444455556666
    """
    server.tell(_tell, "GET", path_of("accounts", account))


@app.command
def suspend(account: AccountId, *, server: Server = HERE) -> None:
    """Suspend an account: its buyer counts as not subscribed.

    Example: meterhouse account suspend 444455556666
    """
    server.tell(_tell, "PATCH", path_of("accounts", account), body={"suspended": True})


@app.command
def restore(account: AccountId, *, server: Server = HERE) -> None:
    """Restore an account that was suspended.

    Example: meterhouse account restore 444455556666
    """
    server.tell(_tell, "PATCH", path_of("accounts", account), body={"suspended": False})
