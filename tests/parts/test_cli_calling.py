"""Calls over HTTP: what is sent, and one sentence and an exit code for each way not to be answered."""

from typing import Final

import pytest

from meterhouse.cli import run
from meterhouse.cli.calling import Caller, Unanswered, path_of
from meterhouse.cli.failure import CommandFailed
from tests.unit.talking_peer import answer, saying

TOKEN: Final = "METERHOUSE_ADMIN_TOKEN"


def refusal(message: str) -> bytes:
    """The body of a refusal."""
    return b'{"error":{"code":"x","message":"%s","field":null}}' % message.encode()


def test_what_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """Method, path, query, body and token are sent; members that are None are not."""
    monkeypatch.setenv(TOKEN, " a token\n")
    with saying(answer(200, b"{}")) as peer:
        caller = Caller(peer.url + "/behind/a/proxy/")
        query = {"after": None, "customer": "a b&c", "totals": True, "limit": 5}
        caller.call("PATCH", path_of("workloads", "task/0 1?é"), query, {"name": "é", "id": None})
    head, _, body = peer.asked[0].partition(b"\r\n\r\n")
    line, *headers = head.decode().split("\r\n")
    path = "/behind/a/proxy/_meterhouse/v1/workloads/task%2F0%201%3F%C3%A9"
    assert line == f"PATCH {path}?customer=a+b%26c&totals=true&limit=5 HTTP/1.1"
    assert "Authorization: Bearer a token" in headers
    assert "Content-Type: application/json" in headers
    assert body == b'{"name": "\\u00e9"}'


def test_without_a_token_none_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty token is none."""
    monkeypatch.setenv(TOKEN, "")
    with saying(answer(200, b"{}")) as peer:
        Caller(peer.url).call("GET", "/clock")
    assert b"authorization" not in peer.asked[0].lower()


REFUSALS: Final = [
    # What is said; the sentence, and the exit code.
    (answer(400, refusal("not JSON")), "not JSON.", 2),
    (answer(401, refusal("no token")), f"no token; the command line takes the token from {TOKEN}.", 1),
    (answer(403, refusal("not it")), f"not it; the command line takes the token from {TOKEN}.", 1),
    (answer(404, refusal("there is none")), "there is none.", 1),
    (answer(409, refusal("it exists")), "it exists.", 1),
    (answer(413, refusal("too large")), "too large.", 2),
    (answer(422, refusal("how long is the delay?")), "how long is the delay?", 2),
    (answer(500, refusal("a bug")), "a bug.", 1),
    (answer(503, refusal("try again")), "try again.", 1),
    (answer(422, refusal("two\\u001b[31m\\nlines")), "two�[31m lines.", 2),
    (answer(200, b"<p>Hello", "text/html"), "{url} is no Meterhouse: it answered with status 200 and text/html.", 1),
    (answer(200, b'{"items": [', "application/json"), "status 200 and application/json.", 1),
    (answer(200, b"", "application/json"), "status 200 and application/json.", 1),
    (
        answer(404, b"<p>Not found", "text/html"),
        "{url} is no Meterhouse: it answered with status 404 and text/html.",
        1,
    ),
    (answer(404, b'{"message": "x"}'), "{url} is no Meterhouse", 1),
    (answer(404, b'["error"]'), "{url} is no Meterhouse", 1),
    (answer(301, b"", "text/html"), "{url} is no Meterhouse: it answered with status 301 and text/html.", 1),
    (b"SSH-2.0-OpenSSH\r\n", "{url} does not speak HTTP.", 1),
    (b"", "{url} broke the connection off before it had answered.", 1),
    (answer(200, b"{}")[:-1], "{url} broke the connection off before it had answered.", 1),
]


@pytest.mark.parametrize(("said", "sentence", "exit_code"), REFUSALS)
def test_a_refusal_is_one_sentence(
    said: bytes, sentence: str, exit_code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is refused, broken off, or said by somebody else gets one line, and the exit code of whose fault it is."""
    monkeypatch.setenv(TOKEN, "a token")
    with saying(said) as peer:
        assert run(["clock", "show", "--url", peer.url]) == exit_code
        out, error = capsys.readouterr()
        assert out == ""
        assert error.startswith("meterhouse: ")
        assert sentence.format(url=peer.url) in error
        assert error.endswith((".\n", "?\n"))
        assert error[:-1].isprintable()


def test_who_says_nothing_is_not_waited_for_for_ever() -> None:
    """A silent server is given up, with how long it was waited for."""
    with saying(None) as peer, pytest.raises(Unanswered, match=r"did not answer within 0.05 seconds\.") as failed:
        Caller(peer.url, patience_seconds=0.05).call("GET", "/clock")
    assert failed.value.exit_code == 1


def test_nobody_listens(capsys: pytest.CaptureFixture[str]) -> None:
    """A port that nobody listens on is a failure, not bad input."""
    with saying(b"") as peer:
        url = peer.url
    assert run(["clock", "show", "--url", url]) == 1
    assert capsys.readouterr().err == f"meterhouse: {url} is not served: nobody listens there.\n"


def test_a_host_that_is_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    """A name that leads nowhere is a failure with the system's reason."""
    assert run(["clock", "show", "--url", "http://nowhere.invalid:8750"]) == 1
    assert capsys.readouterr().err.startswith("meterhouse: http://nowhere.invalid:8750 cannot be reached: ")


@pytest.mark.parametrize(
    "url",
    [
        "",
        "127.0.0.1:8750",
        "ftp://127.0.0.1",
        "http://",
        "http://127.0.0.1:port",
        "http://127.0.0.1:99999",
        "http://127.0.0.1:0",
        "http://[::1",
        "http://a:b@127.0.0.1",
        "http://127.0.0.1/?a=b",
        "http://127.0.0.1/#a",
        "http://127.0.0.1/ä",
    ],
)
def test_what_is_no_address_is_bad_input(url: str) -> None:
    """An address that cannot be one is refused before anything is sent."""
    with pytest.raises(CommandFailed, match="is no address of a server, such as") as failed:
        Caller(url)
    assert failed.value.exit_code == 2


@pytest.mark.parametrize("token", ["two\nlines", "caf\u00e9", "bell\x07"])
def test_a_token_that_cannot_be_one_is_bad_input(token: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A token that no header can carry is refused, and not repeated."""
    monkeypatch.setenv(TOKEN, token)
    with saying(answer(200, b"{}")) as peer, pytest.raises(CommandFailed, match=TOKEN) as failed:
        Caller(peer.url).call("GET", "/clock")
    assert failed.value.exit_code == 2
    assert token not in str(failed.value)
    assert not peer.asked


def test_what_is_streamed_must_be_csv() -> None:
    """Somebody else's answer is not passed on as records."""
    with saying(answer(200, b"<p>", "text/html")) as peer, pytest.raises(CommandFailed, match="is no Meterhouse"):
        list(Caller(peer.url).stream("/records", {"format": "csv"}))
    with saying(answer(200, b"a,b\r\n", "text/csv; charset=utf-8")) as peer:
        assert b"".join(Caller(peer.url).stream("/records", {"format": "csv"})) == b"a,b\r\n"
