"""BatchMeterUsage: up to 25 records of one product's usage, sent by its seller (contract §4).

How a batch is judged. Most of what can be wrong with a record depends on whom and what it names, not on its hour or
quantity, and sellers name the same customers and dimensions hour after hour. So the steps from COMBINATION to DIMENSION
are judged once for each distinct identity and, where nothing is wrong, remembered beside the catalog (`Meant`), until
the catalog changes; the rest is judged record by record. A record's first refusal is its least by step; the least of
all records by (step, index) is the request's. That is the same as finishing each step for all records before the next
begins.

Only one step needs the ledger before the end: a replay is exempt from LICENSE_PERIOD, so a record outside its license's
period is a refusal *unless it is kept already*. Such records are carried into the turn as `doubtful`, and so is the
first refusal of the steps behind (TAGS, ALLOCATIONS).

Then each record's outcome, in the order of `Outcome`: replay, subscription, key. Two records with one key in one batch:
the second is judged as if it had been sent later.
"""

from collections.abc import Iterator, Sequence
from typing import Final, overload

from msgspec import Struct

from meterhouse.core.allocations import allocation_breach, allotments, tag_breach
from meterhouse.core.call import Call, DoubleBilling, Following, Plan, RecordIds, Refusal, View, answered
from meterhouse.core.catalog import Agreement, Catalog, IdenticalRepeat, Integration, Product, WindowEdge
from meterhouse.core.moment import HOUR, SECOND, hour_of
from meterhouse.core.outcome import STATUS_OF_OUTCOME, SUCCESS, FaultCode, Outcome, Step
from meterhouse.core.profile import Profile
from meterhouse.core.quantity import MICROS, micros_of_decimal
from meterhouse.core.shapes import (
    BatchMeterUsageRequest,
    BatchMeterUsageResult,
    Timestamp,
    UsageRecord,
    UsageRecordResult,
)
from meterhouse.core.usage import (
    BY_LICENSE,
    BY_PRODUCT,
    Entry,
    Kept,
    Partition,
    RecordKey,
    Series,
    micros_of,
    text_of_id,
)
from meterhouse.core.window import window_at, window_breach

Said = UsageRecord[Timestamp]

_NEVER: Final = 2**63

_OF_REQUEST: Final = (FaultCode.INVALID_PRODUCT_CODE,)
"""What refuses the request as such, so that no record is named."""


class Meant(Struct, frozen=True):
    """Whom and what a record's names mean, for as long as the catalog stays as it is."""

    refusal: Refusal | None
    """The first that its names alone bring about (its place still to be filled in)."""
    series: Series = Series("", "", "")
    product: Product | None = None
    license: Agreement | None = None
    """The agreement named by the record's license, if it names one."""
    agreements: tuple[Agreement, ...] = ()
    """Those that may take the usage, in the order in which they are tried."""
    suspended: bool = False
    rivals: tuple[Series, ...] = ()
    """The same usage under the other form of naming it."""
    steady_since_micros: int = _NEVER
    """When usage began to be taken, where there is one agreement and nothing that could end it but a change of the
    catalog; from then on all usage from `steady_from_micros` is taken. Else never, and the agreements are asked."""
    steady_from_micros: int = _NEVER


class _Judged(Struct, frozen=True, gc=False):
    """A record on its way into the turn."""

    said: Said
    key: RecordKey
    timestamp_micros: int
    quantity_micros: int
    subscribed: bool
    doubtful: bool
    """Outside its license's period: refused, unless it is kept already."""
    rivals: tuple[Series, ...]


def plan_batch_meter_usage(call: Call[BatchMeterUsageRequest[Timestamp]], catalog: Catalog, now_micros: int) -> Plan:
    """Judges what catalog and clock can settle. Raises the request's Fault; else says where to look."""
    records = call.request.usage_records
    if not records:
        return answered(BatchMeterUsageResult([], []))
    meanings = _meanings(call, catalog)
    product = next((one.product for one in meanings if one.product is not None), None)
    first, judged = _judge_records(call, meanings, product, now_micros)
    if first is not None and first.step < Step.LICENSE_PERIOD:
        raise first.fault()
    assert product is not None, "a batch whose product is unknown has been refused"
    if first is not None and not any(one.doubtful for one in judged):
        raise first.fault()

    def follow(view: View, record_ids: RecordIds) -> Following:
        return _follow(judged, first, product.identical_repeat, view, record_ids)

    forms = 0
    for meant in meanings:
        forms |= BY_LICENSE if meant.series.license else BY_PRODUCT
    return Plan(
        follow,
        Partition(call.region, product.code),
        [one.key for one in judged],
        rivals=_Rivals(judged),
        forms=forms,
    )


