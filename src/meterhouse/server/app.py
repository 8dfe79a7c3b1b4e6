"""The composition root, and the ASGI application: bytes in, bytes out.

A request for the four operations is: received whole (`http.py` bounds it), passed through the gates, decoded, given to
the house, encoded. Faults are translated here and nowhere else. Whatever else is raised is a bug, or the ledger's
failure: logged with the request id, answered as AWS's own service would, and safe to retry.

When the catalog moved while a turn was waiting, the whole judgment begins again at the first gate: a credential that
was deleted meanwhile must not be honoured because it was looked up a moment too early.

The wall clock and chance enter here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from functools import partial
from typing import Any, Final, NamedTuple, Protocol

import structlog

from meterhouse.core.call import Call, DoubleBilling, Following
from meterhouse.core.catalog import Workload
from meterhouse.core.moment import HOUR, rfc3339
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.usage import text_of_id
from meterhouse.ledger.protocol import Busy, LedgerFailure, Stale
from meterhouse.server.chance import RandomIds
from meterhouse.server.exchange import DROP
from meterhouse.server.fresh import Fresh
from meterhouse.server.gates import GATES, Arrival, Edge
from meterhouse.server.metrics import DROPPED, OK, UNNAMED, Metrics
from meterhouse.server.struck import Dropped, Struck
from meterhouse.service.faults import question_of
from meterhouse.service.house import House
from meterhouse.service.operations import Operation
from meterhouse.service.signs_of_life import SignsOfLife
from meterhouse.service.striking import Striking
from meterhouse.wire.codec import decode
from meterhouse.wire.faults import body_of, status_of

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[Scope, Receive, Send], Awaitable[None]]

OWN_PREFIX: Final = "/_meterhouse/"
"""A path that no AWS client uses: the control API, health and metrics live under it."""
JUDGED_AGAIN_LIMIT: Final = 50
"""How often a request begins again because the catalog moved, before it is told to come back later."""
READ_ASIDE_BYTES: Final = 65_536
"""How large a body may be that is read at once: a full batch without allocations has some 5,000."""
LOGGED_CHARACTERS: Final = 1000
"""How much of a refusal's message is logged: whoever sends nonsense must not fill the disk with it."""

_AMZ_JSON: Final = (b"content-type", b"application/x-amz-json-1.1")
_JSON: Final = (b"content-type", b"application/json")

log = structlog.get_logger("meterhouse")


def real_now_micros() -> int:
    """The wall clock, in microseconds since the epoch."""
    return time.time_ns() // 1000


class Response(NamedTuple):
    """What goes back to a client."""

    status: int
    headers: Sequence[tuple[bytes, bytes]]
    body: bytes


class Market(Protocol):
    """What the application needs of the catalog's owner."""

    async def refresh(self) -> None:
        """Brings the catalog up to what the ledger holds."""


