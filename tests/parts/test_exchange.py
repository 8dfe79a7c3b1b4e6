"""One answer: how its head and body are written, and what becomes of an application that breaks the rules."""

import asyncio
from typing import Any

import pytest

from meterhouse.server.exchange import DROP, JOINED_BYTES, Application, Message, Receive, Scope, Send
from tests.unit.http_by_hand import by_hand

GET = b"GET / HTTP/1.1\r\n\r\n"
OLD_GET = b"GET / HTTP/1.0\r\n\r\n"
HEAD = b"HEAD / HTTP/1.1\r\n\r\n"
LENGTH_2 = [(b"content-length", b"2")]


def start(status: int = 200, headers: list[tuple[bytes, bytes]] | None = None) -> Message:
    """The first message of an answer."""
    return {"type": "http.response.start", "status": status, "headers": headers or []}


def body(text: bytes = b"", *, more: bool = False) -> Message:
    """A part of a body."""
    return {"type": "http.response.body", "body": text, "more_body": more}


def says(*messages: Message) -> Application:
    """An application that sends these."""

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        for message in messages:
            await send(message)

    return application


# The request, what the application sends, the framing that the client sees, and the body it reads.
FRAMED: list[tuple[bytes, list[Message], str, bytes]] = [
    (GET, [start(200, LENGTH_2), body(b"ok")], "length", b"ok"),
    (GET, [start(200, LENGTH_2), body(b"o", more=True), body(b"k")], "length", b"ok"),
    (GET, [start(200, [(b"Content-Length", b"0")]), body()], "length", b""),
    (GET, [start(), body(b"ok")], "chunked", b"ok"),
    (GET, [start(), body(more=True), body(b"o", more=True), body(b"k", more=True), body()], "chunked", b"ok"),
    (GET, [start(200, [(b"transfer-encoding", b"chunked")]), body(b"ok")], "chunked", b"ok"),
    (GET, [start(), body(b"a" * JOINED_BYTES * 2)], "chunked", b"a" * JOINED_BYTES * 2),
    (GET, [start(204), body()], "none", b""),
    (GET, [start(304, [(b"etag", b"x")]), body()], "none", b""),
    (HEAD, [start(200, LENGTH_2), body(b"ok")], "length", b""),
    (HEAD, [start(), body(b"ok")], "none", b""),
    (OLD_GET, [start(200, LENGTH_2), body(b"ok")], "length", b"ok"),
    (OLD_GET, [start(), body(b"o", more=True), body(b"k")], "end", b"ok"),
]


@pytest.mark.parametrize(("request_", "messages", "framing", "text"), FRAMED)
def test_a_body_is_delimited_once(request_: bytes, messages: list[Message], framing: str, text: bytes) -> None:
    """A body is delimited by its length if the application names it, else by chunks or for HTTP/1.0 by the end."""
    with by_hand(says(*messages)) as client:
        client.give(request_)
        (answer,) = client.answers(request_.split()[0].decode())
        seen = {"content-length": "length", "transfer-encoding": "chunked"}
        found = [name for header, name in seen.items() if header in answer.headers]
        assert found == ([framing] if framing in seen.values() else [])
        assert answer.body == text
        assert client.ended() == (request_ == OLD_GET)


def test_an_answer_leaves_in_one_write() -> None:
    """Head and a small body are one write, and the head waits for it."""
    sent: list[int] = []

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start(200, LENGTH_2))
        sent.append(len(client.transport.written))
        await send(body(b"ok"))

    with by_hand(application) as client:
        client.give(GET)
        assert sent == [0]
        assert bytes(client.transport.written) == (
            b"HTTP/1.1 200 OK\r\ndate: Tue, 24 Nov 2026 12:00:00 GMT\r\ncontent-length: 2\r\n\r\nok"
        )


def test_the_application_may_end_the_connection() -> None:
    """`Connection: close` in an answer is said once, and meant."""
    with by_hand(says(start(200, [(b"Connection", b"close"), *LENGTH_2]), body(b"ok"))) as client:
        client.give(GET)
        assert client.transport.written.count(b"onnection") == 1
        assert client.answers()[0].headers["connection"] == "close"
        assert client.ended()


