"""What of a request can be read as one signature (contract §2), as tables whose last column is the outcome."""

from collections.abc import Sequence

import pytest

from meterhouse.core.outcome import FaultCode
from meterhouse.wire import canonical, signature
from meterhouse.wire.signature import SignedRequest, read_key_and_region
from tests.unit.sigv4_requests import (
    CREDENTIAL,
    DATE,
    HOST,
    ONLY_CREDENTIAL,
    REQUEST,
    SCOPE,
    asked,
    authorization,
    hand_signed,
    in_amz_headers,
    in_header,
    in_query,
    scoped,
    with_amz_headers,
    with_authorization,
    with_parameters,
    without,
)
from tests.unit.sigv4_vectors import ACCESS_KEY_ID, REGION, verdict

MISSING = FaultCode.MISSING_AUTHENTICATION_TOKEN
INCOMPLETE = FaultCode.INCOMPLETE_SIGNATURE
UNRECOGNIZED = FaultCode.UNRECOGNIZED_CLIENT
INVALID = FaultCode.INVALID_SIGNATURE
EXPIRED = FaultCode.EXPIRED_TOKEN
ACCEPTED = None

Outcome = FaultCode | None


READING: Sequence[tuple[str, SignedRequest, Outcome]] = [
    # Nothing signed at all
    ("no signature", asked(HOST, DATE), MISSING),
    ("no headers", asked(), MISSING),
    ("an empty Authorization", with_authorization(b" "), MISSING),
    ("a query without a signature", asked(HOST, query=b"Action=MeterUsage&X-Amz-Date=20150830T123600Z"), MISSING),
    ("a session token alone", asked(HOST, (b"x-amz-security-token", b"token")), MISSING),
    # Another scheme
    ("Bearer", with_authorization(b"Bearer abc"), INCOMPLETE),
    ("Basic", with_authorization(b"Basic QUtJRDpzZWNyZXQ="), INCOMPLETE),
    ("SigV2", with_authorization(b"AWS AKIDEXAMPLE:c2ln"), INCOMPLETE),
    ("the asymmetric variant", with_authorization(authorization().replace(b"HMAC", b"ECDSA-P256")), INCOMPLETE),
    ("the scheme alone", with_authorization(b"AWS4-HMAC-SHA256"), INCOMPLETE),
    ("the scheme in lower case", with_authorization(authorization().replace(b"AWS4-HMAC", b"aws4-hmac")), INCOMPLETE),
    # Parts of Authorization
    (
        "no Credential",
        without(f"Credential={CREDENTIAL}, "),
        INCOMPLETE,
    ),
    (
        "no SignedHeaders",
        without("SignedHeaders=host;x-amz-date, "),
        INCOMPLETE,
    ),
    ("no Signature", without(f", Signature={'0' * 64}"), INCOMPLETE),
    ("the Credential alone", with_authorization(ONLY_CREDENTIAL), INCOMPLETE),
    ("an empty part", with_authorization(authorization().replace(b", S", b",, S", 1)), INCOMPLETE),
    ("a comma at the end", with_authorization(authorization() + b","), INCOMPLETE),
    ("a part twice", with_authorization(authorization() + b", Signature=" + b"0" * 64), INCOMPLETE),
    ("the Credential twice", with_authorization(authorization().replace(b"=A", b"=A, Credential=A", 1)), INCOMPLETE),
    ("an unknown part", with_authorization(authorization() + b", Extra=1"), INCOMPLETE),
    ("a part without =", with_authorization(authorization().replace(b"Signature=", b"Signature ")), INCOMPLETE),
    ("parts split by spaces alone", with_authorization(authorization().replace(b",", b"")), INCOMPLETE),
    ("Authorization twice", asked(HOST, DATE, *[(b"authorization", authorization())] * 2), INCOMPLETE),
    # Credential
    ("an empty Credential", with_authorization(authorization("")), INCOMPLETE),
    ("a Credential of one element", with_authorization(authorization(ACCESS_KEY_ID)), INCOMPLETE),
    ("a Credential of four elements", with_authorization(authorization(CREDENTIAL.rpartition("/")[0])), INCOMPLETE),
    ("a Credential of six elements", with_authorization(authorization(f"{CREDENTIAL}/x")), INCOMPLETE),
    ("an empty access key", with_authorization(authorization(f"/{SCOPE}")), INCOMPLETE),
    ("a space in the access key", with_authorization(authorization(f"AK ID/{SCOPE}")), INCOMPLETE),
    ("an access key beyond ASCII", with_authorization(authorization(f"AKÏD/{SCOPE}")), INCOMPLETE),
    ("a control byte in the access key", with_authorization(authorization(f"AK\x01ID/{SCOPE}")), INCOMPLETE),
    # SignedHeaders
    ("empty SignedHeaders", with_authorization(authorization(names="")), INCOMPLETE),
    ("host not signed", with_authorization(authorization(names="x-amz-date")), INCOMPLETE),
    ("no date signed", with_authorization(authorization(names="host")), INCOMPLETE),
    (
        "a signed header that is not sent",
        with_authorization(authorization(names="host;x-amz-date;x-other")),
        INCOMPLETE,
    ),
    ("a signed date not sent", asked(HOST, (b"authorization", authorization())), INCOMPLETE),
    ("a signed host not sent", asked(DATE, (b"authorization", authorization())), INCOMPLETE),
    ("names not sorted", with_authorization(authorization(names="x-amz-date;host")), INCOMPLETE),
    ("names in upper case", with_authorization(authorization(names="Host;X-Amz-Date")), INCOMPLETE),
    ("a name twice", with_authorization(authorization(names="host;host;x-amz-date")), INCOMPLETE),
    ("an empty name", with_authorization(authorization(names=";host;x-amz-date")), INCOMPLETE),
    ("a name with a line break", with_authorization(authorization(names="ho\nst;host;x-amz-date")), INCOMPLETE),
    # Signature
    ("an empty Signature", with_authorization(authorization(signed="")), INCOMPLETE),
    ("a short Signature", with_authorization(authorization(signed="0" * 63)), INCOMPLETE),
    ("a long Signature", with_authorization(authorization(signed="0" * 65)), INCOMPLETE),
    ("a Signature that is not hexadecimal", with_authorization(authorization(signed="g" * 64)), INCOMPLETE),
    ("a Signature in digits beyond ASCII", with_authorization(authorization(signed="²" * 64)), INCOMPLETE),
    # Date
    ("a date that is none", hand_signed([HOST, (b"x-amz-date", b"today")], "host;x-amz-date"), INCOMPLETE),
    ("an empty date", hand_signed([HOST, (b"x-amz-date", b"")], "host;x-amz-date"), INCOMPLETE),
    ("an impossible date", hand_signed([HOST, (b"x-amz-date", b"20150231T123600Z")], "host;x-amz-date"), INCOMPLETE),
    ("an extended date", hand_signed([HOST, (b"x-amz-date", b"2015-08-30T12:36Z")], "host;x-amz-date"), INCOMPLETE),
    ("a year of zero", hand_signed([HOST, (b"x-amz-date", b"00000830T123600Z")], "host;x-amz-date"), INCOMPLETE),
    ("two dates", asked(HOST, DATE, DATE, (b"authorization", authorization())), INCOMPLETE),
    ("a Date of no month", hand_signed([HOST, (b"date", b"Sun, 30 Abc 2015 12:36:00 GMT")], "date;host"), INCOMPLETE),
    ("a Date elsewhere", hand_signed([HOST, (b"date", b"Sun, 30 Aug 2015 12:36:00 +0200")], "date;host"), INCOMPLETE),
    ("a Date unsigned", hand_signed([HOST, (b"date", b"Sun, 30 Aug 2015 12:36:00 GMT")], "host"), INCOMPLETE),
    # X-Amz headers
    ("X-Amz headers without Algorithm", with_amz_headers(Algorithm=None), INCOMPLETE),
    ("X-Amz headers without Credential", with_amz_headers(Credential=None), INCOMPLETE),
    ("X-Amz headers without SignedHeaders", with_amz_headers(SignedHeaders=None), INCOMPLETE),
    ("X-Amz headers without Signature", with_amz_headers(Signature=None), INCOMPLETE),
    ("X-Amz headers without a date", with_amz_headers(Date=None), INCOMPLETE),
    ("X-Amz headers, date not signed", with_amz_headers(SignedHeaders="host;x-amz-target"), INCOMPLETE),
    ("X-Amz headers, host not signed", with_amz_headers(SignedHeaders="x-amz-date"), INCOMPLETE),
    ("X-Amz headers, another algorithm", with_amz_headers(Algorithm="AWS4-HMAC-SHA512"), INCOMPLETE),
    ("X-Amz headers, Credential malformed", with_amz_headers(Credential=ACCESS_KEY_ID), INCOMPLETE),
    ("X-Amz headers, an empty Signature", with_amz_headers(Signature=""), INCOMPLETE),
    ("an X-Amz header alone", asked(HOST, (b"x-amz-algorithm", b"AWS4-HMAC-SHA256")), INCOMPLETE),
    # The query string
    ("presigned without Algorithm", with_parameters({"Algorithm": None}), INCOMPLETE),
    ("presigned without Credential", with_parameters({"Credential": None}), INCOMPLETE),
    ("presigned without Date", with_parameters({"Date": None}), INCOMPLETE),
    ("presigned without Expires", with_parameters({"Expires": None}), INCOMPLETE),
    ("presigned without SignedHeaders", with_parameters({"SignedHeaders": None}), INCOMPLETE),
    ("presigned without Signature", with_parameters({"Signature": None}), INCOMPLETE),
    ("presigned, another algorithm", with_parameters({"Algorithm": "AWS4-HMAC-SHA1"}), INCOMPLETE),
    ("presigned, Credential malformed", with_parameters({"Credential": "AKIDEXAMPLE"}), INCOMPLETE),
    ("presigned, host not signed", with_parameters({"SignedHeaders": "x-amz-target"}), INCOMPLETE),
    ("presigned, a header not sent", with_parameters({"SignedHeaders": "host;x-other"}), INCOMPLETE),
    ("presigned, a date that is none", with_parameters({"Date": "Sun, 30 Aug 2015 12:36:00 GMT"}), INCOMPLETE),
    ("presigned, the date in a header", with_parameters({"Date": None})._replace(headers=[HOST, DATE]), INCOMPLETE),
    ("Expires of 0", with_parameters({"Expires": "0"}), INCOMPLETE),
    ("Expires of a week and a second", with_parameters({"Expires": "604801"}), INCOMPLETE),
    ("Expires negative", with_parameters({"Expires": "-60"}), INCOMPLETE),
    ("Expires with a sign", with_parameters({"Expires": "+60"}), INCOMPLETE),
    ("Expires with a fraction", with_parameters({"Expires": "60.0"}), INCOMPLETE),
    ("Expires in words", with_parameters({"Expires": "soon"}), INCOMPLETE),
    ("Expires empty", with_parameters({"Expires": ""}), INCOMPLETE),
    ("Expires in digits beyond ASCII", with_parameters({"Expires": "٦٠"}), INCOMPLETE),
    ("Expires of 5,000 digits", with_parameters({"Expires": "9" * 5000}), INCOMPLETE),
    ("a parameter twice", in_query()._replace(query=in_query().query + b"&X-Amz-Expires=60"), INCOMPLETE),
    ("the signature twice", in_query()._replace(query=in_query().query + b"&X-Amz-Signature=" + b"0" * 64), INCOMPLETE),
    # Two places at once
    ("Authorization and query", in_header(REQUEST._replace(query=in_query().query)), INCOMPLETE),
    ("Authorization and X-Amz headers", asked(*in_amz_headers().headers, (b"authorization", b"x")), INCOMPLETE),
    ("query and X-Amz headers", in_amz_headers()._replace(query=in_query().query), INCOMPLETE),
    (
        "all three",
        asked(*in_amz_headers().headers, (b"authorization", authorization()), query=in_query().query),
        INCOMPLETE,
    ),
]


