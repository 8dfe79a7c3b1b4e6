"""The two ways by which unmodified software finds its credentials: container credentials, and instance metadata.

Both are small ASGI applications over `service.hand_out`. They answer what AWS's own endpoints answer, in the form that
SDKs read; they are reached over plain HTTP, which SDKs allow from loopback (and link-local) addresses only.

- `container_credentials`: `GET …/<secret>`, for `AWS_CONTAINER_CREDENTIALS_FULL_URI`. The secret in the address is
  enough; a token in `Authorization` must be the right one if it is sent.
- `InstanceMetadata`: IMDSv2 for one instance, on a port of its own, for `AWS_EC2_METADATA_SERVICE_ENDPOINT`: a session
  token by PUT first, then role name, credentials and the instance identity document. Without a token it answers 401,
  as an instance does that requires version 2.
"""

import hmac
import json
import secrets
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from meterhouse.core.catalog import Workload
from meterhouse.core.moment import SECOND, datetime_of
from meterhouse.server.exchange import Receive, Scope, Send
from meterhouse.service.hand_out import HandedOut, HandOuts

ROLE_NAME: Final = "meterhouse-workload"
LONGEST_TOKEN_SECONDS: Final = 21_600
"""The longest life of an IMDSv2 session token: six hours."""
_TOKENS_LIMIT: Final = 1024

_TOKEN_PATH: Final = "/latest/api/token"
_TTL_HEADER: Final = b"x-aws-ec2-metadata-token-ttl-seconds"
_TOKEN_HEADER: Final = b"x-aws-ec2-metadata-token"
_ROLE_PATH: Final = "/latest/meta-data/iam/security-credentials"


class _Answer(NamedTuple):
    status: int
    body: bytes
    content_type: bytes = b"text/plain"
    more: tuple[tuple[bytes, bytes], ...] = ()


async def container_credentials(hand_outs: HandOuts, address_secret: str, scope: Scope, send: Send) -> None:
    """`GET` of a credentials URI: the workload's credentials; 404 where there are none, 403 for a wrong token."""
    await _send(send, await _container_answer(hand_outs, address_secret, scope))


async def _container_answer(hand_outs: HandOuts, address_secret: str, scope: Scope) -> _Answer:
    if scope["method"] != "GET":
        return _Answer(405, _error("MethodNotAllowed", "only GET is allowed here"), b"application/json", _ALLOW_GET)
    token = dict(scope["headers"]).get(b"authorization")
    try:
        found = hand_outs.by_secret(address_secret, None if token is None else token.decode("latin-1"))
    except PermissionError as error:
        return _Answer(403, _error("Forbidden", str(error)), b"application/json")
    given = None if found is None else await hand_outs.give(found[0])
    if given is None:
        return _Answer(404, _error("NotFound", "no running workload has these credentials"), b"application/json")
    body = _members(given) | {"RoleArn": f"arn:aws:iam::{given.workload.account}:role/{ROLE_NAME}"}
    return _Answer(200, json.dumps(body).encode(), b"application/json")


_ALLOW_GET: Final = ((b"allow", b"GET"),)


class InstanceMetadata:
    """IMDSv2 of one instance (an ASGI application). `name` is its hand-out's; `real_micros` reads real time."""

    def __init__(self, hand_outs: HandOuts, name: str, real_micros: Callable[[], int]) -> None:
        self._hand_outs = hand_outs
        self._name = name
        self._real_micros = real_micros
        self._tokens: dict[str, int] = {}
        """Session tokens, and when each ends (real time)."""

    async def __call__(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """One request (ASGI)."""
        if scope["type"] == "http":
            await _send(send, await self._answer(scope["method"], scope["path"], dict(scope["headers"])))

    async def _answer(self, method: str, path: str, headers: dict[bytes, bytes]) -> _Answer:
        if path == _TOKEN_PATH:
            return self._token(method, headers)
        if method != "GET":
            return _Answer(405, b"", more=_ALLOW_GET)
        if not self._knows(headers.get(_TOKEN_HEADER, b"").decode("latin-1")):
            return _Answer(401, b"")
        given = await self._hand_outs.give(self._name)
        if given is None:
            return _Answer(404, b"")
        return _metadata(given).get(path.rstrip("/"), _Answer(404, b""))

    def _token(self, method: str, headers: dict[bytes, bytes]) -> _Answer:
        if method != "PUT":
            return _Answer(405, b"", more=((b"allow", b"PUT"),))
        if b"x-forwarded-for" in headers:
            return _Answer(403, b"")
        wanted = headers.get(_TTL_HEADER, b"")
        if not wanted.isdigit() or not 1 <= int(wanted) <= LONGEST_TOKEN_SECONDS:
            return _Answer(400, b"")
        if len(self._tokens) >= _TOKENS_LIMIT:
            del self._tokens[next(iter(self._tokens))]
        token = secrets.token_urlsafe(40)
        self._tokens[token] = self._real_micros() + int(wanted) * SECOND
        return _Answer(200, token.encode(), more=((_TTL_HEADER, wanted),))

    def _knows(self, sent: str) -> bool:
        now_micros = self._real_micros()
        return any(
            hmac.compare_digest(token, sent) and now_micros < end_micros for token, end_micros in self._tokens.items()
        )


def _metadata(given: HandedOut) -> dict[str, _Answer]:
    """What an instance can ask, by path without a slash at the end."""
    workload = given.workload
    zone = f"{workload.region}a"
    credentials = {"Code": "Success", "LastUpdated": _time(given.made_micros), "Type": "AWS-HMAC"} | _members(given)
    texts = {
        _ROLE_PATH: ROLE_NAME,
        "/latest/meta-data/instance-id": workload.resource_id,
        "/latest/meta-data/placement/region": workload.region,
        "/latest/meta-data/placement/availability-zone": zone,
    }
    documents = {
        f"{_ROLE_PATH}/{ROLE_NAME}": credentials,
        "/latest/meta-data/iam/info": {
            "Code": "Success",
            "LastUpdated": _time(given.made_micros),
            "InstanceProfileArn": f"arn:aws:iam::{workload.account}:instance-profile/{ROLE_NAME}",
            "InstanceProfileId": "AIPAMETERHOUSEWORKLOAD",
        },
        "/latest/dynamic/instance-identity/document": _identity(workload, zone),
    }
    return {path: _Answer(200, text.encode()) for path, text in texts.items()} | {
        path: _Answer(200, json.dumps(document, indent=2).encode(), b"application/json")
        for path, document in documents.items()
    }


def _identity(workload: Workload, zone: str) -> dict[str, Any]:
    return {
        "accountId": workload.account,
        "architecture": "x86_64",
        "availabilityZone": zone,
        "instanceId": workload.resource_id,
        "pendingTime": _time(workload.launched_micros),
        "region": workload.region,
        "version": "2017-09-30",
    }


def _members(given: HandedOut) -> dict[str, str]:
    return {
        "AccessKeyId": given.access_key_id,
        "SecretAccessKey": given.secret_access_key,
        "Token": given.session_token,
        "Expiration": _time(given.expires_micros),
    }


def _time(micros: int) -> str:
    """Whole seconds: some SDKs read nothing finer."""
    return f"{datetime_of(micros):%Y-%m-%dT%H:%M:%SZ}"


def _error(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


async def _send(send: Send, answer: _Answer) -> None:
    headers = (
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"cache-control", b"no-store"),
        *answer.more,
    )
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
