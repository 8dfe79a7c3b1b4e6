"""BatchMeterUsage for people: any number of records, and for each of them what became of it.

The flow prepares every record (`waves.py`), puts those of one product together (`parcels.py`), keeps at most
`concurrency` requests under way, and takes each answer apart:

    answered      every record by its status; those unprocessed or left out wait for a later round
    about records one of the batch is to blame: `parcels.py` finds it, all others go through
    about product the code itself is refused: so is every record of the group
    about us      who signs, where to, or the call's time: nothing else would go through either, so all that is left is
                  unsent, with this reason
    about nothing a failure that outlived its attempts: the records wait for a later round

A record comes back for a later round at most `resend_rounds` times, each after a longer wait.

What repeats a key waits until the earlier record is settled (`waves.py`). So what is repeated is seen to be so: it is
answered with an id that this call knows already.
"""

import heapq
from collections.abc import Sequence
from typing import Final, cast

from meterhouse.client.answers import RecordAnswer, Sorted
from meterhouse.client.errors import (
    AccessError,
    ConfigurationError,
    DeadlineExceededError,
    DisabledApiException,
    InvalidProductCodeException,
    InvalidRequestError,
    MeteringError,
    ServiceFailedError,
    TransportError,
    UnknownOperationException,
    UnreadableAnswerError,
)
from meterhouse.client.flow import JOIN, NOW, Caller, Flow, Fork, Instant, Joined, Reply, Sleep, exchange
from meterhouse.client.operations import batch_body, sorted_batch
from meterhouse.client.outcomes import (
    Accepted,
    BatchResult,
    Conflicted,
    NotSubscribed,
    RecordOutcome,
    Refused,
    Replayed,
    Unsent,
)
from meterhouse.client.parcels import Group, Parcel, Pending
from meterhouse.client.records import RecordStatus, UsageRecord
from meterhouse.client.retries import backoff_seconds
from meterhouse.client.waves import Admitted, Wave, admit, pending_of
from meterhouse.client.wording import Said

_ABOUT_US: Final = (
    AccessError,
    ConfigurationError,
    DeadlineExceededError,
    DisabledApiException,
    UnknownOperationException,
)
_ABOUT_PRODUCT: Final = (InvalidProductCodeException, InvalidRequestError)
_ABOUT_NOTHING: Final = (ServiceFailedError, TransportError)
"""Every other error is about records: one that is not known here too."""


def batch(
    caller: Caller,
    records: Sequence[UsageRecord],
    product_code: str | None,
    plan: "Plan",
) -> Flow[BatchResult]:
    """What became of each record. Raises CredentialsError before anything is sent; whatever happens then is in the
    result.
    """
    admitted = admit(records, product_code)
    run = _Run(caller, records, plan, admitted)
    if len(admitted.refused) < len(records):
        now: Instant = yield NOW
        yield from caller.credentials.current(now)
    if admitted.lone is not None:
        yield from run.send_lone(product_code, admitted.lone)
    for wave in admitted.waves:
        run.begin(wave)
        yield from run.settle()
    outcomes = cast("list[RecordOutcome]", run.outcomes)  # the waves have settled, so every record has one
    return BatchResult(outcomes, run.requests)


class Plan:
    """How a batch is sent."""

    def __init__(self, concurrency: int, resend_rounds: int, until: float | None) -> None:
        self.concurrency = concurrency
        self.resend_rounds = resend_rounds
        self.until = until
        """The deadline, a monotonic instant."""


