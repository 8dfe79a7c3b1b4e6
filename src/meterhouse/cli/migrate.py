"""`meterhouse migrate`: brings a PostgreSQL database to the schema of this version."""

import asyncio
from typing import Annotated

from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.server.settings import POSTGRES_SCHEMES

Database = Annotated[
    str, Parameter(env_var="METERHOUSE_DATA", help="The database, as `postgresql://user@host/database`.")
]


def migrate(*, data: Database, citus: Annotated[bool, Parameter(negative=())] = False) -> None:
    """Bring a PostgreSQL database to the schema of this version, an empty one from nothing.

    Servers migrate an empty database by themselves, and refuse one that is older or newer than they are. One migrator
    works at a time; whoever comes second finds nothing left to do. A SQLite ledger needs none of this.

    Example: meterhouse migrate --data postgresql://meterhouse@db.example.com/meterhouse

    Parameters
    ----------
    citus
        Spread the tables over the nodes of Citus, by partition. Once is enough.
    """
    from meterhouse.ledger.protocol import CannotOpen

    if not data.startswith(POSTGRES_SCHEMES):
        raise CommandFailed(
            f"--data: {data} is no address of a PostgreSQL database, such as postgresql://host/name.", 2
        )
    try:
        from meterhouse.ledger.postgres_migrations import migrate as migrate_database
    except ModuleNotFoundError:
        raise CommandFailed("PostgreSQL needs the extra `postgres`: pip install 'meterhouse[postgres]'.", 2) from None
    try:
        migrated = asyncio.run(migrate_database(data, distribute=citus))
    except CannotOpen as failure:
        raise CommandFailed(f"{failure}.") from None
    spread = ", distributed by partition" if migrated.distributed else ""
    if migrated.before == migrated.after:
        print(f"The schema is {migrated.after} already{spread}.")
    else:
        print(f"The schema is {migrated.after} now; it was {migrated.before or 'empty'}{spread}.")
