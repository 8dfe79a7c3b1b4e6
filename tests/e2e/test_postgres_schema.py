"""`meterhouse migrate`: one migrator at a time, steps seen once, newer schemas refused, and the calls to Citus."""

import asyncio
from pathlib import Path
from typing import Any, Final

import asyncpg
import pytest

from meterhouse.ledger.postgres import open_postgres
from meterhouse.ledger.postgres_migrations import Migrated, migrate
from meterhouse.ledger.postgres_schema import REFERENCE_TABLES, STEPS, USAGE_TABLES
from meterhouse.ledger.protocol import CannotOpen
from tests.contract.usage import entry_of, keep, key_of
from tests.document_blocks import ROOT
from tests.e2e.serving import run_meterhouse
from tests.postgres import place_url

STAND_INS = """
CREATE TABLE calls (number serial, call text);
CREATE FUNCTION create_reference_table(name text) RETURNS void LANGUAGE sql AS
  $$ INSERT INTO calls (call) VALUES ('reference ' || name::regclass) $$;
CREATE FUNCTION create_distributed_table(name text, place text, colocate_with text, shard_count int DEFAULT NULL)
  RETURNS void LANGUAGE sql AS $$
  INSERT INTO calls (call)
  VALUES (concat_ws(' ', 'distributed', name::regclass, 'by', place, 'with', colocate_with, 'in', shard_count))
  $$;
"""
"""What Citus brings, as functions that note how they were called; a table that is not there yet is an error."""


@pytest.fixture
async def url(tmp_path: Path) -> str:
    """An empty place."""
    return await place_url(tmp_path)


async def ask(url: str, question: str) -> list[Any]:
    """The first column of what a database answers."""
    db = await asyncpg.connect(url)
    try:
        return [row[0] for row in await db.fetch(question)]
    finally:
        await db.close()


async def run(url: str, script: str) -> None:
    """Statements of a test."""
    db = await asyncpg.connect(url)
    try:
        await db.execute(script)
    finally:
        await db.close()


async def test_migrators_at_once_make_one_schema(url: str) -> None:
    """Of migrators, and servers, that find the same empty database one makes its schema; the others find it made."""
    opening = [asyncio.create_task(open_postgres(url)) for _ in range(3)]
    results = await asyncio.gather(*(migrate(url) for _ in range(4)))
    assert sum(result.before == 0 for result in results) <= 1
    assert all(result.after == len(STEPS) for result in results)
    for ledger in await asyncio.gather(*opening):
        await keep(ledger, [entry_of(key_of())])
        assert (await ledger.size()).records == 1
        await ledger.close()


async def test_migrating_again_changes_nothing(url: str, tmp_path: Path) -> None:
    """A second run says that there is nothing to do, and what is kept stays."""
    first = await asyncio.to_thread(run_meterhouse, "migrate", "--data", url, folder=tmp_path)
    assert (first.returncode, first.stdout) == (0, f"The schema is {len(STEPS)} now; it was empty.\n")
    ledger = await open_postgres(url)
    await keep(ledger, [entry_of(key_of())])
    second = await asyncio.to_thread(run_meterhouse, "migrate", folder=tmp_path, environment={"METERHOUSE_DATA": url})
    assert (second.returncode, second.stdout) == (0, f"The schema is {len(STEPS)} already.\n")
    assert (await ledger.size()).records == 1
    await ledger.close()


async def test_a_newer_schema_is_refused(url: str, tmp_path: Path) -> None:
    """A database that a newer version has migrated is refused by a sentence, by server and migrator, and left alone."""
    await migrate(url)
    await run(url, "UPDATE meterhouse_schema SET steps = 99")
    for refuse in (migrate, open_postgres):
        with pytest.raises(CannotOpen, match=r"has schema 99, and this Meterhouse knows \d+ at most"):
            await refuse(url)
    done = await asyncio.to_thread(run_meterhouse, "migrate", "--data", url, folder=tmp_path)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("meterhouse: postgresql://")
    assert "migrated by a newer version" in done.stderr


