"""`meterhouse key rotate`: every secret opens under the new key, wherever the old and the new one come from."""

import asyncio
import json
import os
from base64 import b64encode
from pathlib import Path
from typing import Final

import pytest

from meterhouse.cli import run
from meterhouse.ledger.postgres import open_postgres
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.service.market import Market
from meterhouse.service.master_key import WrongKey, keys_from
from tests.postgres import place_url
from tests.unit.control_server import MASTER_KEY, served

OLD: Final = b64encode(MASTER_KEY).decode()
NEW: Final = b64encode(bytes(reversed(range(32)))).decode()
SECRET: Final = "a secret of the seller's"


@pytest.fixture
async def ledger_with_secrets(tmp_path: Path) -> Path:
    """A ledger that a server has left, with two credentials sealed under the old key."""
    async with served(tmp_path) as server:
        for name in ("AKIDONE", "AKIDTWO"):
            await server.made(
                "/credentials", {"account": "111122223333", "access_key_id": name, "secret_access_key": SECRET}
            )
    return tmp_path / "ledger.db"


async def secrets_under(key: str | None, path: Path) -> list[str]:
    """The secrets as a server with this key (None: the key file's) would find them. Raises WrongKey."""
    ledger = await open_sqlite(path)
    try:
        keys = keys_from(key, path.with_name(f"{path.name}.key"), os.urandom)
        market = await Market.open(ledger, keys, os.urandom)
        return [market.secret_of(one)[0] for one in market.catalog.credentials.values()]
    finally:
        await ledger.close()


def set_keys(monkeypatch: pytest.MonkeyPatch, old: str | None, new: str | None) -> None:
    """The environment of the command."""
    for name, value in (("METERHOUSE_MASTER_KEY", old), ("METERHOUSE_NEW_MASTER_KEY", new)):
        if value is None:
            monkeypatch.delenv(name, raising=False)
        else:
            monkeypatch.setenv(name, value)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        (None, None, "The new key is in {file}."),
        (None, NEW, "Serve from now on with METERHOUSE_MASTER_KEY set to the new key; {file} is of no use any more."),
        (OLD, None, "The new key is in {file}: serve from now on without METERHOUSE_MASTER_KEY."),
        (OLD, NEW, "Serve from now on with METERHOUSE_MASTER_KEY set to the new key."),
    ],
)
async def test_secrets_are_encrypted_anew(
    old: str | None,
    new: str | None,
    told: str,
    ledger_with_secrets: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """After a rotation the new key opens everything, the old one nothing, and what is to be done is said."""
    path = ledger_with_secrets
    key_file = path.with_name("ledger.db.key")
    if old is None:
        key_file.write_text(OLD)
    set_keys(monkeypatch, old, new)
    assert await asyncio.to_thread(run, ["key", "rotate", "--data", str(path)]) == 0
    assert capsys.readouterr().out == f"Secrets encrypted anew: 2. {told.format(file=key_file)}\n"
    assert await secrets_under(new, path) == [SECRET, SECRET]
    with pytest.raises(WrongKey):
        await secrets_under(OLD, path)
    if new is None:
        assert key_file.stat().st_mode & 0o777 == 0o600
    assert not path.with_name("ledger.db.key.new").exists()


async def test_a_program_is_told_how_many(
    ledger_with_secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """--json prints the number of secrets."""
    set_keys(monkeypatch, OLD, NEW)
    assert await asyncio.to_thread(run, ["key", "rotate", "--data", str(ledger_with_secrets), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"secrets": 2}


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (NEW, OLD, "the master key is not the one that this data's secrets were sealed with."),
        (OLD, "short", "METERHOUSE_NEW_MASTER_KEY"),
        (OLD, b64encode(b"too short").decode(), "METERHOUSE_NEW_MASTER_KEY holds 9 bytes"),
        (None, NEW, "is missing, and METERHOUSE_MASTER_KEY is not set."),
    ],
)
async def test_a_wrong_key_changes_nothing(
    old: str | None,
    new: str | None,
    reason: str,
    ledger_with_secrets: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A key that is wrong, malformed or missing is one sentence, exit code 1, and the old key goes on to open."""
    set_keys(monkeypatch, old, new)
    assert await asyncio.to_thread(run, ["key", "rotate", "--data", str(ledger_with_secrets)]) == 1
    assert reason in capsys.readouterr().err
    assert await secrets_under(OLD, ledger_with_secrets) == [SECRET, SECRET]


async def test_a_running_server_is_not_rotated_under(
    ledger_with_secrets: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """While a server holds the ledger, the rotation is refused."""
    set_keys(monkeypatch, OLD, NEW)
    ledger = await open_sqlite(ledger_with_secrets)
    try:
        assert await asyncio.to_thread(run, ["key", "rotate", "--data", str(ledger_with_secrets)]) == 1
    finally:
        await ledger.close()
    assert "is in use by another server." in capsys.readouterr().err
    assert await secrets_under(OLD, ledger_with_secrets) == [SECRET, SECRET]


async def test_a_database_is_rotated_from_variable_to_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In PostgreSQL the secrets are encrypted anew too; a wrong old key changes nothing, and no password is told."""
    url = await place_url(tmp_path)
    async with served(ledger=await open_postgres(url)) as server:
        await server.made("/credentials", {"account": "111122223333", "secret_access_key": SECRET})
    set_keys(monkeypatch, NEW, OLD)
    assert await asyncio.to_thread(run, ["key", "rotate", "--data", url]) == 1
    assert "is not the one that this data's secrets were sealed with" in capsys.readouterr().err
    set_keys(monkeypatch, OLD, NEW)
    assert await asyncio.to_thread(run, ["key", "rotate", "--data", url]) == 0
    told = capsys.readouterr().out
    assert told == "Secrets encrypted anew: 1. Serve from now on with METERHOUSE_MASTER_KEY set to the new key.\n"
    ledger = await open_postgres(url)
    try:
        market = await Market.open(ledger, keys_from(NEW, None, os.urandom), os.urandom)
        assert [market.secret_of(one)[0] for one in market.catalog.credentials.values()] == [SECRET]
    finally:
        await ledger.close()
