"""A server that always says the same, whatever it is asked, and remembers what that was."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Peer:
    """Says the same to whoever connects, and remembers what was asked."""

    def __init__(self, said: bytes | None, when: threading.Event | None) -> None:
        self.asked: list[bytes] = []
        self._when = when
        self._said = said
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._held: list[socket.socket] = []
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._held.append(connection)
            asked = b""
            while b"\r\n\r\n" not in asked:
                asked += connection.recv(65_536)
            head, _, body = asked.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.split(b"\r\n") if line.lower()[:15] == b"content-length:"), 0
            )
            while len(body) < length:
                body += connection.recv(65_536)
            self.asked.append(head + b"\r\n\r\n" + body)
            if self._when is not None:
                self._when.wait()
            if self._said is not None:
                connection.sendall(self._said)
                connection.close()

    def close(self) -> None:
        """Listen no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join()
        for connection in self._held:
            connection.close()


@contextmanager
def saying(said: bytes | None, when: threading.Event | None = None) -> Iterator[Peer]:
    """A peer that says this (None: nothing, and holds the line), at once or when it may."""
    peer = Peer(said, when)
    try:
        yield peer
    finally:
        peer.close()


def answer(status: int, body: bytes, content_type: str = "application/json") -> bytes:
    """An answer as it is sent."""
    head = f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body
