"""`meterhouse key`: the master key, under which secrets are encrypted."""

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import msgspec
from cyclopts import App, Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.ledger_file import LedgerPlace, ledger_file
from meterhouse.cli.telling import number, print_bytes
from meterhouse.cli.waiting import waiting

if TYPE_CHECKING:
    from meterhouse.ledger.protocol import Ledger

app = App(name="key")

WHAT_NOW: Final = {
    # Whether the old key came from the environment, whether the new one did; and what is to be done now.
    (False, False): "The new key is in {file}.",
    (False, True): "Serve from now on with METERHOUSE_MASTER_KEY set to the new key; {file} is of no use any more.",
    (True, False): "The new key is in {file}: serve from now on without METERHOUSE_MASTER_KEY.",
    (True, True): "Serve from now on with METERHOUSE_MASTER_KEY set to the new key.",
}


@app.command
def rotate(
    *,
    data: LedgerPlace = "meterhouse.db",
    json: Annotated[bool, Parameter(negative=(), help="Print how many secrets there were, as JSON.")] = False,
) -> None:
    """Encrypt all secrets anew, under METERHOUSE_NEW_MASTER_KEY or a new key file. Stop the server first.

    The present key is that of METERHOUSE_MASTER_KEY, or of the key file beside the ledger. With PostgreSQL there is no
    key file, so both variables are needed.

    Example: meterhouse key rotate --data meterhouse.db
    """
    from meterhouse.ledger.protocol import Busy, CannotOpen, LedgerFailure, Stale
    from meterhouse.server.settings import POSTGRES_SCHEMES, master_key
    from meterhouse.service.master_key import NEW_KEY_VARIABLE, WrongKey

    new = os.environ.get(NEW_KEY_VARIABLE) or None
    place = data if data.startswith(POSTGRES_SCHEMES) else ledger_file(data)
    if isinstance(place, str) and new is None:
        raise CommandFailed(f"{NEW_KEY_VARIABLE} is not set: with PostgreSQL there is no key file.", 2)
    try:
        with waiting("The secrets are encrypted anew"):
            count = asyncio.run(_rotate(place, new))
    except (CannotOpen, WrongKey, LedgerFailure, Busy, Stale) as failure:
        raise CommandFailed(f"{failure}.") from None
    if json:
        print_bytes(msgspec.json.encode({"secrets": count}) + b"\n")
    else:
        what_now = WHAT_NOW[bool(master_key()), bool(new)].format(file=_key_file(place))
        print(f"Secrets encrypted anew: {number(count)}. {what_now}")


def _key_file(place: Path | str) -> Path | None:
    """Where the key of a ledger's file lies; a database has none."""
    from meterhouse.server.serving import KEY_SUFFIX

    return None if isinstance(place, str) else place.with_name(f"{place.name}{KEY_SUFFIX}")


async def _rotate(place: Path | str, new: str | None) -> int:
    from meterhouse.server.settings import master_key
    from meterhouse.service.master_key import NEW_KEY_VARIABLE, key_of_text, keys_from
    from meterhouse.service.seal import rotate as encrypt_anew
    from meterhouse.service.seal import rotate_key_file

    key_file = _key_file(place)
    old = keys_from(master_key(), key_file, os.urandom)
    new_key = None if new is None else key_of_text(new, NEW_KEY_VARIABLE)
    ledger = await _opened(place)
    try:
        if new_key is not None:
            return await encrypt_anew(ledger, old, new_key, os.urandom)
        assert key_file is not None, "a database was refused"
        return await rotate_key_file(ledger, old, key_file, os.urandom)
    finally:
        await ledger.close()


async def _opened(place: Path | str) -> "Ledger":
    if isinstance(place, Path):
        from meterhouse.ledger.sqlite import open_sqlite

        return await open_sqlite(place)
    try:
        from meterhouse.ledger.postgres import open_postgres
    except ModuleNotFoundError:
        raise CommandFailed("--data: PostgreSQL needs an extra: pip install 'meterhouse[postgres]'.", 2) from None
    return await open_postgres(place)
