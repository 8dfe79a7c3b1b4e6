"""What bytes mean: which requests they are, which they must not be, and in what order the answers leave."""

import asyncio
import contextvars

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meterhouse.server.exchange import Receive, Scope, Send
from tests.unit.http_by_hand import Answer, Recorder, by_hand

# A request, and what the application must see of it: method, path, query, body; and whether the connection goes on.
READ = [
    (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", ("POST", "/", b"", b"{}"), True),
    (b"POST / HTTP/1.1\r\nHost: h\r\n\r\n", ("POST", "/", b"", b""), True),
    (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", ("POST", "/", b"", b""), True),
    (b"\r\n\r\nPOST / HTTP/1.1\r\n\r\n", ("POST", "/", b"", b""), True),
    (b"GET /a%20b?c=%20d&e HTTP/1.1\r\n\r\n", ("GET", "/a b", b"c=%20d&e", b""), True),
    (b"GET /?Action=X HTTP/1.1\r\n\r\n", ("GET", "/", b"Action=X", b""), True),
    (b"GET http://h:1/a?b HTTP/1.1\r\nHost: h\r\n\r\n", ("GET", "/a", b"b", b""), True),
    (b"GET http://h HTTP/1.1\r\nHost: h\r\n\r\n", ("GET", "/", b"", b""), True),
    (b"OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n", ("OPTIONS", "*", b"", b""), True),
    (b"HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", ("HEAD", "/", b"", b""), True),
    (b"DELETE /x HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\n\r\n1", ("DELETE", "/x", b"", b"1"), True),
    (
        (
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;a=b\r\nabc\r\n00002\r\nde\r\n0\r\nX: y\r\nZ: z\r\n\r\n"
        ),
        ("POST", "/", b"", b"abcde"),
        True,
    ),
    (b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ("POST", "/", b"", b""), True),
    (
        b"POST /u HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
        ("POST", "/u", b"", b"abc"),
        True,
    ),
    (
        (
            b"POST /u HTTP/1.1\r\nConnection: upgrade\r\nUpgrade: h2c\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"1\r\na\r\n0\r\n\r\n"
        ),
        ("POST", "/u", b"", b"a"),
        True,
    ),
    (b"GET /w HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", ("GET", "/w", b"", b""), True),
    (b"GET /w HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", ("GET", "/w", b"", b""), True),
    (b"POST / HTTP/1.1\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}", ("POST", "/", b"", b"{}"), False),
    (b"POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n{}", ("POST", "/", b"", b"{}"), False),
    (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", ("GET", "/", b"", b""), False),
    (b"GET /c HTTP/1.1\r\nConnection: close, Upgrade\r\nUpgrade: h2c\r\n\r\n", ("GET", "/c", b"", b""), False),
]


def seen(recorder: Recorder) -> list[tuple[str, str, bytes, bytes]]:
    """What the application saw."""
    return [(scope["method"], scope["path"], scope["query_string"], body) for scope, body in recorder.requests]


@pytest.mark.parametrize(("stream", "request_", "goes_on"), READ)
def test_a_request_is_read(stream: bytes, request_: tuple[str, str, bytes, bytes], goes_on: bool) -> None:
    """Each form of request reaches the application whole, and the connection goes on unless either side will not."""
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(stream)
        assert seen(recorder) == [request_]
        (answer,) = client.answers(request_[0])
        assert answer.status == 200
        assert client.ended() is not goes_on
        assert answer.headers.get("connection") == (None if goes_on else "close")


KEPT_OPEN = [(stream, request) for stream, request, goes_on in READ if goes_on]


@given(st.data(), st.lists(st.sampled_from(KEPT_OPEN), min_size=1, max_size=5))
def test_how_bytes_arrive_changes_nothing(
    draw: st.DataObject, chosen: list[tuple[bytes, tuple[str, str, bytes, bytes]]]
) -> None:
    """However a stream of requests is cut into pieces, the same requests are seen and answered in the same order."""
    stream = b"".join(text for text, _ in chosen)
    cuts = sorted(draw.draw(st.sets(st.integers(1, len(stream) - 1), max_size=12)))
    parts = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(*parts)
        assert seen(recorder) == [request for _, request in chosen]
        answers = client.answers(*(request[0] for _, request in chosen))
        assert [answer.status for answer in answers] == [200] * len(chosen)
        assert not client.ended()


def test_a_request_may_come_byte_by_byte() -> None:
    """The smallest pieces of all make no difference either."""
    recorder = Recorder()
    with by_hand(recorder) as client:
        for stream, _ in KEPT_OPEN:
            client.give(*(bytes((byte,)) for byte in stream))
        assert seen(recorder) == [request for _, request in KEPT_OPEN]


# What is refused as it is read, and never reaches the application.
REFUSED = [
    b"POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 2\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: 2, 2\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: +2\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: -2\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: 0x2\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length:\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length : 2\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n{}",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
    b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nHOST: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nA: b\r\n folded\r\n\r\n",
    b"GET / HTTP/1.1\nHost: h\n\n",
    b"GET / HTTP/1.1\r\nA: \x00\r\n\r\n",
    b"GET / HTTP/1.1\r\nA b: c\r\n\r\n",
    b"GET / HTTP/1.1\r\n: c\r\n\r\n",
    b"GET /\xe9 HTTP/1.1\r\n\r\n",
    b"GET ?a HTTP/1.1\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/0.9\r\n\r\n",
    b"GET / HTTP/2.0\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"CONNECT h:443 HTTP/1.1\r\nHost: h\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00",
]


@pytest.mark.parametrize("stream", REFUSED)
def test_what_is_not_http_is_refused(stream: bytes) -> None:
    """What two servers might read differently, or nobody can, is 400 in short JSON, and the last thing heard."""
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(stream + b"GET /smuggled HTTP/1.1\r\n\r\n", b"GET /smuggled HTTP/1.1\r\n\r\n")
        (answer,) = client.answers()
        assert answer.status == 400
        assert answer.headers["content-type"] == "application/json"
        assert answer.headers["connection"] == "close"
        assert answer.body.startswith(b'{"__type":"BadRequestException","message":"')
        assert recorder.requests == []
        assert client.transport.half_closed


def test_the_scope_is_asgi() -> None:
    """The application is told all that ASGI asks for, header names in lower case and values as they came."""
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(b"POST /a?b HTTP/1.1\r\nHost: H\r\nX-Amz-Target: T \r\n\r\n")
        assert recorder.requests[0][0] == {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": "POST",
            "scheme": "http",
            "path": "/a",
            "raw_path": b"/a",
            "query_string": b"b",
            "root_path": "",
            "headers": [(b"host", b"H"), (b"x-amz-target", b"T ")],
            "client": ("192.0.2.7", 40_000),
            "server": ("192.0.2.1", 8750),
            "state": {"house": "open"},
        }


def test_trailers_are_no_headers() -> None:
    """A trailer cannot add to what was said in the head, such as a target or a signature."""
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(
            b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\nAuthorization: x\r\n\r\n",
            b"GET / HTTP/1.1\r\n\r\n",
        )
        assert [scope["headers"] for scope, _ in recorder.requests] == [[(b"transfer-encoding", b"chunked")], []]


def test_an_offer_to_switch_is_still_seen() -> None:
    """Upgrade counts for nothing, but stays among the headers, since it may have been signed."""
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(b"GET / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n")
        headers = recorder.requests[0][0]["headers"]
        assert headers == [(b"host", b"h"), (b"upgrade", b"h2c"), (b"connection", b"Upgrade")]


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
EXPECTS = b"POST / HTTP/1.1\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n"


def test_a_client_that_asks_is_told_to_go_on() -> None:
    """100 Continue is said once, before the body comes, and not to a client of HTTP/1.0, nor when the body is there."""
    for first, rest, said in (
        (EXPECTS, b"{}", CONTINUE),
        (EXPECTS + b"{", b"}", b""),
        (EXPECTS + b"{}", b"", b""),
        (EXPECTS.replace(b"1.1", b"1.0"), b"{}", b""),
        (EXPECTS.replace(b"100-Continue", b"200-ok"), b"{}", b""),
    ):
        with by_hand() as client:
            client.give(first)
            assert client.transport.written.startswith(said)
            client.give(rest)
            assert client.transport.written.count(CONTINUE) == bool(said)
            assert client.statuses == [200]


def test_the_word_to_go_on_waits_for_the_answer_before() -> None:
    """100 Continue never comes in front of the answer to an earlier request."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(b"GET / HTTP/1.1\r\n\r\n", EXPECTS)
        assert client.transport.written == b""
        client.do(recorder.released.set)
        assert client.transport.written.endswith(CONTINUE)
        client.give(b"{}")
        assert client.statuses == [200, 200]


def test_the_word_to_go_on_is_for_one_request() -> None:
    """A client that went on without being told is not told later, in the middle of its next request."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(b"GET / HTTP/1.1\r\n\r\n", EXPECTS, b"{}POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n")
        client.do(recorder.released.set)
        assert client.statuses == [200, 200]
        assert CONTINUE not in client.transport.written


def test_many_offers_to_switch_are_many_requests() -> None:
    """As many offers as one read can bring are all declined and answered."""
    offer = b"GET / HTTP/1.1\r\nConnection:upgrade\r\nUpgrade:x\r\n\r\n"
    with by_hand() as client:
        client.give(offer * (256_000 // len(offer)))
        client.settle_until(256_000 // len(offer))
        assert not client.ended()


def test_a_refused_offer_to_switch_leaves_the_request_before_alone() -> None:
    """A head that is refused as it is said again changes nothing about an earlier request."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        client.give(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n")
        client.do(recorder.released.set)
        assert client.statuses == [200, 400]
        assert [scope["headers"] for scope, _ in recorder.requests] == [[(b"host", b"h")]]


def test_nothing_is_read_after_the_last_request() -> None:
    """What follows a request that ends the connection is no request."""
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(b"GET /1 HTTP/1.1\r\nConnection: close\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        assert [scope["path"] for scope, _ in recorder.requests] == ["/1"]
        assert client.statuses == [200]
        assert client.ended()


def test_a_client_that_has_said_all_still_hears_the_answers() -> None:
    """A client may end its side after its requests and gets every answer; with nothing to answer, both sides end."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /ha")
        client.do(recorder.released.set)
        recorder.released.clear()
        client.give(b"lf HTTP/1.1\r\n\r\nPO")
        assert client.end() is True
        client.do(recorder.released.set)
        assert [answer.body for answer in client.answers()] == [b"GET /1 ", b"GET /2 ", b"GET /half "]
        assert client.ended()
        assert not client.transport.aborted
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(b"GET / HTTP/1.1\r\n\r\n", b"NOT HTTP")
        assert client.end() is True
        client.do(recorder.released.set)
        assert client.statuses == [200, 400]
        assert client.ended(), "a client that has said all needs no time to finish"
    for begun in (b"", b"GET /ha", b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{"):
        with by_hand() as client:
            client.give(begun)
            assert client.end() is False
            assert client.transport.written == b""


def test_a_client_that_leaves_stops_nothing() -> None:
    """When the client goes, the request being answered runs on to its end, and those behind it are dropped."""
    finished = []

    async def commit(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert await receive() == {"type": "http.disconnect"}
        await asyncio.sleep(0)
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})
        finished.append(scope["path"])

    with by_hand(commit) as client:
        client.give(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n")
        client.do(client.transport.abort)
        assert finished == ["/1"]
        assert client.transport.written == b""
        assert not client.state.tasks
        assert not client.state.connections


def test_requests_inherit_nothing_from_each_other() -> None:
    """A context variable that one request sets is unknown to the next on its connection, pipelined or not."""
    signer = contextvars.ContextVar("signer", default="nobody")
    found = []

    async def signs(scope: Scope, receive: Receive, send: Send) -> None:
        found.append(signer.get())
        signer.set("somebody")
        await Recorder()(scope, receive, send)

    with by_hand(signs) as client:
        client.give(b"GET / HTTP/1.1\r\n\r\n" * 1000)
        client.settle_until(1000)
        client.give(b"GET / HTTP/1.1\r\n\r\n")
        assert found == ["nobody"] * 1001


@pytest.mark.parametrize(
    ("come", "answered"),
    [
        ([], 0),
        ([b"GET / HTTP/1.1\r\n\r\n"], 1),
        ([b"NOT HTTP"], 1),
        ([b"GET / HT", b"TP/1.1\r\n\r\n"], 1),
        ([EXPECTS, b"{}GET / HTTP/1.1\r\n\r\n"], 1),
        ([EXPECTS, b"{}NOT HTTP"], 1),
    ],
)
def test_a_server_that_stops_finishes_what_has_begun(come: list[bytes], answered: int) -> None:
    """Told to stop, a connection at rest ends, and one on which a request has begun answers it and then ends."""
    with by_hand() as client:
        client.give(*come[:1])
        client.do(client.protocol.shutdown)
        client.give(*come[1:])
        answers: list[Answer] = client.answers()
        assert len(answers) == answered
        assert client.ended()
        if len(come) > 1:
            assert answers[-1].headers["connection"] == "close"


def test_a_server_that_stops_answers_the_requests_it_has() -> None:
    """Requests that were whole when the server was told to stop are all answered; one that was not is not."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTT")
        client.do(client.protocol.shutdown)
        client.do(recorder.released.set)
        assert [answer.headers.get("connection") for answer in client.answers()] == [None, "close"]
        assert client.ended()
