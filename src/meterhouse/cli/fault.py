"""`meterhouse fault`: calls that a sandbox makes fail."""

from functools import partial
from typing import Annotated, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.calling import path_of
from meterhouse.cli.telling import Column, number, plain, tell
from meterhouse.cli.typed import Numbers, one_of
from meterhouse.core.profile import OPERATIONS
from meterhouse.service.faults import FaultName

app = App(name="fault")

FAULT: Final = (
    Column("Fault", "id"),
    Column("Operation", "operation"),
    Column("Kind", "fault"),
    Column("Times", "times", number, right=True),
    Column("Records", "records", lambda records: "all" if records is None else plain(records)),
    Column("Seconds", "seconds", number, right=True),
    Column("Product", "product"),
    Column("Probability", "probability", right=True),
    Column("Seed", "seed", right=True),
)


@app.command(name="list")
def list_faults(*, part: Part = FIRST_PART, server: Server = HERE) -> None:
    """List the faults that will strike yet, in the order in which they were made.

    Example: meterhouse fault list
    """
    server.tell_list(FAULT, "/faults", "There are no faults.", part)


@app.command
def add(
    operation: Annotated[str, one_of(sorted(OPERATIONS))],
    fault: Annotated[str, one_of(FaultName)],
    *,
    times: int | None = None,
    records: Numbers | None = None,
    seconds: float | None = None,
    product: str | None = None,
    probability: float | None = None,
    seed: int | None = None,
    server: Server = HERE,
) -> None:
    """Make the next calls of an operation fail.

    lose_answer keeps what was sent and then drops the connection; disconnect drops it before anything is kept.

    Example: meterhouse fault add BatchMeterUsage lose_answer --times 2

    Parameters
    ----------
    operation
        Which calls it strikes.
    fault
        What it does to them.
    times
        How many calls it strikes; 1 when absent.
    records
        Which records unprocessed leaves out, counted from 0 and divided by commas; all when absent.
    seconds
        How long delay keeps a call waiting.
    product
        The product code of the calls that it strikes; any when absent.
    probability
        How likely each call is struck, above 0 and up to 1; certainly when absent.
    seed
        From which chance is drawn, so that it strikes alike again; random when absent.
    """
    body = {
        "operation": operation,
        "fault": fault,
        "times": times,
        "records": records,
        "seconds": seconds,
        "product": product,
        "probability": probability,
        "seed": seed,
    }
    server.tell(partial(tell, columns=FAULT), "POST", "/faults", body=body)


@app.command
def remove(fault: Annotated[str, Parameter(help="The fault's id.")], *, server: Server = HERE) -> None:
    """Remove a fault.

    Example: meterhouse fault remove fault-abcdefghijklm
    """
    server.do(f"{fault} is removed.", "DELETE", path_of("faults", fault))


@app.command
def clear(*, server: Server = HERE) -> None:
    """Remove all faults.

    Example: meterhouse fault clear
    """
    server.do("All faults are removed.", "DELETE", "/faults")
