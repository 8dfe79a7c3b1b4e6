"""`meterhouse catalog`: the catalog as a file."""

import os
import re
import time
from pathlib import Path
from typing import Annotated, Any, Final

import msgspec
from cyclopts import App, Parameter

from meterhouse.cli.asking import HERE, Server
from meterhouse.cli.credential import SECRETS
from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.registration_token import TOKEN
from meterhouse.cli.telling import Column, number, print_bytes, tell, tell_table
from meterhouse.cli.typed import STANDARD_INPUT, read_file

app = App(name="catalog")

_API_NAME: Final = re.compile(r"^toml(?=[,:])")

CHANGED: Final = (Column("Table", "table"), Column("Rows", "rows", number, right=True))
File = Annotated[Path, Parameter(help="A catalog file; - reads standard input.")]


def _tell_changed(changed: dict[str, int], none: str) -> None:
    if changed:
        tell_table([{"table": table, "rows": rows} for table, rows in changed.items()], CHANGED)
    else:
        print(none)


def _tell_loaded(loaded: dict[str, Any]) -> None:
    _tell_changed(loaded["changed"], "Nothing has changed since it was last loaded.")
    for member, columns in (("registration_tokens", TOKEN), ("credentials", SECRETS)):
        for made in loaded[member]:
            print("\nShown this once:")
            tell(made, columns)


def _tell_exported(exported: dict[str, Any]) -> None:
    print_bytes(exported["toml"].encode())


@app.command
def check(file: File, *, server: Server = HERE) -> None:
    """Check a catalog file: what an empty server would make of it. No server is asked.

    A secret that is to come from the environment must be there.

    Example: meterhouse catalog check catalog.toml
    """
    from meterhouse.service import catalog_file
    from meterhouse.service.draft import Sources
    from meterhouse.service.refused import Refused
    from meterhouse.wire.policy import parse_policy

    name = "standard input" if file == STANDARD_INPUT else str(file)
    now_micros = time.time_ns() // 1000
    sources = Sources(lambda _account: now_micros, os.urandom, lambda _place, _secret: b"", parse_policy)
    try:
        loaded = catalog_file.check(read_file(file), name, os.environ, sources)
    except Refused as refused:
        raise CommandFailed(f"{refused}.", 2) from None
    if server.json:
        print_bytes(msgspec.json.encode({"changed": dict(loaded.changed)}) + b"\n")
    else:
        _tell_changed(dict(loaded.changed), "It has no rows.")


@app.command
def load(file: File, *, server: Server = HERE) -> None:
    """Load a catalog file into a running server, all or nothing.

    What changed in it since it was last loaded like this is applied; what is gone from it deletes nothing. Tokens and
    secrets that are made up for it are shown this once.

    Example: meterhouse catalog load catalog.toml
    """
    try:
        toml = read_file(file).decode()
    except UnicodeDecodeError as error:
        raise CommandFailed(f"{file} is not UTF-8: {error.reason} at byte {error.start}.", 2) from None
    try:
        server.tell(_tell_loaded, "POST", "/catalog", body={"toml": toml})
    except CommandFailed as failure:
        # The API knows the member in which the text came; here it is a file.
        raise CommandFailed(_API_NAME.sub(lambda _name: str(file), str(failure)), failure.exit_code) from None


@app.command
def export(*, server: Server = HERE) -> None:
    """Print the present catalog as a file, credentials and tokens left out.

    Example: meterhouse catalog export > catalog.toml
    """
    server.tell(_tell_exported, "GET", "/catalog")
