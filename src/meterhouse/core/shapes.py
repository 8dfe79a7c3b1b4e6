"""What may be said: every shape of the API (2016-01-14) once, with its constraints.

Rules of this file
- One struct per shape, one annotated type per constrained member; the names on the wire follow from the Python names
  by `wire_name`. Nothing here judges or decodes: `wire/codec.py` reads these annotations both ways.
- What msgspec checks for us while it decodes (lengths, ranges, list sizes) stands in `Meta` itself. What it must not
  check stands in `Meta.extra`: *patterns*, because a pattern inside the struct costs five times the decode (the codec
  checks each distinct string once), and constraints whose breach the API reports by an error of its own
  (`"judged_by"`), because those must not sink the request as a ValidationException (contract §1, §5). There too: what
  real clients send empty where they mean to send nothing (`"empty_is_absent"`), and what no message may repeat
  (`"secret"`).
- A parity test holds members, required, bounds and patterns against the newest botocore model, and fails when the model
  gains one.

Timestamps: the structs that carry one are generic in its type, so that one class serves the decoder of whole seconds
(`int`, the fast path), the decoder of everything else (`Raw`) and the encoder. Once decoded, a timestamp is an `int` of
whole seconds, or a `Raw` holding seconds with one to six decimals; `usage.micros_of` gives its meaning.
"""

from typing import Annotated, Final, Generic, TypeVar

from msgspec import Meta, Raw, Struct

Timestamp = int | Raw
"""A decoded timestamp: whole epoch seconds, or a Raw of epoch seconds with decimals."""

INT64_MAX: Final = 2**63 - 1
FIRST_SECOND: Final = -62_135_596_800
"""0001-01-01T00:00:00Z, the first second a timestamp may name."""
LAST_SECOND: Final = 253_402_300_799
"""9999-12-31T23:59:59Z, the last second a timestamp may name."""

DECIMAL_PATTERN: Final = r"^(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?$"
TAG_PATTERN: Final = r"^[a-zA-Z0-9+ -=._:\/@]+$"
LICENSE_ARN_PATTERN: Final = (
    r"^arn:aws[a-zA-Z-]*:[A-Za-z0-9][A-Za-z0-9_/.-]{0,62}:[A-Za-z0-9_/.-]{0,63}:[A-Za-z0-9_/.-]{0,63}"
    r":[A-Za-z0-9][A-Za-z0-9:_/+=,@.-]{0,1023}$"
)

type_of_time = TypeVar("type_of_time")

WholeSeconds = Annotated[int, Meta(ge=FIRST_SECOND, le=LAST_SECOND, extra={"timestamp": True})]
"""Epoch seconds; the bounds are the years 1-9999 (beyond them: SerializationException)."""

ProductCode = Annotated[str, Meta(max_length=255, extra={"pattern": r"^[-a-zA-Z0-9/=:_.@]*$", "empty_is_absent": True})]
CustomerIdentifier = Annotated[str, Meta(max_length=255, extra={"pattern": r"[\s\S]*", "empty_is_absent": True})]
CustomerAWSAccountId = Annotated[str, Meta(min_length=1, max_length=255, extra={"pattern": r"^[0-9]+$"})]
LicenseArn = Annotated[str, Meta(extra={"pattern": LICENSE_ARN_PATTERN, "judged_by": "InvalidLicenseException"})]
UsageDimension = Annotated[str, Meta(min_length=1, max_length=255, extra={"pattern": r"[\s\S]+"})]
Quantity = Annotated[int, Meta(ge=0, le=2_147_483_647)]
DecimalQuantity = Annotated[str, Meta(min_length=1, max_length=17, extra={"pattern": DECIMAL_PATTERN})]
TagKey = Annotated[str, Meta(extra={"min": 1, "max": 100, "pattern": TAG_PATTERN, "judged_by": "InvalidTagException"})]
TagValue = Annotated[
    str, Meta(extra={"min": 1, "max": 256, "pattern": TAG_PATTERN, "judged_by": "InvalidTagException"})
]
ClientToken = Annotated[str, Meta(min_length=1, max_length=64)]
Nonce = Annotated[str, Meta(max_length=255, extra={"pattern": r"[\s\S]*"})]
VersionInteger = Annotated[int, Meta(ge=1, le=INT64_MAX)]
NonEmptyString = Annotated[str, Meta(extra={"pattern": r"[\s\S]+", "secret": True})]
"""A registration token: never repeated in a message."""
AgreementId = Annotated[str, Meta(min_length=1, max_length=64, extra={"pattern": r"[A-Za-z0-9_/-]+"})]


