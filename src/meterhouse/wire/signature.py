"""Reading a Signature Version 4 off a request: who says to have signed it, for what, when, and over which headers.

Theory. A signature names an access key, a scope (day, Region, service), the headers it covers and an instant; it is an
HMAC over the request's canonical form (`canonical.py`) under a key derived from the secret and the scope. It may stand
in three places (contract §2): the `Authorization` header, the query string (presigned, good for `X-Amz-Expires`
seconds), or `X-Amz-*` headers, whose canonical form is that of `Authorization`.

Judging goes in two stages, since the secret is looked up in between: this file finds and parses, `sigv4.py` judges.
Whatever a request holds, however broken, it either reads as a `Signature` here or ends in one of two faults:
MissingAuthenticationToken where nothing is signed at all, IncompleteSignature for all else. What a scope says (service,
Region, day) is read but not judged, and nothing read is proved.

Clients say the same things over and over, so the parts that a client repeats all day are parsed once and kept in
bounded caches. A text too long to be a real client's is never kept there.
"""

import re
from enum import Enum
from functools import lru_cache, partial
from hashlib import sha256
from typing import Final, NamedTuple

from msgspec import Struct

from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.regions import well_formed
from meterhouse.wire.canonical import (
    ALGORITHM,
    HeaderLines,
    Headers,
    Instant,
    Scope,
    canonical_headers,
    header_lines_of,
    headers_by_name,
    instant_of_amz_date,
    instant_of_http_date,
    query_pairs,
)

LONGEST_EXPIRES_SECONDS: Final = 604_800
"""Seven days: the most that a presigned request may ask for."""

_LONGEST_CACHED: Final = 512
"""Characters. What is longer is parsed anew each time, so that nobody can fill the caches with large texts."""

_ACCESS_KEY_ID: Final = re.compile(r"[!-+\--.0-~]+")  # printable ASCII but `,` and `/`
_HEADER_NAME: Final = re.compile(r"[a-z0-9!#$%&'*+.^_`|~-]+")
_EXPIRES: Final = re.compile(r"[0-9]{1,16}")

_PARTS: Final = ("Credential", "SignedHeaders", "Signature")


class Form(Enum):
    """Where a signature stands, and the parts it must have there."""

    AUTHORIZATION = ("the Authorization header", _PARTS)
    QUERY = ("the query string", ("Algorithm", *_PARTS, "Date", "Expires"))
    AMZ_HEADERS = ("the X-Amz headers", ("Algorithm", *_PARTS))

    def __init__(self, place: str, required: tuple[str, ...]) -> None:
        self.place = place
        self.required = frozenset(required)


_AUTHORIZATION, _QUERY, _AMZ_HEADERS = Form

HEADER_OF_PART: Final = {
    "Algorithm": b"x-amz-algorithm",
    "Credential": b"x-amz-credential",
    "SignedHeaders": b"x-amz-signedheaders",
    "Signature": b"x-amz-signature",
}
PARAMETER_OF_PART: Final = {
    "Algorithm": b"X-Amz-Algorithm",
    "Credential": b"X-Amz-Credential",
    "SignedHeaders": b"X-Amz-SignedHeaders",
    "Signature": b"X-Amz-Signature",
    "Date": b"X-Amz-Date",
    "Expires": b"X-Amz-Expires",
    "Security-Token": b"X-Amz-Security-Token",
}
_PART_HEADERS: Final = tuple(HEADER_OF_PART.values())
_PART_OF_PARAMETER: Final = {parameter: part for part, parameter in PARAMETER_OF_PART.items()}


class SignedRequest(NamedTuple):
    """A request as it came: what a signature covers.

    `headers` in the order received, names in any case. `body_sha256` is `sha256_hex` of the whole body. `path` and
    `query` are the raw bytes of the target before and after its first `?`.
    """

    method: str
    headers: Headers
    body_sha256: str
    path: bytes = b"/"
    query: bytes = b""


def sha256_hex(body: bytes) -> str:
    """The hash of a body in the form `SignedRequest.body_sha256` takes it."""
    return sha256(body).hexdigest()


class Terms(Struct, frozen=True):
    """What a client says alike in all its calls of a day: the parts `Credential` and `SignedHeaders`."""

    access_key_id: str
    scope: Scope
    names_region: bool
    """Whether the scope's Region has the form of one; whether it is served is judged later (contract §9)."""
    signed_headers: str
    names: tuple[bytes, ...]
    """The names in `signed_headers`."""
    date_header: bytes
    """The one of them that says the instant (of two dates, `x-amz-date` counts); empty where none does."""


