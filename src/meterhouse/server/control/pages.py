"""Lists in parts: the parameters by which a part is asked for, and the cursors by which one goes on.

A cursor names a place in the list's order, not a state of it: it stays valid for ever, whatever is added meanwhile.
"""

import asyncio
from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error as BadBase64
from collections.abc import Mapping, Sequence
from heapq import nsmallest
from typing import Annotated, Final, NamedTuple, TypeVar

import msgspec
from msgspec import UNSET, Meta, UnsetType

from meterhouse.core.shapes import INT64_MAX
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import Row

fact_type = TypeVar("fact_type")
place_type = TypeVar("place_type", bound=tuple[int | str, ...])

DEFAULT_LIMIT: Final = 100
MANY: Final = 10_000
"""Lists longer than this are sorted on a thread."""

Limit = Annotated[
    int,
    Meta(
        ge=1,
        le=1000,
        description="How many at most; 100 when absent.",
        extra={"wanted": "a whole number from 1 to 1000"},
    ),
]
After = Annotated[str, Meta(description="Where to go on: the `next` of the part before.")]


class PageQuery(Row, kw_only=True):
    """Which part of a list."""

    after: After | UnsetType = UNSET
    limit: Limit = DEFAULT_LIMIT


class _Key(NamedTuple):
    """The place of a fact in a list ordered by key."""

    key: str


async def page_of(facts: Mapping[str, fact_type], query: PageQuery) -> tuple[list[fact_type], str | None]:
    """A part of facts in the order of their keys, and the cursor of the next part."""
    after = None if query.after is UNSET else place_of_cursor(query.after, _Key).key
    keys = list(facts)

    def first() -> list[str]:
        behind = keys if after is None else (key for key in keys if key > after)
        return nsmallest(query.limit + 1, behind)

    found = await asyncio.to_thread(first) if len(keys) > MANY else first()
    shown = found[: query.limit]
    following = cursor_of(_Key(shown[-1])) if len(found) > len(shown) else None
    # A credential may have been deleted while others were sorted.
    return [facts[key] for key in shown if key in facts], following


def cursor_of(place: Sequence[int | str]) -> str:
    """A place as a program hands it back."""
    return urlsafe_b64encode(msgspec.msgpack.encode(tuple(place))).decode().rstrip("=")


def place_of_cursor(cursor: str, form: type[place_type]) -> place_type:
    """The place that a cursor names. Raises Refused where none was given out like this."""
    try:
        packed = urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        place = msgspec.msgpack.decode(packed, type=form)
    except (BadBase64, UnicodeError, msgspec.DecodeError):
        raise bad_cursor() from None
    if any(isinstance(part, int) and part > INT64_MAX for part in place):
        raise bad_cursor()
    return place


def bad_cursor() -> Refused:
    """A cursor was made up."""
    return Refused(RefusalKind.INVALID, "no `next` of this list was ever like this", "after")
