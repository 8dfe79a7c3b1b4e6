"""Every error of every operation, brought about at a running server, arrives at our own client as its class.

What an operation can be answered is read from `docs/outcomes.md`, which the service's rules are held to: an error
without a row here fails `test_every_error_of_every_operation_has_a_row`. What is said goes through the typed methods
where these let it pass, and through `call` where they would refuse it themselves.
"""

import asyncio
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec
import pytest

import meterhouse
from meterhouse.client.asyncio_transport import AsyncSocketTransport
from meterhouse.client.client import AsyncMeteringClient, MeteringClient
from meterhouse.client.errors import (
    AnswerTimeoutError,
    ConnectError,
    ConnectionLostError,
    CredentialsError,
    MeteringError,
    ServiceError,
    ServiceFailedError,
    TransportError,
)
from meterhouse.client.records import UsageAllocation, UsageRecord
from meterhouse.client.registration import verify_registration_signature
from meterhouse.client.settings import ClientOptions
from meterhouse.client.socket_transport import SocketTransport
from meterhouse.client.transport import HttpAnswer, HttpRequest
from meterhouse.core.profile import OPERATIONS
from meterhouse.wire.keys import SigningCredentials
from tests.documents import code, tables_of
from tests.e2e.control import ask
from tests.e2e.market import (
    BATCH_ONLY_KEYS,
    BUYER,
    CATALOG,
    EUROPEAN,
    EXPIRED_KEYS,
    KEYS,
    LEGACY,
    RESOLVE_ONLY_KEYS,
    SELLER,
    STALE_TOKEN,
    TOKEN,
    license_arn,
)
from tests.e2e.serving import Server
from tests.e2e.workloads import ADMIN, start

BOX: Final = "b1o2x3c4o5n6t7a8i9n0e1r2s"
LITERAL: Final = "l1i2t3e4r5a6l7d8r9y0r1u2n"
NOT_BOUGHT: Final = "n1o2t3b4o5u6g7h8t9b0o1x2x"

_ABOUT_BOX: Final = f"""
type = "container"
seller = "{SELLER}"
hourly_price = "0.12"
[[products.dimensions]]
key = "requests"
unit = "Requests"
price = "0.001"
"""
BOXES: Final = f"""
[[products]]
code = "{BOX}"
name = "A box"
{_ABOUT_BOX}
[[products]]
code = "{LITERAL}"
name = "A box whose dry runs are answered in AWS's own words"
dry_run = "literal"
{_ABOUT_BOX}
[[products]]
code = "{NOT_BOUGHT}"
name = "A box that nobody bought"
dry_run = "literal"
{_ABOUT_BOX}
[[agreements]]
product = "{BOX}"
buyer = "{BUYER}"
start = 2024-01-01T00:00:00Z
[[agreements]]
product = "{LITERAL}"
buyer = "{BUYER}"
start = 2024-01-01T00:00:00Z
"""

# --- what is said -----------------------------------------------------------------------------------------------------

Saying = Callable[[Any], Any]
"""A call of a client: what it answers, or what answers once it is awaited."""


def used(**more: Any) -> UsageRecord:
    """A customer's usage of this hour."""
    names = {} if "customer_identifier" in more else {"customer_aws_account_id": BUYER}
    return UsageRecord(**{"timestamp": datetime.now(UTC), "dimension": "users", "quantity": 5, **names, **more})


def batch(product_code: str = LEGACY, **more: Any) -> Saying:
    """A batch of one record."""
    return lambda client: client.batch_meter_usage_once([used(**more)], product_code=product_code)


def meter(**more: Any) -> Saying:
    """A MeterUsage of this hour."""
    usual = {"product_code": BOX, "usage_dimension": "requests", "usage_quantity": 5}
    return lambda client: client.meter_usage(**{"timestamp": datetime.now(UTC), **usual, **more})


def register(**more: Any) -> Saying:
    """A RegisterUsage."""
    return lambda client: client.register_usage(**{"product_code": BOX, "public_key_version": 1, **more})


