"""Every number and window of the contract, one dated row per profile (contract §9).

A profile is a row, never a branch: what an older API did not know is a set of member names that are hidden, in requests
(ignored, as unknown members are) and in answers (left out). One profile holds for a whole server.
"""

from typing import Final

from msgspec import Struct

HOUR_SECONDS: Final = 3600

OPERATIONS: Final = frozenset({"BatchMeterUsage", "MeterUsage", "RegisterUsage", "ResolveCustomer"})


class Profile(Struct, frozen=True):
    """The service's rules as of a month. Windows in seconds, all other numbers are counts."""

    name: str
    batch_window_seconds: int
    """BatchMeterUsage refuses a timestamp of this age or more."""
    meter_window_seconds: int
    """MeterUsage refuses a timestamp of this age or more."""
    allocations_limit: int
    """The most allocations a record may have."""
    hidden: frozenset[str]
    """Members (wire names) that this API did not have."""
    operations: frozenset[str] = OPERATIONS
    agentcore: bool = False
    """Whether AgentCore workloads may meter."""
    tags_limit: int = 5
    future_seconds: int = 300
    """How far ahead of now a timestamp may lie."""
    month_grace_seconds: int = 6 * HOUR_SECONDS
    """How long after the month's end its usage is still taken."""
    last_hour_seconds: int = HOUR_SECONDS
    """How long after an agreement's end its last usage is still taken."""
    token_seconds: int = 4 * HOUR_SECONDS
    """How long a registration token lives."""


_DECIMALS: Final = frozenset({"QuantityAsDecimal", "UsageQuantityAsDecimal", "AllocatedUsageQuantityAsDecimal"})
_AFTER_2020: Final = frozenset({"LicenseArn", "CustomerAWSAccountId", "ClientToken"})

PROFILES: Final = {
    row.name: row
    for row in (
        Profile("2026-11", 24 * HOUR_SECONDS, 6 * HOUR_SECONDS, 2500, frozenset(), agentcore=True),
        Profile("2026-06", 6 * HOUR_SECONDS, 6 * HOUR_SECONDS, 2500, _DECIMALS | {"Metadata"}, agentcore=True),
        Profile("2020-11", HOUR_SECONDS, HOUR_SECONDS, 500, _DECIMALS | {"Metadata"} | _AFTER_2020),
        Profile(
            "2018-06",
            HOUR_SECONDS,
            HOUR_SECONDS,
            500,
            _DECIMALS | {"Metadata", "UsageAllocations"} | _AFTER_2020,
            operations=OPERATIONS - {"RegisterUsage"},
        ),
    )
}
"""Newest first."""

NEWEST: Final = PROFILES["2026-11"]