class App:
    """The ASGI application. `control` answers what lies under `/_meterhouse/`; `edge` and `house` all else."""

    def __init__(
        self,
        house: House,
        market: Market,
        edge: Edge,
        control: Application,
        striking: Striking,
        signs_of_life: SignsOfLife,
        metrics: Metrics,
        fresh: Fresh,
    ) -> None:
        self._house = house
        self._market = market
        self._edge = edge
        self._control = control
        self._striking = striking
        self._signs_of_life = signs_of_life
        self._metrics = metrics
        self._fresh = fresh
        self._request_ids = RandomIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] == "lifespan":
            await _live(receive, send)
            return
        if scope["path"] == "/" and scope["method"] == "POST":
            response = await self.meter(scope, await _whole_body(scope, receive))
            if response is None:
                await send({"type": DROP})
            else:
                await _respond(send, response)
        elif scope["path"].startswith(OWN_PREFIX):
            await self._control(scope, receive, send)
        else:
            await elsewhere(scope, receive, send)

    async def meter(self, scope: Scope, body: bytes | None) -> Response | None:
        """The answer to a `POST /`; None where an injected fault drops the connection.

        `body` is None where it was too large to be read.
        """
        begun = time.perf_counter()
        hidden = self._edge.profile.hidden
        arrival = Arrival(scope["headers"], scope["query_string"], self._request_ids.text(), real_now_micros(), hidden)
        arrival.body = body
        del body
        outcome, response = await self._outcome(arrival)
        operation = UNNAMED if arrival.operation is None else arrival.operation.name
        self._metrics.answered(operation, outcome, time.perf_counter() - begun)
        return response

    async def _outcome(self, arrival: Arrival) -> tuple[str, Response | None]:
        """What the request comes to, in a word and as an answer; every fault is translated here.

        No name is left that holds what was raised: with its traceback it holds this very frame, and the request's body
        would stay in memory until the next search for garbage.
        """
        try:
            answer = await self._alive(arrival)
        except Fault as fault:
            return fault.code, self._refused(arrival, fault)
        except Dropped:
            return DROPPED, None
        except (Busy, LedgerFailure) as failure:
            log.warning("unavailable", request_id=arrival.request_id, reason=str(failure))
            message = "the ledger cannot keep usage at present; nothing of this request was acknowledged, try again"
            code = FaultCode.SERVICE_UNAVAILABLE
        except Exception:  # a bug must not take the connection down, nor say more than that it is one
            log.exception("bug", request_id=arrival.request_id)
            message = f"an unexpected error; it is logged under the request id {arrival.request_id}"
            code = FaultCode.INTERNAL_SERVICE_ERROR
        else:
            headers = (_AMZ_JSON, _length(answer), (b"x-amzn-RequestId", arrival.request_id.encode()))
            return OK, Response(200, headers, answer)
        return code, self._refused(arrival, Fault(code, message))

    async def _alive(self, arrival: Arrival) -> bytes:
        """The answer; it leaves, and so does a refusal, once it is kept that the calling workload lives (§7)."""
        try:
            answer = await self._answer_by_the_latest(arrival)
        except (Fault, Dropped):
            await self._note_life(arrival.signer.workload)
            raise
        await self._note_life(arrival.signer.workload)
        return answer

    async def _note_life(self, workload: Workload | None) -> None:
        if workload is not None:
            await self._signs_of_life.note(workload, self._house.clock.now_micros(workload.account))

    async def _answer_by_the_latest(self, arrival: Arrival) -> bytes:
        """The answer; what was refused is judged again where another server has changed the catalog meanwhile."""
        await self._fresh.before_a_request()
        for _ in range(JUDGED_AGAIN_LIMIT):
            try:
                return await self._answer(arrival)
            except Fault as fault:
                if fault.code is FaultCode.THROTTLING or not await self._fresh.has_moved():
                    raise
        raise Busy("the catalog changes faster than requests can be judged by it")

    async def _answer(self, arrival: Arrival) -> bytes:
        if arrival.body is not None and len(arrival.body) >= READ_ASIDE_BYTES:
            await self._read_aside(arrival)
        if self._striking:
            operation, call = self._judge(arrival)
            struck = Struck(self._striking, self._metrics, arrival.request_id)
            following = await struck.follow(question_of(operation.name, call.request), partial(self._follow, arrival))
        else:
            following = await self._follow(arrival)
        return arrival.body_of(following.answer)

    async def _follow(self, arrival: Arrival, left_out: Sequence[int] = ()) -> Following:
        """What follows from a request, judged anew each time the catalog has moved meanwhile."""
        for _ in range(JUDGED_AGAIN_LIMIT):
            operation, call = self._judge(arrival)
            try:
                following = await self._house.call(operation, call, arrival, left_out)
            except Stale:
                await self._market.refresh()
                continue
            self._note(arrival, following)
            return following
        raise Busy("the catalog changes faster than requests can be judged by it")

    async def _read_aside(self, arrival: Arrival) -> None:
        """Reads a large body in a thread, while others are served: it takes tens of milliseconds, a bad one a second.

        Not before the gates have let it pass; and they judge again afterwards, since the catalog may have moved.
        """
        for gate in GATES:
            gate(self._edge, arrival)
        assert arrival.operation is not None, "a gate found it"
        assert arrival.body is not None, "a gate saw it"
        arrival.request = await asyncio.to_thread(decode, arrival.body, arrival.operation.request, arrival.hidden)
        arrival.body = b""

    def _judge(self, arrival: Arrival) -> tuple[Operation, Call[Any]]:
        """The request behind the gates, its form and constraints checked."""
        for gate in GATES:
            gate(self._edge, arrival)
        assert arrival.operation is not None, "a gate found it"
        assert arrival.body is not None, "a gate saw it"
        profile = self._edge.profile
        if arrival.request is None:
            arrival.request = decode(arrival.body, arrival.operation.request, arrival.hidden)
            arrival.body = b""
        call = Call(arrival.request, arrival.signer, arrival.region, profile, self._edge.regions)
        return arrival.operation, call

    def _note(self, arrival: Arrival, following: Following) -> None:
        log.debug("accepted", request_id=arrival.request_id, kept=len(following.entries))
        self._metrics.judged(following.outcomes)
        for warning in following.warnings:
            self._metrics.double_billing()
            _warn(arrival, warning)

    def _refused(self, arrival: Arrival, fault: Fault) -> Response:
        log.info(
            "refused",
            request_id=arrival.request_id,
            operation=arrival.operation and arrival.operation.name,
            account=arrival.signer.account or None,
            fault=str(fault.code),
            reason=fault.message[:LOGGED_CHARACTERS],
        )
        body = body_of(fault)
        name = str(fault.code).encode()
        request_id = arrival.request_id.encode()
        headers = (_AMZ_JSON, _length(body), (b"x-amzn-RequestId", request_id), (b"x-amzn-ErrorType", name))
        return Response(status_of(fault.code), headers, body)


