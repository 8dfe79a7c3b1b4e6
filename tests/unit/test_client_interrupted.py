"""A call that is cut short waits for nothing, and goes on with nothing behind its caller's back."""

import threading

import pytest

from meterhouse.client.client import MeteringClient
from meterhouse.client.doubles import ManualClock
from meterhouse.client.errors import ConnectionLostError
from meterhouse.client.transport import HttpAnswer, HttpRequest
from tests.unit.client_batches import AT_ONCE, used
from tests.unit.client_ways import KEYS


class _Interrupted:
    """Interrupts whoever sends first, once others are waiting; these hear nothing until they are released."""

    def __init__(self, others: int) -> None:
        self.released = threading.Event()
        self.threads: set[threading.Thread] = set()
        self.count = 0
        self._waiting = threading.Barrier(others + 1)
        self._lock = threading.Lock()

    def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
        """Interrupts, or loses the answer in the end."""
        del request
        with self._lock:
            self.count += 1
            is_first = self.count == 1
            self.threads.add(threading.current_thread())
        self._waiting.wait(timeout_seconds)
        if is_first:
            raise KeyboardInterrupt
        self.released.wait(timeout_seconds)
        raise ConnectionLostError("nobody is there any more")

    def close(self) -> None:
        """Nothing is held open."""


def test_an_interrupted_call_waits_for_nobody() -> None:
    """The interrupt arrives while others still wait for their answers, which then are neither sent again nor missed."""
    transport = _Interrupted(others=3)
    client = MeteringClient(
        region="us-east-1",
        endpoint_url="http://a.test",
        credentials=KEYS,
        options=AT_ONCE,
        clock=ManualClock(),
        transport=transport,
    )
    with pytest.raises(KeyboardInterrupt):
        client.batch_meter_usage([used(number) for number in range(1000)], product_code="p")
    assert not transport.released.is_set()
    assert all(thread.daemon for thread in transport.threads), "a program that ends now must not wait for them"
    transport.released.set()
    for thread in transport.threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in transport.threads)
    assert transport.count == 4