SPLITS = [(b"x", b"a\r\nset-cookie: b"), (b"x\n", b"a"), (b"x", b"a\n"), (b"x", b"a\r"), (b"x", b"a\0")]
# What a broken application sends before anything has left.
BROKEN_EARLY: list[tuple[list[Message], str]] = [
    ([], "application_gave_no_answer"),
    ([start(200, LENGTH_2)], "application_gave_no_answer"),
    ([body(b"ok")], "application_failed"),
    ([start(), start()], "application_failed"),
    ([start(1000), body()], "application_failed"),
    ([start(200, LENGTH_2), body(b"o")], "application_failed"),
    ([start(200, LENGTH_2), body(b"ok!")], "application_failed"),
    ([start(200, [(b"content-length", b"two")]), body(b"ok")], "application_failed"),
    *[([start(200, [header, *LENGTH_2]), body(b"ok")], "application_failed") for header in SPLITS],
]


@pytest.mark.parametrize(("messages", "logged"), BROKEN_EARLY)
def test_a_broken_application_is_answered_for(messages: list[Message], logged: str) -> None:
    """As long as nothing has left, a broken application's client gets 500 in JSON, and the connection ends."""
    with by_hand(says(*messages), logged=(logged,)) as client:
        client.give(GET)
        (answer,) = client.answers()
        assert answer.status == 500
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["connection"] == "close"
        assert b"InternalServiceErrorException" in answer.body
        assert client.ended()


@pytest.mark.parametrize(
    ("messages", "logged"),
    [
        ([start(), body(b"o", more=True)], "application_gave_no_answer"),
        ([start(200, LENGTH_2), body(b"o", more=True)], "application_gave_no_answer"),
        ([start(200, LENGTH_2), body(b"o", more=True), body(b"k!")], "application_failed"),
        ([start(200, LENGTH_2), body(b"o", more=True), start()], "application_failed"),
    ],
)
def test_a_cut_answer_does_not_pass_for_a_whole_one(messages: list[Message], logged: str) -> None:
    """Once a part of an answer has left, a broken application costs the connection."""
    with by_hand(says(*messages), logged=(logged,)) as client:
        client.give(GET)
        assert client.transport.aborted
        assert not client.transport.written.endswith(b"0\r\n\r\n")


def test_what_comes_after_an_answer_does_not_harm_it() -> None:
    """An application that fails after its answer is logged, and its client keeps answer and connection."""
    with by_hand(says(start(200, LENGTH_2), body(b"ok"), body(b"more")), logged=("application_failed",)) as client:
        client.give(GET)
        assert client.statuses == [200]
        assert not client.ended()


def test_a_cancelled_answer_cuts_its_connection() -> None:
    """A request that is cancelled, as at a forced end, leaves its client no half answer to wait for, and no log."""

    async def waits(_scope: Scope, _receive: Receive, send: Send) -> None:
        await asyncio.Event().wait()

    with by_hand(waits) as client:
        client.give(GET)
        (task,) = client.state.tasks
        client.do(task.cancel)
        assert task.cancelled()
        assert client.transport.aborted
        assert client.transport.written == b""


def test_receive_says_when_the_exchange_is_over() -> None:
    """After the body, `receive` waits for the end: of the answer or of the client, whichever comes."""
    heard: list[Any] = []

    async def application(_scope: Scope, receive: Receive, send: Send) -> None:
        heard.append(await receive())
        listening = asyncio.ensure_future(receive())
        await asyncio.sleep(0)
        assert not listening.done()
        await send(start(200, LENGTH_2))
        await send(body(b"ok"))
        heard.append(await listening)
        heard.append(await receive())

    with by_hand(application) as client:
        client.give(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}")
        gone = {"type": "http.disconnect"}
        assert heard == [{"type": "http.request", "body": b"{}", "more_body": False}, gone, gone]


def test_a_slow_reader_is_waited_for() -> None:
    """While the client does not read, the application waits in `send`, and nothing piles up."""
    sent: list[int] = []

    async def application(_scope: Scope, _receive: Receive, send: Send) -> None:
        await send(start())
        for number in range(100):
            await send(body(b"a" * 1000, more=number < 99))
            sent.append(number)

    with by_hand(application) as client:
        client.do(client.protocol.pause_writing)
        client.give(GET)
        assert sent == []
        client.do(client.protocol.resume_writing)
        assert sent == list(range(100))
        assert len(client.answers()[0].body) == 100_000


def test_an_application_may_drop_the_connection() -> None:
    """A drop in place of an answer breaks the connection off: nothing is written, and nothing is logged as failed."""
    with by_hand(says({"type": DROP})) as client:
        client.give(GET)
        assert client.transport.aborted
        assert client.transport.written == b""


def test_an_answer_that_has_begun_is_not_dropped() -> None:
    """A drop after the answer has begun is an application out of order."""
    with by_hand(says(start(200, LENGTH_2), {"type": DROP}), logged=("application_failed",)) as client:
        client.give(GET)
        assert [answer.status for answer in client.answers()] == [500]
