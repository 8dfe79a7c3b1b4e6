r"""Software in a container that registers, counts its work, and meters it hour by hour.

    printf 'one.png\ntwo.png\n' | python3 meter.py

Each line of standard input is a piece of work and counts as one. When the input ends, or on SIGTERM, what was counted
last is metered and it ends. Its environment says what it is: PRODUCT_CODE, DIMENSION, PUBLIC_KEY (a PEM file) and
PUBLIC_KEY_VERSION. Where the service is, and which credentials it has, the SDK finds by itself.

What AWS's guide for sellers asks of such software, and where it is done:

- register at launch, check the answer's signature, and end where there is no right to run: `Meter.register`
- meter each hour that has ended, once, and always with the same quantity: `Meter.deliver`
- retry what may pass, ever more slowly, for 30 minutes: `Meter.patiently`
- work on while usage cannot be sent, for two hours at least: `Meter.must_stop`
"""

import os
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError
from verify import NotVerified, verified

HOUR = 3600
PATIENCE_SECONDS = 30 * 60
CLOSING_SECONDS = 20  # a container has little time to end
FAIL_OPEN_SECONDS = 2 * HOUR
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 1, 300

MAY_PASS = {"ThrottlingException", "InternalServiceErrorException", "ServiceUnavailable", "ExpiredTokenException"}
SETTLED = {
    "DuplicateRequestException": "it is metered already with another quantity, and that one stands",
    "IdempotencyConflictException": "its token was used for other usage",
    "TimestampOutOfBoundsException": "it is too late: this usage is lost",
}
"""What no retry can change: such an hour is done with, and somebody should look at the log."""


def say(*words: object) -> None:
    """Print a line at once: what a container prints is its log."""
    print(*words, flush=True)


class Clock:
    """Real time: a test has another."""

    def now(self) -> float:
        """Return the seconds since the epoch."""
        return time.time()

    def wait(self, seconds: float) -> None:
        """Wait so long."""
        time.sleep(seconds)


class Meter:
    """Counts work, and meters it."""

    def __init__(self, client: Any, product: str, dimension: str, clock: Clock) -> None:
        self.client = client
        self.product = product
        self.dimension = dimension
        self.clock = clock
        self.counted: Counter[int] = Counter()  # by the hour's first second
        self.failing_since: float | None = None
        self._lock = threading.Lock()

    def register(self, pem: bytes, version: int) -> None:
        """Say that this container runs; the service meters its time from here on. SystemExit where it may not run."""
        nonce = secrets.token_hex(16)  # a new one each time, so that no old answer fits

        def send() -> Any:
            return self.client.register_usage(ProductCode=self.product, PublicKeyVersion=version, Nonce=nonce)

        try:
            answer = self.patiently(send, PATIENCE_SECONDS)
            verified(answer["Signature"], pem, self.product, version, nonce)
        except (ClientError, BotoCoreError, NotVerified) as error:
            sys.exit(f"no right to run: {error}")
        if "PublicKeyRotationTimestamp" in answer:
            say("the public key was rotated: ship the new one with the next release")
        say("registered")

    def count(self, quantity: int = 1) -> None:
        """Count work of this hour."""
        with self._lock:
            self.counted[int(self.clock.now()) // HOUR * HOUR] += quantity

    def deliver(self, *, closing: bool = False) -> None:
        """Meter each hour that has ended, the oldest first; when closing, the present hour too.

        A metered hour is closed for good, so it is sent once it is whole. Until it is settled it stays counted, and is
        sent again with the same quantity: that is the same record, however often it comes.
        """
        this_hour = int(self.clock.now()) // HOUR * HOUR
        with self._lock:
            due = sorted((hour, count) for hour, count in self.counted.items() if hour < this_hour or closing)
        for hour, quantity in due:
            if not self._settled(hour, quantity, CLOSING_SECONDS if closing else PATIENCE_SECONDS):
                return  # the service is in trouble: those behind would fare no better
            with self._lock:
                self.counted.pop(hour, None)

    def _settled(self, hour: int, quantity: int, patience_seconds: float) -> bool:
        def send() -> Any:
            return self.client.meter_usage(
                ProductCode=self.product,
                Timestamp=datetime.fromtimestamp(hour, UTC),
                UsageDimension=self.dimension,
                UsageQuantity=quantity,
            )

        about = f"{quantity} {self.dimension} of {datetime.fromtimestamp(hour, UTC):%H:00}"
        try:
            answer = self.patiently(send, patience_seconds)
        except (ClientError, BotoCoreError) as error:
            code = code_of(error)
            if code not in SETTLED:
                self.failing_since = self.failing_since or self.clock.now()
                say(f"not metered yet, {about}: {error}")
                return False
            say(f"NOT METERED, {about}: {SETTLED[code]}")
        else:
            say(f"metered {about}: {answer['MeteringRecordId']}")
        self.failing_since = None
        return True

    @property
    def must_stop(self) -> bool:
        """Whether usage could not be sent for so long that no more of it should be made."""
        since = self.failing_since
        return since is not None and self.clock.now() - since >= FAIL_OPEN_SECONDS

    def patiently(self, send: Callable[[], Any], patience_seconds: float) -> Any:
        """Send until it succeeds; raises the last error when patience is at its end, and at once what cannot pass."""
        give_up_at, longer = self.clock.now() + patience_seconds, FIRST_WAIT_SECONDS
        while True:
            wait_seconds = longer * (1 + secrets.randbelow(500) / 1000)  # not all containers at the same second
            try:
                return send()
            except (ClientError, BotoCoreError) as error:
                too_late = self.clock.now() + wait_seconds > give_up_at
                if too_late or (isinstance(error, ClientError) and code_of(error) not in MAY_PASS):
                    raise
            self.clock.wait(wait_seconds)
            longer = min(2 * longer, LONGEST_WAIT_SECONDS)


def code_of(error: Exception) -> str:
    """Return the name of a service's error; empty for one of the network, or of credentials."""
    return str(error.response["Error"]["Code"]) if isinstance(error, ClientError) else ""


def deliver_each_hour(meter: Meter) -> None:
    """Deliver a little after each full hour, each container at a second of its own."""
    while True:
        meter.clock.wait(HOUR - meter.clock.now() % HOUR + secrets.randbelow(60))
        meter.deliver()


def main() -> None:
    """Run until the input ends, or the container is told to."""
    client = boto3.client("meteringmarketplace", config=Config(retries={"mode": "standard", "total_max_attempts": 2}))
    meter = Meter(client, os.environ["PRODUCT_CODE"], os.environ["DIMENSION"], Clock())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    meter.register(Path(os.environ["PUBLIC_KEY"]).read_bytes(), int(os.environ["PUBLIC_KEY_VERSION"]))
    threading.Thread(target=deliver_each_hour, args=(meter,), daemon=True).start()
    try:
        for _work in sys.stdin:
            if meter.must_stop:
                sys.exit("usage could not be metered for two hours: no more work is taken")
            meter.count()
    finally:
        meter.deliver(closing=True)


if __name__ == "__main__":
    main()
