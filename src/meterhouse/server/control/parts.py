"""What the control API stands on, and what one call of it is given and gives back."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, NamedTuple, Protocol

from msgspec import Struct

from meterhouse.core.profile import Profile
from meterhouse.ledger.protocol import Ledger
from meterhouse.server.metrics import Metrics
from meterhouse.service.clock import Clocks
from meterhouse.service.draft import Sources
from meterhouse.service.hand_out import HandOuts
from meterhouse.service.market import Market
from meterhouse.service.rows import Row


class InstanceMetadataServices(Protocol):
    """Instance metadata for `ec2` workloads, each on a loopback port of its own."""

    async def listen(self) -> int:
        """A port that is listened on, and answered at once its service is opened."""

    async def open(self, name: str, port: int) -> str:
        """Opens the service of a hand-out, known by its name; the address that its software is told."""

    async def give_up(self, port: int) -> None:
        """Lets a port go that is not needed after all."""

    async def close_ended(self) -> None:
        """Closes the services of workloads that have ended."""


class ControlParts(NamedTuple):
    """What the control API stands on."""

    ledger: Ledger
    market: Market
    clocks: Clocks
    sources: Sources
    metrics: Metrics
    profile: Profile
    engine: str
    """What keeps the ledger, for people: `sqlite`, `memory`."""
    version: str
    sandbox: bool
    """`--clock test`: clock, faults and reset can be called."""
    admin_token: str | None
    """The bearer token; None: none is configured, and every call that needs one is refused."""
    open_on_loopback: bool
    """`--auth open` on loopback: no token is needed or looked at."""
    real_now: Callable[[], int]
    """Real time in microseconds since the epoch."""
    environment: Mapping[str, str]
    """Where `secret_access_key_env` of a catalog that is loaded by a call is looked up."""
    hand_outs: HandOuts
    instance_metadata: InstanceMetadataServices | None = None
    """Under `--imds`."""


class Asked(NamedTuple):
    """One call, its form checked."""

    parts: ControlParts
    path: Mapping[str, str]
    """The path's parameters, nothing escaped any more."""
    query: Any
    """The struct that the call names."""
    body: Any
    """The struct that the call names."""
    accept: str
    """The `Accept` header; empty where there is none."""
    origin: str
    """Under which address the server was reached: `http://127.0.0.1:8750`."""


class Answered(NamedTuple):
    """What a call gives back. `body`: a struct becomes JSON, bytes and streams are sent as they are."""

    body: Struct | bytes | AsyncIterator[bytes] | None
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}


class NoQuery(Row):
    """The parameters of a call that has none."""


class NoBody(Row):
    """The body of a call that needs none: absent, or `{}`."""


class ControlCall(NamedTuple):
    """A row of the table of calls: how it is asked, what it does, what it answers."""

    method: str
    path: str
    """Below the API's root; `{name}` stands for one segment."""
    says: str
    """What it does, for the API's description."""
    call: Callable[[Asked], Awaitable[Answered]]
    answer: Any
    """The type of a success's body; None where there is no body."""
    status: int = 200
    """Of a success."""
    query: type[Row] = NoQuery
    body: type[Row] = NoBody
    refusals: tuple[int, ...] = ()
    """The statuses of refusals beside those that every call has."""
    sandbox: bool = False
    """Whether it is for a sandbox alone."""
    other_answers: tuple[Any, ...] = ()
    """The types that a success's body can have instead."""
    also: Mapping[str, str] = {}
    """Content types beside JSON that it can answer with, and when."""
