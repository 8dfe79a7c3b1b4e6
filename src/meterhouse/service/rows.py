"""What may be written to set up a marketplace: one struct per noun, for the catalog file's tables and for the control
API's bodies alike.

Rules of this file
- What one value alone can get wrong stands in `forms.py`; what takes two to get wrong (a duplicate, a dangling name, an
  end before its start) is judged by the rules, in `listing.py`, `agreements.py` and `credentials.py`.
- A row says what was *written*: an absent member is None, and its default is the rules' to give.
- File and call differ in few members; where they do, the file's struct is called a table and says what is different.
- A patch has every member of its row, absent until given. One that cannot change may be repeated, not changed.
"""

from typing import Annotated, Final

from msgspec import UNSET, Meta, Struct, UnsetType

from meterhouse.core.catalog import (
    Account,
    Agreement,
    AgreementState,
    DryRun,
    IdenticalRepeat,
    Integration,
    OpenIdentity,
    Platform,
    Product,
    ProductType,
    WindowEdge,
    Workload,
)
from meterhouse.core.moment import datetime_of
from meterhouse.core.quantity import text_of_price_units
from meterhouse.service.forms import (
    AccessKeyId,
    AccountId,
    AgreementId,
    CustomerIdentifier,
    Description,
    DimensionKey,
    EnvironmentName,
    FineAdvance,
    HeartbeatSeconds,
    Instant,
    LicenseArn,
    Name,
    Policy,
    Price,
    Principal,
    ProductCode,
    ProductId,
    Region,
    Regions,
    RegistrationUrl,
    ResourceId,
    Secret,
    Token,
    Unit,
    WholeAdvance,
)

SECRET_MEMBERS: Final = frozenset({"token", "secret_access_key", "session_token"})
"""Members whose values are never repeated, neither in a message nor in a representation."""