class _Rivals(Sequence[RecordKey]):
    """The keys of the records' rivals, made only where someone looks: most partitions see one form alone."""

    def __init__(self, judged: Sequence[_Judged]) -> None:
        self._judged = judged

    def __len__(self) -> int:
        return sum(len(one.rivals) for one in self._judged)

    def __iter__(self) -> Iterator[RecordKey]:
        return (RecordKey(one.key.hour, series) for one in self._judged for series in one.rivals)

    @overload
    def __getitem__(self, place: int) -> RecordKey: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[RecordKey]: ...
    def __getitem__(self, place: int | slice) -> RecordKey | Sequence[RecordKey]:
        return list(self)[place]


# --- names ------------------------------------------------------------------------------------------------------------


def _meanings(call: Call[BatchMeterUsageRequest[Timestamp]], catalog: Catalog) -> list[Meant]:
    seller, code = call.signer.account, call.request.product_code or None
    remembered = catalog.remembered(("BatchMeterUsage", seller, code or ""))
    meanings = []
    for said in call.request.usage_records:
        names = (said.customer_identifier, said.customer_aws_account_id, said.license_arn, said.dimension)
        meant = remembered.get(names)
        if meant is None:
            meant = _meaning(said, seller, code, catalog)
            if meant.refusal is None:  # what is refused could be made up without end, and be of any size
                remembered[names] = meant
        meanings.append(meant)
    return meanings


def _meaning(said: Said, seller: str, code: str | None, catalog: Catalog) -> Meant:
    """The steps COMBINATION to DIMENSION as far as they depend on the record's names, first one wins."""
    identifier, account, arn = said.customer_identifier or None, said.customer_aws_account_id, said.license_arn
    if (identifier is None) == (account is None):
        which = "neither" if account is None else "both"
        return _refused(
            Step.COMBINATION,
            FaultCode.VALIDATION,
            f"exactly one of CustomerIdentifier and CustomerAWSAccountId must be given, not {which}",
        )
    if arn is None and code is None:
        return _refused(
            Step.COMBINATION, FaultCode.VALIDATION, "a LicenseArn must be given where ProductCode is absent"
        )
    license_ = None if arn is None else catalog.agreement_of_license.get(arn)
    product = catalog.products.get(code if code is not None else license_.product if license_ is not None else "")
    if code is not None and (
        product is None or product.seller != seller or product.integration is Integration.CONCURRENT
    ):
        return _refused(Step.PRODUCT, FaultCode.INVALID_PRODUCT_CODE, _bad_code(code, product, seller))
    if arn is not None and (license_ is None or product is None or product.seller != seller):
        return _refused(Step.PRODUCT, FaultCode.INVALID_LICENSE, "the LicenseArn names no license of this seller")
    assert product is not None, "a record has a product by its code or by its license"
    if license_ is not None and license_.product != product.code:
        reason = "the LicenseArn is of another product than ProductCode names"
        return _refused(Step.PRODUCT, FaultCode.INVALID_LICENSE, reason, product)
    buyer = account or catalog.buyer_of_identifier.get((seller, identifier or ""))
    if buyer is None or (identifier is not None and product.integration is Integration.CONCURRENT):
        reason = "the CustomerIdentifier is no customer of this seller's product"
        return _refused(Step.CUSTOMER, FaultCode.INVALID_CUSTOMER_IDENTIFIER, reason, product)
    if license_ is not None and license_.buyer != buyer:
        reason = "the LicenseArn is another customer's"
        return _refused(Step.LICENSE_CUSTOMER, FaultCode.INVALID_LICENSE, reason, product)
    if said.dimension not in catalog.dimensions[product.code]:
        reason = f"{said.dimension!r} is no dimension of the product {product.code}"
        return _refused(Step.DIMENSION, FaultCode.INVALID_USAGE_DIMENSION, reason, product)
    of_buyer = catalog.agreements_of_buyer.get((product.code, buyer), ())
    asked = (license_,) if license_ is not None else of_buyer
    suspended = catalog.suspended(buyer)
    steady = asked[0] if len(asked) == 1 and not suspended and _is_steady(asked[0]) else None
    return Meant(
        None,
        Series(arn or "", buyer, said.dimension),
        product,
        license_,
        asked,
        suspended,
        _rivals(product, license_, of_buyer, buyer, said.dimension),
        _NEVER if steady is None else steady.start_micros,
        _NEVER if steady is None else hour_of(steady.start_micros) * HOUR,
    )


