"""What the control API answers: one struct per noun, as the table "Answers" of the catalog contract has it.

The structs are what is encoded, and what the API's description is made of. Times are RFC 3339 in UTC; quantities,
prices and amounts are text, plain decimals without needless zeros. What is absent is null: each member is always there.
"""

from typing import Annotated, Any, Generic, TypeVar

from msgspec import Meta, Struct

from meterhouse.core.catalog import (
    AgreementState,
    DryRun,
    IdenticalRepeat,
    Integration,
    Platform,
    ProductType,
    WindowEdge,
)
from meterhouse.service.clock import ClockMode
from meterhouse.service.faults import FaultName

When = Annotated[str, Meta(extra_json_schema={"format": "date-time"}, examples=["2026-11-30T23:59:59Z"])]
"""An instant."""
Exact = Annotated[str, Meta(pattern=r"^(0|[1-9][0-9]*)(\.[0-9]*[1-9])?$", examples=["0.5"])]
"""A quantity, price or amount."""

entry_type = TypeVar("entry_type")


class Answer(Struct, kw_only=True, frozen=True):
    """What all answers share."""


class Page(Answer, Generic[entry_type], kw_only=True, frozen=True):
    """A part of a list. `next` is the `after` of the following part; null where there is none yet."""

    items: list[entry_type]
    next: str | None = None


class DimensionAnswer(Answer, kw_only=True, frozen=True):
    """What is counted, and what one of it costs."""

    key: str
    unit: str
    price: Exact
    description: str


class ProductAnswer(Answer, kw_only=True, frozen=True):
    """What a seller lists."""

    code: str
    id: str
    name: str
    seller: str
    type: ProductType
    integration: Integration
    registration_url: str | None
    regions: list[str] | None
    hourly_price: Exact
    identical_repeat: IdenticalRepeat
    window_edge: WindowEdge
    dry_run: DryRun
    dimensions: list[DimensionAnswer]


class KeyAnswer(Answer, kw_only=True, frozen=True):
    """A public key by which registrations are verified.

    `rotated`, of a key that a rotation has just made: when that was, and so since when the version before is rotated
    out. Of a key that is asked for: since when this version is rotated out; null while it is the newest.
    """

    version: int
    pem: str
    rotated: When | None


class AgreementAnswer(Answer, kw_only=True, frozen=True):
    """A buyer's acceptance of an offer; `status` is what it is now, by the seller's clock."""

    id: str
    license_arn: str
    customer_identifier: str | None
    product: str
    buyer: str
    start: When
    end: When | None
    status: AgreementState


class AccountAnswer(Answer, kw_only=True, frozen=True):
    """An AWS account as the marketplace sees it."""

    id: str
    suspended: bool


class TokenAnswer(Answer, kw_only=True, frozen=True):
    """A registration token, the only time it is shown."""

    token: str
    expires: When
    agreement: str


class CredentialAnswer(Answer, kw_only=True, frozen=True):
    """Keys that sign calls, without their secrets. `workload`: the resource id of what they are handed to."""

    access_key_id: str
    account: str
    principal: str
    expires: When | None
    policy: dict[str, Any] | None
    workload: str | None


class SecretAnswer(Answer, kw_only=True, frozen=True):
    """Keys that sign calls, the only time their secrets are shown."""

    access_key_id: str
    secret_access_key: str
    session_token: str | None
    expires: When | None
    account: str
    principal: str


class RegisteredAnswer(Answer, kw_only=True, frozen=True):
    """What a task or pod is metered for by the second, so far."""

    product: str
    since: When
    seconds: Exact
    amount: Exact


class WorkloadAnswer(Answer, kw_only=True, frozen=True):
    """What runs at a buyer. `ended` is null until it is ended by a call."""

    resource_id: str
    platform: Platform
    account: str
    region: str
    launched: When
    ended: When | None
    heartbeat_seconds: int | None
    last_seen: When | None
    registered: list[RegisteredAnswer]


