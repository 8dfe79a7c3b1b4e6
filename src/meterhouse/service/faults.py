"""Injected faults: which call is struck by which, and what a struck batch becomes (catalog contract, `/faults`; §9).

A fault *fits* a call by its operation and, where it names one, by the product code as sent. Some strike once the
constraints are passed, whatever the rules would say; the others, `unprocessed` and `lose_answer`, strike only what is
accepted. Of several that fit, the one made first strikes, and each call struck uses up one of its `times`.

How a call is judged

    asked ──no fault──▶ goes on
      │ ──strikes now──▶ used up, and the call fails so
      └ ──strikes if accepted──▶ reserved ──accepted──▶ settled
                                    └──refused──▶ given back, and the next that fits and strikes now strikes instead

Chance: a fault with a probability below 1 draws a number for each call it fits, from its seed and how many it has drawn
before. What was drawn is kept with the fault, so the same calls in the same order are struck alike in every run, also
across a restart.

Everything here is pure. `striking.py` keeps the faults and asks these rules one call after another.
"""

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from enum import StrEnum
from hashlib import sha256
from typing import Annotated, Any, Final, NamedTuple

import msgspec
from msgspec import Meta, Struct, structs

from meterhouse.core.call import Call, Following, Plan, RecordIds, View
from meterhouse.core.catalog import Catalog
from meterhouse.core.profile import OPERATIONS
from meterhouse.core.shapes import INT64_MAX, BatchMeterUsageRequest, BatchMeterUsageResult, Timestamp
from meterhouse.ledger.protocol import Document
from meterhouse.service.draft import LOWER, Change, letters
from meterhouse.service.forms import ProductCode
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import Row

FAULT_KIND: Final = "fault"
"""The kind of a fault's document."""
BATCH_LIMIT: Final = 25
"""The most records of a request."""


class FaultName(StrEnum):
    """What a fault does to a call."""

    THROTTLE = "throttle"
    INTERNAL = "internal"
    UNAVAILABLE = "unavailable"
    UNPROCESSED = "unprocessed"
    LOSE_ANSWER = "lose_answer"
    DELAY = "delay"
    DISCONNECT = "disconnect"


STRIKES_ACCEPTED: Final = frozenset({FaultName.UNPROCESSED, FaultName.LOSE_ANSWER})
"""Those that strike only a request that is otherwise accepted."""

Seconds = Annotated[
    float,
    Meta(
        gt=0,
        le=3600,
        description="How long `delay` keeps a call waiting.",
        extra={"wanted": "a number of seconds above 0, up to 3600"},
    ),
]


class FaultRow(Row, kw_only=True):
    """A fault to be made, as a call carries it."""

    operation: Annotated[
        str, Meta(description="Which calls it strikes.", extra_json_schema={"enum": sorted(OPERATIONS)})
    ]
    fault: FaultName
    times: Annotated[
        int,
        Meta(
            ge=1,
            le=1_000_000_000,
            description="How many calls it strikes.",
            extra={"wanted": "a whole number from 1 to 1000000000"},
        ),
    ] = 1
    records: (
        Annotated[
            list[Annotated[int, Meta(ge=0, lt=BATCH_LIMIT, extra={"wanted": "a position in a request: 0 to 24"})]],
            Meta(
                min_length=1,
                max_length=BATCH_LIMIT,
                description="Which records `unprocessed` leaves out, counted from 0; absent: all.",
                extra={"wanted": "a list of 1 to 25 positions in a request"},
            ),
        ]
        | None
    ) = None
    seconds: Seconds | None = None
    product: ProductCode | None = None
    probability: Annotated[
        float, Meta(gt=0, le=1, description="How likely each call is struck.", extra={"wanted": "above 0, up to 1"})
    ] = 1.0
    seed: (
        Annotated[
            int,
            Meta(
                ge=0,
                le=INT64_MAX,
                description="From which chance is drawn; random when absent.",
                extra={"wanted": "a whole number from 0 to 2^63 - 1"},
            ),
        ]
        | None
    ) = None


