"""`meterhouse reset`: a sandbox begins anew."""

import sys
from typing import Annotated

from cyclopts import Parameter

from meterhouse.cli.asking import HERE, Server
from meterhouse.cli.failure import CommandFailed


def reset(
    *,
    yes: Annotated[bool, Parameter(negative=(), help="Do not ask.")] = False,
    server: Server = HERE,
) -> None:
    """Empty usage, journal, what workloads metered, and faults of a sandbox; the catalog stays. Asks first.

    Example: meterhouse reset --yes
    """
    if not yes:
        if not sys.stdin.isatty():
            raise CommandFailed("reset asks before it empties anything, and nobody is here to answer: add --yes.", 2)
        print(
            f"Empty all usage, the journal and the faults of {server.url}? [y/N] ", end="", file=sys.stderr, flush=True
        )
        if sys.stdin.readline().strip().lower() not in {"y", "yes"}:
            raise CommandFailed("nothing was emptied.")
    server.do("Usage, journal and faults are empty.", "POST", "/reset", body={})
