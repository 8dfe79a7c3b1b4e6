"""Who may call the control API, and in which order a call is judged."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.protocol import Ledger, LedgerFailure
from meterhouse.server.control.access import is_loopback
from meterhouse.server.control.openapi import statuses_of_refusals
from meterhouse.server.control.parts import ControlCall
from meterhouse.server.control.problems import CODES
from meterhouse.server.control.table import CALLS
from tests.unit.control_server import DOCUMENT, TOKEN, ControlServer, served

NAMES = [f"{call.method} {call.path}" for call in CALLS]


def path_of(call: ControlCall) -> str:
    """A path of a call, of something that is not there."""
    return call.path.replace("{", "").replace("}", "")


# The Authorization header, the token that is configured, the status.
TOKENS: list[tuple[str | None, str | None, int]] = [
    (f"Bearer {TOKEN}", TOKEN, 200),
    (f"bearer {TOKEN}", TOKEN, 200),
    (f"BEARER   {TOKEN} ", TOKEN, 200),
    (None, TOKEN, 401),
    ("", TOKEN, 401),
    ("Bearer", TOKEN, 401),
    ("Bearer  ", TOKEN, 401),
    (TOKEN, TOKEN, 401),
    (f"Basic {TOKEN}", TOKEN, 401),
    (f"Bearer{TOKEN}", TOKEN, 401),
    ("Bearer another", TOKEN, 403),
    (f"Bearer {TOKEN}x", TOKEN, 403),
    (f"Bearer {TOKEN[:-1]}", TOKEN, 403),
    ("Bearer t\xf6ken", TOKEN, 403),
    (None, None, 401),
    ("Bearer ", None, 401),
    ("Bearer None", None, 401),
    (f"Bearer {TOKEN}", None, 401),
]


@pytest.mark.parametrize(("given", "configured", "status"), TOKENS)
async def test_a_call_needs_the_admin_token(given: str | None, configured: str | None, status: int) -> None:
    """401 without a bearer token and wherever none is configured, 403 with a wrong one; metrics no less."""
    async with served(token=configured) as server:
        server.token = None
        headers = {} if given is None else {"authorization": given}
        for path in ("/clock", "/_meterhouse/metrics"):
            answer = await server.ask("GET", path, headers=headers)
            assert answer.status == status
            assert ("www-authenticate" in answer.headers) == (status == 401)
            assert TOKEN not in answer.body.decode()


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
async def test_who_may_not_call_learns_nothing(call: ControlCall) -> None:
    """Without the token every call is 401, whatever else is wrong with it; so is what is no call at all."""
    async with served(sandbox=False) as server:
        server.token = None
        for method, path in ((call.method, path_of(call)), ("BREW", path_of(call)), (call.method, "/nothing")):
            answer = await server.ask(method, path + "?unknown=1", raw=b"{", headers={"content-type": "text/plain"})
            assert (answer.status, answer.error["code"]) == (401, "unauthorized")


async def test_health_is_open_to_all() -> None:
    """Health needs no token, wherever it is asked from."""
    async with served(token=None) as server:
        for host in ("127.0.0.1", "meterhouse.example.com"):
            answer = await server.ask("GET", "/_meterhouse/health", headers={"host": host})
            assert (answer.status, answer.json) == (200, {"status": "ok", "version": "1.2.3", "engine": "memory"})


# The headers of a call under open auth on loopback, the status.
PAGES: list[tuple[dict[str, str], int]] = [
    ({"host": "127.0.0.1:8750"}, 200),
    ({"host": "localhost"}, 200),
    ({"host": "[::1]:8750", "origin": "http://localhost:3000"}, 200),
    ({"host": "127.0.0.1", "authorization": "Bearer another"}, 200),
    ({"host": "attacker.example.com"}, 403),
    ({"host": "127.0.0.1.attacker.example.com"}, 403),
    ({"host": ""}, 403),
    ({"host": "127.0.0.1", "origin": "http://attacker.example.com"}, 403),
    ({"host": "127.0.0.1", "origin": "https://localhost.attacker.example.com"}, 403),
    ({"host": "127.0.0.1", "origin": "null"}, 403),
    ({"host": "127.0.0.1", "origin": ""}, 403),
]


@pytest.mark.parametrize(("headers", "status"), PAGES)
async def test_no_web_page_reaches_a_laptops_server(headers: dict[str, str], status: int) -> None:
    """Where no token is needed or looked at, Host and Origin must be loopback names, for reading too."""
    async with served(token=None, open_on_loopback=True) as server:
        for method, path in (("GET", "/clock"), ("PUT", "/clock"), ("GET", "/_meterhouse/metrics")):
            answer = await server.ask(method, path, {"real": True}, headers=headers)
            assert answer.status == status


async def test_with_a_token_any_host_will_do() -> None:
    """Host and Origin are looked at only where no token is."""
    async with served() as server:
        headers = {"host": "meterhouse.example.com", "origin": "https://console.example.com"}
        assert (await server.ask("GET", "/clock", headers=headers)).status == 200


LOOPBACK = {"127.0.0.1", "127.8.9.1:1", "localhost:8750", "LocalHost", "[::1]", "[::1]:8750", "[0:0:0:0:0:0:0:1]"}
ELSEWHERE = {
    *(
        "",
        "null",
        "0.0.0.0:80",
        "10.0.0.1",
        "127.1",
        "2130706433",
        "0x7f.1",
        "[::]",
        "::1",
        "[::1",
        "localhost.",
        ":80",
    ),
    *("localhost:", "localhost:a", "a@127.0.0.1", "127.0.0.1@a", "127.0.0.1/", "127.0.0.1#a", " 127.0.0.1", "a:1:2"),
}


@pytest.mark.parametrize("authority", sorted(LOOPBACK | ELSEWHERE))
def test_what_a_loopback_name_is(authority: str) -> None:
    """A name of this machine alone, perhaps with a port; nothing that a browser could read otherwise."""
    assert is_loopback(authority) == (authority in LOOPBACK)


# What a call that needs a JSON body may say that it has, the status.
TYPES: list[tuple[str, int]] = [
    ("application/json", 200),
    ("Application/JSON; charset=utf-8", 200),
    ("application/json;charset=utf-8", 200),
    ("", 415),
    ("text/plain", 415),
    ("application/x-www-form-urlencoded", 415),
    ("multipart/form-data", 415),
    ("application/jsonp", 415),
    ("text/plain; application/json", 415),
]


@pytest.mark.parametrize(("content_type", "status"), TYPES)
async def test_a_body_must_be_json_and_say_so(content_type: str, status: int) -> None:
    """POST, PUT and PATCH need the content type, also without a body: no form of a web page can send it."""
    async with served() as server:
        answer = await server.ask("POST", "/reset", headers={"content-type": content_type})
        assert answer.status == status


@pytest.mark.parametrize(
    "call", [call for call in CALLS if call.method in ("POST", "PUT", "PATCH")], ids=lambda c: c.path
)
async def test_every_call_with_a_body_judges_it_in_order(call: ControlCall) -> None:
    """415 before 422 for the query, that before 413 and 400 for the body; and a body is an object."""
    async with served() as server:
        path = path_of(call)
        for query, content_type, raw, too_large, status in (
            ("?unknown=1", "text/plain", b"{", True, 415),
            ("?unknown=1", "application/json", b"{", True, 422),
            ("", "application/json", b"{", True, 413),
            ("", "application/json", b"{", False, 400),
            ("", "application/json", b"[]", False, 422),
            ("", "application/json", b'{"unknown":1}', False, 422),
        ):
            headers = {"content-type": content_type}
            answer = await server.ask(call.method, path + query, raw=raw, headers=headers, too_large=too_large)
            assert (answer.status, answer.error["code"]) == (status, CODES[status]), raw


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
async def test_unknown_parameters_are_refused(call: ControlCall) -> None:
    """Every call refuses a parameter that it does not have, and one given twice, and names it."""
    async with served() as server:
        for query, field in (("unknown=1", "unknown"), ("a=1&a=1", "a"), ("Limit=1", "Limit"), ("", "")):
            answer = await server.ask(call.method, f"{path_of(call)}?{query}")
            if query:
                assert (answer.status, answer.error["field"]) == (422, field)


async def test_the_description_takes_no_parameters() -> None:
    """The API's own description is a call of the table too: it refuses what it does not have."""
    async with served() as server:
        answer = await server.ask("GET", "/openapi.json?unknown=1")
        assert (answer.status, answer.error["field"]) == (422, "unknown")
        assert answer.error["message"] == "unknown: unknown; nothing is known here"


