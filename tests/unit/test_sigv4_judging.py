"""The rules by which a signature that can be read holds (contract §2), as tables whose last column is the outcome."""

from collections.abc import Sequence

import pytest

from meterhouse.core.moment import SECOND
from meterhouse.core.outcome import FaultCode
from meterhouse.wire.keys import SigningCredentials
from meterhouse.wire.signature import SignedRequest, read_signature, sha256_hex
from meterhouse.wire.sigv4 import expired_token, presign, verify
from tests.unit.sigv4_requests import (
    DATE,
    HOST,
    REQUEST,
    SCOPE,
    TARGET,
    asked,
    authorization,
    claiming,
    hand_signed,
    in_amz_headers,
    in_header,
    in_query,
    scoped,
    token_unsigned,
    with_amz_headers,
    with_authorization,
    with_parameters,
    with_token,
)
from tests.unit.sigv4_vectors import (
    ACCESS_KEY_ID,
    AMZ_DATE,
    BODY,
    KEYS,
    NOW_MICROS,
    REGION,
    SECRET,
    TEMPORARY,
    TOKEN,
    refusal,
    verdict,
)

MISSING = FaultCode.MISSING_AUTHENTICATION_TOKEN
INCOMPLETE = FaultCode.INCOMPLETE_SIGNATURE
UNRECOGNIZED = FaultCode.UNRECOGNIZED_CLIENT
INVALID = FaultCode.INVALID_SIGNATURE
EXPIRED = FaultCode.EXPIRED_TOKEN
ACCEPTED = None

Outcome = FaultCode | None


EMPTY_SHA256 = sha256_hex(b"")

