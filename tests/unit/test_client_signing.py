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
    keys = Credentials(key, secret, token)
    path, _, query = target.partition(b"?")
    headers = [
        (b"Content-Type", CONTENT_TYPE),
        (b"X-Amz-Target", b"AWSMPMeteringService.MeterUsage"),
        (b"Host", address.authority),
    ]
    request = SignedRequest("POST", headers, sha256_hex(body), path, query)
    expected = {*headers, *sign(request, keys, "eu-west-1", now)}
    ours = Signer(address, target, "eu-west-1").headers(b"MeterUsage", body, keys, now)
    assert {(name.lower(), value) for name, value in [*ours, (b"Host", address.authority)]} == {
        (name.lower(), value) for name, value in expected
    }