def resolve(token: str = TOKEN) -> Saying:
    """A ResolveCustomer."""
    return lambda client: client.resolve_customer(token)


def raw(operation: str, said: Mapping[str, Any]) -> Saying:
    """What the typed methods would not send."""
    return lambda client: client.call(operation, said)


def raw_batch(**more: Any) -> Saying:
    """A batch of one record that breaks a rule which the client knows too."""
    record = {"Timestamp": datetime.now(UTC), "Dimension": "users", "CustomerAWSAccountId": BUYER, "Quantity": 5}
    return raw("BatchMeterUsage", {"ProductCode": LEGACY, "UsageRecords": [{**record, **more}]})


def raw_meter(**more: Any) -> Saying:
    """A MeterUsage that breaks a rule which the client knows too."""
    usual = {"ProductCode": BOX, "Timestamp": datetime.now(UTC), "UsageDimension": "requests", "UsageQuantity": 5}
    return raw("MeterUsage", {**usual, **more})


USUAL: Final = {
    "BatchMeterUsage": batch(),
    "MeterUsage": meter(),
    "RegisterUsage": register(),
    "ResolveCustomer": resolve(),
}
"""A call of each operation that is accepted."""
BY_WORKLOADS: Final = frozenset({"MeterUsage", "RegisterUsage"})
ENDED: Final = "ended"
"""For `platform`: a task that has ended."""


class Row(NamedTuple):
    """How an error is brought about."""

    operation: str
    code: str
    """On the wire."""
    said: Saying
    before: Saying | None = None
    """What is said first, and accepted."""
    keys: SigningCredentials | None = None
    """Who says it. None: the seller, or a new workload on `platform`."""
    platform: str = "fargate"
    region: str = "us-east-1"
    workload_region: str = "us-east-1"
    headers: Mapping[str, str | None] = {}
    """Headers to set when the request has been signed; None takes one away."""
    fault: str | None = None
    """Injected through the control API."""
    class_name: str | None = None
    """Where AWS's name is not the class's."""

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.operation}-{self.code}{f'-{self.fault}' if self.fault else ''}"


def _shared(operation: str) -> Iterator[Row]:
    usual = USUAL[operation]
    denied = RESOLVE_ONLY_KEYS if operation == "BatchMeterUsage" else BATCH_ONLY_KEYS
    strange = {"Unknown": "x" * 1_048_576}
    wrong = {"ProductCode": 5, "RegistrationToken": 5}
    expired = {"platform": ENDED} if operation in BY_WORKLOADS else {"keys": EXPIRED_KEYS}
    yield Row(operation, "RequestEntityTooLargeException", raw(operation, strange))
    yield Row(
        operation,
        "UnknownOperationException",
        usual,
        headers={"X-Amz-Target": "AWSMPMeteringService.Bill"},
    )
    yield Row(operation, "MissingAuthenticationTokenException", usual, headers={"Authorization": None})
    yield Row(operation, "IncompleteSignatureException", usual, headers={"Authorization": "Bearer a.b.c"})
    yield Row(
        operation, "UnrecognizedClientException", usual, keys=msgspec.structs.replace(KEYS, access_key_id="AKIDNOBODY")
    )
    yield Row(
        operation, "InvalidSignatureException", usual, keys=msgspec.structs.replace(KEYS, secret_access_key="no secret")
    )
    yield Row(operation, "ExpiredTokenException", usual, class_name="ExpiredCredentialsException", **expired)
    yield Row(operation, "AccessDeniedException", usual, keys=denied)
    yield Row(operation, "SerializationException", raw(operation, wrong))
    yield Row(operation, "ValidationException", raw(operation, {}))
    yield Row(operation, "ThrottlingException", usual, fault="throttle")
    yield Row(operation, "InternalServiceErrorException", usual, fault="internal")
    yield Row(operation, "ServiceUnavailable", usual, fault="unavailable", class_name="ServiceUnavailableException")


_A_WEEK: Final = timedelta(days=7)
_RESERVED: Final = [{"AllocatedUsageQuantity": 5, "Tags": [{"Key": "aws:team", "Value": "a"}]}]
_LESS: Final = [{"AllocatedUsageQuantity": 4}]

