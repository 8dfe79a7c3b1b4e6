"""What people are told: times, money and numbers as they read them, and tables that cut nothing."""

import re
import sys
from decimal import Decimal
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.cli import record
from meterhouse.cli.telling import Column, Listing, instant, money, number, plain, tell

COLUMNS: Final = (
    Column("Code", "code"),
    Column("Price", "price", money, right=True),
    Column("Since", "since", instant),
    Column("Note", "note", listed=False),
)
LONG: Final = "agmt-" + "0123456789abcdef" * 8
ANSI: Final = re.compile(r"\x1b\[[0-9;]*m")


@pytest.mark.parametrize(
    ("say", "value", "told"),
    [
        (instant, "2026-11-30T23:59:59Z", "2026-11-30 23:59:59 UTC"),
        (instant, "2026-11-30T23:59:59.999999Z", "2026-11-30 23:59:59 UTC"),
        (instant, "2026-12-01T00:59:59+01:00", "2026-11-30 23:59:59 UTC"),
        (instant, None, "-"),
        (money, "0", "$0.00"),
        (money, "0.5", "$0.50"),
        (money, "0.25", "$0.25"),
        (money, "0.00000001", "$0.00000001"),
        (money, "1234567.125", "$1,234,567.125"),
        (money, None, "-"),
        (number, "17", "17"),
        (number, "1234567.000001", "1,234,567.000001"),
        (number, "9223372036854775807", "9,223,372,036,854,775,807"),
        (number, 1000, "1,000"),
        (number, None, "-"),
        (plain, None, "-"),
        (plain, "", "-"),
        (plain, [], "-"),
        (plain, True, "yes"),
        (plain, False, "no"),
        (plain, 7, "7"),
        (plain, ["us-east-1", "eu-west-1"], "us-east-1, eu-west-1"),
        (plain, "Größe 名前", "Größe 名前"),
        (plain, "a\x1b]0;title\x07\nb\u202e", "a�]0;title��b�"),
    ],
)
def test_a_value_is_told(say: Any, value: Any, told: str) -> None:
    """A value reads as people write it; what would steer the terminal is a sign that does not."""
    assert say(value) == told


@given(st.decimals(0, 10**12, places=8))
def test_money_is_exact(amount: Decimal) -> None:
    """Not one hundred-millionth of a dollar is rounded away."""
    assert Decimal(money(f"{amount:f}").removeprefix("$").replace(",", "")) == amount


def listed(capsys: pytest.CaptureFixture[str], *parts: list[dict[str, Any]]) -> list[str]:
    """The lines of a table that is told in parts."""
    listing = Listing(COLUMNS)
    for part in parts:
        listing.tell(part)
    return capsys.readouterr().out.splitlines()


def test_a_table_is_as_wide_as_it_must_be(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """In a pipe nothing is cut or broken, however narrow the terminal is; and there are no colours."""
    monkeypatch.setenv("COLUMNS", "20")
    rows: list[dict[str, Any]] = [
        {"code": LONG, "price": "1", "since": "2026-11-30T23:59:59Z", "note": "left out"},
        {"code": "x", "price": "0.125", "since": None},
    ]
    lines = listed(capsys, rows)
    assert lines == [
        f"{'Code'.ljust(len(LONG))}    Price   Since",
        "─" * (len(LONG) + 3 + 6 + 3 + 23),
        f"{LONG}    $1.00   2026-11-30 23:59:59 UTC",
        f"{'x'.ljust(len(LONG))}   $0.125   -",
    ]


def test_a_table_goes_on(capsys: pytest.CaptureFixture[str]) -> None:
    """A later part has no head of its own, and is at least as wide; nothing is told of an empty one."""
    first = [{"code": "long code", "price": "1", "since": None}]
    lines = listed(capsys, [], first, [], [{"code": "x", "price": "1234.5", "since": None}])
    assert lines == [
        "Code        Price   Since",
        "─────────────────────────",
        "long code   $1.00   -",
        "x           $1,234.50   -",
    ]


def test_words_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """What looks like an instruction to the table's painter is shown as it is."""
    lines = listed(capsys, [{"code": "[bold red]x[/]", "price": None, "since": None}])
    assert lines[-1] == "[bold red]x[/]       -   -"


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """Standard output is a terminal of 40 columns."""
    monkeypatch.setenv("COLUMNS", "40")
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    return monkeypatch


def on_terminal(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *parts: list[dict[str, Any]]
) -> list[str]:
    """The lines of a table on the terminal."""
    terminal.setattr(sys.stdout, "isatty", lambda: True)
    return listed(capsys, *parts)


def test_a_narrow_terminal_gets_a_line_a_member(
    terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where a table is wider than the terminal, each row is told by itself, ids whole, a blank line between two."""
    row = {"code": LONG, "price": "1", "since": None}
    lines = on_terminal(terminal, capsys, [row, row], [row])
    assert lines == [
        *[f"Code   {LONG}", "Price  $1.00", "Since  -", ""] * 2,
        f"Code   {LONG}",
        "Price  $1.00",
        "Since  -",
    ]


def test_a_wide_terminal_gets_a_table(terminal: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """What fits is a table, its head set off by colour."""
    lines = on_terminal(terminal, capsys, [{"code": "x", "price": "1", "since": None}])
    assert "\x1b[1m" in lines[0]
    assert [ANSI.sub("", line).rstrip() for line in lines] == [
        "Code   Price   Since",
        "────────────────────",
        "x      $1.00   -",
    ]


def test_one_thing_has_all_its_members(capsys: pytest.CaptureFixture[str]) -> None:
    """One thing alone is told whole, a line a member."""
    tell({"code": "x", "price": "1", "since": None, "note": "shown"}, COLUMNS)
    assert capsys.readouterr().out == "Code   x\nPrice  $1.00\nSince  -\nNote   shown\n"


def test_what_ran_by_the_second_is_priced_by_the_hour() -> None:
    """A total of RegisterUsage, whose quantity is in seconds, says that its price is an hour's."""
    (price,) = (column for column in record.TOTAL if column.title == "Price")
    assert price.of({"dimension": "", "unit": "seconds", "price": "0.1"}) == "$0.10/h"
    assert price.of({"dimension": "users", "unit": "Users", "price": "0.1"}) == "$0.10"
