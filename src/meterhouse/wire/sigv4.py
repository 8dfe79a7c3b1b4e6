"""Signature Version 4: judging whether a signature holds, and signing.

Rules of this file. Time is whole seconds here, as it is in a signature: `now_micros` is cut to them, so the two
instants that a message shows are the two that were compared. Signatures are not single-use: a retry within a second is
the same bytes. Of the faults the first one wins, in the order of `FaultCode`; the first two come from `signature.py`:

    1. MissingAuthenticationToken  nothing signed at all
    2. IncompleteSignature         the signature cannot be read
    3. UnrecognizedClient          the key is unknown, or the session token is not the key's
    4. InvalidSignature            scope, then time, then the body's hash, then the signature itself
    5. ExpiredToken                temporary credentials past their end

So a stranger learns that a key has expired only by signing with its secret, and an unknown key and a wrong session
token are told in the same words.

Signing covers every header of the request it is given, and so the request must hold `host`, exactly as it will be sent,
and no header that something on the way may change. The date is `x-amz-date`; it and the session token are added here,
never by the caller. A session token is signed like any other header, or with `session_token_signed=False` added after
signing, as a few services want it.
"""

import hmac
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote_from_bytes

from meterhouse.core.moment import SECOND
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.wire.canonical import (
    ALGORITHM,
    TERMINATOR,
    Headers,
    Scope,
    canonical_headers,
    canonical_query,
    canonical_request,
    headers_by_name,
    instant_of_seconds,
    query_pairs,
    signature_of,
)
from meterhouse.wire.keys import SERVICES, SigningCredentials
from meterhouse.wire.signature import (
    HEADER_OF_PART,
    LONGEST_EXPIRES_SECONDS,
    PARAMETER_OF_PART,
    Form,
    Signature,
    SignedRequest,
)

SKEW_SECONDS: Final = 300
"""How far a signature's instant may lie from now, either way, both ends included (contract §2)."""


def authenticate(
    request: SignedRequest,
    signature: Signature,
    credentials: SigningCredentials | None,
    now_micros: int,
    services: Sequence[str] = SERVICES,
) -> None:
    """Judge a signature by the credentials its key names; None means that there is no such key.

    `now_micros` is real time. Faults UnrecognizedClient, InvalidSignature, ExpiredToken, in this order (contract §2).
    """
    if credentials is None or not _same_token(signature.session_token, credentials.session_token):
        raise Fault(FaultCode.UNRECOGNIZED_CLIENT, "The security token included in the request is invalid.")
    verify(request, signature, credentials.secret_access_key, now_micros, services)
    if credentials.expires_micros is not None and now_micros >= credentials.expires_micros:
        raise expired_token()


def expired_token() -> Fault:
    """The fault of credentials past their end, or of a workload that was ended by a call (contract §3)."""
    return Fault(FaultCode.EXPIRED_TOKEN, "The security token included in the request is expired")


