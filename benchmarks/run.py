"""The benchmarks' one entry: `scripts/bench`.

    scripts/bench                       all rows, full sizes (half an hour)
    scripts/bench --quick               smaller sizes, without the slow disk (under five minutes)
    scripts/bench --only ingest,storage these rows alone
    scripts/bench --json FILE           keeps the results; with --only, in place of those rows that FILE has
    scripts/bench --check               fails where a stage takes half as much more of a request as recorded
    scripts/bench --record              records the stages' shares for that
    scripts/bench --write-docs FILE     writes docs/performance.md and its pictures from results

Figures are worth something on a machine that does nothing else: the load has one processor, the server the other.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import page
from benchmarks.growth import CUSTOMERS
from benchmarks.instructions import available
from benchmarks.machine import ALONE, Others, describe
from benchmarks.measuring import CONNECTIONS, FULL, QUICK, Bench, Sizes
from benchmarks.results import Results, Run, Told, read, to_json
from benchmarks.rows import ROWS, Row
from benchmarks.servers import can_pin, pin_load
from benchmarks.stages import grown, shares
from benchmarks.tables import SHARED, plain, table_of, table_of_goals
from meterhouse import __version__

ROOT: Final = Path(__file__).resolve().parent.parent
RECORDED: Final = Path(__file__).with_name("stages.json")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs what was asked for; the exit code."""
    given = _parser().parse_args(arguments)
    if given.write_docs is not None:
        page.write(read(given.write_docs), ROOT)
        return 0
    if given.json is not None and not given.json.parent.is_dir():
        sys.exit(f"--json: there is no folder {given.json.parent}.")  # told before minutes of measuring
    pin_load()
    with tempfile.TemporaryDirectory(prefix="meterhouse-bench-", dir=given.folder) as name:
        bench = Bench((QUICK if given.quick else FULL).scaled(given.scale), Path(name))
        if given.check or given.record:
            return _hold(bench, record=given.record)
        earlier = read(given.json) if given.json is not None and given.only and given.json.exists() else None
        for results in _measured(bench, given):  # kept after each row: half an hour is long to lose
            if given.json is not None:
                given.json.write_text(to_json(_beside(results, earlier)), encoding="utf-8")
    _show(results)
    return 0


def _beside(results: Results, earlier: Results | None) -> Results:
    """The results of some rows, and what is known of the others from an earlier run, with both commands."""
    if earlier is None:
        return results
    commands = dict.fromkeys((*earlier.command.split("; "), results.command))
    return results._replace(command="; ".join(commands), rows=_in_order({**earlier.rows, **results.rows}))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="scripts/bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under five minutes")
    parser.add_argument("--only", type=_names, default=(), metavar="ROW,…", help=", ".join(ROWS))
    parser.add_argument("--json", type=Path, metavar="FILE", help="where the results are kept")
    parser.add_argument("--check", action="store_true", help="hold the stages' shares against those recorded")
    parser.add_argument("--record", action="store_true", help="record the stages' shares")
    parser.add_argument("--write-docs", type=Path, metavar="FILE", help="write the page from results in a file")
    parser.add_argument("--folder", type=Path, metavar="FOLDER", help="where ledgers lie meanwhile: which disk")
    parser.add_argument("--scale", type=float, default=1, help="of all sizes; below 1 to see that it works")
    return parser


def _names(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",") if name.strip())
    for name in names:
        if name not in ROWS:
            raise argparse.ArgumentTypeError(f"there is no row {name!r}; there are {', '.join(ROWS)}")
    return names


# --- measuring --------------------------------------------------------------------------------------------------------


def _measured(bench: Bench, given: argparse.Namespace) -> Iterator[Results]:
    """The results so far, after each row."""
    machine = describe(bench.folder)
    chosen = [ROWS[name] for name in given.only] or [row for row in ROWS.values() if row.quick or not given.quick]
    words = ["--quick"] * given.quick + [f"--only {','.join(given.only)}"] * bool(given.only)
    words += [f"--scale {given.scale:g}"] * (given.scale != 1)
    command, commit, settings = " ".join(["scripts/bench", *words]), _commit(), _settings(bench.sizes)
    rows: dict[str, Told] = {}
    for row in chosen:
        rows[row.name] = _row(row, bench)
        yield Results(command, __version__, commit, machine, settings, _in_order(rows))


def _row(row: Row, bench: Bench) -> Told:
    """Runs a row, and says how it goes."""
    taken, others, begun = datetime.now(UTC).date().isoformat(), Others(), time.perf_counter()
    runs: list[Run] = []
    for run in row.measure(bench):
        runs.append(run)
        if sys.stdout.isatty():
            print(f"\r\033[K{row.name}: {len(runs)} runs, {time.perf_counter() - begun:.0f} s", end="", flush=True)
    start = "\r\033[K" if sys.stdout.isatty() else ""
    theirs = others.share()
    warning = f"; not to be trusted: others took {theirs:.0%} of the processors" if theirs > ALONE else ""
    print(f"{start}{row.name}: {len(runs)} runs in {time.perf_counter() - begun:.0f} s{warning}", flush=True)
    sizes = bench.sizes
    what = row.what.format(records=f"{sizes.history_records:,}", agreements=f"{sizes.agreements:,}")
    return Told(what, taken, theirs, runs)


def _in_order(rows: dict[str, Told]) -> dict[str, Told]:
    return {name: rows[name] for name in ROWS if name in rows}


def _settings(sizes: Sizes) -> dict[str, float]:
    fixed = {"connections": CONNECTIONS, "series_of_a_grown_ledger": CUSTOMERS * 200, "pinned": float(can_pin())}
    return {**sizes._asdict(), **fixed}


def _commit() -> str:
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()


def _show(results: Results) -> None:
    machine = results.machine
    print(f"\n{machine['processor']}, {machine['processors']} processors, {machine['system']}")
    print(
        f"Python {machine['python']}, SQLite {machine['sqlite']}; {machine['file_system']}, "
        f"a sync of 64 KiB takes {machine['sync_micros']} µs"
    )
    for name, told in results.rows.items():
        if told.runs:
            print(f"\n{name}\n{plain(table_of(name, told))}")
    print(f"\n{plain(table_of_goals(results))}")


# --- the stage budget -------------------------------------------------------------------------------------------------


def _hold(bench: Bench, *, record: bool) -> int:
    """Records the stages' shares, or holds them against those recorded: in instructions where they can be counted."""
    now = {}
    for name in ("instructions", "stages") if record else ("instructions",) if available() else ("stages",):
        told = _row(ROWS[name], bench)
        if told.runs:
            now[name] = shares(told.medians, SHARED[name])
            print(plain(table_of(name, told)))
    if record:
        rounded = {name: {stage: round(share, 4) for stage, share in of.items()} for name, of in now.items()}
        RECORDED.write_text(json.dumps(rounded, indent=1) + "\n", encoding="utf-8")
        return 0
    recorded = json.loads(RECORDED.read_text(encoding="utf-8"))
    sentences = [sentence for name, of in now.items() for sentence in grown(of, recorded[name])]
    for sentence in sentences:
        print(f"scripts/bench: {sentence}", file=sys.stderr)
    return 1 if sentences else 0


if __name__ == "__main__":
    sys.exit(main())