ROWS: Final = [
    *[row for operation in sorted(OPERATIONS) for row in _shared(operation)],
    Row("BatchMeterUsage", "ValidationException", raw_batch(QuantityAsDecimal="5")),
    Row("BatchMeterUsage", "DisabledApiException", batch(), region="ap-southeast-2"),
    Row("BatchMeterUsage", "DisabledApiException", batch(EUROPEAN)),
    Row("BatchMeterUsage", "InvalidProductCodeException", batch("nothing")),
    Row("BatchMeterUsage", "InvalidLicenseException", batch(license_arn=license_arn(99))),
    Row("BatchMeterUsage", "InvalidCustomerIdentifierException", batch(customer_identifier="X99")),
    Row("BatchMeterUsage", "InvalidUsageDimensionException", batch(dimension="seats")),
    Row("BatchMeterUsage", "TimestampOutOfBoundsException", batch(timestamp=datetime.now(UTC) - _A_WEEK)),
    Row("BatchMeterUsage", "InvalidTagException", raw_batch(UsageAllocations=_RESERVED)),
    Row("BatchMeterUsage", "InvalidUsageAllocationsException", raw_batch(UsageAllocations=_LESS)),
    Row("MeterUsage", "ValidationException", raw_meter(UsageQuantityAsDecimal="5")),
    Row("MeterUsage", "PlatformNotSupportedException", meter(), keys=KEYS),
    Row("MeterUsage", "InvalidEndpointRegionException", meter(), workload_region="eu-west-1"),
    Row("MeterUsage", "InvalidProductCodeException", meter(product_code="nothing")),
    Row("MeterUsage", "CustomerNotEntitledException", meter(product_code=NOT_BOUGHT)),
    Row("MeterUsage", "UnauthorizedException", meter(product_code=NOT_BOUGHT, dry_run=True)),
    Row("MeterUsage", "InvalidUsageDimensionException", meter(usage_dimension="hosts")),
    Row("MeterUsage", "TimestampOutOfBoundsException", meter(timestamp=datetime.now(UTC) - _A_WEEK)),
    Row("MeterUsage", "InvalidTagException", raw_meter(UsageAllocations=_RESERVED)),
    Row("MeterUsage", "InvalidUsageAllocationsException", raw_meter(UsageAllocations=_LESS)),
    Row(
        "MeterUsage",
        "IdempotencyConflictException",
        meter(client_token="one", usage_quantity=6),
        before=meter(client_token="one"),
    ),
    Row("MeterUsage", "DuplicateRequestException", meter(usage_quantity=Decimal(6)), before=meter(), platform="ec2"),
    Row("MeterUsage", "DryRunOperation", meter(product_code=LITERAL, dry_run=True)),
    Row("RegisterUsage", "PlatformNotSupportedException", register(), platform="ec2"),
    Row("RegisterUsage", "InvalidRegionException", register(), workload_region="eu-west-1"),
    Row("RegisterUsage", "DisabledApiException", register(product_code=EUROPEAN)),
    Row("RegisterUsage", "InvalidProductCodeException", register(product_code="nothing")),
    Row("RegisterUsage", "InvalidPublicKeyVersionException", register(public_key_version=9)),
    Row("RegisterUsage", "CustomerNotEntitledException", register(product_code=NOT_BOUGHT)),
    Row("ResolveCustomer", "DisabledApiException", resolve(), region="ap-southeast-2"),
    Row("ResolveCustomer", "InvalidTokenException", resolve("no such token")),
    Row("ResolveCustomer", "ExpiredTokenException", resolve(STALE_TOKEN)),
]

_TABLES: Final = tables_of("outcomes.md")


@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_every_error_of_every_operation_has_a_row(operation: str) -> None:
    """What the documents say an operation may be answered, and nothing else, is brought about here."""
    told = {code(fault) for _, fault, _ in (*_TABLES["The way of every request"], *_TABLES[operation])}
    assert {row.code for row in ROWS if row.operation == operation} == told


# --- saying it --------------------------------------------------------------------------------------------------------


