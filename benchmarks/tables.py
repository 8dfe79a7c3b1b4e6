"""Results as tables: the goals, and each row's figures; the same cells on a terminal and on the page."""

import math
from collections.abc import Mapping, Sequence
from typing import Final

from benchmarks.goals import judged
from benchmarks.results import Results, Told
from benchmarks.stages import shares

Table = Sequence[Sequence[str]]
"""Rows of cells, the head first."""

COLUMNS: Final = {
    "records_before": ("records before", "{:,.0f}"),
    "agreements": ("agreements", "{:,.0f}"),
    "records_kept": ("records kept", "{:,.0f}"),
    "requests_per_second": ("requests/s", "{:,.0f}"),
    "records_per_second": ("records/s", "{:,.0f}"),
    "groups_per_second": ("groups/s", "{:,.0f}"),
    "cpu_micros_per_request": ("CPU µs a request", "{:,.0f}"),
    "database_cpu_micros_per_request": ("the database's", "{:,.0f}"),
    "p50_ms": ("p50 ms", "{:.2f}"),
    "p99_ms": ("p99 ms", "{:.2f}"),
    "max_ms": ("max ms", "{:.2f}"),
    "ready_seconds": ("ready s", "{:.2f}"),
    "first_answer_seconds": ("first answer s", "{:.2f}"),
    "rss_start_mb": ("RSS at start MB", "{:.0f}"),
    "rss_mb": ("RSS MB", "{:.0f}"),
    "rss_growth_mb": ("RSS growth MB", "{:.0f}"),
    "bytes_a_record": ("bytes a record", "{:.1f}"),
    "log_bytes_a_record": ("bytes of log a record", "{:.1f}"),
    "cpu_micros_per_call": ("CPU µs a call", "{:,.0f}"),
    "wall_micros_per_call": ("wall µs a call", "{:,.0f}"),
    "cpu_micros": ("CPU µs a request", "{:.1f}"),
    "kilo_instructions": ("thousand instructions a request", "{:.0f}"),
}
"""Figures that are shown: their column's head, and how they are written."""

EACH_RUN: Final = ("memory",)
"""Rows whose runs follow one another, so that each is shown; of the others, the medians are."""
SHARED: Final = {"stages": "cpu_micros", "instructions": "kilo_instructions"}
"""Rows that are shares of a whole, and the figure that is shared."""


def table_of_goals(results: Results) -> Table:
    """Every goal beside what was measured."""
    return [
        ("goal", "must", "aim", "measured", "verdict"),
        *((one.what, one.must, one.aim, one.measured, str(one.verdict)) for one in judged(results)),
    ]


def table_of(name: str, told: Told) -> Table:
    """A row's figures, a line a contender (or a run)."""
    if name in SHARED:
        return _table_of_shares(told, SHARED[name])
    lines = told.runs if name in EACH_RUN else list(told.medians.items())
    columns = [column for column in COLUMNS if any(column in figures for _, figures in lines)]
    head = ("", *(COLUMNS[column][0] for column in columns))
    return [head, *((of, *(_cell(figures, column) for column in columns)) for of, figures in lines)]


def _table_of_shares(told: Told, figure: str) -> Table:
    medians = told.medians
    whole = medians["whole"][figure]
    lines = [(stage, share * whole, share) for stage, share in shares(medians, figure).items()]
    head, form = COLUMNS[figure]
    return [
        ("stage", head, "share"),
        *((stage, form.format(spent), f"{share:.1%}") for stage, spent, share in (*lines, ("whole", whole, 1.0))),
    ]


def _cell(figures: Mapping[str, float], column: str) -> str:
    figure = figures.get(column, math.nan)
    return "" if math.isnan(figure) else COLUMNS[column][1].format(figure)


def plain(table: Table) -> str:
    """A table for a terminal: the first column to the left, the others to the right."""
    widths = [max(len(line[place]) for line in table) for place in range(len(table[0]))]
    return "\n".join(
        "  ".join(
            [line[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True))]
        )
        for line in table
    )


def markdown(table: Table) -> str:
    """A table for the page."""
    head, *lines = table
    rule = ["---", *["---:"] * (len(head) - 1)]
    return "\n".join(f"| {' | '.join(line)} |" for line in (head, rule, *lines))
