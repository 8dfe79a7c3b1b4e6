"""The catalog as text: what an empty server loads to the same."""

import tomllib
from datetime import UTC, datetime
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from meterhouse.core.catalog import (
    Account,
    Agreement,
    Catalog,
    Dimension,
    DryRun,
    Fact,
    IdenticalRepeat,
    Integration,
    OpenIdentity,
    Platform,
    Product,
    ProductType,
    WindowEdge,
    Workload,
)
from meterhouse.core.moment import micros_of_datetime
from meterhouse.service.draft import FIRST_MICROS, LAST_MICROS
from meterhouse.service.export import export
from meterhouse.service.places import Source
from tests.unit.marketplace import AGREEMENT, CREDENTIAL, DIMENSION, PRODUCT, Place

ACCOUNT = st.from_regex(r"[0-9]{12}", fullmatch=True)
CODE = st.from_regex(r"[-a-zA-Z0-9/=:_.@]{1,12}", fullmatch=True)
REGION = st.from_regex(r"[a-z]{2}-[a-z]{3,6}-[0-9]", fullmatch=True)
NAME = st.text(min_size=1, max_size=20).filter(lambda text: text.isprintable() or "\x00" not in text)
INSTANT = st.integers(FIRST_MICROS, LAST_MICROS)
UNITS = st.integers(0, 10**20)

DIMENSIONS = st.lists(
    st.builds(Dimension, st.from_regex(r"[A-Za-z0-9_.-]{1,9}", fullmatch=True), NAME, UNITS, st.text(max_size=20)),
    max_size=4,
    unique_by=lambda dimension: dimension.key,
).map(tuple)


@st.composite
def products(draw: st.DrawFn) -> Product:
    """A product of any kind."""
    integration = draw(st.sampled_from(Integration))
    concurrent = integration is Integration.CONCURRENT
    return Product(
        code=draw(CODE),
        id=draw(st.from_regex(r"prod-[a-z]{13}", fullmatch=True)),
        name=draw(NAME),
        seller=draw(ACCOUNT),
        type=ProductType.SAAS if concurrent else draw(st.sampled_from(ProductType)),
        integration=integration,
        registration_url=draw(st.none() | st.just("https://example.com/register?a=1#b")),
        regions=draw(st.none() | st.lists(REGION, min_size=1, max_size=3).map(tuple)),
        hourly_price_units=draw(UNITS),
        identical_repeat=draw(st.sampled_from(IdenticalRepeat)),
        window_edge=draw(st.sampled_from(WindowEdge)),
        dry_run=draw(st.sampled_from(DryRun)),
        dimensions=draw(DIMENSIONS),
    )


@st.composite
def agreements(draw: st.DrawFn, number: int, product: Product) -> Agreement:
    """An agreement for a product, in any state that rules lead to."""
    buyer = draw(ACCOUNT)
    start, end = sorted((draw(INSTANT), draw(INSTANT)))
    closed = draw(st.booleans())
    legacy = product.integration is Integration.LEGACY
    return Agreement(
        id=f"agmt-{number}",
        product=product.code,
        buyer=buyer,
        license_arn=f"arn:aws:license-manager::{product.seller}:license:l-{number:032x}",
        customer_identifier=f"X{buyer}" if legacy else None,
        start_micros=start,
        end_micros=end if closed or draw(st.booleans()) else None,
        pending=not closed and draw(st.booleans()),
        closed=closed,
    )


@st.composite
def catalogs(draw: st.DrawFn) -> Catalog:
    """A catalog of any facts that can be exported."""
    catalog = Catalog()
    unique = st.lists(products(), max_size=3, unique_by=(lambda one: one.code, lambda one: one.id))
    for product in draw(unique):
        catalog.put(product)
    if catalog.products:
        for number in range(draw(st.integers(0, 4))):
            catalog.put(draw(agreements(number, draw(st.sampled_from([*catalog.products.values()])))))
    for account in draw(st.lists(ACCOUNT, max_size=3)):
        catalog.put(Account(account, draw(st.booleans())))
    if draw(st.booleans()):
        account = draw(ACCOUNT)
        workload = Workload("task/1", draw(st.sampled_from(Platform)), account, draw(REGION), draw(INSTANT))
        named = draw(st.none() | st.just(workload.resource_id))
        if named is not None:
            catalog.put(workload)
        catalog.put(OpenIdentity(account, draw(st.none() | REGION), named))
    return catalog


