"""A server of its own for tests that send it signals or look at its memory: `python edge_server.py SHUTDOWN_SECONDS`.

It says on standard output what happens to it, a line each.
"""

import asyncio
import resource
import sys

import uvloop

from meterhouse.server.exchange import Receive, Scope, Send
from meterhouse.server.refusal import BODY_TOO_LARGE
from meterhouse.server.run import listen, serve


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201 - its output is for the test that started it


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    """Answer /peak with the most memory used so far, in KiB, and never answer /never; say when it starts and ends."""
    if scope["type"] == "lifespan":
        for what in ("startup", "shutdown"):
            await receive()
            say(what)
            await send({"type": f"lifespan.{what}.complete"})
        return
    await receive()
    say(f"{scope['method']} {scope['path']}")
    if scope["path"] == "/never":
        await asyncio.Event().wait()
    status = 413 if BODY_TOO_LARGE in scope.get("extensions", {}) else 200
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)
    await send({"type": "http.response.start", "status": status, "headers": []})
    await send({"type": "http.response.body", "body": str(peak).encode()})


def main() -> None:
    """Serve on a free port until a signal comes."""
    cut = uvloop.run(
        serve(
            application,
            listen("127.0.0.1", 0),
            on_ready=say,
            on_hangup=lambda: say("hangup"),
            shutdown_seconds=float(sys.argv[1]),
        )
    )
    say(f"cut {cut}")


if __name__ == "__main__":
    main()
