"""The gates that every metering request passes before its body is read, as one list in the order of precedence.

A gate looks at what arrived, adds what it found out, and raises the Fault of whoever may not go on (contract §1: size →
operation → authentication → authorization → throttle; syntax and constraints follow in the codec).
"""

import re
from collections.abc import Callable, Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Protocol
from urllib.parse import parse_qs

from msgspec import Struct

from meterhouse.core.call import Signer
from meterhouse.core.catalog import Catalog, Credential, OpenIdentity, Workload
from meterhouse.core.outcome import Fault, FaultCode
from meterhouse.core.profile import Profile
from meterhouse.core.shapes import Answer
from meterhouse.server.throttle import Throttle
from meterhouse.service.operations import OPERATIONS, Operation
from meterhouse.wire.codec import encode
from meterhouse.wire.keys import SigningCredentials
from meterhouse.wire.policy import access_denied, policy_of
from meterhouse.wire.signature import SignedRequest, read_key_and_region, read_signature, sha256_hex
from meterhouse.wire.sigv4 import authenticate, expired_token

_ACCOUNT_ID: Final = re.compile(r"[0-9]{12}")

TARGET_PREFIX: Final = b"AWSMPMeteringService."
API_VERSION: Final = "2016-01-14"
BODY_LIMIT_BYTES: Final = 1_048_576
"""A body of this size or more is refused (contract §1)."""
DEFAULT_REGION: Final = "us-east-1"
"""The Region of a call under open auth that names none, where neither the catalog nor `--region` does."""


class Secrets(Protocol):
    """Where a credential's sealed secrets are opened."""

    def secret_of(self, credential: Credential) -> tuple[str, str | None]:
        """The secret access key and the session token."""


class Edge(Struct, frozen=True):
    """What the gates judge by."""

    catalog: Catalog
    secrets: Secrets
    profile: Profile
    regions: AbstractSet[str] | None
    """Served Regions; None: every well-formed one."""
    first_region: str | None
    """The first `--region`."""
    open_auth: bool
    throttle: Throttle


NOBODY: Final = Signer("", "")
"""Who signed a request, until that is known."""


class Arrival:
    """A request as it came, and what the gates found out about it."""

    __slots__ = (
        "_said",
        "_written",
        "admitted",
        "body",
        "body_sha256",
        "headers",
        "hidden",
        "named",
        "operation",
        "policy",
        "query",
        "received_micros",
        "region",
        "request",
        "request_id",
        "signer",
    )

    def __init__(
        self,
        headers: Sequence[tuple[bytes, bytes]],
        query: bytes,
        request_id: str,
        received_micros: int,
        hidden: frozenset[str] = frozenset(),
    ) -> None:
        self.headers = headers
        self.named = dict(headers)
        """Headers by name, which ASGI has in lower case; of a repeated one the last."""
        self.query = query
        self.request_id = request_id
        self.received_micros = received_micros
        """Real time."""
        self.hidden = hidden
        """The members that the profile hides, by their names on the wire."""
        self._said: Answer | None = None
        self._written = b""
        self.body: bytes | None = None
        """None where it was too large to be read; empty once it was: what is not held any more, the next request's body
        takes the place of, while that place is still in the processor's caches."""
        self.body_sha256 = ""
        """In hexadecimal; empty until it is asked for."""
        self.operation: Operation | None = None
        self.signer = NOBODY
        self.policy: str | None = None
        """The signer's policy document; None: everything here is allowed."""
        self.region = ""
        self.admitted = False
        """Whether the throttle has let it through: it counts once, however often it is judged."""
        self.request: Struct | None = None
        """What the body says, once the gates have let it be read: that once, however often it is judged."""

    def answered(self, answer: Answer) -> None:
        """Writes the answer down as soon as it follows: a group of turns later it is out of the processor's caches."""
        self._said, self._written = answer, encode(answer, self.hidden)

    def body_of(self, answer: Answer) -> bytes:
        """The body of the answer that counts in the end, which mostly has been written already."""
        return self._written if answer is self._said else encode(answer, self.hidden)


def check_size(_edge: Edge, arrival: Arrival) -> None:
    """Less than a mebibyte."""
    if arrival.body is None or len(arrival.body) >= BODY_LIMIT_BYTES:
        message = f"the body has {BODY_LIMIT_BYTES:,} bytes or more; a request must be less than 1 MB"
        raise Fault(FaultCode.REQUEST_ENTITY_TOO_LARGE, message)


