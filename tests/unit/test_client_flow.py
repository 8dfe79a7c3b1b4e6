"""One call: signing, retries, deadlines, the clock that is corrected, credentials that are renewed.

Every test here runs by threads, by tasks and by hand.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any

import pytest

from meterhouse.client.credentials import Credentials
from meterhouse.client.doubles import RecordedTransport, answer, error_answer
from meterhouse.client.errors import (
    AnswerTimeoutError,
    ConnectError,
    DeadlineExceededError,
    ExpiredCredentialsException,
    InternalServiceErrorException,
    InvalidSignatureException,
    InvalidTokenException,
    MeteringError,
    ServiceError,
    ServiceFailedError,
    ThrottlingException,
    TransportError,
    UnreadableAnswerError,
    ValidationException,
)
from meterhouse.client.flow import CredentialSource, Flow, Instant
from meterhouse.client.settings import ClientOptions
from meterhouse.client.transport import HttpAnswer, HttpRequest
from tests.unit.client_ways import WAYS, Calls, Way, by_hand

RESOLVED = answer({"ProductCode": "p", "CustomerAWSAccountId": "444455556666"})
THROTTLED = error_answer("ThrottlingException", "Rate exceeded")
BUSY = error_answer("ServiceUnavailable", status=503)
BUG = error_answer("InternalServiceErrorException", status=500)
NO_TOKEN = error_answer("InvalidTokenException", "Registration token is invalid")


@pytest.fixture(params=list(WAYS))
def way(request: pytest.FixtureRequest) -> Way:
    """By threads, by tasks, by hand."""
    return WAYS[request.param]


def _header(request: HttpRequest, name: bytes) -> str:
    return next(value.decode() for key, value in request.headers if key.lower() == name)


# What comes, one after another; how many requests that makes; what comes of it.
ENDINGS: list[tuple[str, list[HttpAnswer | TransportError], int, type[MeteringError] | None]] = [
    ("an answer", [RESOLVED], 1, None),
    ("a refusal is final", [NO_TOKEN], 1, InvalidTokenException),
    ("throttled once", [THROTTLED, RESOLVED], 2, None),
    ("throttled for long", [THROTTLED] * 3, 3, ThrottlingException),
    ("busy, then not", [BUSY, BUG, RESOLVED], 3, None),
    ("a bug that stays", [BUG] * 3, 3, InternalServiceErrorException),
    ("no connection, then one", [ConnectError("refused"), RESOLVED], 2, None),
    ("no answer in time", [AnswerTimeoutError("late")] * 3, 3, AnswerTimeoutError),
    ("an answer cut short", [answer(b'{"ProductCode":'), RESOLVED], 2, None),
    ("a page of somebody else's", [answer(b"<html>")] * 3, 3, UnreadableAnswerError),
    ("an answer that lacks what it is about", [answer({})] * 3, 3, UnreadableAnswerError),
    ("a gateway's words", [HttpAnswer(502, {}, b"<html>bad gateway")] * 3, 3, ServiceFailedError),
    ("429 without a name", [HttpAnswer(429, {}, b""), RESOLVED], 2, None),
    ("not implemented", [HttpAnswer(501, {}, b"")], 1, ServiceFailedError),
    ("a redirection", [HttpAnswer(302, {}, b"")], 1, ServiceError),
    ("a code of later years", [error_answer("BillingHolidayException")], 1, ServiceError),
    ("refused after a retry", [BUSY, NO_TOKEN], 2, InvalidTokenException),
]


@pytest.mark.parametrize(
    ("answers", "requests", "error"), [row[1:] for row in ENDINGS], ids=[row[0] for row in ENDINGS]
)
def test_what_is_tried_again(
    way: Way, answers: list[HttpAnswer | TransportError], requests: int, error: type[MeteringError] | None
) -> None:
    """What may pass is tried three times in all, what will not is tried once, and the last word is the call's."""
    calls = way(RecordedTransport(answers))
    if error is None:
        assert calls.resolve_customer("token").product_code == "p"
    else:
        with pytest.raises(error) as raised:
            calls.resolve_customer("token")
        assert type(raised.value) is error
    assert len(calls.transport.requests) == requests


def test_every_attempt_says_the_same(way: Way) -> None:
    """A retry has the bytes of the first attempt, its invocation and ClientToken, and says which attempt it is."""
    calls = way(RecordedTransport([BUSY, THROTTLED, answer({"MeteringRecordId": "id"})]))
    moment = datetime(2026, 11, 21, tzinfo=UTC)
    calls.meter_usage(product_code="p", timestamp=moment, usage_dimension="users", usage_quantity=1)
    requests = calls.transport.requests
    assert len({request.body for request in requests}) == 1
    assert json.loads(requests[0].body)["ClientToken"]
    assert len({_header(request, b"amz-sdk-invocation-id") for request in requests}) == 1
    attempts = [_header(request, b"amz-sdk-request") for request in requests]
    assert attempts == ["attempt=1; max=3", "attempt=2; max=3", "attempt=3; max=3"]


