"""What injected faults do to one request (catalog contract, `/faults`; contract §9)."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import structlog

from meterhouse.core.call import Following
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.server.metrics import Metrics
from meterhouse.service.faults import FaultName, Question, Strike
from meterhouse.service.striking import Striking

log = structlog.get_logger("meterhouse")

Follow = Callable[[Sequence[int]], Awaitable[Following]]
"""What follows from a request of which the records at some positions are left out."""


class Dropped(Exception):
    """The connection is to be dropped without an answer."""


class Struck:
    """Lets injected faults strike; `request_id` is told in the log."""

    def __init__(self, striking: Striking, metrics: Metrics, request_id: str) -> None:
        self._striking = striking
        self._metrics = metrics
        self._request_id = request_id

    async def follow(self, question: Question, follow: Follow) -> Following:
        """What follows from a request whose constraints are passed.

        Raises what `follow` raises, the Fault of a strike, and Dropped.
        """
        strike = await self._striking.ask(question)
        if strike is None:
            return await follow(())
        if not strike.is_reserved:
            await self._strike(strike)
            return await follow(())
        try:
            following = await follow(strike.records)
        except Fault:
            instead = await self._striking.refused(strike, question)
            if instead is None:
                raise
            await self._strike(instead)
            return await follow(())
        except Exception:
            await self._striking.given_back(strike)
            raise
        await self._striking.accepted(strike)
        await self._strike(strike)
        return following

    async def _strike(self, strike: Strike) -> None:
        """Raises what a client is to see of a fault; returns where the request goes on."""
        self._metrics.struck(strike.fault)
        self._metrics.left_out(len(strike.records))
        log.info("struck", request_id=self._request_id, fault=str(strike.fault), fault_id=strike.id)
        match strike.fault:
            case FaultName.THROTTLE:
                raise Fault(FaultCode.THROTTLING, "Rate exceeded")
            case FaultName.INTERNAL:
                raise Fault(FaultCode.INTERNAL_SERVICE_ERROR, "an injected fault: internal")
            case FaultName.UNAVAILABLE:
                raise Fault(FaultCode.SERVICE_UNAVAILABLE, "an injected fault: unavailable")
            case FaultName.DISCONNECT | FaultName.LOSE_ANSWER:
                raise Dropped
            case FaultName.DELAY:
                await asyncio.sleep(strike.seconds)
            case FaultName.UNPROCESSED:
                pass
