"""What is tried again, after how long, and where a call goes: as botocore has it."""

import json
import random
from functools import cache
from types import SimpleNamespace
from typing import Any, Final

import pytest
from botocore.endpoint_provider import EndpointProvider, RuleSetEndpoint
from botocore.exceptions import ConnectionClosedError, EndpointProviderError
from botocore.loaders import Loader
from botocore.retries import standard

from meterhouse.client.doubles import error_answer
from meterhouse.client.endpoints import endpoint_url
from meterhouse.client.errors import (
    ConfigurationError,
    ConnectionLostError,
    MeteringError,
    TransportError,
    class_of,
)
from meterhouse.client.flow import error_of
from meterhouse.client.retries import QUOTA, RetryQuota, backoff_seconds, is_throttled
from meterhouse.client.settings import ClientOptions, Profile, settle
from meterhouse.client.transport import HttpAnswer
from tests.parity.client_oracle import URL, model_of, parsed_by_botocore

FAILURES: Final[list[HttpAnswer | TransportError]] = [
    *(
        error_answer(code, status=status)
        for code in [
            *standard.ThrottledRetryableChecker._THROTTLED_ERROR_CODES,
            *standard.TransientRetryableChecker._TRANSIENT_ERROR_CODES,
            "InternalServiceErrorException",
            "ServiceUnavailable",
            "ValidationException",
            "ExpiredTokenException",
            "AccessDeniedException",
            "InvalidTokenException",
            "Unheard",
        ]
        for status in (400, 500, 503)
    ),
    *(HttpAnswer(status, {}, b"") for status in (400, 403, 404, 413, 429, 500, 501, 502, 503, 504, 505)),
    ConnectionLostError("lost"),
]
_OF_OTHER_SERVICES: Final = {
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "EC2ThrottledException",
}
"""Names that no answer of this service can have."""


def _context(failure: HttpAnswer | TransportError, attempt: int) -> Any:
    if isinstance(failure, TransportError):
        lost = ConnectionClosedError(endpoint_url=URL)
        return standard.RetryContext(attempt, model_of("ResolveCustomer"), caught_exception=lost)

    parsed = parsed_by_botocore("ResolveCustomer", failure)
    http = SimpleNamespace(status_code=failure.status, headers=failure.headers)
    return standard.RetryContext(attempt, model_of("ResolveCustomer"), parsed, http)


@pytest.mark.parametrize("failure", FAILURES)
def test_the_same_is_tried_again(failure: HttpAnswer | TransportError) -> None:
    """What botocore's standard mode tries again, and counts as throttled, we do; and nothing else."""
    error: MeteringError = failure if isinstance(failure, TransportError) else error_of("ResolveCustomer", failure)
    if error.code in _OF_OTHER_SERVICES:
        assert class_of(error.code) is None
        return
    context = _context(failure, 1)
    assert error.retryable == standard.StandardRetryConditions().is_retryable(context)
    detector = standard.ThrottlingErrorDetector(standard.RetryEventAdapter())
    assert is_throttled(error) == detector.is_throttling_error_from_context(context)
    assert not standard.StandardRetryConditions().is_retryable(_context(failure, 3))


@pytest.mark.parametrize("retry_after", [None, "0", "300", "4000", "60000", "-1", "soon"])
@pytest.mark.parametrize("throttled", [False, True])
@pytest.mark.parametrize("attempt", [1, 2, 3, 7, 30])
def test_the_wait_is_botocores(attempt: int, throttled: bool, retry_after: str | None) -> None:
    """For the same draw of chance, the same wait to the bit."""
    headers = {} if retry_after is None else {"x-amz-retry-after": retry_after}
    code = "ThrottlingException" if throttled else "InternalServiceErrorException"
    context = _context(HttpAnswer(400, headers, json.dumps({"__type": code}).encode()), attempt)
    for draw in (0.0, 0.25, 0.999):
        theirs = standard.ExponentialBackoff(
            random=lambda draw=draw: draw,
            throttling_detector=standard.ThrottlingErrorDetector(standard.RetryEventAdapter()),
        )
        ours = backoff_seconds(attempt, throttled=throttled, random=draw, retry_after=retry_after)
        assert ours == pytest.approx(theirs.delay_amount(context), abs=1e-12)


def test_the_quota_is_botocores() -> None:
    """Over any course of failures and successes, both have the same tokens left."""
    chance = random.Random(11)
    theirs = standard.RetryQuotaChecker(
        standard.quota.RetryQuota(), standard.ThrottlingErrorDetector(standard.RetryEventAdapter())
    )
    ours = RetryQuota()
    assert QUOTA == standard.quota.RetryQuota.INITIAL_CAPACITY
    for _ in range(2000):
        taken = 0
        call: dict[str, Any] = {}
        for _ in range(chance.randint(0, 2)):
            throttled = chance.random() < 0.5
            code = "ThrottlingException" if throttled else "InternalServiceErrorException"
            context = _context(error_answer(code), 1)
            context.request_context = call
            allowed = theirs.acquire_retry_quota(context)
            cost = ours.take(throttled=throttled)
            assert bool(cost) == allowed
            taken = cost or taken
        if chance.random() < 0.4:
            theirs.release_retry_quota(call, _OkAnswer)
            ours.give_back(taken)
        assert ours.left == theirs._quota.available_capacity


class _OkAnswer:
    status_code = 200


# --- endpoints --------------------------------------------------------------------------------------------------------


@cache
def _rules() -> EndpointProvider:
    loader = Loader()
    rules = loader.load_service_model("meteringmarketplace", "endpoint-rule-set-1")
    return EndpointProvider(rules, loader.load_data("partitions"))


def _regions() -> list[str]:
    partitions = Loader().load_data("partitions")["partitions"]
    known = {region for partition in partitions for region in partition["regions"]}
    of_years_to_come = {"us-east-9", "cn-east-7", "us-gov-south-1", "eusc-de-west-2", "us-iso-north-1", "xx-moon-1"}
    listed = {region for partition in Loader().load_data("endpoints")["partitions"] for region in partition["regions"]}
    return sorted(known | of_years_to_come | listed)


@pytest.mark.parametrize("fips", [False, True])
@pytest.mark.parametrize("dualstack", [False, True])
@pytest.mark.parametrize("region", _regions())
def test_every_endpoint_is_botocores(region: str, dualstack: bool, fips: bool) -> None:
    """For every Region there is, and some to come, in each variant."""
    theirs: RuleSetEndpoint = _rules().resolve_endpoint(UseDualStack=dualstack, UseFIPS=fips, Region=region)
    assert endpoint_url(region, dualstack=dualstack, fips=fips) == theirs.url


def test_what_can_be_no_region_has_no_endpoint() -> None:
    """A name that would make another host of the URL is refused."""
    for name in ("", "us_east_1", "a.b", "evil.test/", "-a", "a-", "x" * 64):
        with pytest.raises(ConfigurationError):
            endpoint_url(name)


def test_an_endpoint_of_ones_own_excludes_the_variants() -> None:
    """Botocore's rules refuse the same."""
    for options in (ClientOptions(use_fips_endpoint=True), ClientOptions(use_dualstack_endpoint=True)):
        with pytest.raises(ConfigurationError, match="exclude each other"):
            settle("us-east-1", URL, options, {}, Profile("default"))
    for variant in ("UseFIPS", "UseDualStack"):
        with pytest.raises(EndpointProviderError):
            _rules().resolve_endpoint(
                **{"UseDualStack": False, "UseFIPS": False, variant: True}, Region="us-east-1", Endpoint=URL
            )
