r"""What both sides write down before a Signature Version 4 is computed: the canonical request, and the string to sign.

Theory. A signature is an HMAC over a text which says the request once, in one spelling. Client and server each write
that text from what they hold, so everything that HTTP lets a message say in several ways has to have one way here:

    method \n path \n query \n name:value\n of each signed header \n names of them \n SHA-256 of the body

Rules of this file (AWS's general rules; the published test suite fixes them):

* path: repeated slashes and dot segments go, then every byte but the unreserved ones and `/` is percent-encoded. The
  path is taken as it came, so a `%` in it is encoded again, as every service but S3 does.
* query: each name and value is decoded (`+` is a space) and encoded anew, then the pairs are sorted. Empty pieces
  (`a=1&&b=2`) say nothing and are left out.
* header: values lose white space at both ends, runs of it inside become one space, and values of a repeated header
  are joined by `,` in the order they came. Bytes beyond ASCII are left as they are.

Nothing here judges: any bytes have a canonical form. What refuses is in `sigv4.py`.
"""

import hmac
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from hashlib import sha256
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from meterhouse.core.moment import SECOND, datetime_of, micros_of_datetime

if TYPE_CHECKING:
    from hashlib import _Hash  # the type of sha256(), which has a name in its stub only

ALGORITHM: Final = "AWS4-HMAC-SHA256"
TERMINATOR: Final = "aws4_request"

_LONGEST_CACHED: Final = 64
"""Characters of a Region. Longer texts are a stranger's, and a cache that kept them would let him fill the memory."""

Headers = Sequence[tuple[bytes, bytes]]
"""Name and value of each header in the order received; names in any case."""


class Scope(NamedTuple):
    """The credential scope: the day, Region and service for which a signing key was derived."""

    date: str
    region: str
    service: str
    terminator: str = TERMINATOR


def canonical_path(path: bytes) -> bytes:
    """The path in its one spelling; an empty one is `/`."""
    if path == b"/":
        return path
    from urllib.parse import quote_from_bytes  # noqa: PLC0415 - a tenth of a client's first call, and few need it

    kept: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del kept[-1:]
        elif segment not in {b"", b"."}:
            kept.append(segment)
    closing = "/" if kept and path.endswith(b"/") else ""
    return f"/{quote_from_bytes(b'/'.join(kept), safe='/')}{closing}".encode()


def query_pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """Names and values of a query string in the order received, decoded. Malformed escapes stay as they are."""
    if not query:
        return []
    from urllib.parse import unquote_to_bytes  # noqa: PLC0415 - as above

    pairs = (piece.replace(b"+", b" ").partition(b"=") for piece in query.split(b"&") if piece)
    return [(unquote_to_bytes(name), unquote_to_bytes(value)) for name, _, value in pairs]