def wire_name(name: str) -> str:
    """The wire's PascalCase of a snake_case member name (`customer_aws_account_id` -> `CustomerAWSAccountId`)."""
    return "".join(word.capitalize() for word in name.split("_")).replace("Aws", "AWS")


class Shape(Struct, gc=False, omit_defaults=True, rename=wire_name):
    """What all shapes share: absent members are None and are not written."""


class Tag(Shape):
    """A key and a value by which a part of a quantity is labelled."""

    key: TagKey
    value: TagValue


TagList = Annotated[list[Tag], Meta(extra={"min": 1, "max": 5, "judged_by": "InvalidTagException"})]


class UsageAllocation(Shape):
    """A part of a record's quantity, whole or decimal, and the tags it belongs to (at most one part without tags)."""

    allocated_usage_quantity: Quantity | None = None
    allocated_usage_quantity_as_decimal: DecimalQuantity | None = None
    tags: TagList | None = None


UsageAllocations = Annotated[
    list[UsageAllocation], Meta(extra={"min": 1, "max": 2500, "judged_by": "InvalidUsageAllocationsException"})
]


class UsageRecord(Shape, Generic[type_of_time]):
    """One customer's usage of one dimension in one hour, as said by the seller."""

    timestamp: type_of_time
    dimension: UsageDimension
    customer_identifier: CustomerIdentifier | None = None
    quantity: Quantity | None = None
    quantity_as_decimal: DecimalQuantity | None = None
    usage_allocations: UsageAllocations | None = None
    customer_aws_account_id: CustomerAWSAccountId | None = None
    license_arn: LicenseArn | None = None


class BatchMeterUsageRequest(Shape, Generic[type_of_time]):
    """Up to 25 records for one product, named by its code or by the records' licenses."""

    usage_records: Annotated[list[UsageRecord[type_of_time]], Meta(min_length=0, max_length=25)]
    product_code: ProductCode | None = None


class MeterUsageRequest(Shape, Generic[type_of_time]):
    """One quantity metered by the software itself, at the buyer."""

    product_code: ProductCode
    timestamp: type_of_time
    usage_dimension: UsageDimension
    usage_quantity: Quantity | None = None
    usage_quantity_as_decimal: DecimalQuantity | None = None
    dry_run: bool | None = None
    usage_allocations: UsageAllocations | None = None
    client_token: ClientToken | None = None


class RegisterUsageRequest(Shape):
    """A container says that it runs; the service meters it from then on."""

    product_code: ProductCode
    public_key_version: VersionInteger
    nonce: Nonce | None = None


class ResolveCustomerRequest(Shape):
    """A registration token, to be answered with who the buyer is."""

    registration_token: NonEmptyString


class UsageRecordResult(Shape):
    """What became of one record: the record as said, its id where it is kept, and its status."""

    usage_record: UsageRecord[Timestamp]
    status: str
    metering_record_id: str | None = None


class BatchMeterUsageResult(Shape):
    """One result a record in request order, and the records a failure left unprocessed (both lists always present)."""

    results: list[UsageRecordResult]
    unprocessed_records: list[UsageRecord[Timestamp]]


class MeterUsageResult(Shape):
    """The id of the kept record."""

    metering_record_id: str | None = None


class RegisterUsageResult(Shape):
    """A JWT, and since when its key version is rotated out, if it is."""

    signature: str | None = None
    public_key_rotation_timestamp: Timestamp | None = None


class Metadata(Shape):
    """What else is known of a customer."""

    agreement_id: AgreementId | None = None


class ResolveCustomerResult(Shape):
    """Who the buyer behind a registration token is; `customer_identifier` for legacy products only."""

    customer_identifier: str | None = None
    product_code: str | None = None
    customer_aws_account_id: str | None = None
    license_arn: str | None = None
    metadata: Metadata | None = None


Request = (
    BatchMeterUsageRequest[Timestamp] | MeterUsageRequest[Timestamp] | RegisterUsageRequest | ResolveCustomerRequest
)
Answer = BatchMeterUsageResult | MeterUsageResult | RegisterUsageResult | ResolveCustomerResult
