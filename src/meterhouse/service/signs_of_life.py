"""Signs of life: that a workload has called, noted for those that count as ended when they are not heard of (§7).

A sign is kept before the call is answered, so that a server that is killed right after has forgotten no second of what
it has answered. Signs that come together are kept by one change.
"""

from collections.abc import Sequence
from typing import NamedTuple

from meterhouse.core.catalog import Catalog, Workload
from meterhouse.service.credentials import seen_at
from meterhouse.service.draft import Change
from meterhouse.service.market import Market
from meterhouse.service.together import Together


class Sign(NamedTuple):
    """A workload lived at an instant of its account's clock."""

    resource_id: str
    micros: int


class SignsOfLife:
    """Notes that workloads live."""

    def __init__(self, market: Market) -> None:
        self._market = market
        self._together = Together(self._note_all)

    async def note(self, workload: Workload, now_micros: int) -> None:
        """A workload has called. Returns when that is kept; raises `Busy` and `LedgerFailure`.

        Nothing is kept for one that lives until it is ended, nor for one that was ended meanwhile.
        """
        if workload.heartbeat_seconds is not None:
            await self._together.ask(Sign(workload.resource_id, now_micros))

    async def _note_all(self, signs: Sequence[Sign]) -> Sequence[None]:
        def plan(catalog: Catalog) -> Change[None]:
            seen: dict[str, Workload] = {}
            for resource_id, micros in signs:
                workload = seen.get(resource_id) or catalog.running(resource_id)
                if workload is not None:
                    seen[resource_id] = seen_at(workload, micros)
            return Change([*seen.values()], None)

        await self._market.change(plan)
        return [None] * len(signs)
