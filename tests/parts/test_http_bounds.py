"""Every bound on a connection: how many bytes, how many seconds, and what the client is told."""

import sys
import tracemalloc
from itertools import repeat

import pytest

from meterhouse.server.bounds import CONTRACT, PIECE_BYTES, Bounds
from meterhouse.server.exchange import Receive, Scope, Send
from meterhouse.server.refusal import BODY_TOO_LARGE
from tests.unit.http_by_hand import ByHand, Recorder, by_hand

POST = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}"
CHUNKED = b"POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"


def head(size: int) -> bytes:
    """A head of exactly this size."""
    line = b"POST / HTTP/1.1\r\nHost: h\r\nX-Filler: "
    return line + b"a" * (size - len(line) - 4) + b"\r\n\r\n"


def many_headers(size: int) -> bytes:
    """A head of exactly this size, of headers as small as they can be."""
    line = b"POST / HTTP/1.1\r\nHost: h\r\n"
    count, rest = divmod(size - len(line) - 2, 5)
    return line + b"a:b\r\n" * (count - 1) + b"a:" + b"b" * (rest + 1) + b"\r\n\r\n"


def pieces(stream: bytes, size: int) -> list[bytes]:
    """The stream cut into pieces of this size."""
    return [stream[start : start + size] for start in range(0, len(stream), size)]


# How a head arrives: in pieces of so many bytes.
ARRIVALS = [256_000, 65_536, PIECE_BYTES, 1460, 997]


