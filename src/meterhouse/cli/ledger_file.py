"""The flag --data of commands that need no server: which file it names."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.server.settings import MEMORY, POSTGRES_SCHEMES

LedgerPlace = Annotated[str, Parameter(env_var="METERHOUSE_DATA", help="The ledger: a SQLite file.")]


def ledger_file(data: str) -> Path:
    """The ledger's file. Raises CommandFailed where there is none."""
    if data == MEMORY or data.startswith(POSTGRES_SCHEMES):
        raise CommandFailed("--data: this is for a SQLite file; a database has means of its own.", 2)
    path = Path(data)
    if not path.is_file():
        raise CommandFailed(f"--data: there is no ledger at {path}.", 2)
    return path
