"""A whole server without sockets, for tests of the control API: the application is called as ASGI has it.

    async with served(place) as server:                  # `place`: a folder for a SQLite ledger; none: in memory
        answer = await server.ask("GET", "/products")    # answer.status, answer.json
        await server.meter("BatchMeterUsage", {...})      # as the seller, under open auth

Every answer of the control API is held against the served description on its way: its status must be among those that
the description has for the call, and its body must be of the form that stands there.
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, NamedTuple

import jsonschema

from meterhouse.core.call import Attestation
from meterhouse.core.profile import NEWEST
from meterhouse.core.shapes import RegisterUsageResult
from meterhouse.ledger.memory import open_memory
from meterhouse.ledger.protocol import Ledger
from meterhouse.ledger.sqlite import open_sqlite
from meterhouse.server.app import App, real_now_micros
from meterhouse.server.chance import RandomIds
from meterhouse.server.control.application import control_application
from meterhouse.server.control.openapi import document
from meterhouse.server.control.parts import ControlParts, InstanceMetadataServices
from meterhouse.server.control.table import ROOT
from meterhouse.server.exchange import Application, Message
from meterhouse.server.fresh import Fresh
from meterhouse.server.gates import Edge
from meterhouse.server.metrics import Metrics
from meterhouse.server.refusal import BODY_TOO_LARGE
from meterhouse.server.throttle import Throttle
from meterhouse.service.clock import CLOCK_KIND, Clocks
from meterhouse.service.draft import Sources
from meterhouse.service.hand_out import HandOuts
from meterhouse.service.house import House
from meterhouse.service.market import Market
from meterhouse.service.product_keys import Attestor
from meterhouse.service.signs_of_life import SignsOfLife
from meterhouse.service.striking import Striking
from meterhouse.wire.policy import parse_policy
from tests.unit.marketplace import Chance

TOKEN: Final = "token-7f3a"
VERSION: Final = "1.2.3"
DOCUMENT: Final = document(VERSION)
_SIGNATURE: Final = "0" * 64
"""Open auth reads the key and the Region of a signature, and nothing more."""
MASTER_KEY: Final = bytes(range(32))
_CHANCE: Final = Chance()
"""One for all servers: a ledger that is opened again has what an earlier server made up."""


class Answer(NamedTuple):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    pieces: tuple[int, ...] = ()
    """How long each part of the body was that was sent by itself."""

    @property
    def json(self) -> Any:
        """The body, read."""
        return json.loads(self.body)

    @property
    def error(self) -> Any:
        """What a refusal says."""
        return self.json["error"]


class Dropped(Exception):
    """The connection was dropped instead of an answer."""


class ControlServer:
    """The application over an open ledger."""

    def __init__(self, application: Application, parts: ControlParts, token: str | None) -> None:
        self.application = application
        self.parts = parts
        self.token = token

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
        too_large: bool = False,
    ) -> Answer:
        """Asks the control API; a path that begins with `/_meterhouse` is taken as it is. `raw` is a body as bytes."""
        sent = {"host": "127.0.0.1:8750"}
        if method in ("POST", "PUT", "PATCH"):
            sent["content-type"] = "application/json"
        if self.token is not None:
            sent["authorization"] = f"Bearer {self.token}"
        sent.update(headers or {})
        whole = path if path.startswith("/_meterhouse") else ROOT + path
        text = raw if raw is not None else b"" if body is None else json.dumps(body).encode()
        answer = await call(self.application, method, whole, text, sent, too_large=too_large)
        check_answer(method, whole, answer)
        return answer

    async def made(self, path: str, body: object = None, method: str = "POST") -> Any:
        """What a call that must succeed answers."""
        answer = await self.ask(method, path, body)
        assert answer.status in (200, 201), answer.body
        return answer.json

    async def listed(self, path: str) -> list[Any]:
        """All that a list has, part by part."""
        found: list[Any] = []
        part = await self.made(path, method="GET")
        found += part["items"]
        while part["next"] is not None:
            joint = "&" if "?" in path else "?"
            part = await self.made(f"{path}{joint}after={part['next']}", method="GET")
            found += part["items"]
        return found

    async def meter(
        self, operation: str, body: object, signer: str = "111122223333", region: str = "us-east-1"
    ) -> Answer:
        """Calls one of the four operations; `signer` is an account, or an access key."""
        key = f"Credential={signer}/20261121/{region}/aws-marketplace/aws4_request"
        headers = {
            "authorization": f"AWS4-HMAC-SHA256 {key}, SignedHeaders=host;x-amz-date, Signature={_SIGNATURE}",
            "x-amz-date": "20261121T120000Z",
            "x-amz-target": f"AWSMPMeteringService.{operation}",
            "host": "127.0.0.1:8750",
        }
        return await call(self.application, "POST", "/", json.dumps(body).encode(), headers)


async def call(
    application: Application,
    method: str,
    target: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    too_large: bool = False,
) -> Answer:
    """One request to an ASGI application."""
    raw_path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": re.sub("%([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), raw_path),
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        "client": ("127.0.0.1", 40_000),
        "server": ("127.0.0.1", 8750),
        "extensions": {BODY_TOO_LARGE: {}} if too_large else {},
    }
    received: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    sent: list[Message] = []

    async def receive() -> Message:
        if not received:
            await asyncio.Event().wait()  # a client that stays
        return received.pop()

    async def send(message: Message) -> None:
        if message["type"] == "meterhouse.drop":
            raise Dropped
        sent.append(message)

    await application(scope, receive, send)
    start, *parts = sent
    found = {name.decode().lower(): value.decode("latin-1") for name, value in start["headers"]}
    bodies = [body for part in parts if (body := part.get("body", b""))]
    return Answer(start["status"], found, b"".join(bodies), tuple(map(len, bodies)))


@asynccontextmanager
async def served(
    place: Path | None = None,
    *,
    sandbox: bool = True,
    token: str | None = TOKEN,
    open_on_loopback: bool = False,
    ledger: Ledger | None = None,
    instance_metadata: InstanceMetadataServices | None = None,
    signs: bool = True,
) -> AsyncIterator[ControlServer]:
    """A server; `ledger` takes the place of one that is opened here, and registrations need not be signed."""
    metrics = Metrics()
    if ledger is None:
        opening = open_memory if place is None else lambda **how: open_sqlite(place / "ledger.db", **how)
        ledger = await opening(on_group=metrics.committed)
    market = await Market.open(ledger, lambda *, first: [MASTER_KEY], Chance())
    clocks = Clocks(market.settings(CLOCK_KIND) if sandbox else {}, real_now_micros)
    sources = Sources(clocks.now_micros, _CHANCE, market.seal.seal, parse_policy)
    parts = ControlParts(
        ledger=ledger,
        market=market,
        clocks=clocks,
        sources=sources,
        metrics=metrics,
        profile=NEWEST,
        engine="memory" if place is None else "sqlite",
        version=VERSION,
        sandbox=sandbox,
        admin_token=token,
        open_on_loopback=open_on_loopback,
        real_now=real_now_micros,
        environment={"SECRET": "from the environment"},
        hand_outs=HandOuts(market, sources, real_now_micros),
        instance_metadata=instance_metadata,
    )
    edge = Edge(market.catalog, market, NEWEST, None, None, open_auth=True, throttle=Throttle({}))
    house = House(ledger, market.catalog, clocks, RandomIds(), Attestor(market, sources).answer if signs else _unsigned)
    striking = Striking(market, enabled=sandbox)
    fresh = Fresh(market, shared=False, sandbox=sandbox)
    signs_of_life = SignsOfLife(market)
    application = App(house, market, edge, control_application(parts), striking, signs_of_life, metrics, fresh)
    try:
        yield ControlServer(application, parts, token)
    finally:
        await ledger.close()


async def _unsigned(_attestation: Attestation) -> RegisterUsageResult:
    """The answer of a registration whose signature nobody will look at: keys take a tenth of a second to make."""
    return RegisterUsageResult("unsigned")


# The description as a judge

_FORMATS = jsonschema.FormatChecker(formats=())


@_FORMATS.checks("date-time", raises=ValueError)
def _is_time(value: object) -> bool:
    return isinstance(value, str) and value.endswith("Z") and datetime.fromisoformat(value).tzinfo is not None


def _pattern(template: str) -> re.Pattern[str]:
    parts = re.split(r"({\w+})", ROOT + template)
    return re.compile("".join("[^/]+" if part.startswith("{") else re.escape(part) for part in parts))


_PATTERNS: Final = {template: _pattern(template) for template in DOCUMENT["paths"]}


def described(method: str, target: str) -> tuple[str, dict[str, Any]] | None:
    """The path and the operation of the description that a request is one of; None where there is none."""
    path = target.partition("?")[0]
    for template, pattern in _PATTERNS.items():
        operation = DOCUMENT["paths"][template].get("get" if method == "HEAD" else method.lower())
        if pattern.fullmatch(path) and operation is not None:
            return template, operation
    return None


def check_answer(method: str, target: str, answer: Answer) -> None:
    """Holds an answer against the description, where that has its call."""
    found = described(method, target)
    if found is None:
        return
    template, operation = found
    said = operation["responses"].get(str(answer.status))
    assert said is not None, f"{method} {template} answered {answer.status}, which its description does not have"
    if "content" not in said or method == "HEAD":
        return
    content_type = answer.headers["content-type"]
    assert content_type in said["content"], content_type
    if content_type == "application/json":
        check_form(said["content"][content_type]["schema"], answer.json)


def check_form(schema: dict[str, Any], value: object) -> None:
    """Holds a value against one of the description's forms."""
    whole = {**schema, "components": DOCUMENT["components"]}
    jsonschema.Draft202012Validator(whole, format_checker=_FORMATS).validate(value)
