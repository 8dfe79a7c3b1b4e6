"""What was measured: rows of runs, kept in one JSON file. Everything that is shown is worked out from it.

    {"command": …, "version": …, "commit": …, "machine": {…}, "settings": {…},
     "rows": {"ingest": {"what": …, "taken": "2026-11-24", "others": 0.02, "runs": [{"of": "meterhouse", …}, …]}}}

A run is of a contender (a server, a ledger, a size) and has figures by name, each with its unit at the end.
"""

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

Figures = dict[str, float]
Medians = Mapping[str, Mapping[str, float]]
"""The median of each figure, by contender."""


class Run(NamedTuple):
    """One measurement."""

    of: str
    figures: Figures


class Told(NamedTuple):
    """A row's runs, in the order in which they were taken."""

    what: str
    taken: str
    """The day."""
    others: float
    """What others took of the machine's processors meanwhile, from 0 to 1; nan where that is not known."""
    runs: Sequence[Run]

    @property
    def medians(self) -> Medians:
        """The median of each contender's figures."""
        return {
            of: {
                name: statistics.median(run.figures[name] for run in self.runs if run.of == of and name in run.figures)
                for name in dict.fromkeys(name for run in self.runs if run.of == of for name in run.figures)
            }
            for of in dict.fromkeys(run.of for run in self.runs)
        }


class Results(NamedTuple):
    """A whole run of the benchmarks."""

    command: str
    version: str
    commit: str
    machine: Mapping[str, Any]
    settings: Mapping[str, float]
    rows: Mapping[str, Told]


def to_json(results: Results) -> str:
    """The file's text. A figure that could not be taken is null."""
    told = results._asdict() | {
        "rows": {
            name: {
                "what": row.what,
                "taken": row.taken,
                **_written({"others": row.others}),
                "runs": [{"of": run.of, **_written(run.figures)} for run in row.runs],
            }
            for name, row in results.rows.items()
        }
    }
    return json.dumps(told, indent=1, ensure_ascii=False) + "\n"


def from_json(text: str) -> Results:
    """What `to_json` wrote."""
    told = json.loads(text)
    rows = {
        name: Told(row["what"], row["taken"], _figure(row["others"]), [_run(run) for run in row["runs"]])
        for name, row in told.pop("rows").items()
    }
    return Results(**told, rows=rows)


def read(path: Path) -> Results:
    """The results in a file."""
    return from_json(path.read_text(encoding="utf-8"))


def _run(told: dict[str, Any]) -> Run:
    return Run(told["of"], {name: _figure(value) for name, value in told.items() if name != "of"})


def _figure(written: float | None) -> float:
    return math.nan if written is None else written


def _written(figures: Figures) -> dict[str, float | None]:
    """To four significant digits: the rest is noise, and makes files differ."""
    return {name: None if math.isnan(value) else float(f"{value:.4g}") for name, value in figures.items()}
