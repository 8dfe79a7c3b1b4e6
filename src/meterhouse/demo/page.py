"""How the demo is told: on a terminal in colours, elsewhere as plain text of a fixed width, the same each time."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from rich.console import Console, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

WIDTH: Final = 110
"""The widest that lines become, and how wide they are where there is no terminal."""
_INDENT: Final = 4
_SHORT: Final = 8
"""How much is shown of an id that nobody will type."""


class Page:
    """Prints headings, sentences, tables, and what was said and answered."""

    def __init__(self) -> None:
        self._console = Console(highlight=False)
        self._console.width = min(self._console.width, WIDTH) if self._console.is_terminal else WIDTH
        self._chapter = 0

    def title(self, text: str) -> None:
        """The first line."""
        self._console.print()
        self._console.print(Text(text, style="bold"))

    def chapter(self, text: str) -> None:
        """A numbered heading."""
        self._chapter += 1
        self._console.print()
        self._console.print(Text.assemble((f" {self._chapter}  ", "bold cyan"), (text, "bold")))
        self._console.print()

    def sentence(self, text: str) -> None:
        """A paragraph."""
        self._show(Text(text))

    def caption(self, text: str) -> None:
        """Who says what follows, or what it is."""
        self._show(Text(text, style="cyan"))

    def blank(self) -> None:
        """An empty line."""
        self._console.print()

    def typed(self, text: str) -> None:
        """What can be copied: each line whole, however narrow the terminal is."""
        for line in text.splitlines():
            self._console.print(Text(" " * _INDENT + line), soft_wrap=True)

    def said(self, who: str, text: str) -> None:
        """What somebody says."""
        self.caption(who)
        self.typed("\n".join(f"  {line}" for line in text.splitlines()))

    def exchanges(self, rows: Iterable[tuple[str, str]]) -> None:
        """What was said, beside what was answered."""
        table = _table("said", "answered")
        for said, answered in rows:
            table.add_row(Text(said), _judged(answered))
        self._show(table)

    def sums(self, headings: Sequence[str], rows: Sequence[Sequence[str]], figures: Mapping[str, int]) -> None:
        """A table whose last row is the total. `figures`: columns of decimals, and the fewest places they show."""
        table = _table(*headings)
        columns = [
            _aligned(column, figures[heading]) if heading in figures else column
            for heading, column in zip(headings, zip(*rows, strict=True), strict=True)
        ]
        *parts, total = zip(*columns, strict=True)
        for row in parts:
            table.add_row(*row)
        table.add_section()
        table.add_row(*total, style="bold")
        self._show(table)

    def _show(self, shown: RenderableType) -> None:
        """Prints what rich lays out, without the blanks that it fills lines with."""
        with self._console.capture() as captured:
            self._console.print(Padding(shown, (0, 0, 0, _INDENT)))
        for line in captured.get().splitlines():
            self._console.out(line.rstrip(), highlight=False)


def short(text: str) -> str:
    """The beginning of an id."""
    return f"{text[:_SHORT]}…"


def json_of(record: Mapping[str, Any]) -> str:
    """A record as JSON: a member a line, an allocation a line."""
    lines = []
    for name, value in record.items():
        if isinstance(value, list):
            parts = ",\n     ".join(_json(one) for one in value)
            lines.append(f'"{name}": [\n     {parts}]')
        else:
            lines.append(f'"{name}": {_json(value)}')
    return "{" + ",\n ".join(lines) + "}"


def _json(value: Any) -> str:
    return json.dumps(value, default=lambda moment: moment.isoformat().replace("+00:00", "Z"))


def _table(*headings: str) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), header_style="cyan", pad_edge=False)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _judged(answered: str) -> Text:
    """An answer in the colour of what it means."""
    return Text(answered, style="green" if "Success" in answered else "yellow")


def _aligned(figures: Sequence[str], fewest_places: int) -> list[str]:
    """Decimals under each other, point under point, with some places at least."""
    divided = [figure.partition(".") for figure in figures]
    fractions = [fraction.ljust(fewest_places, "0") if whole else "" for whole, _, fraction in divided]
    wholes_width = max(len(whole) for whole, _, _ in divided)
    return [
        (whole.rjust(wholes_width) + ("." + fraction if fraction else "")).rstrip()
        for (whole, _, _), fraction in zip(divided, fractions, strict=True)
    ]
