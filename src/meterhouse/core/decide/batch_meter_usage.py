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

from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from functools import reduce
from itertools import repeat
from operator import attrgetter, or_
from sys import intern
from typing import Final, NamedTuple, overload

from msgspec import Struct

from meterhouse.core.allocations import allocation_breach, allotments, tag_breach
from meterhouse.core.call import Call, DoubleBilling, Following, Plan, RecordIds, Refusal, View, answered
from meterhouse.core.catalog import Agreement, Catalog, IdenticalRepeat, Integration, Product, WindowEdge
from meterhouse.core.moment import HOUR, SECOND
from meterhouse.core.outcome import STATUS_OF_OUTCOME, SUCCESS, FaultCode, Outcome, Step
from meterhouse.core.profile import Profile
from meterhouse.core.quantity import MICROS
from meterhouse.core.quantity import micros_of as micros_of_quantity
from meterhouse.core.shapes import (
    BatchMeterUsageRequest,
    BatchMeterUsageResult,
    Timestamp,
    UsageAllocation,
    UsageRecord,
    UsageRecordResult,
)
from meterhouse.core.usage import (
    BY_LICENSE,
    BY_PRODUCT,
    Allotment,
    Entries,
    Entry,
    Kept,
    Partition,
    RecordKey,
    Series,
    micros_of,
    text_of_id,
    texts_of_ids,
)
from meterhouse.core.window import window_at, window_breach

Said = UsageRecord[Timestamp]

_EVER: Final = -(2**63)

_NAMES: Final = attrgetter("customer_identifier", "customer_aws_account_id", "license_arn", "dimension")
_FORM: Final = attrgetter("form")
_IS_STEADY: Final = attrgetter("is_steady")
_SETTLED: Final = "the latest start of the steady agreements"
"""Among the notes, beside what names mean: from then on no steady agreement need be asked when it began."""

_TEXTS: Final = "the texts of the names"
"""Among the notes: each text that names have, by itself."""

_OF_REQUEST: Final = (FaultCode.INVALID_PRODUCT_CODE,)
"""What refuses the request as such, so that no record is named."""


class Meant(Struct, frozen=True):
    """Whom and what a record's names mean, for as long as the catalog stays as it is.

    What most requests look at comes first: there are as many of these as a seller has customers and dimensions, so they
    are read from memory, not from the processor's caches, a line of 64 bytes at a time.
    """

    refusal: Refusal | None
    """The first that its names alone bring about (its place still to be filled in)."""
    series: Series = Series("", "", "")
    product: Product | None = None
    license: Agreement | None = None
    """The agreement named by the record's license, if it names one."""
    is_steady: bool = False
    """Whether there is one agreement and nothing that could end it but a change of the catalog: from its start on, all
    usage is taken. Else the agreements are asked."""
    since_micros: int = 0
    """When that agreement began."""
    form: int = BY_PRODUCT
    """Which of the two forms of naming usage it is."""
    agreements: tuple[Agreement, ...] = ()
    """Those that may take the usage, in the order in which they are tried."""
    suspended: bool = False
    rivals: tuple[Series, ...] = ()
    """The same usage under the other form of naming it."""


class _Judged(NamedTuple):
    """The records on their way into the turn, by columns: a large seller's time goes into what is done with each."""

    said: Sequence[Said]
    keys: Sequence[RecordKey]
    timestamps: Sequence[int]
    """In microseconds, as said."""
    quantities: Sequence[int]
    """In microunits."""
    allocations: Sequence[Sequence[UsageAllocation] | None] | None
    """None where no record has any."""
    meanings: Sequence[Meant]
    subscribed: Sequence[bool]
    doubtful: Sequence[int]
    """The places of those outside their license's period: refused, unless they are kept already."""
    forms: AbstractSet[int]
    """In which the records name what was used."""


