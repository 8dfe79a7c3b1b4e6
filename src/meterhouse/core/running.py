"""How long a task runs, and what that costs: RegisterUsage's metering, computed and never counted (contract §7).

A task or pod is metered from its registration to its end, by the second. Nothing ticks: the seconds follow from the
registration, the workload's signs of life and its end, so they come out the same whether the server ran all the time,
was stopped for a day, or was killed.

Instants are cut to whole seconds before they are subtracted, so the seconds of the hours add up to the seconds of the
whole.
"""

from collections.abc import Iterator
from typing import Final, NamedTuple

from meterhouse.core.catalog import Workload
from meterhouse.core.moment import SECOND

MINIMUM_SECONDS: Final = 60
"""What a task is billed at least."""
_HOUR_SECONDS: Final = 3600


class HourOfRunning(NamedTuple):
    """A task's seconds within one hour (hours since the epoch)."""

    hour: int
    seconds: int


def end_micros_of(workload: Workload, now_micros: int) -> int | None:
    """When a workload ended, as far as is known now; None while it runs.

    It ends by a call, or, with `heartbeat_seconds`, at its last sign of life once that is so long ago. A later sign of
    life takes such a lapse back.
    """
    if workload.ended_micros is not None:
        return workload.ended_micros
    if workload.heartbeat_seconds is None:
        return None
    last_seen = workload.launched_micros if workload.last_seen_micros is None else workload.last_seen_micros
    lapsed = now_micros >= last_seen + workload.heartbeat_seconds * SECOND
    return last_seen if lapsed else None


def hours_of_running(
    since_micros: int, end_micros: int | None, now_micros: int, *, from_hour: int | None = None
) -> Iterator[HourOfRunning]:
    """The seconds of each hour from a registration to the end, or to now; the shortfall of the minimum in the last.

    There is at least one hour, if only with no second in it yet. Hours before `from_hour` are passed over.
    """
    since = since_micros // SECOND
    until = max(since, (now_micros if end_micros is None else end_micros) // SECOND)
    shortfall = 0 if end_micros is None else max(0, MINIMUM_SECONDS - (until - since))
    last_hour = max(since, until - 1) // _HOUR_SECONDS
    first_hour = since // _HOUR_SECONDS
    for hour in range(first_hour if from_hour is None else max(first_hour, from_hour), last_hour + 1):
        begins, ends = max(since, hour * _HOUR_SECONDS), min(until, (hour + 1) * _HOUR_SECONDS)
        yield HourOfRunning(hour, ends - begins + (shortfall if hour == last_hour else 0))


def seconds_of_running(since_micros: int, end_micros: int | None, now_micros: int) -> int:
    """All seconds from a registration to the end, or to now, the minimum included once it has ended."""
    since = since_micros // SECOND
    until = max(since, (now_micros if end_micros is None else end_micros) // SECOND)
    return until - since if end_micros is None else max(MINIMUM_SECONDS, until - since)