async def test_a_query_must_be_text() -> None:
    """A query that is not UTF-8 is refused as such."""
    async with served() as server:
        assert (await server.ask("GET", "/records?product=%ff")).status == 422


@pytest.mark.parametrize(
    "call", [call for call in CALLS if call.sandbox], ids=lambda call: f"{call.method} {call.path}"
)
async def test_only_a_sandbox_can_be_tampered_with(call: ControlCall) -> None:
    """Without `--clock test` moving clocks, faults and reset answer 409, before their query and body are looked at."""
    async with served(sandbox=False) as server:
        answer = await server.ask(call.method, path_of(call) + "?unknown=1", raw=b"{")
        assert (answer.status, answer.error["code"]) == (409, "conflict")


def test_the_sandbox_has_its_calls() -> None:
    """What the contract keeps for a sandbox is kept for it, and no more."""
    kept = {f"{call.method} {call.path}" for call in CALLS if call.sandbox}
    assert kept == {"PUT /clock", "GET /faults", "POST /faults", "DELETE /faults", "DELETE /faults/{id}", "POST /reset"}


METHODS = [(path, [call.method for call in CALLS if call.path == path]) for path in {call.path: 0 for call in CALLS}]


@pytest.mark.parametrize(("path", "methods"), METHODS)
async def test_other_methods_are_told_which_there_are(path: str, methods: list[str]) -> None:
    """405 names the path's methods in Allow, OPTIONS answers them, HEAD goes where GET does; no page is let in."""
    allowed = [*methods, *(["HEAD"] if "GET" in methods else []), "OPTIONS"]
    async with served() as server:
        target = path.replace("{", "").replace("}", "")
        for method in {"GET", "POST", "PUT", "PATCH", "DELETE", "TRACE", "BREW"} - set(methods):
            answer = await server.ask(method, target)
            assert (answer.status, answer.headers["allow"]) == (405, ", ".join(allowed))
        options = await server.ask("OPTIONS", target)
        assert (options.status, options.headers["allow"], options.body) == (204, ", ".join(allowed), b"")
        assert not [name for name in options.headers if name.startswith("access-control")]