class InjectedFault(Struct, frozen=True):
    """A fault as it is kept."""

    id: str
    number: int
    """The order in which faults were made, from 1."""
    operation: str
    fault: FaultName
    times: int
    """How many more calls it strikes."""
    records: tuple[int, ...] | None = None
    """Positions in the request, from 0; None: all."""
    seconds: float | None = None
    product: str | None = None
    probability: float = 1.0
    seed: int = 0
    drawn: int = 0
    """How many numbers were drawn."""
    reserved: int = 0
    """How many calls are struck if they are accepted; they are used up already. What a killed server had reserved stays
    so, and never strikes."""

    def document(self) -> Document:
        """The fault as it is kept."""
        return Document(FAULT_KIND, self.id, msgspec.msgpack.encode(self))


def kept_faults(documents: Mapping[str, bytes]) -> dict[str, InjectedFault]:
    """The faults in their documents, by id, in the order in which they were made."""
    faults = (msgspec.msgpack.decode(body, type=InjectedFault) for body in documents.values())
    return {fault.id: fault for fault in sorted(faults, key=lambda fault: fault.number)}


def new_fault(
    row: FaultRow, documents: Mapping[str, bytes], random_bytes: Callable[[int], bytes]
) -> Change[InjectedFault]:
    """`POST /faults`: INVALID for what could never strike."""
    _check(row)
    present = kept_faults(documents)
    fault = InjectedFault(
        id=f"fault-{letters(random_bytes, LOWER, 13)}",
        number=1 + max((fault.number for fault in present.values()), default=0),
        operation=row.operation,
        fault=row.fault,
        times=row.times,
        records=None if row.records is None else tuple(sorted(set(row.records))),
        seconds=row.seconds,
        product=row.product,
        probability=row.probability,
        seed=int.from_bytes(random_bytes(4), "big") if row.seed is None else row.seed,
    )
    return Change([fault.document()], fault)


def removed_fault(fault_id: str, documents: Mapping[str, bytes]) -> Change[None]:
    """`DELETE /faults/{id}`: NOT_FOUND where there is none."""
    if fault_id not in documents:
        raise Refused(RefusalKind.NOT_FOUND, f'no fault has the id "{fault_id}"; one that is used up is gone')
    return Change([Document(FAULT_KIND, fault_id, None)], None)


def removed_faults(documents: Mapping[str, bytes]) -> Change[None]:
    """`DELETE /faults`: all."""
    return Change([Document(FAULT_KIND, fault_id, None) for fault_id in documents], None)


def _check(row: FaultRow) -> None:
    if row.operation not in OPERATIONS:
        known = ", ".join(sorted(OPERATIONS))
        raise Refused(RefusalKind.INVALID, f'"{row.operation}" is none of {known}', "operation")
    if row.fault is FaultName.UNPROCESSED and row.operation != "BatchMeterUsage":
        raise Refused(RefusalKind.INVALID, f"{row.operation} has no UnprocessedRecords", "fault")
    if row.fault is FaultName.DELAY and row.seconds is None:
        raise Refused(RefusalKind.INVALID, "missing: how long is the delay?", "seconds")
    if row.product is not None and row.operation == "ResolveCustomer":
        raise Refused(RefusalKind.INVALID, "ResolveCustomer is sent no ProductCode", "product")


# Which call is struck


class Question(NamedTuple):
    """What is asked about a call."""

    operation: str
    product: str | None
    """The ProductCode as sent; None where there is none."""
    records: int
    """How many usage records the request has."""
    behind: int = 0
    """The number of the fault behind which to go on; 0: from the first."""
    refused: bool = False
    """Whether the rules have refused the call, so that what strikes the accepted does not fit."""


def question_of(operation: str, request: Struct) -> Question:
    """What faults are asked about a request."""
    records = len(request.usage_records) if isinstance(request, BatchMeterUsageRequest) else 0
    return Question(operation, getattr(request, "product_code", None) or None, records)


