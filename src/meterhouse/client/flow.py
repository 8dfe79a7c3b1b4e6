"""One call as a generator: it yields what is to be done, and receives what came of it. No I/O in this file.

Theory. A call of this service is a conversation: sign, send, look at the answer, wait, send again. Whether that is done
by a thread, by a task or by hand in a test changes nothing in it. So a *flow* yields a step and is sent its result:

    Now()                 -> Instant                     what time is it?
    Send(request, s)      -> HttpAnswer | TransportError  send this, wait s seconds at the most
    Sleep(until)          -> None                        go on at this monotonic instant
    Blocking(call)        -> what it returns             run this where it disturbs nobody
    Fork(flow)            -> None                        begin this flow beside me
    Join()                -> Joined                      wait for the next of mine that has ended

and returns its value. A transport's failure is a value here, never raised: only this file decides whether it is the
caller's. A driver (`thread_driver.py`, `asyncio_driver.py`) is a loop around `flow.send(result)`.

`exchange` is the one place where a request is signed, sent, judged and repeated. What it holds to:

* the same body bytes on every attempt, so the same ClientToken and the same keys: an attempt whose answer was lost
  changes nothing when it is repeated;
* signed anew on every attempt, with the time of that attempt and the credentials of that moment;
* a refusal that comes from a wrong clock corrects the clock (for the client, not for the machine) and is tried again,
  and one that comes from expired credentials renews them; both within `max_attempts`, without a wait;
* what is returned says whether an earlier attempt may have been kept (`lost`).
"""

from collections.abc import Callable, Generator
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec
from msgspec import Struct

from meterhouse.client.errors import (
    SKEW_CODES,
    DeadlineExceededError,
    ExpiredCredentialsException,
    MeteringError,
    ServiceError,
    TransportError,
    UnreadableAnswerError,
    UnrecognizedClientException,
    of_answer,
)
from meterhouse.client.retries import Rate, RetryQuota, backoff_seconds, is_throttled
from meterhouse.client.signing import Signer
from meterhouse.client.transport import Address, HttpAnswer, HttpRequest
from meterhouse.core.moment import SECOND
from meterhouse.wire.canonical import instant_of_http_date
from meterhouse.wire.keys import SigningCredentials

value_type = TypeVar("value_type")

# --- steps ------------------------------------------------------------------------------------------------------------


class Instant(Struct, frozen=True):
    """Now, by two clocks: one that people set, and one that only goes forward."""

    wall_micros: int
    """Microseconds since the epoch, for signatures and expiries."""
    seconds: float
    """Monotonic seconds, for deadlines and waits."""


class Now(Struct, frozen=True):
    """Asks for the `Instant`."""


class Send(Struct, frozen=True):
    """Asks for a request to be sent; answered by an `HttpAnswer`, or by the `TransportError` that came instead."""

    request: HttpRequest
    timeout_seconds: float


class Sleep(Struct, frozen=True):
    """Asks to be resumed at a monotonic instant."""

    until: float


class Blocking(Struct, frozen=True):
    """Asks for a call that may block; its result, or what it raises, comes back."""

    call: Callable[[], Any]


class Fork(Struct, frozen=True):
    """Asks for another flow to be run beside this one."""

    flow: "Flow[Any]"
    name: Any
    """By which `Joined` says which it was."""


class Join(Struct, frozen=True):
    """Asks for the next forked flow that has ended."""


class Joined(Struct, frozen=True):
    """A forked flow has ended."""

    name: Any
    value: Any
    """What it returned. A forked flow must not raise."""


Step = Now | Send | Sleep | Blocking | Fork | Join
Flow = Generator[Step, Any, value_type]

NOW: Final = Now()
JOIN: Final = Join()


# --- what the calls of one client share -------------------------------------------------------------------------------


class CredentialSource(Protocol):
    """Where credentials come from."""

    def current(self, now: Instant) -> Flow[SigningCredentials]:
        """Credentials that hold at `now`, renewed before they expire. Raises CredentialsError."""

    def renewed(self, refused: SigningCredentials) -> Flow[SigningCredentials | None]:
        """Other credentials than those refused; None where there are no others."""


class Limits(Struct, frozen=True):
    """How long and how often a call tries."""

    max_attempts: int
    answer_timeout_seconds: float


class Caller:
    """Whom a client calls, as whom, and what its calls have learned of the service together."""

    def __init__(
        self,
        endpoint: tuple[Address, bytes],
        region: str,
        credentials: CredentialSource,
        limits: Limits,
        *,
        rate: Rate | None,
        random: Callable[[], float],
        new_id: Callable[[], str],
        user_agent: str,
    ) -> None:
        self.address, self.target = endpoint
        self.region = region
        self.credentials = credentials
        self.limits = limits
        self.rate = rate
        self.random = random
        self.new_id = new_id
        self.quota = RetryQuota()
        self.skew_micros = 0
        """How far the service's clock is ahead of ours, once that was found to matter."""
        self._user_agent = (b"User-Agent", user_agent.encode())
        self._signer = Signer(self.address, self.target, region)

    def request(
        self, operation: str, body: bytes, credentials: SigningCredentials, now: Instant, attempt: int, invocation: str
    ) -> HttpRequest:
        """A signed request. What is signed is what botocore signs, and in its form."""
        headers = self._signer.headers(operation.encode(), body, credentials, now.wall_micros + self.skew_micros)
        headers.append(self._user_agent)
        headers.append((b"amz-sdk-invocation-id", invocation.encode()))
        headers.append((b"amz-sdk-request", b"attempt=%d; max=%d" % (attempt, self.limits.max_attempts)))
        return HttpRequest(self.address, headers, body, target=self.target)


