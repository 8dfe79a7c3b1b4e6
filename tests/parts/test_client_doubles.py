"""What is shipped for tests: an application within the process, answers written down, a clock without waits."""

import asyncio
import json
from typing import Any

import pytest

from meterhouse.client.client import AsyncMeteringClient, MeteringClient
from meterhouse.client.doubles import ASGITransport, ManualClock, RecordedTransport, answer
from meterhouse.client.errors import AnswerTimeoutError, ConnectionLostError, ValidationException
from meterhouse.client.transport import Address, HttpRequest
from tests.unit.client_ways import KEYS

REQUEST = HttpRequest(Address("http", "127.0.0.1", 8750), [(b"X-Amz-Target", b"T.O")], b"{}", target=b"/a%20b?c=d")


class Application:
    """An ASGI application that notes what it is asked, and answers what it is told to."""

    def __init__(self, *, status: int = 200, body: bytes = b'{"ProductCode":"p"}', has_lifespan: bool = True) -> None:
        self.seen: list[Any] = []
        self.ended = 0
        self._status = status
        self._body = body
        self._has_lifespan = has_lifespan

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """One request, or the lifespan."""
        if scope["type"] == "lifespan":
            if not self._has_lifespan:
                raise ValueError("no lifespan here")
            assert (await receive())["type"] == "lifespan.startup"
            await send({"type": "lifespan.startup.complete"})
            assert (await receive())["type"] == "lifespan.shutdown"
            self.ended += 1
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.seen.append((scope, await receive(), await receive()))
        if self._status == 0:
            return
        await send({"type": "http.response.start", "status": self._status, "headers": [(b"X-Amzn-RequestId", b"r-1")]})
        half = len(self._body) // 2
        await send({"type": "http.response.body", "body": self._body[:half], "more_body": True})
        await send({"type": "http.response.body", "body": self._body[half:]})


@pytest.mark.parametrize("has_lifespan", [True, False])
def test_an_application_is_called_within_the_process(has_lifespan: bool) -> None:
    """By both clients, with its lifespan around all requests; one without a lifespan is served too."""
    application = Application(has_lifespan=has_lifespan)
    settings: Any = {"region": "us-east-1", "endpoint_url": "http://x:1", "credentials": KEYS}
    with MeteringClient(transport=ASGITransport(application), **settings) as client:
        assert [client.resolve_customer("t").product_code for _ in range(2)] == ["p", "p"]
    assert application.ended == has_lifespan

    async def by_tasks() -> str | None:
        async with AsyncMeteringClient(transport=ASGITransport(application), **settings) as client:
            return (await client.resolve_customer("t")).request_id

    assert asyncio.run(by_tasks()) == "r-1"
    assert application.ended == 2 * has_lifespan
    assert len(application.seen) == 3


def test_an_application_sees_a_request_as_a_server_would_give_it() -> None:
    """Path, query, headers in lower case with Host and length, body, and then that the client has left."""
    application = Application()
    transport = ASGITransport(application)
    transport.send(REQUEST, 10)
    transport.close()
    ((scope, body, after),) = application.seen
    assert (scope["method"], scope["raw_path"], scope["query_string"]) == ("POST", b"/a%20b", b"c=d")
    assert dict(scope["headers"]) == {b"host": b"127.0.0.1:8750", b"content-length": b"2", b"x-amz-target": b"T.O"}
    assert body == {"type": "http.request", "body": b"{}", "more_body": False}
    assert after == {"type": "http.disconnect"}


def test_an_application_that_fails_is_a_lost_connection() -> None:
    """Without an answer there is none; an error's answer is an error."""
    silent = ASGITransport(Application(status=0))
    refusing = Application(status=400, body=b'{"__type":"ValidationException"}')
    with pytest.raises(ConnectionLostError):
        silent.send(REQUEST, 10)
    silent.close()
    client = MeteringClient(
        region="us-east-1", endpoint_url="http://x", credentials=KEYS, transport=ASGITransport(refusing)
    )
    with pytest.raises(ValidationException), client:
        client.resolve_customer("t")


def test_an_application_may_be_too_slow() -> None:
    """The timeout holds within the process too."""

    async def never(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            raise ValueError("no lifespan here")
        await asyncio.Event().wait()

    transport = ASGITransport(never)
    with pytest.raises(AnswerTimeoutError):
        transport.send(REQUEST, 0.01)
    transport.close()


def test_an_application_that_cannot_start_says_so() -> None:
    """A failed startup is no answer, and no endless wait."""

    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "lifespan.startup.failed", "message": "no"})

    transport = ASGITransport(failing)
    with pytest.raises(RuntimeError, match="startup failed"):
        transport.send(REQUEST, 10)
    with pytest.raises(RuntimeError, match="startup failed"):
        transport.send(REQUEST, 10)
    transport.close()


def test_answers_that_were_written_down() -> None:
    """In their order; when there are no more, the test hears which request had none."""
    transport = RecordedTransport([answer({"a": 1}), ConnectionLostError("lost")])
    assert json.loads(transport.send(REQUEST, 1).body) == {"a": 1}
    with pytest.raises(ConnectionLostError):
        asyncio.run(transport.send_async(REQUEST, 1))
    with pytest.raises(AssertionError, match="no answer is left for request 3"):
        transport.send(REQUEST, 1)
    assert transport.requests == [REQUEST] * 3


def test_a_clock_without_waits() -> None:
    """Both clocks jump to the end of each wait, and stand still otherwise."""
    clock = ManualClock(wall_micros=5_000_000, seconds=2.0)
    clock.sleep(3.5)
    clock.sleep(1.0)
    asyncio.run(clock.sleep_async(4.0))
    assert (clock.now().seconds, clock.now().wall_micros) == (4.0, 7_000_000)
