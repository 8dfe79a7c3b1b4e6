"""What can be told of records without asking the service."""

from collections.abc import Sequence

from meterhouse.client.outcomes import Problem
from meterhouse.client.records import UsageRecord
from meterhouse.client.waves import admit
from meterhouse.core.catalog import WindowEdge
from meterhouse.core.profile import NEWEST
from meterhouse.core.usage import micros_of
from meterhouse.core.window import window_breach


def problems_of(records: Sequence[UsageRecord], product_code: str | None, now_micros: int) -> tuple[Problem, ...]:
    """What breaks a rule, by place: constraints, tags, sums; and, by the caller's clock, the time window."""
    admitted = admit(records, product_code)
    reasons = {place: breach.message for place, breach in admitted.refused.items()}
    for place, said in admitted.said():
        breach = window_breach(
            micros_of(said.timestamp), now_micros, NEWEST.batch_window_seconds, NEWEST, WindowEdge.INSTANT
        )
        if breach is not None:
            reasons[place] = f"the timestamp {breach}"
    return tuple(Problem(place, records[place], reasons[place]) for place in sorted(reasons))
