"""What a seller lists, and accounts: how they are made, what of them changes, and what is refused."""

from typing import Any

import pytest
from msgspec import convert

from meterhouse.core.catalog import Account, Dimension, Integration, Product, ProductType
from meterhouse.service.listing import edited_account, edited_product, new_product
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import AccountPatch, ProductPatch, ProductRow
from tests.unit.marketplace import BUYER, PRODUCT, SELLER, Place

CONFLICT, INVALID, NOT_FOUND = RefusalKind.CONFLICT, RefusalKind.INVALID, RefusalKind.NOT_FOUND

USERS = {"key": "users", "unit": "Users", "price": "0.25"}


def listed(place: Place, **members: Any) -> Product:
    """The product that `POST /products` makes of these members."""
    row = convert({"code": "pipeline", "name": "n", "seller": SELLER, "type": "saas"} | members, ProductRow)
    return place.keep(new_product(row, place.catalog, place.sources))


def edited(place: Place, **members: Any) -> Product:
    """The product after `PATCH /products/pipeline`."""
    return place.keep(edited_product("pipeline", convert(members, ProductPatch), place.catalog, place.sources))


def test_a_product_is_what_its_row_says() -> None:
    """Prices become hundred-millionths of a dollar, lists stay in order, and an absent id is made up."""
    product = listed(
        Place(),
        type="container",
        hourly_price="0.12",
        regions=["us-east-1", "eu-west-1"],
        dimensions=[USERS, {"key": "gb", "unit": "GB", "price": "0.00000001", "description": "Stored"}],
    )
    assert product.type is ProductType.CONTAINER
    assert product.hourly_price_units == 12_000_000
    assert product.regions == ("us-east-1", "eu-west-1")
    assert product.dimensions == (Dimension("users", "Users", 25_000_000), Dimension("gb", "GB", 1, "Stored"))
    assert product.id.startswith("prod-")
    assert len(product.id) == 18


def test_a_product_without_price_and_regions_has_none() -> None:
    """No hourly price is 0, no Regions are all that the server serves."""
    product = listed(Place())
    assert (product.hourly_price_units, product.regions) == (0, None)


def test_a_patch_replaces_the_members_given_and_no_other() -> None:
    """Lists are replaced whole; null takes away what may be absent."""
    place = Place()
    before = listed(place, hourly_price="1", registration_url="http://127.0.0.1/", dimensions=[USERS])
    after = edited(place, name="Other", dimensions=[], registration_url=None)
    assert (after.name, after.dimensions, after.registration_url) == ("Other", (), None)
    assert (after.id, after.hourly_price_units, after.type) == (before.id, 100_000_000, before.type)


def test_fixed_members_may_be_repeated() -> None:
    """What cannot change may stand in a patch as it is."""
    place = Place()
    product = listed(place)
    same = edited(place, code="pipeline", id=product.id, seller=SELLER, integration="legacy")
    assert same == product


@pytest.mark.parametrize(
    ("members", "kind", "field"),
    [
        ({"code": "other"}, CONFLICT, "code"),
        ({"id": "prod-other"}, CONFLICT, "id"),
        ({"seller": BUYER}, CONFLICT, "seller"),
        ({"integration": "concurrent"}, CONFLICT, "integration"),
        ({"dimensions": [USERS, USERS]}, INVALID, "dimensions[1].key"),
    ],
)
def test_a_patch_is_refused(members: dict[str, Any], kind: RefusalKind, field: str) -> None:
    """What names a product, and what decides what its usage means, is fixed."""
    place = Place()
    listed(place)
    with pytest.raises(Refused) as refused:
        edited(place, **members)
    assert (refused.value.kind, refused.value.field) == (kind, field)


def test_a_concurrent_product_stays_saas() -> None:
    """A patch cannot make of a concurrent product one of another type."""
    place = Place()
    assert listed(place, integration="concurrent").integration is Integration.CONCURRENT
    with pytest.raises(Refused, match="saas"):
        edited(place, type="ami")


@pytest.mark.parametrize(
    ("members", "kind", "field"),
    [
        ({"code": "pipeline"}, CONFLICT, "code"),
        ({"id": "prod-1"}, CONFLICT, "id"),
        ({"type": "container", "integration": "concurrent"}, INVALID, "integration"),
    ],
)
def test_a_new_product_is_refused(members: dict[str, Any], kind: RefusalKind, field: str) -> None:
    """Codes and ids are unique, and only SaaS products are concurrent."""
    place = Place()
    listed(place, id="prod-1")
    with pytest.raises(Refused) as refused:
        listed(place, **{"code": "other", **members})
    assert (refused.value.kind, refused.value.field) == (kind, field)


def test_an_unknown_product_is_not_found() -> None:
    """A patch makes no product."""
    with pytest.raises(Refused) as refused:
        edited(Place(), name="x")
    assert refused.value.kind is NOT_FOUND


def test_a_patch_of_an_account_makes_it() -> None:
    """An account not seen before is made; one seen is changed in what is given."""
    place = Place()
    for members, suspended in (({}, False), ({"suspended": True}, True), ({"id": BUYER}, True)):
        account = place.keep(edited_account(BUYER, convert(members, AccountPatch), place.catalog))
        assert account == Account(BUYER, suspended)


def test_an_account_keeps_its_id() -> None:
    """A patch of one account cannot mean another."""
    with pytest.raises(Refused) as refused:
        edited_account(BUYER, AccountPatch(id=SELLER), Place().catalog)
    assert (refused.value.kind, refused.value.field) == (CONFLICT, "id")


def test_the_file_edits_by_the_same_rule() -> None:
    """A changed row of the file replaces the product, but for what is fixed and what was made up."""
    place = Place()
    place.load(PRODUCT)
    before = place.catalog.products["pipeline"]
    place.load(PRODUCT.replace("Data Pipeline", "Other"))
    after = place.catalog.products["pipeline"]
    assert (after.name, after.id) == ("Other", before.id)
    with pytest.raises(Refused, match="seller: it is fixed when a product is made"):
        place.load(PRODUCT.replace(SELLER, BUYER))
