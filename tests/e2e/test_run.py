"""How the server is run, on real sockets and with real signals: where it listens, how it starts, how it ends."""

import http.client
import signal
import socket
from contextlib import suppress

import pytest

from meterhouse.server.exchange import Receive, Scope, Send
from meterhouse.server.run import CannotListen, Listening, StartFailed, listen
from tests.e2e.running import GET, PATIENCE_SECONDS, Dummy, Running, read_all, running, separate


def test_a_stop_finishes_what_has_begun() -> None:
    """Told to stop: nobody more is accepted, idle connections end, the request under way is answered, all in order."""
    dummy = Dummy()
    with running(dummy) as server:
        idle, busy = server.open(), server.client()
        idle.sendall(GET)
        busy.request("GET", "/slow")
        while dummy.seen.get(timeout=PATIENCE_SECONDS) != "/slow":
            pass
        server.stop()
        assert read_all(idle).count(b"HTTP/1.1 200") == 1
        with pytest.raises(ConnectionRefusedError):
            server.open()
        assert server.is_running()
        dummy.release()
        answer = busy.getresponse()
        assert answer.status == 200
        assert answer.getheader("connection") == "close"
        server.join()
        assert server.outcome == 0
        assert dummy.seen.get_nowait() == "shutdown"
        idle.close()
        busy.close()


def test_a_stop_does_not_wait_for_ever() -> None:
    """A request that is not done when time is up is cut off and counted, and the application still ends in order."""
    dummy = Dummy()
    with running(dummy, shutdown_seconds=0.05) as server, server.open() as sock:
        sock.sendall(GET.replace(b"/", b"/slow", 1))
        while dummy.seen.get(timeout=PATIENCE_SECONDS) != "/slow":
            pass
        server.stop()
        with suppress(ConnectionResetError):
            assert read_all(sock) == b""
        server.join()
        assert server.outcome == 1
        assert dummy.seen.get_nowait() == "shutdown"


def test_a_port_belongs_to_one_server() -> None:
    """The second server on a port is told so in one sentence that names host and port."""
    with running(Dummy()) as server:
        with pytest.raises(CannotListen) as refused:
            listen("127.0.0.1", server.port)
        assert str(refused.value) == (
            f"Cannot listen on 127.0.0.1:{server.port}: another program already uses that port."
        )
    listen("127.0.0.1", server.port).close()


@pytest.mark.parametrize(
    ("host", "port", "sentence"),
    [
        ("192.0.2.1", 8750, "Cannot listen on 192.0.2.1:8750: this machine has no such address."),
        ("nobody.invalid", 8750, "Cannot listen on nobody.invalid:8750: the host's name is not known."),
        ("a" * 100, 1, f"Cannot listen on {'a' * 100}:1: the host's name is not known."),
        ("127.0.0.1", 65_536, "Cannot listen on 127.0.0.1:65536: a port is a number from 0 to 65535."),
        ("::1", -1, "Cannot listen on [::1]:-1: a port is a number from 0 to 65535."),
    ],
)
def test_an_address_that_cannot_be_had_is_named(host: str, port: int, sentence: str) -> None:
    """Whatever is wrong with an address is said in one sentence."""
    with pytest.raises(CannotListen) as refused:
        listen(host, port)
    assert str(refused.value) == sentence


def test_a_name_is_listened_on_wherever_it_leads() -> None:
    """`localhost` is one port on every address it stands for here, and the URL keeps the name."""
    with running(Dummy(), host="localhost") as server:
        assert server.url == f"http://localhost:{server.port}"
        client = http.client.HTTPConnection("localhost", server.port, timeout=PATIENCE_SECONDS)
        client.request("GET", "/")
        assert client.getresponse().status == 200
        client.close()


def test_a_socket_may_be_shared() -> None:
    """Two servers serve one socket made elsewhere, as processes that share it would, and either may end first."""
    sock = socket.create_server(("127.0.0.1", 0))
    first = Running(Dummy(), Listening.on(sock.dup()))
    second = Running(Dummy(), Listening.on(sock))
    assert first.url == second.url
    first.stop()
    first.join()
    client = second.client()
    client.request("GET", "/")
    assert client.getresponse().status == 200
    client.close()
    second.stop()
    second.join()
    assert (first.outcome, second.outcome) == (0, 0)


class Unfit(Exception):
    """Raised by an application that cannot start."""


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (None, Unfit("no ledger")),
        ({"type": "lifespan.startup.failed", "message": "no ledger"}, StartFailed("no ledger")),
        ({}, StartFailed("The application ended without an answer to startup.")),
    ],
)
def test_an_application_that_cannot_start_says_why(answer: dict[str, str] | None, error: Exception) -> None:
    """What stops the application from starting comes out of `serve`, nothing was ready, and the port is free again."""

    async def unfit(_scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        if answer is None:
            raise error
        if answer:
            await send(answer)
            await receive()

    listening = listen("127.0.0.1", 0)
    server = Running(unfit, listening)
    server.join()
    assert server.url is None
    assert repr(server.outcome) == repr(error)
    assert all(sock.fileno() == -1 for sock in listening.sockets)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server_in_order(number: signal.Signals) -> None:
    """SIGTERM and SIGINT end the server with exit code 0 and no more words, idle clients notwithstanding."""
    with separate() as server, server.open() as idle:
        server.signal(number)
        assert read_all(idle) == b""
        assert server.end() == (0, ["shutdown", "cut 0"])


def test_a_second_signal_does_not_wait() -> None:
    """A second signal cuts off what the first one waited for."""
    with separate() as server, server.open() as busy, server.open() as idle:
        busy.sendall(GET.replace(b"/", b"/never", 1))
        server.await_line("GET /never")
        server.signal(signal.SIGTERM)
        assert read_all(idle) == b"", "the first signal has arrived"
        server.signal(signal.SIGTERM)
        assert server.end() == (0, ["shutdown", "cut 1"])


def test_a_hangup_is_passed_on() -> None:
    """SIGHUP calls what it was given and ends nothing."""
    with separate() as server:
        server.signal(signal.SIGHUP)
        server.await_line("hangup")
        assert server.peak_bytes() > 0
        server.signal(signal.SIGTERM)
        assert server.end()[0] == 0