class StartedWorkloadAnswer(WorkloadAnswer, kw_only=True, frozen=True):
    """A workload that was started, and where an SDK finds its credentials by itself."""

    credentials: SecretAnswer
    credentials_uri: Annotated[str, Meta(description="For AWS_CONTAINER_CREDENTIALS_FULL_URI.")]
    authorization_token: Annotated[str, Meta(description="For AWS_CONTAINER_AUTHORIZATION_TOKEN; need not be sent.")]
    metadata_endpoint: Annotated[str | None, Meta(description="For AWS_EC2_METADATA_SERVICE_ENDPOINT.")]


class TagAnswer(Answer, kw_only=True, frozen=True):
    """A label."""

    key: str
    value: str


class AllocationAnswer(Answer, kw_only=True, frozen=True):
    """A part of a quantity, and what it is labelled with."""

    quantity: Exact
    tags: list[TagAnswer]


class RecordAnswer(Answer, kw_only=True, frozen=True):
    """A usage record that is kept; or, of RegisterUsage, what a task ran in an hour."""

    record_id: str
    operation: str
    product: str
    region: str
    seller: str
    buyer: str
    customer_identifier: str | None
    license_arn: str | None
    dimension: str
    timestamp: When
    hour: When
    quantity: Exact
    unit: str | None
    allocations: list[AllocationAnswer]
    resource_id: str | None
    request_id: str
    position: int
    received: When
    preview: bool


class TotalAnswer(Answer, kw_only=True, frozen=True):
    """What a buyer used of a dimension in a month, and what it costs.

    Of RegisterUsage the dimension is empty, the unit is `seconds`, and the price is that of an hour. Unit, price and
    amount are null for a dimension that the product no longer has.
    """

    month: Annotated[str, Meta(pattern=r"^[0-9]{4}-[0-9]{2}$", examples=["2026-11"])]
    buyer: str
    dimension: str
    unit: str | None
    quantity: Exact
    price: Exact | None
    amount: Exact | None


class JournalRecordAnswer(Answer, kw_only=True, frozen=True):
    """A record that a request kept."""

    record_id: str
    buyer: str
    customer_identifier: str | None
    license_arn: str | None
    dimension: str
    timestamp: When
    quantity: Exact
    allocations: list[AllocationAnswer]
    resource_id: str | None


class JournalAnswer(Answer, kw_only=True, frozen=True):
    """A request that kept something new. `received` is real time, `now` the clock by which it was judged."""

    position: int
    request_id: str
    operation: str
    principal: str
    account: str
    region: str
    product: str
    received: When
    now: When
    profile: str
    records: list[JournalRecordAnswer]


class ClockAnswer(Answer, kw_only=True, frozen=True):
    """What time it is, and how the clock goes."""

    now: When
    mode: ClockMode


class FaultAnswer(Answer, kw_only=True, frozen=True):
    """An injected fault; `times` is how often it will strike yet."""

    id: str
    operation: str
    fault: FaultName
    times: int
    records: list[int] | None
    seconds: float | None
    product: str | None
    probability: float
    seed: int


class CatalogAnswer(Answer, kw_only=True, frozen=True):
    """The whole catalog as a catalog file's text, credentials and tokens left out."""

    toml: str


class LoadedAnswer(Answer, kw_only=True, frozen=True):
    """How many rows a load made or changed, by table; and the tokens and secrets made up for it, shown only now."""

    changed: dict[str, int]
    registration_tokens: list[TokenAnswer]
    credentials: list[SecretAnswer]


class Done(Answer, kw_only=True, frozen=True):
    """Nothing more to say."""


class HealthAnswer(Answer, kw_only=True, frozen=True):
    """Whether the server can read its ledger."""

    status: Annotated[str, Meta(extra_json_schema={"enum": ["ok", "unavailable"]})]
    version: str
    engine: str
