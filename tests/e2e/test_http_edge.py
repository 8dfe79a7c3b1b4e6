"""The HTTP edge on real sockets: bounds made short, a dummy application behind, Python's own client in front."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from meterhouse.server.bounds import CONTRACT, Bounds
from tests.e2e.running import GET, PATIENCE_SECONDS, Dummy, read_all, running, separate, status_of


def test_connections_are_kept_and_reused() -> None:
    """One connection carries request after request, pipelined ones too, in order; the URL has the real port."""
    with running(Dummy()) as server:
        assert server.url is not None
        assert server.url.startswith("http://127.0.0.1:")
        assert server.port > 0
        client = server.client()
        ports = set()
        for size in (0, 1, 100_000, 1_000_000):
            client.request("POST", "/", body=b"a" * size)
            answer = client.getresponse()
            port, length = answer.read().split()
            ports.add(port)
            assert int(length) == size
            assert answer.getheader("date")
        assert len(ports) == 1
        client.close()
        with server.open() as sock:
            sock.sendall(GET * 500 + GET.replace(b"Host: h", b"Connection: close"))
            assert read_all(sock).count(b"HTTP/1.1 200 OK") == 501


# Bounds made short, what is sent, and the status that comes back; None is an end without a word.
BOUNDED = [
    (Bounds(head_bytes=1000), b"GET / HTTP/1.1\r\nX: " + b"a" * 1000 + b"\r\n\r\n", 431),
    (Bounds(head_bytes=1000), b"GET / HTTP/1.1\r\nX: " + b"a" * 1000, 431),
    (Bounds(head_seconds=0.05), b"GET / HTTP/1.1\r\nX: ", 408),
    (Bounds(body_seconds=0.05), b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{", 408),
    (Bounds(idle_seconds=0.05), b"", None),
    (Bounds(body_bytes=1000, linger_seconds=0.05), b"POST / HTTP/1.1\r\nContent-Length: 1000\r\n\r\n", 413),
    (
        Bounds(body_bytes=1000, linger_seconds=0.05),
        b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffff\r\n" + b"a" * 1000,
        413,
    ),
    (Bounds(linger_seconds=0.05), b"NOT HTTP\r\n\r\n", 400),
]


@pytest.mark.parametrize(("bounds", "stream", "status"), BOUNDED)
def test_each_bound_is_told_and_ends_the_connection(bounds: Bounds, stream: bytes, status: int | None) -> None:
    """Whoever exceeds a bound reads why, if there is a why, and then the end of the connection."""
    with running(Dummy(), bounds=bounds) as server, server.open() as sock:
        sock.sendall(stream)
        assert status_of(read_all(sock)) == status


def test_an_idle_connection_ends_without_a_word() -> None:
    """After its answer, a connection that asks nothing more is closed and nothing is said."""
    with running(Dummy(), bounds=Bounds(idle_seconds=0.05)) as server, server.open() as sock:
        sock.sendall(GET)
        assert read_all(sock).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize("chunked", [False, True])
def test_a_client_still_writing_reads_its_refusal(chunked: bool) -> None:
    """A client that writes 12 MB before it reads gets 413, not a reset, time after time; its connection ends."""
    with running(Dummy()) as server:
        for _ in range(10):
            client = server.client()
            body: Any = iter([b"a" * 100_000] * 120) if chunked else b"a" * 12_000_000
            client.request("POST", "/", body=body, encode_chunked=chunked)
            answer = client.getresponse()
            assert answer.status == 413
            assert answer.getheader("connection") == "close"
            answer.read()
            client.close()


def test_a_client_that_waits_for_the_word_is_refused_before_it_writes() -> None:
    """With `Expect: 100-continue`, 413 comes without a byte of the body having been sent, else 100 does."""
    head = "POST / HTTP/1.1\r\nExpect: 100-continue\r\nConnection: close\r\nContent-Length: {}\r\n\r\n"
    with running(Dummy(), bounds=Bounds(linger_seconds=0.05)) as server:
        with server.open() as sock:
            sock.sendall(head.format(1_048_576).encode())
            assert status_of(read_all(sock)) == 413
        with server.open() as sock:
            sock.sendall(head.format(2).encode())
            assert sock.recv(1000) == b"HTTP/1.1 100 Continue\r\n\r\n"
            sock.sendall(b"{}")
            assert status_of(read_all(sock)) == 200


def test_slow_clients_stop_nobody() -> None:
    """Two hundred connections that dribble headers, and as many that dribble bodies, leave the rest undisturbed."""
    with ExitStack() as stack:
        server = stack.enter_context(running(Dummy()))
        slow = [stack.enter_context(server.open()) for _ in range(400)]
        client = server.client()
        for turn in range(5):
            for number, sock in enumerate(slow):
                start = b"POST / HTTP/1.1\r\n" + (b"Content-Length: 100\r\n\r\n" if number % 2 else b"X-Slow: ")
                sock.sendall(b"a" if turn else start)
            client.request("POST", "/", body=b"{}")
            assert client.getresponse().read().endswith(b" 2")
        client.close()


def test_a_half_closed_client_gets_its_answer() -> None:
    """A client that ends its side after asking, as simple tools do, still reads the answer."""
    dummy = Dummy()
    with running(dummy) as server, server.open() as sock:
        sock.sendall(GET.replace(b"/", b"/slow", 1))
        sock.shutdown(socket.SHUT_WR)
        while dummy.seen.get(timeout=PATIENCE_SECONDS) != "/slow":
            pass
        dummy.release()
        assert status_of(read_all(sock)) == 200


def test_starlette_runs_on_it() -> None:
    """An application made with Starlette works: lifespan state, JSON, streams, and HTTP/1.0."""

    @contextmanager
    def house() -> Iterator[dict[str, str]]:
        yield {"house": "open"}

    class Lifespan:
        def __init__(self, _application: Starlette) -> None:
            self._house = house()

        async def __aenter__(self) -> dict[str, str]:
            return self._house.__enter__()

        async def __aexit__(self, *error: object) -> None:
            assert error == (None, None, None)
            self._house.__exit__(None, None, None)

    async def echo(request: Request) -> JSONResponse:
        return JSONResponse({"house": request.state.house, "body": await request.json()})

    async def stream(_request: Request) -> StreamingResponse:
        return StreamingResponse(iter(["a" * 100_000] * 20))

    routes = [Route("/echo", echo, methods=["POST"]), Route("/stream", stream)]
    with running(Starlette(routes=routes, lifespan=Lifespan)) as server:
        client = server.client()
        client.request("POST", "/echo", body=b"[1]")
        assert client.getresponse().read() == b'{"house":"open","body":[1]}'
        client.request("GET", "/stream")
        assert client.getresponse().read() == b"a" * 2_000_000
        client.close()
        with server.open() as sock:
            sock.sendall(b"GET /stream HTTP/1.0\r\n\r\n")
            assert read_all(sock).endswith(b"\r\n\r\n" + b"a" * 2_000_000)


FLOODS = [
    ("headers", b"POST / HTTP/1.1\r\n", b"a:b\r\n", 50),
    ("a header", b"POST / HTTP/1.1\r\nA: ", b"a", 50),
    ("a target", b"POST /", b"a", 50),
    ("a declared body", b"POST / HTTP/1.1\r\nContent-Length: 100000000\r\n\r\n", b"a", 100),
    ("an undeclared body", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n7fffffff\r\n", b"a", 100),
    ("tiny chunks", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\na\r\n", 100),
    ("pipelined requests", b"", b"GET /never HTTP/1.1\r\n\r\n", 20),
]


def test_floods_leave_little_behind() -> None:
    """Tens of megabytes of anything, one connection after another, raise the server's memory by a few megabytes."""
    with separate() as server:
        before = server.peak_bytes()
        for name, opening, filler, megabytes in FLOODS:
            with server.open() as sock:
                sock.settimeout(0.2)
                with suppress(ConnectionError, TimeoutError):  # it is cut, or no longer read: that is the point
                    sock.sendall(opening)
                    for _ in range(megabytes * 4):
                        sock.sendall(filler * (250_000 // len(filler)))
            if name in ("a declared body", "an undeclared body", "tiny chunks"):
                server.await_line("POST /")
            if name == "pipelined requests":
                server.await_line("GET /never")
            assert server.peak_bytes() - before < 24_000_000, name


def test_the_bounds_are_the_contracts() -> None:
    """A server that is told nothing else keeps the contract's bounds."""
    assert (CONTRACT.head_bytes, CONTRACT.head_seconds) == (65_536, 10)
    assert (CONTRACT.body_bytes, CONTRACT.body_seconds) == (1_048_576, 30)
