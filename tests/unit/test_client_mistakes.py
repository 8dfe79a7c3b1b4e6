"""What programs get wrong: said at once and in words where it can be, and never paid for by other records."""

from collections.abc import Callable
from typing import Any

import pytest

from meterhouse.client.client import AsyncMeteringClient, MeteringClient
from meterhouse.client.credentials import Credentials
from meterhouse.client.doubles import ManualClock, RecordedTransport
from meterhouse.client.errors import ConfigurationError, ConnectError, CredentialsError, InvalidRequestError
from meterhouse.client.outcomes import Accepted, Refused
from meterhouse.client.records import UsageAllocation
from meterhouse.client.settings import ClientOptions
from meterhouse.client.transport import NetworkOptions
from tests.unit.client_batches import used
from tests.unit.client_service import DumbService
from tests.unit.client_ways import KEYS

PRODUCT = "p"


def client(transport: RecordedTransport | None = None, **settings: Any) -> MeteringClient:
    """A client of a service that accepts what is not plainly bad; waiting takes no time."""
    usual = {"region": "us-east-1", "endpoint_url": "http://a.test", "credentials": KEYS, "clock": ManualClock()}
    return MeteringClient(transport=transport or RecordedTransport(DumbService()), **{**usual, **settings})


HALF: str = "\ud800"
"""Half of a surrogate pair: a text in Python, and nothing that can be sent."""


@pytest.mark.parametrize("name", [HALF, ["users"], 7, b"users", None], ids=repr)
def test_a_name_that_is_no_text_sinks_nobody_else(name: Any) -> None:
    """The record is refused with the reason; the one beside it is accepted."""
    result = client().batch_meter_usage([used(1), used(2, name), used(3)], product_code=PRODUCT)
    assert [type(outcome) for outcome in result] == [Accepted, Refused, Accepted]
    assert isinstance(result.refused[0].reason, InvalidRequestError)


@pytest.mark.parametrize("code", [["p"], 7, HALF], ids=repr)
def test_a_product_code_that_is_no_text_sinks_nobody_else(code: Any) -> None:
    """Of a record that has a code of its own, the same holds."""
    result = client().batch_meter_usage([used(1), used(2, product_code=code), used(3)], product_code=PRODUCT)
    assert [type(outcome) for outcome in result] == [Accepted, Refused, Accepted]


SAID: list[tuple[Callable[[MeteringClient], Any], type[Exception], str]] = [
    (lambda calls: calls.batch_meter_usage([{"Dimension": "users"}]), TypeError, "a UsageRecord, not dict"),  # type: ignore[list-item]  # the mistake itself
    (lambda calls: calls.batch_meter_usage_once([{"Dimension": "users"}]), TypeError, "a UsageRecord, not dict"),  # type: ignore[list-item]  # the same
    (lambda calls: calls.check([used(1), None]), TypeError, "a UsageRecord, not NoneType"),  # type: ignore[list-item]  # the same
    (lambda calls: calls.batch_meter_usage_once([used(1)], product_code=HALF), InvalidRequestError, "surrogates"),
    (lambda calls: calls.batch_meter_usage_once([used(1)], product_code=5), InvalidRequestError, "must be a string"),  # type: ignore[arg-type]  # the same
    (lambda calls: calls.resolve_customer(HALF), InvalidRequestError, "surrogates"),
    (lambda calls: calls.call("ResolveCustomer", {"RegistrationToken": HALF}), InvalidRequestError, "is no text"),
    (lambda calls: calls.call("ResolveCustomer", {"RegistrationToken": b"a"}), TypeError, "decode them"),
    (lambda _: UsageAllocation(1, {"team": None}), TypeError, "tags are a mapping of texts"),  # type: ignore[dict-item]  # the same
    (lambda _: UsageAllocation(1, [{"Key": "team", "Value": "a"}]), TypeError, "tags are a mapping"),  # type: ignore[arg-type]  # the same
    (lambda _: UsageAllocation(1, ["ab"]), TypeError, "tags are a mapping of texts"),  # type: ignore[arg-type]  # the same
    (lambda _: used(1, allocations=[{"quantity": 1}]), TypeError, "a UsageAllocation, not dict"),
]


@pytest.mark.parametrize(("say", "kind", "words"), SAID)
def test_a_mistake_is_told_in_words(say: Callable[[MeteringClient], Any], kind: type[Exception], words: str) -> None:
    """What is no record, no text and no tag is refused by what it is; nothing is sent."""
    transport = RecordedTransport(DumbService())
    with pytest.raises(kind, match=words):
        say(client(transport))
    assert transport.requests == []


