"""The house: joins the rules to the ledger. Knows no HTTP, no bytes and no clock of its own."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from msgspec import structs

from meterhouse.core.call import Attestation, Call, Following, RecordIds
from meterhouse.core.catalog import Catalog
from meterhouse.core.shapes import Answer, RegisterUsageResult
from meterhouse.ledger.protocol import Decision, Header, Keys, Ledger, View
from meterhouse.service.faults import plan_leaving_out
from meterhouse.service.operations import Operation


class Clock(Protocol):
    """What time it is for an account."""

    def now_micros(self, account: str) -> int:
        """The account's present instant, in microseconds since the epoch."""


class Occasion(Protocol):
    """What sets one request apart from all others; kept with what it kept."""

    @property
    def request_id(self) -> str:
        """The id that the answer carries."""

    @property
    def received_micros(self) -> int:
        """When it was received, by real time."""

    def answered(self, answer: Answer) -> None:
        """Told the answer as soon as it follows, inside the turn, while all it is made of is still at hand.

        Perhaps in another thread and perhaps more than once: what the call itself gives back is what counts.
        """


Attest = Callable[[Attestation], Awaitable[RegisterUsageResult]]
"""Signs the answer of a registration that is kept."""
Confirm = Callable[[], Awaitable[None]]
"""Raises `Stale` where the catalog has moved: asked before an answer is given that no turn has judged."""


async def unshared() -> None:
    """The `Confirm` of a ledger that no other server changes."""


class House:
    """Calls the operations over one ledger and one catalog."""

    def __init__(
        self,
        ledger: Ledger,
        catalog: Catalog,
        clock: Clock,
        record_ids: RecordIds,
        attest: Attest,
        confirm: Confirm = unshared,
    ) -> None:
        self.ledger = ledger
        self.catalog = catalog
        self.clock = clock
        self._record_ids = record_ids
        self._attest = attest
        self._confirm = confirm

    async def call(
        self, operation: Operation, call: Call[Any], occasion: Occasion, left_out: Sequence[int] = ()
    ) -> Following:
        """What follows from a call: judged, and where something is kept, synced.

        `left_out`: positions of the records of a batch that an injected fault leaves unprocessed.

        Raises Fault; `Stale` where the catalog moved meanwhile (whoever calls begins again from the signature);
        `Busy` and `LedgerFailure` from the ledger.
        """
        now_micros = self.clock.now_micros(call.signer.account)
        if left_out:
            plan = plan_leaving_out(operation.plan, call, self.catalog, now_micros, left_out)
        else:
            plan = operation.plan(call, self.catalog, now_micros)
        if plan.partition is None:
            settled = plan.follow(_NOTHING_KEPT, self._record_ids)
            await self._confirm()
            return settled
        header = Header(
            occasion.request_id,
            operation.name,
            call.signer.principal,
            call.signer.account,
            occasion.received_micros,
            now_micros,
            call.profile.name,
        )
        decision = await self.ledger.turn(
            plan.partition,
            Keys(plan.records, plan.claims, plan.rivals, plan.forms),
            _decide(plan.follow, self._record_ids, header, occasion),
            revision=self.catalog.revision,
        )
        following = decision.answer
        assert isinstance(following, Following), "a turn gives back what its rule answered"
        if following.attestation is not None:
            return structs.replace(following, answer=await self._attest(following.attestation))
        return following


def _decide(
    follow: Callable[[View, RecordIds], Following], record_ids: RecordIds, header: Header, occasion: Occasion
) -> Callable[[View], Decision]:
    def decide(view: View) -> Decision:
        following = follow(view, record_ids)
        occasion.answered(following.answer)
        return Decision(following, following.entries, following.claims, header if following.keeps else None)

    return decide


class _NothingKept:
    """The view of a plan that asks nothing."""

    both_forms = False

    def record(self, _key: object) -> None:
        return None

    def keeps_any(self, _keys: object) -> bool:
        return False

    def claim(self, _key: object) -> None:
        return None


_NOTHING_KEPT = _NothingKept()
