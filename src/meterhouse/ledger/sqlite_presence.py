"""Where the SQLite engine has a record, as far as memory tells: so that most look-ups need no look into the file.

Nearly every record is new, and of an hour that began since the ledger was opened. Of such an hour all records went
through this process: a byte for each number of a series says whether there is one. An hour that has records in the file
when it is opened is looked up there, and so is one that was let go of; from the next hour on memory tells again.

It belongs to the writing thread, holds *after* the transaction in hand, and is forgotten with one that fails. Should it
ever miss a record, the table's own key refuses the second one.
"""

from collections.abc import Sequence
from operator import itemgetter
from typing import Final

import apsw

from meterhouse.core.usage import same_in_all
from meterhouse.ledger.sqlite_schema import SERIES_BITS

HOURS_KEPT: Final = 8
"""How many hours are in memory: usage may be reported for six (contract §4)."""
SERIES_TOLD: Final = 2**21
"""Of so many series, those with the smallest numbers, memory tells: 16 MiB at the most."""

_ALWAYS: Final = -(2**62)


class Presence:
    """In which hours series have records. A byte is no bit, but is found and set in a fraction of the time."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Knows nothing any more; `read` comes before anything is asked."""
        self._since: int | None = None
        self._hours: dict[int, bytearray] = {}

    def read(self, db: apsw.Connection) -> None:
        """Where nothing is known, begins with what the file has: of hours behind the last in it, there is nothing."""
        if self._since is None:
            last = db.execute("SELECT max(key) FROM usage_records").get
            self._since = _ALWAYS if last is None else (last >> SERIES_BITS) + 1

    def absent(self, hours: Sequence[int], numbers: Sequence[int]) -> bool:
        """Whether certainly none of the records is there that these hours and series make, one each."""
        only = same_in_all(hours)
        if only is not None:
            return self._absent(only, numbers)
        return all(self._absent(hour, (number,)) for hour, number in zip(hours, numbers, strict=True))

    def add(self, hours: Sequence[int], numbers: Sequence[int]) -> None:
        """These records are there now."""
        for hour in {*hours}:
            if self._tells_of(hour) and hour not in self._hours:
                self._hours[hour] = bytearray()
                self._let_go()
        for hour, number in zip(hours, numbers, strict=True):
            marks = self._hours.get(hour)
            if marks is not None and number < SERIES_TOLD:
                if number >= len(marks):
                    marks.extend(bytes(min(number + 1, SERIES_TOLD - len(marks))))  # twice as far, so it grows seldom
                marks[number] = 1

    def _absent(self, hour: int, numbers: Sequence[int]) -> bool:
        if not self._tells_of(hour):
            return False
        marks = self._hours.get(hour)
        if marks is None:
            return max(numbers) < SERIES_TOLD
        try:
            found = itemgetter(0, *numbers)(marks)
        except IndexError:  # where marks end, or telling does
            return max(numbers) < SERIES_TOLD and not any(marks[number] for number in numbers if number < len(marks))
        return not any(found)

    def _tells_of(self, hour: int) -> bool:
        return self._since is not None and hour >= self._since

    def _let_go(self) -> None:
        """Keeps to the bound: the oldest hour is looked up in the file again, and so are those before it."""
        if len(self._hours) > HOURS_KEPT:
            oldest = min(self._hours)
            del self._hours[oldest]
            self._since = oldest + 1