def test_records_of_one_request_may_come_from_anywhere() -> None:
    """A generator of records is as good as a list of them, in both kinds of batch."""
    records = [used(1), used(2)]
    assert len(client().batch_meter_usage(iter(records), product_code=PRODUCT).accepted) == 2
    assert len(client().batch_meter_usage_once(iter(records), product_code=PRODUCT).results) == 2


OPTIONS: list[tuple[Callable[[], Any], str]] = [
    (lambda: ClientOptions(concurrency=0), "concurrency is 0, where a whole number from 1 is wanted"),
    (lambda: ClientOptions(max_attempts=0), "max_attempts is 0"),
    (lambda: ClientOptions(max_attempts=True), "max_attempts is True"),
    (lambda: ClientOptions(resend_rounds=-1), "resend_rounds is -1, where a whole number from 0"),
    (lambda: ClientOptions(requests_per_second=0), "requests_per_second is 0, where a number above 0 is wanted"),
    (lambda: ClientOptions(answer_timeout_seconds=float("nan")), "answer_timeout_seconds is nan"),
    (lambda: ClientOptions(answer_timeout_seconds="60"), "answer_timeout_seconds is '60'"),  # type: ignore[arg-type]  # the mistake itself
    (lambda: NetworkOptions(max_connections=0), "max_connections is 0"),
    (lambda: NetworkOptions(connect_timeout_seconds=-1), "connect_timeout_seconds is -1"),
]


@pytest.mark.parametrize(("make", "words"), OPTIONS)
def test_an_option_out_of_its_bounds_is_refused(make: Callable[[], Any], words: str) -> None:
    """With none at a time nothing would ever be sent: that is said before a client is made."""
    with pytest.raises(ConfigurationError, match=words):
        make()


@pytest.mark.parametrize("kind", [MeteringClient, AsyncMeteringClient])
def test_a_setting_that_is_none_is_refused(kind: Callable[..., Any]) -> None:
    """A misspelt one is not passed over."""
    with pytest.raises(TypeError, match="unexpected keyword argument 'regin'"):
        kind(regin="us-east-1")


KEYS_IN_ERROR: list[tuple[Any, str]] = [
    (Credentials(None, "s"), "the access key id is no text but NoneType"),  # type: ignore[arg-type]  # the mistake itself
    (Credentials("AKID", None), "the secret access key is no text"),  # type: ignore[arg-type]  # the same
    (Credentials("", "s"), "the access key id is empty"),
    (Credentials("AKID", "s", ""), "the session token is empty"),
    (Credentials("AKID\n", "s"), "the access key id has a line break"),
    (Credentials("AKID", "s3cret\n"), "the secret access key has a line break"),
    (Credentials("AKID", "s", "t\r\nX: y"), "the session token has a line break"),
    (Credentials("AKÏD", "s"), "the access key id has characters in it"),
]


@pytest.mark.parametrize(("keys", "words"), KEYS_IN_ERROR)
def test_keys_that_cannot_sign_are_refused_before_anything_is_sent(keys: Credentials, words: str) -> None:
    """Given as they are, or by a function; what is secret of them is not shown."""
    with pytest.raises(CredentialsError, match=words) as given:
        client(credentials=keys)
    with pytest.raises(CredentialsError, match=words):
        client(credentials=lambda: keys).resolve_customer("a token")
    assert "s3cret" not in str(given.value)


def test_credentials_of_another_kind_are_refused() -> None:
    """A pair or a dictionary is none, and a function must give some."""
    for keys in (("AKID", "s"), {"aws_access_key_id": "AKID"}):
        with pytest.raises(TypeError, match="credentials are Credentials"):
            client(credentials=keys)
    with pytest.raises(CredentialsError, match="gave tuple"):
        client(credentials=lambda: ("AKID", "s")).resolve_customer("a token")


def test_where_time_runs_out_the_failure_before_is_told() -> None:
    """Whoever cannot reach the service learns that, and not only that it took too long."""
    unreachable = RecordedTransport(lambda _: ConnectError("no connection to http://a.test: refused"))
    calls = client(unreachable, options=ClientOptions(resend_rounds=1000))
    result = calls.batch_meter_usage([used(1)], product_code=PRODUCT, timeout_seconds=30)
    (unsent,) = result.unsent
    assert unsent.reason.code == "DeadlineExceededError"
    assert "before that: ConnectError: no connection to http://a.test: refused" in str(unsent.reason)
    assert not unsent.may_be_kept