def plan_batch_meter_usage(call: Call[BatchMeterUsageRequest[Timestamp]], catalog: Catalog, now_micros: int) -> Plan:
    """Judges what catalog and clock can settle. Raises the request's Fault; else says where to look."""
    records = call.request.usage_records
    if not records:
        return answered(BatchMeterUsageResult([], []))
    meanings = _meanings(call, catalog)
    product = next((one.product for one in meanings.each if one.product is not None), None)
    first, judged = _judge_records(call, meanings, product, now_micros)
    if first is not None and first.step < Step.LICENSE_PERIOD:
        raise first.fault()
    assert product is not None, "a batch whose product is unknown has been refused"
    if first is not None and not judged.doubtful:
        raise first.fault()

    def follow(view: View, record_ids: RecordIds) -> Following:
        return _follow(judged, first, product.identical_repeat, view, record_ids)

    partition = Partition(call.region, product.code)
    return Plan(follow, partition, judged.keys, rivals=_Rivals(judged), forms=reduce(or_, judged.forms))


class _Rivals(Sequence[RecordKey]):
    """The keys of the records' rivals, made only where someone looks: most partitions see one form alone."""

    def __init__(self, judged: _Judged) -> None:
        self._judged = judged

    def __len__(self) -> int:
        return sum(len(meant.rivals) for meant in self._judged.meanings)

    def __iter__(self) -> Iterator[RecordKey]:
        judged = zip(self._judged.keys, self._judged.meanings, strict=True)
        return (RecordKey(key.hour, series) for key, meant in judged for series in meant.rivals)

    @overload
    def __getitem__(self, place: int) -> RecordKey: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[RecordKey]: ...
    def __getitem__(self, place: int | slice) -> RecordKey | Sequence[RecordKey]:
        return list(self)[place]


# --- names ------------------------------------------------------------------------------------------------------------


class _Meanings(NamedTuple):
    """What each record's names mean."""

    each: Sequence[Meant]
    were_known: bool
    """Whether all of them were remembered: of those none is refused."""
    settled_micros: int
    """The latest start of the steady agreements that are remembered."""


