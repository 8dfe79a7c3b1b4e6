"""What can come of a record and of a request.

Two kinds of answer, never mixed. An *outcome* is a value beside each record of a request that was accepted. A *fault*
refuses a request: it is raised once, by the step that finds it, and translated once, at the wire. Anything else that is
raised is a bug.

Both enums stand in order of precedence, highest first; `docs/outcomes.md` repeats that order and a test holds the two
against each other.
"""

from enum import IntEnum, StrEnum
from typing import Final


class Outcome(StrEnum):
    """What became of one record of a BatchMeterUsage request that was accepted (contract §4, per-record status).

    The value is our word for it; `status` is the wire's. Two of our words share a status: a seller must be able to tell
    a replay from a first acceptance in the log, while AWS's clients see `Success` for both.
    """

    REPLAYED = "replayed"
    """The same key with the same quantity is kept already: the same MeteringRecordId is answered, nothing is added."""
    NOT_SUBSCRIBED = "not subscribed"
    """The customer has no agreement that takes usage of this time now; nothing is kept."""
    CONFLICTED = "conflicted"
    """The same key is kept with another quantity: the first stays, nothing is added."""
    ACCEPTED = "accepted"
    """A new record, kept."""


class FaultCode(StrEnum):
    """Every name under which a request can be refused; the value is the wire's `__type`.

    In order of precedence as far as operations share it: HTTP, protocol, authentication, policy, throttle, syntax,
    constraints, then the rules of the operations (contract §1, "order in which faults are judged").
    """

    REQUEST_ENTITY_TOO_LARGE = "RequestEntityTooLargeException"
    UNKNOWN_OPERATION = "UnknownOperationException"
    MISSING_AUTHENTICATION_TOKEN = "MissingAuthenticationTokenException"
    INCOMPLETE_SIGNATURE = "IncompleteSignatureException"
    UNRECOGNIZED_CLIENT = "UnrecognizedClientException"
    INVALID_SIGNATURE = "InvalidSignatureException"
    EXPIRED_TOKEN = "ExpiredTokenException"
    ACCESS_DENIED = "AccessDeniedException"
    THROTTLING = "ThrottlingException"
    SERIALIZATION = "SerializationException"
    VALIDATION = "ValidationException"
    INTERNAL_SERVICE_ERROR = "InternalServiceErrorException"
    SERVICE_UNAVAILABLE = "ServiceUnavailable"
    PLATFORM_NOT_SUPPORTED = "PlatformNotSupportedException"
    DISABLED_API = "DisabledApiException"
    INVALID_ENDPOINT_REGION = "InvalidEndpointRegionException"
    INVALID_REGION = "InvalidRegionException"
    INVALID_TOKEN = "InvalidTokenException"
    INVALID_PRODUCT_CODE = "InvalidProductCodeException"
    INVALID_LICENSE = "InvalidLicenseException"
    INVALID_PUBLIC_KEY_VERSION = "InvalidPublicKeyVersionException"
    CUSTOMER_NOT_ENTITLED = "CustomerNotEntitledException"
    UNAUTHORIZED = "UnauthorizedException"
    INVALID_CUSTOMER_IDENTIFIER = "InvalidCustomerIdentifierException"
    INVALID_USAGE_DIMENSION = "InvalidUsageDimensionException"
    TIMESTAMP_OUT_OF_BOUNDS = "TimestampOutOfBoundsException"
    INVALID_TAG = "InvalidTagException"
    INVALID_USAGE_ALLOCATIONS = "InvalidUsageAllocationsException"
    IDEMPOTENCY_CONFLICT = "IdempotencyConflictException"
    DUPLICATE_REQUEST = "DuplicateRequestException"
    DRY_RUN_OPERATION = "DryRunOperation"


class Fault(Exception):
    """A request is refused: `code` is the wire's name for why, `message` one sentence for people.

    Raised by the step that finds it and translated to bytes in one place (`wire/faults.py`). Never carries a secret.
    """

    def __init__(self, code: FaultCode, message: str) -> None:
        super().__init__(code, message)
        self.code = code
        self.message = message

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


class Step(IntEnum):
    """The steps in which the rules of an operation judge a request, first to last (contract §1, the table of orders).

    A step is finished for all records before the next begins; within one step the first record in request order
    decides. So of the faults that the records of a request have, the least by (step, index) is the answer.
    """

    COMBINATION = 1
    PLATFORM = 2
    REGION = 3
    PRODUCT = 4
    PRODUCT_REGION = 5
    CUSTOMER = 6
    LICENSE_CUSTOMER = 7
    KEY_VERSION = 8
    ENTITLEMENT = 9
    DIMENSION = 10
    WINDOW = 11
    LICENSE_PERIOD = 12
    TAGS = 13
    ALLOCATIONS = 14
    CLIENT_TOKEN = 15
    KEY = 16


SUCCESS: Final = "Success"

STATUS_OF_OUTCOME: Final = {
    Outcome.REPLAYED: SUCCESS,
    Outcome.NOT_SUBSCRIBED: "CustomerNotSubscribed",
    Outcome.CONFLICTED: "DuplicateRecord",
    Outcome.ACCEPTED: SUCCESS,
}
"""The wire's `Status` of each outcome (a product may answer a replay as DuplicateRecord: `identical_repeat`)."""