def _changed(request: HttpRequest, headers: Mapping[str, str | None]) -> HttpRequest:
    gone = {name.lower().encode() for name in headers}
    kept = [(name, value) for name, value in request.headers if name.lower() not in gone]
    kept += [(name.encode(), value.encode()) for name, value in headers.items() if value is not None]
    return msgspec.structs.replace(request, headers=kept)


class _Changing(SocketTransport):
    def __init__(self, headers: Mapping[str, str | None]) -> None:
        super().__init__()
        self._changes = headers

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        return super().send(_changed(request, self._changes), timeout_seconds)


class _AsyncChanging(AsyncSocketTransport):
    def __init__(self, headers: Mapping[str, str | None]) -> None:
        super().__init__()
        self._changes = headers

    async def send_async(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        return await super().send_async(_changed(request, self._changes), timeout_seconds)


class Way(NamedTuple):
    """A client, and how it is made to say something."""

    name: str
    answer_of: Callable[[Saying, Mapping[str, str | None], Mapping[str, Any]], Any]


def _by_threads(said: Saying, headers: Mapping[str, str | None], settings: Mapping[str, Any]) -> Any:
    with MeteringClient(transport=_Changing(headers), **settings) as client:
        return said(client)


def _by_tasks(said: Saying, headers: Mapping[str, str | None], settings: Mapping[str, Any]) -> Any:
    async def say() -> Any:
        async with AsyncMeteringClient(transport=_AsyncChanging(headers), **settings) as client:
            answer = said(client)
            assert inspect.isawaitable(answer)
            return await answer

    return asyncio.run(say())


WAYS: Final = [Way("threads", _by_threads), Way("tasks", _by_tasks)]


@pytest.fixture(autouse=True)
def _nobody_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the settings of whoever runs the tests."""
    for name in list(os.environ):
        if name.startswith("AWS_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A sandbox of two Regions that verifies signatures, with metadata services."""
    folder = tmp_path_factory.mktemp("errors")
    options = ("--clock", "test", "--imds", "--region", "us-east-1", "--region", "eu-west-1")
    with Server(folder, *options, catalog=CATALOG + BOXES, environment=ADMIN) as running:
        yield running


def _keys_of(server: Server, row: Row) -> SigningCredentials:
    if row.keys is not None:
        return row.keys
    if row.operation not in BY_WORKLOADS:
        return KEYS
    started = start(server, "ecs" if row.platform == ENDED else row.platform, region=row.workload_region)
    if row.platform == ENDED:
        ask(server.port, "POST", f"/workloads/{started['resource_id'].replace('/', '%2F')}/end")
    shown = started["credentials"]
    return SigningCredentials(shown["access_key_id"], shown["secret_access_key"], shown["session_token"])


def _settings(server: Server, row: Row, **options: Any) -> dict[str, Any]:
    return {
        "region": row.region,
        "endpoint_url": server.url,
        "credentials": _keys_of(server, row),
        "options": ClientOptions(max_attempts=1, **options),
    }


def _error_of(way: Way, row: Row, settings: Mapping[str, Any]) -> MeteringError:
    with pytest.raises(MeteringError) as raised:
        way.answer_of(row.said, row.headers, settings)
    return raised.value


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.name))
@pytest.mark.parametrize("row", ROWS, ids=lambda row: str(row.name))
def test_an_error_arrives_as_its_class(server: Server, row: Row, way: Way) -> None:
    """It is of the public class of its name, with AWS's code, HTTP's status, a request id and a message."""
    settings = _settings(server, row)
    if row.before is not None:
        way.answer_of(row.before, {}, settings)
    if row.fault is not None:
        ask(server.port, "POST", "/faults", {"operation": row.operation, "fault": row.fault})
    error = _error_of(way, row, settings)
    assert isinstance(error, ServiceError)
    assert type(error) is getattr(meterhouse, row.class_name or row.code)
    assert (error.code, str(error.status)) == (row.code, _STATUS_OF[row.code])
    assert error.retryable is isinstance(error, ServiceFailedError)
    assert error.request_id
    assert error.message


