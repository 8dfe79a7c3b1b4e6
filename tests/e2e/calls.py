"""What every stranger is made to say, and what must come of it: one table, for all of them.

A row's record ids are those of the row named in `as_in`, where there is one; else they are new. Timestamps lie within
the last five hours: that is within every window, at any month's end too. Rows are said in this order, to a ledger that
was empty.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from meterhouse.wire.keys import SigningCredentials
from tests.e2e.market import (
    BATCH_ONLY_KEYS,
    BUYER,
    COMING_BUYER,
    COMING_LICENSE,
    CONCURRENT,
    CONCURRENT_TOKEN,
    CUSTOMER,
    EUROPEAN,
    EXPIRED_KEYS,
    FOREIGN,
    FOREIGN_LICENSE,
    FOREIGN_TOKEN,
    FORMER_BUYER,
    FORMER_CUSTOMER,
    FORMER_LICENSE,
    KEYS,
    LEGACY,
    LICENSE,
    OTHER_KEYS,
    OTHER_LICENSE,
    RESOLVE_ONLY_KEYS,
    STALE_TOKEN,
    STRANGER,
    SUSPENDED_CUSTOMER,
    TEMPORARY_KEYS,
    TOKEN,
    license_arn,
    now_seconds,
)

SERVED: Final = ("us-east-1", "eu-west-1")
"""The server's Regions."""
NOW: Final = now_seconds()

Record = Mapping[str, Any]
BATCH: Final = "BatchMeterUsage"
RESOLVE: Final = "ResolveCustomer"


class Refused(NamedTuple):
    """The request is refused with this error."""

    code: str
    status: int = 400


class Row(NamedTuple):
    """A call, and what must come of it: the records' statuses, an answer's members, or a refusal."""

    name: str
    operation: str
    request: Mapping[str, Any]
    expected: Sequence[str] | Mapping[str, Any] | Refused
    as_in: str = ""
    keys: SigningCredentials = KEYS
    region: str = SERVED[0]
    headers: Mapping[str, str | None] = {}
    """Headers to set when the request has been signed; None takes one away."""


def hours_ago(hours: int) -> int:
    """An instant that many hours ago."""
    return NOW - 3600 * hours - 5


def legacy(*records: Record, product: str = LEGACY) -> dict[str, Any]:
    """A batch that names its product."""
    return {"ProductCode": product, "UsageRecords": list(records)}


def concurrent(*records: Record) -> dict[str, Any]:
    """A batch whose records name their license."""
    return {"UsageRecords": list(records)}


