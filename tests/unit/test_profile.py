"""The dated rules, row by row: what each month's API knew, and by which numbers it judged (contract §9)."""

from typing import Any, Final

import pytest

from meterhouse.core.profile import HOUR_SECONDS, NEWEST, OPERATIONS, PROFILES

DECIMALS: Final = {"QuantityAsDecimal", "UsageQuantityAsDecimal", "AllocatedUsageQuantityAsDecimal"}
LATER_NAMES: Final = {"LicenseArn", "CustomerAWSAccountId", "ClientToken"}

ROWS: Final[dict[str, dict[str, Any]]] = {
    "2026-11": {
        "batch_window_seconds": 24 * HOUR_SECONDS,
        "meter_window_seconds": 6 * HOUR_SECONDS,
        "allocations_limit": 2500,
        "hidden": set(),
        "operations": OPERATIONS,
        "agentcore": True,
    },
    "2026-06": {
        "batch_window_seconds": 6 * HOUR_SECONDS,
        "meter_window_seconds": 6 * HOUR_SECONDS,
        "allocations_limit": 2500,
        "hidden": DECIMALS | {"Metadata"},
        "operations": OPERATIONS,
        "agentcore": True,
    },
    "2020-11": {
        "batch_window_seconds": HOUR_SECONDS,
        "meter_window_seconds": HOUR_SECONDS,
        "allocations_limit": 500,
        "hidden": DECIMALS | {"Metadata"} | LATER_NAMES,
        "operations": OPERATIONS,
        "agentcore": False,
    },
    "2018-06": {
        "batch_window_seconds": HOUR_SECONDS,
        "meter_window_seconds": HOUR_SECONDS,
        "hidden": DECIMALS | {"Metadata", "UsageAllocations"} | LATER_NAMES,
        "operations": OPERATIONS - {"RegisterUsage"},
        "agentcore": False,
    },
}


@pytest.mark.parametrize("name", ROWS)
def test_a_profile_is_what_its_month_had(name: str) -> None:
    """Windows, limits, members and operations are those of the time; the rest never changed."""
    profile = PROFILES[name]
    assert {member: getattr(profile, member) for member in ROWS[name]} == ROWS[name]
    assert profile.name == name
    assert (profile.tags_limit, profile.future_seconds, profile.month_grace_seconds) == (5, 300, 6 * HOUR_SECONDS)
    assert (profile.last_hour_seconds, profile.token_seconds) == (HOUR_SECONDS, 4 * HOUR_SECONDS)


def test_the_newest_profile_is_the_default_and_comes_first() -> None:
    """Profiles stand from the newest to the oldest."""
    assert list(PROFILES) == list(ROWS) == sorted(ROWS, reverse=True)
    assert PROFILES["2026-11"] is NEWEST