JUDGING: Sequence[tuple[str, SignedRequest, Outcome]] = [
    ("Authorization", in_header(), ACCEPTED),
    ("X-Amz headers", in_amz_headers(), ACCEPTED),
    ("presigned", in_query(), ACCEPTED),
    ("presigned for a week", in_query(expires_seconds=604_800), ACCEPTED),
    ("by hand", scoped(SCOPE), ACCEPTED),
    # The scope
    ("the older service name", scoped(f"20150830/{REGION}/metering.marketplace/aws4_request"), ACCEPTED),
    ("a Region nobody knows", scoped("20150830/xy-nowhere-9/aws-marketplace/aws4_request"), ACCEPTED),
    ("a Region of many parts", scoped("20150830/us-gov-north-west-12/aws-marketplace/aws4_request"), ACCEPTED),
    ("another service", scoped(f"20150830/{REGION}/s3/aws4_request"), INVALID),
    ("no service", scoped(f"20150830/{REGION}//aws4_request"), INVALID),
    ("the service in upper case", scoped(f"20150830/{REGION}/AWS-Marketplace/aws4_request"), INVALID),
    ("another terminator", scoped(f"20150830/{REGION}/aws-marketplace/aws5_request"), INVALID),
    ("no terminator", scoped(f"20150830/{REGION}/aws-marketplace/"), INVALID),
    ("a Region in upper case", scoped("20150830/US-EAST-1/aws-marketplace/aws4_request"), INVALID),
    ("a Region off the pattern", scoped("20150830/x!/aws-marketplace/aws4_request"), INVALID),
    ("no Region", scoped("20150830//aws-marketplace/aws4_request"), INVALID),
    ("a Region without a number", scoped("20150830/us-east/aws-marketplace/aws4_request"), INVALID),
    ("a Region with a line break", scoped("20150830/us-east-1\n/aws-marketplace/aws4_request"), INVALID),
    ("the day before", scoped(f"20150829/{REGION}/aws-marketplace/aws4_request"), INVALID),
    ("no day", scoped(f"/{REGION}/aws-marketplace/aws4_request"), INVALID),
    ("a day too long", scoped(f"201508301/{REGION}/aws-marketplace/aws4_request"), INVALID),
    # The body's hash
    ("the body's hash", claiming(sha256_hex(BODY), signed=True), ACCEPTED),
    ("the body's hash, unsigned", claiming(sha256_hex(BODY), signed=False), ACCEPTED),
    ("the body's hash in upper case", claiming(sha256_hex(BODY).upper(), signed=True), INVALID),
    ("the hash of nothing", claiming(EMPTY_SHA256, signed=True), INVALID),
    ("the hash of nothing, unsigned", claiming(EMPTY_SHA256, signed=False), INVALID),
    ("UNSIGNED-PAYLOAD", claiming("UNSIGNED-PAYLOAD", signed=True), INVALID),
    ("UNSIGNED-PAYLOAD, unsigned", claiming("UNSIGNED-PAYLOAD", signed=False), INVALID),
    ("a streamed payload", claiming("STREAMING-AWS4-HMAC-SHA256-PAYLOAD", signed=True), INVALID),
    ("an empty hash", claiming("", signed=True), INVALID),
    ("a wrong hash beside a right signature", in_header(asked(HOST, (b"x-amz-content-sha256", b"0" * 64))), INVALID),
    ("presigned without a body", in_query(REQUEST._replace(body_sha256=EMPTY_SHA256)), ACCEPTED),
    (
        "presigned without a body, sent with one",
        in_query(REQUEST._replace(body_sha256=EMPTY_SHA256))._replace(body_sha256=sha256_hex(BODY)),
        INVALID,
    ),
    (
        "presigned UNSIGNED-PAYLOAD",
        in_query(REQUEST._replace(body_sha256="UNSIGNED-PAYLOAD"))._replace(body_sha256=sha256_hex(BODY)),
        INVALID,
    ),
    # The signature
    ("a signature of zeros", with_authorization(authorization()), INVALID),
    ("X-Amz headers, of zeros", with_amz_headers(Signature="0" * 64), INVALID),
    ("presigned, of zeros", with_parameters({"Signature": "0" * 64}), INVALID),
    ("presigned, good for longer than signed", with_parameters({"Expires": "61"}), INVALID),
    ("presigned, an added parameter", in_query()._replace(query=in_query().query + b"&Action=MeterUsage"), INVALID),
    ("an added query", in_header()._replace(query=b"Action=MeterUsage"), INVALID),
    ("GET", in_header()._replace(method="GET"), INVALID),
    ("another path", in_header()._replace(path=b"/x"), INVALID),
    # The date's header
    (
        "a Date of RFC 1123",
        hand_signed([HOST, (b"date", b"Sun, 30 Aug 2015 12:36:00 GMT")], "date;host"),
        ACCEPTED,
    ),
    (
        "a Date with an offset of nothing",
        hand_signed([HOST, (b"date", b"Sun, 30 Aug 2015 12:36:00 -0000")], "date;host"),
        ACCEPTED,
    ),
    ("a Date in the basic form", hand_signed([HOST, (b"date", AMZ_DATE.encode())], "date;host"), ACCEPTED),
    (
        "both dates signed: x-amz-date counts",
        hand_signed([HOST, DATE, (b"date", b"Sat, 29 Aug 2015 12:36:00 GMT")], "date;host;x-amz-date"),
        ACCEPTED,
    ),
    (
        "an unsigned x-amz-date beside a signed Date",
        hand_signed([HOST, (b"x-amz-date", b"whatever"), (b"date", b"Sun, 30 Aug 2015 12:36:00 GMT")], "date;host"),
        ACCEPTED,
    ),
]


@pytest.mark.parametrize(("_name", "request_", "outcome"), JUDGING, ids=[row[0] for row in JUDGING])
def test_judging(_name: str, request_: SignedRequest, outcome: Outcome) -> None:
    """A signature that can be read is accepted, or refused as Invalid, by its scope, the body's hash and itself."""
    assert verdict(request_) is outcome


def respelled(change: str) -> SignedRequest:
    """A signed request with something said in another way."""
    request = in_header(asked(HOST, TARGET, (b"x-list", b"a  b"), (b"x-list", b"c")))
    headers = list(request.headers)
    value = headers[-1][1]
    pieces = value.partition(b" ")[2].split(b", ")
    changes: dict[str, list[tuple[bytes, bytes]]] = {
        "as it was": headers,
        "names in upper case": [(name.upper(), text) for name, text in headers],
        "names in title case": [(name.title(), text) for name, text in headers],
        "spaces around values": [(name, b"  " + text + b" \t") for name, text in headers],
        "wider spaces inside": [(name, text.replace(b"a  b", b"a \t b")) for name, text in headers],
        "a repeated header joined": [*headers[:2], (b"x-list", b"a b,c"), *headers[4:]],
        "other order of headers": [headers[-1], headers[-2], *headers[:-2]],
        "more headers": [*headers, (b"user-agent", b"x"), (b"connection", b"close")],
        "commas without a space": [*headers[:-1], (b"authorization", value.replace(b", ", b","))],
        "commas with more space": [*headers[:-1], (b"authorization", value.replace(b", ", b" ,  "))],
        "parts in another order": [*headers[:-1], (b"authorization", b"AWS4-HMAC-SHA256 " + b",".join(pieces[::-1]))],
    }
    return request._replace(headers=changes[change])