def exported(catalog: Catalog) -> list[object]:
    """What of a catalog an export carries."""
    named = catalog.workloads.values()
    facts = [*catalog.products.values(), *catalog.agreements.values(), *catalog.accounts.values(), *named, catalog.open]
    return sorted(facts, key=repr)


@settings(max_examples=40)
@given(catalogs())
def test_an_empty_server_loads_it_to_the_same(catalog: Catalog) -> None:
    """Every product, agreement and account, and `[open]`, member by member."""
    place = Place()
    place.load(export(catalog))
    assert exported(place.catalog) == exported(catalog)
    assert export(place.catalog) == export(catalog)


@settings(max_examples=40)
@given(catalogs())
def test_the_same_server_loads_it_without_a_change(catalog: Catalog) -> None:
    """What was exported is what is: not one fact moves, whatever state the agreements are in."""
    place = Place()
    place.catalog = catalog
    assert place.load(export(catalog), Source.CALL).changed == {}


@settings(max_examples=40)
@given(catalogs(), st.randoms(use_true_random=False))
def test_the_same_catalog_is_the_same_text(catalog: Catalog, random: Random) -> None:
    """In whatever order its facts were made, or were read after a restart."""
    facts: list[Fact] = [*catalog.products.values(), *catalog.agreements.values(), *catalog.accounts.values()]
    random.shuffle(facts)
    other = Catalog()
    for fact in [*facts, *catalog.workloads.values(), catalog.open]:
        other.put(fact)
    assert export(other) == export(catalog)


def test_secrets_stay_behind() -> None:
    """Credentials and tokens are counted, and nothing of them is told."""
    place = Place()
    token = '[[registration_tokens]]\ntoken = "very secret"\nagreement = "agmt-1"\n'
    place.load(PRODUCT + AGREEMENT + 'id = "agmt-1"\n' + token + CREDENTIAL)
    text = export(place.catalog)
    first_line = "# Left out, because secrets are not exported: credentials 1, registration tokens 1."
    assert text.splitlines()[0] == first_line
    assert set(tomllib.loads(text)) == {"products", "agreements"}
    assert "secret" not in text.removeprefix(first_line)


def test_it_looks_like_what_people_write() -> None:
    """Tables under their heads, times without quotes, defaults left out."""
    place = Place()
    place.load(PRODUCT + 'id = "prod-1"\n' + DIMENSION)
    place.catalog.put(Agreement("agmt-1", "pipeline", "444455556666", "arn:aws:a:b:c:d", "X01", 0, closed=True))
    place.catalog.put(Account("444455556666", suspended=True))
    assert export(place.catalog) == (
        "# Left out, because secrets are not exported: credentials 0, registration tokens 0.\n"
        + PRODUCT.replace('code = "pipeline"\n', 'code = "pipeline"\nid = "prod-1"\n')
        + DIMENSION
        + """
[[agreements]]
id = "agmt-1"
license_arn = "arn:aws:a:b:c:d"
customer_identifier = "X01"
product = "pipeline"
buyer = "444455556666"
start = 1970-01-01T00:00:00Z
status = "ended"

[[accounts]]
id = "444455556666"
suspended = true
"""
    )


@given(st.text(max_size=30))
def test_any_text_is_quoted_as_toml_wants_it(text: str) -> None:
    """Quotes, backslashes, line breaks and control characters come back as they were."""
    catalog = Catalog()
    moment = micros_of_datetime(datetime(2026, 1, 1, tzinfo=UTC))
    product = Product("p", "prod-1", f"n{text}", "111122223333", ProductType.SAAS)
    catalog.put(product)
    catalog.put(Agreement("agmt-1", "p", "444455556666", "arn:aws:a:b:c:d", f"X{text}", moment))
    document = tomllib.loads(export(catalog))
    assert document["products"][0]["name"] == f"n{text}"
    assert document["agreements"][0]["customer_identifier"] == f"X{text}"
