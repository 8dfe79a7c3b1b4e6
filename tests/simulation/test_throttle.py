"""Token buckets, against buckets that count their tokens one by one; and the files that say how often (contract §9)."""

from fractions import Fraction
from pathlib import Path
from typing import Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meterhouse.core.moment import SECOND
from meterhouse.core.profile import OPERATIONS
from meterhouse.server import throttle
from meterhouse.server.settings import BadSettings, rates_named
from meterhouse.server.throttle import AWS_RATES, BadRates, Rate, Throttle, read_rates

BEGUN: Final = 1_795_262_400 * SECOND


class Bucket:
    """A bucket as one would draw it: tokens drop in, a call takes one out, and no more fit than it holds."""

    def __init__(self, rate: Rate) -> None:
        self.rate = rate
        self.tokens = Fraction(rate.burst)
        self.looked_at = BEGUN

    def take(self, now_micros: int) -> bool:
        """Takes a token, if there is one."""
        passed = Fraction(now_micros - self.looked_at, SECOND)
        self.tokens = min(self.tokens + passed * Fraction(self.rate.per_second), Fraction(self.rate.burst))
        self.looked_at = now_micros
        if self.tokens < 1:
            return False
        self.tokens -= 1
        return True


RATES: Final = [Rate(10, 10), Rate(5, 5), Rate(1, 1), Rate(2, 7), Rate(0.5, 3), Rate(1000, 1), Rate(8, 1)]
PLACES: Final = [(account, region) for account in ("1", "2") for region in ("us-east-1", "eu-west-1")]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(RATES),
    st.lists(
        st.tuples(st.sampled_from(PLACES), st.sampled_from((0, 0, 0, 1, 99_999, 100_000, 250_000, SECOND, 7 * SECOND))),
        max_size=60,
    ),
)
def test_buckets_are_those_that_count(rate: Rate, calls: list[tuple[tuple[str, str], int]]) -> None:
    """Whoever calls whenever, from wherever: admitted or not as by a bucket of their own. Rates divide a second."""
    kept = Throttle({"MeterUsage": rate})
    buckets = {place: Bucket(rate) for place in PLACES}
    now = BEGUN
    for place, wait in calls:
        now += wait
        assert kept.admits(*place, "MeterUsage", now) == buckets[place].take(now)


