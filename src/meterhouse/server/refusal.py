"""What is refused while HTTP is still being read (contract §1).

Nobody knows yet which operation was meant, so a refusal carries a short JSON body of the usual form and no request id.
A body that is too large is the one case that the application answers itself, in AWS's form.
"""

from __future__ import annotations

import json
from typing import Final

from meterhouse.server.exchange import Receive, Scope, Send

BODY_TOO_LARGE: Final = "meterhouse.body_too_large"
"""Present in `scope["extensions"]` when a body was refused for its size: the application is expected to answer 413, and
`receive` gives no body but says that the client has left. The connection is closed after that answer."""


class Refusal:
    """An ASGI application that gives one answer."""

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
