"""The three ways to run a call, so that one test body tries all of them: by threads, by tasks, and by hand.

By hand means without a client: a test makes the flow, does what each step asks for, and feeds it the answer. Forked
flows are advanced a step at a time, in an order that a seed decides; time passes only when all of them wait for it.
"""

import asyncio
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from meterhouse.client import operations
from meterhouse.client.batch import Plan, batch
from meterhouse.client.client import AsyncMeteringClient, MeteringClient
from meterhouse.client.credentials import Credentials, StaticCredentials
from meterhouse.client.doubles import ManualClock, RecordedTransport
from meterhouse.client.errors import TransportError
from meterhouse.client.flow import (
    Blocking,
    Caller,
    CredentialSource,
    Flow,
    Fork,
    Instant,
    Join,
    Joined,
    Limits,
    Now,
    Send,
    Sleep,
)
from meterhouse.client.retries import Rate
from meterhouse.client.settings import ClientOptions
from meterhouse.client.transport import split_url

KEYS = Credentials("AKIDEXAMPLE", "a secret that signs")
ENDPOINT = "http://metering.test:8750"
REGION = "us-east-1"


Calls = Any
"""What a way gives: the methods of a client, all of them synchronous, and its `transport` and `clock`."""
Way = Callable[..., Calls]
"""Makes `Calls` over a transport; `options` and `credentials` may be given."""

_USUAL = ClientOptions()


def by_threads(
    transport: RecordedTransport,
    *,
    options: ClientOptions = _USUAL,
    credentials: CredentialSource | None = None,
) -> Calls:
    """`MeteringClient`."""
    clock = ManualClock()
    client: Any = MeteringClient(
        region=REGION,
        endpoint_url=ENDPOINT,
        credentials=credentials or KEYS,
        options=options,
        clock=clock,
        transport=transport,
    )
    client.transport, client.clock = transport, clock
    return client


class _ByTasks:
    def __init__(self, client: AsyncMeteringClient, transport: RecordedTransport, clock: ManualClock) -> None:
        self._client = client
        self.transport = transport
        self.clock = clock

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *positional, **named: asyncio.run(method(*positional, **named))


def by_tasks(
    transport: RecordedTransport,
    *,
    options: ClientOptions = _USUAL,
    credentials: CredentialSource | None = None,
) -> Calls:
    """`AsyncMeteringClient`, each call on a loop of its own."""
    clock = ManualClock()
    client = AsyncMeteringClient(
        region=REGION,
        endpoint_url=ENDPOINT,
        credentials=credentials or KEYS,
        options=options,
        clock=clock,
        transport=transport,
    )
    return _ByTasks(client, transport, clock)