def canonical_query(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The query string of these pairs in its one spelling."""
    pairs = list(pairs)
    if not pairs:
        return b""
    from urllib.parse import quote_from_bytes  # noqa: PLC0415 - as above

    encoded = sorted((quote_from_bytes(name, safe=""), quote_from_bytes(value, safe="")) for name, value in pairs)
    return "&".join(f"{name}={value}" for name, value in encoded).encode()


def headers_by_name(headers: Headers) -> dict[bytes, bytes]:
    """Values by lower-case name; those of a repeated header trimmed and joined by `,`."""
    by_name = dict(headers)
    if len(by_name) == len(headers) and b"".join(by_name).islower():
        return by_name  # what an HTTP server hands over
    values: dict[bytes, list[bytes]] = {}
    for name, value in headers:
        values.setdefault(name.lower(), []).append(b" ".join(value.split()))
    return {name: b",".join(several) for name, several in values.items()}


def canonical_headers(by_name: Mapping[bytes, bytes], names: Iterable[bytes]) -> bytes:
    """One line for each of the signed headers; KeyError with the name of one that the request does not have."""
    return b"".join([name + b":" + b" ".join(by_name[name].split()) + b"\n" for name in names])


HeaderLines = Callable[[Mapping[bytes, bytes]], bytes]
"""Writes the canonical lines of certain signed headers of a request; KeyError with the name of one that it lacks."""


def header_lines_of(names: Sequence[bytes]) -> HeaderLines:
    """`canonical_headers` for names that come again and again: half as long, once this function has been made."""
    form = b"".join([name.replace(b"%", b"%%") + b":%b\n" for name in names])
    values_of: Callable[[Any], Any] = itemgetter(*names)

    def header_lines(by_name: Mapping[bytes, bytes]) -> bytes:
        # A line is one word at least, its name. Where it is no more than that, its value holds no white space but at
        # its end, which is not part of the word: then the words are the lines.
        lines = (form % values_of(by_name)).split()
        if len(lines) == len(names):
            return b"\n".join(lines) + b"\n"
        return canonical_headers(by_name, names)

    return header_lines


def canonical_request(
    method: str, path: bytes, query: bytes, header_lines: bytes, signed_headers: str, body_sha256: str
) -> bytes:
    """The six parts as one text. `query` and `header_lines` are canonical already; the path is made so here."""
    head = method.encode("utf-8", "surrogatepass")
    tail = f"{signed_headers}\n{body_sha256}".encode()
    return b"\n".join((head, canonical_path(path), query, header_lines, tail))


def string_to_sign(amz_date: str, scope: Scope, canonical: bytes) -> bytes:
    """What is signed: the algorithm, the instant, the scope and the hash of the canonical request."""
    return f"{ALGORITHM}\n{amz_date}\n{'/'.join(scope)}\n{sha256(canonical).hexdigest()}".encode()


def signature_of(secret_access_key: str, amz_date: str, scope: Scope, canonical: bytes) -> str:
    """The signature, 64 lower-case hexadecimal digits."""
    states = keyed_states if len(scope.region) <= _LONGEST_CACHED else keyed_states.__wrapped__
    inner, outer = states(secret_access_key, scope)
    inner = inner.copy()
    inner.update(string_to_sign(amz_date, scope, canonical))
    outer = outer.copy()
    outer.update(inner.digest())
    return outer.hexdigest()


@lru_cache(maxsize=4096)
def keyed_states(secret_access_key: str, scope: Scope) -> tuple["_Hash", "_Hash"]:
    """The two hashes of an HMAC (RFC 2104) under the signing key of a scope, the key taken in already.

    A key serves for a day, and going on from copies of these costs a third of an HMAC from the key.
    """
    key = f"AWS4{secret_access_key}".encode("utf-8", "surrogatepass")
    for element in scope:
        key = hmac.digest(key, element.encode(), "sha256")
    block = key.ljust(64, b"\0")
    return sha256(block.translate(_INNER_PAD)), sha256(block.translate(_OUTER_PAD))


_INNER_PAD: Final = bytes(byte ^ 0x36 for byte in range(256))
_OUTER_PAD: Final = bytes(byte ^ 0x5C for byte in range(256))

# Compiled by `re` when they are first needed: most clients never read a date.
_ISO_BASIC: Final = r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z"
_HTTP_DATE: Final = (
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>\d\d?) (?P<month>[A-Z][a-z]{2}) (?P<year>\d{4}) "
    r"(?P<hour>\d\d):(?P<minute>\d\d):(?P<second>\d\d) (?:GMT|UTC|UT|[+-]0000)"
)
_MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


class Instant(NamedTuple):
    """A whole second: as it stands in a string to sign (`20150830T123600Z`), and since the epoch."""

    amz_date: str
    seconds: int


@lru_cache(maxsize=1024)
def instant_of_seconds(seconds: int) -> Instant:
    """The instant of a second since the epoch, within the years 1-9999."""
    moment = datetime_of(seconds * SECOND)
    return Instant(f"{moment.year:04}{moment:%m%dT%H%M%SZ}", seconds)


def instant_of_amz_date(text: str) -> Instant | None:
    """The instant that `20150830T123600Z` names; None for any other form or an impossible date."""
    return _instant_of_amz_date(text) if len(text) == 16 else None


@lru_cache(maxsize=1024)
def _instant_of_amz_date(text: str) -> Instant | None:
    match = re.fullmatch(_ISO_BASIC, text, re.ASCII)
    return _instant(*map(int, match.groups())) if match else None


def instant_of_http_date(text: str) -> Instant | None:
    """The instant that an RFC 1123 date (`Sun, 30 Aug 2015 12:36:00 GMT`, or `-0000`) names; None for another form."""
    match = re.fullmatch(_HTTP_DATE, text, re.ASCII)
    if match is None or match["month"] not in _MONTHS:
        return None
    day, year, *time = (int(match[name]) for name in ("day", "year", "hour", "minute", "second"))
    return _instant(year, _MONTHS.index(match["month"]) + 1, day, *time)


def _instant(year: int, month: int, day: int, hour: int, minute: int, second: int) -> Instant | None:
    try:
        moment = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    return instant_of_seconds(micros_of_datetime(moment) // SECOND)