def _is_steady(agreement: Agreement) -> bool:
    return not agreement.pending and not agreement.closed and agreement.end_micros is None


def _refused(step: Step, code: FaultCode, reason: str, product: Product | None = None) -> Meant:
    return Meant(Refusal(step, -1, code, reason), product=product)


def _bad_code(code: str, product: Product | None, seller: str) -> str:
    if product is not None and product.seller == seller:
        return f"the product {code} takes LicenseArn alone, no ProductCode"
    return f"ProductCode {code} is no product of this account"


def _rivals(
    product: Product, license_: Agreement | None, agreements: tuple[Agreement, ...], buyer: str, dimension: str
) -> tuple[Series, ...]:
    """Only a legacy product takes both forms (contract §4, the double-billing trap)."""
    if product.integration is not Integration.LEGACY:
        return ()
    if license_ is not None:
        return (Series("", buyer, dimension),)
    return tuple(Series(agreement.license_arn, buyer, dimension) for agreement in agreements)


# --- refusals ---------------------------------------------------------------------------------------------------------


def _refusals_of_request(call: Call[BatchMeterUsageRequest[Timestamp]], product: Product | None) -> list[Refusal]:
    """What the whole request may be refused for, whichever its records."""
    refusals = []
    if not call.region_is_served:
        reason = f"the Region {call.region} is not served here"
        refusals.append(Refusal(Step.REGION, -1, FaultCode.DISABLED_API, reason))
    if product is not None and not product.serves(call.region):
        reason = f"the product {product.code} is not served in the Region {call.region}"
        refusals.append(Refusal(Step.PRODUCT_REGION, -1, FaultCode.DISABLED_API, reason))
    return refusals


def _first_refusal(
    index: int, said: Said, meant: Meant, product: Product | None, now_micros: int, profile: Profile
) -> Refusal | None:
    """The least refusal of one record by step, LICENSE_PERIOD left out (it needs the ledger)."""
    if said.quantity is not None and said.quantity_as_decimal is not None:
        reason = "Quantity and QuantityAsDecimal must not both be given"
        return Refusal(Step.COMBINATION, index, FaultCode.VALIDATION, reason)
    if meant.product is not None and meant.product is not product:
        reason = "the LicenseArn is of another product than the one before"
        return Refusal(Step.PRODUCT, index, FaultCode.INVALID_LICENSE, reason)
    if meant.refusal is not None:
        return meant.refusal if meant.refusal.code in _OF_REQUEST else meant.refusal._replace(place=index)
    assert product is not None, "a record that is not refused has a product"
    breach = window_breach(
        micros_of(said.timestamp), now_micros, profile.batch_window_seconds, profile, product.window_edge
    )
    if breach is not None:
        return Refusal(Step.WINDOW, index, FaultCode.TIMESTAMP_OUT_OF_BOUNDS, f"the timestamp {breach}")
    if said.usage_allocations is None:
        return None
    breach = tag_breach(said.usage_allocations, profile)
    if breach is not None:
        return Refusal(Step.TAGS, index, FaultCode.INVALID_TAG, breach)
    breach = allocation_breach(said.usage_allocations, said.quantity, said.quantity_as_decimal, profile)
    if breach is not None:
        return Refusal(Step.ALLOCATIONS, index, FaultCode.INVALID_USAGE_ALLOCATIONS, breach)
    return None


# --- record by record -------------------------------------------------------------------------------------------------


