"""MeterUsage: software that runs at the buyer meters itself, one quantity a call (contract §6).

Who calls is read from the credentials, never from the body: the workload, and with it the customer. What needs no
ledger is judged first; of the ledger two things are asked besides the record itself. *Was this workload's first call
for the product a success?* Then its entitlement is judged no more: it goes on, and is charged, after unsubscribing.
*What was this ClientToken bound to?* Every SDK sends a fresh one on every call, so a token never makes a record a new
one; it only unmasks a retry whose parameters have changed.

On AgentCore it is the other way round: the token is the record's identity, times are not rounded, and calls add up.
"""

from hashlib import sha256
from typing import Final

import msgspec

from meterhouse.core.allocations import allocation_breach, allotments, tag_breach
from meterhouse.core.call import Call, Following, Plan, RecordIds, Refusal, View
from meterhouse.core.catalog import AgreementState, Catalog, DryRun, Platform, Product, Workload
from meterhouse.core.moment import HOUR, SECOND, hour_of, rfc3339
from meterhouse.core.outcome import Fault, FaultCode, Step
from meterhouse.core.quantity import micros_of as quantity_micros_of
from meterhouse.core.shapes import MeterUsageRequest, MeterUsageResult, Timestamp
from meterhouse.core.usage import ClaimKey, Entry, Kept, Partition, RecordKey, Series, micros_of, text_of_id
from meterhouse.core.window import window_breach

Said = MeterUsageRequest[Timestamp]

SUCCESS_CLAIM: Final = "success"
"""Kind of the claim that a workload makes with its first success for a product."""
TOKEN_CLAIM: Final = "client token"
"""Kind of the claim that binds a ClientToken to its parameters, for a workload and a product."""
_FINGERPRINT_BYTES: Final = 32
_HOUR_BYTES: Final = 8


def plan_meter_usage(call: Call[Said], catalog: Catalog, now_micros: int) -> Plan:
    """Judges what catalog and clock can settle. Raises the request's Fault; else says where to look."""
    said, profile = call.request, call.profile
    workload = call.signer.workload
    agentcore = workload is not None and workload.platform is Platform.AGENTCORE and profile.agentcore
    _check_combination(said, agentcore=agentcore)
    if (
        workload is None
        or workload.platform is Platform.NONE
        or (workload.platform is Platform.AGENTCORE and not agentcore)
    ):
        raise Fault(FaultCode.PLATFORM_NOT_SUPPORTED, "the credentials are of no workload on a supported platform")
    product = _product_in_region(call, workload, catalog)
    preview = product.seller == call.signer.account
    may = preview or entitled(catalog, product, call.signer.account, now_micros, profile.last_hour_seconds)
    refusal = _refusal_behind_entitlement(call, catalog, product, workload, now_micros, agentcore=agentcore)
    if may and refusal is not None:
        raise refusal.fault()
    timestamp_micros = micros_of(said.timestamp)
    token = said.client_token if agentcore else None
    key = RecordKey(
        hour_of(timestamp_micros),
        Series("", call.signer.account, said.usage_dimension, workload.resource_id, token or ""),
    )
    success = ClaimKey(SUCCESS_CLAIM, workload.resource_id)
    bound = None if said.client_token is None else ClaimKey(TOKEN_CLAIM, _token_key(workload, said.client_token))
    meant = _Metering(
        said=said,
        entry_key=key,
        timestamp_micros=timestamp_micros,
        quantity_micros=quantity_micros_of(said.usage_quantity, said.usage_quantity_as_decimal),
        success=success,
        bound=bound,
        fingerprint=_fingerprint(said, timestamp_micros if agentcore else key.hour),
        preview=preview,
        entitled=may,
        refusal=refusal,
        literal_dry_run=product.dry_run is DryRun.LITERAL,
    )
    claims = (success,) if bound is None else (success, bound)
    return Plan(meant.follow, Partition(call.region, product.code), (key,), claims)


def entitled(catalog: Catalog, product: Product, account: str, now_micros: int, last_hour_seconds: int) -> bool:
    """Whether an account has an agreement for a product that is active now, or in its last hour; not if suspended."""
    open_states = (AgreementState.ACTIVE, AgreementState.UNSUBSCRIBING)
    agreements = catalog.agreements_of_buyer.get((product.code, account), ())
    return not catalog.suspended(account) and any(
        agreement.state(now_micros, last_hour_seconds * SECOND) in open_states for agreement in agreements
    )


def _check_combination(said: Said, *, agentcore: bool) -> None:
    if said.usage_quantity is not None and said.usage_quantity_as_decimal is not None:
        raise Fault(FaultCode.VALIDATION, "UsageQuantity and UsageQuantityAsDecimal must not both be given")
    if agentcore and said.client_token is None:
        raise Fault(
            FaultCode.VALIDATION,
            "1 validation error detected: Value null at 'clientToken' failed to satisfy constraint: "
            "Member must not be null",
        )


def _product_in_region(call: Call[Said], workload: Workload, catalog: Catalog) -> Product:
    """The steps REGION, PRODUCT and PRODUCT_REGION."""
    if workload.region != call.region:
        message = f"the workload runs in {workload.region}, the call went to {call.region}"
        raise Fault(FaultCode.INVALID_ENDPOINT_REGION, message)
    call.check_region(FaultCode.INVALID_ENDPOINT_REGION)
    code = call.request.product_code
    product = catalog.products.get(code)
    if product is None:
        raise Fault(FaultCode.INVALID_PRODUCT_CODE, f"ProductCode {code} is no product")
    if not product.serves(call.region):
        message = f"the product {code} is not served in the Region {call.region}"
        raise Fault(FaultCode.INVALID_ENDPOINT_REGION, message)
    return product


