"""The numbers of series in the SQLite engine: what is in memory, what is looked up in the file, what is given out.

A record's key holds a small number in place of its series (`sqlite_schema`). What is known of them belongs to the
writing thread, and holds *after* the transaction in hand.

  - Memory is bounded by generations, however many series a ledger has: what is used is young; when half the bound is
    young, that becomes old, and what was old and not used since is dropped. Never within a transaction: a number that
    was found for its reading is still there for its writing.
  - After a transaction that failed everything is forgotten, and read again by whoever comes next.
  - No number is given twice, not even where what it was given in failed or was emptied: a reader that saw a number
    before that must not take it for another's.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import apsw
from msgspec.structs import astuple

from meterhouse.core.usage import BY_LICENSE, BY_PRODUCT, Series
from meterhouse.ledger.sqlite_rows import Rows

SERIES_KEPT: Final = 200_000
"""How many series have their numbers in memory (about 100 MB): bounded, however many a ledger has."""

_FIND_SERIES: Final = Rows(
    "SELECT wanted.column1, s.id FROM ({values}) AS wanted "
    "CROSS JOIN series AS s ON s.partition = wanted.column2 AND s.license = wanted.column3 AND "
    "s.customer = wanted.column4 AND s.dimension = wanted.column5 AND s.workload = wanted.column6 AND "
    "s.token = wanted.column7",
    7,
)
_ADD_SERIES: Final = Rows(
    "INSERT INTO series (id, partition, license, customer, dimension, workload, token) {values}", 7
)


class Given(NamedTuple):
    """Numbers for series, of which some may be new."""

    numbers: Sequence[int]
    forms: int
    """The forms of naming usage that the new ones have: `BY_PRODUCT`, `BY_LICENSE`, both or neither."""


class _Generations:
    """The numbers of one partition's series that are in memory."""

    __slots__ = ("old", "young")

    def __init__(self) -> None:
        self.young: dict[Series, int] = {}
        self.old: dict[Series, int] = {}


class SeriesNumbers:
    """The numbers of all partitions' series; a partition is named by its own number."""

    def __init__(self, bound: int = SERIES_KEPT) -> None:
        self._bound = bound
        self._next = 1
        self.forget()

    def __len__(self) -> int:
        """How many are in memory."""
        return sum(len(known.young) + len(known.old) for known in self._partitions.values())

    def forget(self) -> None:
        """Forgets everything but which numbers were given out."""
        self._partitions: dict[int, _Generations] = {}
        self._young = 0
        self._new: list[tuple[int | str, ...]] = []

    def read(self, db: apsw.Connection) -> None:
        """Learns which numbers the file has. Goes before the first number given out, and after each `forget`."""
        self._next = max(self._next, db.execute("SELECT ifnull(max(id), 0) + 1 FROM series").get)

    def make_room(self) -> None:
        """Between two transactions: lets go of what was not used for long, where the bound asks for it."""
        if self._young * 2 >= self._bound:
            for known in self._partitions.values():
                known.old, known.young = known.young, {}
            self._young = 0

    def young(self, partition: int, series: Sequence[Series]) -> list[int] | None:
        """The numbers of series if all of them were used lately, as mostly; else None, and `kept` or `given` tells."""
        try:
            return list(map(self._of(partition).young.__getitem__, series))
        except KeyError:
            return None

    def known(self, partition: int, series: Sequence[Series]) -> list[int | None]:
        """The numbers of series, None where one is not in memory."""
        known = self._of(partition)
        numbers = [known.young.get(each) for each in series]
        if None in numbers and known.old:
            for place, each in enumerate(series):
                if numbers[place] is None and (number := known.old.get(each)) is not None:
                    self._learn(known, each, number)
                    numbers[place] = number
        return numbers

    def kept(self, db: apsw.Connection, partition: int, series: Sequence[Series]) -> list[int | None]:
        """The numbers of series, None where one is not kept yet."""
        numbers = self.known(partition, series)
        if None in numbers:
            self._look_up(db, partition, [each for each in set(series) if each not in self._of(partition).young])
            numbers = self.known(partition, series)
        return numbers

    def given(self, partition: int, series: Sequence[Series]) -> Given:
        """The numbers of series that were looked for (`kept`); what has none is given one, for `add` to keep."""
        numbers = self.known(partition, series)
        settled = [number for number in numbers if number is not None]
        if len(settled) == len(numbers):
            return Given(settled, 0)
        known, forms = self._of(partition), 0
        for each in series:
            if each not in known.young:
                self._learn(known, each, self._next)
                self._new.append((self._next, partition, *astuple(each)))
                forms |= BY_LICENSE if each.license else BY_PRODUCT
                self._next += 1
        return Given([known.young[each] for each in series], forms)

    def add(self, db: apsw.Connection) -> None:
        """Keeps the series that were given numbers."""
        new, self._new = self._new, []
        _ADD_SERIES.insert(db, new)

    def _of(self, partition: int) -> _Generations:
        known = self._partitions.get(partition)
        if known is None:
            known = self._partitions[partition] = _Generations()
        return known

    def _learn(self, known: _Generations, series: Series, number: int) -> None:
        known.young[series] = number
        self._young += 1

    def _look_up(self, db: apsw.Connection, partition: int, series: Sequence[Series]) -> None:
        """Learns the numbers of those that are in the file."""
        wanted = [(place, partition, *astuple(each)) for place, each in enumerate(series)]
        for place, number in _FIND_SERIES.look_up(db, wanted):
            self._learn(self._of(partition), series[place], number)
