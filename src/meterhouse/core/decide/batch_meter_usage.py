"""BatchMeterUsage: up to 25 records of one product's usage, sent by its seller (contract §4).

How a batch is judged. Most of what can be wrong with a record depends on whom and what it names, not on its hour or
quantity: the steps from COMBINATION to DIMENSION are judged by `meaning.py`, and remembered; the rest is judged record
by record. A record's first refusal is its least by step; the least of all records by (step, index) is the request's.
That is the same as finishing each step for all records before the next begins.

Only one step needs the ledger before the end: a replay is exempt from LICENSE_PERIOD, so a record outside its license's
period is a refusal *unless it is kept already*. Such records are carried into the turn as `doubtful`, and so is the
first refusal of the steps behind (TAGS, ALLOCATIONS).

Then each record's outcome, in the order of `Outcome`: replay, subscription, key. Two records with one key in one batch:
the second is judged as if it had been sent later.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import repeat
from typing import Final, overload

from msgspec import Struct

from meterhouse.core.allocations import allocation_breach, allotments, tag_breach
from meterhouse.core.call import Call, DoubleBilling, Following, NewIds, Plan, RecordIds, Refusal, View, answered
from meterhouse.core.catalog import Catalog, IdenticalRepeat, Product, WindowEdge
from meterhouse.core.meaning import Meanings, Meant, Said, meanings_of
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
    UsageRecordResult,
)
from meterhouse.core.usage import (
    BY_LICENSE,
    Allotment,
    Entries,
    Entry,
    Kept,
    Partition,
    RecordKey,
    RecordKeys,
    Series,
    micros_of,
    text_of_id,
)
from meterhouse.core.window import window_at, window_breach

_OF_REQUEST: Final = (FaultCode.INVALID_PRODUCT_CODE,)
"""What refuses the request as such, so that no record is named."""


class _Judged(Struct, frozen=True):
    """The records on their way into the turn, by columns: a large seller's time goes into what is done with each."""

    said: Sequence[Said]
    keys: RecordKeys
    timestamps: Sequence[int]
    """In microseconds, as said."""
    quantities: Sequence[int]
    """In microunits."""
    allocations: Sequence[Sequence[UsageAllocation] | None] | None
    """None where no record has any."""
    meanings: Sequence[Meant]
    subscribed: Sequence[bool] | None
    """None where the usage of all is taken."""
    doubtful: Sequence[int]
    """The places of those outside their license's period: refused, unless they are kept already."""


def plan_batch_meter_usage(call: Call[BatchMeterUsageRequest[Timestamp]], catalog: Catalog, now_micros: int) -> Plan:
    """Judges what catalog and clock can settle. Raises the request's Fault; else says where to look."""
    records = call.request.usage_records
    if not records:
        return answered(BatchMeterUsageResult([], []))
    meanings = meanings_of(call, catalog)
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
    return Plan(follow, partition, judged.keys, (), _Rivals(judged), meanings.forms)


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
    call: Call[BatchMeterUsageRequest[Timestamp]], meanings: Meanings, product: Product | None, now_micros: int
) -> tuple[Refusal | None, _Judged]:
    """The request's first refusal, LICENSE_PERIOD left out, and its records on their way into the turn.

    Most requests give no reason to look closer at any record: what they have in common is asked of whole columns, and
    `_first_refusal` is asked record by record about the others.
    """
    profile, saids = call.profile, call.request.usage_records
    timestamps = _timestamps(saids)
    first_micros, last_micros = min(timestamps), max(timestamps)
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
        and earliest_micros <= first_micros
        and last_micros <= latest_micros
    ):
        for index, (said, meant) in enumerate(zip(saids, meanings.each, strict=True)):
            refusal = _first_refusal(index, said, meant, product, now_micros, profile)
            if refusal is not None:
                refusals.append(refusal)
    judged = _Judged(
        saids,
        RecordKeys(_hours(timestamps, first_micros, last_micros), [meant.series for meant in meanings.each]),
        timestamps,
        [(said.quantity or 0) * MICROS for said in saids]
        if without_decimals
        else [micros_of_quantity(said.quantity, said.quantity_as_decimal) for said in saids],
        None if without_allocations else allocations,
        meanings.each,
        _subscribed(meanings, timestamps, now_micros, earliest_micros, profile),
        _doubtful(meanings.each, timestamps) if meanings.forms & BY_LICENSE else (),
    )
    return min(refusals, default=None), judged