@pytest.mark.parametrize("arrival", ARRIVALS)
@pytest.mark.parametrize(
    ("stream", "status"),
    [
        (head(65_536), 200),
        (head(65_537), 431),
        (many_headers(65_536), 200),
        (many_headers(65_537), 431),
        (b"POST /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 431),
        (POST + head(65_536), 200),
        (POST + head(65_536 + PIECE_BYTES + 1), 431),
    ],
)
def test_a_head_is_bounded_to_the_byte(stream: bytes, status: int, arrival: int) -> None:
    """A head of 65,536 bytes is read and one of 65,537 is 431, whatever fills it and however it arrives.

    Only one that begins in the same piece as the end of another request may have as much again as that piece.
    """
    with by_hand() as client:
        client.give(*pieces(stream, arrival))
        assert client.statuses[-1] == status
        assert client.transport.half_closed == (status == 431), "after a refusal no more is said"


@pytest.mark.parametrize(
    "endless",
    [
        b"POST /" + b"a" * 100_000,
        b"POST / HTTP/1.1\r\n" + b"a" * 100_000,
        b"POST / HTTP/1.1\r\nA:" + b" " * 100_000,
        b"POST / HTTP/1.1\r\nA: " + b"a" * 100_000,
        b"POST / HTTP/1.1\r\n" + b"a:b\r\n" * 20_000,
        POST + b"GET /" + b"a" * 100_000,
    ],
    ids=["request line", "header name", "spaces", "header value", "headers", "second request"],
)
def test_a_head_that_never_ends_is_refused_at_its_bound(endless: bytes) -> None:
    """A head without end is 431 once more than 65,536 bytes of it have come: never before, at most a piece after."""
    with by_hand() as client:
        earlier = 1 if endless.startswith(POST) else 0
        allowed = 65_536 + earlier * len(POST)
        refused_at = 0
        for piece in pieces(endless, 1000):
            client.give(piece)
            refused_at += len(piece)
            if 431 in client.statuses:
                break
        assert allowed < refused_at <= allowed + earlier * PIECE_BYTES + 1000
        assert len(client.statuses) == earlier + 1


def test_chunks_cost_a_head_at_most_between_bytes() -> None:
    """A chunk extension or trailers without end are 431 after 65,536 bytes, and the application never hears of them."""
    for endless in (b"5;x=" + b"a" * 100_000, b"1\r\na\r\n0\r\n" + b"a:b\r\n" * 20_000):
        recorder = Recorder()
        with by_hand(recorder) as client:
            client.give(CHUNKED, *pieces(endless, 1000))
            assert client.statuses == [431]
            assert recorder.requests == []


def test_framing_may_not_outweigh_its_body_without_end() -> None:
    """Chunks of one byte pass, chunks of one byte with long extensions are 400 before they get far."""
    light, heavy = b"1\r\na\r\n" * 60_000, (b"1;" + b"x" * 1000 + b"\r\na\r\n") * 1000
    with by_hand() as client:
        client.give(CHUNKED, *pieces(light, 60_000), b"0\r\n\r\n")
        assert client.statuses == [200]
        assert client.answers()[0].body == b"POST / " + b"a" * 60_000
    with by_hand() as client:
        client.give(CHUNKED, *pieces(heavy, 60_000)[:4])
        assert client.statuses == [400]


TOO_LARGE = b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048576\r\n"


@pytest.mark.parametrize(
    ("stream", "status", "length"),
    [
        (b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1048575\r\n\r\n" + b"a" * 1_048_575, 200, 1_048_575),
        (TOO_LARGE + b"\r\n", 413, 0),
        (TOO_LARGE + b"\r\na", 413, 0),
        (TOO_LARGE + b"Expect: 100-continue\r\n\r\n", 413, 0),
        (TOO_LARGE.replace(b"1048576", b"18446744073709551615") + b"\r\n", 413, 0),
        (CHUNKED + b"fffff\r\n" + b"a" * 0xFFFFF + b"\r\n0\r\n\r\n", 200, 1_048_575),
        (CHUNKED + b"fffff\r\n" + b"a" * 0xFFFFF + b"\r\n1\r\na", 413, 0),
        (CHUNKED + b"fffffff\r\n" + b"a" * 1_048_576, 413, 0),
    ],
    ids=["under", "declared", "begun", "expected", "absurd", "chunked under", "chunk too many", "large chunk"],
)
@pytest.mark.parametrize("arrival", [256_000, 1460])
def test_a_body_is_bounded_to_the_byte(stream: bytes, status: int, length: int, arrival: int) -> None:
    """1,048,575 bytes are a body; a declared 1,048,576 are refused at once, undeclared ones as soon as they have come.

    The application answers, without a byte of the body, and the connection ends.
    """
    recorder = Recorder()
    with by_hand(recorder) as client:
        client.give(*pieces(stream, arrival))
        assert client.statuses == [status]
        ((scope, body),) = recorder.requests
        assert len(body) == length
        assert (BODY_TOO_LARGE in scope.get("extensions", {})) == (status == 413)
        assert b"100 Continue" not in client.transport.written
        assert client.transport.half_closed == (status == 413)
        assert client.answers()[0].headers.get("connection") == ("close" if status == 413 else None)


def test_a_small_declared_body_is_bounded_by_what_comes() -> None:
    """A body that comes in one piece with its head is held to the same bound."""
    with by_hand(bounds=Bounds(body_bytes=10)) as client:
        client.give(b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n" + b"a" * 9)
        client.give(b"POST / HTTP/1.1\r\nContent-Length: 10\r\n\r\n" + b"a" * 10)
        assert client.statuses == [200, 413]


# What has come, how long the client then has, and the status it gets; None is a close without a word.
DEADLINES: list[tuple[str, list[bytes], float, int | None]] = [
    ("nothing", [], CONTRACT.idle_seconds, None),
    ("line ends alone", [b"\r\n"], CONTRACT.idle_seconds, None),
    ("an answer", [POST], CONTRACT.idle_seconds, None),
    ("an answer and line ends", [POST, b"\r\n"], CONTRACT.idle_seconds, None),
    ("one byte", [b"P"], 10, 408),
    ("a head but for its end", [head(500)[:-1]], 10, 408),
    ("an answer and one byte", [POST, b"P"], 10, 408),
    ("an answer with one byte", [POST + b"P"], 10, 408),
    ("a head", [POST[:-2]], 30, 408),
    ("half a body", [POST[:-1]], 30, 408),
    ("half a chunk", [CHUNKED, b"5\r\nab"], 30, 408),
    ("a chunked body but for its end", [CHUNKED, b"2\r\nab\r\n0\r\n"], 30, 408),
]


@pytest.mark.parametrize(
    ("come", "seconds", "status"), [row[1:] for row in DEADLINES], ids=[row[0] for row in DEADLINES]
)
def test_each_part_has_its_time(come: list[bytes], seconds: float, status: int | None) -> None:
    """Headers have 10 s from their first byte, a body 30 s from their end, else 408; idleness ends silently."""
    with by_hand() as client:
        client.give(*come)
        before = client.statuses
        client.wait(seconds - 0.001)
        assert client.statuses == before
        assert not client.ended()
        client.wait(0.001)
        assert client.statuses == before + ([status] if status else [])
        assert client.transport.half_closed if status else client.ended()
        if status:
            last = client.answers()[-1]
            assert last.headers["connection"] == "close"
            assert last.headers["content-type"] == "application/json"
            assert b'"__type":"RequestTimeoutException"' in last.body


@pytest.mark.parametrize(
    ("begin", "drop", "seconds"),
    [(b"P", b"", 10), (b"POST / HTTP/1.1\r\nA: b", b"b", 10), (POST[:-2], b"", 30), (CHUNKED + b"ff\r\n", b"b", 30)],
)
def test_a_trickle_buys_no_time(begin: bytes, drop: bytes, seconds: float) -> None:
    """A byte now and then does not move the deadline of a head or a body."""
    with by_hand() as client:
        client.give(begin)
        for _ in range(9):
            client.wait(seconds / 10)
            client.give(drop or b"")
        assert client.statuses == []
        client.wait(seconds / 10)
        assert client.statuses == [408]


def test_line_ends_do_not_keep_a_connection() -> None:
    """Empty lines between requests are read past, as they must be, and keep nothing alive."""
    with by_hand() as client:
        for _ in range(75):
            assert not client.ended()
            client.give(b"\r\n")
            client.wait(1)
        assert client.ended()
        assert client.transport.written == b""


def test_each_request_has_its_own_time() -> None:
    """Deadlines begin anew with every request: a connection lives as long as it is used."""
    with by_hand() as client:
        for _ in range(20):
            client.wait(74)
            client.give(POST[:20])
            client.wait(9)
            client.give(POST[20:-1])
            client.wait(29)
            client.give(POST[-1:])
        assert client.statuses == [200] * 20


def test_an_answer_may_take_its_time() -> None:
    """No deadline runs while a whole request is being answered; idleness counts from the answer."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(POST)
        client.wait(10_000)
        assert not client.ended()
        client.do(recorder.released.set)
        assert client.statuses == [200]
        client.wait(74)
        assert not client.ended()
        client.wait(1)
        assert client.ended()


def test_a_request_behind_another_has_no_deadline_either() -> None:
    """The time a head had ends with the head, also when its request has to wait for its turn."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(POST, POST[:5], POST[5:-1], POST[-1:])
        client.wait(10_000)
        assert not client.ended()
        client.do(recorder.released.set)
        assert client.statuses == [200, 200]


def test_deadlines_cost_no_timer_a_request() -> None:
    """A thousand requests on one connection are watched by a handful of timers."""
    with by_hand() as client:
        for _ in range(1000):
            client.give(POST)
            client.wait(0.1)
        assert client.state.total_requests == 1000
        assert client.loop.timer_count < 10


@pytest.mark.parametrize(
    ("late", "seconds", "status"),
    [(b"GET", 10, 408), (POST[:-1], 30, 408), (b"\x00", 0, 400), (TOO_LARGE + b"\r\n", 0, 413), (head(65_537), 0, 431)],
)
def test_a_refusal_waits_for_the_answers_before_it(late: bytes, seconds: float, status: int) -> None:
    """What is refused behind a request still being answered is refused after that answer, so that none is mistaken."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(POST, *pieces(late, 65_536))
        client.wait(seconds)
        assert client.statuses == []
        client.do(recorder.released.set)
        assert client.statuses == [200, status]
        assert client.transport.half_closed


def test_a_pause_of_ours_is_not_counted_against_the_client() -> None:
    """While the server itself does not read, a half-read head has no deadline; it begins anew when reading goes on."""
    recorder = Recorder(holding=True)
    with by_hand(recorder) as client:
        client.give(POST + POST + b"GET /")
        assert not client.transport.is_reading()
        client.wait(10_000)
        client.do(recorder.released.set)
        assert client.transport.is_reading()
        client.wait(9.9)
        assert client.statuses == [200, 200]
        client.wait(0.1)
        assert client.statuses == [200, 200, 408]


def test_a_refused_client_may_finish_writing() -> None:
    """After a refusal what still comes is thrown away until the client ends: it reads the answer, not a reset."""
    with by_hand() as client:
        client.give(TOO_LARGE + b"\r\n", *repeat(b"a" * 65_536, 16))
        assert client.statuses == [413]
        assert not client.ended()
        assert client.end() is False
        assert client.ended()
        assert not client.transport.aborted


def test_a_refused_client_may_not_write_for_ever() -> None:
    """Lingering after a refusal is bounded in seconds, and in bytes even while the refusal is being made."""
    with by_hand() as client:
        client.give(b"\x00")
        client.wait(9.999)
        assert not client.ended()
        client.wait(0.001)
        assert client.transport.aborted
    with by_hand(bounds=Bounds(linger_bytes=100_000)) as client:
        client.give(b"\x00", b"a" * 100_000)
        assert not client.ended()
        client.give(b"a")
        assert client.transport.aborted
    recorder = Recorder(holding=True)
    with by_hand(recorder, bounds=Bounds(linger_bytes=100_000)) as client:
        client.give(TOO_LARGE + b"\r\n", b"a" * 100_000, b"a")
        assert not client.transport.is_reading()
        client.do(recorder.released.set)
        assert client.statuses == [413]
        assert client.ended()


def test_a_client_that_takes_no_answer_is_cut() -> None:
    """A client that stops reading has the time of an idle one, before an answer, behind one, and at the end."""
    with by_hand() as client:
        client.do(client.protocol.pause_writing)
        client.give(POST, b"POST")
        client.wait(74)
        assert not client.ended()
        client.wait(1)
        assert client.transport.aborted
        assert client.transport.written == b""
    with by_hand() as client:
        client.transport.unsent = True
        client.give(POST.replace(b"Host: h", b"Connection: close"))
        assert client.ended()
        client.wait(75)
        assert client.transport.aborted
    with by_hand() as client:
        client.do(client.protocol.pause_writing)
        client.give(POST)
        client.wait(74)
        client.do(client.protocol.resume_writing)
        client.wait(74)
        assert client.statuses == [200]
        client.give(b"GET")
        client.wait(10)
        assert client.statuses == [200, 408]


def test_little_is_read_ahead() -> None:
    """A quarter of a megabyte of tiny requests in one read costs little memory, and all are answered in order."""
    count = 10_000
    paths: list[bytes] = []
    recorder = Recorder(holding=True)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        paths.append(scope["raw_path"])
        await recorder(scope, receive, send)
        recorder.requests.clear()

    with by_hand(application) as client:
        stream = b"".join(b"GET /%05d HTTP/1.1\r\n\r\n" % number for number in range(count))
        tracemalloc.start()
        client.give(stream)
        assert not client.transport.is_reading()
        assert len(paths) == 1
        recorder.released.set()
        client.settle_until(count)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert paths == [b"/%05d" % number for number in range(count)]
        assert client.transport.is_reading()
        assert peak < 2_000_000 + len(client.transport.written) + sum(map(sys.getsizeof, paths))


def test_memory_of_a_flooded_connection_is_bounded() -> None:
    """Fifty megabytes of headers, and a hundred of body, leave little behind and allocate little on the way."""

    def flood(client: ByHand, opening: bytes, filler: bytes, megabytes: int) -> int:
        tracemalloc.start()
        client.give(opening, *repeat(filler * (250_000 // len(filler)), megabytes * 4))
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return peak

    for opening, filler, megabytes, status in (
        (b"POST / HTTP/1.1\r\n", b"a:b\r\n", 50, 431),
        (b"POST / HTTP/1.1\r\nA: ", b"a", 50, 431),
        (TOO_LARGE + b"\r\n", b"a", 100, 413),
        (CHUNKED + b"ffffffff\r\n", b"a", 100, 413),
        (CHUNKED, b"1\r\na\r\n", 100, 413),
    ):
        with by_hand() as client:
            assert flood(client, opening, filler, megabytes) < 8_000_000
            assert client.statuses == [status]
            assert client.transport.aborted