def test_max_attempts_bounds_the_attempts(way: Way) -> None:
    """One attempt means one."""
    calls = way(RecordedTransport([BUSY]), options=ClientOptions(max_attempts=1))
    with pytest.raises(ServiceFailedError):
        calls.resolve_customer("token")


def test_waits_grow_and_are_the_services_to_raise(way: Way) -> None:
    """A wait is at most 50 ms, then 100; 1 s, then 2 where the service throttles; x-amz-retry-after raises it."""
    quick = way(RecordedTransport([BUSY, BUSY, RESOLVED]))
    quick.resolve_customer("token")
    assert quick.clock.seconds <= 0.05 + 0.1
    slow = way(RecordedTransport([THROTTLED, THROTTLED, RESOLVED]))
    slow.resolve_customer("token")
    assert slow.clock.seconds <= 1 + 2
    told = way(RecordedTransport([error_answer("ServiceUnavailable", status=503, x_amz_retry_after="4000"), RESOLVED]))
    told.resolve_customer("token")
    assert 4 <= told.clock.seconds <= 4.06


def test_a_deadline_ends_the_call(way: Way) -> None:
    """When the next attempt would come too late, the last error is the call's; and no time at all is too little."""
    calls = way(RecordedTransport([error_answer("ServiceUnavailable", status=503, x_amz_retry_after="4000")]))
    with pytest.raises(ServiceFailedError):
        calls.resolve_customer("token", timeout_seconds=3)
    with pytest.raises(DeadlineExceededError):
        calls.resolve_customer("token", timeout_seconds=0)
    assert len(calls.transport.requests) == 1


def test_a_deadline_bounds_each_wait_for_an_answer() -> None:
    """An attempt waits no longer than the call has left."""
    waits: list[float] = []

    class Watched(RecordedTransport):
        def send(self, request: HttpRequest, timeout_seconds: float) -> HttpAnswer:
            waits.append(timeout_seconds)
            return super().send(request, timeout_seconds)

    calls = by_hand(Watched([RESOLVED, RESOLVED]), options=ClientOptions(answer_timeout_seconds=60))
    calls.resolve_customer("token")
    calls.resolve_customer("token", timeout_seconds=7)
    assert waits == [60, 7]


def test_the_quota_ends_retries_in_a_long_outage() -> None:
    """35 retries at 14 tokens use up 500; then each call is tried once, until successes have given tokens back."""
    outage = by_hand(RecordedTransport(lambda _: BUSY))
    for _ in range(50):
        with pytest.raises(ServiceFailedError):
            outage.resolve_customer("token")
    assert len(outage.transport.requests) == 50 + 500 // 14
    left = outage.caller.quota.left
    assert left == 500 % 14
    outage.transport = RecordedTransport(lambda _: RESOLVED)
    outage.resolve_customer("token")
    assert outage.caller.quota.left == left + 1


def test_a_success_gives_back_what_its_retry_took() -> None:
    """A call that succeeds after a retry costs the quota nothing."""
    calls = by_hand(RecordedTransport([THROTTLED, RESOLVED, BUSY, RESOLVED]))
    calls.resolve_customer("token")
    calls.resolve_customer("token")
    assert calls.caller.quota.left == 500


# --- clocks and credentials -------------------------------------------------------------------------------------------


def _says_time(seconds_apart: float) -> Callable[[Calls], HttpAnswer]:
    def made(calls: Calls) -> HttpAnswer:
        now = datetime.fromtimestamp(calls.clock.wall_micros / 1e6 + seconds_apart, UTC)
        return error_answer("InvalidSignatureException", "Signature expired", date=format_datetime(now, usegmt=True))

    return made


@pytest.mark.parametrize(
    ("seconds_apart", "is_corrected"), [(3600, True), (-3600, True), (241, True), (239, False), (0, False)]
)
def test_a_wrong_clock_is_corrected(way: Way, seconds_apart: float, is_corrected: bool) -> None:
    """A signature refused for its time is made again by the service's clock, if that is four minutes away or more."""
    calls = way(RecordedTransport([]))
    refusal = _says_time(seconds_apart)(calls)
    answers = [refusal, RESOLVED, RESOLVED]
    calls.transport._left.extend(answers)
    if not is_corrected:
        with pytest.raises(InvalidSignatureException):
            calls.resolve_customer("token")
        return
    calls.resolve_customer("token")
    calls.resolve_customer("token")
    first, *others = [
        datetime.strptime(_header(request, b"x-amz-date"), "%Y%m%dT%H%M%S%z") for request in calls.transport.requests
    ]
    assert {(other - first).total_seconds() for other in others} == {seconds_apart}


