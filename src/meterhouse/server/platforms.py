"""How workloads are handed their credentials: what AWS's own endpoints answer, in the form that SDKs read.

The container credentials endpoint is here: `GET …/<secret>`, for `AWS_CONTAINER_CREDENTIALS_FULL_URI`. The secret in
the address is enough; a token in `Authorization` must be the right one if it is sent. The other way,
`instance_metadata.py`, shares the form of the answers. Both are reached over plain HTTP, which SDKs allow from loopback
(and link-local) addresses only.
"""

import json
from typing import Final, NamedTuple

from meterhouse.core.moment import SECOND, rfc3339
from meterhouse.server.exchange import Scope, Send
from meterhouse.service.hand_out import HandedOut, HandOuts

ROLE_NAME: Final = "meterhouse-workload"
_JSON: Final = b"application/json"


class PlatformAnswer(NamedTuple):
    """What a platform's endpoint answers."""

    status: int
    body: bytes
    content_type: bytes = b"text/plain"
    more: tuple[tuple[bytes, bytes], ...] = ()


async def container_credentials(hand_outs: HandOuts, address_secret: str, scope: Scope, send: Send) -> None:
    """`GET` of a credentials URI: the workload's credentials; 404 where there are none, 403 for a wrong token."""
    await respond(send, await _container_answer(hand_outs, address_secret, scope))


async def _container_answer(hand_outs: HandOuts, address_secret: str, scope: Scope) -> PlatformAnswer:
    if scope["method"] != "GET":
        more = ((b"allow", b"GET"),)
        return PlatformAnswer(405, _error("MethodNotAllowed", "only GET is allowed here"), _JSON, more)
    token = dict(scope["headers"]).get(b"authorization")
    try:
        found = hand_outs.by_secret(address_secret, None if token is None else token.decode("latin-1"))
    except PermissionError as error:
        return PlatformAnswer(403, _error("Forbidden", str(error)), _JSON)
    given = None if found is None else await hand_outs.give(found[0])
    if given is None:
        return PlatformAnswer(404, _error("NotFound", "no running workload has these credentials"), _JSON)
    body = credential_members(given) | {"RoleArn": f"arn:aws:iam::{given.workload.account}:role/{ROLE_NAME}"}
    return PlatformAnswer(200, json.dumps(body).encode(), _JSON)


def credential_members(given: HandedOut) -> dict[str, str]:
    """Credentials as every SDK reads them."""
    return {
        "AccessKeyId": given.access_key_id,
        "SecretAccessKey": given.secret_access_key,
        "Token": given.session_token,
        "Expiration": whole_seconds(given.expires_micros),
    }


def whole_seconds(micros: int) -> str:
    """An instant as text, to the second: some SDKs read nothing finer."""
    return rfc3339(micros // SECOND * SECOND)


def _error(code: str, message: str) -> bytes:
    return json.dumps({"code": code, "message": message}).encode()


async def respond(send: Send, answer: PlatformAnswer) -> None:
    """Sends an answer (ASGI)."""
    headers = (
        (b"content-type", answer.content_type),
        (b"content-length", b"%d" % len(answer.body)),
        (b"cache-control", b"no-store"),
        *answer.more,
    )
    await send({"type": "http.response.start", "status": answer.status, "headers": headers})
    await send({"type": "http.response.body", "body": answer.body})
