"""Software that meters itself: the seller and the buyers of `batches`, with a workload of each on every platform."""

from typing import Any, Final

from meterhouse.core.call import Following
from meterhouse.core.catalog import Catalog, DryRun, Fact, Platform, Workload
from meterhouse.core.decide.meter_usage import plan_meter_usage
from meterhouse.core.decide.register_usage import plan_register_usage
from meterhouse.core.shapes import MeterUsageRequest, MeterUsageResult, RegisterUsageRequest
from meterhouse.core.usage import timestamp_of
from tests.unit.batches import ACTIVE, CALLER, LEGACY, NOW, SELLER, agreement, at, market, product
from tests.unit.rule_calls import Caller, KeptRecords, Refused, result

KEPT: Final = "kept"
"""A new record."""
SAME: Final = "same"
"""The record that is kept under the key already."""
BY_THE_HOUR: Final = [Platform.EC2, Platform.ECS, Platform.EKS, Platform.FARGATE]

LITERAL: Final = "literal"
"""A product whose DryRun is answered with AWS's literal text."""
OUTSIDE: Final = "outside"
"""In place of a platform: the credentials are of no workload."""
EUROPE: Final = "eu-west-1"
HOME: Final = CALLER.region


def metered_market() -> Catalog:
    """The catalog of `batches`, with one product more, which is offered where the legacy one is."""
    catalog = market()
    regions = catalog.products[LEGACY].regions
    facts: list[Fact] = [product(LITERAL, dry_run=DryRun.LITERAL, regions=regions), agreement(LITERAL, ACTIVE)]
    for fact in facts:
        catalog.put(fact)
    return catalog


def workload(
    platform: str = Platform.EC2,
    account: str = ACTIVE,
    region: str = HOME,
    launched: str = "2026-11-01T00:00:00Z",
    number: int = 1,
) -> Workload | None:
    """An account's workload; its resource id does not tell its platform."""
    if platform == OUTSIDE:
        return None
    return Workload(f"resource-{account}-{number}", Platform(platform), account, region, at(launched))


def caller(
    platform: str = Platform.EC2,
    account: str = ACTIVE,
    region: str = HOME,
    launched: str = "2026-11-01T00:00:00Z",
    number: int = 1,
    runs_in: str | None = None,
    **more: Any,
) -> Caller:
    """A call from a workload, to its own Region unless `runs_in` is another."""
    running = workload(platform, account, runs_in or region, launched, number)
    return CALLER._replace(account=account, region=region, workload=running, **more)


def meter(
    catalog: Catalog,
    kept: KeptRecords,
    time: str = "12:20:00",
    *,
    code: str = LEGACY,
    by: Caller | None = None,
    now: int = NOW,
    **members: Any,
) -> Following | Refused:
    """What becomes of a MeterUsage of 17 users, unless `members` say otherwise."""
    said: dict[str, Any] = {"usage_dimension": "users", "usage_quantity": 17} | members
    request = MeterUsageRequest(code, timestamp_of(at(time)), **said)
    return result(plan_meter_usage, request, by or caller(), catalog, now, kept)


def register(
    catalog: Catalog,
    kept: KeptRecords,
    *,
    code: str = LEGACY,
    version: int = 1,
    nonce: str | None = None,
    by: Caller | None = None,
    now: int = NOW,
) -> Following | Refused:
    """What becomes of a RegisterUsage by a task on ECS, unless it is said by another."""
    request = RegisterUsageRequest(code, version, nonce)
    return result(plan_register_usage, request, by or caller(Platform.ECS), catalog, now, kept)


def id_of(following: Following | Refused) -> str:
    """The record id in the answer to a MeterUsage that was accepted."""
    assert isinstance(following, Following), following
    assert isinstance(following.answer, MeterUsageResult)
    assert following.answer.metering_record_id is not None
    return following.answer.metering_record_id


def seller_calls(platform: str = Platform.EC2, **more: Any) -> Caller:
    """A call from a workload in the seller's own account."""
    return caller(platform, SELLER, **more)


def outcome_of(following: Following | Refused, seen: set[str]) -> str:
    """What became of a call, in a word of the tables."""
    if isinstance(following, Refused):
        return following.code
    record_id = id_of(following)
    word = KEPT if following.entries else SAME
    assert (word == KEPT) == (record_id not in seen), "only a new record has a new id"
    seen.add(record_id)
    return word
