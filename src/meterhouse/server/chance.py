"""Random ids in bulk: drawing them one by one costs more than judging a record."""

import os
from collections.abc import Callable, Sequence
from typing import Final

from meterhouse.core.usage import text_of_id

_DRAWN_AT_ONCE: Final = 256
_VERSION_4: Final = 0x0000_0000_0000_4000_8000_0000_0000_0000
_FREE: Final = ~0x0000_0000_0000_F000_C000_0000_0000_0000 & (1 << 128) - 1


def _repeated(mask: int, count: int) -> int:
    return int.from_bytes(mask.to_bytes(16, "big") * count, "big")


_FREE_BITS: Final = _repeated(_FREE, _DRAWN_AT_ONCE)
_VERSION_BITS: Final = _repeated(_VERSION_4, _DRAWN_AT_ONCE)


class RandomIds:
    """A supply of random UUIDs (version 4), 16 bytes each. Not to be shared by threads."""

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._drawn: list[bytes] = []

    def __call__(self, count: int) -> Sequence[bytes]:
        """That many ids, never given before."""
        while len(self._drawn) < count:
            self._draw()
        taken = self._drawn[-count:] if count else []
        del self._drawn[len(self._drawn) - count :]
        return taken

    def text(self) -> str:
        """One id as a lower-case UUID."""
        return text_of_id(self(1)[0])

    def _draw(self) -> None:
        # One operation on a number of 256 ids sets the version bits of all of them.
        drawn = int.from_bytes(self._random_bytes(16 * _DRAWN_AT_ONCE), "big") & _FREE_BITS | _VERSION_BITS
        octets = drawn.to_bytes(16 * _DRAWN_AT_ONCE, "big")
        self._drawn.extend(octets[place : place + 16] for place in range(0, len(octets), 16))
