"""The signed requests that the tests of Signature Version 4 share: published vectors, captures, and one of our own."""

import base64
import hashlib
import hmac
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from meterhouse.core.moment import SECOND
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.wire.canonical import instant_of_amz_date
from meterhouse.wire.keys import SERVICES, SigningCredentials
from meterhouse.wire.signature import SignedRequest, read_signature, sha256_hex
from meterhouse.wire.sigv4 import authenticate

VECTORS = Path(__file__).parents[1] / "vectors"

ACCESS_KEY_ID = "AKIDEXAMPLE"
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
REGION = "us-east-1"
AMZ_DATE = "20150830T123600Z"
NOW_MICROS = 1_440_938_160 * SECOND
"""The instant of AMZ_DATE."""
BODY = b'{"ProductCode":"prod-1"}'
KEYS = SigningCredentials(ACCESS_KEY_ID, SECRET)
TOKEN = "AQoDYXdzEPT//////////wEXAMPLE+token=="
TEMPORARY = SigningCredentials(ACCESS_KEY_ID, SECRET, TOKEN, NOW_MICROS + 3600 * SECOND)

Pairs = Sequence[tuple[bytes, bytes]]


class Vector(NamedTuple):
    """One vector of the published suite: the request as signed, and every text on the way to its signature."""

    name: str
    request: SignedRequest
    body: bytes
    keys: SigningCredentials
    token_signed: bool
    canonical: str
    string_to_sign: str
    authorization: str
    signature: str

    @property
    def unsigned(self) -> SignedRequest:
        """The request before it was signed: what `sign` is given."""
        added = {b"authorization", b"x-amz-date", b"x-amz-security-token"}
        headers = [(name, value) for name, value in self.request.headers if name.lower() not in added]
        return self.request._replace(headers=headers)


def vectors() -> list[Vector]:
    """The 34 vectors of the suite's header form."""
    suite = json.loads((VECTORS / "sigv4" / "aws4-header.json").read_text())
    return [_vector(suite, row) for row in suite["vectors"]]


def _vector(suite: dict[str, Any], row: dict[str, Any]) -> Vector:
    signed = row["signed"]
    body = base64.b64decode(signed["body_b64"])
    path, _, query = signed["target"].encode().partition(b"?")
    headers = raw(signed["headers"])
    token = dict(headers).get(b"X-Amz-Security-Token")
    names = row["creq"].split("\n")[-2]
    return Vector(
        name=row["name"],
        request=SignedRequest(signed["method"], headers, sha256_hex(body), path, query),
        body=body,
        keys=SigningCredentials(suite["access_key"], suite["secret_key"], None if token is None else token.decode()),
        token_signed="x-amz-security-token" in names.split(";"),
        canonical=row["creq"],
        string_to_sign=row["sts"],
        authorization=row["authz"],
        signature=row["signature"],
    )


def captures() -> Iterator[tuple[str, SignedRequest, SigningCredentials, int]]:
    """What real clients sent, as (name, request, keys, instant), where the capture was found to be well signed."""
    for path in sorted((VECTORS / "captures").glob("*.json")):
        capture = json.loads(path.read_text())
        keys = capture["credentials"]
        for case in capture["cases"]:
            for number, request in enumerate(case.get("requests", [])):
                if not request["sigv4"]["verified"]:
                    continue
                instant = instant_of_amz_date(request["sigv4"]["amz_date"])
                assert instant is not None
                headers = raw(request["headers"])
                yield (
                    f"{capture['client']}-{case['case']}-{number}",
                    SignedRequest(request["method"], headers, _body_sha256(request), request["target"].encode()),
                    SigningCredentials(
                        keys["access_key"],
                        keys["secret_key"],
                        keys["session_token"] if _has(headers, b"x-amz-security-token") else None,
                    ),
                    instant.seconds * SECOND,
                )


def _body_sha256(request: dict[str, Any]) -> str:
    """The hash of a captured body; of the largest ones, of which the capture keeps only the head, the one it notes."""
    return request.get("body_sha256") or sha256_hex(request["body_text"].encode())


def _has(headers: Pairs, wanted: bytes) -> bool:
    return any(name.lower() == wanted for name, _ in headers)


def raw(headers: Iterable[Sequence[str]]) -> list[tuple[bytes, bytes]]:
    """Headers as bytes."""
    return [(name.encode(), value.encode()) for name, value in headers]


def verdict(
    request: SignedRequest,
    keys: SigningCredentials | None = KEYS,
    now_micros: int = NOW_MICROS,
    services: Sequence[str] = SERVICES,
) -> FaultCode | None:
    """What becomes of a request where these keys are the only ones known: the fault's code, or None if accepted."""
    try:
        signature = read_signature(request)
        known = keys is not None and keys.access_key_id == signature.access_key_id
        authenticate(request, signature, keys if known else None, now_micros, services)
    except Fault as fault:
        return fault.code
    return None


def refusal(request: SignedRequest, keys: SigningCredentials | None = KEYS, now_micros: int = NOW_MICROS) -> Fault:
    """The fault that a request ends in."""
    try:
        authenticate(request, read_signature(request), keys, now_micros)
    except Fault as fault:
        return fault
    raise AssertionError("the request was accepted")


def by_hand(
    headers: Pairs,
    names: str = "host;x-amz-date",
    *,
    amz_date: str = AMZ_DATE,
    scope: str = f"{AMZ_DATE[:8]}/{REGION}/aws-marketplace/aws4_request",
    payload_sha256: str | None = None,
) -> str:
    """A signature over `POST /` and BODY worked out step by step, for requests that `sign` would never make.

    It says whatever it is told: the names need not be sorted, the payload's hash need not be the body's.
    """
    values = {name.decode().lower(): value.decode() for name, value in headers}
    lines = "".join(f"{name}:{values.get(name, '')}\n" for name in names.split(";"))
    payload = sha256_hex(BODY) if payload_sha256 is None else payload_sha256
    canonical = f"POST\n/\n\n{lines}\n{names}\n{payload}"
    text = f"AWS4-HMAC-SHA256\n{amz_date}\n{scope}\n{sha256_hex(canonical.encode())}"
    key = f"AWS4{SECRET}".encode()
    for element in [*scope.split("/"), text]:
        key = hmac.new(key, element.encode(), hashlib.sha256).digest()
    return key.hex()