def _refusal_behind_entitlement(
    call: Call[Said], catalog: Catalog, product: Product, workload: Workload, now_micros: int, *, agentcore: bool
) -> Refusal | None:
    """The first of DIMENSION, WINDOW, TAGS and ALLOCATIONS."""
    said, profile = call.request, call.profile
    if said.usage_dimension not in catalog.dimensions[product.code]:
        reason = f"{said.usage_dimension!r} is no dimension of the product {product.code}"
        return Refusal(Step.DIMENSION, -1, FaultCode.INVALID_USAGE_DIMENSION, reason)
    timestamp_micros = micros_of(said.timestamp)
    breach = window_breach(timestamp_micros, now_micros, profile.meter_window_seconds, profile, product.window_edge)
    if breach is None and timestamp_micros < hour_of(workload.launched_micros) * HOUR:
        breach = f"{rfc3339(timestamp_micros)} lies before the hour in which the workload was launched"
    if breach is not None:
        return Refusal(Step.WINDOW, -1, FaultCode.TIMESTAMP_OUT_OF_BOUNDS, f"the timestamp {breach}")
    breach = tag_breach(said.usage_allocations, profile)
    if breach is not None:
        return Refusal(Step.TAGS, -1, FaultCode.INVALID_TAG, breach)
    if agentcore and said.usage_allocations is not None:
        breach = "an AgentCore workload takes no allocations"
    else:
        breach = allocation_breach(said.usage_allocations, said.usage_quantity, said.usage_quantity_as_decimal, profile)
    if breach is not None:
        return Refusal(Step.ALLOCATIONS, -1, FaultCode.INVALID_USAGE_ALLOCATIONS, breach)
    return None


def _token_key(workload: Workload, token: str) -> str:
    return f"{workload.resource_id}\n{token}"


def _fingerprint(said: Said, when: int) -> bytes:
    """What a token is bound to: hour (AgentCore: instant), dimension, quantity by value, allocations in any order."""
    parts = sorted((part.quantity_micros, sorted(part.tags)) for part in allotments(said.usage_allocations))
    quantity_micros = quantity_micros_of(said.usage_quantity, said.usage_quantity_as_decimal)
    return sha256(msgspec.msgpack.encode((when, said.usage_dimension, quantity_micros, parts))).digest()


def hour_of_token(value: bytes) -> int | None:
    """The hour of the usage that a ClientToken was bound to; None where its claim is of a version that kept none.

    A call that names an hour is refused once its window has closed, so a token is worth nothing much later.
    """
    hour = value[_FINGERPRINT_BYTES:]
    return int.from_bytes(hour, "big", signed=True) if hour else None


class _Metering(msgspec.Struct, frozen=True):
    """A call on its way into the turn."""

    said: Said
    entry_key: RecordKey
    timestamp_micros: int
    quantity_micros: int
    success: ClaimKey
    bound: ClaimKey | None
    fingerprint: bytes
    preview: bool
    entitled: bool
    refusal: Refusal | None
    """What refuses the call if its entitlement does not: who is not entitled now may have been at a first call."""
    literal_dry_run: bool

    def follow(self, view: View, record_ids: RecordIds) -> Following:
        """Inside the turn: entitlement, what was carried over, then token and key."""
        dry_run = bool(self.said.dry_run)
        first_call = view.claim(self.success) is None
        if first_call and not self.entitled:
            literal = dry_run and self.literal_dry_run
            code = FaultCode.UNAUTHORIZED if literal else FaultCode.CUSTOMER_NOT_ENTITLED
            raise Fault(code, "the account has no active agreement for the product")
        if self.refusal is not None:
            raise self.refusal.fault()
        unbound = self._check_token(view)
        kept = self._kept(view)
        if dry_run:
            return self._dry_run(record_ids)
        (record_id,) = (kept.record_id,) if kept is not None else record_ids(1).octets
        claims = []
        if first_call and not self.preview:
            claims.append((self.success, b""))
        if unbound is not None:
            claims.append((unbound, self.fingerprint + self.entry_key.hour.to_bytes(_HOUR_BYTES, "big", signed=True)))
        entries = [] if kept is not None else [self._entry(record_id)]
        return Following(MeterUsageResult(text_of_id(record_id)), entries, claims, keeps=bool(entries))

    def _check_token(self, view: View) -> ClaimKey | None:
        """The token's claim where it is still to be made. Raises Fault where it was made for other parameters."""
        if self.bound is None:
            return None
        value = view.claim(self.bound)
        if value is not None and value[:_FINGERPRINT_BYTES] != self.fingerprint:
            raise Fault(FaultCode.IDEMPOTENCY_CONFLICT, "the ClientToken was used before with other parameters")
        return self.bound if value is None else None

    def _kept(self, view: View) -> Kept | None:
        """What is kept under the key already. Raises Fault where that is another quantity."""
        kept = view.record(self.entry_key)
        if kept is not None and kept.quantity_micros != self.quantity_micros:
            reason = "usage of this workload, dimension and hour is kept with another quantity"
            raise Fault(FaultCode.DUPLICATE_REQUEST, reason)
        return kept

    def _dry_run(self, record_ids: RecordIds) -> Following:
        """Allowed, and nothing is kept: an id that exists nowhere, or AWS's literal answer."""
        if self.literal_dry_run:
            raise Fault(FaultCode.DRY_RUN_OPERATION, "the request would have succeeded, but DryRun is set")
        return Following(MeterUsageResult(record_ids(1).texts[0]))

    def _entry(self, record_id: bytes) -> Entry:
        allocations = allotments(self.said.usage_allocations)
        return Entry(self.entry_key, self.timestamp_micros, self.quantity_micros, record_id, allocations)
