"""Allocations and tags: a row a rule, and the laws of a right set (contract §5)."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.core.allocations import allocation_breach, allotments, tag_breach
from meterhouse.core.profile import NEWEST, PROFILES
from meterhouse.core.quantity import text_of_micros
from meterhouse.core.shapes import Tag, UsageAllocation
from meterhouse.core.usage import Allotment


def tagged(*tags: tuple[str, str]) -> list[UsageAllocation]:
    """One allocation with these tags."""
    return [UsageAllocation(tags=[Tag(key, value) for key, value in tags])]


def whole(quantity: int, *tags: tuple[str, str]) -> UsageAllocation:
    """A part given whole."""
    return UsageAllocation(quantity, tags=[Tag(key, value) for key, value in tags] or None)


def decimal(quantity: str, *tags: tuple[str, str]) -> UsageAllocation:
    """A part given as a decimal."""
    return UsageAllocation(None, quantity, [Tag(key, value) for key, value in tags] or None)


IT, HR = ("BusinessUnit", "IT"), ("BusinessUnit", "HR")
PATTERN: Final = "off the pattern"

# allocations, the first thing wrong with their tags
TAGS: Final = [
    (None, None),
    ([], None),
    ([UsageAllocation()], None),
    (tagged(IT), None),
    (tagged(*((f"key-{number}", "a") for number in range(5))), None),
    (tagged(*((f"key-{number}", "a") for number in range(6))), "6 tags"),
    ([UsageAllocation(tags=[])], "0 tags"),
    (tagged(("k" * 100, "v" * 256)), None),
    (tagged(("k" * 101, "v")), "key of 101 characters"),
    (tagged(("k", "v" * 257)), "value of 257 characters"),
    (tagged(("", "v")), "key of 0 characters"),
    (tagged(("k", "")), "value of 0 characters"),
    (tagged(("a-zA-Z0-9+ -=._:/@", "!\"#$%&'()*+,-./0123456789:;<=")), None),
    (tagged(("k>", "v")), PATTERN),
    (tagged(("k?", "v")), PATTERN),
    (tagged(("k", "v[")), PATTERN),
    (tagged(("k", "v\\")), PATTERN),
    (tagged(("k", "~")), PATTERN),
    (tagged(("k", "é")), PATTERN),
    (tagged(("k", "\u0661")), PATTERN),
    (tagged(("k\n", "v")), PATTERN),
    (tagged(("k", "v\n")), PATTERN),
    (tagged(("k", "a\tb")), PATTERN),
    (tagged((" ", " ")), None),
    (tagged(IT, HR), "given twice"),
    (tagged(IT, IT), "given twice"),
    (tagged(("k", "v"), ("K", "v")), None),
    (tagged(("aws:k", "v")), "beginning with aws:"),
    (tagged(("AWS:", "v")), "beginning with aws:"),
    (tagged(("aWs:createdBy", "v")), "beginning with aws:"),
    (tagged(("aws", "v"), ("aws-k", "aws:v")), None),
    ([*tagged(IT), *tagged(IT), *tagged(("aws:k", "v"))], "usageAllocations.3: a tag key beginning with aws:"),
]


@pytest.mark.parametrize(("allocations", "breach"), TAGS)
def test_what_may_label_a_part(allocations: list[UsageAllocation] | None, breach: str | None) -> None:
    """Each rule of tags, at its edge and beyond it; the first bad tag is named."""
    found = tag_breach(allocations, NEWEST)
    assert (found is None) == (breach is None)
    assert breach is None or breach in (found or "")


TWICE: Final = "whole and a decimal"
KIND_OF_WHOLE: Final = "is decimal, its record's quantity is whole"
KIND_OF_DECIMAL: Final = "is whole, its record's quantity is decimal"
SUM: Final = "add up to"
SAME: Final = "same set of tags"

# the record's quantity whole, as a decimal, its allocations, what is wrong with them
ALLOCATIONS: Final = [
    (5, None, None, None),
    (5, None, [], "0 allocations"),
    (None, None, [], "0 allocations"),
    (5, None, [whole(5)], None),
    (5, None, [whole(2, IT), whole(3)], None),
    (5, None, [whole(2, IT), whole(3, HR)], None),
    (5, None, [whole(2, IT), whole(3, HR), whole(0)], None),
    (5, None, [whole(4)], f"{SUM} 4, the quantity is 5"),
    (5, None, [whole(6)], SUM),
    (5, None, [whole(2, IT), whole(4)], SUM),
    (0, None, [whole(0)], None),
    (0, None, [UsageAllocation()], None),
    (0, None, [decimal("0")], "is decimal, its record's quantity is whole"),
    (None, "0", [whole(0)], "is whole, its record's quantity is decimal"),
    (0, None, [whole(1)], SUM),
    (None, None, [whole(0)], None),
    (None, None, [decimal("0.00")], None),
    (None, None, [whole(0, IT), decimal("0", HR)], None),
    (None, None, [UsageAllocation()], None),
    (None, None, [whole(1)], SUM),
    (None, None, [decimal("0.000001")], SUM),
    (None, "3.5", [decimal("2.5", IT), decimal("1.0")], None),
    (None, "3.5", [decimal("3.50")], None),
    (None, "3.500000", [decimal("3.5")], None),
    (None, "17.0", [decimal("16.999999", IT), decimal("0.000001")], None),
    (None, "17", [decimal("16.999999")], SUM),
    (None, "9999999999.999999", [decimal("9999999999", IT), decimal("0.999999")], None),
    (5, None, [decimal("5")], KIND_OF_WHOLE),
    (5, None, [whole(5), decimal("0", IT)], KIND_OF_WHOLE),
    (None, "5", [whole(5)], KIND_OF_DECIMAL),
    (None, "5", [decimal("5"), whole(0, IT)], KIND_OF_DECIMAL),
    (5, None, [whole(5), UsageAllocation(tags=[Tag(*IT)])], None),
    (None, "5", [decimal("5"), UsageAllocation(tags=[Tag(*IT)])], None),
    (5, None, [UsageAllocation(5, "0")], TWICE),
    (None, "5", [UsageAllocation(0, "5")], TWICE),
    (None, None, [UsageAllocation(0, "0")], TWICE),
    (5, None, [whole(2), whole(3)], SAME),
    (5, None, [whole(2, IT), whole(3, IT)], SAME),
    (5, None, [whole(2, IT, ("a", "b")), whole(3, ("a", "b"), IT)], SAME),
    (5, None, [whole(2, IT), whole(3, IT, ("a", "b"))], None),
    (5, None, [whole(5), UsageAllocation()], SAME),
    (2500, None, [whole(1, ("n", str(number))) for number in range(2500)], None),
    (2501, None, [whole(1, ("n", str(number))) for number in range(2501)], "2501 allocations"),
]


@pytest.mark.parametrize(("quantity", "as_decimal", "allocations", "breach"), ALLOCATIONS)
def test_how_a_quantity_may_be_split(
    quantity: int | None, as_decimal: str | None, allocations: list[UsageAllocation] | None, breach: str | None
) -> None:
    """Each rule of allocations, at its edge and beyond it."""
    found = allocation_breach(allocations, quantity, as_decimal, NEWEST)
    assert (found is None) == (breach is None)
    assert breach is None or breach in (found or "")


@pytest.mark.parametrize(("profile", "limit"), [("2026-11", 2500), ("2026-06", 2500), ("2020-11", 500)])
def test_a_profile_bounds_how_many_parts_there_are(profile: str, limit: int) -> None:
    """The bound is that of the dated rules."""
    parts = [whole(1, ("n", str(number))) for number in range(limit + 1)]
    assert allocation_breach(parts[:-1], limit, None, PROFILES[profile]) is None
    assert allocation_breach(parts, limit + 1, None, PROFILES[profile]) is not None


tag_sets: Final = st.dictionaries(st.sampled_from("abcde"), st.sampled_from("xy"), min_size=1, max_size=3)
parts: Final = st.lists(
    st.tuples(st.integers(0, 10**16 - 1), st.none() | tag_sets),
    min_size=1,
    max_size=6,
    unique_by=lambda part: frozenset((part[1] or {}).items()),
)


@given(parts, st.integers(-1, 1))
def test_a_split_is_right_where_it_adds_up_exactly(parts: list[tuple[int, dict[str, str] | None]], off: int) -> None:
    """Any distinct tag sets are fine where the parts add up to the quantity, and no millionth may be off."""
    allocations = [
        UsageAllocation(None, text_of_micros(micros), None if labels is None else [Tag(*tag) for tag in labels.items()])
        for micros, labels in parts
    ]
    total = sum(micros for micros, _ in parts) + off
    if 0 <= total < 10**16:
        assert tag_breach(allocations, NEWEST) is None
        assert (allocation_breach(allocations, None, text_of_micros(total), NEWEST) is None) == (off == 0)
    assert allotments(allocations) == tuple(
        Allotment(micros, tuple((labels or {}).items())) for micros, labels in parts
    )


def test_what_is_kept_of_a_part() -> None:
    """Its quantity in millionths and its tags as said; one without a quantity counts as 0."""
    assert allotments(None) == ()
    assert allotments([whole(2, IT, ("a", "b")), decimal("0.5"), UsageAllocation()]) == (
        Allotment(2_000_000, (IT, ("a", "b"))),
        Allotment(500_000),
        Allotment(0),
    )
