"""`meterhouse record`: the usage records that are kept."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.telling import Column, Row, instant, money, number
from meterhouse.cli.typed import Instant

app = App(name="record")

RECORD: Final = (
    Column("Time", "timestamp", instant),
    Column("Product", "product"),
    Column("Region", "region"),
    Column("Buyer", "buyer"),
    Column("Dimension", "dimension"),
    Column("Quantity", "quantity", number, right=True),
    Column("Unit", "unit"),
    Column("Preview", "preview"),
    Column("Record id", "record_id"),
)


class _Price(Column):
    """A price: of a unit, but of an hour where what ran is counted in seconds (RegisterUsage)."""

    def of(self, row: Row) -> str:
        """See `Column.of`."""
        return f"{super().of(row)}/h" if not row.get("dimension") else super().of(row)


TOTAL: Final = (
    Column("Month", "month"),
    Column("Buyer", "buyer"),
    Column("Dimension", "dimension"),
    Column("Quantity", "quantity", number, right=True),
    Column("Unit", "unit"),
    _Price("Price", "price", money, right=True),
    Column("Amount", "amount", money, right=True),
)
NONE: Final = "There are no such records."


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which records; what is absent may be any."""

    product: Annotated[str | None, Parameter(help="Of this product code.")] = None
    customer: Annotated[
        str | None, Parameter(help="Of this buyer: its account id, customer identifier, or license.")
    ] = None
    dimension: Annotated[
        str | None, Parameter(help="Of this dimension; empty for what RegisterUsage is metered for.")
    ] = None
    region: Annotated[str | None, Parameter(help="Metered in this Region.")] = None
    from_: Annotated[Instant | None, Parameter(name="--from", help="Used at this time or later.")] = None
    to: Annotated[Instant | None, Parameter(help="Used before this time.")] = None

    def query(self) -> dict[str, Any]:
        """As the API is asked."""
        return {name.rstrip("_"): value for name, value in asdict(self).items()}


ANY: Final = Wanted()
Csv = Annotated[bool, Parameter(negative=(), help="Print all of it as CSV, for a spreadsheet.")]


def _tell(
    path: str, columns: tuple[Column, ...], part: Part, query: dict[str, Any], server: Server, *, csv: bool
) -> None:
    if not csv:
        server.tell_list(columns, path, NONE, part, query)
        return
    if server.json or part != FIRST_PART:
        raise CommandFailed("--csv prints all of it, and nothing else: leave out --json, --after, --limit, --all.", 2)
    server.pass_on(path, {**query, "format": "csv"})


@app.command(name="list")
def list_records(*, wanted: Wanted = ANY, csv: Csv = False, part: Part = FIRST_PART, server: Server = HERE) -> None:
    """List the usage records that are kept, in the order in which they were.

    Example: meterhouse record list --customer 444455556666 --from 2026-11-01
    """
    _tell("/records", RECORD, part, wanted.query(), server, csv=csv)


@app.command
def totals(*, wanted: Wanted = ANY, csv: Csv = False, server: Server = HERE) -> None:
    """Add up what is kept, by month, buyer and dimension, and what it costs.

    Example: meterhouse record totals --from 2026-11-01 --to 2026-12-01
    """
    _tell("/records", TOTAL, FIRST_PART, {**wanted.query(), "totals": True}, server, csv=csv)
