"""Every way in which a call can fail, as one tree.

    MeteringError
    ├── ServiceError                     the service answered, and the answer is an error
    │   ├── RefusedError                 about what was said
    │   │   ├── CustomerNotEntitledException            MeterUsage, RegisterUsage
    │   │   ├── DisabledApiException                    BatchMeterUsage, RegisterUsage, ResolveCustomer
    │   │   ├── DryRunOperation                         MeterUsage with dry_run, on some products: it would be allowed
    │   │   ├── DuplicateRequestException               MeterUsage
    │   │   ├── ExpiredTokenException                   ResolveCustomer: the registration token
    │   │   ├── IdempotencyConflictException            MeterUsage
    │   │   ├── InvalidCustomerIdentifierException      BatchMeterUsage
    │   │   ├── InvalidEndpointRegionException          MeterUsage
    │   │   ├── InvalidLicenseException                 BatchMeterUsage
    │   │   ├── InvalidProductCodeException             BatchMeterUsage, MeterUsage, RegisterUsage
    │   │   ├── InvalidPublicKeyVersionException        RegisterUsage
    │   │   ├── InvalidRegionException                  RegisterUsage
    │   │   ├── InvalidTagException                     BatchMeterUsage, MeterUsage
    │   │   ├── InvalidTokenException                   ResolveCustomer
    │   │   ├── InvalidUsageAllocationsException        BatchMeterUsage, MeterUsage
    │   │   ├── InvalidUsageDimensionException          BatchMeterUsage, MeterUsage
    │   │   ├── PlatformNotSupportedException           MeterUsage, RegisterUsage
    │   │   ├── TimestampOutOfBoundsException           BatchMeterUsage, MeterUsage
    │   │   ├── RequestEntityTooLargeException          any operation, as those below
    │   │   ├── SerializationException
    │   │   ├── UnknownOperationException
    │   │   └── ValidationException
    │   ├── AccessError                  about who said it
    │   │   ├── AccessDeniedException
    │   │   ├── ExpiredCredentialsException             the wire's ExpiredTokenException, where it means credentials
    │   │   ├── IncompleteSignatureException
    │   │   ├── InvalidSignatureException
    │   │   ├── MissingAuthenticationTokenException
    │   │   ├── OptInRequiredException
    │   │   ├── UnauthorizedException
    │   │   └── UnrecognizedClientException
    │   └── ServiceFailedError           about the service; worth trying again
    │       ├── InternalServiceErrorException
    │       ├── RequestTimeoutException
    │       ├── ServiceUnavailableException
    │       └── ThrottlingException
    ├── TransportError                   no answer came; worth trying again
    │   ├── AnswerTimeoutError           none in time: what was sent may be kept
    │   ├── ConnectError                 no connection: nothing was sent
    │   ├── ConnectionLostError          lost midway: what was sent may be kept
    │   └── UnreadableAnswerError        what came is no answer: what was sent may be kept
    ├── DeadlineExceededError            the time given to the whole call is over
    ├── InvalidRequestError              refused here, and never sent
    ├── ConfigurationError               Region, endpoint, profile file
    │   └── CredentialsError             no credentials, or they could not be renewed
    ├── RecordsRejectedError             some records of a batch were not accepted: it names them all
    └── InvalidRegistrationSignatureError           RegisterUsage's JWT is not what it should be

Each has `code` (the wire's name where there is one, else the class's), `message`, `request_id`, `status` (HTTP's) and
`retryable`: whether the same bytes may succeed later. A class that the wire calls by several names lists them in
`codes`; the first is what AWS's model calls it, and the class has that name too, save `ExpiredCredentialsException`:
AWS gives one name to two errors, an expired registration token and expired credentials (see `of_answer`).
"""

from typing import ClassVar, Final


