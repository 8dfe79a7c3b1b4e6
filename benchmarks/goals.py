"""What is to be reached, and what was: each goal a row, measured by the medians of one row of benchmarks.

The goals are ratios within one run wherever they can be, since absolute figures belong to a machine and an hour.
"""

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from benchmarks.results import Medians, Results


class Verdict(StrEnum):
    """How a goal stands."""

    AIM = "aim met"
    MUST = "must met"
    MISSED = "missed"
    NOT_RUN = "not run"


class Goal(NamedTuple):
    """A goal and its measure."""

    what: str
    """`{records}` and `{agreements}` stand for how many there were in the run."""
    row: str
    measure: Callable[[Medians], float]
    must: float
    aim: float
    form: str
    """How a figure is written: `{:.1f} times`."""
    at_most: bool = False

    def met(self, measured: float) -> Verdict:
        """How the goal stands by a figure."""
        if math.isnan(measured):
            return Verdict.NOT_RUN
        for limit, verdict in ((self.aim, Verdict.AIM), (self.must, Verdict.MUST)):
            if measured <= limit if self.at_most else measured >= limit:
                return verdict
        return Verdict.MISSED


class Judged(NamedTuple):
    """A goal as it stands: texts to be shown, and the figure."""

    what: str
    must: str
    aim: str
    measured: str
    verdict: Verdict
    figure: float
    """nan where it was not run."""


def _ratio(of: str, to: str, figure: str = "requests_per_second") -> Callable[[Medians], float]:
    return lambda medians: medians[of][figure] / medians[to][figure]


def _figure(of: str, figure: str) -> Callable[[Medians], float]:
    return lambda medians: medians[of][figure]


_TIMES: Final = "{:.1f} times"
_SHARE: Final = "{:.0%}"
_MEMORY: Final = "{:.0f} MB"

GOALS: Final = (
    Goal(
        "requests/s, durable, every rule on, one process, against `moto_server`",
        "ingest",
        _ratio("meterhouse", "moto_server"),
        10,
        20,
        _TIMES,
    ),
    Goal(
        "CPU per request: `moto_server`'s is so many times as much",
        "ingest",
        _ratio("moto_server", "meterhouse", "cpu_micros_per_request"),
        10,
        20,
        _TIMES,
    ),
    Goal(
        "durable throughput as a share of the same path with storage off",
        "storage",
        _ratio("sqlite", "nothing"),
        0.60,
        0.75,
        _SHARE,
    ),
    Goal(
        "throughput at {records} records against an empty ledger",
        "growth",
        _ratio("grown ledger", "empty ledger"),
        0.90,
        0.95,
        _SHARE,
    ),
    Goal(
        "throughput with {agreements} agreements against 10: the same usage",
        "agreements",
        _ratio("many agreements, usage of 10", "10 agreements"),
        0.85,
        0.95,
        _SHARE,
    ),
    Goal(
        "the same, each agreement used for the first time since the start",
        "agreements",
        _ratio("many agreements, usage of all", "10 agreements"),
        0.85,
        0.95,
        _SHARE,
    ),
    Goal(
        "throughput with 2 ms more a sync and 256 connections, against none and 64",
        "slow-disk",
        _ratio("2 ms more a sync", "usual disk"),
        0.85,
        1.0,
        _SHARE,
    ),
    Goal(
        "two processes on PostgreSQL, one product, against SQLite's one; all on the same processors",
        "postgres",
        _ratio("PostgreSQL, 2 processes, 1 product", "SQLite, 1 process, 1 product"),
        0.5,
        0.6,
        _SHARE,
    ),
    Goal(
        "the same with eight products",
        "postgres",
        _ratio("PostgreSQL, 2 processes, 8 products", "SQLite, 1 process, 8 products"),
        0.5,
        0.6,
        _SHARE,
    ),
    Goal(
        "PostgreSQL, records a second at {records} records against an empty ledger",
        "postgres-growth",
        _ratio("grown ledger", "empty ledger", "records_per_second"),
        0.8,
        0.9,
        _SHARE,
    ),
    Goal(
        "p99 at half load, 64 connections",
        "latency",
        _figure("half load", "p99_ms"),
        10,
        5,
        "{:.1f} ms",
        at_most=True,
    ),
    Goal(
        "start to first answer, new ledger",
        "start-up",
        _figure("new ledger", "first_answer_seconds"),
        0.6,
        0.3,
        "{:.2f} s",
        at_most=True,
    ),
    Goal(
        "start to first answer, {records} records",
        "start-up",
        _figure("grown ledger", "first_answer_seconds"),
        1.0,
        0.5,
        "{:.2f} s",
        at_most=True,
    ),
    Goal("memory (RSS) at start", "memory", _figure("whole", "rss_start_mb"), 80, 60, _MEMORY, at_most=True),
    Goal(
        "memory growth over {records} records",
        "memory",
        _figure("whole", "rss_growth_mb"),
        100,
        30,
        _MEMORY,
        at_most=True,
    ),
    Goal(
        "disk per record, 25-record requests",
        "memory",
        _figure("whole", "bytes_a_record"),
        160,
        90,
        "{:.0f} B",
        at_most=True,
    ),
)


def judged(results: Results) -> list[Judged]:
    """Every goal as it stands after a run; what was not run says so."""
    return [_judged(goal, results.rows[goal.row].medians if goal.row in results.rows else {}) for goal in GOALS]


def _judged(goal: Goal, medians: Medians) -> Judged:
    figure = goal.measure(medians) if medians else math.nan
    verdict = goal.met(figure)
    sign = "≤" if goal.at_most else "≥"
    return Judged(
        goal.what.format(**_counts(medians)),
        f"{sign} {goal.form.format(goal.must)}",
        f"{sign} {goal.form.format(goal.aim)}",
        "" if verdict is Verdict.NOT_RUN else goal.form.format(figure),
        verdict,
        figure,
    )


def _counts(medians: Medians) -> Mapping[str, str]:
    """How many records and agreements a row's ledgers had."""
    records = [
        figures[name] for figures in medians.values() for name in ("records_before", "records_kept") if name in figures
    ]
    agreements = [figures["agreements"] for figures in medians.values() if "agreements" in figures]
    return {
        "records": written(max(records, default=10_000_000)),
        "agreements": written(max(agreements, default=1_000_000)),
    }


def written(count: float) -> str:
    """A large count as people say it: 10 million, 100,000."""
    millions = count / 1e6
    return f"{millions:.3g} million" if millions >= 1 else f"{count:,.0f}"
