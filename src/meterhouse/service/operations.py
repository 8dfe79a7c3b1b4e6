"""The table of operations: a new one is a row here, its shapes, its rule, and a method on each client."""

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from msgspec import Struct

from meterhouse.core.call import Call, Plan
from meterhouse.core.catalog import Catalog
from meterhouse.core.decide.batch_meter_usage import plan_batch_meter_usage
from meterhouse.core.decide.meter_usage import plan_meter_usage
from meterhouse.core.decide.register_usage import plan_register_usage
from meterhouse.core.decide.resolve_customer import plan_resolve_customer
from meterhouse.core.shapes import (
    BatchMeterUsageRequest,
    MeterUsageRequest,
    RegisterUsageRequest,
    ResolveCustomerRequest,
)


class Operation(NamedTuple):
    """One operation of the API."""

    name: str
    request: type[Struct]
    plan: Callable[[Call[Any], Catalog, int], Plan]


OPERATIONS: Final = {
    row.name: row
    for row in (
        Operation("BatchMeterUsage", BatchMeterUsageRequest, plan_batch_meter_usage),
        Operation("MeterUsage", MeterUsageRequest, plan_meter_usage),
        Operation("RegisterUsage", RegisterUsageRequest, plan_register_usage),
        Operation("ResolveCustomer", ResolveCustomerRequest, plan_resolve_customer),
    )
}
