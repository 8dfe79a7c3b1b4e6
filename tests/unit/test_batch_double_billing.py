"""BatchMeterUsage: the trap of a legacy product, whose usage can be named in two forms and then be billed twice
(contract §4). Both are accepted; whoever falls into it is warned.
"""

import pytest

from meterhouse.core.call import Call, DoubleBilling, Following, Signer
from meterhouse.core.decide.batch_meter_usage import plan_batch_meter_usage
from meterhouse.core.moment import hour_of
from meterhouse.core.outcome import Outcome
from meterhouse.core.shapes import BatchMeterUsageRequest, Timestamp, UsageRecord
from meterhouse.core.usage import RecordKey, Series
from tests.unit.batches import (
    ACTIVE,
    CALLER,
    CONCURRENT,
    LEGACY,
    NOW,
    YOUNG,
    agreement,
    license_of,
    market,
    said,
    send,
)
from tests.unit.rule_calls import KeptRecords, Refused


def accepted(found: Following | Refused, count: int) -> list[DoubleBilling]:
    """The warnings of a batch whose records are all accepted."""
    assert isinstance(found, Following), found
    assert list(found.outcomes) == [Outcome.ACCEPTED] * count
    return list(found.warnings)


def test_both_forms_of_a_legacy_product_warn_of_double_billing() -> None:
    """Accepted both, and whichever comes second brings a warning with both ids."""
    by_product, by_license = said(), said(license_arn=license_of(LEGACY, ACTIVE))
    for first, second in ((by_product, by_license), (by_license, by_product)):
        catalog, kept = market(), KeptRecords()
        assert accepted(send(catalog, kept, first), 1) == []
        (there,) = (record.record_id for record in kept.records.values())
        warnings = accepted(send(catalog, kept, second), 1)
        (here,) = (record.record_id for record in kept.records.values() if record.record_id != there)
        assert warnings == [DoubleBilling(ACTIVE, "users", hour_of(NOW), here, there)]


def test_both_forms_in_one_batch_warn_once() -> None:
    """Also where the other form is in the same batch; a replay warns no more."""
    catalog, kept = market(), KeptRecords()
    records = said(), said(license_arn=license_of(LEGACY, ACTIVE))
    assert len(accepted(send(catalog, kept, *records), 2)) == 1
    again = send(catalog, kept, *records)
    assert isinstance(again, Following)
    assert list(again.warnings) == []


@pytest.mark.parametrize(
    "other",
    [
        said("11:20:00", license_arn=license_of(LEGACY, ACTIVE)),
        said(dimension="requests", license_arn=license_of(LEGACY, ACTIVE)),
        said(license_arn=license_of(LEGACY, YOUNG), customer_aws_account_id=YOUNG),
    ],
)
def test_other_usage_brings_no_warning(other: UsageRecord[Timestamp]) -> None:
    """Another hour, dimension or customer is not the same usage."""
    assert accepted(send(market(), KeptRecords(), said(), other), 2) == []


def test_only_a_product_that_takes_both_forms_is_looked_at_for_a_rival() -> None:
    """What cannot be billed twice costs no look at the ledger."""
    rivals = {}
    for code, usage in ((LEGACY, said()), (None, said(license_arn=license_of(CONCURRENT, ACTIVE)))):
        request = BatchMeterUsageRequest([usage], code)
        call = Call(request, Signer(CALLER.account, "arn"), "us-east-1", CALLER.profile)
        rivals[code] = list(plan_batch_meter_usage(call, market(), NOW).rivals)
    assert rivals == {LEGACY: [RecordKey(hour_of(NOW), Series(license_of(LEGACY, ACTIVE), ACTIVE, "users"))], None: []}


def test_a_warning_names_each_license_that_bills_the_same_usage() -> None:
    """A buyer with two licenses can be billed three times, and is warned of it twice."""
    catalog, kept = market(), KeptRecords()
    catalog.put(agreement(LEGACY, ACTIVE, number=2))
    licenses = [said(license_arn=license_of(LEGACY, ACTIVE, number)) for number in (1, 2)]
    assert accepted(send(catalog, kept, *licenses), 2) == []
    assert len(accepted(send(catalog, kept, said()), 1)) == 2