RESPELLINGS = [
    "as it was", "names in upper case", "names in title case", "spaces around values", "wider spaces inside",
    "a repeated header joined", "other order of headers", "more headers", "commas without a space",
    "commas with more space", "parts in another order",
]  # fmt: skip


@pytest.mark.parametrize("change", RESPELLINGS)
def test_other_spellings(change: str) -> None:
    """What leaves the canonical form as it was leaves the request accepted, in the same reading."""
    assert verdict(respelled(change)) is ACCEPTED
    assert read_signature(respelled(change)) == read_signature(respelled("as it was"))


def test_order_of_a_repeated_header_counts() -> None:
    """The values of a repeated header are signed in their order."""
    request = respelled("as it was")
    headers = list(request.headers)
    headers[2], headers[3] = headers[3], headers[2]
    assert verdict(request._replace(headers=headers)) is INVALID


TIMES: Sequence[tuple[str, SignedRequest, int, Outcome]] = [
    # What is signed, microseconds from its date to now, the outcome
    ("5 min old", in_header(), 300 * SECOND, ACCEPTED),
    ("5 min old, to the last microsecond", in_header(), 301 * SECOND - 1, ACCEPTED),
    ("a second more", in_header(), 301 * SECOND, INVALID),
    ("5 min ahead", in_header(), -300 * SECOND, ACCEPTED),
    ("a microsecond more ahead", in_header(), -300 * SECOND - 1, INVALID),
    ("a day old", in_header(), 86_400 * SECOND, INVALID),
    ("X-Amz headers, 5 min old", in_amz_headers(), 300 * SECOND, ACCEPTED),
    ("X-Amz headers, older", in_amz_headers(), 301 * SECOND, INVALID),
    ("presigned, at its end", in_query(), 60 * SECOND, ACCEPTED),
    ("presigned, past its end", in_query(), 61 * SECOND, INVALID),
    ("presigned for a second", in_query(expires_seconds=1), 2 * SECOND, INVALID),
    ("presigned for a week, at its end", in_query(expires_seconds=604_800), 604_800 * SECOND, ACCEPTED),
    ("presigned for a week, past it", in_query(expires_seconds=604_800), 604_801 * SECOND, INVALID),
    ("presigned, 5 min ahead", in_query(), -300 * SECOND, ACCEPTED),
    ("presigned, more ahead", in_query(), -301 * SECOND, INVALID),
]


@pytest.mark.parametrize(("_name", "request_", "later_micros", "outcome"), TIMES, ids=[row[0] for row in TIMES])
def test_time(_name: str, request_: SignedRequest, later_micros: int, outcome: Outcome) -> None:
    """A signature holds from 5 minutes before its date to 5 minutes, or X-Amz-Expires, after it, both ends included."""
    assert verdict(request_, now_micros=NOW_MICROS + later_micros) is outcome


def test_a_retry_is_accepted() -> None:
    """The same bytes are accepted again: a retry within a second is no forgery."""
    request = in_header()
    assert [verdict(request), verdict(request)] == [ACCEPTED, ACCEPTED]


AT_LIMIT = SigningCredentials(ACCESS_KEY_ID, SECRET, TOKEN, NOW_MICROS)
AFTER_LIMIT = SigningCredentials(ACCESS_KEY_ID, SECRET, TOKEN, NOW_MICROS + 1)
FORGED = SigningCredentials(ACCESS_KEY_ID, "not the secret", TOKEN)
OTHER_TOKEN = SigningCredentials(ACCESS_KEY_ID, SECRET, "another")
UNICODE_TOKEN = SigningCredentials(ACCESS_KEY_ID, SECRET, "tökén")


