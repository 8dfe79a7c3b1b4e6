"""`meterhouse clock`: what time it is, for a sandbox."""

from functools import partial
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import HERE, Server
from meterhouse.cli.telling import Column, instant, tell
from meterhouse.cli.typed import Instant, Span

app = App(name="clock")

CLOCK: Final = (Column("Now", "now", instant), Column("Mode", "mode"))

Account = Annotated[str | None, Parameter(help="The clock of this AWS account; the clock for all when absent.")]


def _move(body: dict[str, Any], account: str | None, server: Server) -> None:
    server.tell(partial(tell, columns=CLOCK), "PUT", "/clock", query={"account": account}, body=body)


@app.command
def show(*, account: Account = None, server: Server = HERE) -> None:
    """Show what time it is, and how the clock goes.

    Example: meterhouse clock show
    """
    server.tell(partial(tell, columns=CLOCK), "GET", "/clock", query={"account": account})


@app.command
def freeze(
    time: Annotated[Instant, Parameter(help="At which it stands still.")],
    *,
    account: Account = None,
    server: Server = HERE,
) -> None:
    """Freeze the clock at a time.

    Example: meterhouse clock freeze 2026-11-30T23:59:59Z
    """
    _move({"now": time}, account, server)


@app.command
def advance(
    by: Annotated[Span, Parameter(help="How far: 1h, 90m, 2d, 1h30m.", allow_leading_hyphen=True)],
    *,
    account: Account = None,
    server: Server = HERE,
) -> None:
    """Move the clock ahead; one that is frozen stays frozen.

    Example: meterhouse clock advance 1h
    """
    _move({"advance_seconds": by}, account, server)


@app.command
def real(*, account: Account = None, server: Server = HERE) -> None:
    """Let it be as late as it really is. Clocks of accounts stay as they are set: name each with --account.

    Example: meterhouse clock real
    """
    _move({"real": True}, account, server)
