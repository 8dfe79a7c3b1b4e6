"""Answers for people: lists as tables, one thing as its members, times and money as people read them.

What is told is never cut and never broken: where a table is wider than the terminal, each row is told as one thing is,
a line a member; in a pipe a table is as wide as it must be. Nothing that was answered can steer the terminal.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

if TYPE_CHECKING:
    from rich.console import Console

NOTHING: Final = "-"
"""What stands where there is no value."""

Row = Mapping[str, Any]
Say = Callable[[Any], str]
"""From a member of an answer to what people read."""


def plain(value: Any) -> str:
    """Text as it is, but for what would steer the terminal; lists with commas."""
    match value:
        case None | "" | []:
            return NOTHING
        case bool():
            return "yes" if value else "no"
        case list():
            return ", ".join(plain(one) for one in value)
        case _:
            return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in str(value))


def instant(value: str | None) -> str:
    """`2026-11-30 23:59:59 UTC`, fractions of a second left out."""
    if value is None:
        return NOTHING
    return f"{datetime.fromisoformat(value).astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"


def number(value: str | int | None) -> str:
    """`1,234.5`: exact, in groups of three."""
    return NOTHING if value is None else f"{Decimal(value):,f}"


def money(value: str | None) -> str:
    """`$1,234.50`: US dollars, exact, at least the cents."""
    if value is None:
        return NOTHING
    dollars, _, cents = number(value).partition(".")
    return f"${dollars}.{cents:0<2}"


def count(value: Sequence[Any] | None) -> str:
    """How many there are."""
    return number(len(value or ()))


class Column(NamedTuple):
    """A member of an answer, and how it is told."""

    title: str
    member: str
    say: Say = plain
    listed: bool = True
    """Whether a table has it; one thing alone is told with all its members."""
    right: bool = False
    """Whether it stands to the right in a table, as numbers do."""

    def of(self, row: Row) -> str:
        """What is told of a row."""
        return self.say(row.get(self.member))


class Listing:
    """A table that is told in parts, as they come; each part is at least as wide as those before."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self._columns = [column for column in columns if column.listed]
        self._widths = [len(column.title) for column in self._columns]
        self._told = 0

    def tell(self, rows: Sequence[Row]) -> None:
        """Some rows more."""
        from rich.cells import cell_len  # what paints tables is imported for tables alone: programs want none
        from rich.console import Console

        if not rows:
            return
        lines = [[column.of(row) for column in self._columns] for row in rows]
        self._widths = [
            max(width, *map(cell_len, cells))
            for width, cells in zip(self._widths, zip(*lines, strict=True), strict=True)
        ]
        console = Console(highlight=False)
        width = sum(self._widths) + _GAP * len(self._widths)
        if sys.stdout.isatty() and width > console.width:
            self._tell_apart(rows)
        else:
            self._tell_together(lines, Console(highlight=False, width=max(console.width, width)))
        self._told += len(rows)
        sys.stdout.flush()  # who follows a journal through a pipe must not wait

    def _tell_apart(self, rows: Sequence[Row]) -> None:
        for place, row in enumerate(rows):
            if self._told or place:
                print()
            tell(row, self._columns)

    def _tell_together(self, lines: Sequence[Sequence[str]], console: "Console") -> None:
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(box=SIMPLE_HEAD, show_header=not self._told, show_edge=False, pad_edge=False)
        for column, width in zip(self._columns, self._widths, strict=True):
            justify: Literal["left", "right"] = "right" if column.right else "left"
            table.add_column(Text(column.title), justify=justify, width=width, no_wrap=True)
        for line in lines:
            table.add_row(*map(Text, line))
        with console.capture() as capture:
            console.print(table)
        for text in capture.get().splitlines():
            print(text.rstrip())


_GAP: Final = 3
"""Between two columns of a table."""


def tell(row: Row, columns: Sequence[Column]) -> None:
    """One thing, a line a member."""
    width = max(len(column.title) for column in columns)
    for column in columns:
        print(f"{column.title.ljust(width)}  {column.of(row)}")


def tell_table(rows: Sequence[Row], columns: Sequence[Column]) -> None:
    """A whole list as a table."""
    Listing(columns).tell(rows)


def note(sentence: str) -> None:
    """A word beside the answer, on standard error, so that a pipe does not get it."""
    print(sentence, file=sys.stderr)


def print_bytes(text: bytes) -> None:
    """Bytes as they are."""
    sys.stdout.flush()
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()
