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
        self._texts = {size: template.format(values="VALUES " + ",".join([row] * size)) for size in _SIZES}

    def insert(self, db: apsw.Connection, rows: Sequence[tuple[Value, ...]]) -> None:
        """Runs the statement for its effect."""
        for text, values in self._statements(rows):
            db.execute(text, values)

    def look_up(self, db: apsw.Connection, rows: Sequence[tuple[Value, ...]]) -> Iterator[tuple[Any, ...]]:
        """Runs the statement for what it finds."""
        for text, values in self._statements(rows):
            yield from fetch(db, text, values)

    def _statements(self, rows: Sequence[tuple[Value, ...]]) -> Iterator[tuple[str, list[Value]]]:
        start = 0
        for size in _SIZES:
            while len(rows) - start >= size:
                yield self._texts[size], list(chain.from_iterable(rows[start : start + size]))
                start += size
