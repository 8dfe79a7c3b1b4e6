"""`MeteringClient` and `AsyncMeteringClient`: the same flows, by threads and by tasks.

Here alone the client asks the world: the clocks, the environment, files and randomness. Everything else is handed on.
A method is one line, which names a flow; what the arguments mean is said once, at the synchronous one.
"""

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from types import TracebackType
from typing import Any, Self, TypedDict, Unpack

import msgspec

from meterhouse import __version__
from meterhouse.client import operations, tracing
from meterhouse.client.batch import Plan, batch
from meterhouse.client.credentials import Credentials, source_of
from meterhouse.client.flow import Caller, CredentialSource, Flow, Limits, value_type
from meterhouse.client.operations import Metered
from meterhouse.client.outcomes import BatchResult, Problem
from meterhouse.client.records import (
    BatchOnceResult,
    MeterUsageResult,
    RegisterUsageResult,
    ResolveCustomerResult,
    UsageAllocation,
    UsageRecord,
)
from meterhouse.client.retries import Rate
from meterhouse.client.settings import ClientOptions, read_profile, settle
from meterhouse.client.thread_driver import Clock, SystemClock, run
from meterhouse.client.transport import AsyncTransport, NetworkOptions, Transport, routes_of


class Settings(TypedDict, total=False):
    """What both clients take; all of it may be left out."""

    region: str | None
    """Of the calls. Default AWS_REGION, AWS_DEFAULT_REGION, the profile's."""
    endpoint_url: str | None
    """Another service than AWS's, such as Meterhouse. Default AWS_ENDPOINT_URL_MARKETPLACE_METERING, AWS_ENDPOINT_URL,
    the profile's `endpoint_url`, else AWS's of the Region.
    """
    credentials: Credentials | Callable[[], Credentials] | CredentialSource | None
    """A function is asked anew before what it gave expires. Default: the environment, the profile, the container's
    endpoint, the instance's.
    """
    profile: str | None
    """A profile of AWS's config file. Its credentials are read by botocore (`meterhouse[aws]`)."""
    options: ClientOptions | None
    clock: Clock | None
    """For tests."""


class _Client:
    """What both clients are made of and share."""

    def __init__(self, given: Settings) -> None:
        strange = given.keys() - Settings.__annotations__.keys()
        if strange:
            raise TypeError(f"{type(self).__name__}() got an unexpected keyword argument {min(strange)!r}")
        self._options = given.get("options") or ClientOptions()
        chosen = read_profile(given.get("profile"), os.environ, _read_file)
        settings = settle(given.get("region"), given.get("endpoint_url"), self._options, os.environ, chosen)
        self._network: NetworkOptions = msgspec.structs.replace(self._options.network, ca_bundle=settings.ca_bundle)
        self._routes = routes_of(self._network, os.environ)
        self._clock = given.get("clock") or SystemClock(_wall_micros, time.monotonic)
        per_second = self._options.requests_per_second
        self._caller = Caller(
            settings.endpoint,
            settings.region,
            source_of(given.get("credentials"), os.environ, chosen, _read_file),
            Limits(settings.max_attempts, self._options.answer_timeout_seconds),
            rate=None if per_second is None else Rate(per_second),
            random=_random,
            new_id=_new_id,
            user_agent=f"meterhouse/{__version__}",
        )

    @property
    def region(self) -> str:
        """The Region that calls are signed for."""
        return self._caller.region

    @property
    def endpoint_url(self) -> str:
        """Where calls go."""
        return f"{self._caller.address}{self._caller.target.decode()}"

    def check(self, records: Iterable[UsageRecord], *, product_code: str | None = None) -> tuple[Problem, ...]:
        """What is wrong with records as far as can be told without asking the service: constraints, tags, sums, and by
        this machine's clock the time window. Sends nothing. Empty: nothing was found.
        """
        from meterhouse.client.checking import problems_of  # noqa: PLC0415 - a client that only sends needs no catalog

        return problems_of(list(records), product_code, self._clock.now().wall_micros)

    def _until(self, timeout_seconds: float | None) -> float | None:
        return None if timeout_seconds is None else self._clock.now().seconds + timeout_seconds

    def _span(self, operation: str) -> Any:
        return tracing.span(operation, self._caller.region, self._caller.address.host)

    # --- the flows, each made in one place ---

    def _batch(
        self, records: Sequence[UsageRecord], product_code: str | None, timeout_seconds: float | None
    ) -> Flow[BatchResult]:
        options = self._options
        plan = Plan(options.concurrency, options.resend_rounds, self._until(timeout_seconds))
        return batch(self._caller, records, product_code, plan)

    def _batch_once(
        self, records: Sequence[UsageRecord], product_code: str | None, timeout_seconds: float | None
    ) -> Flow[BatchOnceResult]:
        return operations.batch_once(self._caller, records, product_code, self._until(timeout_seconds))

    def _meter(self, said: Metered, timeout_seconds: float | None) -> Flow[MeterUsageResult]:
        return operations.meter_usage(self._caller, said, self._until(timeout_seconds))

    def _register(
        self, product_code: str, version: int, nonce: str | None, timeout_seconds: float | None
    ) -> Flow[RegisterUsageResult]:
        return operations.register_usage(self._caller, product_code, version, nonce, self._until(timeout_seconds))

    def _resolve(self, token: str, timeout_seconds: float | None) -> Flow[ResolveCustomerResult]:
        return operations.resolve_customer(self._caller, token, self._until(timeout_seconds))

    def _call(self, operation: str, said: Mapping[str, Any], timeout_seconds: float | None) -> Flow[dict[str, Any]]:
        return operations.as_it_is(self._caller, operation, said, self._until(timeout_seconds))


