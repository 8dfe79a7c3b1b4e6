"""`meterhouse journal`: the requests that kept something, as they came and as they come."""

from threading import Event
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.calling import Caller, Unanswered
from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.following import Following
from meterhouse.cli.telling import Column, Listing, count, instant, note, print_bytes

app = App(name="journal")

JOURNAL: Final = (
    Column("Received", "received", instant),
    Column("Product", "product"),
    Column("Region", "region"),
    Column("Position", "position", right=True),
    Column("Operation", "operation"),
    Column("Principal", "principal"),
    Column("Records", "records", count, right=True),
    Column("Request id", "request_id"),
)

POLL_SECONDS: Final = 1.0

Product = Annotated[str | None, Parameter(help="Of this product code.")]
Region = Annotated[str | None, Parameter(help="Of this Region.")]


@app.command(name="list")
def list_journal(
    *, product: Product = None, region: Region = None, part: Part = FIRST_PART, server: Server = HERE
) -> None:
    """List the requests that kept something new.

    Of one product in one Region they come as they were committed, and --after takes a position as well.

    Example: meterhouse journal list --product a1b2c3d4e5f6g7h8i9j0k1l2m --region us-east-1
    """
    query = {"product": product, "region": region}
    server.tell_list(JOURNAL, "/journal", "The journal is empty.", part, query)


@app.command
def follow(*, product: Product = None, region: Region = None, after: str | None = None, server: Server = HERE) -> None:
    """Print the journal, and go on with each request as it is kept, until Ctrl-C; with --json a row a line.

    Example: meterhouse journal follow --product a1b2c3d4e5f6g7h8i9j0k1l2m --region us-east-1 --after 17

    Parameters
    ----------
    after
        Begin behind this position; it counts within one product and Region, so both must be given.
    """
    if after is not None and (product is None or region is None):
        raise CommandFailed("--after: a position counts within one product and Region: give --product and --region.", 2)
    following = Following(Caller(server.url), product, region, after)
    listing = Listing(JOURNAL)
    pause, reached = Event(), None
    while True:
        try:
            for rows in following.new_rows():
                if server.json:
                    print_bytes(b"".join(bytes(row) + b"\n" for row in rows))
                else:
                    listing.tell([msgspec.json.decode(row) for row in rows])
            reached = True
        except Unanswered as failure:
            if reached is None:
                raise
            if reached:
                note(f"{failure} It is asked again, every second.")
            reached = False
        pause.wait(POLL_SECONDS)
