"""What people type on the command line, and what the API takes it for: times, spans, lists, files."""

import json
import re
import sys
import tomllib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import Parameter, Token

from meterhouse.cli.failure import CommandFailed

STANDARD_INPUT: Final = Path("-")

_UTC: Final = re.compile(r" ?(?:UTC|Z)$", re.IGNORECASE)
_MONTH: Final = re.compile(r"[0-9]{4}-[0-9]{2}")
_SPAN: Final = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?[wdhms])+")
_SPAN_PART: Final = re.compile(r"([0-9]+(?:\.[0-9]+)?)([wdhms])")
_SECONDS: Final = {"w": 604_800, "d": 86_400, "h": 3_600, "m": 60, "s": 1}


def instant_of(text: str) -> str:
    """RFC 3339 of a time as people write it, and as the tables have it; one without an offset is UTC.

    A day or a month alone is its first instant.

    ValueError, one sentence, for what is no time.
    """
    try:
        written = _UTC.sub("+00:00", text.strip())
        moment = datetime.fromisoformat(f"{written}-01" if _MONTH.fullmatch(written) else written)
    except ValueError:
        raise ValueError(f'"{text}" is no time, such as 2026-11-30T23:59:59Z or 2026-11-30.') from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).isoformat().replace("+00:00", "Z")


def seconds_of(text: str) -> float:
    """The seconds of a span: `1h`, `90m`, `2d`, `1h30m`. ValueError, one sentence, for what is none."""
    if not _SPAN.fullmatch(text):
        raise ValueError(f'"{text}" is no span of time, such as 90m, 1h30m or 2d.')
    seconds = sum((Decimal(number) * _SECONDS[unit] for number, unit in _SPAN_PART.findall(text)), Decimal())
    return int(seconds) if seconds == int(seconds) else float(seconds)


def numbers_of(text: str) -> list[int]:
    """The numbers in `0,3`. ValueError, one sentence, for what are none."""
    try:
        return [int(one) for one in text.split(",")]
    except ValueError:
        raise ValueError(f'"{text}" is no list of numbers, such as 0,3.') from None


def words_of(text: str) -> list[str]:
    """The words in `us-east-1,eu-west-1`."""
    return [word for word in text.split(",") if word]


def one_of(words: Iterable[str]) -> Parameter:
    """The form of a parameter that takes one of these words, as the API spells them."""
    return Parameter(choices=[str(word) for word in words])


def _typed(read: Callable[[str], Any], metavar: str) -> Parameter:
    def convert(_type: Any, tokens: Sequence[Token]) -> Any:
        # Only lists may be given in several parts, and those read as well when they are joined.
        return read(",".join(token.value for token in tokens))

    return Parameter(converter=convert, n_tokens=1, metavar=metavar, negative=())


Instant = Annotated[str, _typed(instant_of, "TIME")]
"""A time; one without an offset is UTC."""
Span = Annotated[float, _typed(seconds_of, "SPAN")]
"""A span of time, in seconds."""
Numbers = Annotated[list[int], _typed(numbers_of, "N,N")]
"""Numbers, divided by commas."""
Words = Annotated[list[str], _typed(words_of, "NAME,NAME")]
"""Names, divided by commas."""


def read_file(file: Path) -> bytes:
    """What is in a file, `-` being standard input. Raises CommandFailed."""
    try:
        return sys.stdin.buffer.read() if file == STANDARD_INPUT else file.read_bytes()
    except OSError as error:
        raise CommandFailed(f"{file} cannot be read: {error.strerror}.", 2) from None


def read_one(file: Path, table: str) -> dict[str, Any]:
    """The members of one thing in a file, TOML or JSON; in TOML also as the only row of `[[table]]`.

    Raises CommandFailed.
    """
    try:
        text = read_file(file).decode().removeprefix("\ufeff").strip()
        members = json.loads(text) if text.startswith(("{", "[")) and not text.startswith("[[") else tomllib.loads(text)
    except (ValueError, RecursionError) as error:
        raise CommandFailed(f"{file} is neither TOML nor JSON: {error}.", 2) from None
    if isinstance(members, dict) and set(members) == {table}:
        rows = members[table]
        members = rows[0] if isinstance(rows, list) and len(rows) == 1 else None
    if not isinstance(members, dict):
        raise CommandFailed(f"{file} does not hold one thing: give its members, or one [[{table}]].", 2)
    return members