class Signature(Struct, frozen=True):
    """What a request's signature says of itself; nothing of it is proved until `authenticate` has passed."""

    form: Form
    terms: Terms
    header_lines: bytes
    """The signed headers in canonical form, taken from the request."""
    signature: str
    instant: Instant
    expires_seconds: int | None
    """How long a presigned request is good for; None in the other forms."""
    session_token: str | None
    content_sha256: str | None
    """What `x-amz-content-sha256` says of the body, where it is sent."""

    @property
    def access_key_id(self) -> str:
        """The key to look the secret up by."""
        return self.terms.access_key_id

    @property
    def region(self) -> str:
        """The Region that the request is for (contract §2: it comes from the scope)."""
        return self.terms.scope.region

    def __repr__(self) -> str:
        return f"<Signature by {self.access_key_id} for {'/'.join(self.terms.scope)} at {self.instant.amz_date}>"


def read_signature(request: SignedRequest, by_name: dict[bytes, bytes] | None = None) -> Signature:
    """Find and parse the one signature of a request (contract §2).

    `by_name`: `headers_by_name` of the request, where that has been made already.

    Fault MissingAuthenticationToken where nothing is signed, IncompleteSignature where the signature cannot be read.
    """
    headers = headers_by_name(request.headers) if by_name is None else by_name
    form, parts = _locate(headers, request.query)
    if form is _AUTHORIZATION:
        terms, lines_of, signature = _read_authorization(parts["Authorization"])
    else:
        terms, lines_of, signature = *_terms_of(form, parts), parts["Signature"]
    if not _is_signature(signature):
        raise _incomplete("A signature is 64 hexadecimal digits.")
    try:
        header_lines = lines_of(headers)
    except KeyError as absent:
        raise _incomplete(f"The signed header '{absent.args[0][:64].decode()}' is not in the request.") from None
    return Signature(
        form,
        terms,
        header_lines,
        signature,
        _instant(form, parts, headers, terms.date_header),
        _expires(parts["Expires"]) if form is _QUERY else None,
        _session_token(form, parts, headers),
        _header_text(headers, b"x-amz-content-sha256"),
    )


def read_key_and_region(request: SignedRequest) -> tuple[str | None, str | None]:
    """The access key id and the Region that a request claims, for `--auth open`; never raises.

    Only the credential has to be readable. A request without one, or signed in two places, or by another scheme,
    counts as not signed: (None, None). The Region may be off the pattern of Regions.
    """
    try:
        form, parts = _locate(headers_by_name(request.headers), request.query)
        if form is _AUTHORIZATION:
            parts = _split_authorization(parts["Authorization"])
        access_key_id, scope = _split_credential(parts.get("Credential", ""))
    except Fault:
        return None, None
    return access_key_id, scope.region or None


def _locate(headers: dict[bytes, bytes], query: bytes) -> tuple[Form, dict[str, str]]:
    """The place of the signature, and what stands there: the parts, or the whole `Authorization` header as one."""
    authorization = _header_text(headers, b"authorization")
    in_amz_headers = not headers.keys().isdisjoint(_PART_HEADERS)
    parameters = _signature_parameters(query) if query else []
    if authorization and not (in_amz_headers or parameters):
        return _AUTHORIZATION, {"Authorization": authorization}
    places = bool(authorization) + in_amz_headers + bool(parameters)
    if places == 0:
        raise Fault(FaultCode.MISSING_AUTHENTICATION_TOKEN, "The request is not signed.")
    if places > 1:
        raise _incomplete("The request is signed in more than one place.")
    if in_amz_headers:
        form, given = (
            _AMZ_HEADERS,
            [(part, headers[name]) for part, name in HEADER_OF_PART.items() if name in headers],
        )
    else:
        form, given = _QUERY, parameters
    parts = {part: _text(value) for part, value in given}
    if len(parts) < len(given):
        raise _incomplete("A parameter of the signature is given twice.")
    if parts.get("Algorithm", ALGORITHM) != ALGORITHM:
        raise _incomplete(f"The algorithm of a signature is {ALGORITHM}.")
    return form, parts


def _signature_parameters(query: bytes) -> list[tuple[str, bytes]]:
    """The parameters of a presigned request as (part, value); none where the query holds no signature."""
    pairs = query_pairs(query)
    given = [(_PART_OF_PARAMETER[name], value) for name, value in pairs if name in _PART_OF_PARAMETER]
    return given if any(part in HEADER_OF_PART for part, _ in given) else []


def _read_authorization(text: str) -> tuple[Terms, HeaderLines, str]:
    """Terms and signature of an `Authorization` header, its parts in whatever order, and how the lines are made.

    All but the signature is the same in each call that a client makes in a day, so where the signature comes last, as
    every client puts it, the rest is parsed once.
    """
    rest, name, signature = text.rpartition("Signature=")
    if name and "," not in signature and len(rest) <= _LONGEST_CACHED:
        return *_terms_before_signature(rest), signature
    parts = _split_authorization(text)
    return *_terms_of(_AUTHORIZATION, parts), parts["Signature"]


