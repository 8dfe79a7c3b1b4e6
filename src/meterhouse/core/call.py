"""What a rule is given, and what it gives back.

A rule has two halves, because two different owners must be asked. The first, `plan_x(call, catalog, now)`, runs
between two changes of the catalog: it judges everything that the catalog and the clock can settle, and says under
which keys the ledger must be read. The second, `Plan.follow(view, ids)`, runs inside the ledger's turn, perhaps on
another thread and perhaps more than once: it sees the view and nothing that can move, and says what follows. Every
refusal that needs no ledger is raised by the first half, so a request that is refused costs no turn; where the order of
precedence puts a refusal behind one that does need the ledger, the first half carries it over as a value.
"""

from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Generic, NamedTuple, Protocol, TypeVar

from msgspec import Struct

from meterhouse.core.catalog import Workload
from meterhouse.core.outcome import Fault, FaultCode, Outcome, Step
from meterhouse.core.profile import Profile
from meterhouse.core.regions import serves
from meterhouse.core.shapes import Answer
from meterhouse.core.usage import ClaimKey, Entry, Kept, Partition, RecordKey

request_type = TypeVar("request_type")


class Signer(NamedTuple):
    """Who signed a call."""

    account: str
    principal: str
    workload: Workload | None = None


class Call(Struct, Generic[request_type], frozen=True):
    """A request, who made it, where, and by which rules it is judged."""

    request: request_type
    signer: Signer
    region: str
    profile: Profile
    regions: AbstractSet[str] | None = None
    """The Regions the server serves; None: every well-formed one."""

    @property
    def region_is_served(self) -> bool:
        """Whether the server serves the call's Region."""
        return serves(self.regions, self.region)

    def check_region(self, code: FaultCode = FaultCode.DISABLED_API) -> None:
        """The step REGION, as far as it is the server's."""
        if not self.region_is_served:
            raise Fault(code, f"the Region {self.region} is not served here")


class View(Protocol):
    """What a rule may see of the ledger inside its turn (see `ledger.protocol.View`)."""

    def record(self, key: RecordKey) -> Kept | None:
        """What is kept under a key that the plan named."""

    def keeps_any(self, keys: Sequence[RecordKey]) -> bool:
        """Whether something is kept under any of the keys, which the plan named."""

    def claim(self, key: ClaimKey) -> bytes | None:
        """The value bound to a claim that the plan named."""

    @property
    def both_forms(self) -> bool:
        """Whether usage may be kept under both forms of naming it; where not, no rival can be."""


class NewIds(NamedTuple):
    """Record ids that were never given before: random UUIDs, version 4."""

    octets: Sequence[bytes]
    """16 bytes each, as they are kept."""
    texts: Sequence[str]
    """The same as clients see them (`usage.text_of_id`)."""


RecordIds = Callable[[int], NewIds]
"""Gives that many new record ids."""


class DoubleBilling(NamedTuple):
    """A warning: the same usage is kept under both forms of naming it, and AWS would bill both (contract §4)."""

    customer: str
    dimension: str
    hour: int
    record_id: bytes
    other_record_id: bytes


class Attestation(NamedTuple):
    """What a RegisterUsage answer is to attest: the service signs it once it is kept (contract §7)."""

    product: str
    key_version: int
    nonce: str | None
    issued_micros: int


class Following(Struct, frozen=True):
    """What follows from a request: the answer, and what is to be kept."""

    answer: Answer
    entries: Sequence[Entry] = ()
    claims: Sequence[tuple[ClaimKey, bytes]] = ()
    keeps: bool = False
    """Whether something new is kept, so that the journal gets a row."""
    outcomes: Sequence[Outcome] = ()
    """Of a batch's records, in order."""
    warnings: Sequence[DoubleBilling] = ()
    attestation: Attestation | None = None
    """What is still to be signed into the answer."""


class Plan(Struct, frozen=True):
    """The first half of a rule's result: where to look, and how to go on from what is seen there."""

    follow: Callable[[View, RecordIds], Following]
    partition: Partition | None = None
    """None: the ledger is not asked at all."""
    records: Sequence[RecordKey] = ()
    claims: Sequence[ClaimKey] = ()
    rivals: Sequence[RecordKey] = ()
    forms: int = 0
    """The forms in which the records name what was used (bits of `core.usage`); 0 where that does not matter."""


def answered(answer: Answer) -> Plan:
    """A plan whose answer is settled without the ledger."""
    following = Following(answer)
    return Plan(lambda _view, _ids: following)


class Refusal(NamedTuple):
    """A fault as a value, with its place in the order of precedence."""

    step: Step
    place: int
    """The record's index in its request, from 0; -1 where it is the request's own."""
    code: FaultCode
    reason: str

    def fault(self) -> Fault:
        """The fault, its message naming the record (counted from 1, as in Coral's paths)."""
        where = "" if self.place < 0 else f"usageRecords.{self.place + 1}.member: "
        return Fault(self.code, where + self.reason)
