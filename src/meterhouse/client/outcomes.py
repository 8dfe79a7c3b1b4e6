"""What became of each record of a `batch_meter_usage`, in six groups that a program cannot overlook.

Three production systems that are known counted every answered record as billed. Here that does not type-check: a result
is no boolean, has no list of "results" and no ids of its own. Its records are in groups, each of a class of its own,
and only the records in `accepted` and `replayed` have a `metering_record_id`.

    accepted         kept: will be billed, once
    replayed         a repeat of an accepted record of this call, with the same quantity: billed once
    conflicted       its hour is kept with another quantity, which stays: this one will not be billed
    not_subscribed   the customer has no agreement that takes it: will not be billed
    refused          breaks a rule, said here or by the service: will not be billed as it is
    unsent           not settled: send it again, which is safe; `may_be_kept` says that it might be kept already
"""

from collections.abc import Iterator, Sequence
from typing import Final, NoReturn

from msgspec import Struct

from meterhouse.client.errors import MeteringError
from meterhouse.client.records import UsageRecord


class Accepted(Struct, frozen=True, gc=False):
    """Kept: will be billed, once. The service does not say whether an earlier call had brought the same record."""

    record: UsageRecord
    metering_record_id: str
    request_id: str | None


class Replayed(Struct, frozen=True, gc=False):
    """A repeat of an accepted record of the same call, with the same quantity: billed once."""

    record: UsageRecord
    metering_record_id: str
    """That of the accepted one."""
    request_id: str | None


class Conflicted(Struct, frozen=True, gc=False):
    """Its hour is kept with another quantity: will not be billed."""

    record: UsageRecord
    request_id: str | None
    was_resent: bool
    """Whether an answer for it, or for an earlier one of its key, was lost before. Then what is in the way may be this
    very record, where the product answers repeats as conflicts (contract §4, `identical_repeat`).
    """


class NotSubscribed(Struct, frozen=True, gc=False):
    """The customer has no agreement that takes it: will not be billed."""

    record: UsageRecord
    request_id: str | None


class Refused(Struct, frozen=True):
    """Breaks a rule: will not be billed as it is."""

    record: UsageRecord
    reason: MeteringError
    """An `InvalidRequestError` where it was not sent; else the service's error, given to this record alone."""
    may_be_kept: bool
    """Whether it was on its way once before, and no answer came: what is refused now may have been kept then."""


class Unsent(Struct, frozen=True):
    """Not settled within the attempts and the time there were: to be sent again."""

    record: UsageRecord
    reason: MeteringError
    may_be_kept: bool
    """Whether it was on its way once and no answer came. To send it again changes nothing then."""


RecordOutcome = Accepted | Replayed | Conflicted | NotSubscribed | Refused | Unsent

_ORDER: Final = (Accepted, Replayed, Conflicted, NotSubscribed, Refused, Unsent)


class BatchResult(Sequence[RecordOutcome]):
    """What became of the records of one call, in the order given; and by group."""

    def __init__(self, outcomes: Sequence[RecordOutcome], requests: int) -> None:
        self._outcomes = tuple(outcomes)
        self.requests: Final = requests
        """How many requests were answered or failed for good, those of isolated records included."""

    def __bool__(self) -> NoReturn:
        raise TypeError("a result is not true or false: look at its groups, or call raise_for_rejected()")

    def __len__(self) -> int:
        return len(self._outcomes)

    def __iter__(self) -> Iterator[RecordOutcome]:
        return iter(self._outcomes)

    def __getitem__(self, place: int) -> RecordOutcome:  # type: ignore[override]  # a slice of a result would be no result
        return self._outcomes[place]

    def __repr__(self) -> str:
        counts = {kind.__name__: sum(type(one) is kind for one in self._outcomes) for kind in _ORDER}
        return f"<BatchResult {', '.join(f'{count} {name}' for name, count in counts.items() if count) or 'empty'}>"

    @property
    def accepted(self) -> tuple[Accepted, ...]:
        """Kept: will be billed, once."""
        return tuple(one for one in self._outcomes if isinstance(one, Accepted))

    @property
    def replayed(self) -> tuple[Replayed, ...]:
        """Repeats of accepted records of this call: billed once."""
        return tuple(one for one in self._outcomes if isinstance(one, Replayed))

    @property
    def conflicted(self) -> tuple[Conflicted, ...]:
        """Their hours are kept with other quantities: will not be billed."""
        return tuple(one for one in self._outcomes if isinstance(one, Conflicted))

    @property
    def not_subscribed(self) -> tuple[NotSubscribed, ...]:
        """Their customers have no agreement that takes them: will not be billed."""
        return tuple(one for one in self._outcomes if isinstance(one, NotSubscribed))

    @property
    def refused(self) -> tuple[Refused, ...]:
        """They break rules: will not be billed as they are."""
        return tuple(one for one in self._outcomes if isinstance(one, Refused))

    @property
    def unsent(self) -> tuple[Unsent, ...]:
        """Not settled: to be sent again."""
        return tuple(one for one in self._outcomes if isinstance(one, Unsent))

    @property
    def rejected(self) -> tuple[Conflicted | NotSubscribed | Refused | Unsent, ...]:
        """All that will not be billed as things stand, in the order given."""
        return tuple(one for one in self._outcomes if not isinstance(one, Accepted | Replayed))

    def raise_for_rejected(self) -> None:
        """Raises one RecordsRejectedError that names every record that is neither accepted nor replayed."""
        if self.rejected:
            raise RecordsRejectedError(self.rejected, len(self))


class RecordsRejectedError(MeteringError):
    """Some records of a batch were not accepted; the message names each with its reason."""

    def __init__(self, rejected: Sequence[Conflicted | NotSubscribed | Refused | Unsent], total: int) -> None:
        lines = [f"{len(rejected)} of {total} records were not accepted:", *map(_line, rejected)]
        super().__init__("\n  ".join(lines), code="RecordsRejected")
        self.rejected = tuple(rejected)
        self.retryable = all(isinstance(one, Unsent) for one in rejected)
        self.may_be_kept = any(isinstance(one, Refused | Unsent) and one.may_be_kept for one in rejected)


def _line(outcome: Conflicted | NotSubscribed | Refused | Unsent) -> str:
    record = outcome.record
    customer = record.customer_aws_account_id or record.customer_identifier
    what = f"{customer} {record.dimension} {record.timestamp.isoformat()} {record.quantity}"
    match outcome:
        case Conflicted():
            return f"{what}: conflicted, its hour is kept with another quantity"
        case NotSubscribed():
            return f"{what}: not subscribed"
        case Refused():
            return f"{what}: refused{_may_be_kept(outcome)}, {outcome.reason}"
        case Unsent():
            return f"{what}: unsent{_may_be_kept(outcome)}, {outcome.reason}"


def _may_be_kept(outcome: Refused | Unsent) -> str:
    return " (may be kept)" if outcome.may_be_kept else ""


class Problem(Struct, frozen=True):
    """What `check` finds wrong with a record."""

    place: int
    """Of the record in the order given, from 0."""
    record: UsageRecord
    reason: str
