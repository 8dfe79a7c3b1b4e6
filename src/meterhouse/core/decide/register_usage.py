"""RegisterUsage: a container says that it runs; from then on the service meters it (contract §7).

The registration itself is kept as a usage record of quantity 0 without a dimension, in the hour it was made, and once
for all by a claim. How long the task runs is not kept at all: it follows from the workload (see `core.running`).
"""

from typing import Final

from meterhouse.core.call import Attestation, Call, Following, Plan, RecordIds, View
from meterhouse.core.catalog import Catalog, Platform, product_key_name
from meterhouse.core.decide.meter_usage import SUCCESS_CLAIM, entitled
from meterhouse.core.moment import hour_of
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.shapes import RegisterUsageRequest, RegisterUsageResult
from meterhouse.core.usage import ClaimKey, Entry, Partition, RecordKey, Series

PLATFORMS: Final = frozenset({Platform.ECS, Platform.EKS, Platform.FARGATE})
REGISTRATION_CLAIM: Final = "registration"
"""Kind of the claim that a workload makes when it is first registered for a product."""
FIRST_VERSION: Final = 1
"""The key version that is made when it is first needed."""
_INSTANT_BYTES: Final = 8


def plan_register_usage(call: Call[RegisterUsageRequest], catalog: Catalog, now_micros: int) -> Plan:
    """Judges what catalog and clock can settle. Raises the request's Fault; else says where to look."""
    said, workload, account = call.request, call.signer.workload, call.signer.account
    if workload is None or workload.platform not in PLATFORMS:
        raise Fault(FaultCode.PLATFORM_NOT_SUPPORTED, "the credentials are of no task or pod on ECS, EKS or Fargate")
    if workload.region != call.region:
        message = f"the task or pod runs in {workload.region}, the call went to {call.region}"
        raise Fault(FaultCode.INVALID_REGION, message)
    call.check_region()
    product = catalog.products.get(said.product_code)
    if product is None:
        raise Fault(FaultCode.INVALID_PRODUCT_CODE, f"ProductCode {said.product_code} is no product")
    if not product.serves(call.region):
        message = f"the product {product.code} is not served in the Region {call.region}"
        raise Fault(FaultCode.DISABLED_API, message)
    _check_version(catalog, product.code, said.public_key_version)
    preview = product.seller == account
    may = preview or entitled(catalog, product, account, now_micros, call.profile.last_hour_seconds)
    success = ClaimKey(SUCCESS_CLAIM, workload.resource_id)
    registration = ClaimKey(REGISTRATION_CLAIM, workload.resource_id)
    record_key = RecordKey(hour_of(now_micros), Series("", account, "", workload.resource_id))

    def follow(view: View, record_ids: RecordIds) -> Following:
        registered = view.claim(registration) is not None
        first_call = view.claim(success) is None
        if first_call and not may:
            raise Fault(FaultCode.CUSTOMER_NOT_ENTITLED, "the account has no active agreement for the product")
        claims = []
        if first_call and not preview:
            claims.append((success, b""))
        if not registered:
            claims.append((registration, now_micros.to_bytes(_INSTANT_BYTES, "big", signed=True)))
        entries = [] if registered else [Entry(record_key, now_micros, 0, record_ids(1).octets[0])]
        return Following(
            RegisterUsageResult(),
            entries,
            claims,
            keeps=not registered,
            attestation=Attestation(product.code, said.public_key_version, said.nonce, now_micros),
        )

    return Plan(follow, Partition(call.region, product.code), (record_key,), (success, registration))


def registered_micros_of(claim: bytes) -> int:
    """Since when a task or pod is metered for a product: the instant that its registration claim holds."""
    return int.from_bytes(claim, "big", signed=True)


def _check_version(catalog: Catalog, product: str, version: int) -> None:
    """Whether there is a key of this version; the first one may still have to be made."""
    if version != FIRST_VERSION and product_key_name(product, version) not in catalog.product_keys:
        message = f"the product {product} has no public key of version {version}"
        raise Fault(FaultCode.INVALID_PUBLIC_KEY_VERSION, message)
