"""Following the journals: what is there, then what comes, none left out and none twice.

Each journal, of one product in one Region, is read on from the last position that was seen: positions have no gaps, so
none is missed. Which journals there are is told by the list of all of them, which is ordered by when requests were
received. A request may be kept a moment after another that was received later, so the list's last parts are looked at
again each time: a journal that begins so is found all the same.
"""

from collections.abc import Iterator
from typing import Final

import msgspec
from msgspec import Raw, Struct

from meterhouse.cli.calling import Caller

MOST: Final = 1000
"""The most rows that the API answers at a time."""
LOOKED_AT_AGAIN: Final = 100
"""Rows at the list's end; up to twice as many are looked at each time."""

Journal = tuple[str, str]
"""A product code and a Region."""


class _Page(Struct):
    items: list[Raw]
    next: str | None


class _Place(Struct):
    """Where a row stands."""

    product: str
    region: str
    position: int


class Following:
    """Journals, and how far each was read: all, or those of a product or Region."""

    def __init__(self, caller: Caller, product: str | None, region: str | None, after: str | None) -> None:
        self._caller = caller
        self._product = product
        self._region = region
        self._seen: dict[Journal, str] = {}
        self._cursors: tuple[str | None, str | None] = None, None
        """Where in the list of all the part before the last begins, and the last."""
        if product is not None and region is not None:
            self._seen[product, region] = after or "0"

    def new_rows(self) -> Iterator[list[Raw]]:
        """The rows behind those that were seen, some at a time; journal by journal, each in its order."""
        if self._product is None or self._region is None:
            self._discover()
        for product, region in list(self._seen):
            yield from self._rest_of((product, region))

    def _rest_of(self, journal: Journal) -> Iterator[list[Raw]]:
        product, region = journal
        while True:
            page = self._page(product, region, self._seen[journal], MOST)
            if page.items:
                yield page.items
                self._seen[journal] = str(msgspec.json.decode(page.items[-1], type=_Place).position)
            if page.next is None:
                return

    def _discover(self) -> None:
        cursor = self._cursors[0]
        while True:
            page = self._page(self._product, self._region, cursor, LOOKED_AT_AGAIN)
            for row in page.items:
                place = msgspec.json.decode(row, type=_Place)
                self._seen.setdefault((place.product, place.region), "0")
            if page.next is None:
                return
            self._cursors, cursor = (cursor, page.next), page.next

    def _page(self, product: str | None, region: str | None, after: str | None, limit: int) -> _Page:
        query = {"product": product, "region": region, "after": after, "limit": limit}
        return msgspec.json.decode(self._caller.call("GET", "/journal", query), type=_Page)
