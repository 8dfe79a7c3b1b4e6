"""The tables on the page about the client, made from what `benchmarks/client.py` measured: no figure there is typed.

What was measured is kept in `docs/performance/client.json`. A table stands between two marks on the page, and is made
anew there; the words around it are a person's.
"""

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.machine import describe

PAGE: Final = "docs/performance-of-the-client.md"
KEPT: Final = "docs/performance/client.json"

_NAMES: Final = {
    "boto3": "boto3",
    "aiobotocore": "aiobotocore",
    "capo": "capo-marketplace-metering",
    "capo, async": "capo-marketplace-metering, async",
    "ours, one to one": "`batch_meter_usage_once`",
    "ours": "`batch_meter_usage`",
    "ours, async, one to one": "`batch_meter_usage_once`, asyncio",
    "ours, async": "`batch_meter_usage`, asyncio",
    "ours, async, uvloop": "`batch_meter_usage`, uvloop",
    "exchange alone: sockets": "the exchange alone: our sockets",
    "exchange alone: pyreqwest": "the exchange alone: pyreqwest",
    "exchange alone: asyncio": "the exchange alone: ours, asyncio",
    "exchange alone: pyreqwest, async": "the exchange alone: pyreqwest, async",
}
_FIRST_NAMES: Final = {**_NAMES, "ours": "`MeteringClient`", "ours, async": "`AsyncMeteringClient`"}


_CALL_GOALS: Final = (
    ("boto3", "ours, one to one", 15),
    ("boto3", "ours", 15),
    ("capo, async", "ours, async, one to one", 6),
    ("capo, async", "ours, async", 6),
)
"""Whose call is to cost at least so many of which of ours."""


class Measured(NamedTuple):
    """What was measured, by contender."""

    calls: Mapping[str, Mapping[str, float]]
    """Microseconds a call: `cpu` and `wall`."""
    first: Mapping[str, float]
    """Processor milliseconds of import, client and first call."""
    call_instructions: Mapping[str, float]
    """Thousands a call, outside the kernel."""
    first_instructions: Mapping[str, float]
    """Millions of import, client and first call, outside the kernel."""


def write(measured: Measured, rounds: int, calls: int, others: float, root: Path) -> None:
    """Keeps what was measured, and makes the page's tables of it. `others`: their share of the processors, 0 to 1."""
    machine = describe(root)
    kept = {
        "taken": f"{datetime.now(UTC):%Y-%m-%d}",
        "rounds": rounds,
        "calls_a_round": calls,
        "others": round(others, 2),
        "machine": {name: machine[name] for name in ("processor", "processors", "system", "python")},
        **measured._asdict(),
    }
    (root / KEPT).write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")
    page = root / PAGE
    page.write_text(made(page.read_text(encoding="utf-8"), kept), encoding="utf-8")


def made(page: str, kept: Mapping[str, Any]) -> str:
    """The page with its tables made anew."""
    measured = Measured(**{name: kept[name] for name in Measured._fields})
    tables = {"taken": [_taken(kept)], "goals": _goals(measured), "calls": _calls(measured), "first": _first(measured)}
    for name, lines in tables.items():
        places = re.findall(rf"<!-- {name} -->\n.*?<!-- end -->", page, re.DOTALL)
        assert len(places) == 1, f"the page has {len(places)} places for {name}"
        page = page.replace(places[0], "\n".join([f"<!-- {name} -->", *lines, "<!-- end -->"]))
    return page


def _taken(kept: Mapping[str, Any]) -> str:
    machine = kept["machine"]
    return (
        f"Taken on {kept['taken']}, {kept['rounds']} rounds of {kept['calls_a_round']} calls; {machine['processor']}, "
        f"{machine['processors']} processors, {machine['system']}, Python {machine['python']}; meanwhile others took "
        f"{kept['others']:.0%} of the processors."
    )


def _goals(measured: Measured) -> Iterator[str]:
    calls, first = measured.calls, measured.first
    counted, counted_first = measured.call_instructions, measured.first_instructions

    def times(peer: str, name: str) -> str:
        return f"{calls[peer]['cpu'] / calls[name]['cpu']:.1f} | {counted[peer] / counted[name]:.1f}"

    def share(name: str) -> str:
        return f"{first[name] / first['boto3']:.2f} | {counted_first[name] / counted_first['boto3']:.2f}"

    yield "| goal | wanted | by processor time | by instructions |"
    yield "| --- | --- | --- | --- |"
    for peer, name, wanted in _CALL_GOALS:
        yield f"| {_NAMES[peer]}'s call costs so many of {_NAMES[name]} | at least {wanted} | {times(peer, name)} |"
    for name in ("ours", "ours, async"):
        yield f"| first call of {_FIRST_NAMES[name]}, of boto3's | at most 0.33 | {share(name)} |"


def _calls(measured: Measured) -> Iterator[str]:
    calls = measured.calls
    yield "| | CPU µs a call | wall µs | thousand instructions | boto3's CPU, of this | capo's async, of this |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for name, label in _NAMES.items():
        one = calls[name]
        ratios = " | ".join(f"{calls[peer]['cpu'] / one['cpu']:.1f}" for peer in ("boto3", "capo, async"))
        counted = measured.call_instructions.get(name)
        instructions = "" if counted is None else f"{counted:,.0f}"
        yield f"| {label} | {one['cpu']:,.0f} | {one['wall']:,.0f} | {instructions} | {ratios} |"


def _first(measured: Measured) -> Iterator[str]:
    first = measured.first
    yield "| import, client, first call | CPU ms | million instructions | of boto3's CPU |"
    yield "| --- | --- | --- | --- |"
    for name, milliseconds in first.items():
        share = milliseconds / first["boto3"]
        yield f"| {_FIRST_NAMES[name]} | {milliseconds:.0f} | {measured.first_instructions[name]:.0f} | {share:.2f} |"