def find_operation(edge: Edge, arrival: Arrival) -> None:
    """`X-Amz-Target`, or else `Action` with `Version`, in a header or the query; the target wins."""
    named = arrival.named
    target = named.get(b"x-amz-target")
    if target is not None:
        known = target.startswith(TARGET_PREFIX)
        name = target.removeprefix(TARGET_PREFIX).decode("latin-1")
    else:
        query = parse_qs(arrival.query.decode("latin-1"), keep_blank_values=True)
        name, version = (
            named[header].decode("latin-1") if header in named else query.get(parameter, [""])[-1]
            for header, parameter in ((b"action", "Action"), (b"version", "Version"))
        )
        known = version == API_VERSION
    if not known or name not in OPERATIONS or name not in edge.profile.operations:
        raise Fault(FaultCode.UNKNOWN_OPERATION, "the request names no operation of this service")
    arrival.operation = OPERATIONS[name]


def authenticate_signer(edge: Edge, arrival: Arrival) -> None:
    """Who signed, and for which Region: strictly by the signature, or as the catalog says under open auth."""
    assert arrival.body is not None, "the size is judged first"
    if not arrival.body_sha256:
        arrival.body_sha256 = sha256_hex(arrival.body)
    signed = SignedRequest("POST", arrival.headers, arrival.body_sha256, b"/", arrival.query)
    if edge.open_auth:
        arrival.signer, arrival.region = _open_signer(edge, *read_key_and_region(signed))
        return
    named = arrival.named
    signature = read_signature(signed, named if len(named) == len(arrival.headers) else None)
    credential = edge.catalog.credentials.get(signature.access_key_id)
    keys = None if credential is None else _keys(edge.secrets, credential)
    authenticate(signed, signature, keys, arrival.received_micros)
    assert credential is not None, "an unknown key does not authenticate"
    arrival.signer = Signer(credential.account, credential.principal, _live_workload(edge.catalog, credential.workload))
    arrival.policy = credential.policy
    arrival.region = signature.region


def check_policy(edge: Edge, arrival: Arrival) -> None:
    """Whether the signer's policy allows the operation; open auth judges none."""
    if edge.open_auth:
        return
    assert arrival.operation is not None, "the operation is found first"
    if not policy_of(arrival.policy).allows(arrival.operation.name):
        raise access_denied(arrival.signer.principal, arrival.operation.name)


def check_throttle(edge: Edge, arrival: Arrival) -> None:
    """Whether the account may call the operation again already; real time, whatever its clock says."""
    assert arrival.operation is not None, "the operation is found first"
    account, operation = arrival.signer.account, arrival.operation.name
    if not arrival.admitted and not edge.throttle.admits(account, arrival.region, operation, arrival.received_micros):
        raise Fault(FaultCode.THROTTLING, "Rate exceeded")
    arrival.admitted = True


Gate = Callable[[Edge, Arrival], None]

GATES: Final[Sequence[Gate]] = (check_size, find_operation, authenticate_signer, check_policy, check_throttle)


def _keys(secrets: Secrets, credential: Credential) -> SigningCredentials:
    secret, session_token = secrets.secret_of(credential)
    return SigningCredentials(credential.access_key_id, secret, session_token, credential.expires_micros)


def _live_workload(catalog: Catalog, resource_id: str | None) -> Workload | None:
    """The workload that the caller is; once it was ended by a call it is refused (contract §3)."""
    workload = None if resource_id is None else catalog.workloads.get(resource_id)
    if workload is not None and workload.ended_micros is not None:
        raise expired_token()
    return workload


def _open_signer(edge: Edge, access_key_id: str | None, region: str | None) -> tuple[Signer, str]:
    """Contract §2, `--auth open`: a known key keeps its account, a 12-digit one is one, all else is `[open]`."""
    fallback: OpenIdentity = edge.catalog.open
    region = region or fallback.region or edge.first_region or DEFAULT_REGION
    credential = None if access_key_id is None else edge.catalog.credentials.get(access_key_id)
    if credential is not None:
        signer = Signer(credential.account, credential.principal, _live_workload(edge.catalog, credential.workload))
    elif access_key_id is not None and _ACCOUNT_ID.fullmatch(access_key_id):
        signer = Signer(access_key_id, f"arn:aws:iam::{access_key_id}:root")
    else:
        workload = _live_workload(edge.catalog, fallback.workload)
        signer = Signer(fallback.account, f"arn:aws:iam::{fallback.account}:root", workload)
    return signer, region
