"""Many rows in few statements.

Each step of a SQLite statement gives up the interpreter's lock and takes it again. With an event loop at work beside,
taking it again means to wait for the loop's next pause, milliseconds perhaps; so what counts is not the number of rows
but the number of steps. One INSERT takes up to 256 rows in one step (measured beside a busy event loop: 1600 rows in 29
ms, where a step a row takes 109 ms), and a look-up takes its keys as one array or one list of VALUES.
"""

from collections.abc import Iterator, Sequence
from itertools import chain
from typing import Any, Final

import apsw

Value = int | bytes | str | None

_SIZES: Final = tuple(2**power for power in range(8, -1, -1))
"""How many rows a statement takes: powers of two, so that nine prepared statements serve every number of rows."""


def fetch(db: apsw.Connection, text: str, values: "apsw.Bindings" = ()) -> list[tuple[Any, ...]]:
    """All rows of a query. Their types are those of the columns: the tables are STRICT."""
    return db.execute(text, values).fetchall()


class Rows:
    """A statement over any number of rows of one width; `template` has `{values}` where the VALUES list belongs."""

    def __init__(self, template: str, width: int) -> None:
        row = f"({','.join('?' * width)})"
        self._width = width
        self._texts = {size: template.format(values="VALUES " + ",".join([row] * size)) for size in _SIZES}

    def insert(self, db: apsw.Connection, rows: Sequence[tuple[Value, ...]]) -> None:
        """Runs the statement for its effect."""
        for size, start in _pieces(len(rows)):
            db.execute(self._texts[size], _flat(rows[start : start + size]))

    def insert_columns(self, db: apsw.Connection, columns: Sequence[Sequence[Value]]) -> None:
        """The same, of rows that are given by their columns: then no row is ever made."""
        for size, start in _pieces(len(columns[0])):
            values: list[Value] = [None] * (size * self._width)
            for place, column in enumerate(columns):
                values[place :: self._width] = column[start : start + size]
            db.execute(self._texts[size], values)

    def look_up(self, db: apsw.Connection, rows: Sequence[tuple[Value, ...]]) -> Iterator[tuple[Any, ...]]:
        """Runs the statement for what it finds."""
        for size, start in _pieces(len(rows)):
            yield from fetch(db, self._texts[size], _flat(rows[start : start + size]))


def _flat(rows: Sequence[tuple[Value, ...]]) -> list[Value]:
    return list(chain.from_iterable(rows))


def _pieces(count: int) -> Iterator[tuple[int, int]]:
    """The sizes of statements that take so many rows together, and which row each begins with."""
    start = 0
    for size in _SIZES:
        while count - start >= size:
            yield size, start
            start += size
