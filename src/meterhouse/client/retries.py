"""When to try again, and how long to wait first: the standard mode of the AWS SDKs.

The rules, as botocore's `retries/standard.py` has them (a parity test holds ours against it):

* at most 3 attempts (`max_attempts`), the first one counted;
* tried again is what is `retryable`: no answer, HTTP 500, 502, 503, 504, throttled (its names, HTTP 429), timed out;
* before the i-th retry the wait is `random() * min(scale * 2 ** (i - 1), 20 s)`, with a scale of 1 s where the service
  throttles and 50 ms elsewhere. `x-amz-retry-after` (ms) raises it, by 5 s at the most;
* a quota shared by all calls of a client: 500 tokens; a retry takes 14 (5 where throttled), a success after retries
  gives back what its last one took, a success at once gives 1. Without tokens there is no retry, so that a service in
  trouble is not buried under its clients.

Beyond the SDKs: a `Rate`, which spaces requests so that AWS's throttle is not met at all.
"""

import threading
from typing import Final

from meterhouse.client.errors import MeteringError, ThrottlingException

QUOTA: Final = 500
_RETRY_COST: Final = 14
_THROTTLED_RETRY_COST: Final = 5
_NO_RETRY_INCREMENT: Final = 1

_SCALE_SECONDS: Final = 0.05
_THROTTLED_SCALE_SECONDS: Final = 1.0
LONGEST_BACKOFF_SECONDS: Final = 20.0
_RETRY_AFTER_MOST_SECONDS: Final = 5.0


def is_throttled(error: MeteringError) -> bool:
    """Whether the service asked for fewer requests."""
    return isinstance(error, ThrottlingException)


def backoff_seconds(attempt: int, *, throttled: bool, random: float, retry_after: str | None = None) -> float:
    """How long to wait after the `attempt`-th attempt (from 1) has failed. `random` lies in [0, 1)."""
    scale = _THROTTLED_SCALE_SECONDS if throttled else _SCALE_SECONDS
    wait = random * min(scale * (1 << (attempt - 1)), LONGEST_BACKOFF_SECONDS)
    if retry_after is not None and retry_after.isdecimal():
        return max(wait, min(int(retry_after) / 1000, wait + _RETRY_AFTER_MOST_SECONDS))
    return wait


class RetryQuota:
    """The tokens that retries of one client share. Safe between threads."""

    def __init__(self, tokens: int = QUOTA) -> None:
        self._most = self._left = tokens
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Tokens left."""
        return self._left

    def take(self, *, throttled: bool) -> int:
        """The tokens that a retry costs, taken; 0 where there are not enough."""
        cost = _THROTTLED_RETRY_COST if throttled else _RETRY_COST
        with self._lock:
            if cost > self._left:
                return 0
            self._left -= cost
            return cost

    def give_back(self, taken: int) -> None:
        """A call has succeeded; `taken` by its last retry, 0 where it had none."""
        if self._left == self._most:  # the usual case, and one that needs no lock: nothing to add
            return
        with self._lock:
            self._left = min(self._most, self._left + (taken or _NO_RETRY_INCREMENT))


class Rate:
    """Spaces requests as a token bucket lets them through: a burst of one second's worth, then evenly.

    Instants are monotonic seconds. A request that may not go yet is told when it may, and its place is kept. Safe
    between threads.
    """

    def __init__(self, per_second: float, burst: float | None = None) -> None:
        self._interval = 1 / per_second
        self._burst_seconds = (per_second if burst is None else burst) * self._interval
        self._paid_until = float("-inf")
        self._lock = threading.Lock()

    def next_place(self, now: float) -> float:
        """The instant at which the next request may go: `now` where it may at once."""
        with self._lock:
            self._paid_until = max(self._paid_until, now - self._burst_seconds) + self._interval
            return max(now, self._paid_until)