def test_a_wrong_secret_is_not_taken_for_a_wrong_clock(way: Way) -> None:
    """A signature that simply differs is refused once, with or without a Date."""
    for refusal in (error_answer("InvalidSignatureException"), error_answer("InvalidSignatureException", date="today")):
        calls = way(RecordedTransport([refusal]))
        with pytest.raises(InvalidSignatureException):
            calls.resolve_customer("token")


class _Renewable(CredentialSource):
    def __init__(self) -> None:
        self.held = Credentials("ASIAOLD", "secret", "token")

    def current(self, now: Instant) -> Flow[Credentials]:
        yield from ()
        return self.held

    def renewed(self, refused: Credentials) -> Flow[Credentials | None]:
        yield from ()
        self.held = Credentials("ASIANEW", "secret", "token")
        return self.held


EXPIRED = error_answer("ExpiredTokenException", "The security token included in the request is expired")


def test_expired_credentials_are_renewed_once(way: Way) -> None:
    """Credentials that the service calls expired are replaced within the call; if those are too, that is the answer."""
    calls = way(RecordedTransport([EXPIRED, RESOLVED]), credentials=_Renewable())
    assert calls.resolve_customer("token").product_code == "p"
    keys = [_header(request, b"authorization").split("/")[0] for request in calls.transport.requests]
    assert keys == ["AWS4-HMAC-SHA256 Credential=ASIAOLD", "AWS4-HMAC-SHA256 Credential=ASIANEW"]
    again = way(RecordedTransport([EXPIRED, EXPIRED]), credentials=_Renewable())
    with pytest.raises(ExpiredCredentialsException):
        again.resolve_customer("token")


def test_credentials_that_stay_the_same_are_not_tried_twice(way: Way) -> None:
    """Given credentials have no others behind them."""
    calls = way(RecordedTransport([EXPIRED]))
    with pytest.raises(ExpiredCredentialsException):
        calls.resolve_customer("token")


# --- errors -----------------------------------------------------------------------------------------------------------

FORMS: list[tuple[Any, dict[str, str], str, str]] = [
    ({"__type": "InvalidTokenException", "message": "m"}, {}, "InvalidTokenException", "m"),
    ({"__type": "com.amazon.coral.service#InvalidTokenException"}, {}, "InvalidTokenException", ""),
    ({"__type": "InvalidTokenException:http://internal/coral/", "Message": "M"}, {}, "InvalidTokenException", "M"),
    ({"code": "aws.metering#InvalidTokenException", "message": "m"}, {}, "InvalidTokenException", "m"),
    ({"message": "m"}, {"x-amzn-errortype": "InvalidTokenException:http://x/"}, "InvalidTokenException", "m"),
    (b"plain words", {}, "400", "plain words"),
    (b"", {}, "400", ""),
    (b"[1]", {}, "400", "[1]"),
    ({"__type": None, "message": 7}, {}, "400", "7"),
]


@pytest.mark.parametrize(("said", "headers", "code", "message"), FORMS)
def test_an_error_is_read_in_every_form(way: Way, said: Any, headers: dict[str, str], code: str, message: str) -> None:
    """The name may stand in body or header, with a namespace and a URI around it; without one it is the status."""
    body = said if isinstance(said, bytes) else json.dumps(said).encode()
    calls = way(RecordedTransport([HttpAnswer(400, {"x-amzn-requestid": "r-1", **headers}, body)]))
    with pytest.raises(ServiceError) as raised:
        calls.resolve_customer("token")
    error = raised.value
    assert (error.code, error.message, error.status, error.request_id) == (code, message, 400, "r-1")
    assert isinstance(error, InvalidTokenException) == (code == "InvalidTokenException")


def test_an_error_says_whether_to_try_again(way: Way) -> None:
    """`retryable` is True of what may pass, and False of what will not."""
    for given, expected in (
        (THROTTLED, True),
        (BUG, True),
        (NO_TOKEN, False),
        (error_answer("ValidationException"), False),
    ):
        with pytest.raises(ServiceError) as raised:
            way(RecordedTransport([given] * 3)).resolve_customer("token")
        assert raised.value.retryable is expected


def test_an_unknown_operation_is_not_sent(way: Way) -> None:
    """The wire's own words are judged by the service alone, but for the operation's name."""
    calls = way(RecordedTransport([error_answer("ValidationException")]))
    with pytest.raises(ValidationException):
        calls.call("BatchMeterUsage", {"UsageRecords": "none"})
    with pytest.raises(MeteringError, match="'Bill' is no operation"):
        calls.call("Bill", {})
    assert len(calls.transport.requests) == 1


@pytest.mark.parametrize("name", ["by threads", "by tasks"])
def test_a_surprise_in_a_transport_is_no_answer(name: str) -> None:
    """Whatever a transport of one's own raises comes out, a StopIteration too: it must not look like the flow's end."""
    calls = WAYS[name](RecordedTransport(lambda _: next(iter(()))))
    with pytest.raises((StopIteration, RuntimeError)):
        calls.resolve_customer("token")
