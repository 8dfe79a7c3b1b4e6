"""Brings a PostgreSQL database to the schema of this version, one migrator at a time.

Each run is one transaction: the steps that a database has not seen, all or none. The migrator holds an advisory lock
meanwhile, so whoever comes at the same time waits, and finds nothing left to do.
"""

from collections.abc import Callable
from typing import Final, NamedTuple

from meterhouse.ledger.postgres_connections import FAILURES, Connection, cannot_open, connect, without_password
from meterhouse.ledger.postgres_schema import SCHEMA_TABLE, STEPS, distribution
from meterhouse.ledger.postgres_statements import MIGRATION_CLASS
from meterhouse.ledger.protocol import CannotOpen

_LOCK: Final = f"SELECT pg_advisory_xact_lock({MIGRATION_CLASS}, hashtext(current_schema()))"
_STATE: Final = "SELECT steps, distributed FROM meterhouse_schema WHERE id = 1"
_IS_THERE: Final = "SELECT to_regclass('meterhouse_schema') IS NOT NULL"
_SAVE: Final = """
INSERT INTO meterhouse_schema (id, steps, distributed) VALUES (1, $1, $2)
ON CONFLICT (id) DO UPDATE SET steps = excluded.steps, distributed = excluded.distributed"""

Say = Callable[[str], None]


class Migrated(NamedTuple):
    """How many steps of the schema a database has seen, before and after, and whether its tables are distributed."""

    before: int
    after: int
    distributed: bool


async def migrate(url: str, *, distribute: bool = False) -> Migrated:
    """Brings a database up to date, an empty one from nothing. `distribute`: and spreads its tables (Citus).

    Raises `CannotOpen` where it cannot be reached or may not be changed, and where its schema is newer.
    """
    try:
        db = await connect(url, {})
    except (*FAILURES, ValueError) as error:
        raise cannot_open(url, error) from error
    try:
        async with db.transaction():
            await db.execute(_LOCK)
            return await _migrate(db, url, distribute=distribute)
    except FAILURES as error:
        raise cannot_open(url, error) from error
    finally:
        db.terminate()


async def _migrate(db: Connection, url: str, *, distribute: bool) -> Migrated:
    before, distributed = await _state(db)
    refuse_newer(url, before)
    if before < len(STEPS) or (distribute and not distributed):
        await db.execute(SCHEMA_TABLE)
        for step in STEPS[before:]:
            await db.execute(step)
        if distribute and not distributed:
            for call in distribution():
                await db.execute(call)
        distributed = distributed or distribute
        await db.execute(_SAVE, len(STEPS), distributed)
    return Migrated(before, len(STEPS), distributed)


async def _state(db: Connection) -> tuple[int, bool]:
    row = await db.fetchrow(_STATE) if await db.fetchval(_IS_THERE) else None
    return (0, False) if row is None else (row[0], row[1])


def refuse_newer(url: str, steps: int) -> None:
    """Raises `CannotOpen` where a schema has seen steps that this version does not know."""
    if steps > len(STEPS):
        raise CannotOpen(
            f"{without_password(url)} has schema {steps}, and this Meterhouse knows {len(STEPS)} at most: "
            "it was migrated by a newer version, which has to be used"
        )


async def check(db: Connection, url: str) -> bool:
    """Whether a database has the schema of this version; False where it is empty. Raises `CannotOpen` otherwise."""
    steps, _ = await _state(db)
    refuse_newer(url, steps)
    if 0 < steps < len(STEPS):
        raise CannotOpen(
            f"{without_password(url)} has schema {steps}, and this Meterhouse needs {len(STEPS)}: "
            "run meterhouse migrate"
        )
    return steps > 0
