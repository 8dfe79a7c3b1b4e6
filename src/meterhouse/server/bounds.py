"""How much and how long one HTTP connection may take, and what it is told when it takes more (contract §1).

A refusal is made while HTTP is still being read, before anyone knows which operation was meant; so it carries a short
JSON body of the usual form, and no request id.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Final

from meterhouse.server.exchange import Receive, Scope, Send

BODY_TOO_LARGE: Final = "meterhouse.body_too_large"
"""Present in `scope["extensions"]` when a body was refused for its size: `receive` then gives an empty body, and the
application is expected to answer 413. The connection is closed after that answer."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one connection. Tests shorten them; a server has little reason to."""

    head_bytes: int = 65_536
    """Request line and headers together; one byte more is 431."""
    head_seconds: float = 10
    """From the first byte of a head to its end."""
    body_bytes: int = 1_048_576
    """The smallest body that is too large."""
    body_seconds: float = 30
    """From the end of the head to the end of the body."""
    idle_seconds: float = 75
    """Between two requests, and for a client that does not take its answer. Longer than the 60 s of the usual proxies,
    which would otherwise send a request into a connection that is just being closed."""
    linger_bytes: int = 16_777_216
    """Thrown away after a refusal, so that its sender comes to read it: the largest batch with all its allocations is
    some 12 MB."""
    linger_seconds: float = 2
    """How long a refused client may go on writing."""


CONTRACT: Final = Bounds()


class Refusal:
    """An ASGI application that gives one answer: what HTTP itself refuses."""

    def __init__(self, status: int, name: str, message: str) -> None:
        self.status = status
        self._body = json.dumps({"__type": name, "message": message}, separators=(",", ":")).encode()
        self._headers = [(b"content-type", b"application/json"), (b"content-length", str(len(self._body)).encode())]

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer, whatever was asked."""
        await send({"type": "http.response.start", "status": self.status, "headers": self._headers})
        await send({"type": "http.response.body", "body": self._body})


MALFORMED: Final = Refusal(400, "BadRequestException", "This is not a well-formed HTTP request.")
NOT_HTTP_1: Final = Refusal(400, "BadRequestException", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
NO_TUNNEL: Final = Refusal(400, "BadRequestException", "CONNECT is not served: this is no proxy.")
TWO_HOSTS: Final = Refusal(400, "BadRequestException", "The Host header is given more than once.")
MOSTLY_FRAMING: Final = Refusal(400, "BadRequestException", "The chunks' framing outweighs what they carry.")
HEAD_LATE: Final = Refusal(408, "RequestTimeoutException", "The headers were not complete in time.")
BODY_LATE: Final = Refusal(408, "RequestTimeoutException", "The body was not complete in time.")
HEAD_LARGE: Final = Refusal(431, "RequestHeaderFieldsTooLargeException", "The headers are too large.")
