"""Who is who: products, agreements, accounts, credentials, registration tokens, workloads (contract §3, catalog file).

Every value is frozen; an instant is an integer of microseconds since the epoch. What a value is *now* (an agreement's
state, a token's age) follows from its dates at each request and is never stored.

`Catalog` is the index over them that requests read: plain dicts, changed only by `put` and `drop_credential`, which an
owner calls between requests. It holds at most one value per (kind, key), so applying the same change twice is the same
as once, and facts may come in any order. What names a fact to others is fixed when it is made (a product's seller, an
agreement's product, buyer, license and customer identifier): the indexes rely on it.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import Any, Final

from msgspec import Struct

from meterhouse.core.moment import HOUR, hour_of


class ProductType(StrEnum):
    """What a product is; it tells people, no operation refuses a product because of it."""

    SAAS = "saas"
    AMI = "ami"
    CONTAINER = "container"
    AGENTCORE = "agentcore"


class Integration(StrEnum):
    """How a product's usage names it: by product code, or by license (concurrent agreements)."""

    LEGACY = "legacy"
    CONCURRENT = "concurrent"


class IdenticalRepeat(StrEnum):
    """What an identical repeat is answered with: a switch of the product (contract §4)."""

    SUCCESS = "Success"
    DUPLICATE_RECORD = "DuplicateRecord"


class WindowEdge(StrEnum):
    """Whether an age is counted from the instant or from the timestamp's hour: a switch of the product."""

    INSTANT = "instant"
    HOUR = "hour"


class DryRun(StrEnum):
    """Whether an allowed DryRun is answered as a success, or with AWS's literal text: a switch of the product."""

    ANSWER = "answer"
    LITERAL = "literal"


class Platform(StrEnum):
    """Where a workload runs."""

    EC2 = "ec2"
    ECS = "ecs"
    EKS = "eks"
    FARGATE = "fargate"
    AGENTCORE = "agentcore"
    NONE = "none"


class AgreementState(StrEnum):
    """The states of an agreement, in the only order in which it passes through them."""

    PENDING = "pending"
    ACTIVE = "active"
    UNSUBSCRIBING = "unsubscribing"
    ENDED = "ended"


class Dimension(Struct, frozen=True):
    """What is counted, and what one of it costs."""

    key: str
    unit: str
    price_units: int
    """Hundred-millionths of a US dollar per unit."""
    description: str = ""


class Product(Struct, frozen=True):
    """What a seller lists."""

    code: str
    id: str
    name: str
    seller: str
    """The publishing AWS account, 12 digits."""
    type: ProductType
    integration: Integration = Integration.LEGACY
    registration_url: str | None = None
    regions: tuple[str, ...] | None = None
    """Where it is served; None: in every Region the server serves."""
    hourly_price_units: int = 0
    """Hundred-millionths of a US dollar for an hour of a task or pod metered by RegisterUsage."""
    identical_repeat: IdenticalRepeat = IdenticalRepeat.SUCCESS
    window_edge: WindowEdge = WindowEdge.INSTANT
    dry_run: DryRun = DryRun.ANSWER
    dimensions: tuple[Dimension, ...] = ()

    def serves(self, region: str) -> bool:
        """Whether the product is offered in a Region."""
        return self.regions is None or region in self.regions


class Agreement(Struct, frozen=True):
    """A buyer's acceptance of an offer, and the license it grants (which a renewal leaves as it is)."""

    id: str
    product: str
    """The product's code."""
    buyer: str
    license_arn: str
    customer_identifier: str | None
    """The seller's opaque name for the buyer; legacy products only, one per seller and buyer."""
    start_micros: int
    end_micros: int | None = None
    pending: bool = False
    closed: bool = False
    """Ended at once, without the last hour."""

    def state(self, now_micros: int, last_hour_micros: int = HOUR) -> AgreementState:
        """What the agreement is at an instant."""
        if self.pending or (now_micros < self.start_micros and not self.closed):
            return AgreementState.PENDING
        if self.closed:
            return AgreementState.ENDED
        if self.end_micros is None or now_micros < self.end_micros:
            return AgreementState.ACTIVE
        in_last_hour = now_micros - self.end_micros <= last_hour_micros
        return AgreementState.UNSUBSCRIBING if in_last_hour else AgreementState.ENDED

    def covers(self, timestamp_micros: int) -> bool:
        """Whether usage of an instant lies within the agreement's period: from the hour it began to its end instant.

        A pending agreement has no period, and so nothing lies outside it (contract §4, "Time").
        """
        if self.pending:
            return True
        if timestamp_micros < hour_of(self.start_micros) * HOUR:
            return False
        return self.end_micros is None or timestamp_micros <= self.end_micros

    def takes(self, timestamp_micros: int, now_micros: int, last_hour_micros: int = HOUR) -> bool:
        """Whether usage of an instant is accepted now, by state and by period (suspension is the account's)."""
        return self.covers(timestamp_micros) and self.state(now_micros, last_hour_micros) in _OPEN_STATES


