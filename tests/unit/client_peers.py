"""Peers to speak HTTP with, scripted: what a service, a proxy or a broken network does, on a real socket."""

import socket
import ssl
import threading
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

Script = Callable[["Peer", socket.socket], None]

OK = b"HTTP/1.1 200 OK\r\nX-Amzn-RequestId: r-1\r\nContent-Length: 2\r\n\r\n{}"


class Peer:
    """Listens on a loopback port; each connection runs the next script, the last one again and again.

    `heard` are the requests, whole; `connections` counts those that were made.
    """

    def __init__(self, *scripts: Script, tls: ssl.SSLContext | None = None) -> None:
        self._scripts = scripts
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._open: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        self.heard: list[bytes] = []
        self.has_heard = threading.Event()
        self.connections = 0

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for stream in self._open:
            stream.close()

    def _accept(self) -> None:
        while True:
            try:
                stream, _ = self._listener.accept()
            except OSError:
                return
            self._open.append(stream)
            script = self._scripts[min(self.connections, len(self._scripts) - 1)]
            self.connections += 1
            threading.Thread(target=self._run, args=(script, stream), daemon=True).start()

    def _run(self, script: Script, stream: socket.socket) -> None:
        try:
            if self._tls is not None:
                stream = self._tls.wrap_socket(stream, server_side=True)
                self._open.append(stream)
            script(self, stream)
        except OSError:  # the other side has left, or the test is over
            stream.close()

    def read_request(self, stream: socket.socket) -> bytes:
        """One request, whole; empty where the other side has left."""
        heard = b""
        while b"\r\n\r\n" not in heard:
            chunk = stream.recv(65_536)
            if not chunk:
                return b""
            heard += chunk
        head, _, body = heard.partition(b"\r\n\r\n")
        lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")]
        missing = int(lengths[0].split(b":")[1]) - len(body) if lengths else 0
        while missing > 0:
            chunk = stream.recv(missing)
            heard += chunk
            missing -= len(chunk)
        self.heard.append(heard)
        self.has_heard.set()
        return heard


def answering(*answers: bytes) -> Script:
    """Answers the requests of a connection one after another, then ends it; without answers, OK for ever."""

    def script(peer: Peer, stream: socket.socket) -> None:
        for said in answers or _for_ever(OK):
            if not peer.read_request(stream):
                return
            stream.sendall(said)
        stream.close()

    return script


def _for_ever(said: bytes) -> Sequence[bytes]:
    return [said] * 10_000


def in_pieces(said: bytes) -> Script:
    """Answers byte by byte."""

    def script(peer: Peer, stream: socket.socket) -> None:
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while peer.read_request(stream):
            for place in range(len(said)):
                stream.sendall(said[place : place + 1])

    return script


def silent(peer: Peer, stream: socket.socket) -> None:
    """Reads a request, and says nothing."""
    peer.read_request(stream)


def ending(peer: Peer, stream: socket.socket) -> None:
    """Reads a request, and ends the connection."""
    peer.read_request(stream)
    stream.close()


def tunnelling(peer: Peer, stream: socket.socket) -> None:
    """A proxy: takes a CONNECT and passes bytes on, both ways."""
    head = peer.read_request(stream)
    host, _, port = head.split(b" ")[1].rpartition(b":")
    with socket.create_connection((host.decode(), int(port))) as target:
        stream.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        back = threading.Thread(target=_pass, args=(target, stream), daemon=True)
        back.start()
        _pass(stream, target)
        back.join()


def _pass(source: socket.socket, target: socket.socket) -> None:
    try:
        while chunk := source.recv(65_536):
            target.sendall(chunk)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # one of the two has left
        return
