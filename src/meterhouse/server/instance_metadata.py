"""IMDSv2, as an EC2 instance finds it: one loopback port for each `ec2` workload that was started by a call (§3).

The software is told the port's address as `AWS_EC2_METADATA_SERVICE_ENDPOINT`. A session token is asked for by PUT
first; with it role name, credentials and the instance identity document are answered. Without one the answer is 401, as
of an instance that requires version 2.

A port is listened on before the workload is made, so that the answer of the call that makes it can name it; it is
opened once the workload is kept, and closed when the workload ends. After a restart it is the same port, where nobody
has taken it meanwhile. All ports are served by one server, beside the one for all else, on the same event loop.

A web page must not be able to reach it from within a browser: a `Host` that is not a loopback name is refused, as the
control API does.
"""

import hmac
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple

import structlog

from meterhouse.core.catalog import Workload
from meterhouse.core.moment import SECOND
from meterhouse.server.bounds import CONTRACT
from meterhouse.server.control.access import is_loopback
from meterhouse.server.exchange import Receive, Scope, Send
from meterhouse.server.platforms import ROLE_NAME, PlatformAnswer, credential_members, respond, whole_seconds
from meterhouse.server.run import CannotListen, Listening, Server, listen
from meterhouse.service.draft import LOWER, letters
from meterhouse.service.hand_out import HandedOut, HandOuts

LOOPBACK: Final = "127.0.0.1"
LONGEST_TOKEN_SECONDS: Final = 21_600
"""The longest life of a session token: six hours."""
TOKENS_LIMIT: Final = 1024
"""The most session tokens of an instance; beyond them the oldest is forgotten."""

_TOKEN_PATH: Final = "/latest/api/token"
_TTL_HEADER: Final = b"x-aws-ec2-metadata-token-ttl-seconds"
_TOKEN_HEADER: Final = b"x-aws-ec2-metadata-token"
_ROLE_PATH: Final = "/latest/meta-data/iam/security-credentials"
_ALLOW_GET: Final = ((b"allow", b"GET"),)
_ALLOW_PUT: Final = ((b"allow", b"PUT"),)

log = structlog.get_logger("meterhouse")


class Instance:
    """What one instance is answered. `name` is its hand-out's."""

    def __init__(
        self, hand_outs: HandOuts, name: str, real_micros: Callable[[], int], random_bytes: Callable[[int], bytes]
    ) -> None:
        self.name = name
        self._hand_outs = hand_outs
        self._real_micros = real_micros
        self._random_bytes = random_bytes
        self._tokens: dict[str, int] = {}
        """Session tokens, and when each ends (real time)."""

    async def answer(self, method: str, path: str, headers: Mapping[bytes, bytes]) -> PlatformAnswer:
        """What a request is answered."""
        if not is_loopback(headers.get(b"host", b"").decode("latin-1")):
            return PlatformAnswer(403, b"")
        if path == _TOKEN_PATH:
            return self._token(method, headers)
        if method != "GET":
            return PlatformAnswer(405, b"", more=_ALLOW_GET)
        if not self._knows(headers.get(_TOKEN_HEADER, b"")):
            return PlatformAnswer(401, b"")
        given = await self._hand_outs.give(self.name)
        if given is None:
            return PlatformAnswer(404, b"")
        return _metadata(given).get(path.rstrip("/"), PlatformAnswer(404, b""))

    def _token(self, method: str, headers: Mapping[bytes, bytes]) -> PlatformAnswer:
        if method != "PUT":
            return PlatformAnswer(405, b"", more=_ALLOW_PUT)
        if b"x-forwarded-for" in headers:
            return PlatformAnswer(403, b"")
        wanted = headers.get(_TTL_HEADER, b"")
        if not wanted.isdigit() or len(wanted) > 5 or not 1 <= int(wanted) <= LONGEST_TOKEN_SECONDS:
            return PlatformAnswer(400, b"")
        if len(self._tokens) >= TOKENS_LIMIT:
            del self._tokens[next(iter(self._tokens))]
        token = letters(self._random_bytes, LOWER, 56)
        self._tokens[token] = self._real_micros() + int(wanted) * SECOND
        return PlatformAnswer(200, token.encode(), more=((_TTL_HEADER, b"%d" % int(wanted)),))

    def _knows(self, sent: bytes) -> bool:
        now_micros = self._real_micros()
        for token, end_micros in self._tokens.items():
            if hmac.compare_digest(token.encode(), sent):
                return now_micros < end_micros
        return False


