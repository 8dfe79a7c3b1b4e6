"""The load: signed requests made beforehand, sent over kept-alive connections as fast as they are answered.

Requests are built before the clock starts, so that the generator costs a few microseconds a request and the server is
what is measured. Each connection sends its next request when the last one was answered; with `pause_seconds` it waits,
which gives loads below the full one.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, cast

from meterhouse.wire.signature import SignedRequest, sha256_hex
from meterhouse.wire.sigv4 import SigningCredentials, sign

ACCESS_KEY = "AKIDBENCHMARKSELLER01"
SECRET_KEY = "benchmark-benchmark-benchmark-benchmark0"
SELLER = "111122223333"
PRODUCT = "benchmarkproductcode00001"
REGION = "us-east-1"
RECORDS_A_REQUEST = 25
DIMENSIONS = 200
HOUR_SECONDS = 3600


class Ran(NamedTuple):
    """What a run of load saw. Latencies in seconds, sorted."""

    requests: int
    seconds: float
    latencies: Sequence[float]
    statuses: dict[int, int]

    @property
    def rate(self) -> float:
        """Requests answered a second."""
        return self.requests / self.seconds

    def percentile(self, share: float) -> float:
        """The latency that this share of the requests stayed below, in milliseconds."""
        return 1000 * self.latencies[min(len(self.latencies) - 1, int(share * len(self.latencies)))]


def buyer_of(number: int) -> str:
    """The account id of a customer."""
    return f"{200_000_000_000 + number}"


def catalog_text(customers: int) -> str:
    """A catalog with one product of 200 dimensions and as many customers as wanted."""
    dimensions = "".join(
        f'[[products.dimensions]]\nkey = "dimension-{number}"\nunit = "Units"\nprice = "0.01"\n'
        for number in range(DIMENSIONS)
    )
    agreements = "".join(
        f'[[agreements]]\nid = "agmt-{number}"\nproduct = "{PRODUCT}"\nbuyer = "{buyer_of(number)}"\n'
        f'customer_identifier = "C{number}"\nstart = 2026-01-01T00:00:00Z\n'
        for number in range(customers)
    )
    return (
        f'[[products]]\ncode = "{PRODUCT}"\nname = "Benchmark"\nseller = "{SELLER}"\ntype = "saas"\n{dimensions}'
        f"{agreements}"
        f'[[credentials]]\naccess_key_id = "{ACCESS_KEY}"\nsecret_access_key = "{SECRET_KEY}"\naccount = "{SELLER}"\n'
    )


def new_records(customers: int, now_seconds: int, hours: int = 20) -> Iterator[dict[str, object]]:
    """Records that are all new: every customer, dimension and hour once, an hour after the other."""
    this_hour = now_seconds // HOUR_SECONDS
    for hour in range(this_hour - hours + 1, this_hour + 1):
        for dimension in range(DIMENSIONS):
            for customer in range(customers):
                yield {
                    "Timestamp": hour * HOUR_SECONDS,
                    "CustomerIdentifier": f"C{customer}",
                    "Dimension": f"dimension-{dimension}",
                    "Quantity": customer % 100,
                }


def bodies(records: Iterator[dict[str, object]], count: int) -> list[bytes]:
    """That many request bodies of 25 records each."""
    return [
        json.dumps({"ProductCode": PRODUCT, "UsageRecords": [next(records) for _ in range(RECORDS_A_REQUEST)]}).encode()
        for _ in range(count)
    ]


def signed_requests(host: str, said: Sequence[bytes], now_micros: int) -> list[bytes]:
    """Whole HTTP requests, signed as boto3 signs them."""
    keys = SigningCredentials(ACCESS_KEY, SECRET_KEY)
    fixed = [
        (b"host", host.encode()),
        (b"x-amz-target", b"AWSMPMeteringService.BatchMeterUsage"),
        (b"content-type", b"application/x-amz-json-1.1"),
    ]
    made = []
    for body in said:
        added = sign(SignedRequest("POST", fixed, sha256_hex(body)), keys, REGION, now_micros)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in [*fixed, *added])
        made.append(b"POST / HTTP/1.1\r\n" + lines + b"content-length: %d\r\n\r\n" % len(body) + body)
    return made


_LENGTH = re.compile(rb"content-length: *([0-9]+)", re.IGNORECASE)


class _Connection(asyncio.Protocol):
    """One connection: sends the next request when the last one was answered."""

    def __init__(self, take: Callable[[], bytes | None], ran: "_Tally", pause_seconds: float) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._take = take
        self._tally = ran
        self._pause_seconds = pause_seconds
        self._received = b""
        self._sent_at = 0.0
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def data_received(self, data: bytes) -> None:
        self._received += data
        head, found, body = self._received.partition(b"\r\n\r\n")
        if not found:
            return
        if len(body) < int(_LENGTH.search(head)[1]):  # type: ignore[index]  # every answer has a length
            return
        self._received = b""
        self._tally.latencies.append(time.perf_counter() - self._sent_at)
        status = int(head[9:12])
        self._tally.statuses[status] = self._tally.statuses.get(status, 0) + 1
        if self._pause_seconds:
            asyncio.get_running_loop().call_later(self._pause_seconds, self._send)
        else:
            self._send()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _send(self) -> None:
        assert self._transport is not None
        request = self._take()
        if request is None:
            self._transport.close()
            return
        self._sent_at = time.perf_counter()
        self._transport.write(request)


class _Tally:
    def __init__(self) -> None:
        self.latencies: list[float] = []
        self.statuses: dict[int, int] = {}


async def send_all(
    host: str, port: int, requests: Sequence[bytes], *, connections: int, pause_seconds: float = 0
) -> Ran:
    """Sends every request once, over that many connections, and waits for all answers."""
    waiting = iter(requests)
    tally = _Tally()
    loop = asyncio.get_running_loop()
    started = time.perf_counter()
    made = [
        await loop.create_connection(lambda: _Connection(lambda: next(waiting, None), tally, pause_seconds), host, port)
        for _ in range(connections)
    ]
    await asyncio.gather(*(protocol.done for _, protocol in made))
    seconds = time.perf_counter() - started
    return Ran(len(tally.latencies), seconds, sorted(tally.latencies), tally.statuses)