class MeteringError(Exception):
    """Whatever goes wrong in a call: catch this one to catch all. `str()` gives code and message."""

    retryable: bool = False
    """Whether the same request, sent again later, may succeed."""
    may_be_kept: bool = False
    """Whether the service may have kept what was sent, although no answer says so. Sending it again is safe: it has the
    same key (contract §4, "Replay").
    """

    def __init__(
        self, message: str, *, code: str | None = None, status: int | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or type(self).__name__
        self.status = status
        self.request_id = request_id

    def __str__(self) -> str:
        return f"{self.code}: {self.message}" if self.message else self.code

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by their positional arguments; these have keyword ones.
        return (_restored, (type(self), self.args, self.__dict__))


def _restored(kind: type[MeteringError], args: tuple[object, ...], state: dict[str, object]) -> MeteringError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(state)
    return error


class ServiceError(MeteringError):
    """The service answered with an error. Of this class itself: an error that has no class of its own here."""

    codes: ClassVar[tuple[str, ...]] = ()
    """The names under which the wire knows this error, the model's first."""

    def __init_subclass__(cls) -> None:
        for code in cls.__dict__.get("codes", ()):
            _CLASS_OF_CODE[code] = cls


_CLASS_OF_CODE: Final[dict[str, type[ServiceError]]] = {}


# --- about what was said ----------------------------------------------------------------------------------------------


class RefusedError(ServiceError):
    """The request is refused for what it says. For BatchMeterUsage: none of its records is kept."""


class CustomerNotEntitledException(RefusedError):
    """The buyer whose workload called has no subscription to the product (contract §6, §7)."""

    codes = ("CustomerNotEntitledException",)


class DisabledApiException(RefusedError):
    """The operation, or the product, is not served in this Region (contract §9)."""

    codes = ("DisabledApiException",)


class DryRunOperation(RefusedError):
    """A dry run that would have been allowed; only of products that answer so (contract §6, `dry_run = "literal"`)."""

    codes = ("DryRunOperation",)


class DuplicateRequestException(RefusedError):
    """The workload's hour is kept with another quantity; the first stays (contract §6)."""

    codes = ("DuplicateRequestException",)


class ExpiredTokenException(RefusedError):
    """The registration token is 4 hours old or more (contract §8)."""

    codes = ("ExpiredTokenException",)


class IdempotencyConflictException(RefusedError):
    """The ClientToken was used before, with other parameters (contract §6)."""

    codes = ("IdempotencyConflictException",)


class InvalidCustomerIdentifierException(RefusedError):
    """A CustomerIdentifier is no customer of this seller's product (contract §4)."""

    codes = ("InvalidCustomerIdentifierException",)


class InvalidEndpointRegionException(RefusedError):
    """MeterUsage must go to the Region of the workload (contract §6, §9)."""

    codes = ("InvalidEndpointRegionException",)


class InvalidLicenseException(RefusedError):
    """A LicenseArn is unknown, another customer's or product's, malformed, or outside its period (contract §4)."""

    codes = ("InvalidLicenseException",)


class InvalidProductCodeException(RefusedError):
    """The ProductCode is no product that this caller may meter in this form (contract §4)."""

    codes = ("InvalidProductCodeException",)


class InvalidPublicKeyVersionException(RefusedError):
    """The product has no key of this version (contract §7)."""

    codes = ("InvalidPublicKeyVersionException",)


class InvalidRegionException(RefusedError):
    """RegisterUsage must go to the Region of the task or pod (contract §7)."""

    codes = ("InvalidRegionException",)


class InvalidTagException(RefusedError):
    """A tag is malformed, reserved or given twice, or there are more than 5 (contract §5)."""

    codes = ("InvalidTagException",)


class InvalidTokenException(RefusedError):
    """The registration token is unknown, or another seller's (contract §8)."""

    codes = ("InvalidTokenException",)


class InvalidUsageAllocationsException(RefusedError):
    """The allocations do not add up to the quantity, mix its kinds, repeat tags, or are too many (contract §5)."""

    codes = ("InvalidUsageAllocationsException",)


class InvalidUsageDimensionException(RefusedError):
    """The product has no such dimension (contract §4)."""

    codes = ("InvalidUsageDimensionException",)


class PlatformNotSupportedException(RefusedError):
    """What called does not run where this operation can be called from (contract §6, §7)."""

    codes = ("PlatformNotSupportedException",)


class TimestampOutOfBoundsException(RefusedError):
    """A timestamp is too old, too far ahead, or of a month that is closed (contract §4, "Time")."""

    codes = ("TimestampOutOfBoundsException",)


class RequestEntityTooLargeException(RefusedError):
    """The body is 1 MiB or more (contract §1)."""

    codes = ("RequestEntityTooLargeException", "RequestEntityTooLarge")


class SerializationException(RefusedError):
    """The body is no JSON object of the operation's form (contract §1)."""

    codes = ("SerializationException",)


class UnknownOperationException(RefusedError):
    """The service has no such operation: most often the endpoint is another service's (contract §1)."""

    codes = ("UnknownOperationException", "InvalidAction")


class ValidationException(RefusedError):
    """Constraints are breached; the message lists all of them (contract §1)."""

    codes = ("ValidationException", "ValidationError")


# --- about who said it ------------------------------------------------------------------------------------------------


class AccessError(ServiceError):
    """The request is refused for who signed it, or how. No record is to blame."""


class AccessDeniedException(AccessError):
    """The principal's policy does not allow the operation (contract §1)."""

    codes = ("AccessDeniedException", "AccessDenied", "NotAuthorized")


class ExpiredCredentialsException(AccessError):
    """The temporary credentials have expired. On the wire: ExpiredTokenException (contract §1)."""

    codes = ("ExpiredToken",)


class IncompleteSignatureException(AccessError):
    """A part of the signature is missing or malformed (contract §1)."""

    codes = ("IncompleteSignatureException", "IncompleteSignature")


class InvalidSignatureException(AccessError):
    """The signature differs, or its Region, service or time is wrong (contract §1)."""

    codes = ("InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed")


class MissingAuthenticationTokenException(AccessError):
    """Nothing was signed at all (contract §1)."""

    codes = ("MissingAuthenticationTokenException", "MissingAuthenticationToken")


class OptInRequiredException(AccessError):
    """The account is not subscribed to the service, or the Region is not enabled for it."""

    codes = ("OptInRequiredException", "OptInRequired")


class UnauthorizedException(AccessError):
    """A dry run that would not have been allowed; only of products that answer so (contract §6, "DryRun")."""

    codes = ("UnauthorizedException", "UnauthorizedOperation")


class UnrecognizedClientException(AccessError):
    """The access key is unknown, or the session token is not its own (contract §1)."""

    codes = ("UnrecognizedClientException", "InvalidClientTokenId")


# --- about the service ------------------------------------------------------------------------------------------------


class ServiceFailedError(ServiceError):
    """The service could not; nothing is wrong with the request. Of this class itself: any other HTTP 5xx. Worth trying
    again but for an HTTP status that stays (501, 505).
    """


class InternalServiceErrorException(ServiceFailedError):
    """A failure within the service (contract §1)."""

    codes = ("InternalServiceErrorException", "InternalFailure", "InternalServerError")


class RequestTimeoutException(ServiceFailedError):
    """The service waited too long for the request to come in whole."""

    codes = ("RequestTimeoutException", "RequestTimeout")


class ServiceUnavailableException(ServiceFailedError):
    """The service is too busy, or its ledger is (contract §1)."""

    codes = ("ServiceUnavailableException", "ServiceUnavailable")


class ThrottlingException(ServiceFailedError):
    """The account calls more often than it may (contract §9: 10 BatchMeterUsage a second)."""

    codes = (
        "ThrottlingException",
        "Throttling",
        "ThrottledException",
        "RequestThrottledException",
        "TooManyRequestsException",
        "RequestLimitExceeded",
        "BandwidthLimitExceeded",
        "LimitExceededException",
        "RequestThrottled",
        "SlowDown",
        "PriorRequestNotComplete",
    )


# --- no answer --------------------------------------------------------------------------------------------------------


class TransportError(MeteringError):
    """No answer came. Transports raise the classes below; `str()` says what the network said."""

    retryable = True


class AnswerTimeoutError(TransportError):
    """The connection stood, and no whole answer came in time."""

    may_be_kept = True


class ConnectError(TransportError):
    """No connection could be made (refused, no such host, timed out, TLS): nothing was sent."""


class ConnectionLostError(TransportError):
    """The connection ended before the answer was whole."""

    may_be_kept = True


class UnreadableAnswerError(TransportError):
    """What came is no answer of this service's: broken HTTP, broken JSON, or JSON of another form."""

    may_be_kept = True


# --- what never left --------------------------------------------------------------------------------------------------


class DeadlineExceededError(MeteringError):
    """The time that the caller gave to the call is over. `may_be_kept` says whether a request was under way."""

    retryable = True

    def __init__(self, message: str, *, may_be_kept: bool = False) -> None:
        super().__init__(message)
        self.may_be_kept = may_be_kept


class InvalidRequestError(MeteringError):
    """What was to be said breaks the API's own rules, so it was not sent. The message lists every breach."""


class ConfigurationError(MeteringError):
    """Region, endpoint or profile file: the call cannot be addressed."""


class CredentialsError(ConfigurationError):
    """There is nothing to sign with: no credentials were found, or where they come from gave none."""


class InvalidRegistrationSignatureError(MeteringError):
    """RegisterUsage's JWT was not signed by this key, or is for another product, key version or nonce."""


# --- from an answer ---------------------------------------------------------------------------------------------------

SKEW_CODES: Final = frozenset(
    {"InvalidSignatureException", "SignatureDoesNotMatch", "RequestExpired", "RequestTimeTooSkewed", "AuthFailure"}
)
"""Names under which a service may say that the caller's clock is wrong."""

_TRANSIENT_STATUSES: Final = frozenset({500, 502, 503, 504})
"""Whatever the name beside them; as the SDKs have it."""
_TOO_MANY_REQUESTS: Final = 429
_SERVER_ERRORS: Final = 500


def of_answer(operation: str, code: str, message: str, status: int, request_id: str | None) -> ServiceError:
    """The error that an answer says. `code` is bare (no namespace, no URI); empty where the answer names none.

    The one name that means two things: ExpiredTokenException is a registration token's only in an answer to
    ResolveCustomer, and even there not where it speaks of the request's own security token.
    """
    kind = _CLASS_OF_CODE.get(code)
    if kind is ExpiredTokenException and (operation != "ResolveCustomer" or "included in the request" in message):
        kind = ExpiredCredentialsException
    if kind is None:
        kind = _class_of_status(status)
    error = kind(message, code=code or str(status), status=status, request_id=request_id)
    error.retryable = status in _TRANSIENT_STATUSES or kind in (RequestTimeoutException, ThrottlingException)
    error.may_be_kept = status >= _SERVER_ERRORS
    return error


def _class_of_status(status: int) -> type[ServiceError]:
    if status == _TOO_MANY_REQUESTS:
        return ThrottlingException
    return ServiceFailedError if status >= _SERVER_ERRORS else ServiceError


def class_of(code: str) -> type[ServiceError] | None:
    """The class of a wire's error name; None where it has none of its own."""
    return _CLASS_OF_CODE.get(code)
