"""Who may call: the bearer token, or, on a laptop under open auth, anybody on the laptop (catalog contract).

Where no token is needed, a web page could reach the server from within the laptop's browser: by its own name, made to
point here (so the `Host` must be a loopback name), or straight (so the `Origin`, which browsers add, must be one too).
"""

import re
from collections.abc import Sequence
from hmac import compare_digest
from ipaddress import ip_address
from typing import Final, Protocol

from meterhouse.server.control.problems import CallRefused

Headers = Sequence[tuple[bytes, bytes]]

_AUTHORITY: Final = re.compile(r"(?:\[(?P<address>[0-9a-fA-F:.]+)\]|(?P<name>[a-zA-Z0-9.-]+))(?::[0-9]{1,5})?")
_SCHEME: Final = b"bearer"
_ASKS: Final = {"www-authenticate": 'Bearer realm="meterhouse"'}


class Access(Protocol):
    """What decides who may call."""

    @property
    def admin_token(self) -> str | None:
        """The token that lets in; None: none is configured."""

    @property
    def open_on_loopback(self) -> bool:
        """Whether this machine needs no token."""


def admit(parts: Access, headers: Headers) -> None:
    """Raises CallRefused (401, 403) for whoever may not call."""
    if parts.open_on_loopback:
        _check_loopback(headers)
    else:
        _check_token(parts.admin_token, [value for name, value in headers if name == b"authorization"])


def _check_token(expected: str | None, given: Sequence[bytes]) -> None:
    if expected is None:
        reason = "the server has no admin token: start it with METERHOUSE_ADMIN_TOKEN to call the control API"
        raise CallRefused(401, reason, _ASKS)
    if len(given) != 1:
        raise CallRefused(401, "one Authorization header with the admin token is needed: Bearer …", _ASKS)
    scheme, _, token = given[0].strip().partition(b" ")
    token = token.strip()
    if scheme.lower() != _SCHEME or not token:
        raise CallRefused(401, "the admin token is needed as a bearer token: Authorization: Bearer …", _ASKS)
    if not compare_digest(token, expected.encode()):
        raise CallRefused(403, "this is not the admin token")


def _check_loopback(headers: Headers) -> None:
    for name, value in headers:
        text = value.decode("latin-1")
        if name == b"host" and not is_loopback(text):
            reason = "without a token only a Host that is a loopback name is answered, such as 127.0.0.1 or localhost"
            raise CallRefused(403, reason)
        if name == b"origin" and not is_loopback(text.partition("://")[2]):
            raise CallRefused(403, "without a token no web page of another origin than this machine is answered")


def is_loopback(authority: str) -> bool:
    """Whether a host, perhaps with a port, names this machine alone."""
    matched = _AUTHORITY.fullmatch(authority)
    if matched is None:
        return False
    host = matched["address"] or matched["name"]
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
