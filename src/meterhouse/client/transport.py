"""What a transport is given and gives back, HTTP/1.1 as bytes, and the settings of a network. No I/O in this file.

The seam: a transport sends one request to one address and returns the answer, or raises one of the `TransportError`s.
It signs nothing, retries nothing and knows no operation. Whoever needs another way to the service writes one method:
`send` for `MeteringClient`, `send_async` for `AsyncMeteringClient`.

HTTP is read by httptools (llhttp); here is what is left: the bytes of a request, and when an answer is whole.
"""

from collections.abc import Mapping
from typing import Final, Protocol

from httptools import HttpParserError, HttpResponseParser
from msgspec import Struct

from meterhouse.client.errors import ConfigurationError, UnreadableAnswerError

LONGEST_ANSWER_BYTES: Final = 16 * 1024 * 1024
"""More than any answer of this service could need; a body or head beyond it is not read on."""

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


class Address(Struct, frozen=True):
    """Where a request goes: what a connection is made to, and the `Host` it is asked for."""

    scheme: str
    host: str
    port: int

    @property
    def authority(self) -> bytes:
        """The `Host` header: without the port where it is the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == _DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}").encode()

    def __str__(self) -> str:
        return f"{self.scheme}://{self.authority.decode()}"


def split_url(url: str) -> tuple[Address, bytes]:
    """An http(s) URL as an address and the target to ask there. Raises ConfigurationError for anything else."""
    return _split_plain(url) or _split_any(url)


def _split_plain(url: str) -> tuple[Address, bytes] | None:
    """`http(s)://name[:port][/]`, which is nearly every endpoint: to load urllib takes longer than the whole call."""
    scheme, _, rest = url.partition("://")
    host, colon, port = rest.removesuffix("/").partition(":")
    if scheme not in _DEFAULT_PORTS or not url.isascii() or not host.replace(".", "").replace("-", "").isalnum():
        return None
    if not colon:
        return Address(scheme, host.lower(), _DEFAULT_PORTS[scheme]), b"/"
    if not port.isdecimal() or len(port) > _LONGEST_PORT or not 0 < int(port) < _PORTS:
        return None
    return Address(scheme, host.lower(), int(port)), b"/"


_PORTS: Final = 65_536
_LONGEST_PORT: Final = 5


def _split_any(url: str) -> tuple[Address, bytes]:
    from urllib.parse import urlsplit  # noqa: PLC0415 - a tenth of a first call, and plain URLs need none

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise ConfigurationError(f"{url!r} is no URL: {error}") from None
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ConfigurationError(f"{url!r} is no URL of the form http(s)://host[:port]")
    target = parts.path or "/"
    if parts.query:
        target += f"?{parts.query}"
    return Address(parts.scheme, parts.hostname, port or _DEFAULT_PORTS[parts.scheme]), target.encode()


class HttpRequest(Struct, frozen=True):
    """One HTTP request. `headers` hold all but `Host` and `Content-Length`, which the transport writes."""

    address: Address
    headers: list[tuple[bytes, bytes]]
    body: bytes = b""
    method: bytes = b"POST"
    target: bytes = b"/"
    direct: bool = False
    """Never through a proxy: credentials of the machine itself."""


class HttpAnswer(Struct, frozen=True):
    """One HTTP answer, read whole. Header names in lower case; of a repeated header the last counts."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Transport(Protocol):
    """Sends for `MeteringClient`. May be called from several threads at once."""

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """The answer, whatever its status. Raises TransportError where none came within the time."""

    def close(self) -> None:
        """Ends what it holds open. A transport given to a client is closed with it."""


