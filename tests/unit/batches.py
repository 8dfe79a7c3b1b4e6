"""A seller with every kind of product and of customer, and batches to send for them at half past twelve."""

from typing import Any, Final

from meterhouse.core.call import Following
from meterhouse.core.catalog import (
    Account,
    Agreement,
    Catalog,
    Dimension,
    Fact,
    IdenticalRepeat,
    Integration,
    Product,
    ProductType,
    WindowEdge,
)
from meterhouse.core.decide.batch_meter_usage import plan_batch_meter_usage
from meterhouse.core.moment import micros_of_rfc3339
from meterhouse.core.shapes import BatchMeterUsageRequest, Timestamp, UsageRecord
from meterhouse.core.usage import timestamp_of
from tests.unit.rule_calls import Caller, KeptRecords, Refused, result

SELLER: Final = "111122223333"
OTHER_SELLER: Final = "999988887777"
NOW: Final = micros_of_rfc3339("2026-11-21T12:30:00Z")
CALLER: Final = Caller(SELLER, "us-east-1", regions=frozenset({"us-east-1", "eu-west-1"}))

# Products, by their codes
LEGACY: Final = "legacy"
SECOND: Final = "second-legacy"
CONCURRENT: Final = "concurrent"
REPEATING: Final = "repeating"
HOURLY: Final = "hourly"
FOREIGN: Final = "foreign"

# Buyers, by what they are to the legacy product
ACTIVE: Final = "400000000001"
PENDING: Final = "400000000002"
"""Accepted, and not yet activated."""
COMING: Final = "400000000003"
"""Begins at 13:00."""
YOUNG: Final = "400000000004"
"""Began at 10:30 today."""
LEAVING: Final = "400000000005"
"""Unsubscribed at 12:00."""
LEFT: Final = "400000000006"
"""Unsubscribed a microsecond more than one hour ago."""
CLOSED: Final = "400000000007"
"""Ended at once at 12:00."""
SUSPENDED: Final = "400000000008"
RENEWED: Final = "400000000009"
"""One agreement ended yesterday at 18:00, the next began today at 09:00."""
ELSEWHERE: Final = "400000000010"
"""A customer of the second product alone."""
UNKNOWN: Final = "400000000099"
"""Never seen."""

LONG_AGO: Final = micros_of_rfc3339("2026-01-01T00:00:00Z")


def at(time: str) -> int:
    """An instant of the day, 2026-11-21, or any other written whole."""
    return micros_of_rfc3339(time if "T" in time else f"2026-11-21T{time}Z")


def license_of(product: str, buyer: str, number: int = 1) -> str:
    """The ARN of a buyer's license of a product."""
    seller = OTHER_SELLER if product == FOREIGN else SELLER
    return f"arn:aws:license-manager::{seller}:license:l-{product}-{buyer}-{number}"


def identifier_of(buyer: str, seller: str = SELLER) -> str:
    """A seller's name for a buyer."""
    return f"X-{seller[:3]}-{buyer[-3:]}"


def agreement(product: str, buyer: str, start: int = LONG_AGO, number: int = 1, **more: Any) -> Agreement:
    """A buyer's agreement for a product."""
    seller = OTHER_SELLER if product == FOREIGN else SELLER
    return Agreement(
        f"agmt-{product}-{buyer}-{number}",
        product,
        buyer,
        license_of(product, buyer, number),
        None if product == CONCURRENT else identifier_of(buyer, seller),
        start,
        **more,
    )


def product(code: str, seller: str = SELLER, **more: Any) -> Product:
    """A product with the dimensions `users` and `requests`."""
    dimensions = (Dimension("users", "Users", 25_000_000), Dimension("requests", "Requests", 1))
    return Product(code, f"prod-{code}", code, seller, ProductType.SAAS, dimensions=dimensions, **more)


def market() -> Catalog:
    """The catalog of all of them."""
    facts: list[Fact] = [
        product(LEGACY, regions=("us-east-1", "sa-east-1")),
        product(SECOND),
        product(CONCURRENT, integration=Integration.CONCURRENT),
        product(REPEATING, identical_repeat=IdenticalRepeat.DUPLICATE_RECORD),
        product(HOURLY, window_edge=WindowEdge.HOUR),
        product(FOREIGN, OTHER_SELLER),
        *(agreement(code, ACTIVE) for code in (LEGACY, SECOND, CONCURRENT, REPEATING, HOURLY, FOREIGN)),
        agreement(FOREIGN, UNKNOWN),
        agreement(LEGACY, PENDING, pending=True),
        agreement(LEGACY, COMING, at("13:00:00")),
        agreement(LEGACY, YOUNG, at("10:30:00")),
        agreement(LEGACY, LEAVING, end_micros=at("12:00:00")),
        agreement(LEGACY, LEFT, end_micros=at("11:29:59.999999")),
        agreement(LEGACY, CLOSED, end_micros=at("12:00:00"), closed=True),
        agreement(LEGACY, SUSPENDED),
        agreement(LEGACY, RENEWED, end_micros=at("2026-11-20T18:00:00Z")),
        agreement(LEGACY, RENEWED, at("09:00:00"), 2),
        agreement(SECOND, ELSEWHERE),
        Account(SUSPENDED, suspended=True),
    ]
    catalog = Catalog()
    for fact in facts:
        catalog.put(fact)
    return catalog


def said(time: str = "12:20:00", **members: Any) -> UsageRecord[Timestamp]:
    """A record of the active customer, unless it says otherwise; `members` are those of the shape."""
    given: dict[str, Any] = {"dimension": "users", "customer_aws_account_id": ACTIVE, "quantity": 17} | members
    return UsageRecord(timestamp_of(at(time)), **given)


def send(
    catalog: Catalog,
    kept: KeptRecords,
    *records: UsageRecord[Timestamp],
    code: str | None = LEGACY,
    caller: Caller = CALLER,
    now: int = NOW,
) -> Following | Refused:
    """What becomes of a batch."""
    request = BatchMeterUsageRequest(list(records), code)
    return result(plan_batch_meter_usage, request, caller, catalog, now, kept)