class MeteringClient(_Client):
    """The metering service, called from threads. Safe to share between them; close it, or use it in a `with`.

    The arguments are those of `Settings`, and `transport`: another way to the service, closed with the client. Raises
    ConfigurationError.
    """

    def __init__(self, *, transport: Transport | None = None, **settings: Unpack[Settings]) -> None:
        super().__init__(settings)
        if transport is None:
            from meterhouse.client.socket_transport import SocketTransport  # noqa: PLC0415 - only where it is used

            transport = SocketTransport(self._network, self._routes)
        self._transport = transport

    def close(self) -> None:
        """Ends the connections."""
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, operation: str, flow: Flow[value_type]) -> value_type:
        with self._span(operation):
            return run(flow, self._transport, self._clock)

    def batch_meter_usage(
        self,
        records: Iterable[UsageRecord],
        *,
        product_code: str | None = None,
        timeout_seconds: float | None = None,
    ) -> BatchResult:
        """Meters any number of records, and says of each what became of it (contract §4).

        They are sent 25 at a time, at most 10 requests a second (`ClientOptions.requests_per_second`); what the service
        leaves unprocessed is sent again, and a record that condemns its batch is found and reported alone, so that all
        others go through. Records with a `product_code` of their own are of that product, others of the call's; those
        on a license need none. After `timeout_seconds` what is left is `unsent`.

        Raises nothing on account of a record: look at the result's groups, or call `raise_for_rejected()`. Raises
        CredentialsError where there is nothing to sign with.
        """
        return self._run("BatchMeterUsage", self._batch(list(records), product_code, timeout_seconds))

    def batch_meter_usage_once(
        self,
        records: Iterable[UsageRecord],
        *,
        product_code: str | None = None,
        timeout_seconds: float | None = None,
    ) -> BatchOnceResult:
        """One BatchMeterUsage of up to 25 records, one to one: each record's status, and the unprocessed ones.

        Raises InvalidRequestError for what breaks the API's rules; the service's errors, none of whose records is kept:
        DisabledApi-, InvalidCustomerIdentifier-, InvalidLicense-, InvalidProductCode-, InvalidTag-,
        InvalidUsageAllocations-, InvalidUsageDimension-, TimestampOutOfBounds-, Throttling- and
        InternalServiceErrorException; the errors about access; TransportErrors.
        """
        return self._run("BatchMeterUsage", self._batch_once(list(records), product_code, timeout_seconds))

    def meter_usage(
        self,
        *,
        product_code: str,
        timestamp: datetime,
        usage_dimension: str,
        usage_quantity: int | Decimal,
        allocations: Sequence[UsageAllocation] = (),
        dry_run: bool = False,
        client_token: str | None = None,
        timeout_seconds: float | None = None,
    ) -> MeterUsageResult:
        """Meters the calling software's own usage, at the buyer (contract §6).

        `timestamp`: aware, less than 6 hours ago. `usage_quantity`: as `UsageRecord.quantity`. `client_token`: 1-64
        characters; made for the call where none is given, and the same on every attempt.

        Raises CustomerNotEntitled-, DuplicateRequest-, IdempotencyConflict-, InvalidEndpointRegion-,
        InvalidProductCode-, InvalidTag-, InvalidUsageAllocations-, InvalidUsageDimension-, PlatformNotSupported-,
        TimestampOutOfBoundsException, DryRunOperation; and what every call may raise.
        """
        said = Metered(
            product_code=product_code,
            timestamp=timestamp,
            usage_dimension=usage_dimension,
            usage_quantity=usage_quantity,
            allocations=allocations,
            dry_run=dry_run,
            client_token=_new_id() if client_token is None else client_token,
        )
        return self._run("MeterUsage", self._meter(said, timeout_seconds))

    def register_usage(
        self,
        *,
        product_code: str,
        public_key_version: int,
        nonce: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RegisterUsageResult:
        """Registers the calling task or pod, which the service meters from then on (contract §7).

        `public_key_version`: from 1. `nonce`: up to 255 characters, found again in the signature. Check the signature
        with `verify_registration_signature`.

        Raises CustomerNotEntitled-, DisabledApi-, InvalidProductCode-, InvalidPublicKeyVersion-, InvalidRegion-,
        PlatformNotSupportedException; and what every call may raise.
        """
        return self._run("RegisterUsage", self._register(product_code, public_key_version, nonce, timeout_seconds))

    def resolve_customer(
        self, registration_token: str, *, timeout_seconds: float | None = None
    ) -> ResolveCustomerResult:
        """Says which buyer came with a registration token (contract §8). A token may be resolved again for 4 hours.

        Raises InvalidToken-, ExpiredToken-, DisabledApiException; and what every call may raise.
        """
        return self._run("ResolveCustomer", self._resolve(registration_token, timeout_seconds))

    def call(self, operation: str, said: Mapping[str, Any], *, timeout_seconds: float | None = None) -> dict[str, Any]:
        """Any operation in the wire's own words, as boto3 takes and gives them (times in answers stay numbers).

        Signed, retried and with the errors of this package, but judged by the service alone. Raises what the operation
        may raise.
        """
        return self._run(operation, self._call(operation, said, timeout_seconds))


class AsyncMeteringClient(_Client):
    """The metering service, called from tasks of one event loop: as `MeteringClient`, with `await` and `async with`."""

    def __init__(self, *, transport: AsyncTransport | None = None, **settings: Unpack[Settings]) -> None:
        super().__init__(settings)
        if transport is None:
            from meterhouse.client.asyncio_transport import AsyncSocketTransport  # noqa: PLC0415 - where it is used

            transport = AsyncSocketTransport(self._network, self._routes)
        from meterhouse.client.asyncio_driver import run_async  # noqa: PLC0415 - asyncio is no small import

        self._run_flow = run_async
        self._transport = transport

    async def close(self) -> None:
        """Ends the connections."""
        await self._transport.close_async()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, operation: str, flow: Flow[value_type]) -> value_type:
        with self._span(operation):
            return await self._run_flow(flow, self._transport, self._clock)

    async def batch_meter_usage(
        self,
        records: Iterable[UsageRecord],
        *,
        product_code: str | None = None,
        timeout_seconds: float | None = None,
    ) -> BatchResult:
        """As `MeteringClient.batch_meter_usage`."""
        return await self._run("BatchMeterUsage", self._batch(list(records), product_code, timeout_seconds))

    async def batch_meter_usage_once(
        self,
        records: Iterable[UsageRecord],
        *,
        product_code: str | None = None,
        timeout_seconds: float | None = None,
    ) -> BatchOnceResult:
        """As `MeteringClient.batch_meter_usage_once`."""
        return await self._run("BatchMeterUsage", self._batch_once(list(records), product_code, timeout_seconds))

    async def meter_usage(
        self,
        *,
        product_code: str,
        timestamp: datetime,
        usage_dimension: str,
        usage_quantity: int | Decimal,
        allocations: Sequence[UsageAllocation] = (),
        dry_run: bool = False,
        client_token: str | None = None,
        timeout_seconds: float | None = None,
    ) -> MeterUsageResult:
        """As `MeteringClient.meter_usage`."""
        said = Metered(
            product_code=product_code,
            timestamp=timestamp,
            usage_dimension=usage_dimension,
            usage_quantity=usage_quantity,
            allocations=allocations,
            dry_run=dry_run,
            client_token=_new_id() if client_token is None else client_token,
        )
        return await self._run("MeterUsage", self._meter(said, timeout_seconds))

    async def register_usage(
        self,
        *,
        product_code: str,
        public_key_version: int,
        nonce: str | None = None,
        timeout_seconds: float | None = None,
    ) -> RegisterUsageResult:
        """As `MeteringClient.register_usage`."""
        return await self._run(
            "RegisterUsage", self._register(product_code, public_key_version, nonce, timeout_seconds)
        )

    async def resolve_customer(
        self, registration_token: str, *, timeout_seconds: float | None = None
    ) -> ResolveCustomerResult:
        """As `MeteringClient.resolve_customer`."""
        return await self._run("ResolveCustomer", self._resolve(registration_token, timeout_seconds))

    async def call(
        self, operation: str, said: Mapping[str, Any], *, timeout_seconds: float | None = None
    ) -> dict[str, Any]:
        """As `MeteringClient.call`."""
        return await self._run(operation, self._call(operation, said, timeout_seconds))


def _random() -> float:
    import random  # noqa: PLC0415 - 10 ms that only a client that waits before a retry need spend

    return random.random()  # noqa: S311 - it spreads waits, and keeps no secret


def _wall_micros() -> int:
    return time.time_ns() // 1000


def _new_id() -> str:
    """A random UUID (version 4) as text."""
    digits = f"{int.from_bytes(os.urandom(16)) & _VARIANT_MASK | _VERSION_4:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


_VARIANT_MASK = ~((0xF << 76) | (0x3 << 62))
_VERSION_4 = (0x4 << 76) | (0x2 << 62)


def _read_file(path: str) -> str | None:
    """The text of a file; None where it cannot be read."""
    try:
        # pathlib would be 3 ms of import for this alone.
        with open(os.path.expanduser(path), encoding="utf-8") as file:  # noqa: PTH111, PTH123 - for the same reason
            return file.read()
    except (OSError, ValueError):
        return None