class _ByHand:
    def __init__(
        self,
        transport: RecordedTransport,
        *,
        options: ClientOptions = _USUAL,
        credentials: CredentialSource | None = None,
        seed: int = 1,
    ) -> None:
        self.transport = transport
        self.clock = ManualClock()
        self._options = options
        self._chance = random.Random(seed)
        per_second = options.requests_per_second
        self.caller = Caller(
            split_url(ENDPOINT),
            REGION,
            credentials or StaticCredentials(KEYS),
            Limits(options.max_attempts or 3, options.answer_timeout_seconds),
            rate=None if per_second is None else Rate(per_second),
            random=self._chance.random,
            new_id=lambda: f"{self._chance.getrandbits(64):016x}",
            user_agent="by hand",
        )

    def batch_meter_usage(
        self, records: Sequence[Any], *, product_code: str | None = None, timeout_seconds: float | None = None
    ) -> Any:
        plan = Plan(self._options.concurrency, self._options.resend_rounds, self._until(timeout_seconds))
        return self.run(batch(self.caller, list(records), product_code, plan))

    def batch_meter_usage_once(
        self, records: Sequence[Any], *, product_code: str | None = None, timeout_seconds: float | None = None
    ) -> Any:
        return self.run(operations.batch_once(self.caller, records, product_code, self._until(timeout_seconds)))

    def meter_usage(self, *, timeout_seconds: float | None = None, **arguments: Any) -> Any:
        arguments = {"allocations": (), "dry_run": False, "client_token": "a-token", **arguments}
        said = operations.Metered(**arguments)
        return self.run(operations.meter_usage(self.caller, said, self._until(timeout_seconds)))

    def register_usage(
        self,
        *,
        product_code: str,
        public_key_version: int,
        nonce: str | None = None,
        timeout_seconds: float | None = None,
    ) -> Any:
        until = self._until(timeout_seconds)
        return self.run(operations.register_usage(self.caller, product_code, public_key_version, nonce, until))

    def resolve_customer(self, registration_token: str, *, timeout_seconds: float | None = None) -> Any:
        return self.run(operations.resolve_customer(self.caller, registration_token, self._until(timeout_seconds)))

    def call(self, operation: str, said: Mapping[str, Any], *, timeout_seconds: float | None = None) -> Any:
        return self.run(operations.as_it_is(self.caller, operation, said, self._until(timeout_seconds)))

    def _until(self, timeout_seconds: float | None) -> float | None:
        return None if timeout_seconds is None else self.clock.seconds + timeout_seconds

    # --- hands ---

    def run(self, flow: Flow[Any]) -> Any:
        """Does what a flow asks for until it ends; its value, or what it raises."""
        forks: list[_Strand] = []
        feed: Any = None
        while True:
            try:
                step = flow.send(feed)
            except StopIteration as stop:
                return stop.value
            match step:
                case Fork():
                    forks.append(_Strand(step))
                    feed = None
                case Join():
                    feed = self._join(forks)
                case Sleep():
                    self.clock.sleep(step.until)
                    feed = None
                case _:
                    feed = self._do(step)

    def _do(self, step: Any) -> Any:
        match step:
            case Now():
                return Instant(self.clock.wall_micros, self.clock.seconds)
            case Send():
                try:
                    return self.transport.send(step.request, step.timeout_seconds)
                except TransportError as failure:
                    return failure
            case Blocking():
                return step.call()
        raise AssertionError(f"nobody knows how to {step}")

    def _join(self, forks: "list[_Strand]") -> Joined:
        while True:
            ready = [strand for strand in forks if strand.wakes <= self.clock.seconds]
            if not ready:
                self.clock.sleep(min(strand.wakes for strand in forks))
                continue
            strand = self._chance.choice(ready)
            try:
                step = strand.flow.send(strand.feed)
            except StopIteration as stop:
                forks.remove(strand)
                return Joined(strand.name, stop.value)
            if isinstance(step, Sleep):
                strand.wakes, strand.feed = step.until, None
            else:
                strand.feed = self._do(step)


class _Strand:
    """A forked flow under way."""

    def __init__(self, fork: Fork) -> None:
        self.flow = fork.flow
        self.name = fork.name
        self.feed: Any = None
        self.wakes = 0.0


def by_hand(transport: RecordedTransport, **settings: Any) -> Calls:
    """No client: the flows, and hands. `seed`: of the order in which forked flows go on."""
    return _ByHand(transport, **settings)


WAYS: dict[str, Way] = {"by threads": by_threads, "by tasks": by_tasks, "by hand": by_hand}


@contextmanager
def nobody_asks(environment: dict[str, str]) -> Iterator[None]:
    """Without the AWS_… settings of whoever runs the tests."""
    kept = {name: environment.pop(name) for name in list(environment) if name.startswith("AWS_")}
    environment["AWS_CONFIG_FILE"] = environment["AWS_SHARED_CREDENTIALS_FILE"] = "/nonexistent"
    try:
        yield
    finally:
        del environment["AWS_CONFIG_FILE"], environment["AWS_SHARED_CREDENTIALS_FILE"]
        environment.update(kept)
