"""The injected faults at work: asked about one call after another, kept as documents, alike in all servers.

Each change of documents moves the catalog's revision, and with it every turn under way begins again. So the questions
that come while one change is being written are answered together by the next (`together.py`).
"""

from collections.abc import Callable, Mapping, Sequence

from meterhouse.core.catalog import Catalog
from meterhouse.ledger.protocol import Document
from meterhouse.service.draft import Change
from meterhouse.service.faults import (
    FAULT_KIND,
    Faults,
    Question,
    Strike,
    choose,
    fits,
    give_back,
    kept_faults,
    settle,
)
from meterhouse.service.market import Market
from meterhouse.service.together import Together

Step = Callable[[Faults], Strike | None]
"""One question, or what became of an answer; it changes the faults that it is given."""


class Striking:
    """Says which calls are struck. `enabled`: only a sandbox has faults."""

    def __init__(self, market: Market, *, enabled: bool) -> None:
        self._market = market
        self._kept: Mapping[str, bytes] = market.settings(FAULT_KIND) if enabled else {}
        self._together = Together(self._take_all)

    def __bool__(self) -> bool:
        """Whether there is any fault; where there is none, nothing needs to be asked."""
        return bool(self._kept)

    async def ask(self, question: Question) -> Strike | None:
        """What a call is struck by. Raises `Busy` and `LedgerFailure`.

        A strike that is reserved has to be reported by `accepted`, `refused` or `given_back`.
        """
        if not any(fits(fault, question) for fault in kept_faults(self._kept).values()):
            return None
        return await self._together.ask(lambda faults: choose(faults, question))

    async def accepted(self, strike: Strike) -> None:
        """A call with a reserved strike was accepted, and is struck."""

        def step(faults: Faults) -> None:
            settle(faults, strike)

        await self._together.ask(step)

    async def refused(self, strike: Strike, question: Question) -> Strike | None:
        """A call with a reserved strike was refused; what it is struck by instead, if by anything."""

        def step(faults: Faults) -> Strike | None:
            give_back(faults, strike)
            return choose(faults, question._replace(behind=strike.number, refused=True))

        return await self._together.ask(step)

    async def given_back(self, strike: Strike) -> None:
        """A call with a reserved strike came to nothing, for a reason of the server's own."""

        def step(faults: Faults) -> None:
            give_back(faults, strike)

        await self._together.ask(step)

    async def _take_all(self, steps: Sequence[Step]) -> Sequence[Strike | None]:
        def plan(_catalog: Catalog) -> Change[list[Strike | None]]:
            before = kept_faults(self._kept)
            after = dict(before)
            answers = [step(after) for step in steps]
            changed = [fault.document() for fault in after.values() if before.get(fault.id) != fault]
            gone = [Document(FAULT_KIND, fault_id, None) for fault_id in before.keys() - after.keys()]
            return Change([*changed, *gone], answers)

        return await self._market.change(plan)