def _metadata(given: HandedOut) -> dict[str, PlatformAnswer]:
    """What an instance can ask, by path without a slash at the end."""
    workload = given.workload
    texts = {
        _ROLE_PATH: ROLE_NAME,
        "/latest/meta-data/instance-id": workload.resource_id,
        "/latest/meta-data/placement/region": workload.region,
        "/latest/meta-data/placement/availability-zone": _zone(workload),
    }
    issued = {"Code": "Success", "LastUpdated": whole_seconds(given.made_micros)}
    documents = {
        f"{_ROLE_PATH}/{ROLE_NAME}": issued | {"Type": "AWS-HMAC"} | credential_members(given),
        "/latest/meta-data/iam/info": issued
        | {
            "InstanceProfileArn": f"arn:aws:iam::{workload.account}:instance-profile/{ROLE_NAME}",
            "InstanceProfileId": "AIPAMETERHOUSEWORKLOAD",
        },
        "/latest/dynamic/instance-identity/document": _identity(workload),
    }
    return {path: PlatformAnswer(200, text.encode()) for path, text in texts.items()} | {
        path: PlatformAnswer(200, json.dumps(document, indent=2).encode(), b"application/json")
        for path, document in documents.items()
    }


def _zone(workload: Workload) -> str:
    return f"{workload.region}a"


def _identity(workload: Workload) -> dict[str, Any]:
    """The members of AWS's own document; null stands for what no workload here has."""
    return {
        "accountId": workload.account,
        "architecture": "x86_64",
        "availabilityZone": _zone(workload),
        "billingProducts": None,
        "devpayProductCodes": None,
        "imageId": None,
        "instanceId": workload.resource_id,
        "instanceType": None,
        "kernelId": None,
        "marketplaceProductCodes": None,
        "pendingTime": whole_seconds(workload.launched_micros),
        "privateIp": None,
        "ramdiskId": None,
        "region": workload.region,
        "version": "2017-09-30",
    }


class _Door(NamedTuple):
    """A port, and whose it is once it is opened."""

    listening: Listening
    instance: Instance | None = None


class InstanceMetadataServer:
    """The metadata services of all instances: their ports, from the first to the last."""

    def __init__(
        self, hand_outs: HandOuts, real_micros: Callable[[], int], random_bytes: Callable[[int], bytes]
    ) -> None:
        self._hand_outs = hand_outs
        self._real_micros = real_micros
        self._random_bytes = random_bytes
        self._doors: dict[int, _Door] = {}
        self._server = Server(self._serve, CONTRACT, {})

    async def listen(self) -> int:
        """A port that is listened on, and answered at once its service is opened. Raises CannotListen."""
        return self._listen(0)

    async def open(self, name: str, port: int) -> str:
        """Opens the service of a hand-out, known by its name; the address that its software is told."""
        listening = self._doors[port].listening
        instance = Instance(self._hand_outs, name, self._real_micros, self._random_bytes)
        self._doors[port] = _Door(listening, instance)
        await self._server.open(listening)
        return listening.url

    async def give_up(self, port: int) -> None:
        """Lets a port go that is not needed after all."""
        self._doors.pop(port).listening.close()

    async def open_again(self) -> None:
        """Opens the services of a server's earlier life, at their ports; at another where one was taken meanwhile."""
        for name, kept_port in self._hand_outs.ports().items():
            try:
                port = self._listen(kept_port)
            except CannotListen as error:
                port = self._listen(0)
                await self._hand_outs.move(name, port)
                log.warning("metadata_port_taken", instead=port, reason=str(error))
            await self.open(name, port)

    async def close_ended(self) -> None:
        """Closes the services of workloads that have ended."""
        for port, (listening, instance) in list(self._doors.items()):
            if instance is not None and not self._hand_outs.lives(instance.name):
                self._server.shut(listening)
                del self._doors[port]

    async def close(self) -> None:
        """Closes all; what has begun is cut off."""
        await self._server.cut()
        for listening, _ in self._doors.values():
            listening.close()
        self._doors.clear()

    def _listen(self, port: int) -> int:
        listening = listen(LOOPBACK, port)
        (socket,) = listening.sockets
        taken: int = socket.getsockname()[1]
        self._doors[taken] = _Door(listening)
        return taken

    async def _serve(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        door = self._doors.get(scope["server"][1])
        if door is None or door.instance is None:
            answer = PlatformAnswer(404, b"")
        else:
            answer = await door.instance.answer(scope["method"], scope["path"], dict(scope["headers"]))
        await respond(send, answer)