async def _whole_body(scope: Scope, receive: Receive) -> bytes | None:
    """The body, or None where it is too large; the connection has read it already, so this waits for nothing."""
    if "meterhouse.body_too_large" in scope.get("extensions", ()):
        return None
    message = await receive()
    body: bytes = message.get("body", b"")
    while message.get("more_body", False):
        message = await receive()
        body += message.get("body", b"")
    return body


async def _live(receive: Receive, send: Send) -> None:
    """ASGI's lifespan: what there is to open and close is opened and closed around the server."""
    for what in ("startup", "shutdown"):
        await receive()
        await send({"type": f"lifespan.{what}.complete"})


async def _respond(send: Send, response: Response) -> None:
    await send({"type": "http.response.start", "status": response.status, "headers": response.headers})
    await send({"type": "http.response.body", "body": response.body})


async def elsewhere(scope: Scope, _receive: Receive, send: Send) -> None:
    """Another path is 404, another method on `/` is 405 (contract §1)."""
    await _respond(send, _nothing_here(scope["path"]))


def _nothing_here(path: str) -> Response:
    if path == "/":
        body = b'{"message":"only POST is allowed here"}'
        return Response(405, (_JSON, _length(body), (b"allow", b"POST")), body)
    body = b'{"message":"nothing is here; the service answers POST /"}'
    return Response(404, (_JSON, _length(body)), body)


def _length(body: bytes) -> tuple[bytes, bytes]:
    return b"content-length", b"%d" % len(body)


def _warn(arrival: Arrival, warning: DoubleBilling) -> None:
    log.warning(
        "double_billing_warning",
        request_id=arrival.request_id,
        customer=warning.customer,
        dimension=warning.dimension,
        hour=rfc3339(warning.hour * HOUR),
        record_id=text_of_id(warning.record_id),
        other_record_id=text_of_id(warning.other_record_id),
    )
