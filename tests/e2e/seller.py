"""A seller's program for tests: one kept-alive connection, every request signed, answers as they came.

It signs with the package's own signer; that a stranger's signature holds is the strangers' to show.
"""

import json
import time
from http.client import HTTPConnection
from types import TracebackType
from typing import Any, Final, NamedTuple, Self

from meterhouse.wire.keys import SigningCredentials
from meterhouse.wire.signature import SignedRequest, sha256_hex
from meterhouse.wire.sigv4 import sign

REGION: Final = "us-east-1"
WAIT_SECONDS: Final = 60


class Answer(NamedTuple):
    """What came back: `body` as the JSON it is."""

    status: int
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def code(self) -> str:
        """The name of the error, empty where there is none."""
        code: str = self.body.get("__type", "")
        return code


class Seller:
    """Calls a server over one connection; a context manager. Raises what the socket raises."""

    def __init__(self, port: int, credentials: SigningCredentials, region: str = REGION) -> None:
        self._connection = HTTPConnection("127.0.0.1", port, timeout=WAIT_SECONDS)
        self._credentials = credentials
        self._region = region
        self._host = f"127.0.0.1:{port}".encode()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._connection.close()

    def hang_up(self) -> None:
        """End the connection; the next call makes another."""
        self._connection.close()

    def call(self, operation: str, request: dict[str, Any] | bytes) -> Answer:
        """Sign a request, send it, and wait for its answer."""
        body = request if isinstance(request, bytes) else json.dumps(request).encode()
        headers = [
            (b"host", self._host),
            (b"content-type", b"application/x-amz-json-1.1"),
            (b"x-amz-target", f"AWSMPMeteringService.{operation}".encode()),
        ]
        signed = SignedRequest("POST", headers, sha256_hex(body))
        headers += sign(signed, self._credentials, self._region, time.time_ns() // 1000)
        self._connection.request("POST", "/", body, {name.decode(): value.decode() for name, value in headers})
        answer = self._connection.getresponse()
        said = {name.lower(): value for name, value in answer.getheaders()}
        return Answer(answer.status, said, json.loads(answer.read()))

    def batch(self, product: str, records: list[dict[str, Any]]) -> Answer:
        """Meter a batch of a product's usage."""
        return self.call("BatchMeterUsage", {"ProductCode": product, "UsageRecords": records})
