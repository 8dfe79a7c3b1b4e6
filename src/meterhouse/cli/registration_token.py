"""`meterhouse token`: registration tokens, buyers' ways back to the seller."""

from functools import partial
from typing import Annotated, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import HERE, Server
from meterhouse.cli.telling import Column, instant, tell
from meterhouse.cli.typed import Instant

app = App(name="token")

TOKEN: Final = (
    Column("Registration token", "token"),
    Column("Agreement", "agreement"),
    Column("Expires", "expires", instant),
)


@app.command
def create(
    agreement: Annotated[str, Parameter(help="The agreement's id.")],
    *,
    token: str | None = None,
    issued: Instant | None = None,
    server: Server = HERE,
) -> None:
    """Issue a registration token for an agreement; it is shown this once.

    Example: meterhouse token create agmt-1example

    Parameters
    ----------
    token
        The token; random when absent.
    issued
        Since when it is valid; now when absent.
    """
    body = {"agreement": agreement, "token": token, "issued": issued}
    server.tell(partial(tell, columns=TOKEN), "POST", "/registration-tokens", body=body)
