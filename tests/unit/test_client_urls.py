"""Where a URL leads: the client's short way to read one, against the standard library's."""

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.client.errors import ConfigurationError
from meterhouse.client.transport import Address, split_url

_PORTS = [
    "",
    ":",
    ":0",
    ":1",
    ":80",
    ":443",
    ":8750",
    ":65535",
    ":65536",
    ":\N{ARABIC-INDIC DIGIT ONE}",
    ":1x",
    ":999999",
]
_TAILS = ["", "/", "//", "/a", "/a/", "?b=1", "#c", "/?b"]
_hosts = st.text(st.sampled_from("aB7.-_:[]@%é"), max_size=6) | st.just("metering.marketplace.us-east-1.amazonaws.com")


@given(
    scheme=st.sampled_from(["http", "https", "HTTP", "ftp", ""]),
    host=_hosts,
    port=st.sampled_from(_PORTS),
    tail=st.sampled_from(_TAILS),
)
def test_a_url_is_split_as_urllib_splits_it(scheme: str, host: str, port: str, tail: str) -> None:
    """The short way, which does without urllib, comes to what urllib says, and refuses what urllib refuses."""
    url = f"{scheme}://{host}{port}{tail}"
    try:
        parts = urlsplit(url)
        name, number = parts.hostname, parts.port
    except ValueError:
        name = number = None
    if not name or parts.scheme not in {"http", "https"}:
        with pytest.raises(ConfigurationError):
            split_url(url)
        return
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    usual = 80 if parts.scheme == "http" else 443
    assert split_url(url) == (Address(parts.scheme, name, number or usual), target.encode())