@pytest.mark.parametrize(("_name", "request_", "outcome"), READING, ids=[row[0] for row in READING])
def test_reading(_name: str, request_: SignedRequest, outcome: Outcome) -> None:
    """What cannot be read as one signature is Missing or Incomplete, and is so before the key is looked up."""
    assert verdict(request_) is outcome
    assert verdict(request_, None) is outcome


OPEN: Sequence[tuple[str, SignedRequest, tuple[str | None, str | None]]] = [
    ("Authorization", in_header(), (ACCESS_KEY_ID, REGION)),
    ("X-Amz headers", in_amz_headers(), (ACCESS_KEY_ID, REGION)),
    ("presigned", in_query(), (ACCESS_KEY_ID, REGION)),
    ("an account as the key", with_authorization(authorization(f"111122223333/{SCOPE}")), ("111122223333", REGION)),
    ("a signature that is none", with_authorization(authorization(signed="x")), (ACCESS_KEY_ID, REGION)),
    (
        "only a Credential",
        with_authorization(ONLY_CREDENTIAL),
        (ACCESS_KEY_ID, REGION),
    ),
    ("nothing signed by name", asked((b"authorization", authorization(names=""))), (ACCESS_KEY_ID, REGION)),
    ("a Region off the pattern", scoped("1/US-EAST-1/s3/x"), (ACCESS_KEY_ID, "US-EAST-1")),
    ("no Region", scoped("1//s3/x"), (ACCESS_KEY_ID, None)),
    ("nothing signed", asked(HOST), (None, None)),
    ("Bearer", with_authorization(b"Bearer abc"), (None, None)),
    ("rubbish", with_authorization(b"\xff\x00\x01"), (None, None)),
    ("no Credential", with_authorization(b"AWS4-HMAC-SHA256 Signature=0"), (None, None)),
    ("a malformed Credential", with_authorization(authorization("AKID")), (None, None)),
    ("presigned without Credential", with_parameters({"Credential": None}), (None, None)),
    ("two places", in_header(REQUEST._replace(query=in_query().query)), (None, None)),
]


