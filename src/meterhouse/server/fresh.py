"""How fresh the catalog is that a request is judged by, where other servers of the same ledger change it too.

What keeps usage is judged inside a turn, and a turn refuses a catalog that has moved (promise 9 of the ledger). The
rest is judged by what this process knows, so it has to look:

- before an answer that asked no turn is given, and before a refusal is: whoever was told of a change by one server must
  not be judged by the catalog of before at another;
- in a sandbox before each request, because its clock and its faults are changed by calls too, and strike before any
  turn.

A look is one small read. Those who want one while another is under way share the next.
"""

import asyncio
from typing import Protocol

from meterhouse.core.catalog import Catalog
from meterhouse.ledger.protocol import Stale


class Market(Protocol):
    """The catalog's owner."""

    @property
    def catalog(self) -> Catalog:
        """What requests are judged by."""

    async def refresh(self) -> None:
        """Brings the catalog up to what the ledger holds."""


class Fresh:
    """Looks whether the catalog has moved. `shared`: others change it; `sandbox`: clock and faults are set by calls."""

    def __init__(self, market: Market, *, shared: bool, sandbox: bool) -> None:
        self._market = market
        self._before_each = shared and sandbox
        self._after_some = shared and not sandbox
        self._under_way: asyncio.Task[None] | None = None
        self._next: asyncio.Task[None] | None = None

    async def before_a_request(self) -> None:
        """Looks, where what strikes before any turn may have changed. Raises `Busy` and `LedgerFailure`."""
        if self._before_each:
            await self._look()

    async def has_moved(self) -> bool:
        """Whether a refusal has to be judged again, by what others have changed. Raises `Busy` and `LedgerFailure`."""
        if not self._after_some:
            return False
        revision = self._market.catalog.revision
        await self._look()
        return self._market.catalog.revision != revision

    async def confirm(self) -> None:
        """Raises `Stale` where an answer that asked no turn has to be judged again; `Busy` and `LedgerFailure`."""
        if await self.has_moved():
            raise Stale("the catalog was changed by another server")

    async def _look(self) -> None:
        if self._next is None:
            self._next = asyncio.ensure_future(self._look_behind(self._under_way))
        await asyncio.shield(self._next)

    async def _look_behind(self, before: "asyncio.Task[None] | None") -> None:
        """A look that begins when the one under way has ended: it began too early for whoever asks now."""
        if before is not None:
            await asyncio.wait({before})
        self._under_way, self._next = self._next, None
        await self._market.refresh()
