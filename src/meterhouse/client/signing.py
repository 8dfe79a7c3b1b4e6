"""The headers of a signed call, made in one go.

`wire.sigv4.sign` signs any request. A client's calls differ only in operation, body and second, so all that is the same
in them is written down once here, and the rest put into its place: a third of the time. That both come to the same
signature is held by a test, and both are held against botocore's.
"""

from functools import lru_cache
from typing import Final

from meterhouse.client.transport import Address
from meterhouse.core.moment import SECOND
from meterhouse.wire.canonical import ALGORITHM, Scope, canonical_path, canonical_query, instant_of_seconds, query_pairs
from meterhouse.wire.canonical import signature_of as signature_under
from meterhouse.wire.signature import sha256_hex
from meterhouse.wire.sigv4 import SERVICES, SigningCredentials

CONTENT_TYPE: Final = b"application/x-amz-json-1.1"
_TARGET_PREFIX: Final = b"AWSMPMeteringService."
_NAMES: Final = b"content-type;host;x-amz-date;x-amz-target"
_NAMES_WITH_TOKEN: Final = b"content-type;host;x-amz-date;x-amz-security-token;x-amz-target"

_CANONICAL: Final = (
    b"POST\n%b\n%b\ncontent-type:" + CONTENT_TYPE + b"\nhost:%b\nx-amz-date:%b\n%bx-amz-target:%b\n\n%b\n%b"
)


class Signer:
    """Signs the calls that go to one address."""

    def __init__(self, address: Address, target: bytes, region: str) -> None:
        path, _, query = target.partition(b"?")
        self._path = canonical_path(path)
        self._query = canonical_query(query_pairs(query))
        self._host = address.authority
        self._region = region

    def headers(
        self, operation: bytes, body: bytes, credentials: SigningCredentials, now_micros: int
    ) -> list[tuple[bytes, bytes]]:
        """What a call's request says of itself, its date and signature included; `Host` is the transport's."""
        amz_date = _amz_date(now_micros // SECOND)
        date, target, token = amz_date.encode(), _TARGET_PREFIX + operation, credentials.session_token
        names, token_line = _NAMES, b""
        headers = [(b"Content-Type", CONTENT_TYPE), (b"X-Amz-Target", target), (b"X-Amz-Date", date)]
        if token is not None:
            names, token_bytes = _NAMES_WITH_TOKEN, token.encode()
            # White space is written in one spelling in what is signed, and sent as it is.
            token_line = b"x-amz-security-token:%b\n" % b" ".join(token_bytes.split())
            headers.append((b"X-Amz-Security-Token", token_bytes))
        scope = Scope(amz_date[:8], self._region, SERVICES[0])
        canonical = _CANONICAL % (
            self._path,
            self._query,
            self._host,
            date,
            token_line,
            target,
            names,
            sha256_hex(body).encode(),
        )
        signature = signature_under(credentials.secret_access_key, amz_date, scope, canonical)
        said = (
            f"{ALGORITHM} Credential={credentials.access_key_id}/{'/'.join(scope)}, "
            f"SignedHeaders={names.decode()}, Signature={signature}"
        )
        headers.append((b"Authorization", said.encode()))
        return headers


@lru_cache(maxsize=64)
def _amz_date(seconds: int) -> str:
    return instant_of_seconds(seconds).amz_date
