"""HTTP over real sockets: what is sent, what is read, what is kept open, and how each failure is called.

Every test here runs with blocking sockets, with asyncio, and with uvloop in asyncio's place.
"""

import asyncio
import os
import ssl
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any, Self

import pytest
import uvloop
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from meterhouse.client.asyncio_transport import AsyncSocketTransport
from meterhouse.client.errors import (
    AnswerTimeoutError,
    ConfigurationError,
    ConnectError,
    ConnectionLostError,
    TransportError,
    UnreadableAnswerError,
)
from meterhouse.client.socket_transport import SocketTransport
from meterhouse.client.transport import (
    LONGEST_ANSWER_BYTES,
    Address,
    HttpAnswer,
    HttpRequest,
    NetworkOptions,
    Routes,
    routes_of,
    split_url,
)
from tests.unit.client_peers import OK, Peer, answering, ending, in_pieces, silent, tunnelling


class _Blocking:
    def __init__(self, options: NetworkOptions | None = None, routes: Routes | None = None) -> None:
        self._transport = SocketTransport(options, routes)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *ending: object) -> None:
        self._transport.close()

    def send(self, request: HttpRequest, timeout_seconds: float = 20) -> HttpAnswer:
        return self._transport.send(request, timeout_seconds)

    def send_many(self, request: HttpRequest, count: int) -> list[HttpAnswer]:
        with ThreadPoolExecutor(count) as pool:
            return list(pool.map(lambda _: self.send(request), range(count)))


class _Asyncio:
    new_loop: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop

    def __init__(self, options: NetworkOptions | None = None, routes: Routes | None = None) -> None:
        self._transport = AsyncSocketTransport(options, routes)

    def __enter__(self) -> Self:
        self._loop = type(self).new_loop()
        return self

    def __exit__(self, *ending: object) -> None:
        self._loop.run_until_complete(self._transport.close_async())
        self._loop.run_until_complete(asyncio.sleep(0))  # for connections that failed, and were ended as they did
        self._loop.close()

    def send(self, request: HttpRequest, timeout_seconds: float = 20) -> HttpAnswer:
        return self._loop.run_until_complete(self._transport.send_async(request, timeout_seconds))

    def send_many(self, request: HttpRequest, count: int) -> list[HttpAnswer]:
        async def all_of_them() -> list[HttpAnswer]:
            return await asyncio.gather(*(self._transport.send_async(request, 20) for _ in range(count)))

        return self._loop.run_until_complete(all_of_them())


class _Uvloop(_Asyncio):
    new_loop = uvloop.new_event_loop


