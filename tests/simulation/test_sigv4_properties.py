"""Laws of Signature Version 4: botocore and we sign alike, what we sign we accept, and nothing else surprises us."""

from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from unittest import mock
from urllib.parse import quote, urlsplit

from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.moment import SECOND
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.wire.canonical import canonical_headers, header_lines_of
from meterhouse.wire.keys import SERVICES, SigningCredentials
from meterhouse.wire.signature import Signature, SignedRequest, read_key_and_region, read_signature, sha256_hex
from meterhouse.wire.sigv4 import authenticate, presign, sign, sign_in_amz_headers
from tests.unit.sigv4_requests import HOST, asked, in_amz_headers, in_header, in_query
from tests.unit.sigv4_vectors import NOW_MICROS, TEMPORARY, verdict

TOKEN_CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-_.~!#$%&'*+^`|"
NOT_SIGNED_BY_ALL = {"host", "authorization", "date", "expect", "transfer-encoding", "user-agent", "x-amzn-trace-id"}

names = st.text(TOKEN_CHARACTERS, min_size=1, max_size=12).filter(
    lambda name: name not in NOT_SIGNED_BY_ALL and not name.startswith("x-amz-")
)
values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=30)
headers = st.lists(st.tuples(names, values), max_size=6)
paths = st.lists(
    st.sampled_from(["", ".", "..", "a", "b c", "%20", "~x", "a+b", "é", "ሴ", "$", "%zz", "x=y", ":", "@"]), max_size=6
).map(lambda segments: "/" + "/".join(segments))
words = st.text(st.characters(codec="utf-8"), max_size=6).map(lambda text: quote(text, safe=""))
parameters = st.lists(st.builds("{}={}".format, words, words), max_size=5).map("&".join)
regions = st.sampled_from(["us-east-1", "eu-central-2", "us-gov-west-1", "eusc-de-east-1"])
instants = st.integers(0, 4_102_444_800 * SECOND)
credentials = st.builds(
    SigningCredentials,
    st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=16, max_size=20),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=50),
    st.none() | st.text(TOKEN_CHARACTERS + "/+=", min_size=1, max_size=40),
)
expiries = st.integers(1, 604_800)


class Said(NamedTuple):
    """What a request says, as text, before it is signed."""

    headers: list[tuple[str, str]]
    path: str
    query: str
    body: bytes

    @property
    def ours(self) -> SignedRequest:
        """The request as we take it."""
        pairs = [(b"host", b"localhost:8750"), *((name.encode(), value.encode()) for name, value in self.headers)]
        return SignedRequest("POST", pairs, sha256_hex(self.body), self.path.encode(), self.query.encode())

    @property
    def theirs(self) -> AWSRequest:
        """The request as botocore takes it."""
        url = f"http://localhost:8750{self.path}" + (f"?{self.query}" if self.query else "")
        request = AWSRequest(method="POST", url=url, data=self.body)
        for name, value in self.headers:
            request.headers.add_header(name, value)
        return request


class Signer(NamedTuple):
    """Who signs, where and when."""

    keys: SigningCredentials
    region: str
    now_micros: int

    def botocore(self, request: AWSRequest, form: type[SigV4Auth] = SigV4Auth, **extra: int) -> AWSRequest:
        """The request, signed by botocore."""
        keys = Credentials(self.keys.access_key_id, self.keys.secret_access_key, self.keys.session_token)
        now = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=self.now_micros)
        with mock.patch("botocore.auth.get_current_datetime", return_value=now):
            form(keys, SERVICES[0], self.region, **extra).add_auth(request)
        return request


requests = st.builds(Said, headers, paths, parameters, st.binary(max_size=50))
signers = st.builds(Signer, credentials, regions, instants)


def as_received(request: AWSRequest) -> list[tuple[bytes, bytes]]:
    """The headers that a request of botocore's arrives with."""
    pairs = [(name.encode(), value.encode()) for name, value in request.headers.items()]
    return [*pairs, (b"host", b"localhost:8750")]


@given(requests, signers)
def test_header_form_is_botocores(said: Said, signer: Signer) -> None:
    """We sign in the Authorization header as botocore does, and accept what botocore signed."""
    received = as_received(signer.botocore(said.theirs))
    added = sign(said.ours, *signer)
    assert set(added) <= {(name.lower(), value) for name, value in received}
    assert len(received) == len(said.ours.headers) + len(added)
    assert verdict(said.ours._replace(headers=received), signer.keys, signer.now_micros) is None


@given(st.dictionaries(names.map(str.encode), st.text("ab% \t\n\r\v\f").map(str.encode), min_size=1))
def test_lines_of_names_that_come_again(by_name: dict[bytes, bytes]) -> None:
    """The lines of signed headers are the same by the quick way, whatever white space is in their values."""
    assert header_lines_of(tuple(by_name))(by_name) == canonical_headers(by_name, by_name)


@given(requests, signers)
def test_date_header_of_botocore(said: Said, signer: Signer) -> None:
    """A request that botocore dates by a Date header is accepted."""
    dated = said.theirs
    dated.headers["Date"] = "now"
    received = as_received(signer.botocore(dated))
    assert b"x-amz-date" not in {name.lower() for name, _ in received}
    assert verdict(said.ours._replace(headers=received), signer.keys, signer.now_micros) is None


@given(requests, signers, expiries)
def test_query_form_is_botocores(said: Said, signer: Signer, expires_seconds: int) -> None:
    """We presign as botocore does, in whatever order of parameters, and accept what botocore presigned."""
    said = said._replace(query="Action=MeterUsage&Version=2016-01-14", body=b"")
    query = urlsplit(signer.botocore(said.theirs, SigV4QueryAuth, expires=expires_seconds).url).query
    ours = presign(said.ours, *signer, expires_seconds=expires_seconds)
    assert sorted(ours.decode().split("&")) == sorted(query.split("&"))
    last_micros = signer.now_micros + expires_seconds * SECOND
    assert verdict(said.ours._replace(query=query.encode()), signer.keys, last_micros) is None


