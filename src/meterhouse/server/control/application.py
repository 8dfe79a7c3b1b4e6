"""The control API as an application: from a request to a call of the table, and back.

In which order a call is judged: access (401, 403) → path (404) → method (405) → Content-Type (415) → sandbox (409) →
query (422) → body (413, 400, 422) → what the call's own rules say. So who may not call learns nothing, not even which
paths there are.

Paths are matched as they were sent, still percent-encoded, so that a parameter may hold any character, also a slash.
What other servers of the same ledger have changed is fetched first: whoever has been told of a change by one finds it
at all of them.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec
import structlog
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route, Router

from meterhouse.ledger.protocol import Busy, LedgerFailure
from meterhouse.server.control.access import admit
from meterhouse.server.control.openapi import OWN_PATH, description
from meterhouse.server.control.parts import Answered, Asked, ControlCall, ControlParts, NoQuery
from meterhouse.server.control.problems import STANDING_HEADERS, CallRefused, problem, problem_of
from meterhouse.server.control.room import is_catalog
from meterhouse.server.control.table import CALLS, ROOT
from meterhouse.server.control.watching import HEALTH_PATH, METRICS_PATH, health, show_metrics
from meterhouse.server.control.workloads import CREDENTIALS_PATH
from meterhouse.server.exchange import Application, Receive, Scope, Send
from meterhouse.server.platforms import container_credentials
from meterhouse.server.refusal import BODY_TOO_LARGE
from meterhouse.service.reading import read_body, read_query
from meterhouse.service.refused import RefusalKind, Refused

WITH_BODY: Final = ("POST", "PUT", "PATCH")

log = structlog.get_logger("meterhouse")

Reply = Callable[[Request], Awaitable[Answered]]


def control_application(parts: ControlParts) -> Application:
    """What answers everything under `/_meterhouse/` (ASGI)."""
    by_path: dict[str, dict[str, Reply]] = {}
    for call in CALLS:
        by_path.setdefault(ROOT + call.path, {})[call.method] = _reply(parts, call)
    by_path[ROOT + OWN_PATH] = {"GET": lambda request: _described(parts, request)}
    by_path[METRICS_PATH] = {"GET": lambda request: show_metrics(parts, request.headers.get("accept", ""))}
    routes = [
        *(Route(path, _Endpoint(parts, path, replies)) for path, replies in by_path.items()),
        Route(HEALTH_PATH, _Endpoint(parts, HEALTH_PATH, {"GET": lambda _request: health(parts)}, open_to_all=True)),
        Route(CREDENTIALS_PATH + "{secret}", _Credentials(parts)),
    ]
    return _Undecoded(Router(routes, redirect_slashes=False, default=_Endpoint(parts, "", {})))


class _Undecoded:
    """Has paths matched as they were sent."""

    def __init__(self, application: Application) -> None:
        self._application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        raw_path: bytes = scope["raw_path"]
        await self._application({**scope, "path": raw_path.decode("latin-1")}, receive, send)


class _Credentials:
    """The addresses at which workloads find their credentials: whoever knows one may ask it."""

    def __init__(self, parts: ControlParts) -> None:
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await self._parts.market.refresh()
        except (Busy, LedgerFailure) as failure:
            await problem(503, f"the ledger cannot be used at present, try again: {failure}")(scope, receive, send)
            return
        await container_credentials(self._parts.hand_outs, scope["path_params"]["secret"], scope, send)


class _Endpoint:
    """One path and its methods; without any, the answer to all paths that there are not."""

    def __init__(
        self, parts: ControlParts, path: str, replies: Mapping[str, Reply], *, open_to_all: bool = False
    ) -> None:
        self._parts = parts
        self._path = path
        self._replies = replies
        self._open_to_all = open_to_all
        self._allowed = ", ".join([*replies, *(["HEAD"] if "GET" in replies else []), "OPTIONS"])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive)
        response = await self._response(request)
        await response(scope, receive, send)

    async def _response(self, request: Request) -> Response:
        """The answer; every refusal is translated here."""
        try:
            response = await self._asked(request)
        except CallRefused as refused:
            self._log_refusal(request, refused.message)
            return problem(refused.status, refused.message, headers=refused.headers)
        except Refused as refused:
            self._log_refusal(request, refused.message)
            return problem_of(refused)
        except (Busy, LedgerFailure) as failure:
            log.warning("control_unavailable", method=request.method, path=self._path, reason=str(failure))
            return problem(503, f"the ledger cannot be used at present, try again: {failure}")
        except Exception:  # a bug must not take the connection down, nor say more than that it is one
            log.exception("bug", method=request.method, path=self._path)
            return problem(500, "an unexpected error; it is logged")
        if request.method in WITH_BODY or request.method == "DELETE":
            log.info("control", method=request.method, path=self._path, status=response.status_code)
        return response

    async def _asked(self, request: Request) -> Response:
        if not self._open_to_all:
            admit(self._parts, request.scope["headers"])
        if not self._replies:
            raise CallRefused(404, "nothing is here")
        if request.method == "OPTIONS":
            return Response(status_code=204, headers={**STANDING_HEADERS, "allow": self._allowed})
        reply = self._replies.get("GET" if request.method == "HEAD" else request.method)
        if reply is None:
            raise CallRefused(405, f"{request.method} is not for this path", {"allow": self._allowed})
        return _response_of(await reply(request), is_head=request.method == "HEAD")

    def _log_refusal(self, request: Request, reason: str) -> None:
        log.info("control_refused", method=request.method, path=self._path, reason=reason)


def _reply(parts: ControlParts, call: ControlCall) -> Reply:
    """Asks a call of the table."""

    async def reply(request: Request) -> Answered:
        if call.method in WITH_BODY:
            _check_content_type(request)
        if call.sandbox and not parts.sandbox:
            raise CallRefused(409, "only a sandbox can do that: serve with --clock test")
        asked = Asked(
            parts,
            _path_of(request),
            read_query(_parameters(request), call.query),
            read_body(await _body(request), call.body) if call.method in WITH_BODY else None,
            request.headers.get("accept", ""),
            _origin(request),
        )
        await parts.market.refresh()
        return await call.call(asked)

    return reply


async def _described(parts: ControlParts, request: Request) -> Answered:
    read_query(_parameters(request), NoQuery)
    return Answered(description(parts.version))


def _check_content_type(request: Request) -> None:
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type != "application/json":
        raise CallRefused(415, "Content-Type: application/json is needed, also without a body")


def _path_of(request: Request) -> dict[str, str]:
    try:
        return {name: unquote(value, errors="strict") for name, value in request.path_params.items()}
    except UnicodeDecodeError:
        raise CallRefused(404, "nothing is here: the path is not UTF-8") from None


def _parameters(request: Request) -> list[tuple[str, str]]:
    query: bytes = request.scope["query_string"]
    try:
        return parse_qsl(query.decode("latin-1"), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise Refused(RefusalKind.INVALID, "the query is not UTF-8") from None


async def _body(request: Request) -> bytes:
    if BODY_TOO_LARGE in request.scope.get("extensions", ()):
        bound = "64 mebibytes" if is_catalog(request.scope) else "a mebibyte"
        raise CallRefused(413, f"a body of {bound} or more is not taken")
    return await request.body()


def _origin(request: Request) -> str:
    """Under which address the client reached the server: what it is told to come back to must lead there too."""
    host = request.headers.get("host")
    if host is None:
        name, port = request.scope["server"]
        host = f"{name}:{port}"
    return f"{request.scope['scheme']}://{host}"


def _response_of(answered: Answered, *, is_head: bool) -> Response:
    headers = {**STANDING_HEADERS, **answered.headers}
    body = answered.body
    if body is None:
        return Response(None, answered.status, headers)
    if isinstance(body, Struct):
        body = msgspec.json.encode(body)
    if isinstance(body, bytes):
        return Response(body, answered.status, headers, answered.content_type)
    return StreamingResponse(iter(()) if is_head else body, answered.status, headers, answered.content_type)
