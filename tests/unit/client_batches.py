"""What the tests of batches have in common: records that are easily made, and groups that are easily counted."""

from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from meterhouse.client.outcomes import BatchResult
from meterhouse.client.records import UsageRecord
from meterhouse.client.settings import ClientOptions
from tests.unit.client_ways import Calls

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
AT_ONCE = ClientOptions(requests_per_second=None)


def used(number: int, dimension: str = "users", quantity: int | Decimal = 1, **more: Any) -> UsageRecord:
    """The usage of one customer among many; of a customer without subscription with `account="9…"`."""
    account = more.pop("account", f"{444400000000 + number}")
    return UsageRecord(timestamp=NOON, dimension=dimension, quantity=quantity, customer_aws_account_id=account, **more)


def meter(calls: Calls, records: Sequence[UsageRecord], **more: Any) -> BatchResult:
    """As `batch_meter_usage`, for the product `p`."""
    result: BatchResult = calls.batch_meter_usage(records, **{"product_code": "p", **more})
    assert [outcome.record for outcome in result] == list(records)
    assert len(result) == len(records)
    return result


def groups(result: BatchResult) -> dict[str, int]:
    """How many records each group has, empty ones left out."""
    counts = {
        "accepted": len(result.accepted),
        "replayed": len(result.replayed),
        "conflicted": len(result.conflicted),
        "not_subscribed": len(result.not_subscribed),
        "refused": len(result.refused),
        "unsent": len(result.unsent),
    }
    return {name: count for name, count in counts.items() if count}
