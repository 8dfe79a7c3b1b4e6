"""Token buckets that processes share: together they let pass what one would."""

import os
import signal
from collections.abc import Callable

import pytest

from meterhouse.server.buckets import PLACES, SharedBuckets
from meterhouse.server.throttle import Rate, Throttle

RATES = {"BatchMeterUsage": Rate(10, 5), "MeterUsage": Rate(1, 1)}
START = 1_800_000_000_000_000


def admitted(throttle: Throttle, calls: int, *, now: int = START, account: str = "1") -> int:
    """How many of so many calls at one instant are let pass."""
    return sum(throttle.admits(account, "us-east-1", "BatchMeterUsage", now) for _ in range(calls))


def in_a_child(call: Callable[[], int]) -> int:
    """What a forked process's call gives back."""
    child = os.fork()
    if child == 0:
        os._exit(call())
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


@pytest.mark.parametrize("shared", [None, SharedBuckets()], ids=["its own", "shared"])
def test_shared_buckets_are_as_exact_as_ones_own(shared: SharedBuckets | None) -> None:
    """A burst, then as many as the rate allows, however the buckets are kept."""
    throttle = Throttle(RATES, shared)
    assert admitted(throttle, 20) == 5
    assert admitted(throttle, 20, now=START + 100_000) == 1
    assert admitted(throttle, 20, now=START + 400_000) == 3
    assert admitted(throttle, 20, now=START + 9_000_000) == 5


def test_what_one_process_took_the_other_has_not() -> None:
    """Two forked processes and their parent share one burst; another account, and another operation, have their own."""
    shared = SharedBuckets()
    took = [in_a_child(lambda: admitted(Throttle(RATES, shared), 2)) for _ in range(2)]
    assert [*took, admitted(Throttle(RATES, shared), 9)] == [2, 2, 1]
    assert in_a_child(lambda: admitted(Throttle(RATES, shared), 9)) == 0
    assert admitted(Throttle(RATES, shared), 9, account="2") == 5
    assert Throttle(RATES, shared).admits("1", "us-east-1", "MeterUsage", START)


def test_a_full_table_costs_only_the_sharing() -> None:
    """Where no place is free a bucket is its process's own; full buckets give their places up again."""
    shared = SharedBuckets(1)
    throttles = [Throttle(RATES, shared) for _ in range(2)]
    for number in range(PLACES):
        assert admitted(throttles[0], 9, account=str(number)) == 5
    assert [admitted(throttle, 9, account="late") for throttle in throttles] == [5, 5]
    later = START + 10_000_000
    assert [admitted(throttle, 3, now=later, account="later") for throttle in throttles] == [3, 2]


def test_processes_at_once_draw_no_token_twice() -> None:
    """Four processes that draw from one bucket at the same time get as many tokens as it has, every time."""
    for _ in range(20):
        shared = SharedBuckets()
        together = Rate(0.001, 100)
        throttle = Throttle({"BatchMeterUsage": together}, shared)
        children = []
        for _ in range(4):
            child = os.fork()
            if child == 0:
                os._exit(admitted(throttle, 50))
            children.append(child)
        assert sum(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children) == 100


def test_whoever_is_killed_lets_go() -> None:
    """A process that is killed while it holds a bucket's lock does not stop the others."""
    shared = SharedBuckets(1)

    def die_amid_a_draw(_full_at: int) -> tuple[int, bool]:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError("it lives")

    child = os.fork()
    if child == 0:
        shared.draw("name", START, die_amid_a_draw)
    os.waitpid(child, 0)
    assert shared.draw("name", START, lambda full_at: (full_at, True))