@lru_cache(maxsize=4096)
def _terms_before_signature(rest: str) -> tuple[Terms, HeaderLines]:
    terms = _terms(_AUTHORIZATION, _split_authorization(f"{rest}Signature="))
    return terms, header_lines_of(terms.names)


def _split_authorization(text: str) -> dict[str, str]:
    scheme, _, rest = text.partition(" ")
    if scheme != ALGORITHM:
        raise _incomplete(f"The scheme of the Authorization header is not {ALGORITHM}.")
    parts: dict[str, str] = {}
    for piece in rest.split(","):
        name, equals, value = piece.strip(" \t").partition("=")
        if not equals or name not in _PARTS or name in parts:
            raise _incomplete(f"The Authorization header takes {', '.join(_PARTS)}, each once, as name=value.")
        parts[name] = value
    return parts


def _terms_of(form: Form, parts: dict[str, str]) -> tuple[Terms, HeaderLines]:
    """Terms that nothing is remembered of."""
    terms = _terms(form, parts)
    return terms, partial(canonical_headers, names=terms.names)


def _terms(form: Form, parts: dict[str, str]) -> Terms:
    if not parts.keys() >= form.required:
        missing = sorted(form.required - parts.keys())
        raise _incomplete(f"The signature in {form.place} lacks {' and '.join(missing)}.")
    access_key_id, scope = _split_credential(parts["Credential"])
    signed_headers = parts["SignedHeaders"]
    names = _split_signed_headers(signed_headers)
    date_header = next((name for name in (b"x-amz-date", b"date") if name in names), b"")
    return Terms(access_key_id, scope, well_formed(scope.region), signed_headers, names, date_header)


def _split_credential(text: str) -> tuple[str, Scope]:
    """Only the number of elements and the key's characters are judged here; the scope is judged with the signature."""
    access_key_id, *elements = text.split("/")
    if len(elements) != 4 or not _ACCESS_KEY_ID.fullmatch(access_key_id):
        raise _incomplete("A credential is key/date/region/service/aws4_request.")
    return access_key_id, Scope(*elements)


def _split_signed_headers(text: str) -> tuple[bytes, ...]:
    """The names in `SignedHeaders`, which has one spelling: lower case, sorted, each once."""
    names = text.split(";")
    if not all(map(_HEADER_NAME.fullmatch, names)) or names != sorted(set(names)):
        raise _incomplete("SignedHeaders is a sorted list of lower-case header names, joined by ';'.")
    if "host" not in names:
        raise _incomplete("The header 'host' must be signed.")
    return tuple(name.encode() for name in names)


def _is_signature(text: str) -> bool:
    """64 hexadecimal digits: half as many bytes leave no room for the white space that may stand between two."""
    try:
        return len(text) == 64 and len(bytes.fromhex(text)) == 32
    except ValueError:
        return False


def _instant(form: Form, parts: dict[str, str], headers: dict[bytes, bytes], date_header: bytes) -> Instant:
    """The instant of the signature."""
    if form is _QUERY:
        text = parts["Date"]
    elif date_header:
        text = _text(headers[date_header])
    else:
        raise _incomplete("The header 'x-amz-date' or 'date' must be signed.")
    instant = instant_of_amz_date(text)
    if instant is None and form is not _QUERY and date_header == b"date":
        instant = instant_of_http_date(text)
    if instant is None:
        raise _incomplete("The date of a signature has the form 20150830T123600Z.")
    return instant


def _expires(text: str) -> int:
    if _EXPIRES.fullmatch(text) and 1 <= int(text) <= LONGEST_EXPIRES_SECONDS:
        return int(text)
    raise _incomplete(f"X-Amz-Expires is a number of seconds from 1 to {LONGEST_EXPIRES_SECONDS}.")


def _session_token(form: Form, parts: dict[str, str], headers: dict[bytes, bytes]) -> str | None:
    """The token beside the signature, signed or not, also as a header beside a query; an empty one counts as none."""
    in_query = parts.get("Security-Token") if form is _QUERY else None
    return in_query or _header_text(headers, b"x-amz-security-token") or None


def _header_text(headers: dict[bytes, bytes], name: bytes) -> str | None:
    value = headers.get(name)
    return None if value is None else _text(value)


def _text(value: bytes) -> str:
    """A value as text. Latin-1 reads any bytes; what is not ASCII then fits no form that is asked for later."""
    return value.strip().decode("latin-1")


def _incomplete(message: str) -> Fault:
    return Fault(FaultCode.INCOMPLETE_SIGNATURE, message)