async def test_an_older_schema_is_for_the_migrator(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server does not migrate what is kept already: it says which command does; the steps that lack are then made."""
    await migrate(url)
    with monkeypatch.context() as newer:
        newer.setattr("meterhouse.ledger.postgres_migrations.STEPS", (*STEPS, "CREATE TABLE later (one int)"))
        with pytest.raises(CannotOpen, match="run meterhouse migrate"):
            await open_postgres(url)
        assert await migrate(url) == Migrated(len(STEPS), len(STEPS) + 1, False)
        assert await ask(url, "SELECT count(*) FROM later") == [0]


async def test_a_step_that_fails_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration is all or nothing."""
    monkeypatch.setattr("meterhouse.ledger.postgres_migrations.STEPS", (*STEPS, "CREATE TABLE broken ("))
    with pytest.raises(CannotOpen):
        await migrate(url)
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()"
    assert await ask(url, tables) == [0]


async def test_citus_is_told_in_order(url: str, tmp_path: Path) -> None:
    """`--citus` lays out the reference tables, then the heads, then beside them all other usage: once."""
    await run(url, STAND_INS)
    first = await asyncio.to_thread(run_meterhouse, "migrate", "--citus", "--data", url, folder=tmp_path)
    assert (first.returncode, first.stderr) == (0, "")
    again = await asyncio.to_thread(run_meterhouse, "migrate", "--citus", "--data", url, folder=tmp_path)
    assert again.stdout == f"The schema is {len(STEPS)} already, distributed by partition.\n"
    head, *others = USAGE_TABLES
    assert await ask(url, "SELECT call FROM calls ORDER BY number") == [
        *(f"reference {table}" for table in REFERENCE_TABLES),
        f"distributed {head} by partition with none in 32",
        *(f"distributed {table} by partition with {head} in" for table in others),
    ]


async def test_without_citus_the_flag_is_refused(url: str, tmp_path: Path) -> None:
    """On a plain PostgreSQL `--citus` fails, says why, and changes nothing."""
    done = await asyncio.to_thread(run_meterhouse, "migrate", "--citus", "--data", url, folder=tmp_path)
    assert done.returncode == 1
    assert "create_reference_table" in done.stderr
    assert await ask(url, "SELECT to_regclass('meterhouse_schema')") == [None]


async def test_a_file_has_no_migrator(tmp_path: Path) -> None:
    """A SQLite ledger is none of this command's."""
    done = await asyncio.to_thread(run_meterhouse, "migrate", "--data", "meterhouse.db", folder=tmp_path)
    assert done.returncode == 2
    assert "is no address of a PostgreSQL database" in done.stderr


RIGHTS: Final = [
    (False, (), "no schema has been selected to create in"),
    (False, ("USAGE ON SCHEMA {schema}",), "permission denied for schema {schema}"),
    (True, ("USAGE ON SCHEMA {schema}",), "permission denied for table meterhouse_schema"),
]
"""Whether the owner has migrated, what a role may do besides, and what it is told."""


@pytest.mark.parametrize("verb", ["migrate", "serve"])
@pytest.mark.parametrize(("migrated", "rights", "sentence"), RIGHTS, ids=["none", "empty", "made"])
async def test_a_right_that_lacks_is_a_sentence(
    url: str, tmp_path: Path, verb: str, migrated: bool, rights: tuple[str, ...], sentence: str
) -> None:
    """Migrator and server tell a role which right it lacks, in one sentence, and make nothing."""
    if migrated:
        await migrate(url)
    (schema,) = await ask(url, "SELECT current_schema()")
    role = f"{schema}_poor"
    await run(url, f"CREATE ROLE {role} LOGIN")
    for right in rights:
        await run(url, f"GRANT {right.format(schema=schema)} TO {role}")
    done = await asyncio.to_thread(
        run_meterhouse,
        *(verb, "--data", url.replace("postgres@", f"{role}@")),
        *(("--port", "0") if verb == "serve" else ()),
        folder=tmp_path,
        environment={"METERHOUSE_MASTER_KEY": "a2V5IG9mIHRoZXNlIHRlc3RzLCAzMiBieXRlcy4uLi4="},
    )
    assert (done.returncode, done.stdout) == (1, "")
    (told,) = done.stderr.splitlines()
    assert told.startswith("meterhouse: postgresql://")
    assert told.endswith(f" cannot be opened: {sentence.format(schema=schema)}.")
    tables = await ask(url, "SELECT count(*) FROM pg_tables WHERE schemaname = current_schema()")
    assert tables == ([0] if not migrated else [len((*USAGE_TABLES, *REFERENCE_TABLES)) + 1])
    await run(url, f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_the_documented_role_suffices(url: str) -> None:
    """A server needs no more than what `docs/postgres-role.sql` grants; and it may not change the schema."""
    await migrate(url)
    grants = (ROOT / "docs/postgres-role.sql").read_text(encoding="utf-8")
    (schema,) = await ask(url, "SELECT current_schema()")
    role = f"{schema}_role"
    await run(url, grants.replace("meterhouse_server", role).replace("SCHEMA public", f"SCHEMA {schema}"))
    ledger = await open_postgres(url.replace("postgres@", f"{role}@"))
    try:
        await keep(ledger, [entry_of(key_of())])
        assert await ledger.change([], expected=0) == 1
        assert (await ledger.size()).records == 1
        await ledger.reset()
    finally:
        await ledger.close()
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await run(url.replace("postgres@", f"{role}@"), "CREATE TABLE other (one int)")
    await run(url, f"DROP OWNED BY {role}; DROP ROLE {role}")