def _timestamps(saids: Sequence[Said]) -> Sequence[int]:
    """In microseconds."""
    said = [one.timestamp for one in saids]
    first = said[0]
    if said.count(first) == len(said):  # usage of an hour is mostly said together, and under one instant
        return [micros_of(first)] * len(said)
    return [at * SECOND if type(at) is int else micros_of(at) for at in said]


def _hours(timestamps: Sequence[int], first_micros: int, last_micros: int) -> Sequence[int]:
    first = first_micros // HOUR
    return [first] * len(timestamps) if first == last_micros // HOUR else [at // HOUR for at in timestamps]


def _subscribed(
    meanings: Meanings, timestamps: Sequence[int], now_micros: int, earliest_micros: int, profile: Profile
) -> Sequence[bool] | None:
    """Whether each record's usage is taken, as far as its timestamp is within the window that begins at `earliest`;
    None where that of all is.
    """
    settled_micros = meanings.settled_micros
    if settled_micros is not None and settled_micros <= min(earliest_micros, now_micros):
        return None
    last_hour_micros = profile.last_hour_seconds * SECOND
    subscribed = [
        (meant.is_steady and meant.since_micros <= at and meant.since_micros <= now_micros)
        or _is_subscribed(meant, at, now_micros, last_hour_micros)
        for at, meant in zip(timestamps, meanings.each, strict=True)
    ]
    return None if all(subscribed) else subscribed


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
    keys, new = judged.keys, record_ids(len(judged.keys))
    if view.both_forms or judged.subscribed is not None or not keys.are_distinct() or view.keeps_any(keys):
        return _follow_one_by_one(judged, repeated, view, new)
    # Nothing of the request is known yet and all of it is taken, as in most: the same as one by one, in a third of the
    # time (a property test holds both against a second model of the contract).
    allocations = None if judged.allocations is None else list(_allotments(judged))
    entries = Entries(keys, judged.timestamps, judged.quantities, new.octets, allocations)
    results = list(map(UsageRecordResult, judged.said, repeat(SUCCESS), new.texts))
    return Following(BatchMeterUsageResult(results, []), entries, (), True, [Outcome.ACCEPTED] * len(results))


def _allotments(judged: _Judged) -> Iterable[tuple[Allotment, ...]]:
    return repeat(()) if judged.allocations is None else map(allotments, judged.allocations)


def _follow_one_by_one(judged: _Judged, repeated: IdenticalRepeat, view: View, new: NewIds) -> Following:
    """Each record as if those before it had been sent before."""
    results, entries, outcomes, warnings = [], [], [], []
    added: dict[RecordKey, Kept] = {}
    parts = iter(_allotments(judged))
    for place, (said, key, quantity_micros) in enumerate(zip(judged.said, judged.keys, judged.quantities, strict=True)):
        allocations = next(parts)
        kept = added.get(key) or view.record(key)
        subscribed = judged.subscribed is None or judged.subscribed[place]
        if kept is None and subscribed:
            outcome = Outcome.ACCEPTED
            kept = added[key] = Kept(quantity_micros, new.octets[place])
            entries.append(Entry(key, judged.timestamps[place], quantity_micros, kept.record_id, allocations))
            if view.both_forms:
                warnings.extend(_double_billings(key, judged.meanings[place].rivals, kept.record_id, view, added))
        else:
            outcome = _outcome(quantity_micros, kept, subscribed=subscribed)
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
