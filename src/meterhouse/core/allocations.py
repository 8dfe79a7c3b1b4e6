"""Allocations and tags: how a record's quantity is split, and what may label a part (contract §5).

Two steps, in this order: every tag of every record is judged before any allocation is.
"""

import re
from collections.abc import Sequence
from typing import Final

from meterhouse.core.profile import Profile
from meterhouse.core.quantity import micros_of, text_of_micros
from meterhouse.core.shapes import TAG_PATTERN, Tag, UsageAllocation
from meterhouse.core.usage import Allotment

_TAG_TEXT: Final = re.compile(TAG_PATTERN.removesuffix("$"))
_KEY_CHARACTERS: Final = 100
_VALUE_CHARACTERS: Final = 256
_RESERVED_PREFIX: Final = "aws:"


def tag_breach(allocations: Sequence[UsageAllocation] | None, profile: Profile) -> str | None:
    """What is wrong with the first bad tag of a record, as a clause; None where nothing is."""
    for number, allocation in enumerate(allocations or (), 1):
        if allocation.tags is not None:
            breach = _tags_breach(allocation.tags, profile)
            if breach is not None:
                return f"usageAllocations.{number}: {breach}"
    return None


def _tags_breach(tags: Sequence[Tag], profile: Profile) -> str | None:
    if not 1 <= len(tags) <= profile.tags_limit:
        return f"{len(tags)} tags, where 1 to {profile.tags_limit} may be given"
    if len({tag.key for tag in tags}) < len(tags):
        return "a tag key is given twice"
    return next(filter(None, map(_tag_breach, tags)), None)


def _tag_breach(tag: Tag) -> str | None:
    for what, text, limit in (("key", tag.key, _KEY_CHARACTERS), ("value", tag.value, _VALUE_CHARACTERS)):
        if not 1 <= len(text) <= limit:
            return f"a tag {what} of {len(text)} characters, where 1 to {limit} may be given"
        if _TAG_TEXT.fullmatch(text) is None:
            return f"a tag {what} with a character off the pattern {TAG_PATTERN}"
    if tag.key.lower().startswith(_RESERVED_PREFIX):
        return f"a tag key beginning with {_RESERVED_PREFIX}"
    return None


def allocation_breach(
    allocations: Sequence[UsageAllocation] | None, whole: int | None, decimal: str | None, profile: Profile
) -> str | None:
    """What is wrong with a record's allocations beside its quantity (given whole, as a decimal, or not at all)."""
    if allocations is None:
        return None
    if not 1 <= len(allocations) <= profile.allocations_limit:
        return f"{len(allocations)} allocations, where 1 to {profile.allocations_limit} may be given"
    for number, one in enumerate(allocations, 1):
        if one.allocated_usage_quantity is not None and one.allocated_usage_quantity_as_decimal is not None:
            return f"usageAllocations.{number} has a whole and a decimal quantity"
        if whole is not None and one.allocated_usage_quantity_as_decimal is not None:
            return f"usageAllocations.{number} is decimal, its record's quantity is whole"
        if decimal is not None and one.allocated_usage_quantity is not None:
            return f"usageAllocations.{number} is whole, its record's quantity is decimal"
    parts = allotments(allocations)
    total, wanted = sum(part.quantity_micros for part in parts), micros_of(whole, decimal)
    if total != wanted:
        return f"the allocations add up to {text_of_micros(total)}, the quantity is {text_of_micros(wanted)}"
    if len({frozenset(part.tags) for part in parts}) < len(parts):
        return "two allocations have the same set of tags"
    return None


def allotments(allocations: Sequence[UsageAllocation] | None) -> tuple[Allotment, ...]:
    """The parts as they are kept; one without a quantity counts as 0."""
    return tuple(
        Allotment(
            micros_of(one.allocated_usage_quantity, one.allocated_usage_quantity_as_decimal),
            tuple((tag.key, tag.value) for tag in one.tags or ()),
        )
        for one in allocations or ()
    )