WHO: Sequence[tuple[str, SignedRequest, SigningCredentials | None, Outcome]] = [
    # What is signed, the credentials of its key (None: there is no such key), the outcome
    ("an unknown key", in_header(), None, UNRECOGNIZED),
    ("an unknown key, presigned", in_query(), None, UNRECOGNIZED),
    ("a signed token", in_header(keys=TEMPORARY), TEMPORARY, ACCEPTED),
    ("a signed token in X-Amz headers", in_amz_headers(keys=TEMPORARY), TEMPORARY, ACCEPTED),
    ("a signed token in the query", in_query(keys=TEMPORARY), TEMPORARY, ACCEPTED),
    ("an unsigned token", token_unsigned()["header"], TEMPORARY, ACCEPTED),
    ("an unsigned token in X-Amz headers", token_unsigned()["amz"], TEMPORARY, ACCEPTED),
    ("an unsigned token in the query", token_unsigned()["query"], TEMPORARY, ACCEPTED),
    ("no token", in_header(), TEMPORARY, UNRECOGNIZED),
    ("no token in the query", in_query(), TEMPORARY, UNRECOGNIZED),
    ("an empty token", with_token(in_header(), b""), TEMPORARY, UNRECOGNIZED),
    ("a wrong token", in_header(keys=OTHER_TOKEN), TEMPORARY, UNRECOGNIZED),
    ("a wrong token, unsigned", token_unsigned(OTHER_TOKEN)["header"], TEMPORARY, UNRECOGNIZED),
    ("a wrong token in the query", in_query(keys=OTHER_TOKEN), TEMPORARY, UNRECOGNIZED),
    ("a token beyond ASCII", with_token(in_header(), "tökén".encode()), TEMPORARY, UNRECOGNIZED),
    ("a token twice", with_token(in_header(keys=TEMPORARY), TOKEN.encode()), TEMPORARY, UNRECOGNIZED),
    ("a token with long-lived keys", with_token(in_header(), TOKEN.encode()), KEYS, UNRECOGNIZED),
    ("an empty token with long-lived keys", with_token(in_header(), b""), KEYS, ACCEPTED),
    ("an unsigned token in a header, presigned", with_token(in_query(), TOKEN.encode()), TEMPORARY, ACCEPTED),
    ("a wrong token in a header, presigned", with_token(in_query(), b"another"), TEMPORARY, UNRECOGNIZED),
    ("a microsecond before the end", in_header(keys=TEMPORARY), AFTER_LIMIT, ACCEPTED),
    ("at the end", in_header(keys=TEMPORARY), AT_LIMIT, EXPIRED),
    ("at the end, presigned", in_query(keys=TEMPORARY), AT_LIMIT, EXPIRED),
    # Of two faults, the first in the order of FaultCode
    ("an unknown key and a wrong service", scoped(f"20150830/{REGION}/s3/aws4_request"), None, UNRECOGNIZED),
    ("a wrong token and a wrong signature", in_header(keys=FORGED), OTHER_TOKEN, UNRECOGNIZED),
    ("a wrong token and past the end", in_header(keys=OTHER_TOKEN), AT_LIMIT, UNRECOGNIZED),
    ("a wrong signature and past the end", in_header(keys=FORGED), AT_LIMIT, INVALID),
]


@pytest.mark.parametrize(("_name", "request_", "keys", "outcome"), WHO, ids=[row[0] for row in WHO])
def test_who(_name: str, request_: SignedRequest, keys: SigningCredentials | None, outcome: Outcome) -> None:
    """Unknown keys and wrong session tokens are Unrecognized, and only who has the secret learns of an expiry."""
    assert verdict(request_, keys) is outcome


def test_a_token_of_the_catalog_beyond_ascii() -> None:
    """A session token that headers can hardly carry is told like any other wrong one, without a surprise."""
    assert verdict(with_token(in_header(), b"token"), UNICODE_TOKEN) is UNRECOGNIZED
    assert verdict(with_token(in_header(), "tökén".encode()), UNICODE_TOKEN) is UNRECOGNIZED


def test_an_expired_signature_by_expired_keys() -> None:
    """A signature past its time is Invalid before its keys are judged to have expired."""
    assert verdict(in_header(keys=TEMPORARY), AT_LIMIT, NOW_MICROS + 400 * SECOND) is INVALID