# --- one request ------------------------------------------------------------------------------------------------------


class Reply(Struct, Generic[value_type], frozen=True):
    """What came of a request in the end: a value or an error, and how it came about."""

    value: value_type | None
    error: MeteringError | None
    request_id: str | None
    attempts: int
    lost: bool
    """Whether an attempt was made whose answer did not come: it may have been kept."""


def exchange(
    caller: Caller,
    operation: str,
    body: bytes,
    read: Callable[[bytes], value_type],
    *,
    until: float | None = None,
    rate: Rate | None = None,
) -> Flow[Reply[value_type]]:
    """Sends a body until there is an answer to give. `until`: the call's deadline, a monotonic instant; `rate`: whose
    turn is waited for before each attempt. `read` makes the value of a 200's body, or raises UnreadableAnswerError.

    Raises nothing that the service or the network brought about: that is in the Reply. Raises CredentialsError.
    """
    invocation = caller.new_id()
    attempts = taken = 0
    lost = renewed = False
    now: Instant = yield NOW
    credentials = yield from caller.credentials.current(now)
    while True:
        if rate is not None:
            now = yield from _turn(rate, now, until)
        timeout = caller.limits.answer_timeout_seconds
        if until is not None:
            timeout = min(timeout, until - now.seconds)
            if timeout <= 0:
                return Reply(None, _too_late(may_be_kept=lost), None, attempts, lost)
        attempts += 1
        request = caller.request(operation, body, credentials, now, attempts, invocation)
        answer: HttpAnswer | TransportError = yield Send(request, timeout)
        value, error = _judge(operation, answer, read)
        if error is None:
            caller.quota.give_back(taken)
            return Reply(value, None, _request_id(answer), attempts, lost)
        lost = lost or error.may_be_kept
        if attempts >= caller.limits.max_attempts:
            return Reply(None, error, error.request_id, attempts, lost)
        now = yield NOW
        if _corrects_clock(caller, answer, error, now):
            continue
        if not renewed and isinstance(error, ExpiredCredentialsException | UnrecognizedClientException):
            renewed = True
            others = yield from caller.credentials.renewed(credentials)
            if others is not None:
                credentials = others
                continue
        taken = caller.quota.take(throttled=is_throttled(error)) if error.retryable else 0
        if not taken:
            return Reply(None, error, error.request_id, attempts, lost)
        wait = _wait_seconds(caller, attempts, answer, error)
        if until is not None and now.seconds + wait >= until:
            return Reply(None, error, error.request_id, attempts, lost)
        yield Sleep(now.seconds + wait)
        now = yield NOW


def _turn(rate: Rate, now: Instant, until: float | None) -> Flow[Instant]:
    """Waits for the rate's next place, or for the deadline where that comes first."""
    place = rate.next_place(now.seconds)
    if place <= now.seconds:
        return now
    yield Sleep(place if until is None else min(place, until))
    later: Instant = yield NOW
    return later


def _too_late(*, may_be_kept: bool) -> DeadlineExceededError:
    return DeadlineExceededError("the time given to the call is over", may_be_kept=may_be_kept)


def _wait_seconds(caller: Caller, attempts: int, answer: HttpAnswer | TransportError, error: MeteringError) -> float:
    retry_after = answer.headers.get("x-amz-retry-after") if isinstance(answer, HttpAnswer) else None
    return backoff_seconds(attempts, throttled=is_throttled(error), random=caller.random(), retry_after=retry_after)


# --- answers ----------------------------------------------------------------------------------------------------------


def _judge(
    operation: str, answer: HttpAnswer | TransportError, read: Callable[[bytes], value_type]
) -> tuple[value_type | None, MeteringError | None]:
    if isinstance(answer, TransportError):
        return None, answer
    if 200 <= answer.status < 300:
        try:
            return read(answer.body), None
        except UnreadableAnswerError as error:
            error.status, error.request_id = answer.status, _request_id(answer)
            return None, error
    return None, error_of(operation, answer)


def _request_id(answer: HttpAnswer | TransportError) -> str | None:
    return None if isinstance(answer, TransportError) else answer.headers.get("x-amzn-requestid")


def error_of(operation: str, answer: HttpAnswer) -> ServiceError:
    """The error that an answer other than 2xx says: by `__type`, `code` or `x-amzn-errortype`; else by its status."""
    try:
        said: object = msgspec.json.decode(answer.body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        said = None
    if not isinstance(said, dict):
        said = {"message": answer.body[:200].decode(errors="replace")}
    code = said.get("__type") or said.get("code") or answer.headers.get("x-amzn-errortype") or ""
    message = said.get("message") or said.get("Message") or ""
    return of_answer(operation, _bare(str(code)), str(message), answer.status, _request_id(answer))


def _bare(code: str) -> str:
    """A name without the namespace before `#` and the URI behind `:`."""
    return code.partition(":")[0].rpartition("#")[2].strip()


_SKEW_THAT_MATTERS: Final = 240 * SECOND
"""Four minutes, as the SDKs have it: services allow five."""


def _corrects_clock(caller: Caller, answer: HttpAnswer | TransportError, error: MeteringError, now: Instant) -> bool:
    """Whether the service's clock was found to be far from the one that signed, and is now reckoned with."""
    if isinstance(answer, TransportError) or error.code not in SKEW_CODES:
        return False
    date = instant_of_http_date(answer.headers.get("date", ""))
    if date is None:
        return False
    skew_micros = date.seconds * SECOND - now.wall_micros
    if abs(skew_micros - caller.skew_micros) < _SKEW_THAT_MATTERS:
        return False
    caller.skew_micros = skew_micros
    return True