def _meanings(call: Call[BatchMeterUsageRequest[Timestamp]], catalog: Catalog) -> _Meanings:
    seller, code = call.signer.account, call.request.product_code or None
    remembered = catalog.remembered(("BatchMeterUsage", seller, code or ""))
    saids = call.request.usage_records
    names = list(map(_NAMES, saids))
    try:
        return _Meanings(list(map(remembered.__getitem__, names)), True, remembered.get(_SETTLED, _EVER))
    except KeyError:
        meanings = []
    for said, name in zip(saids, names, strict=True):
        meant = remembered.get(name)
        if meant is None:
            meant = _meaning(said, seller, code, catalog)
            if meant.refusal is None:  # what is refused could be made up without end, and be of any size
                # Few texts are many names: shared, they are found in the processor's caches. Not by `intern`, which on
                # some Pythons keeps for ever what it was given, and customers can be made up.
                shared = remembered.setdefault(_TEXTS, {})
                remembered[tuple(text and shared.setdefault(text, text) for text in name)] = meant
                if meant.is_steady:
                    remembered[_SETTLED] = max(remembered.get(_SETTLED, _EVER), meant.since_micros)
        meanings.append(meant)
    return _Meanings(meanings, False, remembered.get(_SETTLED, _EVER))


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
    is_steady = len(asked) == 1 and not suspended and _is_steady(asked[0])
    return Meant(
        None,
        Series(arn or "", buyer, intern(said.dimension)),
        product,
        license_,
        is_steady,
        asked[0].start_micros if is_steady else 0,
        BY_PRODUCT if license_ is None else BY_LICENSE,
        asked,
        suspended,
        _rivals(product, license_, of_buyer, buyer, said.dimension),
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
    call: Call[BatchMeterUsageRequest[Timestamp]], meanings: _Meanings, product: Product | None, now_micros: int
) -> tuple[Refusal | None, _Judged]:
    """The request's first refusal, LICENSE_PERIOD left out, and its records on their way into the turn.

    Most requests give no reason to look closer at any record: what they have in common is asked of whole columns, and
    `_first_refusal` is asked record by record about the others.
    """
    profile, saids = call.profile, call.request.usage_records
    timestamps = [at * SECOND if type(at := said.timestamp) is int else micros_of(at) for said in saids]
    decimals = [said.quantity_as_decimal for said in saids]
    allocations = [said.usage_allocations for said in saids]
    without_decimals = decimals.count(None) == len(decimals)
    without_allocations = allocations.count(None) == len(allocations)
    edge = WindowEdge.INSTANT if product is None else product.window_edge
    earliest_micros, latest_micros = window_at(now_micros, profile.batch_window_seconds, profile, edge)
    refusals = _refusals_of_request(call, product)
    if not (
        meanings.were_known
        and call.request.product_code  # so all are of the one product
        and without_decimals
        and without_allocations
        and earliest_micros <= min(timestamps)
        and max(timestamps) <= latest_micros
    ):
        for index, (said, meant) in enumerate(zip(saids, meanings.each, strict=True)):
            refusal = _first_refusal(index, said, meant, product, now_micros, profile)
            if refusal is not None:
                refusals.append(refusal)
    forms = set(map(_FORM, meanings.each))
    judged = _Judged(
        saids,
        [RecordKey(at // HOUR, meant.series) for at, meant in zip(timestamps, meanings.each, strict=True)],
        timestamps,
        [(said.quantity or 0) * MICROS for said in saids]
        if without_decimals
        else [micros_of_quantity(said.quantity, said.quantity_as_decimal) for said in saids],
        None if without_allocations else allocations,
        meanings.each,
        _subscribed(meanings, timestamps, now_micros, earliest_micros, profile),
        _doubtful(meanings.each, timestamps) if BY_LICENSE in forms else (),
        forms,
    )
    return min(refusals, default=None), judged


def _subscribed(
    meanings: _Meanings, timestamps: Sequence[int], now_micros: int, earliest_micros: int, profile: Profile
) -> Sequence[bool]:
    """Whether each record's usage is taken, as far as its timestamp is within the window that begins at `earliest`."""
    if meanings.settled_micros <= min(earliest_micros, now_micros) and all(map(_IS_STEADY, meanings.each)):
        return [True] * len(timestamps)
    last_hour_micros = profile.last_hour_seconds * SECOND
    return [
        (meant.is_steady and meant.since_micros <= at and meant.since_micros <= now_micros)
        or _is_subscribed(meant, at, now_micros, last_hour_micros)
        for at, meant in zip(timestamps, meanings.each, strict=True)
    ]


def _is_subscribed(meant: Meant, timestamp_micros: int, now_micros: int, last_hour_micros: int) -> bool:
    return not meant.suspended and any(
        one.takes(timestamp_micros, now_micros, last_hour_micros) for one in meant.agreements
    )


def _doubtful(meanings: Sequence[Meant], timestamps: Sequence[int]) -> Sequence[int]:
    return [
        place
        for place, (at, meant) in enumerate(zip(timestamps, meanings, strict=True))
        if meant.license is not None and not meant.license.covers(at)
    ]


# --- outcomes ---------------------------------------------------------------------------------------------------------


def _follow(
    judged: _Judged, refusal: Refusal | None, repeated: IdenticalRepeat, view: View, record_ids: RecordIds
) -> Following:
    """Inside the turn. Raises the request's Fault where a doubtful record is no replay, or a later step refuses."""
    for place in judged.doubtful:
        if not _is_replay(judged.quantities[place], view.record(judged.keys[place])):
            reason = "the timestamp lies outside the license's period"
            raise Refusal(Step.LICENSE_PERIOD, place, FaultCode.INVALID_LICENSE, reason).fault()
    if refusal is not None:
        raise refusal.fault()
    keys, ids = judged.keys, record_ids(len(judged.keys))
    if view.both_forms or not all(judged.subscribed) or len(set(keys)) != len(keys) or view.keeps_any(keys):
        return _follow_one_by_one(judged, repeated, view, ids)
    # Nothing of the request is known yet and all of it is taken, as in most: the same as one by one, in a third of the
    # time (a property test holds both against a second model of the contract).
    allocations = None if judged.allocations is None else list(_allotments(judged))
    entries = Entries(keys, judged.timestamps, judged.quantities, ids, allocations)
    results = [
        UsageRecordResult(said, SUCCESS, text) for said, text in zip(judged.said, texts_of_ids(ids), strict=True)
    ]
    return Following(BatchMeterUsageResult(results, []), entries, (), True, [Outcome.ACCEPTED] * len(results))


def _allotments(judged: _Judged) -> Iterable[tuple[Allotment, ...]]:
    return repeat(()) if judged.allocations is None else map(allotments, judged.allocations)


def _follow_one_by_one(judged: _Judged, repeated: IdenticalRepeat, view: View, ids: Sequence[bytes]) -> Following:
    """Each record as if those before it had been sent before."""
    results, entries, outcomes, warnings = [], [], [], []
    added: dict[RecordKey, Kept] = {}
    parts = iter(_allotments(judged))
    for place, (said, key, quantity_micros) in enumerate(zip(judged.said, judged.keys, judged.quantities, strict=True)):
        allocations = next(parts)
        kept = added.get(key) or view.record(key)
        if kept is None and judged.subscribed[place]:
            outcome = Outcome.ACCEPTED
            kept = added[key] = Kept(quantity_micros, ids[place])
            entries.append(Entry(key, judged.timestamps[place], quantity_micros, ids[place], allocations))
            if view.both_forms:
                warnings.extend(_double_billings(key, judged.meanings[place].rivals, ids[place], view, added))
        else:
            outcome = _outcome(quantity_micros, kept, subscribed=judged.subscribed[place])
        results.append(_result(said, outcome, kept, repeated))
        outcomes.append(outcome)
    return Following(BatchMeterUsageResult(results, []), entries, (), bool(entries), outcomes, warnings)


def _is_replay(quantity_micros: int, kept: Kept | None) -> bool:
    return kept is not None and kept.quantity_micros == quantity_micros


def _outcome(quantity_micros: int, kept: Kept | None, *, subscribed: bool) -> Outcome:
    """Of a record that is not accepted, in the order of precedence: replay, subscription, key."""
    if _is_replay(quantity_micros, kept):
        return Outcome.REPLAYED
    return Outcome.CONFLICTED if subscribed else Outcome.NOT_SUBSCRIBED


def _result(said: Said, outcome: Outcome, kept: Kept | None, repeated: IdenticalRepeat) -> UsageRecordResult:
    """Only a Success names a record id; a product may answer its replays as DuplicateRecord instead."""
    if outcome is Outcome.REPLAYED and repeated is IdenticalRepeat.DUPLICATE_RECORD:
        outcome = Outcome.CONFLICTED
    status = STATUS_OF_OUTCOME[outcome]
    record_id = text_of_id(kept.record_id) if kept is not None and status == SUCCESS else None
    return UsageRecordResult(said, status, record_id)


def _double_billings(
    key: RecordKey, rivals: Sequence[Series], record_id: bytes, view: View, added: Mapping[RecordKey, Kept]
) -> list[DoubleBilling]:
    warnings = []
    for rival in rivals:
        other_key = RecordKey(key.hour, rival)
        other = added.get(other_key) or view.record(other_key)
        if other is not None:
            series = key.series
            warnings.append(DoubleBilling(series.customer, series.dimension, key.hour, record_id, other.record_id))
    return warnings
