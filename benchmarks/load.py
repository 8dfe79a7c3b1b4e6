"""The load: what is said to a server, built and signed before the clock starts.

So the generator costs a few microseconds a request while it sends, and the server is what is measured. Requests look as
boto3 sends them: the same headers, signed and not, and a body with its blanks. Every record of a run is new.
"""

import json
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from meterhouse.core.catalog import WindowEdge
from meterhouse.core.moment import HOUR, SECOND
from meterhouse.core.profile import HOUR_SECONDS, NEWEST
from meterhouse.core.usage import text_of_id
from meterhouse.core.window import window_at
from meterhouse.wire.keys import SigningCredentials
from meterhouse.wire.signature import SignedRequest, sha256_hex
from meterhouse.wire.sigv4 import sign

SELLER: Final = "111122223333"
SELLER_KEYS: Final = SigningCredentials("AKIDBENCHMARKSELLER01", "benchmark-benchmark-benchmark-benchmark0")
PRODUCT: Final = "benchmarkproductcode00001"
REGION: Final = "us-east-1"
RECORDS_A_REQUEST: Final = 25
DIMENSIONS: Final = 200
"""The most that a product can have."""

_PREPARED_SECONDS: Final = 900
"""How long before it arrives a record may have been made, so that its hour is still open when it does."""
_UNSIGNED: Final = (
    b"accept-encoding: identity\r\n"
    b"user-agent: Boto3/1.44.5 md/Botocore#1.44.5 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11\r\n"
    b"amz-sdk-request: attempt=1\r\n"
)


class Slice(NamedTuple):
    """Which usage is reported: these customers' and dimensions', once in each of these hours (since the epoch)."""

    customers: Sequence[int]
    hours: Sequence[int]
    dimensions: int = DIMENSIONS

    @property
    def records(self) -> int:
        """How many there are."""
        return len(self.customers) * len(self.hours) * self.dimensions


def buyer_of(number: int) -> str:
    """The account id of a customer."""
    return f"{200_000_000_000 + number}"


def workload_keys(number: int) -> SigningCredentials:
    """The keys that a customer's workload signs with."""
    return SigningCredentials(f"AKIDBENCHWORKLOAD{number:06}", f"benchmark-benchmark-benchmark-b-{number:08}")


# --- what there is ----------------------------------------------------------------------------------------------------


def catalog_text(customers: int, workloads: int = 0) -> str:
    """A catalog file: one product of 200 dimensions, and an agreement a customer; the first have a workload each."""
    return "".join(
        [
            f'[[products]]\ncode = "{PRODUCT}"\nname = "Benchmark"\nseller = "{SELLER}"\ntype = "saas"\n',
            *(
                f'[[products.dimensions]]\nkey = "dimension-{n}"\nunit = "U"\nprice = "0.01"\n'
                for n in range(DIMENSIONS)
            ),
            *map(_agreement_text, range(customers)),
            _credential_text(SELLER_KEYS, SELLER),
            *map(_workload_text, range(workloads)),
        ]
    )


def _agreement_text(number: int) -> str:
    return (
        f'[[agreements]]\nid = "agmt-{number}"\nproduct = "{PRODUCT}"\nbuyer = "{buyer_of(number)}"\n'
        f'customer_identifier = "C{number}"\nstart = 2026-01-01T00:00:00Z\n'
    )


def _workload_text(number: int) -> str:
    return (
        _credential_text(workload_keys(number), buyer_of(number))
        + f'[credentials.workload]\nplatform = "ec2"\nresource_id = "i-{number:017x}"\nregion = "{REGION}"\n'
        "launched = 2026-01-01T00:00:00Z\n"
    )


def _credential_text(keys: SigningCredentials, account: str) -> str:
    return (
        f'[[credentials]]\naccess_key_id = "{keys.access_key_id}"\nsecret_access_key = "{keys.secret_access_key}"\n'
        f'account = "{account}"\n'
    )


# --- what is said of it -----------------------------------------------------------------------------------------------


