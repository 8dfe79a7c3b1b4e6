"""Exact quantities and money: integers of millionths (usage) and of hundred-millionths (prices, amounts).

A quantity has at most six decimals and a price at most eight (contract §3, §4), so both are whole numbers of a small
unit, and no binary floating point ever touches them. Python integers do not overflow; a sum is as exact as its parts.
"""

import re
from functools import lru_cache
from typing import Final

from meterhouse.core.shapes import DECIMAL_PATTERN

MICROS: Final = 1_000_000
"""Millionths in one unit of usage; also microseconds in a second."""
PRICE_UNITS: Final = 100_000_000
"""Hundred-millionths in one US dollar: the smallest price, and the place to which amounts are rounded."""

PRICE_PATTERN: Final = r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,8})?"
"""The form of a price, all of it."""

_DECIMAL: Final = re.compile(DECIMAL_PATTERN.removesuffix("$") + r"\Z")
_PRICE: Final = re.compile(PRICE_PATTERN)


@lru_cache(maxsize=16_384)
def micros_of_decimal(text: str) -> int:
    """The millionths in a decimal quantity such as `"17.5"`; ValueError where it is off the model's pattern."""
    if not _DECIMAL.match(text):
        raise ValueError(f"{text!r} is not a decimal quantity")
    return _scaled(text, 6)


def micros_of(whole: int | None, decimal: str | None) -> int:
    """The millionths in a quantity given whole, as a decimal, or not at all (which means 0, contract §4)."""
    if decimal is not None:
        return micros_of_decimal(decimal)
    return (whole or 0) * MICROS


def text_of_micros(micros: int) -> str:
    """A quantity as a plain decimal without needless zeros: `17000000` -> `"17"`, `500000` -> `"0.5"`."""
    return _text(micros, 6)


def micros_of_text(text: str) -> int:
    """The millionths in what `text_of_micros` made, whatever its size."""
    return _scaled(text, 6)


def price_units_of(text: str) -> int:
    """The hundred-millionths of a dollar in a price such as `"0.25"`; ValueError where it is no plain decimal of at
    most eight places.
    """
    if not _PRICE.fullmatch(text):
        raise ValueError(f"{text!r} is not a price: a plain decimal with up to 8 places is wanted")
    return _scaled(text, 8)


def text_of_price_units(units: int) -> str:
    """A price or amount as a plain decimal without needless zeros."""
    return _text(units, 8)


def amount_units(quantity_micros: int, price_units: int) -> int:
    """What a quantity costs, in hundred-millionths of a dollar, rounded once, half to even (catalog, answers)."""
    units, rest = divmod(quantity_micros * price_units, MICROS)
    is_beyond_half = 2 * rest > MICROS or (2 * rest == MICROS and units % 2 == 1)
    return units + is_beyond_half


def _scaled(text: str, places: int) -> int:
    whole, _, fraction = text.partition(".")
    return int(whole + fraction.ljust(places, "0"))


def _text(scaled: int, places: int) -> str:
    sign, digits = ("-", -scaled) if scaled < 0 else ("", scaled)
    whole, fraction = divmod(digits, 10**places)
    return f"{sign}{whole}.{fraction:0{places}d}".rstrip("0").rstrip(".") if fraction else f"{sign}{whole}"
