"""Bytes over a socket, as they are, and the answer to them: for what no client's library would let one send."""

import socket
from collections.abc import Iterable
from contextlib import suppress
from http.client import HTTPResponse
from typing import Final, NamedTuple

import msgspec

WAIT_SECONDS: Final = 60

Headers = Iterable[tuple[str, str]]

BATCH: Final = ("X-Amz-Target", "AWSMPMeteringService.BatchMeterUsage")
RESOLVE: Final = ("X-Amz-Target", "AWSMPMeteringService.ResolveCustomer")


class RawAnswer(NamedTuple):
    """An answer, its header names in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def said(self) -> dict[str, object]:
        """The body as the JSON object that it is."""
        return msgspec.json.decode(self.body, type=dict[str, object])

    @property
    def code(self) -> object:
        """The name of the error; None where it is no error."""
        return self.said().get("__type")


def request(
    body: bytes = b"", headers: Headers = (BATCH,), *, method: str = "POST", target: str = "/", host: str = "127.0.0.1"
) -> bytes:
    """A whole request: these headers, and Host and Content-Length."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *(f"{name}: {value}" for name, value in headers)]
    if body or method == "POST":
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def connect(port: int) -> socket.socket:
    """A connection."""
    return socket.create_connection(("127.0.0.1", port), WAIT_SECONDS)


def answer_on(connection: socket.socket, method: str = "POST") -> RawAnswer:
    """The next answer on a connection."""
    response = HTTPResponse(connection, method=method)
    response.begin()
    headers = {name.lower(): value for name, value in response.getheaders()}
    return RawAnswer(response.status, headers, response.read())


def exchange(port: int, sent: bytes, method: str = "POST") -> RawAnswer:
    """What a server answers to these bytes; it may answer before it has read them all."""
    with connect(port) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):
            connection.sendall(sent)
        return answer_on(connection, method)
