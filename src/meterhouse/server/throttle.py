"""Throttling: a token bucket for each account, Region and operation, on real time (contract §9).

A bucket is kept as one instant, the one at which it will be full again; a call moves that instant by one token's worth.
So a full bucket is nothing at all, and the table is swept of full ones when it has doubled. An instant is counted in
whole ticks, a token's worth of time cut to them, so that no rounding adds up.

A bucket is never emptier than empty: where real time is set back, whoever calls waits for one token, and not for as
long as time went back.
"""

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct

from meterhouse.core.moment import SECOND
from meterhouse.core.profile import OPERATIONS
from meterhouse.server.buckets import SharedBuckets

SWEPT_AT: Final = 10_000
"""How many buckets there may be before the full ones are forgotten."""
TICKS: Final = 1_000_000
"""Ticks in a microsecond: a token's worth of time is no whole number of microseconds at every rate."""


class Rate(NamedTuple):
    """How often an operation may be called."""

    per_second: float
    burst: int
    """How many calls may come at once."""


AWS_RATES: Final[Mapping[str, Rate]] = {
    "BatchMeterUsage": Rate(10, 10),
    "MeterUsage": Rate(10, 10),
    "RegisterUsage": Rate(5, 5),
    "ResolveCustomer": Rate(10, 10),
}
"""AWS's own figures (ResolveCustomer's is a choice), a burst of one second's worth."""


class Throttle:
    """The buckets of one process, or those that it shares. An operation without a rate is not throttled."""

    def __init__(self, rates: Mapping[str, Rate], shared: SharedBuckets | None = None) -> None:
        self._shared = shared
        self._rates = {name: (int(SECOND * TICKS / rate.per_second), rate.burst) for name, rate in rates.items()}
        """Of each operation, a token's worth of time in ticks, and how many tokens its buckets hold."""
        self._full_at: dict[tuple[str, str, str], int] = {}
        self._swept_at = SWEPT_AT

    def admits(self, account: str, region: str, operation: str, now_micros: int) -> bool:
        """Takes a token for a call at an instant of real time; False where there is none."""
        rate = self._rates.get(operation)
        if rate is None:
            return True
        token, burst = rate
        now = now_micros * TICKS
        place = (account, region, operation)
        if self._shared is not None:
            admitted = self._shared.draw(place, now, lambda full_at: _drawn(full_at, now, token, burst))
            if admitted is not None:
                return admitted
        full_at, admitted = _drawn(self._full_at.get(place, now), now, token, burst)
        if admitted and len(self._full_at) >= self._swept_at and place not in self._full_at:
            self._full_at = {other: full for other, full in self._full_at.items() if full > now}
            self._swept_at = max(SWEPT_AT, 2 * len(self._full_at))
        self._full_at[place] = full_at
        return admitted


def _drawn(full_at: int, now: int, token: int, burst: int) -> tuple[int, bool]:
    """When a bucket will be full again once a token was drawn from it, and whether there was one."""
    before = min(max(full_at, now), now + burst * token)
    admitted = before + token <= now + burst * token
    return before + token * admitted, admitted


class BadRates(Exception):
    """A file of rates cannot be used; one sentence says which table and why."""


class _RateTable(Struct, forbid_unknown_fields=True):
    per_second: Annotated[float, Meta(gt=0, le=1_000_000)]
    burst: Annotated[int, Meta(ge=1, le=1_000_000)] | None = None


def read_rates(path: Path) -> Mapping[str, Rate]:
    """The rates in a TOML file of a table an operation. Raises BadRates."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise BadRates(f"--throttle: {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise BadRates(f"--throttle: {path} is not TOML: {error}.") from None
    unknown = sorted(tables.keys() - OPERATIONS)
    if unknown:
        raise BadRates(f"--throttle: {path}: [{unknown[0]}] is no operation; {', '.join(sorted(OPERATIONS))} are.")
    return {operation: _rate_of(path, operation, table) for operation, table in tables.items()}


def _why_not(operation: str, table: object) -> str:
    """What is wrong with an operation's table, one sentence."""
    if not isinstance(table, dict):
        return f"{operation} must be a table: [{operation}]."
    unknown = sorted(table.keys() - _RateTable.__struct_fields__)
    if unknown:
        return f"[{operation}] has {unknown[0]}; per_second and burst are known."
    if "per_second" not in table:
        return f"[{operation}] lacks per_second."
    return f"[{operation}] needs per_second above 0, and burst, where it is given, a whole number from 1; both to 10^6."


def _rate_of(path: Path, operation: str, table: object) -> Rate:
    try:
        row = msgspec.convert(table, _RateTable)
    except msgspec.ValidationError:
        raise BadRates(f"--throttle: {path}: {_why_not(operation, table)}") from None
    return Rate(row.per_second, max(1, round(row.per_second)) if row.burst is None else row.burst)