@settings(max_examples=50, deadline=None)
@given(st.floats(0.001, 100_000), st.integers(1, 50), st.integers(1, 400))
def test_no_rate_admits_more_than_it_says(per_second: float, burst: int, calls: int) -> None:
    """At any rate, over any number of calls as fast as they are admitted: the burst, and then one a token's time."""
    kept = Throttle({"MeterUsage": Rate(per_second, burst)})
    gap = max(1, int(SECOND / per_second / 7))
    now, admitted = BEGUN, 0
    for _ in range(calls):
        admitted += kept.admits("1", "us-east-1", "MeterUsage", now)
        now += gap
    elapsed = (calls - 1) * gap
    assert admitted <= burst + Fraction(elapsed, SECOND) * Fraction(per_second) + Fraction(1, 1000)
    assert admitted >= min(calls, 1 + elapsed // (int(SECOND / per_second) + 1 + gap))


def test_aws_own_figures() -> None:
    """Ten a second of each but RegisterUsage, of which five; a burst is one second's worth."""
    kept = Throttle(AWS_RATES)
    for operation, most in (("BatchMeterUsage", 10), ("MeterUsage", 10), ("RegisterUsage", 5), ("ResolveCustomer", 10)):
        for second in range(3):
            now = BEGUN + second * SECOND
            admitted = [kept.admits("1", "us-east-1", operation, now) for _ in range(most + 3)]
            assert admitted == [True] * most + [False] * 3
        now += SECOND // most
        assert kept.admits("1", "us-east-1", operation, now)
        assert not kept.admits("1", "us-east-1", operation, now)


def test_an_operation_without_a_rate_is_not_throttled() -> None:
    """Nor does it take anything from another's bucket."""
    kept = Throttle({"RegisterUsage": Rate(1, 1)})
    assert all(kept.admits("1", "us-east-1", "MeterUsage", BEGUN) for _ in range(1000))
    assert kept.admits("1", "us-east-1", "RegisterUsage", BEGUN)
    assert not kept.admits("1", "us-east-1", "RegisterUsage", BEGUN)


@pytest.mark.parametrize("back", [1, SECOND, 3600 * SECOND, 10**16])
def test_time_that_is_set_back_locks_nobody_out(back: int) -> None:
    """An emptied bucket gives a token when one token's time has passed, whatever time it is."""
    kept = Throttle({"MeterUsage": Rate(10, 10)})
    while kept.admits("1", "us-east-1", "MeterUsage", BEGUN):
        pass
    now = BEGUN - back
    assert not kept.admits("1", "us-east-1", "MeterUsage", now)
    assert kept.admits("1", "us-east-1", "MeterUsage", now + SECOND // 10)


def test_buckets_that_are_full_again_are_forgotten() -> None:
    """Callers without end take no memory without end; those whose bucket is not full yet are remembered."""
    kept = Throttle({"MeterUsage": Rate(1, 1)})
    for number in range(20 * throttle.SWEPT_AT):
        kept.admits(str(number), "us-east-1", "MeterUsage", BEGUN + number * SECOND // 1000)
    assert len(kept._full_at) <= throttle.SWEPT_AT + 2000
    assert not kept.admits(str(number), "us-east-1", "MeterUsage", BEGUN + number * SECOND // 1000)


def test_a_crowd_is_swept_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no bucket is full again yet, the table is not searched for such at every new caller."""
    monkeypatch.setattr(throttle, "SWEPT_AT", 10)
    kept = Throttle({"MeterUsage": Rate(0.001, 1)})
    sweeps, before = 0, kept._full_at
    for number in range(1000):
        kept.admits(str(number), "us-east-1", "MeterUsage", BEGUN)
        sweeps += kept._full_at is not before
        before = kept._full_at
    assert sweeps < 10


# --- files ------------------------------------------------------------------------------------------------------------

GOOD: Final = [
    ("", {}),
    ("[MeterUsage]\nper_second = 10\nburst = 20\n", {"MeterUsage": Rate(10, 20)}),
    ("[MeterUsage]\nper_second = 2.5\n", {"MeterUsage": Rate(2.5, 2)}),
    ("[MeterUsage]\nper_second = 0.1\n", {"MeterUsage": Rate(0.1, 1)}),
    (
        "".join(f"[{operation}]\nper_second = 1\n" for operation in sorted(OPERATIONS)),
        dict.fromkeys(OPERATIONS, Rate(1, 1)),
    ),
]


@pytest.mark.parametrize(("text", "rates"), GOOD)
def test_files_that_can_be_read(tmp_path: Path, text: str, rates: dict[str, Rate]) -> None:
    """A table an operation; a burst that is not said is one second's worth."""
    path = tmp_path / "rates.toml"
    path.write_text(text)
    assert read_rates(path) == rates
    assert rates_named(str(path)) == rates


BAD: Final = [
    "per_second = 1",
    "[GetUsage]\nper_second = 1",
    "[meterusage]\nper_second = 1",
    "[MeterUsage]",
    "[MeterUsage]\nburst = 1",
    "[MeterUsage]\nper_second = 0",
    "[MeterUsage]\nper_second = -1",
    "[MeterUsage]\nper_second = 1000001",
    "[MeterUsage]\nper_second = nan",
    "[MeterUsage]\nper_second = inf",
    "[MeterUsage]\nper_second = true",
    '[MeterUsage]\nper_second = "1"',
    "[MeterUsage]\nper_second = 1\nburst = 0",
    "[MeterUsage]\nper_second = 1\nburst = 1.5",
    "[MeterUsage]\nper_second = 1\nper_minute = 1",
    "[[MeterUsage]]\nper_second = 1",
    "[MeterUsage\n",
    "\udcff",
]


@pytest.mark.parametrize("text", BAD)
def test_files_that_cannot_be_used(tmp_path: Path, text: str) -> None:
    """One sentence that names the file; as a setting it is a bad one."""
    path = tmp_path / "rates.toml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(BadRates, match=r"^--throttle: .*rates\.toml"):
        read_rates(path)
    with pytest.raises(BadSettings, match=r"^--throttle: "):
        rates_named(str(path))


def test_names_of_rates() -> None:
    """`off` and `aws` are no files, wherever the server is started."""
    assert rates_named("off") == {}
    assert rates_named("aws") == AWS_RATES
