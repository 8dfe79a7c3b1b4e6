"""`meterhouse prune`: old months out of a ledger, once they are in a file."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import msgspec
from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.telling import Column, number, print_bytes, tell, tell_table
from meterhouse.cli.waiting import waiting
from meterhouse.server.settings import POSTGRES_SCHEMES

if TYPE_CHECKING:
    from meterhouse.ledger.pruning import Prunable

LedgerAddress = Annotated[
    str, Parameter(env_var="METERHOUSE_DATA", help="The ledger: a SQLite file, or `postgresql://…`.")
]
MONTHS: Final = (Column("Month", "month"), Column("Records", "records", number, right=True))
PRUNED: Final = (
    Column("Export", "export"),
    Column("Exported records", "exported_records", number),
    Column("Removed records", "removed_records", number),
    Column("Forgotten ClientTokens", "forgotten_tokens", number),
)


def prune(
    *,
    before: Annotated[str, Parameter(help="The first month that is kept, such as 2026-01.")],
    export: Annotated[Path | None, Parameter(help="The file for what is removed.")] = None,
    data: LedgerAddress = "meterhouse.db",
    dry_run: Annotated[bool, Parameter(negative=(), help="Only say what would be removed.")] = False,
    json: Annotated[bool, Parameter(negative=(), help="Print what was done, as JSON.")] = False,
) -> None:
    """Export old months into a file, and remove them from the ledger.

    Nothing is removed until the export is synced, read back, and comes to the ledger's own counts and sums. One that
    was interrupted goes on when it is called again with the same words. A server of a SQLite ledger must be stopped
    meanwhile; servers on PostgreSQL go on.

    Example: meterhouse prune --before 2026-01 --export until-2025.jsonl --data meterhouse.db
    """
    from meterhouse.ledger.archive import NotAnArchive
    from meterhouse.ledger.protocol import Busy, CannotOpen, LedgerFailure
    from meterhouse.ledger.pruning import CannotPrune, check_month

    if export is None and not dry_run:
        raise CommandFailed("--export FILE is needed: nothing is removed that is not in a file; or --dry-run.", 2)
    if not data.startswith(POSTGRES_SCHEMES) and not Path(data).is_file():
        raise CommandFailed(f"--data: there is no ledger at {data}.", 2)
    now_micros = time.time_ns() // 1000
    try:
        check_month(before, now_micros)
    except CannotPrune as refused:
        raise CommandFailed(f"--before: {refused}.", 2) from None
    try:
        with waiting("The ledger is looked at") as bar:
            done = asyncio.run(_pruned(data, before, None if dry_run else export, now_micros, bar.advance))
    except (CannotPrune, NotAnArchive, CannotOpen, LedgerFailure, Busy) as failure:
        raise CommandFailed(f"{failure}.") from None
    except OSError as error:
        raise CommandFailed(f"{export} cannot be written or read: {error.strerror}.") from None
    if json:
        print_bytes(msgspec.json.encode(done) + b"\n")
    elif dry_run:
        _tell_months(before, done["months"])
    elif done["export"] is None:
        print(f"Nothing is older than {before}.")
    else:
        tell(done, PRUNED)


def _tell_months(before: str, months: Mapping[str, int]) -> None:
    if months:
        tell_table([{"month": month, "records": records} for month, records in months.items()], MONTHS)
    else:
        print(f"Nothing is older than {before}.")


async def _pruned(
    data: str, before: str, export: Path | None, now_micros: int, on_step: Callable[[int, int | None, str], None]
) -> dict[str, Any]:
    from meterhouse.ledger.pruning import look, prune

    async with _opened(data) as place:
        if export is None:
            found = await look(place, before)
            return {"before": before, "records": found.records, "months": dict(found.months)}
        done = await prune(place, before, export, now_micros, on_step)
    archive = done.archive
    return {
        "before": before,
        "export": None if archive is None else str(export),
        "exported_records": 0 if archive is None else archive.records,
        "removed_records": done.removed_records,
        "forgotten_tokens": done.forgotten_tokens,
    }


@asynccontextmanager
async def _opened(data: str) -> AsyncIterator["Prunable"]:
    if data.startswith(POSTGRES_SCHEMES):
        try:
            from meterhouse.ledger.postgres_pruning import open_prunable_postgres
        except ModuleNotFoundError:
            raise CommandFailed(
                "PostgreSQL needs the extra `postgres`: pip install 'meterhouse[postgres]'.", 2
            ) from None
        async with open_prunable_postgres(data) as database:
            yield database
    else:
        from meterhouse.ledger.sqlite_pruning import open_prunable_sqlite

        async with open_prunable_sqlite(Path(data)) as file:
            yield file
