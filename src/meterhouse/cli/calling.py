"""Calls of the control API over HTTP: an answer, or one sentence why there is none.

Exit codes follow from whose fault it is: 2 where what was asked for cannot be right (an address that is none, a value
that the server refuses), 1 where it was refused or could not be done.
"""

import http.client
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final
from urllib.parse import SplitResult, quote, urlencode, urlsplit

import msgspec

from meterhouse.cli.failure import CommandFailed

ROOT: Final = "/_meterhouse/v1"
TOKEN_VARIABLE: Final = "METERHOUSE_ADMIN_TOKEN"
PATIENCE_SECONDS: Final = 120.0
"""How long the server may say nothing: adding up a large ledger takes its time."""

NULL: Final = object()
"""A member of a body that is null; one that is None is left out."""

_PIECE_BYTES: Final = 65_536
_BAD_INPUT: Final = frozenset({400, 413, 415, 422})
"""Statuses that say that the input was wrong, and not what it met."""
_WHERE_FROM: Final = f"; the command line takes the token from {TOKEN_VARIABLE}"
_HINTS: Final = {401: _WHERE_FROM, 403: _WHERE_FROM}


class Unanswered(CommandFailed):
    """The server was not reached, or did not answer: perhaps it does the next time."""


class Caller:
    """Calls the server at an address, with the token of the environment. Raises CommandFailed for every refusal."""

    def __init__(self, url: str, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._url = url.rstrip("/")
        self._parts = _checked(self._url)
        self._patience_seconds = patience_seconds

    def call(
        self,
        method: str,
        path: str,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
    ) -> bytes:
        """The body of an answer, which is JSON or empty. Members of `query` and `body` that are None are left out."""
        with self._answer(method, path, query, body) as answer:
            text = answer.read()
        if answer.status != http.client.NO_CONTENT and not _is_json(text):
            raise self._foreign(answer)
        return text

    def stream(self, path: str, query: Mapping[str, object]) -> Iterator[bytes]:
        """The body of an answer in pieces, whatever it is."""
        with self._answer("GET", path, query, None) as answer:
            if answer.headers.get_content_type() != "text/csv":
                raise self._foreign(answer)
            while piece := answer.read1(_PIECE_BYTES):
                yield piece

    @contextmanager
    def _answer(
        self, method: str, path: str, query: Mapping[str, object] | None, body: Mapping[str, Any] | None
    ) -> Iterator[http.client.HTTPResponse]:
        """A success, about to be read."""
        target = self._parts.path + ROOT + path
        if given := {name: _text(value) for name, value in (query or {}).items() if value is not None}:
            target += "?" + urlencode(given)
        headers = {"Content-Type": "application/json", "Accept": "application/json", **_authorization()}
        given_members = {name: one for name, one in (body or {}).items() if one is not None}
        sent = None if body is None else json.dumps(given_members, default=_null)
        connection = self._connection()
        try:
            connection.request(method, target, sent, headers)
            answer = connection.getresponse()
            if answer.status not in {200, 201, 204}:
                raise self._refusal(answer)
            yield answer
        except (OSError, http.client.HTTPException) as error:
            raise Unanswered(f"{self._url} {self._why(error)}") from None
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
        assert self._parts.hostname is not None, "the address was looked at"
        return kind(self._parts.hostname, self._parts.port, timeout=self._patience_seconds)

    def _refusal(self, answer: http.client.HTTPResponse) -> CommandFailed:
        try:
            message = str(json.loads(answer.read())["error"]["message"])
        except (ValueError, KeyError, TypeError):
            return self._foreign(answer)
        sentence = f"{message}{_HINTS.get(answer.status, '')}"
        full_stop = "" if sentence.endswith((".", "?", "!")) else "."
        return CommandFailed(f"{sentence}{full_stop}", 2 if answer.status in _BAD_INPUT else 1)

    def _foreign(self, answer: http.client.HTTPResponse) -> CommandFailed:
        kind = answer.headers.get_content_type()
        return CommandFailed(f"{self._url} is no Meterhouse: it answered with status {answer.status} and {kind}.")

    def _why(self, error: Exception) -> str:
        match error:
            case ConnectionRefusedError():
                return "is not served: nobody listens there."
            case TimeoutError():
                return f"did not answer within {self._patience_seconds:g} seconds."
            case http.client.IncompleteRead() | ConnectionError():
                return "broke the connection off before it had answered."
            case http.client.HTTPException():
                return "does not speak HTTP."
            case _:
                return f"cannot be reached: {getattr(error, 'strerror', None) or error}."


def path_of(*segments: str) -> str:
    """A path of the API, whatever characters its segments have."""
    return "".join(f"/{quote(segment, safe='')}" for segment in segments)


def _checked(url: str) -> SplitResult:
    """An address in its parts. Raises CommandFailed."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        usable = False
    if not usable or parts.query or parts.fragment or parts.username is not None or not url.isascii():
        raise CommandFailed(f"--url: {url!r} is no address of a server, such as http://127.0.0.1:8750.", 2)
    return parts


def _authorization() -> dict[str, str]:
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        return {}
    if not (token.isascii() and token.isprintable()):
        raise CommandFailed(f"{TOKEN_VARIABLE} holds what no token can: a line break, or a letter beyond ASCII.", 2)
    return {"Authorization": f"Bearer {token}"}


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _null(value: object) -> None:
    assert value is NULL, f"{value!r} cannot be said in JSON"


def _is_json(text: bytes) -> bool:
    try:
        msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return False
    return True
