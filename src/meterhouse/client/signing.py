"""The headers of a signed call, made in one go.

`wire.sigv4.sign` signs any request. A client's calls differ only in operation, body and second, so all that is the same
in them is written down once here, and the rest put into its place. What the calls of one operation in one second have
in common is kept from one to the next, so that little is left to do but to hash: a fifth of the time. That both come to
the same signature is held by a test, and both are held against botocore's.
"""

from hashlib import sha256
from typing import TYPE_CHECKING, Final

from msgspec import Struct

from meterhouse.client.transport import Address
from meterhouse.core.moment import SECOND
from meterhouse.wire.canonical import (
    ALGORITHM,
    Scope,
    canonical_path,
    canonical_query,
    instant_of_seconds,
    keyed_states,
    query_pairs,
)
from meterhouse.wire.keys import SERVICES, SigningCredentials

if TYPE_CHECKING:
    from hashlib import _Hash  # the type of sha256(), which has a name in its stub only

CONTENT_TYPE: Final = b"application/x-amz-json-1.1"
_TARGET_PREFIX: Final = b"AWSMPMeteringService."
_NAMES: Final = b"content-type;host;x-amz-date;x-amz-target"
_NAMES_WITH_TOKEN: Final = b"content-type;host;x-amz-date;x-amz-security-token;x-amz-target"

_CANONICAL: Final = (
    b"POST\n%b\n%b\ncontent-type:" + CONTENT_TYPE + b"\nhost:%b\nx-amz-date:%b\n%bx-amz-target:%b\n\n%b\n"
)


class _Second(Struct, frozen=True):
    """What calls of one operation, by one credential, in one second, have in common."""

    operation: bytes
    credentials: SigningCredentials
    seconds: int
    headers: list[tuple[bytes, bytes]]
    """All but the Authorization."""
    canonical: bytes
    """The canonical request, up to the body's hash."""
    to_sign: bytes
    """The string to sign, up to the canonical request's hash."""
    states: "tuple[_Hash, _Hash]"
    authorization: bytes
    """Up to the signature."""


class Signer:
    """Signs the calls that go to one address."""

    def __init__(self, address: Address, target: bytes, region: str) -> None:
        path, _, query = target.partition(b"?")
        self._path = canonical_path(path)
        self._query = canonical_query(query_pairs(query))
        self._host = address.authority
        self._region = region
        self._last: _Second | None = None

    def headers(
        self, operation: bytes, body: bytes, credentials: SigningCredentials, now_micros: int
    ) -> list[tuple[bytes, bytes]]:
        """What a call's request says of itself, its date and signature included; `Host` is the transport's."""
        seconds, last = now_micros // SECOND, self._last
        if (
            last is None
            or last.seconds != seconds
            or last.operation != operation
            or last.credentials is not credentials
        ):
            last = self._last = self._second(operation, credentials, seconds)
        canonical = last.canonical + sha256(body).hexdigest().encode()
        inner, outer = last.states
        inner, outer = inner.copy(), outer.copy()
        inner.update(last.to_sign + sha256(canonical).hexdigest().encode())
        outer.update(inner.digest())
        return [*last.headers, (b"Authorization", last.authorization + outer.hexdigest().encode())]

    def _second(self, operation: bytes, credentials: SigningCredentials, seconds: int) -> _Second:
        amz_date = instant_of_seconds(seconds).amz_date
        date, target, token = amz_date.encode(), _TARGET_PREFIX + operation, credentials.session_token
        names, token_line = _NAMES, b""
        headers = [(b"Content-Type", CONTENT_TYPE), (b"X-Amz-Target", target), (b"X-Amz-Date", date)]
        if token is not None:
            names, token_bytes = _NAMES_WITH_TOKEN, token.encode()
            # White space is written in one spelling in what is signed, and sent as it is.
            token_line = b"x-amz-security-token:%b\n" % b" ".join(token_bytes.split())
            headers.append((b"X-Amz-Security-Token", token_bytes))
        scope = Scope(amz_date[:8], self._region, SERVICES[0])
        credential = f"{credentials.access_key_id}/{'/'.join(scope)}"
        return _Second(
            operation,
            credentials,
            seconds,
            headers,
            _CANONICAL % (self._path, self._query, self._host, date, token_line, target, names),
            f"{ALGORITHM}\n{amz_date}\n{'/'.join(scope)}\n".encode(),
            keyed_states(credentials.secret_access_key, scope),
            f"{ALGORITHM} Credential={credential}, SignedHeaders={names.decode()}, Signature=".encode(),
        )