_OPEN_STATES: Final = (AgreementState.ACTIVE, AgreementState.UNSUBSCRIBING)


class Account(Struct, frozen=True):
    """An AWS account as the marketplace sees it."""

    id: str
    suspended: bool = False


class Workload(Struct, frozen=True):
    """What runs at a buyer and meters itself."""

    resource_id: str
    platform: Platform
    account: str
    region: str
    launched_micros: int
    ended_micros: int | None = None
    heartbeat_seconds: int | None = None
    last_seen_micros: int | None = None


class Credential(Struct, frozen=True):
    """Keys that sign calls. The secrets are sealed (encrypted) here; they are opened once, where they are used."""

    access_key_id: str
    account: str
    principal: str
    sealed_secret: bytes
    sealed_session_token: bytes | None = None
    expires_micros: int | None = None
    policy: str | None = None
    """The IAM document as JSON text; None: `aws-marketplace:*` is allowed."""
    workload: str | None = None
    """The resource id of the workload that these credentials are handed to."""


class RegistrationToken(Struct, frozen=True):
    """A buyer's way back to the seller; only the token's SHA-256 is kept."""

    token_sha256: str
    agreement: str
    issued_micros: int


class ProductKey(Struct, frozen=True):
    """A version of the key pair by which a product's registrations are signed."""

    product: str
    version: int
    public_pem: str
    sealed_private: bytes
    made_micros: int
    rotated_micros: int | None = None
    """Since when a newer version has taken its place."""


class OpenIdentity(Struct, frozen=True):
    """Whom calls without a known key act as under open auth (the catalog's `[open]` table)."""

    account: str = "000000000000"
    region: str | None = None
    workload: str | None = None
    """The resource id of the workload that makes such calls."""


REMEMBERED_LIMIT: Final = 100_000
"""The most notes a rule keeps for one purpose; each is a few hundred bytes."""
PURPOSES_LIMIT: Final = 10_000
"""The most purposes for which notes are kept at a time."""

Fact = Product | Agreement | Account | Workload | Credential | RegistrationToken | ProductKey | OpenIdentity

KIND_OF: Final[dict[type, str]] = {
    Product: "product",
    Agreement: "agreement",
    Account: "account",
    Workload: "workload",
    Credential: "credential",
    RegistrationToken: "token",
    ProductKey: "product key",
    OpenIdentity: "open",
}
"""The kind under which each class of fact is kept."""

FACT_OF: Final = {kind: fact for fact, kind in KIND_OF.items()}


def key_of(fact: Fact) -> str:
    """The key under which a fact is kept, unique within its kind."""
    match fact:
        case Product():
            return fact.code
        case Agreement() | Account():
            return fact.id
        case Workload():
            return fact.resource_id
        case Credential():
            return fact.access_key_id
        case RegistrationToken():
            return fact.token_sha256
        case ProductKey():
            return product_key_name(fact.product, fact.version)
        case OpenIdentity():
            return ""


def product_key_name(product: str, version: int) -> str:
    """The name under which a version of a product's key pair is kept."""
    return f"{product}/{version}"