@pytest.fixture(params=[_Blocking, _Asyncio, _Uvloop], ids=["sockets", "asyncio", "uvloop"])
def make(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes a transport, to be used in a `with`."""
    kind: Callable[..., Any] = request.param
    return kind


def _request(port: int, scheme: str = "http", **more: Any) -> HttpRequest:
    return HttpRequest(Address(scheme, "127.0.0.1", port), [(b"X-Amz-Target", b"T.O")], b'{"a":1}', **more)


# --- an exchange ------------------------------------------------------------------------------------------------------


def test_a_request_is_sent_as_it_is(make: Callable[..., Any]) -> None:
    """Request line, Host with its port, the headers given, the body's length, the body."""
    with Peer(answering()) as peer, make() as transport:
        answer = transport.send(_request(peer.port, target=b"/a?b=c"))
    assert peer.heard == [
        b"POST /a?b=c HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-Amz-Target: T.O\r\nContent-Length: 7\r\n\r\n" % peer.port
        + b'{"a":1}'
    ]
    assert answer == HttpAnswer(200, {"x-amzn-requestid": "r-1", "content-length": "2"}, b"{}")


READ = {
    "by its length": (OK, b"{}"),
    "in chunks": (
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\n\r\n",
        b"{}",
    ),
    "after an interim one": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK, b"{}"),
    "to the end of the connection": (b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n{}", b"{}"),
    "of HTTP/1.0": (b"HTTP/1.0 200 OK\r\n\r\n{}", b"{}"),
    "without a body": (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
    "an error": (b"HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy", b"busy"),
    "large": (b"HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n" + b"x" * 3_000_000, b"x" * 3_000_000),
}


@pytest.mark.parametrize(("said", "body"), READ.values(), ids=READ)
def test_an_answer_is_read_whole(make: Callable[..., Any], said: bytes, body: bytes) -> None:
    """However an answer says where it ends, all of it is read, and nothing else."""
    with Peer(answering(said)) as peer, make() as transport:
        assert transport.send(_request(peer.port)).body == body


def test_an_answer_may_come_in_any_pieces(make: Callable[..., Any]) -> None:
    """Byte by byte is an answer too, and the connection serves the next request."""
    with Peer(in_pieces(OK)) as peer, make() as transport:
        assert [transport.send(_request(peer.port)).body for _ in range(2)] == [b"{}", b"{}"]
    assert peer.connections == 1


# --- connections ------------------------------------------------------------------------------------------------------


def test_a_connection_is_used_again(make: Callable[..., Any]) -> None:
    """Requests one after another share a connection."""
    with Peer(answering()) as peer, make() as transport:
        for _ in range(5):
            transport.send(_request(peer.port))
    assert peer.connections == 1


CLOSING = {
    "said by the answer": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    "of HTTP/1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
    "with bytes behind it": OK + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmore",
}


@pytest.mark.parametrize("said", CLOSING.values(), ids=CLOSING)
def test_a_connection_that_cannot_go_on_is_not_used_again(make: Callable[..., Any], said: bytes) -> None:
    """An answer that ends its connection, or leaves it in doubt, is that connection's last."""
    with Peer(answering(said, said)) as peer, make() as transport:
        assert [transport.send(_request(peer.port)).body for _ in range(2)] == [b"{}", b"{}"]
    assert peer.connections == 2


def test_a_kept_connection_that_has_ended_is_replaced(make: Callable[..., Any]) -> None:
    """The service ends a connection as it is used again: the request goes over a new one, nobody hears of it."""
    with Peer(answering(OK), answering()) as peer, make() as transport:
        for _ in range(3):
            assert transport.send(_request(peer.port)).status == 200
    assert peer.connections == 2


def test_a_new_connection_that_ends_is_lost(make: Callable[..., Any]) -> None:
    """The same on a new connection is a loss, and said to be one; so is an end in the middle of an answer."""
    with Peer(ending, answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")) as peer, make() as transport:
        for _ in range(2):
            with pytest.raises(ConnectionLostError):
                transport.send(_request(peer.port))
    assert peer.connections == 2


def test_an_answer_that_breaks_off_on_a_kept_connection_is_lost(make: Callable[..., Any]) -> None:
    """Once an answer has begun, the request is not sent a second time here: the flow decides that."""
    with Peer(answering(OK, b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}")) as peer, make() as transport:
        transport.send(_request(peer.port))
        with pytest.raises(ConnectionLostError):
            transport.send(_request(peer.port))
    assert peer.connections == 1


def test_connections_are_bounded(make: Callable[..., Any]) -> None:
    """Requests beyond the bound wait for a connection; they do not make one."""
    with Peer(answering()) as peer, make(NetworkOptions(max_connections=2)) as transport:
        assert [answer.status for answer in transport.send_many(_request(peer.port), 12)] == [200] * 12
    assert peer.connections <= 2


def test_a_place_that_does_not_come_free_is_no_connection() -> None:
    """Whoever waits longer than its own timeout is told so; who is cancelled meanwhile takes no place along."""

    async def crowd(peer: Peer) -> tuple[str, bytes]:
        transport = AsyncSocketTransport(NetworkOptions(max_connections=1))
        first = asyncio.create_task(transport.send_async(_request(peer.port), 20))
        await asyncio.to_thread(peer.has_heard.wait)
        cancelled = asyncio.create_task(transport.send_async(_request(peer.port), 20))
        await asyncio.sleep(0)
        cancelled.cancel()
        with pytest.raises(ConnectError) as raised:
            await transport.send_async(_request(peer.port), 0.05)
        patient = asyncio.create_task(transport.send_async(_request(peer.port), 20))
        await asyncio.sleep(0)
        first.cancel()
        answer = await patient
        await asyncio.gather(first, cancelled, return_exceptions=True)
        await transport.close_async()
        return raised.value.message, answer.body

    with Peer(silent, answering()) as peer:
        assert asyncio.run(crowd(peer)) == ("all 1 connections were in use for 0.05 s", b"{}")
    with Peer(silent) as peer:
        transport = SocketTransport(NetworkOptions(max_connections=1))
        with ThreadPoolExecutor(1) as pool:
            held = pool.submit(transport.send, _request(peer.port), 0.5)
            peer.has_heard.wait()
            with pytest.raises(ConnectError, match="all 1 connections"):
                transport.send(_request(peer.port), 0.05)
            with pytest.raises(AnswerTimeoutError):
                held.result()


def test_a_connection_that_was_idle_for_long_is_not_used(make: Callable[..., Any]) -> None:
    """Past `idle_seconds` a new connection is made, without trying the old one first."""
    with Peer(answering()) as peer, make(NetworkOptions(idle_seconds=0)) as transport:
        for _ in range(3):
            transport.send(_request(peer.port))
    assert peer.connections == 3


def test_a_forked_child_has_connections_of_its_own() -> None:
    """Two processes that spoke on one connection would take each other's answers."""
    with Peer(answering()) as peer:
        transport = SocketTransport()
        transport.send(_request(peer.port), 20)
        child = os.fork()
        if child == 0:
            os._exit(0 if transport.send(_request(peer.port), 20).status == 200 else 1)
        _, status = os.waitpid(child, 0)
        transport.send(_request(peer.port), 20)
        transport.close()
    assert status == 0
    assert peer.connections == 2


def test_another_loop_begins_anew() -> None:
    """Connections of a loop that is closed are not used on the next one."""
    with Peer(answering()) as peer:
        transport, loops = AsyncSocketTransport(), [asyncio.new_event_loop(), asyncio.new_event_loop()]
        for loop in loops:
            assert loop.run_until_complete(transport.send_async(_request(peer.port), 20)).status == 200
        loops[1].run_until_complete(transport.close_async())
        for loop in loops:
            loop.run_until_complete(asyncio.sleep(0))
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()
    assert peer.connections == 2


def test_a_cancelled_request_takes_its_connection_along() -> None:
    """The answer that still comes must not be taken for the next request's."""

    async def cancel_one(peer: Peer) -> bytes:
        transport = AsyncSocketTransport()
        lost = asyncio.create_task(transport.send_async(_request(peer.port), 20))
        await asyncio.to_thread(peer.has_heard.wait)
        lost.cancel()
        with pytest.raises(asyncio.CancelledError):
            await lost
        answer = await transport.send_async(_request(peer.port), 20)
        await transport.close_async()
        return answer.body

    with Peer(silent, answering()) as peer:
        assert asyncio.run(cancel_one(peer)) == b"{}"
    assert peer.connections == 2


# --- failures ---------------------------------------------------------------------------------------------------------


def test_no_answer_in_time(make: Callable[..., Any]) -> None:
    """Silence, and an answer that never ends, are timeouts; what was sent may be kept."""
    slow = answering(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{", b"")
    with Peer(silent, slow) as peer, make() as transport:
        for _ in range(2):
            with pytest.raises(AnswerTimeoutError) as raised:
                transport.send(_request(peer.port), 0.05)
            assert raised.value.may_be_kept


def test_a_short_wait_after_a_long_one_is_short(make: Callable[..., Any]) -> None:
    """On a connection that has served with a long timeout, a short one holds all the same."""
    with Peer(answering(OK, b"HTTP/1.1 200 OK\r\n", b"")) as peer, make() as transport:
        transport.send(_request(peer.port), 20)
        with pytest.raises(AnswerTimeoutError):
            transport.send(_request(peer.port), 0.05)


def test_no_connection(make: Callable[..., Any]) -> None:
    """A port where nobody listens, a name that nobody can have: nothing was sent."""
    with Peer(silent) as peer:
        port = peer.port
    nobody = HttpRequest(Address("http", "n" * 64, 80), [])
    with make() as transport:
        for request in (_request(port), nobody):
            with pytest.raises(ConnectError) as raised:
                transport.send(request)
            assert not raised.value.may_be_kept


BROKEN = {
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a broken head": b"HTTP/1.1 200 OK\r\nno colon here\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}",
    "more than anybody needs": b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n" + b"x" * LONGEST_ANSWER_BYTES,
}


@pytest.mark.parametrize("said", BROKEN.values(), ids=BROKEN)
def test_what_is_no_answer(make: Callable[..., Any], said: bytes) -> None:
    """Bytes that are no HTTP answer are said to be that, and end the connection."""
    with Peer(answering(said, said)) as peer, make() as transport:
        with pytest.raises(UnreadableAnswerError):
            transport.send(_request(peer.port))
        with pytest.raises(TransportError):
            transport.send(_request(peer.port))
    assert peer.connections == 2


# --- TLS and proxies --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for 127.0.0.1 that no authority has signed, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "meterhouse test")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "certificate.pem"
    file.write_bytes(
        made.public_bytes(serialization.Encoding.PEM)
        + key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return file


@pytest.fixture
def secure_peer(certificate: Path) -> Iterator[Peer]:
    """A service that speaks TLS with that certificate."""
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate)
    with Peer(answering(), tls=tls) as peer:
        yield peer


def test_tls_with_an_authority_of_ones_own(make: Callable[..., Any], secure_peer: Peer, certificate: Path) -> None:
    """`ca_bundle` makes a certificate trusted, for kept connections too."""
    with make(NetworkOptions(ca_bundle=str(certificate))) as transport:
        for _ in range(2):
            assert transport.send(_request(secure_peer.port, "https")).body == b"{}"
    assert secure_peer.connections == 1


def test_tls_refuses_strangers(make: Callable[..., Any], secure_peer: Peer, certificate: Path) -> None:
    """A certificate that nobody vouches for, and one for another name, are no connection."""
    with make() as transport, pytest.raises(ConnectError, match="certificate verify failed"):
        transport.send(_request(secure_peer.port, "https"))
    other = HttpRequest(Address("https", "localhost", secure_peer.port), [])
    with make(NetworkOptions(ca_bundle=str(certificate))) as transport, pytest.raises(ConnectError):
        transport.send(other)
    assert secure_peer.heard == []


def test_a_proxy_passes_http_on(make: Callable[..., Any]) -> None:
    """To a proxy, the request names the whole URL and says who asks; what must go directly does."""
    with Peer(answering()) as service, Peer(answering()) as proxy:
        routes = Routes({"http": f"http://user:p%40ss@127.0.0.1:{proxy.port}"})
        with make(None, routes) as transport:
            transport.send(_request(service.port))
            transport.send(_request(service.port, direct=True))
        assert service.connections == 1
    assert proxy.heard[0].startswith(b"POST http://127.0.0.1:%d/ HTTP/1.1\r\n" % service.port)
    assert b"Proxy-Authorization: Basic dXNlcjpwQHNz\r\n" in proxy.heard[0]
    assert b"Proxy-Authorization" not in service.heard[0]


def test_a_proxy_tunnels_https(make: Callable[..., Any], secure_peer: Peer, certificate: Path) -> None:
    """Through a proxy, TLS is with the service itself: the proxy hears a CONNECT and no word more."""
    with Peer(tunnelling) as proxy:
        routes = Routes({"https": f"http://127.0.0.1:{proxy.port}"})
        with make(NetworkOptions(ca_bundle=str(certificate)), routes) as transport:
            assert transport.send(_request(secure_peer.port, "https")).body == b"{}"
        authority = b"127.0.0.1:%d" % secure_peer.port
        assert proxy.heard == [b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (authority, authority)]
    assert secure_peer.heard[0].startswith(b"POST / HTTP/1.1\r\n")


def test_a_proxy_may_refuse(make: Callable[..., Any]) -> None:
    """A proxy that opens no way is no connection, and its words are passed on."""
    with Peer(answering(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")) as proxy:
        routes = Routes({"https": f"http://127.0.0.1:{proxy.port}"})
        with make(None, routes) as transport, pytest.raises(ConnectError, match="407 Proxy Authentication"):
            transport.send(_request(443, "https"))


ROUTES = [
    ({"HTTP_PROXY": "http://p:1"}, "http://service.test", True),
    ({"HTTP_PROXY": "http://p:1"}, "https://service.test", False),
    ({"https_proxy": "p:1"}, "https://service.test", True),
    ({"http_proxy": "http://p:1", "NO_PROXY": "*"}, "http://service.test", False),
    ({"http_proxy": "http://p:1", "no_proxy": "other, service.test"}, "http://service.test", False),
    ({"http_proxy": "http://p:1", "no_proxy": ".test"}, "http://a.service.test", False),
    ({"http_proxy": "http://p:1", "no_proxy": "vice.test"}, "http://service.test", True),
    ({"http_proxy": "http://p:1", "no_proxy": "service.test:8750"}, "http://service.test:8750", False),
    ({"http_proxy": "http://p:1", "no_proxy": "service.test:8750"}, "http://service.test:8751", True),
    ({}, "http://service.test", False),
]


@pytest.mark.parametrize(("environment", "url", "by_proxy"), ROUTES)
def test_the_environment_names_proxies(environment: dict[str, str], url: str, by_proxy: bool) -> None:
    """HTTP_PROXY, HTTPS_PROXY and NO_PROXY, in either case, as other programs read them."""
    address, _ = split_url(url)
    proxy = routes_of(NetworkOptions(), environment).proxy_to(address)
    assert (proxy is not None) == by_proxy
    given = routes_of(NetworkOptions(proxy_url="http://given:3128"), environment).proxy_to(address)
    assert given is not None
    assert str(given.address) == "http://given:3128"


def test_a_proxy_must_be_an_http_url() -> None:
    """TLS to a proxy is not spoken, and that is said."""
    with pytest.raises(ConfigurationError, match="not by https"):
        Routes({"http": "https://p"}).proxy_to(Address("http", "a", 80))


@pytest.mark.parametrize("url", ["ftp://a", "127.0.0.1:8750", "http://", "http://a:port", "http://[::1"])
def test_a_url_must_be_one(url: str) -> None:
    """What is no http(s) URL is refused by name."""
    with pytest.raises(ConfigurationError):
        split_url(url)


def test_an_ipv6_host_keeps_its_brackets() -> None:
    """In Host and in text; without the port where it is the scheme's own."""
    address, target = split_url("http://[::1]:8750/a")
    assert (address.authority, target, str(address)) == (b"[::1]:8750", b"/a", "http://[::1]:8750")
    assert split_url("https://a.test")[0].authority == b"a.test"
