"""`meterhouse key`: the master key, under which secrets are encrypted."""

import asyncio
import os
from pathlib import Path
from typing import Annotated, Final

import msgspec
from cyclopts import App, Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.ledger_file import LedgerPlace, ledger_file
from meterhouse.cli.telling import number, print_bytes
from meterhouse.cli.waiting import waiting

app = App(name="key")

PLACES: Final = {
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
    """Encrypt all secrets anew, under METERHOUSE_NEW_MASTER_KEY or a new key file. The server must be stopped.

    The present key is that of METERHOUSE_MASTER_KEY, or of the key file beside the ledger.

    Example: meterhouse key rotate --data meterhouse.db
    """
    from meterhouse.ledger.protocol import Busy, CannotOpen, LedgerFailure, Stale
    from meterhouse.server.serving import KEY_SUFFIX
    from meterhouse.server.settings import master_key
    from meterhouse.service.master_key import NEW_KEY_VARIABLE, WrongKey

    path = ledger_file(data)
    key_file = Path(data + KEY_SUFFIX)
    new = os.environ.get(NEW_KEY_VARIABLE) or None
    try:
        with waiting(f"The secrets of {path} are encrypted anew"):
            count = asyncio.run(_rotate(path, key_file, new))
    except (CannotOpen, WrongKey, LedgerFailure, Busy, Stale) as failure:
        raise CommandFailed(f"{failure}.") from None
    if json:
        print_bytes(msgspec.json.encode({"secrets": count}) + b"\n")
    else:
        print(f"Secrets encrypted anew: {number(count)}. {PLACES[bool(master_key()), bool(new)].format(file=key_file)}")


async def _rotate(path: Path, key_file: Path, new: str | None) -> int:
    from meterhouse.ledger.sqlite import open_sqlite
    from meterhouse.server.settings import master_key
    from meterhouse.service.master_key import NEW_KEY_VARIABLE, key_of_text, keys_from
    from meterhouse.service.seal import rotate as encrypt_anew
    from meterhouse.service.seal import rotate_key_file

    old = keys_from(master_key(), key_file, os.urandom)
    ledger = await open_sqlite(path)
    try:
        if new is None:
            return await rotate_key_file(ledger, old, key_file, os.urandom)
        return await encrypt_anew(ledger, old, key_of_text(new, NEW_KEY_VARIABLE), os.urandom)
    finally:
        await ledger.close()
