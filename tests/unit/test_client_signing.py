"""The client's signatures, made in one go, against the package's own signer of any request."""

from hypothesis import given
from hypothesis import strategies as st

from meterhouse.client.credentials import Credentials
from meterhouse.client.signing import CONTENT_TYPE, Signer
from meterhouse.client.transport import split_url
from meterhouse.wire.signature import SignedRequest, sha256_hex
from meterhouse.wire.sigv4 import sign

_printable = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=40)
_tokens = st.none() | st.lists(_printable, min_size=1, max_size=4).map("  ".join)
_urls = st.sampled_from(
    ["http://a.test", "https://a.test:8443/base/a%20b/", "http://[::1]:8750/x?b=2&a=1", "http://a/?x"]
)


@given(url=_urls, key=_printable, secret=_printable, token=_tokens, body=st.binary(max_size=200),
       now=st.integers(0, 4_000_000_000_000_000))  # fmt: skip
def test_both_signers_agree(url: str, key: str, secret: str, token: str | None, body: bytes, now: int) -> None:
    """For any address, keys, body and instant: the same headers, the same signature."""
    address, target = split_url(url)
    check(Signer(address, target, "eu-west-1"), url, b"MeterUsage", body, Credentials(key, secret, token), now)


def check(signer: Signer, url: str, operation: bytes, body: bytes, keys: Credentials, now: int) -> None:
    """Holds one call's headers against those that `wire.sigv4.sign` makes."""
    address, target = split_url(url)
    path, _, query = target.partition(b"?")
    headers = [
        (b"Content-Type", CONTENT_TYPE),
        (b"X-Amz-Target", b"AWSMPMeteringService." + operation),
        (b"Host", address.authority),
    ]
    request = SignedRequest("POST", headers, sha256_hex(body), path, query)
    expected = {*headers, *sign(request, keys, "eu-west-1", now)}
    ours = signer.headers(operation, body, keys, now)
    assert {(name.lower(), value) for name, value in [*ours, (b"Host", address.authority)]} == {
        (name.lower(), value) for name, value in expected
    }


_NEAR = 1_795_219_200_000_000
_calls = st.tuples(
    st.sampled_from([b"MeterUsage", b"BatchMeterUsage"]),
    st.sampled_from([b"", b"{}"]),
    st.sampled_from(
        [Credentials("a", "b"), Credentials("a", "b"), Credentials("a", "c", "token"), Credentials("d", "b")]
    ),
    st.sampled_from([_NEAR, _NEAR + 1, _NEAR + 1_000_000, _NEAR - 1, _NEAR + 86_400_000_000]),
)


@given(calls=st.lists(_calls, min_size=2, max_size=8))
def test_a_call_takes_nothing_from_the_one_before(calls: list[tuple[bytes, bytes, Credentials, int]]) -> None:
    """Whatever one signer was asked before: another second, day, operation or key is signed as by a new one."""
    address, target = split_url("http://a.test")
    signer = Signer(address, target, "eu-west-1")
    for operation, body, keys, now in calls:
        check(signer, "http://a.test", operation, body, keys, now)