@given(requests, signers, expiries, st.booleans())
def test_what_we_sign_we_accept(said: Said, signer: Signer, expires_seconds: int, token_signed: bool) -> None:
    """What we sign in any of the three places is accepted, and refused over another body or by another secret."""
    request, keys = said.ours, signer.keys
    header = sign(request, *signer, session_token_signed=token_signed)
    amz_headers = sign_in_amz_headers(request, *signer, session_token_signed=token_signed)
    query = presign(request, *signer, expires_seconds=expires_seconds, session_token_signed=token_signed)
    other = SigningCredentials(keys.access_key_id, keys.secret_access_key + "x", keys.session_token)
    for signed in (
        request._replace(headers=[*request.headers, *header]),
        request._replace(headers=[*request.headers, *amz_headers]),
        request._replace(query=query),
    ):
        changed = signed._replace(body_sha256=sha256_hex(said.body + b"x"))
        assert verdict(signed, keys, signer.now_micros) is None
        assert verdict(signed, other, signer.now_micros) is FaultCode.INVALID_SIGNATURE
        assert verdict(changed, keys, signer.now_micros) is FaultCode.INVALID_SIGNATURE


SIGNED = [in_header(), in_amz_headers(), in_query(), in_header(keys=TEMPORARY), in_query(keys=TEMPORARY)]
WORDS = [
    b"authorization", b"host", b"date", b"x-amz-date", b"x-amz-algorithm", b"x-amz-credential", b"x-amz-signature",
    b"x-amz-signedheaders", b"x-amz-security-token", b"x-amz-content-sha256", b"AWS4-HMAC-SHA256 ", b"Credential=",
    b"SignedHeaders=", b"Signature=", b"X-Amz-Signature=", b"X-Amz-Credential=", b"X-Amz-Date=", b"X-Amz-Expires=",
    b"X-Amz-SignedHeaders=", b"X-Amz-Algorithm=AWS4-HMAC-SHA256", b"X-Amz-Security-Token=", b"AKIDEXAMPLE",
    b"/us-east-1/", b"aws4_request", b"20150830T123600Z", b"Sun, 30 Aug 2015 12:36:00 GMT", b"host;x-amz-date",
    b"0" * 64, b",", b", ", b";", b"/", b"=", b"&", b"%", b"%2F", b"+", b" ", b"\t", b"\n", b"\0", b"\xff", b"\xa0",
]  # fmt: skip
splices = st.lists(st.sampled_from(WORDS) | st.binary(max_size=4), max_size=8).map(b"".join)
wild_requests = st.builds(
    SignedRequest,
    method=st.text(st.characters(), max_size=6),
    headers=st.lists(st.tuples(st.sampled_from(WORDS) | splices, splices), max_size=8),
    body_sha256=st.just(sha256_hex(b"")),
    path=splices,
    query=splices,
)


@st.composite
def damaged_requests(draw: st.DrawFn) -> SignedRequest:
    """A signed request, some of whose texts have a piece cut out and another put in."""
    request = draw(st.sampled_from(SIGNED))

    def damaged(text: bytes) -> bytes:
        start = draw(st.integers(0, len(text)))
        end = draw(st.integers(start, min(len(text), start + 20)))
        return text[:start] + draw(splices) + text[end:]

    pairs = list(request.headers)
    for index in draw(st.sets(st.integers(0, len(pairs) - 1), max_size=2)):
        pairs[index] = (pairs[index][0], damaged(pairs[index][1]))
    query = damaged(request.query) if draw(st.booleans()) else request.query
    return request._replace(headers=pairs, query=query)


REFUSALS = {FaultCode.MISSING_AUTHENTICATION_TOKEN, FaultCode.INCOMPLETE_SIGNATURE, FaultCode.INVALID_SIGNATURE}
MADE = {read_signature(request).signature for request in SIGNED}


def outcome(request: SignedRequest) -> Fault | Signature:
    """What becomes of a request if its key, whoever it says to be, has the secret above: every step is reached."""
    try:
        signature = read_signature(request)
        keys = SigningCredentials(signature.access_key_id, TEMPORARY.secret_access_key, signature.session_token)
        authenticate(request, signature, keys, NOW_MICROS)
    except Fault as fault:
        return fault
    return signature


def ends_well(request: SignedRequest) -> None:
    """It is refused by name, in a message fit to be shown, or carries a signature that was really made."""
    key, _region = read_key_and_region(request)
    match outcome(request):
        case Fault() as fault:
            assert fault.code in REFUSALS
            assert len(fault.message) < 200
            assert fault.message.isprintable()
        case Signature() as accepted:
            assert accepted.signature in MADE
            assert accepted.access_key_id == key


@given(wild_requests)
def test_anything_ends_in_a_fault(request: SignedRequest) -> None:
    """Whatever bytes a request is made of, judging it ends in one of three faults and never in a surprise."""
    ends_well(request)


@given(damaged_requests())
def test_damage_ends_in_a_fault(request: SignedRequest) -> None:
    """A damaged request is refused by name, unless the damage left its canonical form whole."""
    ends_well(request)


@given(st.binary(max_size=200))
def test_any_authorization_ends_in_a_fault(value: bytes) -> None:
    """Any bytes as an Authorization header are Missing or Incomplete, or else a readable signature that is Invalid."""
    ends_well(asked(HOST, (b"authorization", value)))
    ends_well(asked(HOST, (b"authorization", b"AWS4-HMAC-SHA256 " + value)))