def _given(members: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


def used(hours: int, dimension: str = "users", customer: str | None = CUSTOMER, **more: Any) -> dict[str, Any]:
    """A customer's usage, some hours ago; 5 where no other quantity is said."""
    about = {"Timestamp": hours_ago(hours), "CustomerIdentifier": customer, "Dimension": dimension, "Quantity": 5}
    return _given({**about, **more})


def by_account(hours: int, account: str = BUYER, **more: Any) -> dict[str, Any]:
    """An account's usage, some hours ago."""
    return used(hours, customer=None, **{"CustomerAWSAccountId": account, **more})


def licensed(hours: int, license_: str = LICENSE, account: str = BUYER, **more: Any) -> dict[str, Any]:
    """Usage under a license, some hours ago."""
    return by_account(hours, account, LicenseArn=license_, **more)


def tagged(quantity: int, *tags: tuple[str, str]) -> dict[str, Any]:
    """A part of a quantity, with its tags."""
    return {"AllocatedUsageQuantity": quantity, "Tags": [{"Key": key, "Value": value} for key, value in tags]}


def allocated(*allocations: Record, hours: int = 4) -> dict[str, Any]:
    """A batch of one record of quantity 10, split up."""
    return concurrent(licensed(hours, Quantity=10, UsageAllocations=list(allocations)))


def in_decimals(hours: int, quantity: str, **more: Any) -> dict[str, Any]:
    """A batch of one record with a decimal quantity."""
    return concurrent(licensed(hours, **{"Quantity": None, "QuantityAsDecimal": quantity, **more}))


FIRST: Final = legacy(used(0), used(0, "storage", Quantity=7))
SUCCESS: Final = "Success"
CONFLICT: Final = "DuplicateRecord"
NOT_SUBSCRIBED: Final = "CustomerNotSubscribed"
EUROPE: Final = "eu-west-1"
TENTHS: Final = [
    {"AllocatedUsageQuantityAsDecimal": "0.1", "Tags": [{"Key": "team", "Value": "a"}]},
    {"AllocatedUsageQuantityAsDecimal": "0.2"},
]
TEAMS: Final = [tagged(4, ("team", "a")), tagged(6, ("team", "b"), ("cost centre", "x+y-z=._:/@"))]

BATCHES: Final = [
    Row("first usage", BATCH, FIRST, [SUCCESS, SUCCESS]),
    Row("the same again", BATCH, FIRST, [SUCCESS, SUCCESS], "first usage"),
    Row(
        "the same by account",
        BATCH,
        legacy(by_account(0), by_account(0, Dimension="storage", Quantity=7)),
        [SUCCESS, SUCCESS],
        "first usage",
    ),
    Row("temporary credentials", BATCH, FIRST, [SUCCESS, SUCCESS], "first usage", TEMPORARY_KEYS),
    Row("a narrow policy", BATCH, FIRST, [SUCCESS, SUCCESS], "first usage", BATCH_ONLY_KEYS),
    Row("another quantity", BATCH, legacy(used(0, Quantity=6)), [CONFLICT]),
    Row("another Region", BATCH, legacy(used(0, Quantity=6)), [SUCCESS], region=EUROPE),
    Row("a product of one Region", BATCH, legacy(by_account(0), product=EUROPEAN), [SUCCESS], region=EUROPE),
    Row(
        "one key three times",
        BATCH,
        legacy(*(used(1, "storage", Quantity=quantity) for quantity in (4, 4, 5))),
        [SUCCESS, SUCCESS, CONFLICT],
    ),
    Row("25 records", BATCH, legacy(*[used(2, "storage")] * 25), [SUCCESS] * 25),
    Row("no records", BATCH, legacy(), []),
    Row("no quantity", BATCH, legacy(used(2, Quantity=None)), [SUCCESS]),
    Row("a quantity of 0", BATCH, legacy(used(2, Quantity=0)), [SUCCESS], "no quantity"),
    Row("the largest quantity", BATCH, legacy(used(3, Quantity=2_147_483_647)), [SUCCESS]),
    Row(
        "a fraction of a second",
        BATCH,
        legacy(used(0, Timestamp=hours_ago(0) + 0.25), used(0, "storage", Quantity=7)),
        [SUCCESS, SUCCESS],
        "first usage",
    ),
    Row("by license", BATCH, concurrent(licensed(1, Quantity=3)), [SUCCESS]),
    Row("the same in decimals", BATCH, in_decimals(1, "3.00"), [SUCCESS], "by license"),
    Row("decimals", BATCH, in_decimals(0, "17.500001"), [SUCCESS]),
    Row("other decimals", BATCH, in_decimals(0, "17.500002"), [CONFLICT]),
    Row("allocations", BATCH, allocated(*TEAMS, hours=2), [SUCCESS]),
    Row("decimal allocations", BATCH, in_decimals(3, "0.30", UsageAllocations=TENTHS), [SUCCESS]),
    Row(
        "an allocation without tags",
        BATCH,
        allocated({"AllocatedUsageQuantity": 10}, hours=2),
        [SUCCESS],
        "allocations",
    ),
    Row("a former customer", BATCH, legacy(used(0), used(0, customer=FORMER_CUSTOMER)), [SUCCESS, NOT_SUBSCRIBED]),
    Row("a suspended customer", BATCH, legacy(used(0, customer=SUSPENDED_CUSTOMER)), [NOT_SUBSCRIBED]),
    Row("an account that never bought", BATCH, legacy(by_account(0, STRANGER)), [NOT_SUBSCRIBED]),
    Row("a pending license", BATCH, concurrent(licensed(0, COMING_LICENSE, COMING_BUYER)), [NOT_SUBSCRIBED]),
]

ABOUT_LEGACY: Final = {
    "CustomerIdentifier": CUSTOMER,
    "ProductCode": LEGACY,
    "CustomerAWSAccountId": BUYER,
    "LicenseArn": license_arn(1),
    "Metadata": {"AgreementId": "agmt-legacy"},
}
ABOUT_CONCURRENT: Final = {
    "ProductCode": CONCURRENT,
    "CustomerAWSAccountId": BUYER,
    "LicenseArn": LICENSE,
    "Metadata": {"AgreementId": "agmt-concurrent"},
}


def token(text: str) -> dict[str, Any]:
    """A request to resolve a token."""
    return {"RegistrationToken": text}


RESOLVED: Final = [
    Row("a token", RESOLVE, token(TOKEN), ABOUT_LEGACY),
    Row("a token again", RESOLVE, token(TOKEN), ABOUT_LEGACY, keys=RESOLVE_ONLY_KEYS),
    Row("a token of a concurrent product", RESOLVE, token(CONCURRENT_TOKEN), ABOUT_CONCURRENT, region=EUROPE),
]


def _refused(name: str, request: Mapping[str, Any], code: str, **more: Any) -> Row:
    return Row(name, BATCH, request, Refused(code), **more)


def _unresolved(name: str, text: str, code: str, status: int = 400, **more: Any) -> Row:
    return Row(name, RESOLVE, token(text), Refused(code, status), **more)


def _with_tags(*tags: tuple[str, str]) -> dict[str, Any]:
    return allocated(tagged(10, *tags))


REFUSED: Final = [
    # Before the body is read
    _unresolved("a body too large", "t" * 1_048_576, "RequestEntityTooLargeException", 413),
    _refused(
        "an unknown operation",
        FIRST,
        "UnknownOperationException",
        headers={"X-Amz-Target": "AWSMPMeteringService.Bill"},
    ),
    _refused("unsigned", FIRST, "MissingAuthenticationTokenException", headers={"Authorization": None}),
    _refused("another scheme", FIRST, "IncompleteSignatureException", headers={"Authorization": "Bearer a.b.c"}),
    _refused("an unknown key", FIRST, "UnrecognizedClientException", keys=replace(KEYS, access_key_id="AKIDNOBODY")),
    _refused(
        "temporary credentials without their token",
        FIRST,
        "UnrecognizedClientException",
        keys=replace(TEMPORARY_KEYS, session_token=None),
    ),
    _refused("another secret", FIRST, "InvalidSignatureException", keys=replace(KEYS, secret_access_key="no secret")),
    _refused("expired credentials", FIRST, "ExpiredTokenException", keys=EXPIRED_KEYS),
    _unresolved("expired credentials, resolving", TOKEN, "ExpiredTokenException", keys=EXPIRED_KEYS),
    _refused("a policy that denies", FIRST, "AccessDeniedException", keys=RESOLVE_ONLY_KEYS),
    _unresolved("a policy that does not allow", TOKEN, "AccessDeniedException", keys=BATCH_ONLY_KEYS),
    # Syntax and constraints
    _refused("a number beyond 64 bits", legacy(used(0, Quantity=2**63)), "SerializationException"),
    _refused("26 records", legacy(*[used(0)] * 26), "ValidationException"),
    _refused("a product code off its pattern", legacy(used(0), product="käse"), "ValidationException"),
    _refused("a quantity beyond 31 bits", legacy(used(0, Quantity=2**31)), "ValidationException"),
    _refused("a negative quantity", legacy(used(0, Quantity=-1)), "ValidationException"),
    _refused("an empty dimension", legacy(used(0, "")), "ValidationException"),
    _refused("no timestamp", legacy(used(0, Timestamp=None)), "ValidationException"),
    _refused("no list of records", {"ProductCode": LEGACY}, "ValidationException"),
    _refused("decimals off their pattern", in_decimals(0, "1e3"), "ValidationException"),
    _unresolved("an empty token", "", "ValidationException"),
    # The rules
    _refused("whole and decimal", in_decimals(0, "5", Quantity=5), "ValidationException"),
    _refused("two names of a customer", legacy(used(0, CustomerAWSAccountId=BUYER)), "ValidationException"),
    _refused("no name of a customer", legacy(used(0, customer=None)), "ValidationException"),
    _refused("neither product nor license", concurrent(used(0)), "ValidationException"),
    _refused("a Region not served", FIRST, "DisabledApiException", region="ap-southeast-2"),
    _unresolved("a Region not served, resolving", TOKEN, "DisabledApiException", region="ap-southeast-2"),
    _refused("a Region that the product leaves out", legacy(by_account(0), product=EUROPEAN), "DisabledApiException"),
    _refused("an unknown product", legacy(used(0), product="nothing"), "InvalidProductCodeException"),
    _refused("another seller's product", legacy(used(0), product=FOREIGN), "InvalidProductCodeException"),
    _refused(
        "a concurrent product by its code", legacy(by_account(0), product=CONCURRENT), "InvalidProductCodeException"
    ),
    _refused("an unknown license", concurrent(licensed(0, license_arn(99))), "InvalidLicenseException"),
    _refused("a license off its pattern", concurrent(licensed(0, "agmt-legacy")), "InvalidLicenseException"),
    _refused("another seller's license", concurrent(licensed(0, FOREIGN_LICENSE)), "InvalidLicenseException"),
    _refused("another customer's license", concurrent(licensed(0, OTHER_LICENSE)), "InvalidLicenseException"),
    _refused("a license of the past", concurrent(licensed(0, FORMER_LICENSE, FORMER_BUYER)), "InvalidLicenseException"),
    _refused("an unknown customer", legacy(used(0, customer="X99")), "InvalidCustomerIdentifierException"),
    _refused("an unknown dimension", legacy(used(0, "seats")), "InvalidUsageDimensionException"),
    _refused("yesterday", legacy(used(0), used(25)), "TimestampOutOfBoundsException"),
    _refused("the future", legacy(used(-1)), "TimestampOutOfBoundsException"),
    _refused("a reserved tag", _with_tags(("aws:team", "a")), "InvalidTagException"),
    _refused("a tag off its pattern", _with_tags(("team", "käse")), "InvalidTagException"),
    _refused("a tag key twice", _with_tags(("team", "a"), ("team", "b")), "InvalidTagException"),
    _refused("6 tags", _with_tags(*((f"tag{n}", "a") for n in range(6))), "InvalidTagException"),
    _refused("no tags in a list of them", _with_tags(), "InvalidTagException"),
    _refused("allocations that add up to less", allocated(tagged(9, ("a", "b"))), "InvalidUsageAllocationsException"),
    _refused(
        "the same tags twice",
        allocated(tagged(5, ("a", "1"), ("b", "2")), tagged(5, ("b", "2"), ("a", "1"))),
        "InvalidUsageAllocationsException",
    ),
    _refused("no allocations in a list of them", allocated(), "InvalidUsageAllocationsException"),
    _refused(
        "decimal allocations of a whole quantity",
        allocated({"AllocatedUsageQuantityAsDecimal": "10"}),
        "InvalidUsageAllocationsException",
    ),
    _unresolved("an unknown token", "no such token", "InvalidTokenException"),
    _unresolved("another seller's token", FOREIGN_TOKEN, "InvalidTokenException"),
    _unresolved("another seller asks", TOKEN, "InvalidTokenException", keys=OTHER_KEYS),
    _unresolved("a token of two years ago", STALE_TOKEN, "ExpiredTokenException"),
]

ROWS: Final = [
    *BATCHES,
    *RESOLVED,
    *REFUSED,
    Row("nothing of that was kept", BATCH, FIRST, [SUCCESS, SUCCESS], "first usage"),
]
"""All of them, in the order in which they are said."""