class Row(Struct, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What all rows share: members by name, none unknown, and secrets that no representation shows."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(shown_members(self))})"


def shown_members(struct: Struct) -> list[str]:
    """The members of a struct as `name=value`, its secrets hidden."""
    values = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return [f"{name}={'…' if name in SECRET_MEMBERS and value is not None else repr(value)}" for name, value in values]


class DimensionRow(Row, kw_only=True):
    """What is counted, and what one of it costs."""

    key: DimensionKey
    unit: Unit
    price: Price
    description: Description = ""


Dimensions = Annotated[
    list[DimensionRow],
    Meta(
        max_length=200,
        description="Up to 200 usage dimensions.",
        extra={"wanted": "a list of at most 200 dimensions"},
    ),
]


class ProductRow(Row, kw_only=True):
    """What a seller lists."""

    code: ProductCode
    id: ProductId | None = None
    name: Name
    seller: AccountId
    type: ProductType
    integration: Integration = Integration.LEGACY
    registration_url: RegistrationUrl | None = None
    regions: Regions | None = None
    hourly_price: Price | None = None
    identical_repeat: IdenticalRepeat = IdenticalRepeat.SUCCESS
    window_edge: WindowEdge = WindowEdge.INSTANT
    dry_run: DryRun = DryRun.ANSWER
    dimensions: Dimensions = []


class ProductPatch(Row, kw_only=True):
    """Members of a product to replace, lists whole. `code`, `id`, `seller` and `integration` cannot change."""

    code: ProductCode | UnsetType = UNSET
    id: ProductId | UnsetType = UNSET
    name: Name | UnsetType = UNSET
    seller: AccountId | UnsetType = UNSET
    type: ProductType | UnsetType = UNSET
    integration: Integration | UnsetType = UNSET
    registration_url: RegistrationUrl | UnsetType | None = UNSET
    regions: Regions | UnsetType | None = UNSET
    hourly_price: Price | UnsetType | None = UNSET
    identical_repeat: IdenticalRepeat | UnsetType = UNSET
    window_edge: WindowEdge | UnsetType = UNSET
    dry_run: DryRun | UnsetType = UNSET
    dimensions: Dimensions | UnsetType = UNSET


class AgreementRow(Row, kw_only=True):
    """A buyer's acceptance of an offer. `start` defaults to now, `status` to active."""

    id: AgreementId | None = None
    license_arn: LicenseArn | None = None
    customer_identifier: CustomerIdentifier | None = None
    product: ProductCode
    buyer: AccountId
    start: Instant | None = None
    end: Instant | None = None
    status: AgreementState | None = None


class AgreementPatch(Row, kw_only=True):
    """Members of an agreement to replace. What names it (id, product, buyer, license, customer) cannot change."""

    id: AgreementId | UnsetType = UNSET
    license_arn: LicenseArn | UnsetType = UNSET
    customer_identifier: CustomerIdentifier | UnsetType | None = UNSET
    product: ProductCode | UnsetType = UNSET
    buyer: AccountId | UnsetType = UNSET
    start: Instant | UnsetType = UNSET
    end: Instant | UnsetType | None = UNSET
    status: AgreementState | UnsetType = UNSET


class AccountRow(Row, kw_only=True):
    """An AWS account as the marketplace sees it."""

    id: AccountId
    suspended: bool = False


class AccountPatch(Row, kw_only=True):
    """Members of an account to replace; one not seen before is made."""

    id: AccountId | UnsetType = UNSET
    suspended: bool | UnsetType = UNSET


class TokenRow(Row, kw_only=True):
    """A buyer's way back to the seller. `issued` defaults to now."""

    token: Token | None = None
    agreement: AgreementId
    issued: Instant | None = None


class NestedWorkload(Row, kw_only=True):
    """What runs at a buyer, where the account is that of the row around it. `launched` defaults to now."""

    platform: Platform
    resource_id: ResourceId | None = None
    region: Region
    launched: Instant | None = None
    heartbeat_seconds: HeartbeatSeconds | None = None


class NestedWorkloadTable(NestedWorkload, kw_only=True):
    """The same in the file, where it must be named."""

    resource_id: ResourceId


class WorkloadRow(NestedWorkload, kw_only=True):
    """What runs at a buyer."""

    account: AccountId


class CredentialRow(Row, kw_only=True):
    """Keys that sign calls; keys and secrets are made up when absent."""

    access_key_id: AccessKeyId | None = None
    secret_access_key: Secret | None = None
    session_token: Secret | None = None
    expires: Instant | None = None
    account: AccountId
    principal: Principal | None = None
    policy: Policy | None = None
    workload: NestedWorkload | None = None


class CredentialTable(CredentialRow, kw_only=True):
    """The same in the file, where it must be named, and where a secret may stand in the environment."""

    access_key_id: AccessKeyId
    secret_access_key_env: EnvironmentName | None = None
    workload: NestedWorkloadTable | None = None


class OpenRow(Row, kw_only=True):
    """Whom calls without a known key act as under open auth (`[open]`, file only)."""

    account: AccountId = "000000000000"
    region: Region | None = None
    workload: NestedWorkloadTable | None = None


class CatalogFile(Row, kw_only=True):
    """The whole catalog file."""

    products: Annotated[list[ProductRow], Meta(extra={"wanted": "a list of tables: write [[products]]"})] = []
    agreements: Annotated[list[AgreementRow], Meta(extra={"wanted": "a list of tables: write [[agreements]]"})] = []
    accounts: Annotated[list[AccountRow], Meta(extra={"wanted": "a list of tables: write [[accounts]]"})] = []
    registration_tokens: Annotated[
        list[TokenRow], Meta(extra={"wanted": "a list of tables: write [[registration_tokens]]"})
    ] = []
    credentials: Annotated[
        list[CredentialTable], Meta(extra={"wanted": "a list of tables: write [[credentials]]"})
    ] = []
    open: Annotated[OpenRow, Meta(extra={"wanted": "a table: write [open]"})] | None = None


class CatalogText(Row, kw_only=True):
    """The catalog file as a call carries it."""

    toml: Annotated[str, Meta(description="A catalog file's whole text.")]


class ClockRow(Row, kw_only=True):
    """One of three moves of a test clock: freeze, advance, or end."""

    now: Instant | UnsetType = UNSET
    advance_seconds: WholeAdvance | FineAdvance | UnsetType = UNSET
    real: bool | UnsetType = UNSET


def row_of_product(product: Product) -> ProductRow:
    """What a person would write to have this product."""
    return ProductRow(
        code=product.code,
        id=product.id,
        name=product.name,
        seller=product.seller,
        type=product.type,
        integration=product.integration,
        registration_url=product.registration_url,
        regions=None if product.regions is None else list(product.regions),
        hourly_price=text_of_price_units(product.hourly_price_units) if product.hourly_price_units else None,
        identical_repeat=product.identical_repeat,
        window_edge=product.window_edge,
        dry_run=product.dry_run,
        dimensions=[
            DimensionRow(
                key=dimension.key,
                unit=dimension.unit,
                price=text_of_price_units(dimension.price_units),
                description=dimension.description,
            )
            for dimension in product.dimensions
        ],
    )


def row_of_agreement(agreement: Agreement) -> AgreementRow:
    """What a person would write to have this agreement; `status` is absent where it follows from the dates."""
    status = AgreementState.PENDING if agreement.pending else AgreementState.ENDED if agreement.closed else None
    return AgreementRow(
        id=agreement.id,
        license_arn=agreement.license_arn,
        customer_identifier=agreement.customer_identifier,
        product=agreement.product,
        buyer=agreement.buyer,
        start=datetime_of(agreement.start_micros),
        end=None if agreement.end_micros is None else datetime_of(agreement.end_micros),
        status=status,
    )


def row_of_account(account: Account) -> AccountRow:
    """What a person would write to have this account."""
    return AccountRow(id=account.id, suspended=account.suspended)


def row_of_open(identity: OpenIdentity, workload: Workload | None) -> OpenRow:
    """What a person would write to have this identity; that its workload was ended or seen cannot be written."""
    return OpenRow(
        account=identity.account,
        region=identity.region,
        workload=None
        if workload is None
        else NestedWorkloadTable(
            platform=workload.platform,
            resource_id=workload.resource_id,
            region=workload.region,
            launched=datetime_of(workload.launched_micros),
            heartbeat_seconds=workload.heartbeat_seconds,
        ),
    )
