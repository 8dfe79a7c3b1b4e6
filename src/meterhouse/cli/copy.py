"""`meterhouse copy`: a ledger from SQLite into PostgreSQL, or back."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.waiting import waiting
from meterhouse.server.settings import MEMORY, POSTGRES_SCHEMES

if TYPE_CHECKING:
    from meterhouse.ledger.copying import Copied, Place


def copy(
    *,
    source: Annotated[str, Parameter(name="--from")],
    target: Annotated[str, Parameter(name="--to")],
) -> None:
    """Copy a ledger from SQLite into PostgreSQL, or back.

    Stop the servers of both first. A copy that was interrupted goes on where it ended when it is called again; what is
    there already is never overwritten, and a target that holds anything else is refused. At the end both are compared:
    records, journal rows, exact sums, claims and the catalog. The copy's secrets are encrypted as before, so it is
    served with the same master key: for PostgreSQL, `METERHOUSE_MASTER_KEY="$(cat meterhouse.db.key)"`.

    Example: meterhouse copy --from meterhouse.db --to postgresql://meterhouse@db.example.com/meterhouse

    Parameters
    ----------
    source
        The ledger to copy: a SQLite file, or `postgresql://…`.
    target
        Where the copy is to be: a SQLite file, made where there is none, or `postgresql://…`.
    """
    from meterhouse.ledger.copying import NotACopy
    from meterhouse.ledger.protocol import Busy, CannotOpen, LedgerFailure

    _check("--from", source)
    _check("--to", target)
    if not source.startswith(POSTGRES_SCHEMES) and not Path(source).is_file():
        raise CommandFailed(f"--from: there is no ledger at {source}.", 2)
    try:
        with waiting("The ledger is copied") as bar:
            copied = asyncio.run(_copy(source, target, bar.advance))
    except (NotACopy, CannotOpen, LedgerFailure, Busy) as failure:
        raise CommandFailed(f"{failure}.") from None
    print(
        f"Copied: {copied.records} records in {copied.journal_rows} journal rows, {copied.claims} claims and "
        f"{copied.documents} documents. Counts and sums of both are the same."
    )


def _check(flag: str, place: str) -> None:
    if place == MEMORY:
        raise CommandFailed(f"{flag}: a ledger in memory is its server's own.", 2)
    if "://" in place and not place.startswith(POSTGRES_SCHEMES):
        raise CommandFailed(f"{flag}: {place} is neither a file nor the address of a PostgreSQL database.", 2)


async def _copy(source: str, target: str, on_rows: Callable[[int, int], None]) -> "Copied":
    from meterhouse.ledger.copying import copy_ledger

    async with _opened(source) as one, _opened(target) as other:
        return await copy_ledger(one, other, on_rows)


@asynccontextmanager
async def _opened(place: str) -> AsyncIterator["Place"]:
    if place.startswith(POSTGRES_SCHEMES):
        try:
            from meterhouse.ledger.postgres import open_postgres
        except ModuleNotFoundError:
            raise CommandFailed(
                "PostgreSQL needs the extra `postgres`: pip install 'meterhouse[postgres]'.", 2
            ) from None
        found = await open_postgres(place)
        try:
            yield found
        finally:
            await found.close()
    else:
        from meterhouse.ledger.sqlite import open_sqlite
        from meterhouse.ledger.sqlite_claims import SqlitePlace

        ledger = await open_sqlite(Path(place))
        try:
            yield SqlitePlace(ledger, Path(place))
        finally:
            await ledger.close()
