"""How much and how long one HTTP connection may take (contract §1), and the count that is held against it.

Bytes are counted as they arrive, since a header or a chunk extension that never ends is never reported by the parser.
All that is known of a piece fed to it is its size, and what was reported meanwhile. So a head is never fed more than it
may still have, which makes its bound exact; only of one that begins behind another request, in the middle of a piece,
is there no more to count than the headers seen in that piece.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

PIECE_BYTES: Final = 8192
"""The parser is fed pieces of at most this size; a usual request is smaller and goes through in one."""

FRAMING_PER_BYTE: Final = 8
"""Chunk framing may weigh this many times the body it carries: five for chunks of one byte, and some room."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of one connection. Tests shorten them; a server has little reason to."""

    head_bytes: int = 65_536
    """Request line and headers together; one byte more is 431."""
    head_seconds: float = 10
    """From the first byte of a head to its end."""
    body_bytes: int = 1_048_576
    """The smallest body that is too large."""
    body_seconds: float = 30
    """From the end of the head to the end of the body."""
    idle_seconds: float = 75
    """Between two requests, and for a client that does not take its answer. Longer than the 60 s of the usual proxies,
    which would otherwise send a request into a connection that is just being closed."""
    linger_bytes: int = 16_777_216
    """Thrown away after a refusal, so that its sender comes to read it: the largest batch with all its allocations is
    some 12 MB."""
    linger_seconds: float = 10
    """How long a refused client may go on writing."""


CONTRACT: Final = Bounds()

Room = Callable[[Mapping[str, Any]], int]
"""The smallest body that is too large for a request whose head was read (its ASGI scope), where `body_bytes` is not
enough: asked for large bodies alone."""


def no_room(_scope: Mapping[str, Any]) -> int:
    """Nobody may send more than usual."""
    return 0


class Tally:
    """Counts the head or the body that is being read: `begin` one, then add each piece that ended inside it."""

    __slots__ = ("_bounds", "_fed_bytes", "_gap_bytes", "_seen_bytes")

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._fed_bytes = -1  # in whole pieces; -1: it began in this piece
        self._gap_bytes = 0  # since the body last grew
        self._seen_bytes = 0  # its size then

    def begin(self) -> None:
        """A head or a body begins in the piece that is being fed."""
        self._fed_bytes = -1

    @property
    def begins(self) -> bool:
        """Whether it began in the piece that was fed last."""
        return self._fed_bytes < 0

    @property
    def head_room_bytes(self) -> int:
        """How much the head may still have."""
        return self._bounds.head_bytes - max(self._fed_bytes, 0)

    def add_to_head(self, piece_bytes: int) -> None:
        """The head goes on beyond this piece."""
        self._fed_bytes = max(self._fed_bytes, 0) + piece_bytes

    def begin_framing(self) -> None:
        """The body goes on beyond the piece in which it began."""
        self._fed_bytes = self._gap_bytes = self._seen_bytes = 0

    def add_to_body(self, piece_bytes: int, body_bytes: int) -> None:
        """The body, of this size now, goes on beyond this piece; what is no body is chunk framing or trailers."""
        self._fed_bytes += piece_bytes
        self._gap_bytes = 0 if body_bytes > self._seen_bytes else self._gap_bytes + piece_bytes
        self._seen_bytes = body_bytes

    def exceeds_gap(self) -> bool:
        """Whether extensions or trailers without any body between them weigh more than a head may."""
        return self._gap_bytes > self._bounds.head_bytes

    def exceeds_framing(self) -> bool:
        """Whether all framing together is out of proportion to the body it carries."""
        framing_bytes = self._fed_bytes - self._seen_bytes
        return framing_bytes > 2 * self._bounds.head_bytes + FRAMING_PER_BYTE * self._seen_bytes
