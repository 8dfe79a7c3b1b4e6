"""The index that requests read: whatever the order in which facts come, it says what a search of them all would say."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from meterhouse.core import catalog as catalog_module
from meterhouse.core.catalog import (
    FACT_OF,
    KIND_OF,
    Account,
    Agreement,
    Catalog,
    Credential,
    Dimension,
    Fact,
    OpenIdentity,
    Platform,
    Product,
    ProductKey,
    ProductType,
    RegistrationToken,
    Workload,
    key_of,
)

SELLERS: Final = ("111122223333", "999988887777")
BUYERS: Final = ("444455556666", "555566667777")
CODES: Final = ("pipeline", "search", "archive")

products: Final = st.builds(
    lambda code, name, keys: Product(
        code,
        f"prod-{code}",
        name,
        SELLERS[code == "archive"],
        ProductType.SAAS,
        dimensions=tuple(Dimension(key, "Units", 1) for key in keys),
    ),
    st.sampled_from(CODES),
    st.sampled_from(("one name", "another")),
    st.sets(st.sampled_from(("users", "hosts"))),
)


def agreement(number: int, start: int, end: int | None, pending: bool) -> Agreement:
    """The agreement of a number: what names it never changes, only its dates and state do."""
    product, buyer = CODES[number % 3], BUYERS[number // 3 % 2]
    seller = SELLERS[product == "archive"]
    identifier = None if number % 5 == 4 else f"X-{seller}-{buyer}"
    return Agreement(f"agmt-{number}", product, buyer, f"arn-{number}", identifier, start, end, pending)


agreements: Final = st.builds(
    agreement, st.integers(0, 11), st.integers(0, 4), st.none() | st.integers(5, 9), st.booleans()
)
accounts: Final = st.builds(Account, st.sampled_from(BUYERS), st.booleans())
tokens: Final = st.builds(
    RegistrationToken, st.sampled_from(("hash-1", "hash-2")), st.just("agmt-1"), st.integers(0, 9)
)
workloads: Final = st.builds(
    Workload,
    st.sampled_from(("task-1", "task-2")),
    st.sampled_from(Platform),
    st.sampled_from(BUYERS),
    st.just("us-east-1"),
    st.integers(0, 9),
)
credentials: Final = st.builds(
    Credential, st.sampled_from(("AKIA1", "AKIA2")), st.sampled_from(SELLERS), st.just("arn"), st.binary(max_size=2)
)
product_keys: Final = st.builds(
    ProductKey, st.sampled_from(CODES), st.integers(1, 2), st.just("pem"), st.just(b"sealed"), st.integers(0, 9)
)
facts: Final = st.lists(products | agreements | accounts | tokens | workloads | credentials | product_keys, max_size=40)


def indexed(catalog: Catalog) -> dict[str, Any]:
    """All that a catalog's indexes say."""
    return {name: value for name, value in vars(catalog).items() if not name.startswith("_") and name != "revision"}


def searched(last: dict[tuple[type, str], Any]) -> dict[str, Any]:
    """The same, found by searching all facts, each in its last state, the plain way."""

    def of(kind: type) -> dict[str, Any]:
        return {key: fact for (found, key), fact in last.items() if found is kind}

    products, agreements = of(Product), of(Agreement)
    places = {(one.product, one.buyer) for one in agreements.values()}
    named = [
        (products[one.product].seller, one.customer_identifier, one.buyer)
        for one in agreements.values()
        if one.product in products and one.customer_identifier is not None
    ]
    return {
        "products": products,
        "dimensions": {code: {one.key: one for one in product.dimensions} for code, product in products.items()},
        "agreements": agreements,
        "agreement_of_license": {one.license_arn: one for one in agreements.values()},
        "agreements_of_buyer": {
            place: tuple(
                sorted(
                    (one for one in agreements.values() if (one.product, one.buyer) == place),
                    key=lambda one: (-one.start_micros, one.id),
                )
            )
            for place in places
        },
        "buyer_of_identifier": {(seller, identifier): buyer for seller, identifier, buyer in named},
        "identifier_of_buyer": {(seller, buyer): identifier for seller, identifier, buyer in named},
        "accounts": of(Account),
        "workloads": of(Workload),
        "credentials": of(Credential),
        "tokens": of(RegistrationToken),
        "product_keys": of(ProductKey),
        "open": OpenIdentity(),
    }


