"""`meterhouse demo`: the whole story in a few seconds."""

import os
import signal
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from meterhouse.cli.failure import CommandFailed
from meterhouse.server.settings import LAST_PORT


def demo(
    *,
    port: int = 8750,
    data: Path | None = None,
    once: Annotated[bool, Parameter(negative=())] = False,
) -> None:
    """Play a seller's day: a buyer subscribes, boto3 meters, the ledger adds up. Then serve until Ctrl-C.

    Starts `meterhouse serve` on a fresh ledger, which is gone at the end, with keys to try one's own SDK with.

    Example: meterhouse demo --once

    Parameters
    ----------
    port
        The port to listen on; 0 lets the system pick one.
    data
        A SQLite file to keep the ledger in, which must not exist yet.
    once
        End when the story is told, in place of serving on.
    """
    if find_spec("boto3") is None:
        raise CommandFailed("the demo meters with boto3, which is not installed: pip install 'meterhouse[demo]'")
    if data is not None and data.exists():
        raise CommandFailed(f"--data: {data} exists; the demo needs a ledger of its own.", 2)
    if not 0 <= port <= LAST_PORT:
        raise CommandFailed(f"--port: {port} is no port; 0 to {LAST_PORT} can be given.", 2)
    from meterhouse.demo.page import Page
    from meterhouse.demo.story import DemoFailed, play

    # A terminal that closes, or whoever ends the demo, must not leave its service behind.
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        play(Page(), os.environ, port=port, ledger=data, once=once)
    except DemoFailed as failure:
        raise CommandFailed(str(failure)) from None
    except KeyboardInterrupt:
        return