@pytest.mark.parametrize(
    "path", ["", "/", "/products/", "/product", "/products/a/b", "/records/a", "/openapi", "/%ff", "/a"]
)
async def test_what_is_not_there_is_not_found(path: str) -> None:
    """404 in the usual form for every other path, also one with a slash too many."""
    async with served() as server:
        answer = await server.ask("GET", path or "/_meterhouse/v1")
        assert (answer.status, answer.error["code"], answer.error["field"]) == (404, "not_found", None)
        assert (await server.ask("GET", "/_meterhouse/")).status == 404


async def test_answers_are_not_kept_by_anyone() -> None:
    """Every answer says that it must not be cached, and is what it says it is."""
    async with served() as server:
        for method, path in (
            ("GET", "/clock"),
            ("GET", "/nothing"),
            ("DELETE", "/faults"),
            ("GET", "/records?format=csv"),
        ):
            headers = (await server.ask(method, path)).headers
            assert (headers["cache-control"], headers["x-content-type-options"]) == ("no-store", "nosniff")


async def test_head_answers_as_get_without_a_body() -> None:
    """HEAD has the status and the content type of GET; a long answer is not read for it."""
    async with served() as server:
        for path in ("/clock", "/records?format=csv", "/openapi.json", "/_meterhouse/health"):
            one, other = await server.ask("HEAD", path), await server.ask("GET", path)
            assert (one.status, one.headers["content-type"]) == (other.status, other.headers["content-type"])
        assert (await server.ask("HEAD", "/records?format=csv")).body == b""