MESSAGES: Sequence[tuple[str, str]] = [
    (
        refusal(
            scoped("20180920/us-east-1/aws-marketplace/aws4_request", "20180920T174101Z"),
            now_micros=1_537_465_804 * SECOND,
        ).message,
        "Signature expired: 20180920T174101Z is now earlier than 20180920T174504Z (20180920T175004Z - 5 min.)",
    ),
    (
        refusal(scoped(SCOPE), now_micros=NOW_MICROS - 301 * SECOND).message,
        "Signature not yet current: 20150830T123600Z is still later than 20150830T123559Z (20150830T123059Z + 5 min.)",
    ),
    (
        refusal(in_query(), now_micros=NOW_MICROS + 61 * SECOND).message,
        "Signature expired: 20150830T123600Z is now earlier than 20150830T123601Z (20150830T123701Z - 60 s)",
    ),
    (
        refusal(scoped(f"20150830/{REGION}/s3/aws4_request")).message,
        "Credential should be scoped to correct service: 'aws-marketplace'. ",
    ),
    (refusal(in_header(), None).message, "The security token included in the request is invalid."),
    (
        refusal(in_header(keys=TEMPORARY), AT_LIMIT).message,
        "The security token included in the request is expired",
    ),
    (refusal(with_amz_headers(Signature=None)).message, "The signature in the X-Amz headers lacks Signature."),
    (
        refusal(with_parameters({"Date": None, "Expires": None})).message,
        "The signature in the query string lacks Date and Expires.",
    ),
    (
        refusal(with_authorization(authorization(names="host;x-amz-date;x-other"))).message,
        "The signed header 'x-other' is not in the request.",
    ),
]


@pytest.mark.parametrize(("said", "expected"), MESSAGES)
def test_messages(said: str, expected: str) -> None:
    """Messages say what was wrong; those that AWS's clients show in logs have AWS's form."""
    assert said == expected


def test_unknown_keys_and_wrong_tokens_are_told_alike() -> None:
    """A stranger cannot tell from the answer whether a key exists whose session token he lacks."""
    unknown, wrong = refusal(in_header(), None), refusal(in_header(), TEMPORARY)
    assert (unknown.code, unknown.message) == (wrong.code, wrong.message)


def test_expired_token_of_a_workload() -> None:
    """The fault that an ended workload's credentials meet is that of expired ones (contract §3)."""
    assert expired_token().code is EXPIRED


def test_secrets_stay_out_of_what_is_printed() -> None:
    """Neither credentials nor a signature show a secret or a session token when they are printed."""
    printed = f"{TEMPORARY!r} {read_signature(in_header(keys=TEMPORARY))!r} {read_signature(in_query(keys=TEMPORARY))}"
    assert SECRET not in printed
    assert TOKEN not in printed
    assert ACCESS_KEY_ID in printed


def test_what_a_signature_says() -> None:
    """A reader of a signature finds its key, Region and instant without taking it apart."""
    read = read_signature(in_query(keys=TEMPORARY, expires_seconds=77))
    assert (read.access_key_id, read.region, read.instant.amz_date) == (ACCESS_KEY_ID, REGION, AMZ_DATE)
    assert (read.expires_seconds, read.session_token) == (77, TOKEN)


@pytest.mark.parametrize(
    ("request_", "expires_seconds"),
    [
        (asked(TARGET), 60),
        (asked(HOST, DATE), 60),
        (asked(HOST, (b"Authorization", b"x")), 60),
        (asked(HOST, (b"X-Amz-Signature", b"x")), 60),
        (asked(HOST, (b"X-Amz-Security-Token", b"x")), 60),
        (asked(HOST, query=b"X-Amz-Date=1"), 60),
        (asked(HOST), 0),
        (asked(HOST), 604_801),
    ],
)
def test_what_cannot_be_signed(request_: SignedRequest, expires_seconds: int) -> None:
    """A request without host, or that holds a part of a signature already, is not signed but refused as a bug."""
    with pytest.raises(ValueError, match=r"signature|signed|seconds"):
        presign(request_, KEYS, REGION, NOW_MICROS, expires_seconds=expires_seconds)


def test_any_service_can_be_asked_for() -> None:
    """The services accepted in a scope are the caller's to say."""
    request = scoped(f"20150830/{REGION}/s3/aws4_request")
    verify(request, read_signature(request), SECRET, NOW_MICROS, ("s3",))
    assert verdict(in_header(), services=("s3",)) is INVALID
