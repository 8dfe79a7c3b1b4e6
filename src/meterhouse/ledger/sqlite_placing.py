"""Where a group's records are in their table, by columns: what each turn looks at, and the rows in their order.

A record's row has its hour and the number of its series for a key (`sqlite_schema`). A group has hundreds of records,
so no row and no key is made for any of them: only columns, which go into a statement as they are.
"""

from collections.abc import Sequence
from itertools import chain
from operator import itemgetter
from typing import Final, NamedTuple

from meterhouse.core.usage import RecordKey, RecordKeys, Series, keys_by_columns, same_in_all
from meterhouse.ledger.sqlite_rows import Value
from meterhouse.ledger.sqlite_schema import SERIES_BITS

NOWHERE: Final = -(2**63)
"""A key under which nothing is."""


class Placed(NamedTuple):
    """Where a turn's records would be."""

    numbers: Sequence[int]
    """Those of their series."""
    places: Sequence[int]
    """The keys of their rows."""


class Look:
    """What a group looks at in one partition, by columns."""

    __slots__ = ("hours", "named", "series")

    def __init__(self) -> None:
        self.hours: list[int] = []
        self.series: list[Series] = []
        self.named: list[tuple[int, int, int]] = []
        """The keys that a turn named, by their identity; where they begin and end in the columns."""

    def add(self, keys: RecordKeys) -> None:
        """Looks there too."""
        self.hours += keys.hours
        self.series += keys.series

    def add_named(self, keys: Sequence[RecordKey]) -> None:
        """Looks there too, for a turn that named these and lives as long as the group."""
        start = len(self.series)
        self.add(keys_by_columns(keys))
        self.named.append((id(keys), start, len(self.series)))


def places_of(hours: Sequence[int], numbers: Sequence[int]) -> list[int]:
    """The keys of the rows that these hours and series make, one each."""
    only = same_in_all(hours)
    if only is not None:
        first = only << SERIES_BITS
        return [first | number for number in numbers]
    return [(hour << SERIES_BITS) | number for hour, number in zip(hours, numbers, strict=True)]


Run = tuple[Sequence[int], Sequence[int], Sequence[bytes], Sequence[int]]
"""A request's records, as the columns of their table."""


def in_order(runs: list[Run]) -> Sequence[Sequence[Value]]:
    """The columns of all runs, in the order of their keys: a row is found in the page of the one before it."""
    runs.sort(key=itemgetter(0))
    columns = [list(chain.from_iterable(column)) for column in zip(*runs, strict=True)]
    places = columns[0]
    if places == sorted(places):  # sellers name their customers in one order, so that mostly runs do not overlap
        return columns
    order = sorted(range(len(places)), key=places.__getitem__)
    return [[column[place] for place in order] for column in columns]
