"""The page on performance and its pictures, made from results: no figure on it is typed.

What is to be said in words (why a goal cannot be reached, what a figure hides) stands in `notes.md` beside this file,
and is taken as it is.
"""

import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from benchmarks.machine import ALONE
from benchmarks.pictures import Bar, Curve, bars, curves
from benchmarks.results import Results, to_json
from benchmarks.tables import markdown, table_of, table_of_goals

PAGE: Final = "docs/performance.md"
KEPT: Final = "docs/performance/results.json"
THROUGHPUT: Final = "docs/performance/throughput.svg"
GROWTH: Final = "docs/performance/growth.svg"
NOTES: Final = Path(__file__).with_name("notes.md")

_BARS: Final = (
    ("ingest", "moto_server", "moto_server", False),
    ("ingest", "meterhouse", "Meterhouse, 25 records", True),
    ("allocations", "with 4 allocations", "with allocations", True),
    ("single", "meterhouse", "MeterUsage, 1 record", True),
    ("storage", "nothing", "storage off", True),
)
"""Of the picture of throughput: row, contender, label, and whether it is of Meterhouse."""


def write(results: Results, root: Path) -> None:
    """Writes the page, its pictures, and the results they are made from."""
    for path, text in files(results).items():
        place = root / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text, encoding="utf-8")


def files(results: Results) -> Mapping[str, str]:
    """What is written, by path from the root."""
    pictures = {THROUGHPUT: _throughput(results), GROWTH: _growth(results)}
    drawn = {path: text for path, text in pictures.items() if text}
    return {KEPT: to_json(results), PAGE: "\n".join(_page(results, list(drawn))) + "\n", **drawn}


def _page(results: Results, pictures: list[str]) -> Iterator[str]:
    machine = results.machine
    yield "# Performance\n"
    yield (
        f"Made by `{results.command}` and `scripts/bench --write-docs` from [these results](performance/results.json); "
        "no figure is typed. Ratios are of one run; absolute figures belong to one machine and one hour.\n"
    )
    if any(told.others > ALONE for told in results.rows.values()):
        yield (
            "**Others were at work on the machine while some of these figures were taken** (each row says how much): "
            "they are not to be trusted; and a processor that is wanted by many flatters whoever has more threads.\n"
        )
    yield "## Goals\n"
    yield markdown(table_of_goals(results)) + "\n"
    for path in pictures:
        yield f"![{Path(path).stem}](performance/{Path(path).name})\n"
    yield "## The machine\n"
    yield (
        f"{machine['processor']}, {machine['processors']} processors (the load on one, the server on the other), "
        f"{machine['memory_gigabytes']} GB of memory; {machine['system']}. Python {machine['python']}, "
        f"SQLite {machine['sqlite']}. Ledgers on {machine['file_system']}, where a sync of 64 KiB takes "
        f"{machine['sync_micros']} µs. Meterhouse {results.version}, commit {results.commit}.\n"
    )
    settings = ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in results.settings.items())
    yield f"Settings: {settings}.\n"
    yield "## What was measured\n"
    for name, told in results.rows.items():
        if told.runs:
            yield f"### {name}\n"
            yield f"{told.what}\n"
            others = "an unknown share" if math.isnan(told.others) else f"{told.others:.0%}"
            yield f"Taken on {told.taken}, while others took {others} of the machine's processors.\n"
            yield markdown(table_of(name, told)) + "\n"
    if NOTES.exists():
        yield NOTES.read_text(encoding="utf-8").rstrip()


def _throughput(results: Results) -> str:
    shown = [
        Bar(label, results.rows[row].medians[of]["requests_per_second"], ours)
        for row, of, label, ours in _BARS
        if row in results.rows
    ]
    return bars("Requests a second", shown) if shown else ""


def _growth(results: Results) -> str:
    if "memory" not in results.rows:
        return ""
    days = [run.figures for run in results.rows["memory"].runs if "rss_mb" in run.figures]
    paces = [(day["records_kept"] / 1e6, day["records_per_second"] / 1000) for day in days]
    sizes = [(day["records_kept"] / 1e6, day["rss_mb"]) for day in days]
    shown = [Curve("thousand records a second", paces), Curve("memory (RSS), MB", sizes)]
    return curves("One server as its ledger grows", "million records kept", shown)
