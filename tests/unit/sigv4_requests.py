"""Requests signed in every way, right and wrong, for the tables of the tests of Signature Version 4."""

from collections.abc import Mapping
from urllib.parse import quote

from meterhouse.wire.keys import SigningCredentials
from meterhouse.wire.signature import SignedRequest, sha256_hex
from meterhouse.wire.sigv4 import presign, sign, sign_in_amz_headers
from tests.unit.sigv4_vectors import ACCESS_KEY_ID, AMZ_DATE, BODY, KEYS, NOW_MICROS, REGION, TEMPORARY, Pairs, by_hand

SCOPE = f"20150830/{REGION}/aws-marketplace/aws4_request"
CREDENTIAL = f"{ACCESS_KEY_ID}/{SCOPE}"
ONLY_CREDENTIAL = f"AWS4-HMAC-SHA256 Credential={CREDENTIAL}".encode()
HOST = (b"host", b"127.0.0.1:8750")
DATE = (b"x-amz-date", AMZ_DATE.encode())
TARGET = (b"x-amz-target", b"AWSMPMeteringService.MeterUsage")
REQUEST = SignedRequest("POST", [HOST, TARGET], sha256_hex(BODY))
"""What is signed below, where nothing else is said."""


def asked(*headers: tuple[bytes, bytes], query: bytes = b"") -> SignedRequest:
    """A request over BODY with these headers."""
    return SignedRequest("POST", headers, sha256_hex(BODY), query=query)


def authorization(credential: str = CREDENTIAL, names: str = "host;x-amz-date", signed: str = "0" * 64) -> bytes:
    """An Authorization header in its usual form."""
    return f"AWS4-HMAC-SHA256 Credential={credential}, SignedHeaders={names}, Signature={signed}".encode()


def hand_signed(headers: Pairs, names: str, *, scope: str = SCOPE, amz_date: str = AMZ_DATE) -> SignedRequest:
    """A request that is signed rightly over what it says, whether or not that is allowed."""
    signed = by_hand(headers, names, scope=scope, amz_date=amz_date)
    header = authorization(f"{ACCESS_KEY_ID}/{scope}", names, signed)
    return asked(*headers, (b"authorization", header))


def in_header(request: SignedRequest = REQUEST, keys: SigningCredentials = KEYS) -> SignedRequest:
    """The request signed in its Authorization header."""
    return request._replace(headers=[*request.headers, *sign(request, keys, REGION, NOW_MICROS)])


def in_amz_headers(request: SignedRequest = REQUEST, keys: SigningCredentials = KEYS) -> SignedRequest:
    """The request signed in X-Amz headers."""
    return request._replace(headers=[*request.headers, *sign_in_amz_headers(request, keys, REGION, NOW_MICROS)])


def in_query(
    request: SignedRequest = REQUEST, keys: SigningCredentials = KEYS, expires_seconds: int = 60
) -> SignedRequest:
    """The request presigned."""
    query = presign(request, keys, REGION, NOW_MICROS, expires_seconds=expires_seconds)
    return request._replace(query=query)


def with_authorization(value: bytes) -> SignedRequest:
    """A request with this Authorization header."""
    return asked(HOST, DATE, (b"authorization", value))


def without(piece: str) -> SignedRequest:
    """A request whose Authorization header lacks this piece of text."""
    return with_authorization(authorization().replace(piece.encode(), b""))


def with_amz_headers(**changes: str | None) -> SignedRequest:
    """The request signed in X-Amz headers, some of these with another value, or gone."""
    values = {f"x-amz-{name.lower()}".encode(): value for name, value in changes.items()}
    headers = [(name, value) for name, value in in_amz_headers().headers if name not in values]
    headers += [(name, value.encode()) for name, value in values.items() if value is not None]
    return REQUEST._replace(headers=headers)


def with_parameters(changes: Mapping[str, str | None]) -> SignedRequest:
    """The request presigned, some parameters with another value, or gone."""
    parameters = dict(piece.split("=", 1) for piece in in_query().query.decode().split("&"))
    for name, value in changes.items():
        if value is None:
            del parameters[f"X-Amz-{name}"]
        else:
            parameters[f"X-Amz-{name}"] = quote(value, safe="")
    return REQUEST._replace(query="&".join(f"{name}={value}" for name, value in parameters.items()).encode())


def scoped(scope: str, amz_date: str = AMZ_DATE) -> SignedRequest:
    """A request rightly signed for this scope."""
    headers = [HOST, (b"x-amz-date", amz_date.encode())]
    return hand_signed(headers, "host;x-amz-date", scope=scope, amz_date=amz_date)


def claiming(content_sha256: str, *, signed: bool) -> SignedRequest:
    """A request with this `x-amz-content-sha256`, which is also the payload hash in the signature."""
    headers = [HOST, DATE, (b"x-amz-content-sha256", content_sha256.encode())]
    names = "host;x-amz-content-sha256;x-amz-date" if signed else "host;x-amz-date"
    header = authorization(names=names, signed=by_hand(headers, names, payload_sha256=content_sha256))
    return asked(*headers, (b"authorization", header))


def with_token(request: SignedRequest, token: bytes) -> SignedRequest:
    """The request with a session token added unsigned, as a header."""
    return request._replace(headers=[*request.headers, (b"X-Amz-Security-Token", token)])


def token_unsigned(keys: SigningCredentials = TEMPORARY) -> dict[str, SignedRequest]:
    """The request in each form, its session token added after signing."""
    headers = sign(REQUEST, keys, REGION, NOW_MICROS, session_token_signed=False)
    amz_headers = sign_in_amz_headers(REQUEST, keys, REGION, NOW_MICROS, session_token_signed=False)
    query = presign(REQUEST, keys, REGION, NOW_MICROS, expires_seconds=60, session_token_signed=False)
    return {
        "header": REQUEST._replace(headers=[*REQUEST.headers, *headers]),
        "amz": REQUEST._replace(headers=[*REQUEST.headers, *amz_headers]),
        "query": REQUEST._replace(query=query),
    }