def _judge_records(
    call: Call[BatchMeterUsageRequest[Timestamp]],
    meanings: Sequence[Meant],
    product: Product | None,
    now_micros: int,
) -> tuple[Refusal | None, list[_Judged]]:
    """The request's first refusal, LICENSE_PERIOD left out, and its records on their way into the turn.

    Most records give no reason to look closer, and this loop is where a large seller's time goes: so what most have in
    common is asked here, in a few comparisons, and `_first_refusal` is asked about the others.
    """
    profile = call.profile
    edge = WindowEdge.INSTANT if product is None else product.window_edge
    earliest_micros, latest_micros = window_at(now_micros, profile.batch_window_seconds, profile, edge)
    last_hour_micros = profile.last_hour_seconds * SECOND
    refusals = _refusals_of_request(call, product)
    judged = []
    for index, (said, meant) in enumerate(zip(call.request.usage_records, meanings, strict=True)):
        said_at = said.timestamp
        timestamp_micros = said_at * SECOND if type(said_at) is int else micros_of(said_at)
        decimal = said.quantity_as_decimal
        if (
            not earliest_micros <= timestamp_micros <= latest_micros
            or meant.product is not product
            or meant.refusal is not None
            or decimal is not None
            or said.usage_allocations is not None
        ):
            refusal = _first_refusal(index, said, meant, product, now_micros, profile)
            if refusal is not None:
                refusals.append(refusal)
        judged.append(
            _Judged(
                said,
                RecordKey(timestamp_micros // HOUR, meant.series),
                timestamp_micros,
                (said.quantity or 0) * MICROS if decimal is None else micros_of_decimal(decimal),
                (meant.steady_since_micros <= now_micros and meant.steady_from_micros <= timestamp_micros)
                or _is_subscribed(meant, timestamp_micros, now_micros, last_hour_micros),
                meant.license is not None and not meant.license.covers(timestamp_micros),
                meant.rivals,
            )
        )
    return min(refusals, default=None), judged


def _is_subscribed(meant: Meant, timestamp_micros: int, now_micros: int, last_hour_micros: int) -> bool:
    return not meant.suspended and any(
        one.takes(timestamp_micros, now_micros, last_hour_micros) for one in meant.agreements
    )


# --- outcomes ---------------------------------------------------------------------------------------------------------


def _follow(
    judged: Sequence[_Judged], refusal: Refusal | None, repeat: IdenticalRepeat, view: View, record_ids: RecordIds
) -> Following:
    """Inside the turn. Raises the request's Fault where a doubtful record is no replay, or a later step refuses."""
    for index, one in enumerate(judged):
        if one.doubtful and not _is_replay(one, view.record(one.key)):
            reason = "the timestamp lies outside the license's period"
            raise Refusal(Step.LICENSE_PERIOD, index, FaultCode.INVALID_LICENSE, reason).fault()
    if refusal is not None:
        raise refusal.fault()
    results, entries, outcomes, warnings = [], [], [], []
    added: dict[RecordKey, Kept] = {}
    both_forms = view.both_forms
    for one, record_id in zip(judged, record_ids(len(judged)), strict=True):
        key, quantity_micros = one.key, one.quantity_micros
        kept = added.get(key) or view.record(key)
        if kept is None and one.subscribed:
            outcome = Outcome.ACCEPTED
            kept = added[key] = Kept(quantity_micros, record_id)
            allocations = allotments(one.said.usage_allocations) if one.said.usage_allocations is not None else ()
            entries.append(Entry(key, one.timestamp_micros, quantity_micros, record_id, allocations))
            if both_forms and one.rivals:
                warnings.extend(_double_billings(one, record_id, view, added))
            results.append(UsageRecordResult(one.said, SUCCESS, text_of_id(record_id)))
        else:
            outcome = _outcome(one, kept)
            results.append(_result(one.said, outcome, kept, repeat))
        outcomes.append(outcome)
    return Following(BatchMeterUsageResult(results, []), entries, (), bool(entries), outcomes, warnings)


def _is_replay(one: _Judged, kept: Kept | None) -> bool:
    return kept is not None and kept.quantity_micros == one.quantity_micros


def _outcome(one: _Judged, kept: Kept | None) -> Outcome:
    """Of a record that is not accepted, in the order of precedence: replay, subscription, key."""
    if _is_replay(one, kept):
        return Outcome.REPLAYED
    return Outcome.CONFLICTED if one.subscribed else Outcome.NOT_SUBSCRIBED


def _result(said: Said, outcome: Outcome, kept: Kept | None, repeat: IdenticalRepeat) -> UsageRecordResult:
    """Only a Success names a record id; a product may answer its replays as DuplicateRecord instead."""
    if outcome is Outcome.REPLAYED and repeat is IdenticalRepeat.DUPLICATE_RECORD:
        outcome = Outcome.CONFLICTED
    status = STATUS_OF_OUTCOME[outcome]
    record_id = text_of_id(kept.record_id) if kept is not None and status == SUCCESS else None
    return UsageRecordResult(said, status, record_id)


def _double_billings(one: _Judged, record_id: bytes, view: View, added: dict[RecordKey, Kept]) -> list[DoubleBilling]:
    hour, series = one.key.hour, one.key.series
    warnings = []
    for rival in one.rivals:
        key = RecordKey(hour, rival)
        other = added.get(key) or view.record(key)
        if other is not None:
            warnings.append(DoubleBilling(series.customer, series.dimension, hour, record_id, other.record_id))
    return warnings
