"""Quantities and money are exact: held against `Decimal` and `Fraction`, which are exact too and share no code."""

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.quantity import (
    amount_units,
    micros_of,
    micros_of_decimal,
    price_units_of,
    text_of_micros,
    text_of_price_units,
)

quantities: Final = st.from_regex(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?", fullmatch=True)
prices: Final = st.from_regex(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,8})?", fullmatch=True)
EXACT: Final = Context(prec=200)


@pytest.mark.parametrize(
    ("text", "micros"),
    [
        ("0", 0),
        ("0.0", 0),
        ("17", 17_000_000),
        ("17.0", 17_000_000),
        ("17.00", 17_000_000),
        ("0.000001", 1),
        ("0.1", 100_000),
        ("2147483647.999999", 2_147_483_647_999_999),
        ("9999999999.999999", 9_999_999_999_999_999),
    ],
)
def test_a_decimal_is_a_whole_number_of_millionths(text: str, micros: int) -> None:
    """Texts that differ in their zeros alone are one quantity."""
    assert micros_of_decimal(text) == micros


@pytest.mark.parametrize(
    "text",
    [
        "",
        "017",
        "00",
        ".5",
        "5.",
        "-1",
        "+1",
        "1e3",
        "1,5",
        " 1",
        "1 ",
        "1\n",
        "0.1234567",
        "12345678901",
        "NaN",
        "\u0661",
    ],
)
def test_what_is_off_the_pattern_is_no_quantity(text: str) -> None:
    """What the model's pattern refuses raises ValueError, however int() or Decimal() would take it."""
    with pytest.raises(ValueError, match="is not a decimal quantity"):
        micros_of_decimal(text)


@pytest.mark.parametrize(
    ("whole", "decimal", "micros"),
    [
        (None, None, 0),
        (0, None, 0),
        (None, "0", 0),
        (17, None, 17_000_000),
        (None, "17.5", 17_500_000),
        (2147483647, None, 2_147_483_647_000_000),
    ],
)
def test_a_quantity_is_given_whole_or_decimal_or_not_at_all(
    whole: int | None, decimal: str | None, micros: int
) -> None:
    """Absent means 0."""
    assert micros_of(whole, decimal) == micros


@given(quantities)
def test_a_quantity_is_what_decimal_says_it_is(text: str) -> None:
    """No digit is lost or made up between text and millionths."""
    assert micros_of_decimal(text) == Decimal(text) * 1_000_000


@given(quantities, quantities)
def test_quantities_compare_and_add_by_value(one: str, other: str) -> None:
    """Order, equality and sums are those of the exact decimals."""
    here, there = micros_of_decimal(one), micros_of_decimal(other)
    assert (here < there) == (Decimal(one) < Decimal(other))
    assert (here == there) == (Decimal(one) == Decimal(other))
    assert here + there == EXACT.add(Decimal(one), Decimal(other)) * 1_000_000


@given(st.integers())
def test_a_quantity_is_written_plainly(micros: int) -> None:
    """The text has the exact value, no exponent, no needless zero, and reads back the same."""
    text = text_of_micros(micros)
    assert Fraction(text) == Fraction(micros, 1_000_000)
    assert set(text) <= set("-0123456789.")
    assert "." not in text or text[-1] not in "0."
    if 0 <= micros < 10**16:
        assert micros_of_decimal(text) == micros


@given(prices)
def test_a_price_is_what_decimal_says_it_is(text: str) -> None:
    """Prices have up to eight places and are exact too."""
    units = price_units_of(text)
    assert units == EXACT.multiply(Decimal(text), Decimal(100_000_000))
    assert Fraction(text_of_price_units(units)) == Fraction(text)


@pytest.mark.parametrize("text", ["", "-0.25", "1e2", "0.123456789", "01", ".5", "5.", "0.25\n", "NaN", "1" * 19, "$1"])
def test_what_is_no_plain_decimal_is_no_price(text: str) -> None:
    """A price is a plain decimal, as a quantity is, with up to eight places."""
    with pytest.raises(ValueError, match="is not a price"):
        price_units_of(text)


@given(st.integers(0, 10**22), st.integers(0, 10**14))
def test_an_amount_is_rounded_once_half_to_even(quantity_micros: int, price_units: int) -> None:
    """Quantity x price, exact, then rounded at the eighth decimal."""
    exact = EXACT.multiply(Decimal(quantity_micros), Decimal(price_units)).scaleb(-6, EXACT)
    assert amount_units(quantity_micros, price_units) == exact.quantize(Decimal(1), ROUND_HALF_EVEN, EXACT)


@pytest.mark.parametrize(
    ("quantity", "price", "amount"),
    [
        ("0", "0.25", "0"),
        ("3", "0.25", "0.75"),
        ("3.5", "0.00000001", "0.00000004"),  # 3.5 units of the last place: to the even 4
        ("2.5", "0.00000001", "0.00000002"),  # 2.5: to the even 2
        ("0.5", "0.00000001", "0"),
        ("1.5", "0.00000001", "0.00000002"),
        ("0.500001", "0.00000001", "0.00000001"),
        ("9999999999.999999", "0.33333333", "3333333299.99999967"),
    ],
)
def test_amounts_at_the_edge_of_the_last_place(quantity: str, price: str, amount: str) -> None:
    """Halves go to the even neighbour, and large amounts keep their last cent."""
    assert text_of_price_units(amount_units(micros_of_decimal(quantity), price_units_of(price))) == amount
