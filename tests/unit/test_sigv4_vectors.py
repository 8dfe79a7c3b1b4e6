"""Signature Version 4 against the published test suite, used both ways, and against what real clients sent."""

from collections.abc import Iterator

import pytest

from meterhouse.core.moment import SECOND
from meterhouse.core.outcome import FaultCode
from meterhouse.wire.canonical import (
    Scope,
    canonical_headers,
    canonical_query,
    canonical_request,
    headers_by_name,
    query_pairs,
    signature_of,
    string_to_sign,
)
from meterhouse.wire.keys import SigningCredentials
from meterhouse.wire.signature import SignedRequest, read_signature, sha256_hex
from meterhouse.wire.sigv4 import sign
from tests.unit.sigv4_vectors import NOW_MICROS, Vector, captures, vectors, verdict

SUITE = vectors()

SCOPE = Scope("20150830", "us-east-1", "service")
CAPTURES = {name: (request, keys, now_micros) for name, request, keys, now_micros in captures()}

each_vector = pytest.mark.parametrize("vector", SUITE, ids=[vector.name for vector in SUITE])
each_capture = pytest.mark.parametrize("name", CAPTURES)


def judged(vector: Vector, request: SignedRequest) -> FaultCode | None:
    """What becomes of a request at the suite's date, by the vector's keys."""
    return verdict(request, vector.keys, NOW_MICROS, ("service",))


def canonical_of(request: SignedRequest, names: str) -> bytes:
    """The canonical form of a request over these headers."""
    lines = canonical_headers(headers_by_name(request.headers), [name.encode() for name in names.split(";")])
    query = canonical_query(query_pairs(request.query))
    return canonical_request(request.method, request.path, query, lines, names, request.body_sha256)


def changed(value: bytes) -> Iterator[bytes]:
    """The value with each byte changed in turn: to a neighbour, to the other case, to one beyond ASCII, to a space."""
    for place, byte in enumerate(value):
        for other in {byte ^ 0x01, byte ^ 0x20, byte ^ 0x80, 0x20} - {byte}:
            yield value[:place] + bytes([other]) + value[place + 1 :]


def with_header(request: SignedRequest, index: int, value: bytes) -> SignedRequest:
    """The request with another value in one of its headers."""
    headers = list(request.headers)
    headers[index] = (headers[index][0], value)
    return request._replace(headers=headers)


def test_the_suite_is_whole() -> None:
    """The suite's 34 vectors of the header form are all here, and so are the captures of six clients."""
    assert len(SUITE) == 34
    assert len({name.rsplit("-", 1)[0] for name in CAPTURES}) > 150
    assert {name.split("-")[0] for name in CAPTURES} == {"amazonka", "aws", "boto3", "datafire", "purescript"}


@each_vector
def test_vector_is_accepted(vector: Vector) -> None:
    """Each vector of the suite is accepted at its own date."""
    assert judged(vector, vector.request) is None


@each_vector
def test_vector_forms(vector: Vector) -> None:
    """Canonical request, string to sign and signature of each vector are the suite's, byte for byte."""
    signature = read_signature(vector.request)
    canonical = canonical_of(vector.request, signature.terms.signed_headers)
    assert canonical.decode() == vector.canonical
    assert string_to_sign(signature.instant.amz_date, SCOPE, canonical).decode() == vector.string_to_sign
    assert signature_of(vector.keys.secret_access_key, signature.instant.amz_date, SCOPE, canonical) == vector.signature


@each_vector
def test_vector_is_signed_alike(vector: Vector) -> None:
    """Signing each vector's request gives the suite's Authorization header."""
    added = sign(
        vector.unsigned,
        vector.keys,
        "us-east-1",
        NOW_MICROS,
        service="service",
        session_token_signed=vector.token_signed,
    )
    assert dict(added)[b"authorization"].decode() == vector.authorization


@each_vector
def test_vector_with_a_byte_changed(vector: Vector) -> None:
    """A vector with one byte of method, path, query or a signed value changed is refused, unless that only says the
    same in another spelling, in which case the canonical form is as before and it is accepted.
    """
    request = vector.request
    names = read_signature(request).terms.signed_headers
    mutants = [request._replace(method=method.decode("latin-1")) for method in changed(request.method.encode())]
    mutants += [request._replace(path=path) for path in changed(request.path)]
    mutants += [request._replace(query=query) for query in changed(request.query)]
    for index, (name, value) in enumerate(request.headers):
        if name.lower().decode() in names.split(";"):
            mutants += [with_header(request, index, mutant) for mutant in changed(value)]
    wrong = [
        mutant
        for mutant in mutants
        if (judged(vector, mutant) is None) != (canonical_of(mutant, names).decode("latin-1") == _latin(vector))
    ]
    assert len(mutants) > 100
    assert wrong == []


def _latin(vector: Vector) -> str:
    return vector.canonical.encode().decode("latin-1")


@each_vector
def test_vector_with_another_body(vector: Vector) -> None:
    """A vector whose body differs in one byte, or by one byte more, is refused."""
    for body in [*changed(vector.body), vector.body + b"\0", vector.body + b" "]:
        mutant = vector.request._replace(body_sha256=sha256_hex(body))
        assert judged(vector, mutant) is FaultCode.INVALID_SIGNATURE


@each_vector
def test_vector_with_another_authorization(vector: Vector) -> None:
    """A vector with any one byte of its Authorization header changed (key, scope, names, signature) is refused."""
    index = len(vector.request.headers) - 1
    value = vector.request.headers[index][1].strip()
    mutants = [with_header(vector.request, index, mutant) for mutant in changed(value)]
    assert [mutant for mutant in mutants if judged(vector, mutant) is None] == []


@each_vector
def test_vector_under_another_secret(vector: Vector) -> None:
    """A vector is refused when the secret of its key is another one, also right after it was accepted."""
    assert judged(vector, vector.request) is None
    keys = SigningCredentials(vector.keys.access_key_id, vector.keys.secret_access_key + "x", vector.keys.session_token)
    assert verdict(vector.request, keys, NOW_MICROS, ("service",)) is FaultCode.INVALID_SIGNATURE


@each_capture
def test_capture_is_accepted(name: str) -> None:
    """What a real client signed is accepted at its own date, under either service name."""
    request, keys, now_micros = CAPTURES[name]
    assert verdict(request, keys, now_micros) is None


@each_capture
def test_capture_is_refused_later_or_changed(name: str) -> None:
    """The same capture is refused six minutes later, over another body, and under another secret."""
    request, keys, now_micros = CAPTURES[name]
    other_body = request._replace(body_sha256=sha256_hex(b"{}"))
    other_keys = SigningCredentials(keys.access_key_id, "another secret", keys.session_token)
    assert verdict(request, keys, now_micros + 360 * SECOND) is FaultCode.INVALID_SIGNATURE
    assert verdict(other_body, keys, now_micros) is FaultCode.INVALID_SIGNATURE
    assert verdict(request, other_keys, now_micros) is FaultCode.INVALID_SIGNATURE