class Catalog:
    """The facts that requests read, with the indexes they read them by.

    `revision` is that of the last change put here; whoever puts it sets it.
    """

    def __init__(self) -> None:
        self.revision = 0
        self.products: dict[str, Product] = {}
        self.dimensions: dict[str, dict[str, Dimension]] = {}
        """By product code, then by key."""
        self.agreements: dict[str, Agreement] = {}
        self.agreement_of_license: dict[str, Agreement] = {}
        self.agreements_of_buyer: dict[tuple[str, str], tuple[Agreement, ...]] = {}
        """By (product code, buyer), the latest begun first: the order in which they are tried (contract §4)."""
        self.buyer_of_identifier: dict[tuple[str, str], str] = {}
        """By (seller, customer identifier)."""
        self.identifier_of_buyer: dict[tuple[str, str], str] = {}
        """By (seller, buyer)."""
        self.accounts: dict[str, Account] = {}
        self.workloads: dict[str, Workload] = {}
        self.credentials: dict[str, Credential] = {}
        self.tokens: dict[str, RegistrationToken] = {}
        self.product_keys: dict[str, ProductKey] = {}
        """By `product_key_name`."""
        self.open = OpenIdentity()
        self._remembered: dict[tuple[str, ...], dict[Any, Any]] = {}
        self._waiting: dict[str, dict[str, Agreement]] = {}
        """Agreements whose product is not known yet, by its code, then by id: they cannot name a customer before."""

    def remembered(self, purpose: tuple[str, ...]) -> dict[Any, Any]:
        """A rule's notes on what it derived from the facts, for one purpose: empty again after every change.

        Whoever derives writes to it directly, and writes nothing that a caller can make up without end: notes are
        bounded in number (`REMEMBERED_LIMIT`, `PURPOSES_LIMIT`; beyond them they are forgotten), not in size.
        """
        if len(self._remembered) > PURPOSES_LIMIT:
            self._remembered.clear()
        notes = self._remembered.setdefault(purpose, {})
        if len(notes) > REMEMBERED_LIMIT:
            notes.clear()
        return notes

    def suspended(self, account_id: str) -> bool:
        """Whether an account is suspended (one never seen is not)."""
        account = self.accounts.get(account_id)
        return account is not None and account.suspended

    def running(self, resource_id: str | None) -> Workload | None:
        """The workload of that id; None where there is none, or it was ended by a call."""
        workload = None if resource_id is None else self.workloads.get(resource_id)
        return None if workload is None or workload.ended_micros is not None else workload

    def facts(self) -> Iterator[Fact]:
        """Every fact but the open identity, in an order in which each comes after those it refers to."""
        yield from self.products.values()
        yield from self.agreements.values()
        yield from self.accounts.values()
        yield from self.tokens.values()
        yield from self.workloads.values()
        yield from self.credentials.values()
        yield from self.product_keys.values()

    def put(self, fact: Fact) -> None:
        """Adds a fact, or takes it in place of the one under its key."""
        self._remembered.clear()
        match fact:
            case Product():
                self.products[fact.code] = fact
                self.dimensions[fact.code] = {dimension.key: dimension for dimension in fact.dimensions}
                for agreement in self._waiting.pop(fact.code, {}).values():
                    self._name_customer(fact, agreement)
            case Agreement():
                self._put_agreement(fact)
            case Account():
                self.accounts[fact.id] = fact
            case Workload():
                self.workloads[fact.resource_id] = fact
            case Credential():
                self.credentials[fact.access_key_id] = fact
            case RegistrationToken():
                self.tokens[fact.token_sha256] = fact
            case ProductKey():
                self.product_keys[key_of(fact)] = fact
            case OpenIdentity():
                self.open = fact

    def drop_credential(self, access_key_id: str) -> None:
        """Forgets a credential; the only fact that can be deleted."""
        self._remembered.clear()
        self.credentials.pop(access_key_id, None)

    def _put_agreement(self, agreement: Agreement) -> None:
        self.agreements[agreement.id] = agreement
        self.agreement_of_license[agreement.license_arn] = agreement
        place = (agreement.product, agreement.buyer)
        others = (other for other in self.agreements_of_buyer.get(place, ()) if other.id != agreement.id)
        self.agreements_of_buyer[place] = tuple(
            sorted((*others, agreement), key=lambda one: (-one.start_micros, one.id))
        )
        product = self.products.get(agreement.product)
        if product is None:
            self._waiting.setdefault(agreement.product, {})[agreement.id] = agreement
        else:
            self._name_customer(product, agreement)

    def _name_customer(self, product: Product, agreement: Agreement) -> None:
        if agreement.customer_identifier is not None:
            self.buyer_of_identifier[product.seller, agreement.customer_identifier] = agreement.buyer
            self.identifier_of_buyer[product.seller, agreement.buyer] = agreement.customer_identifier