_STATUS_OF: Final = {code(row[0]): row[1] for row in _TABLES["Every fault and its status"]}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.name))
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
@pytest.mark.parametrize(
    ("fault", "kind"),
    [("disconnect", ConnectionLostError), ("lose_answer", ConnectionLostError), ("delay", AnswerTimeoutError)],
)
def test_an_answer_that_does_not_come_arrives_as_its_class(
    server: Server, operation: str, fault: str, kind: type[TransportError], way: Way
) -> None:
    """Lost, cut off or late: the error says so, and that the call may have been kept; said again, it is accepted."""
    row = Row(operation, "", USUAL[operation])
    settings = _settings(server, row, answer_timeout_seconds=0.2 if fault == "delay" else 60.0)
    ask(server.port, "POST", "/faults", {"operation": operation, "fault": fault, "seconds": 5})
    error = _error_of(way, row, settings)
    assert (type(error), error.may_be_kept, error.retryable) == (kind, True, True)
    assert way.answer_of(row.said, {}, {**settings, "options": ClientOptions(max_attempts=1)}) is not None


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.name))
@pytest.mark.parametrize("operation", sorted(OPERATIONS))
def test_where_nobody_listens_is_said(server: Server, operation: str, way: Way) -> None:
    """A call that reaches nobody says where it wanted to go, and that nothing was sent."""
    row = Row(operation, "", USUAL[operation])
    nowhere = "http://127.0.0.1:1"
    error = _error_of(way, row, {**_settings(server, row), "endpoint_url": nowhere})
    assert (type(error), error.may_be_kept, error.retryable) == (ConnectError, False, True)
    assert nowhere in str(error)


# --- from within a workload -------------------------------------------------------------------------------------------


def _container(started: Mapping[str, Any]) -> dict[str, str]:
    return {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": started["credentials_uri"],
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": started["authorization_token"],
    }


def _instance(started: Mapping[str, Any]) -> dict[str, str]:
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": started["metadata_endpoint"]}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.name))
@pytest.mark.parametrize(("platform", "told"), [("fargate", _container), ("eks", _container), ("ec2", _instance)])
def test_software_in_a_workload_finds_its_credentials(
    server: Server,
    monkeypatch: pytest.MonkeyPatch,
    way: Way,
    platform: str,
    told: Callable[[Mapping[str, Any]], dict[str, str]],
) -> None:
    """Told by its platform's variables alone, it meters once however often it says so, as its own workload."""
    started = start(server, platform)
    for name, value in told(started).items():
        monkeypatch.setenv(name, value)
    settings = {"region": "us-east-1", "endpoint_url": server.url}
    parts = (UsageAllocation(2, {"team": "a"}), UsageAllocation(3))
    said = meter(allocations=parts)
    first, again = (way.answer_of(said, {}, settings) for _ in range(2))
    assert first.metering_record_id == again.metering_record_id
    metered = ask(server.port, "GET", "/records?limit=1000")["items"]
    assert [one["record_id"] for one in metered if one["resource_id"] == started["resource_id"]] == [
        first.metering_record_id
    ]
    if told is _container:
        registered = way.answer_of(register(nonce="a nonce"), {}, settings)
        key = ask(server.port, "GET", f"/products/{BOX}/keys/1")["pem"]
        verify_registration_signature(
            registered.signature, key, product_code=BOX, public_key_version=1, nonce="a nonce"
        )
        assert registered.public_key_rotation_timestamp is None


@pytest.mark.parametrize("way", WAYS, ids=lambda way: str(way.name))
def test_software_in_an_ended_task_has_no_credentials(
    server: Server, monkeypatch: pytest.MonkeyPatch, way: Way
) -> None:
    """Its platform gives it none any more, which is said before anything is sent."""
    started = start(server, resource_id=f"task/over-{way.name}")
    ask(server.port, "POST", f"/workloads/task%2Fover-{way.name}/end")
    for name, value in _container(started).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CredentialsError):
        way.answer_of(meter(), {}, {"region": "us-east-1", "endpoint_url": server.url})