class Failing:
    """A ledger that fails once it is told to."""

    def __init__(self, ledger: Ledger, error: Exception) -> None:
        self._ledger = ledger
        self._error = error
        self.fails = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._ledger, name)

        async def asked(*arguments: Any, **named: Any) -> Any:
            if self.fails and name != "close":
                raise self._error
            return await method(*arguments, **named)

        return asked


async def failing(error: Exception) -> Any:
    """A ledger that will fail."""
    return Failing(await open_memory(), error)


@pytest.mark.parametrize("call", CALLS, ids=NAMES)
async def test_a_ledger_that_fails_is_said_to_fail(call: ControlCall) -> None:
    """503 in the usual form where the ledger fails, from every call."""
    ledger = await failing(LedgerFailure("the disk is full"))
    async with served(ledger=ledger) as server:
        ledger.fails = True
        body = {name: _some(name) for name in call.body.__struct_fields__ if name in _some_of(call)}
        answer = await server.ask(call.method, path_of(call), body)
        assert (answer.status, answer.error["code"]) == (503, "unavailable")
        assert "the disk is full" in answer.error["message"]


def _some_of(call: ControlCall) -> Mapping[str, object]:
    required = DOCUMENT["components"]["schemas"].get(call.body.__name__, {}).get("required", [])
    return dict.fromkeys([*required, *(["real"] if call.path == "/clock" else [])])


def _some(name: str) -> object:
    values: dict[str, object] = {
        "seller": "111122223333",
        "account": "111122223333",
        "buyer": "111122223333",
        "type": "saas",
        "platform": "ecs",
        "region": "us-east-1",
        "fault": "throttle",
        "operation": "BatchMeterUsage",
        "real": True,
    }
    return values.get(name, "a")


async def test_health_says_that_the_ledger_fails() -> None:
    """Health is 503 while the ledger cannot be read, and 200 again when it can."""
    ledger = await failing(LedgerFailure("the disk is full"))
    async with served(ledger=ledger) as server:
        for fails, status, word in ((True, 503, "unavailable"), (False, 200, "ok")):
            ledger.fails = fails
            answer = await server.ask("GET", "/_meterhouse/health")
            assert (answer.status, answer.json["status"]) == (status, word)


async def test_a_bug_is_logged_and_not_told() -> None:
    """A surprise is 500 in the usual form, says no more than that, and the server goes on."""
    ledger = await failing(ZeroDivisionError("a secret thing"))
    async with served(ledger=ledger) as server:
        ledger.fails = True
        answer = await server.ask("GET", "/records")
        assert (answer.status, answer.error["code"]) == (500, "internal")
        assert b"secret" not in answer.body
        ledger.fails = False
        assert (await server.ask("GET", "/records")).status == 200


def test_every_refusal_has_its_word() -> None:
    """Each status that a call can be refused with has a code, and stands in the call's description."""
    for call in CALLS:
        responses = DOCUMENT["paths"][call.path][call.method.lower()]["responses"]
        assert set(responses) == {str(call.status), *map(str, statuses_of_refusals(call))}


async def test_another_server_of_the_ledger_is_believed(tmp_path: Path) -> None:
    """What one server has changed, another of the same ledger finds at its next call."""
    ledger = await open_memory()
    async with served(ledger=ledger) as one, served(ledger=ledger) as other:
        await one.made("/accounts/123456789012", {"suspended": True}, "PATCH")
        assert await other.listed("/accounts") == [{"id": "123456789012", "suspended": True}]
        await both_move(one, other)


async def both_move(one: ControlServer, other: ControlServer) -> None:
    """Each sees what the other does."""
    await other.made("/clock", {"now": "2026-11-21T12:00:00Z"}, "PUT")
    assert (await one.made("/clock", method="GET"))["mode"] == "frozen"
