"""Random ids in bulk: drawing and writing them one by one costs more than judging a record."""

import os
from collections.abc import Callable, Sequence
from struct import Struct
from typing import Final

from meterhouse.core.call import NewIds

_DRAWN_AT_ONCE: Final = 256
_ID_BYTES: Final = 16
_TEXT_LENGTH: Final = 36
_HYPHENS: Final = (8, 13, 18, 23)
_DIGITS: Final = tuple(place for place in range(_TEXT_LENGTH) if place not in _HYPHENS)
_BLANKS: Final = (b"-" * _TEXT_LENGTH + b" ") * _DRAWN_AT_ONCE
"""The texts of so many ids, digits still to be filled in."""
_apart: Final = Struct(f"{_ID_BYTES}s" * _DRAWN_AT_ONCE).unpack

_VERSION_OCTET: Final = 6
_WITH_VERSION: Final = bytes(octet & 0x0F | 0x40 for octet in range(256))
_VARIANT_OCTET: Final = 8
_WITH_VARIANT: Final = bytes(octet & 0x3F | 0x80 for octet in range(256))


class RandomIds:
    """A supply of random UUIDs (version 4). Not to be shared by threads."""

    def __init__(self, random_bytes: Callable[[int], bytes] = os.urandom) -> None:
        self._random_bytes = random_bytes
        self._octets: list[bytes] = []
        self._texts: list[str] = []

    def __call__(self, count: int) -> NewIds:
        """That many ids, never given before."""
        while len(self._octets) < count:
            self._draw()
        rest = len(self._octets) - count
        taken = NewIds(self._octets[rest:], self._texts[rest:])
        del self._octets[rest:], self._texts[rest:]
        return taken

    def text(self) -> str:
        """One id as a lower-case UUID."""
        return self(1).texts[0]

    def _draw(self) -> None:
        drawn = bytearray(self._random_bytes(_ID_BYTES * _DRAWN_AT_ONCE))
        for place, table in ((_VERSION_OCTET, _WITH_VERSION), (_VARIANT_OCTET, _WITH_VARIANT)):
            drawn[place::_ID_BYTES] = drawn[place::_ID_BYTES].translate(table)
        self._octets.extend(_apart(drawn))
        self._texts.extend(_texts(drawn))


def _texts(drawn: bytearray) -> Sequence[str]:
    """The texts of all ids: the first digit of every one in one step, then the second, and so on."""
    digits, texts = drawn.hex().encode(), bytearray(_BLANKS)
    for nth, place in enumerate(_DIGITS):
        texts[place :: _TEXT_LENGTH + 1] = digits[nth :: len(_DIGITS)]
    return texts.decode().split()