class _Run:
    """One call under way."""

    def __init__(self, caller: Caller, records: Sequence[UsageRecord], plan: Plan, admitted: Admitted) -> None:
        self._caller = caller
        self._records = records
        self._plan = plan
        self._before = admitted.before
        self.outcomes: list[RecordOutcome | None] = [None] * len(records)
        for place, breach in admitted.refused.items():
            self.outcomes[place] = Refused(records[place], breach, may_be_kept=False)
        self.requests = 0
        self._groups: dict[str | None, Group] = {}
        self._later: list[tuple[float, int, Group, Pending]] = []
        self._condemned_by: dict[int, MeteringError] = {}
        self._ids: set[str] = set()
        self._stopped_by: MeteringError | None = None
        self._last_failure: MeteringError | None = None

    # --- beginning ---

    def begin(self, wave: Wave) -> None:
        """Hands the records of a wave to their groups; one whose earlier like is unsent must not overtake it."""
        for code, members in wave.items():
            if code not in self._groups:
                self._groups[code] = Group(code)
            self._groups[code].add(filter(self._may_go, members) if self._before else members)

    def _may_go(self, pending: Pending) -> bool:
        before = self._before.get(pending.place)
        earlier = None if before is None else self.outcomes[before]
        if isinstance(earlier, Unsent):
            self.outcomes[pending.place] = Unsent(self._records[pending.place], earlier.reason, may_be_kept=False)
            return False
        return True

    # --- sending ---

    def send_lone(self, product_code: str | None, said: list[Said]) -> Flow[None]:
        """The usual call: one request, all of whose records are accepted. Only if they are not, anything is kept of
        them on their way.
        """
        reply = yield from self._send(product_code, said)
        accepted = None if reply.value is None else _ids_of_accepted(reply.value.results)
        if accepted is not None:
            self.requests = 1
            request_id = reply.request_id
            self.outcomes = [
                Accepted(record, record_id, request_id)
                for record, record_id in zip(self._records, accepted, strict=True)
            ]
            return
        group = self._groups[product_code] = Group(product_code)
        yield from self._digest(group, Parcel(tuple(pending_of(said))), reply)
        yield from self.settle()

    def settle(self) -> Flow[None]:
        """Sends until every record of the wave has its outcome."""
        under_way = 0
        while True:
            if self._later:
                now: Instant = yield NOW
                self._wake(now.seconds)
            while under_way < self._plan.concurrency and self._stopped_by is None:
                chosen = self._take()
                if chosen is None:
                    break
                if under_way or any(group.has_more for group in self._groups.values()):
                    yield Fork(self._send_parcel(*chosen), chosen)
                    under_way += 1
                else:  # alone, as in every call of up to 25 records: nothing goes on beside it
                    reply = yield from self._send_parcel(*chosen)
                    yield from self._digest(*chosen, reply)
            if under_way:
                joined: Joined = yield JOIN
                under_way -= 1
                group, parcel = joined.name
                yield from self._digest(group, parcel, joined.value)
            elif self._stopped_by is not None:
                self._give_up(self._stopped_by)
                return
            elif self._later:
                wake = self._later[0][0]
                yield Sleep(wake if self._plan.until is None else min(wake, self._plan.until))
                now = yield NOW
                if self._plan.until is not None and now.seconds >= self._plan.until:
                    before = "" if self._last_failure is None else f"; before that: {self._last_failure}"
                    self._stopped_by = DeadlineExceededError(f"the time given to the call is over{before}")
            else:
                return

    def _take(self) -> tuple[Group, Parcel] | None:
        for group in self._groups.values():
            parcel = group.take()
            if parcel is not None:
                return group, parcel
        return None

    def _send_parcel(self, group: Group, parcel: Parcel) -> Flow[Reply[Sorted]]:
        return self._send(group.product_code, [one.said for one in parcel.members])

    def _send(self, product_code: str | None, said: list[Said]) -> Flow[Reply[Sorted]]:
        try:
            body = batch_body(said, product_code)
            return (
                yield from exchange(
                    self._caller,
                    "BatchMeterUsage",
                    body,
                    lambda answer: sorted_batch(said, answer),
                    until=self._plan.until,
                    rate=self._caller.rate,
                )
            )
        except MeteringError as error:
            return Reply(None, error, None, 0, lost=False)

    # --- answers ---

    def _digest(self, group: Group, parcel: Parcel, reply: Reply[Sorted]) -> Flow[None]:
        self.requests += 1
        if reply.lost:
            for one in parcel.members:
                one.is_lost = True
        error = reply.error
        if error is None:
            assert reply.value is not None, "a reply without an error has a value"
            again = self._take_apart(parcel, reply.value, reply.request_id)
            group.accepted(parcel, self._condemned_by.get(parcel.members[0].place))
            if again:
                missing = UnreadableAnswerError("the service left the record unprocessed", request_id=reply.request_id)
                yield from self._later_round(group, again, missing)
        elif isinstance(error, _ABOUT_NOTHING) or (error.retryable and not isinstance(error, DeadlineExceededError)):
            group.add(parcel.beside)
            yield from self._later_round(group, parcel.members, error)
        elif isinstance(error, _ABOUT_US):
            self._stopped_by = error
            group.add((*parcel.members, *parcel.beside))
        elif isinstance(error, _ABOUT_PRODUCT):
            for one in (*parcel.members, *parcel.beside, *group.drain()):
                self._refuse(one, error)
        else:
            self._condemned_by.update(dict.fromkeys([one.place for one in parcel.members], error))
            blamed = group.condemned(parcel, error)
            if blamed is not None:
                self._refuse(blamed, error)

    def _take_apart(self, parcel: Parcel, answer: Sorted, request_id: str | None) -> list[Pending]:
        """Gives each record its outcome; those that have none yet are to be sent again."""
        again = []
        records, outcomes, ids = self._records, self.outcomes, self._ids
        for one, result in zip(parcel.members, answer.results, strict=True):
            if result is None:
                again.append(one)
                continue
            record_id = result.metering_record_id
            if result.status == "Success" and record_id is not None and record_id not in ids:  # nearly all of them
                ids.add(record_id)
                outcomes[one.place] = Accepted(records[one.place], record_id, request_id)
            else:
                outcomes[one.place] = self._outcome(one, result, request_id)
        return again

    def _outcome(self, one: Pending, result: RecordAnswer[object], request_id: str | None) -> RecordOutcome:
        record, record_id = self._records[one.place], result.metering_record_id
        status = result.status
        if status == RecordStatus.SUCCESS and record_id is not None:
            return Replayed(record, record_id, request_id)
        if status == RecordStatus.CUSTOMER_NOT_SUBSCRIBED:
            return NotSubscribed(record, request_id)
        if status == RecordStatus.DUPLICATE_RECORD:
            return self._repeat(one, request_id)
        strange = UnreadableAnswerError(f"the status {status!r} is not known here", request_id=request_id)
        return Unsent(record, strange, may_be_kept=True)

    def _repeat(self, one: Pending, request_id: str | None) -> Replayed | Conflicted:
        """Some products answer a repeated record as a duplicate; where this call has sent both, that is seen."""
        record, was_resent = self._records[one.place], one.is_lost
        before = self._before.get(one.place)
        while before is not None:
            earlier = self.outcomes[before]
            if isinstance(earlier, Accepted) and earlier.record.quantity == record.quantity:
                return Replayed(record, earlier.metering_record_id, request_id)
            was_resent = was_resent or (isinstance(earlier, Conflicted) and earlier.was_resent)
            before = self._before.get(before)
        return Conflicted(record, request_id, was_resent)

    def _refuse(self, one: Pending, error: MeteringError) -> None:
        self.outcomes[one.place] = Refused(self._records[one.place], error, may_be_kept=one.is_lost)

    # --- later rounds ---

    def _later_round(self, group: Group, members: Sequence[Pending], error: MeteringError) -> Flow[None]:
        """Keeps records for a round after a wait; those that have come back too often are unsent."""
        now: Instant = yield NOW
        self._last_failure = error
        for one in members:
            one.rounds += 1
            if one.rounds > self._plan.resend_rounds:
                self._leave_unsent(one, error)
        left = [one for one in members if self.outcomes[one.place] is None]
        if left:
            rounds = max(one.rounds for one in left)
            wake = now.seconds + backoff_seconds(rounds, throttled=True, random=self._caller.random())
            for one in left:
                heapq.heappush(self._later, (wake, one.place, group, one))

    def _wake(self, seconds: float) -> None:
        while self._later and self._later[0][0] <= seconds:
            _, _, group, one = heapq.heappop(self._later)
            group.add((one,))

    def _leave_unsent(self, one: Pending, error: MeteringError) -> None:
        self.outcomes[one.place] = Unsent(self._records[one.place], error, may_be_kept=one.is_lost)

    def _give_up(self, error: MeteringError) -> None:
        """What is left of the wave is unsent."""
        for group in self._groups.values():
            for one in group.drain():
                self._leave_unsent(one, error)
        for _, _, _, one in self._later:
            self._leave_unsent(one, error)
        self._later.clear()


def _ids_of_accepted(results: Sequence[RecordAnswer[object] | None]) -> list[str] | None:
    """The ids of results each of which is a success with an id of its own; None where any is not."""
    ids = [
        one.metering_record_id
        for one in results
        if one is not None and one.status == "Success" and one.metering_record_id is not None
    ]
    return ids if len(ids) == len(results) == len(set(ids)) else None
