"""`meterhouse agreement`: buyers' acceptances of offers."""

from functools import partial
from typing import Annotated, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.calling import NULL, path_of
from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.telling import Column, instant, tell
from meterhouse.cli.typed import Instant, one_of
from meterhouse.core.catalog import AgreementState

app = App(name="agreement")

AGREEMENT: Final = (
    Column("Agreement", "id"),
    Column("Product", "product"),
    Column("Buyer", "buyer"),
    Column("Customer identifier", "customer_identifier"),
    Column("License", "license_arn", listed=False),
    Column("Status", "status"),
    Column("Start", "start", instant),
    Column("End", "end", instant),
)
_tell = partial(tell, columns=AGREEMENT)

AgreementId = Annotated[str, Parameter(help="The agreement's id.")]


@app.command(name="list")
def list_agreements(*, part: Part = FIRST_PART, server: Server = HERE) -> None:
    """List the agreements.

    Example: meterhouse agreement list --all
    """
    server.tell_list(AGREEMENT, "/agreements", "There are no agreements.", part)


@app.command
def show(agreement: AgreementId, *, server: Server = HERE) -> None:
    """Show an agreement, in the state in which it is now.

    Example: meterhouse agreement show agmt-1example
    """
    server.tell(_tell, "GET", path_of("agreements", agreement))


@app.command
def create(
    product: str,
    buyer: str,
    *,
    id_: Annotated[str | None, Parameter(name="--id")] = None,
    license_arn: str | None = None,
    customer_identifier: str | None = None,
    start: Instant | None = None,
    end: Instant | None = None,
    status: Annotated[str | None, one_of(AgreementState)] = None,
    server: Server = HERE,
) -> None:
    """Make an agreement, and with it a license.

    Example: meterhouse agreement create a1b2c3d4e5f6g7h8i9j0k1l2m 444455556666

    Parameters
    ----------
    product
        The product code.
    buyer
        The buyer's AWS account id.
    id_
        Its id; made up when absent.
    license_arn
        Its license; made up when absent.
    customer_identifier
        What the seller calls the buyer, of legacy products; made up when absent.
    start
        Since when it holds; now when absent.
    end
        When it ends.
    status
        The state it is made in; active when absent.
    """
    members = {
        "id": id_,
        "license_arn": license_arn,
        "customer_identifier": customer_identifier,
        "product": product,
        "buyer": buyer,
        "start": start,
        "end": end,
        "status": status,
    }
    server.tell(_tell, "POST", "/agreements", body=members)


@app.command
def update(
    agreement: AgreementId,
    *,
    start: Instant | None = None,
    end: Instant | None = None,
    no_end: Annotated[bool, Parameter(negative=())] = False,
    status: Annotated[str | None, one_of(AgreementState)] = None,
    server: Server = HERE,
) -> None:
    """Replace members of an agreement; what names it cannot change.

    Example: meterhouse agreement update agmt-1example --end 2028-01-01

    Parameters
    ----------
    start
        Since when it holds.
    end
        When it ends: a later time renews it, and its license stays.
    no_end
        It is to have no end.
    status
        The state that it goes on to; no step leads back.
    """
    if no_end and end is not None:
        raise CommandFailed("--end and --no-end contradict each other.", 2)
    members = {"start": start, "end": NULL if no_end else end, "status": status}
    if all(value is None for value in members.values()):
        raise CommandFailed("Nothing is to be replaced: give --start, --end, --no-end or --status.", 2)
    server.tell(_tell, "PATCH", path_of("agreements", agreement), body=members)


@app.command
def activate(agreement: AgreementId, *, server: Server = HERE) -> None:
    """Activate a pending agreement: the buyer accepts.

    Example: meterhouse agreement activate agmt-1example
    """
    server.tell(_tell, "PATCH", path_of("agreements", agreement), body={"status": "active"})


@app.command
def unsubscribe(agreement: AgreementId, *, server: Server = HERE) -> None:
    """Begin an agreement's last hour: the buyer unsubscribes, and what was used may still be metered.

    Example: meterhouse agreement unsubscribe agmt-1example
    """
    server.tell(_tell, "PATCH", path_of("agreements", agreement), body={"status": "unsubscribing"})


@app.command
def end(agreement: AgreementId, *, at: Instant | None = None, server: Server = HERE) -> None:
    """End an agreement, now or at a time; a later time than before renews it.

    Example: meterhouse agreement end agmt-1example --at 2027-01-01

    Parameters
    ----------
    at
        When it ends; now when absent.
    """
    body = {"status": "ended"} if at is None else {"end": at}
    server.tell(_tell, "PATCH", path_of("agreements", agreement), body=body)