class AsyncTransport(Protocol):
    """Sends for `AsyncMeteringClient`. May be called from several tasks at once."""

    async def send_async(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """The answer, whatever its status. Raises TransportError where none came within the time."""

    async def close_async(self) -> None:
        """Ends what it holds open. A transport given to a client is closed with it."""


def check_numbers(options: Struct, at_least: Mapping[str, int], above_zero: tuple[str, ...]) -> None:
    """Raises ConfigurationError where one of these whole numbers is less than it must be, or one of these times or
    rates is not above 0; None is nobody's choice, and fine.
    """
    for name, least in at_least.items():
        value = getattr(options, name)
        if value is not None and (type(value) is not int or value < least):
            raise ConfigurationError(f"{name} is {value!r}, where a whole number from {least} is wanted")
    for name in above_zero:
        value = getattr(options, name)
        if value is not None and (type(value) not in {int, float} or not value > 0):
            raise ConfigurationError(f"{name} is {value!r}, where a number above 0 is wanted")


class NetworkOptions(Struct, frozen=True, kw_only=True):
    """How connections are made and kept. Times in seconds."""

    connect_timeout_seconds: float = 10.0
    """For name look-up, TCP, proxy and TLS together."""
    max_connections: int = 10
    """Open at the same time; a request beyond them waits for one, within its own timeout."""
    idle_seconds: float = 50.0
    """How long a connection is kept for the next request; AWS ends idle ones after 60."""
    proxy_url: str | None = None
    """`http://[user:password@]host:port`. Default: what HTTPS_PROXY, HTTP_PROXY and NO_PROXY say."""
    ca_bundle: str | None = None
    """A file of certificates to trust in place of the system's. Default: AWS_CA_BUNDLE, else the system's."""

    def __post_init__(self) -> None:
        check_numbers(self, {"max_connections": 1}, ("connect_timeout_seconds",))


class Proxy(Struct, frozen=True):
    """A proxy and how to introduce oneself to it."""

    address: Address
    headers: bytes

    @classmethod
    def of_url(cls, url: str) -> "Proxy":
        """Raises ConfigurationError for anything but an http URL."""
        from urllib.parse import unquote, urlsplit  # noqa: PLC0415 - for whoever has a proxy

        address, _ = split_url(url if "://" in url else f"http://{url}")
        if address.scheme != "http":
            raise ConfigurationError(f"a proxy is spoken to by http, not by {address.scheme}")
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.username is None:
            return cls(address, b"")
        from base64 import b64encode  # noqa: PLC0415 - few have a proxy with a password

        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
        return cls(address, b"Proxy-Authorization: Basic " + b64encode(pair) + b"\r\n")


class Routes(Struct, frozen=True):
    """Which proxy leads to an address: settings and environment, read once."""

    proxy_of_scheme: Mapping[str, str]
    exempt: tuple[str, ...] = ()
    """Hosts, and ends of hosts, that are reached directly; `*`: all."""

    def proxy_to(self, address: Address) -> Proxy | None:
        """The proxy on the way, or None."""
        url = self.proxy_of_scheme.get(address.scheme)
        return None if not url or self._is_exempt(address) else Proxy.of_url(url)

    def _is_exempt(self, address: Address) -> bool:
        host = address.host.lower()
        for entry in self.exempt:
            name = entry.lower().lstrip(".").removesuffix(f":{address.port}")
            if entry == "*" or host == name or host.endswith(f".{name}"):
                return True
        return False


def routes_of(options: NetworkOptions, environment: Mapping[str, str]) -> Routes:
    """What settings and environment say of proxies; the settings alone where they name one."""
    if options.proxy_url is not None:
        return Routes(dict.fromkeys(_DEFAULT_PORTS, options.proxy_url))
    said = {
        scheme: environment.get(f"{scheme}_proxy") or environment.get(f"{scheme.upper()}_PROXY") or ""
        for scheme in _DEFAULT_PORTS
    }
    exempt = environment.get("no_proxy") or environment.get("NO_PROXY") or ""
    return Routes(said, tuple(filter(None, (entry.strip() for entry in exempt.split(",")))))


def bytes_of(request: HttpRequest, proxy: Proxy | None) -> bytes:
    """The request as it goes over a connection; to a proxy that forwards it, with the whole URL."""
    address = request.address
    target, more = request.target, b""
    if proxy is not None and address.scheme == "http":
        target, more = str(address).encode() + target, proxy.headers
    lines = [b"%b %b HTTP/1.1\r\nHost: %b\r\n" % (request.method, target, address.authority)]
    lines += [b"%b: %b\r\n" % header for header in request.headers]
    lines.append(b"%bContent-Length: %d\r\n\r\n" % (more, len(request.body)))
    lines.append(request.body)
    return b"".join(lines)


def tunnel_bytes(address: Address, proxy: Proxy) -> bytes:
    """What asks a proxy for a connection to an https address."""
    host = address.host if ":" not in address.host else f"[{address.host}]"
    authority = f"{host}:{address.port}".encode()
    return b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (authority, authority, proxy.headers)


class AnswerReader:
    """Takes the bytes of one answer as they come and says when it is whole."""

    __slots__ = ("_body", "_bytes_read", "_framed", "_headers", "_parser", "_whole", "keep_alive", "status")

    def __init__(self) -> None:
        self._parser = HttpResponseParser(self)
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._bytes_read = 0
        self._framed = False
        self._whole = False
        self.status = 0
        self.keep_alive = False

    @property
    def has_begun(self) -> bool:
        """Whether any byte of the answer has come."""
        return self._bytes_read > 0

    def feed(self, chunk: bytes | memoryview) -> bool:
        """Whether the answer is whole with these bytes. Raises UnreadableAnswerError for what is no HTTP."""
        self._bytes_read += len(chunk)
        if self._bytes_read > LONGEST_ANSWER_BYTES:
            raise UnreadableAnswerError(f"the answer is longer than {LONGEST_ANSWER_BYTES} bytes")
        try:
            self._parser.feed_data(chunk)
        except HttpParserError as error:
            raise UnreadableAnswerError(f"the answer is no HTTP: {error}") from None
        return self._whole

    def finish(self) -> bool:
        """The connection has ended: whether the answer is whole by that (one whose length nothing else says)."""
        self.keep_alive = False
        return self._whole or (self.status >= 200 and not self._framed)

    def answer(self) -> HttpAnswer:
        """The answer, once it is whole."""
        return HttpAnswer(self.status, self._headers, b"".join(self._body))

    # What follows is called by the parser, by these names. Bytes behind a whole answer answer nothing that was asked:
    # they are not read, and the connection is not used again.

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if self._whole:
            return
        text = name.decode("latin-1").lower()
        if text in _FRAMING:
            self._framed = True
        self._headers[text] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """The head is whole."""
        if self._whole:
            return
        self.status = self._parser.get_status_code()

    def on_body(self, part: bytes) -> None:
        """A part of the body."""
        if not self._whole:
            self._body.append(part)

    def on_message_complete(self) -> None:
        """The answer is whole, unless it was an interim one (1xx)."""
        if self.status < 200:
            self._headers.clear()
            return
        self.keep_alive = self._parser.should_keep_alive() and not self._whole
        self._whole = True

    def on_message_begin(self) -> None:
        """An answer begins."""
        if self._whole:
            self.keep_alive = False


_FRAMING: Final = frozenset({"content-length", "transfer-encoding"})
