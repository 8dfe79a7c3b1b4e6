"""ResolveCustomer: a row a case, faults first, in order of precedence (contract §8)."""

from hashlib import sha256
from typing import Any, Final

import pytest
from msgspec.structs import replace

from meterhouse.core.call import Following
from meterhouse.core.catalog import Catalog, RegistrationToken
from meterhouse.core.decide.resolve_customer import plan_resolve_customer
from meterhouse.core.moment import HOUR, SECOND
from meterhouse.core.outcome import FaultCode
from meterhouse.core.profile import NEWEST, PROFILES
from meterhouse.core.shapes import Metadata, ResolveCustomerRequest, ResolveCustomerResult
from tests.documents import code as code_in
from tests.documents import tables_of
from tests.unit.batches import (
    ACTIVE,
    CLOSED,
    CONCURRENT,
    FOREIGN,
    LEFT,
    LEGACY,
    OTHER_SELLER,
    PENDING,
    SELLER,
    SUSPENDED,
    agreement,
    at,
    identifier_of,
    license_of,
    market,
)
from tests.unit.rule_calls import Caller, KeptRecords, Refused, result

ISSUED: Final = at("08:30:00")
TOKENS: Final = {
    # A token, and whose it is: product, buyer
    "token-legacy": (LEGACY, ACTIVE),
    "token-concurrent": (CONCURRENT, ACTIVE),
    "token-foreign": (FOREIGN, ACTIVE),
    "token-pending": (LEGACY, PENDING),
    "token-left": (LEGACY, LEFT),
    "token-closed": (LEGACY, CLOSED),
    "token-suspended": (LEGACY, SUSPENDED),
    "tökén ☃": (LEGACY, ACTIVE),
}


def tokens() -> Catalog:
    """The market, with a registration token for some of its buyers, and one whose agreement is gone."""
    catalog = market()
    for token, (product, buyer) in TOKENS.items():
        catalog.put(RegistrationToken(hashed(token), agreement(product, buyer).id, ISSUED))
    catalog.put(RegistrationToken(hashed("token-dangling"), "agmt-nobody's", ISSUED))
    return catalog


def hashed(token: str) -> str:
    """What the catalog keeps of a token."""
    return sha256(token.encode()).hexdigest()


def resolve(token: str, now: int = ISSUED, catalog: Catalog | None = None, **caller: Any) -> Following | Refused:
    """What comes of a call."""
    who = Caller(**({"account": SELLER} | caller))
    return result(plan_resolve_customer, ResolveCustomerRequest(token), who, catalog or tokens(), now, KeptRecords())


# why, the token, how long after it was issued, who calls and where, the fault
FAULTS: Final[list[tuple[str, str, int, dict[str, Any], FaultCode]]] = [
    ("a Region not served", "token-legacy", 0, {"regions": frozenset({"eu-west-1"})}, FaultCode.DISABLED_API),
    ("no Region at all", "token-legacy", 0, {"region": "x!"}, FaultCode.DISABLED_API),
    ("a bad token there", "no-such-token", 0, {"regions": frozenset({"eu-west-1"})}, FaultCode.DISABLED_API),
    ("unknown", "no-such-token", 0, {}, FaultCode.INVALID_TOKEN),
    ("nearly the same", "token-legacy ", 0, {}, FaultCode.INVALID_TOKEN),
    ("its hash", hashed("token-legacy"), 0, {}, FaultCode.INVALID_TOKEN),
    ("another seller's", "token-foreign", 0, {}, FaultCode.INVALID_TOKEN),
    ("ours, sent by another seller", "token-legacy", 0, {"account": OTHER_SELLER}, FaultCode.INVALID_TOKEN),
    ("sent by the buyer", "token-legacy", 0, {"account": ACTIVE}, FaultCode.INVALID_TOKEN),
    ("another seller's, and expired", "token-foreign", 4 * HOUR, {}, FaultCode.INVALID_TOKEN),
    ("without its agreement", "token-dangling", 0, {}, FaultCode.INVALID_TOKEN),
    ("four hours old", "token-legacy", 4 * HOUR, {}, FaultCode.EXPIRED_TOKEN),
    ("older", "token-legacy", 100 * HOUR, {}, FaultCode.EXPIRED_TOKEN),
]


@pytest.mark.parametrize(("why", "token", "age", "caller", "fault"), FAULTS, ids=lambda value: str(value)[:30])
def test_what_is_refused(why: str, token: str, age: int, caller: dict[str, Any], fault: FaultCode) -> None:
    """Region before token; a token that is not the caller's is told apart from an unknown one by nobody."""
    refused = resolve(token, ISSUED + age, **caller)
    assert isinstance(refused, Refused), why
    assert refused.code is fault


def test_the_faults_are_those_of_the_document_in_its_order() -> None:
    """Every fault that `docs/outcomes.md` lists is tried here."""
    tried = list(dict.fromkeys(str(row[-1]) for row in FAULTS))
    assert tried == [code_in(row[1]) for row in tables_of("outcomes.md")["ResolveCustomer"]]


def test_unknown_and_foreign_tokens_look_alike() -> None:
    """The message does not tell whether a token exists, and has AWS's own words."""
    unknown, foreign = resolve("no-such-token"), resolve("token-foreign")
    assert unknown == foreign == Refused(FaultCode.INVALID_TOKEN, "Registration token is invalid")


@pytest.mark.parametrize(
    ("token", "product", "buyer"), [(token, *whose) for token, whose in TOKENS.items() if token != "token-foreign"]
)
@pytest.mark.parametrize("age", [0, SECOND, 4 * HOUR - 1])
def test_a_token_says_who_the_buyer_is(token: str, product: str, buyer: str, age: int) -> None:
    """Whatever the state of the agreement; the customer identifier for legacy products alone; as often as asked."""
    catalog = tokens()
    for _ in range(2):
        following = resolve(token, ISSUED + age, catalog)
        assert following == Following(
            ResolveCustomerResult(
                identifier_of(buyer) if product == LEGACY else None,
                product,
                buyer,
                license_of(product, buyer),
                Metadata(agreement(product, buyer).id),
            )
        )


def test_a_token_of_a_concurrent_product_has_no_customer_identifier() -> None:
    """Even where the agreement has one by mistake."""
    catalog = tokens()
    catalog.put(replace(agreement(CONCURRENT, ACTIVE), customer_identifier="X-MISTAKE"))
    following = resolve("token-concurrent", catalog=catalog)
    assert isinstance(following, Following)
    assert isinstance(following.answer, ResolveCustomerResult)
    assert following.answer.customer_identifier is None


def test_the_products_regions_are_not_asked() -> None:
    """ResolveCustomer may be called in any Region that the server serves."""
    assert isinstance(resolve("token-legacy", region="eu-west-1"), Following)


@pytest.mark.parametrize("profile", PROFILES)
def test_a_token_lives_four_hours_in_every_profile(profile: str) -> None:
    """The age is judged at the time of the request, by the caller's clock."""
    row = PROFILES[profile]
    assert isinstance(resolve("token-legacy", ISSUED + 4 * HOUR - 1, profile=row), Following)
    assert isinstance(resolve("token-legacy", ISSUED + 4 * HOUR, profile=row), Refused)
    assert row.token_seconds == NEWEST.token_seconds


def test_a_clock_behind_the_issue_does_not_matter() -> None:
    """A token issued by a clock that is ahead is young."""
    assert isinstance(resolve("token-legacy", ISSUED - HOUR), Following)