def open_hours(now_micros: int, window_seconds: int = NEWEST.batch_window_seconds) -> range:
    """The hours whose usage can be reported now and for a while: 24, or fewer where a month has just ended."""
    closing = window_at(now_micros + _PREPARED_SECONDS * SECOND, window_seconds, NEWEST, WindowEdge.INSTANT)
    return range(-(-closing.earliest_micros // HOUR), now_micros // HOUR + 1)


def slice_for(requests: int, hours: Sequence[int]) -> Slice:
    """As many customers, with all dimensions in all of these hours, as so many batches need."""
    customers = -(-requests * RECORDS_A_REQUEST // (DIMENSIONS * len(hours)))
    return Slice(range(max(RECORDS_A_REQUEST, customers)), hours)


def new_records(usage: Slice) -> Iterator[dict[str, Any]]:
    """The records of a slice, an hour after the other."""
    for hour in usage.hours:
        for dimension in range(usage.dimensions):
            for customer in usage.customers:
                yield {
                    "Timestamp": hour * HOUR_SECONDS,
                    "CustomerIdentifier": f"C{customer}",
                    "Dimension": f"dimension-{dimension}",
                    "Quantity": customer % 100,
                }


def shuffled_records(customers: int, hour: int, seed: int) -> Iterator[dict[str, Any]]:
    """One record of each customer, in one hour, in an order of chance."""
    order = list(range(customers))
    random.Random(seed).shuffle(order)
    return new_records(Slice(order, [hour], 1))


def with_allocations(records: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """The same, each quantity allocated to four parts of two tags."""
    for record in records:
        parts = [
            {
                "AllocatedUsageQuantity": part + 1,
                "Tags": [{"Key": "team", "Value": f"team-{part}"}, {"Key": "stage", "Value": "production"}],
            }
            for part in range(4)
        ]
        yield record | {"Quantity": 10, "UsageAllocations": parts}


def batches(records: Iterator[dict[str, Any]], count: int) -> list[bytes]:
    """That many BatchMeterUsage bodies of 25 records each; IndexError where there are not so many."""
    bodies = []
    for _ in range(count):
        batch = list(islice(records, RECORDS_A_REQUEST))
        if len(batch) < RECORDS_A_REQUEST:
            raise IndexError("there are not enough records for so many requests")
        bodies.append(json.dumps({"ProductCode": PRODUCT, "UsageRecords": batch}).encode())
    return bodies


def metered(usage: Slice) -> Iterator[tuple[int, bytes]]:
    """MeterUsage bodies of one record, each with the number of the workload that says it, and a token of its own."""
    for hour in usage.hours:
        for dimension in range(usage.dimensions):
            for customer in usage.customers:
                said = {
                    "ProductCode": PRODUCT,
                    "Timestamp": hour * HOUR_SECONDS,
                    "UsageDimension": f"dimension-{dimension}",
                    "UsageQuantity": customer % 100,
                    "ClientToken": text_of_id(os.urandom(16)),
                }
                yield customer, json.dumps(said).encode()


# --- how it is sent ---------------------------------------------------------------------------------------------------


class Signer:
    """Makes whole HTTP requests for one server, signed as of an instant."""

    def __init__(self, authority: str, now_micros: int) -> None:
        self._host = authority.encode()
        self._now_micros = now_micros

    def batch(self, body: bytes) -> bytes:
        """A BatchMeterUsage, signed by the seller."""
        return self._signed(b"BatchMeterUsage", body, SELLER_KEYS)

    def single(self, workload: int, body: bytes) -> bytes:
        """A MeterUsage, signed by a workload."""
        return self._signed(b"MeterUsage", body, workload_keys(workload))

    def _signed(self, operation: bytes, body: bytes, keys: SigningCredentials) -> bytes:
        fixed = [
            (b"host", self._host),
            (b"x-amz-target", b"AWSMPMeteringService." + operation),
            (b"content-type", b"application/x-amz-json-1.1"),
        ]
        added = sign(SignedRequest("POST", fixed, sha256_hex(body)), keys, REGION, self._now_micros)
        lines = b"".join(name + b": " + value + b"\r\n" for name, value in (*fixed, *added))
        return b"POST / HTTP/1.1\r\n" + lines + _UNSIGNED + b"content-length: %d\r\n\r\n" % len(body) + body


Prepare = Callable[[Signer], Sequence[bytes]]
"""Builds the requests of a run, for whichever server is to get them."""