class Strike(NamedTuple):
    """What a call is struck by."""

    id: str
    number: int
    fault: FaultName
    seconds: float
    records: tuple[int, ...]
    """The positions that are left unprocessed."""

    @property
    def is_reserved(self) -> bool:
        """Whether it strikes only if the call is accepted."""
        return self.fault in STRIKES_ACCEPTED


Faults = MutableMapping[str, InjectedFault]
"""Faults by their ids."""


def fits(fault: InjectedFault, question: Question) -> bool:
    """Whether a fault strikes a call, as far as chance lets it."""
    return (
        fault.times > 0
        and fault.number > question.behind
        and fault.operation == question.operation
        and fault.product in (None, question.product)
        and not (question.refused and fault.fault in STRIKES_ACCEPTED)
        and (fault.fault is not FaultName.UNPROCESSED or bool(_struck(fault, question.records)))
    )


def choose(faults: Faults, question: Question) -> Strike | None:
    """What a call is struck by, if by anything; `faults` are changed by what is used up, drawn and reserved."""
    for fault in sorted(faults.values(), key=lambda fault: fault.number):
        if not fits(fault, question):
            continue
        struck = fault
        if fault.probability < 1:
            struck = faults[fault.id] = structs.replace(fault, drawn=fault.drawn + 1)
            if _drawn(fault) >= fault.probability:
                continue
        strike = Strike(fault.id, fault.number, fault.fault, fault.seconds or 0.0, _struck(fault, question.records))
        _keep(faults, structs.replace(struck, times=fault.times - 1, reserved=fault.reserved + strike.is_reserved))
        return strike
    return None


def settle(faults: Faults, strike: Strike) -> None:
    """What was reserved has struck."""
    fault = faults.get(strike.id)
    if fault is not None:
        _keep(faults, structs.replace(fault, reserved=fault.reserved - 1))


def give_back(faults: Faults, strike: Strike) -> None:
    """What was reserved has not struck, since the call was refused. A fault deleted meanwhile stays deleted."""
    fault = faults.get(strike.id)
    if fault is not None:
        faults[fault.id] = structs.replace(fault, times=fault.times + 1, reserved=fault.reserved - 1)


def _keep(faults: Faults, fault: InjectedFault) -> None:
    """What is used up is gone."""
    if fault.times or fault.reserved:
        faults[fault.id] = fault
    else:
        del faults[fault.id]


def _drawn(fault: InjectedFault) -> float:
    """The next number of a fault's own sequence, from 0 to below 1."""
    digest = sha256(f"{fault.seed}/{fault.drawn}".encode()).digest()
    return int.from_bytes(digest[:6], "big") / 2**48


def _struck(fault: InjectedFault, records: int) -> tuple[int, ...]:
    if fault.fault is not FaultName.UNPROCESSED:
        return ()
    return tuple(range(records)) if fault.records is None else tuple(one for one in fault.records if one < records)


# What a struck batch becomes

Batch = BatchMeterUsageRequest[Timestamp]


def plan_leaving_out(
    plan: Callable[[Call[Any], Catalog, int], Plan],
    call: Call[Batch],
    catalog: Catalog,
    now_micros: int,
    left_out: Sequence[int],
) -> Plan:
    """A batch of which some records are not judged: the others are, as if they had been sent alone.

    The whole must be acceptable: whatever refuses it, refuses it here too.
    """
    whole = plan(call, catalog, now_micros)
    said = call.request.usage_records
    unprocessed = [said[nth] for nth in left_out]
    rest = [one for nth, one in enumerate(said) if nth not in left_out]
    request = structs.replace(call.request, usage_records=rest)
    others = plan(structs.replace(call, request=request), catalog, now_micros)

    def follow(view: View, record_ids: RecordIds) -> Following:
        whole.follow(view, record_ids)
        following = others.follow(view, record_ids)
        assert isinstance(following.answer, BatchMeterUsageResult), "a batch is answered by a batch's result"
        return structs.replace(following, answer=BatchMeterUsageResult(following.answer.results, unprocessed))

    return structs.replace(whole, follow=follow)
