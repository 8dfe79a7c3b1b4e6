"""What a seller lists, and the accounts: from rows to facts (catalog contract; contract §3).

What names a product or decides what its usage means is fixed when it is listed: `code`, `id`, `seller` (agreements and
licenses name them) and `integration` (the agreements of the two kinds carry different names of the customer). All else
can be replaced at any time. Each rule is pure, and raises `Refused`.
"""

from typing import TypeVar

from msgspec import UNSET, Struct, structs

from meterhouse.core.catalog import Account, Catalog, Dimension, Integration, Product, ProductType
from meterhouse.core.quantity import price_units_of
from meterhouse.service.draft import LOWER, Change, Draft, Sources, fixed, letters
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import AccountPatch, AccountRow, ProductPatch, ProductRow, row_of_account, row_of_product

row_type = TypeVar("row_type", bound=Struct)


def new_product(row: ProductRow, catalog: Catalog, sources: Sources) -> Change[Product]:
    """`POST /products`: CONFLICT where the code or the id is taken."""
    if row.code in catalog.products:
        raise Refused(RefusalKind.CONFLICT, f'the product "{row.code}" exists already', "code")
    product = product_of(row, None, Draft(catalog), sources)
    return Change([product], product)


def edited_product(code: str, patch: ProductPatch, catalog: Catalog, sources: Sources) -> Change[Product]:
    """`PATCH /products/{code}`: NOT_FOUND, or CONFLICT where a fixed member would change."""
    present = catalog.products.get(code)
    if present is None:
        raise Refused(RefusalKind.NOT_FOUND, f'no product has the code "{code}"')
    if patch.code is not UNSET:
        fixed(code, patch.code, "code", "a product")
    product = product_of(patched(row_of_product(present), patch), present, Draft(catalog), sources)
    return Change([product], product)


def edited_account(account_id: str, patch: AccountPatch, catalog: Catalog) -> Change[Account]:
    """`PATCH /accounts/{id}`: an account not seen before is made. The id is of the form `AccountId`."""
    if patch.id is not UNSET:
        fixed(account_id, patch.id, "id", "an account")
    present = catalog.accounts.get(account_id) or Account(account_id)
    account = account_of(patched(row_of_account(present), patch))
    return Change([account], account)


def product_of(row: ProductRow, present: Product | None, draft: Draft, sources: Sources) -> Product:
    """The product that a row describes, in place of the present one (whose id it keeps) or new."""
    if present is not None:
        fixed(present.id, row.id, "id", "a product")
        fixed(present.seller, row.seller, "seller", "a product")
        fixed(present.integration, row.integration, "integration", "a product")
    if row.integration is Integration.CONCURRENT and row.type is not ProductType.SAAS:
        raise Refused(RefusalKind.INVALID, f'"concurrent" is for saas products, not for {row.type}', "integration")
    product_id = row.id or (present.id if present else f"prod-{letters(sources.random_bytes, LOWER, 13)}")
    namesake = draft.code_of_product_id(product_id)
    if namesake not in {None, row.code}:
        raise Refused(RefusalKind.CONFLICT, f'"{product_id}" is the id of the product "{namesake}"', "id")
    return Product(
        code=row.code,
        id=product_id,
        name=row.name,
        seller=row.seller,
        type=row.type,
        integration=row.integration,
        registration_url=row.registration_url,
        regions=None if row.regions is None else tuple(row.regions),
        hourly_price_units=0 if row.hourly_price is None else price_units_of(row.hourly_price),
        identical_repeat=row.identical_repeat,
        window_edge=row.window_edge,
        dry_run=row.dry_run,
        dimensions=_dimensions_of(row),
    )


def account_of(row: AccountRow) -> Account:
    """The account that a row describes."""
    return Account(row.id, row.suspended)


def patched(row: row_type, patch: Struct) -> row_type:
    """A row with the members that a patch gives in place of its own."""
    given = {name: value for name, value in structs.asdict(patch).items() if value is not UNSET}
    return structs.replace(row, **given)


def _dimensions_of(row: ProductRow) -> tuple[Dimension, ...]:
    numbers: dict[str, int] = {}
    for number, dimension in enumerate(row.dimensions):
        first = numbers.setdefault(dimension.key, number)
        if first != number:
            reason = f'"{dimension.key}" is also the key of dimension no. {first + 1}'
            raise Refused(RefusalKind.INVALID, reason, f"dimensions[{number}].key")
    return tuple(
        Dimension(dimension.key, dimension.unit, price_units_of(dimension.price), dimension.description)
        for dimension in row.dimensions
    )
