"""What people type: times, spans, lists, and files of one thing."""

import io
import sys
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.typed import STANDARD_INPUT, instant_of, numbers_of, read_one, seconds_of, words_of
from meterhouse.core.moment import datetime_of, rfc3339


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-30T23:59:59Z", "2026-11-30T23:59:59Z"),
        ("2026-11-30T23:59:59z", "2026-11-30T23:59:59Z"),
        ("2026-11-30 23:59:59 UTC", "2026-11-30T23:59:59Z"),
        ("2026-11-30 23:59:59", "2026-11-30T23:59:59Z"),
        ("2026-11-30 23:59", "2026-11-30T23:59:00Z"),
        (" 2026-11-30 ", "2026-11-30T00:00:00Z"),
        ("2026-11", "2026-11-01T00:00:00Z"),
        ("2026-11-30T23:59:59.000001Z", "2026-11-30T23:59:59.000001Z"),
        ("2026-11-30T23:59:59+01:00", "2026-11-30T23:59:59+01:00"),
        ("2026-11-30T23:59:59-05:30", "2026-11-30T23:59:59-05:30"),
    ],
)
def test_a_time_is_read(text: str, instant: str) -> None:
    """A time may be written as RFC 3339, as the tables have it, or as a day or month; without an offset it is UTC."""
    assert instant_of(text) == instant


@given(st.integers(0, 2**48))
def test_a_time_that_was_told_is_read_as_itself(micros: int) -> None:
    """What the API answers as a time is sent back unchanged."""
    assert instant_of(rfc3339(micros)) == rfc3339(micros)
    assert instant_of(str(datetime_of(micros))) == rfc3339(micros)


@pytest.mark.parametrize("text", ["", "now", "yesterday", "2026-13-01", "2026-11-30T25:00:00Z", "1764547199", "UTC"])
def test_what_is_no_time_is_refused(text: str) -> None:
    """One sentence repeats what was typed and shows a time."""
    with pytest.raises(ValueError, match="is no time, such as 2026-11-30T23:59:59Z") as refused:
        instant_of(text)
    assert f'"{text}"' in str(refused.value)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1h", 3600),
        ("90m", 5400),
        ("2d", 172_800),
        ("1w", 604_800),
        ("45s", 45),
        ("0s", 0),
        ("1h30m", 5400),
        ("1.5h", 5400),
        ("0.1s", 0.1),
        ("1.1h", 3960),
        ("2d4h6m8s", 187_568),
    ],
)
def test_a_span_is_read(text: str, seconds: float) -> None:
    """A span is a sum of weeks, days, hours, minutes and seconds, exactly; whole seconds are whole."""
    assert seconds_of(text) == seconds
    assert type(seconds_of(text)) is type(seconds)


@given(st.decimals(0, 10_000, places=3), st.sampled_from("wdhms"))
def test_a_span_is_exact(number: Decimal, unit: str) -> None:
    """A span has as many seconds as its number times its unit."""
    unit_seconds = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}[unit]
    assert Decimal(str(seconds_of(f"{number:f}{unit}"))) == number * unit_seconds


@pytest.mark.parametrize("text", ["", "1", "h", "-1h", "1H", "1h 30m", "1y", "1e3s", ".5h", "1h30", "٣h"])
def test_what_is_no_span_is_refused(text: str) -> None:
    """A span needs its unit, and goes ahead only."""
    with pytest.raises(ValueError, match="is no span of time, such as 90m, 1h30m or 2d"):
        seconds_of(text)


@pytest.mark.parametrize(("text", "numbers"), [("0", [0]), ("0,3", [0, 3]), ("3,0,3", [3, 0, 3])])
def test_numbers_are_read(text: str, numbers: list[int]) -> None:
    """Numbers stand in the order in which they were typed."""
    assert numbers_of(text) == numbers


@pytest.mark.parametrize("text", ["", "a", "1,", "1.5"])
def test_what_are_no_numbers_is_refused(text: str) -> None:
    """One sentence says so."""
    with pytest.raises(ValueError, match="is no list of numbers, such as 0,3"):
        numbers_of(text)


def test_words_are_read() -> None:
    """Words are divided by commas; nothing is no word."""
    assert words_of("us-east-1,eu-west-1,") == ["us-east-1", "eu-west-1"]
    assert words_of("") == []


ONE = {"code": "pipeline", "dimensions": [{"key": "users"}]}


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ('code = "pipeline"\n[[dimensions]]\nkey = "users"\n', ONE),
        ('[[products]]\ncode = "pipeline"\n[[products.dimensions]]\nkey = "users"\n', ONE),
        ('{"code": "pipeline", "dimensions": [{"key": "users"}]}', ONE),
        ('\ufeff  {"code": "pipeline", "dimensions": [{"key": "users"}]}', ONE),
        ('{"products": [{"code": "pipeline", "dimensions": [{"key": "users"}]}]}', ONE),
        ('{"registration_url": null}', {"registration_url": None}),
        ("", {}),
    ],
)
def test_a_file_of_one_thing_is_read(text: str, members: dict[str, Any], tmp_path: Path) -> None:
    """TOML and JSON are told apart by how they begin; a table of a catalog file with one row is that row."""
    file = tmp_path / "product"
    file.write_text(text, encoding="utf-8")
    assert read_one(file, "products") == members


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"code = ", "is neither TOML nor JSON"),
        (b'{"code": }', "is neither TOML nor JSON"),
        (b"\xff", "is neither TOML nor JSON"),
        (b"[" * 100_000, "is neither TOML nor JSON"),
        (b"[1]", "does not hold one thing"),
        (b"[[products]]\n[[products]]\n", "does not hold one thing"),
        (b'products = "one"\n', "does not hold one thing"),
    ],
)
def test_a_file_of_anything_else_is_refused(text: bytes, reason: str, tmp_path: Path) -> None:
    """One sentence names the file, and it is bad input."""
    file = tmp_path / "product"
    file.write_bytes(text)
    with pytest.raises(CommandFailed, match=reason) as failed:
        read_one(file, "products")
    assert str(file) in str(failed.value)
    assert failed.value.exit_code == 2


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """A missing file and a folder are bad input too."""
    for file in (tmp_path / "none", tmp_path):
        with pytest.raises(CommandFailed, match="cannot be read") as failed:
            read_one(file, "products")
        assert failed.value.exit_code == 2


def test_standard_input_is_a_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`-` stands for standard input."""
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(b'name = "X"')))
    assert read_one(STANDARD_INPUT, "products") == {"name": "X"}