@pytest.mark.parametrize(("_name", "request_", "outcome"), OPEN, ids=[row[0] for row in OPEN])
def test_open_reading(_name: str, request_: SignedRequest, outcome: tuple[str | None, str | None]) -> None:
    """Under open auth the key and the Region are read where a credential can be, and nothing is ever refused."""
    assert read_key_and_region(request_) == outcome


def test_long_texts_are_not_kept() -> None:
    """Texts longer than any real client's leave the caches as they were, so nobody can fill the memory with them."""
    region = "us" + "-east" * 100 + "-1"
    long_credential = f"{ACCESS_KEY_ID}/20150830/{region}/aws-marketplace/aws4_request"
    verdict(in_header())
    caches = (signature._terms_before_signature, canonical.keyed_states)
    kept = [cache.cache_info().currsize for cache in caches]
    assert verdict(scoped(f"20150830/{region}/aws-marketplace/aws4_request")) is ACCEPTED
    assert verdict(with_authorization(authorization(long_credential))) is INVALID
    assert verdict(with_authorization(authorization(names=";".join(f"x-{i:05}" for i in range(9999))))) is INCOMPLETE
    assert verdict(with_authorization(b"A" * 100_000)) is INCOMPLETE
    assert [cache.cache_info().currsize for cache in caches] == kept