@given(facts, st.randoms(use_true_random=False))
def test_the_index_says_what_a_search_would(facts: list[Fact], random: Any) -> None:
    """Facts in any order, renewed, put twice: the index is that of their last states."""
    catalog = Catalog()
    last: dict[tuple[type, str], Any] = {}
    for fact in facts:
        catalog.put(fact)
        last[type(fact), key_of(fact)] = fact
        if random.random() < 0.2:
            catalog.put(fact)
    assert indexed(catalog) == searched(last)


@given(facts, st.randoms(use_true_random=False))
def test_the_order_of_loading_does_not_matter(facts: list[Fact], random: Any) -> None:
    """The last states of all facts make one catalog, in whatever order an engine gives them back."""
    last = list({(type(fact), key_of(fact)): fact for fact in facts}.values())
    one, other = Catalog(), Catalog()
    for fact in last:
        one.put(fact)
    random.shuffle(last)
    for fact in last:
        other.put(fact)
    assert indexed(one) == indexed(other)


@given(facts)
def test_a_catalog_can_be_made_anew_from_its_facts(facts: list[Fact]) -> None:
    """`facts` leaves none out, and names each after those it refers to."""
    catalog, anew = Catalog(), Catalog()
    for fact in facts:
        catalog.put(fact)
    for fact in catalog.facts():
        anew.put(fact)
    assert indexed(anew) == indexed(catalog)


def test_the_latest_begun_agreement_is_tried_first() -> None:
    """Renewed or not, they stand by their start, the latest first."""
    catalog = Catalog()
    starts = {0: 5, 6: 9, 12: 7}
    for number, start in starts.items():
        catalog.put(replace(agreement(number, start, None, False), product=CODES[0], buyer=BUYERS[0]))
    catalog.put(replace(agreement(0, 8, None, False)))
    tried = catalog.agreements_of_buyer[CODES[0], BUYERS[0]]
    assert [(one.id, one.start_micros) for one in tried] == [("agmt-6", 9), ("agmt-0", 8), ("agmt-12", 7)]


def test_a_suspended_account_is_one_that_was_said_to_be() -> None:
    """An account never seen is not suspended, and a suspension ends."""
    catalog = Catalog()
    assert not catalog.suspended(BUYERS[0])
    catalog.put(Account(BUYERS[0], suspended=True))
    assert catalog.suspended(BUYERS[0])
    catalog.put(Account(BUYERS[0]))
    assert not catalog.suspended(BUYERS[0])


def test_a_credential_can_be_dropped() -> None:
    """A dropped key is unknown; dropping it twice is dropping it once."""
    catalog = Catalog()
    catalog.put(Credential("AKIA1", SELLERS[0], "arn", b""))
    catalog.drop_credential("AKIA1")
    catalog.drop_credential("AKIA1")
    assert catalog.credentials == {}


def test_notes_are_forgotten_with_every_change() -> None:
    """What a rule derived from the facts holds until a fact changes."""
    catalog = Catalog()
    for _ in range(2):
        catalog.remembered(("a rule", "a seller"))["names"] = "meaning"
        assert catalog.remembered(("a rule", "a seller")) == {"names": "meaning"}
        catalog.put(Account(BUYERS[0]))
        assert catalog.remembered(("a rule", "a seller")) == {}
    catalog.remembered(("a rule", "a seller"))["names"] = "meaning"
    catalog.drop_credential("AKIA1")
    assert catalog.remembered(("a rule", "a seller")) == {}


def test_notes_are_bounded_in_number_and_in_purposes(monkeypatch: pytest.MonkeyPatch) -> None:
    """However much a rule notes, and for however many purposes, memory has a bound."""
    monkeypatch.setattr(catalog_module, "REMEMBERED_LIMIT", 10)
    monkeypatch.setattr(catalog_module, "PURPOSES_LIMIT", 10)
    catalog = Catalog()
    for number in range(100):
        notes = catalog.remembered(("one purpose",))
        notes[number] = number
        assert len(notes) <= 11
    for number in range(100):
        catalog.remembered((str(number),))["a"] = 1
        assert len(catalog._remembered) <= 11


def test_every_kind_of_fact_has_its_name() -> None:
    """A kind names one class, and the other way round."""
    assert {FACT_OF[kind]: kind for kind in FACT_OF} == KIND_OF
    assert len(FACT_OF) == len(KIND_OF)