def verify(
    request: SignedRequest,
    signature: Signature,
    secret_access_key: str,
    now_micros: int,
    services: Sequence[str] = SERVICES,
) -> None:
    """Fault InvalidSignature unless the request was signed with this secret, in scope, in time, over this very body."""
    _check_scope(signature, services)
    _check_time(signature, now_micros // SECOND)
    if signature.content_sha256 is not None and signature.content_sha256 != request.body_sha256:
        raise _invalid("The header 'x-amz-content-sha256' is not the SHA-256 of the body.")
    for query in _canonical_queries(request.query, signature) if request.query else _NO_QUERY:
        canonical = canonical_request(
            request.method,
            request.path,
            query,
            signature.header_lines,
            signature.terms.signed_headers,
            request.body_sha256,
        )
        expected = signature_of(secret_access_key, signature.instant.amz_date, signature.terms.scope, canonical)
        if hmac.compare_digest(expected, signature.signature):
            return
    raise _invalid(
        "The signature is not the one that this request and the secret of this access key give. "
        "Check the secret access key and how the request is signed."
    )


def _same_token(given: str | None, expected: str | None) -> bool:
    """Whether a request carries the session token of its credentials, or none where they have none."""
    if given is None or expected is None:
        return given is expected
    return hmac.compare_digest(given.encode(), expected.encode("utf-8", "surrogatepass"))


def _check_scope(signature: Signature, services: Sequence[str]) -> None:
    date, _, service, terminator = signature.terms.scope
    day = signature.instant.amz_date[:8]
    if service not in services:
        raise _invalid(f"Credential should be scoped to correct service: '{services[0]}'. ")
    if terminator != TERMINATOR:
        raise _invalid(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'. ")
    if not signature.terms.names_region:
        raise _invalid("Credential should be scoped to a valid Region, such as 'us-east-1'. ")
    if date != day:
        raise _invalid(f"Credential should be scoped to the day of the signature: '{day}'. ")


def _check_time(signature: Signature, now_seconds: int) -> None:
    signed, seconds = signature.instant
    past_seconds, past = SKEW_SECONDS, "5 min."
    if signature.expires_seconds is not None:
        past_seconds, past = signature.expires_seconds, f"{signature.expires_seconds} s"
    if seconds < now_seconds - past_seconds:
        earliest, now = _amz_date(now_seconds - past_seconds), _amz_date(now_seconds)
        raise _invalid(f"Signature expired: {signed} is now earlier than {earliest} ({now} - {past})")
    if seconds > now_seconds + SKEW_SECONDS:
        latest, now = _amz_date(now_seconds + SKEW_SECONDS), _amz_date(now_seconds)
        raise _invalid(f"Signature not yet current: {signed} is still later than {latest} ({now} + 5 min.)")


def _amz_date(seconds: int) -> str:
    return instant_of_seconds(seconds).amz_date


_NO_QUERY: Final = (b"",)


def _canonical_queries(query: bytes, signature: Signature) -> list[bytes]:
    """The spellings of a query that may have been signed: presigned, the session token may have been added later."""
    left_out: list[set[bytes]] = [set()]
    if signature.form is Form.QUERY:
        left_out = [{PARAMETER_OF_PART["Signature"]}]
        if signature.session_token is not None:
            left_out.append({PARAMETER_OF_PART["Signature"], PARAMETER_OF_PART["Security-Token"]})
    pairs = query_pairs(query)
    return [canonical_query(pair for pair in pairs if pair[0] not in names) for names in left_out]


def _invalid(message: str) -> Fault:
    return Fault(FaultCode.INVALID_SIGNATURE, message)


_DATE: Final = b"x-amz-date"
_TOKEN: Final = b"x-amz-security-token"
_ADDED_HERE: Final = frozenset({b"authorization", _DATE, _TOKEN, *HEADER_OF_PART.values()})


def sign(
    request: SignedRequest,
    credentials: SigningCredentials,
    region: str,
    now_micros: int,
    *,
    service: str = SERVICES[0],
    session_token_signed: bool = True,
) -> list[tuple[bytes, bytes]]:
    """The headers to add: `x-amz-date`, `x-amz-security-token` where there is a token, `authorization`.

    ValueError for a request that is signed already or has no `host`.
    """
    added, parts = _signed_parts(
        request, credentials, region, now_micros, service, session_token_signed=session_token_signed
    )
    del parts["Algorithm"]
    authorization = ", ".join([f"{part}={text}" for part, text in parts.items()])
    return [*added, (b"authorization", f"{ALGORITHM} {authorization}".encode())]


def sign_in_amz_headers(
    request: SignedRequest,
    credentials: SigningCredentials,
    region: str,
    now_micros: int,
    *,
    service: str = SERVICES[0],
    session_token_signed: bool = True,
) -> list[tuple[bytes, bytes]]:
    """The headers to add: as `sign`, with each part of the signature in an `x-amz-*` header of its own."""
    added, parts = _signed_parts(
        request, credentials, region, now_micros, service, session_token_signed=session_token_signed
    )
    return [*added, *((HEADER_OF_PART[part], text.encode()) for part, text in parts.items())]


def presign(
    request: SignedRequest,
    credentials: SigningCredentials,
    region: str,
    now_micros: int,
    *,
    expires_seconds: int,
    service: str = SERVICES[0],
    session_token_signed: bool = True,
) -> bytes:
    """The query string to send instead of the request's own, which it begins with.

    ValueError as for `sign`, and for `expires_seconds` off 1..604,800.
    """
    if not 1 <= expires_seconds <= LONGEST_EXPIRES_SECONDS:
        raise ValueError(f"a presigned request is good for 1 to {LONGEST_EXPIRES_SECONDS} seconds")
    if not {name for name, _ in query_pairs(request.query)}.isdisjoint(PARAMETER_OF_PART.values()):
        raise ValueError("the query string holds a signature already")
    headers = _signable(request.headers)
    amz_date, scope = _instant_and_scope(now_micros, region, service)
    early = {
        "Algorithm": ALGORITHM,
        "Credential": "/".join((credentials.access_key_id, *scope)),
        "Date": amz_date,
        "Expires": str(expires_seconds),
        "SignedHeaders": _names(headers),
    }
    late: dict[str, str] = {}
    if credentials.session_token is not None:
        (early if session_token_signed else late)["Security-Token"] = credentials.session_token
    query = b"&".join(filter(None, (request.query, _parameters(early))))
    covered = canonical_query(query_pairs(query))
    late["Signature"] = _signature(request, covered, headers, credentials.secret_access_key, amz_date, scope)
    return query + b"&" + _parameters(late)


def _signed_parts(
    request: SignedRequest,
    credentials: SigningCredentials,
    region: str,
    now_micros: int,
    service: str,
    *,
    session_token_signed: bool,
) -> tuple[list[tuple[bytes, bytes]], dict[str, str]]:
    """The headers that a signature in headers needs beside it, and the parts of that signature in their usual order."""
    amz_date, scope = _instant_and_scope(now_micros, region, service)
    added = [(_DATE, amz_date.encode())]
    token = [] if credentials.session_token is None else [(_TOKEN, credentials.session_token.encode())]
    headers = _signable(request.headers, added + token if session_token_signed else added)
    covered = canonical_query(query_pairs(request.query)) if request.query else b""
    parts = {
        "Algorithm": ALGORITHM,
        "Credential": "/".join((credentials.access_key_id, *scope)),
        "SignedHeaders": _names(headers),
        "Signature": _signature(request, covered, headers, credentials.secret_access_key, amz_date, scope),
    }
    return added + token, parts


def _signable(headers: Headers, added: Headers = ()) -> dict[bytes, bytes]:
    """What is covered: every header by its lower-case name, sorted; ValueError where that cannot make a signature."""
    by_name = headers_by_name(headers)
    if b"host" not in by_name:
        raise ValueError("a request is signed with the host it is sent to")
    if not by_name.keys().isdisjoint(_ADDED_HERE):
        raise ValueError("the request holds a date or a signature already")
    by_name.update(added)
    return {name: by_name[name] for name in sorted(by_name)}


def _instant_and_scope(now_micros: int, region: str, service: str) -> tuple[str, Scope]:
    amz_date = _amz_date(now_micros // SECOND)
    return amz_date, Scope(amz_date[:8], region, service)


def _signature(
    request: SignedRequest, query: bytes, headers: dict[bytes, bytes], secret: str, amz_date: str, scope: Scope
) -> str:
    lines = canonical_headers(headers, headers)
    canonical = canonical_request(request.method, request.path, query, lines, _names(headers), request.body_sha256)
    return signature_of(secret, amz_date, scope, canonical)


def _names(headers: dict[bytes, bytes]) -> str:
    return b";".join(headers).decode("ascii")


def _parameters(parts: dict[str, str]) -> bytes:
    pairs = ((PARAMETER_OF_PART[part], text.encode()) for part, text in parts.items())
    return b"&".join(b"%b=%b" % (name, quote_from_bytes(value, safe="").encode()) for name, value in pairs)
