"""Products, and the keys by which their registrations are verified."""

import asyncio
import re
from typing import Final

from meterhouse.core.catalog import Product, ProductKey
from meterhouse.core.decide.register_usage import FIRST_VERSION
from meterhouse.core.quantity import text_of_price_units
from meterhouse.server.control.answers import DimensionAnswer, KeyAnswer, Page, ProductAnswer
from meterhouse.server.control.pages import PageQuery, page_of
from meterhouse.server.control.parts import Answered, Asked, ControlCall
from meterhouse.server.control.texts import when
from meterhouse.service.listing import edited_product, new_product
from meterhouse.service.product_keys import first_key, new_private_key, newest_key, public_key, rotated_key
from meterhouse.service.refused import RefusalKind, Refused
from meterhouse.service.rows import ProductPatch, ProductRow

PEM: Final = "application/x-pem-file"
_VERSION: Final = re.compile(r"[1-9][0-9]{0,17}")


def product_answer(product: Product) -> ProductAnswer:
    """A product."""
    return ProductAnswer(
        code=product.code,
        id=product.id,
        name=product.name,
        seller=product.seller,
        type=product.type,
        integration=product.integration,
        registration_url=product.registration_url,
        regions=None if product.regions is None else list(product.regions),
        hourly_price=text_of_price_units(product.hourly_price_units),
        identical_repeat=product.identical_repeat,
        window_edge=product.window_edge,
        dry_run=product.dry_run,
        dimensions=[
            DimensionAnswer(
                key=dimension.key,
                unit=dimension.unit,
                price=text_of_price_units(dimension.price_units),
                description=dimension.description,
            )
            for dimension in product.dimensions
        ],
    )


async def list_products(asked: Asked) -> Answered:
    """`GET /products`."""
    products, following = await page_of(asked.parts.market.catalog.products, asked.query)
    return Answered(Page(items=[product_answer(product) for product in products], next=following))


async def make_product(asked: Asked) -> Answered:
    """`POST /products`."""
    sources = asked.parts.sources
    product = await asked.parts.market.change(lambda catalog: new_product(asked.body, catalog, sources))
    return Answered(product_answer(product), 201)


async def show_product(asked: Asked) -> Answered:
    """`GET /products/{code}`."""
    return Answered(product_answer(_product(asked)))


async def edit_product(asked: Asked) -> Answered:
    """`PATCH /products/{code}`."""
    sources, code = asked.parts.sources, asked.path["code"]
    product = await asked.parts.market.change(lambda catalog: edited_product(code, asked.body, catalog, sources))
    return Answered(product_answer(product))


async def rotate_key(asked: Asked) -> Answered:
    """`POST /products/{code}/keys`."""
    parts, code = asked.parts, _product(asked).code
    never_had_one = newest_key(parts.market.catalog, code) is None
    private = await asyncio.to_thread(new_private_key)
    first = await asyncio.to_thread(new_private_key) if never_had_one else b""
    key = await parts.market.change(lambda catalog: rotated_key(code, first, private, catalog, parts.sources))
    return Answered(_key_answer(key, key.made_micros), 201)


async def show_key(asked: Asked) -> Answered:
    """`GET /products/{code}/keys/{version}`; the first version is made when it is first asked for."""
    parts, code, version = asked.parts, _product(asked).code, asked.path["version"]
    if not _VERSION.fullmatch(version):
        raise Refused(RefusalKind.NOT_FOUND, f'the product "{code}" has no key of version "{version}"')
    if int(version) == FIRST_VERSION and newest_key(parts.market.catalog, code) is None:
        private = await asyncio.to_thread(new_private_key)
        await parts.market.change(lambda catalog: first_key(code, private, catalog, parts.sources))
    key = public_key(code, int(version), parts.market.catalog)
    if PEM in (kind.partition(";")[0].strip().lower() for kind in asked.accept.split(",")):
        return Answered(key.public_pem.encode(), content_type=PEM)
    return Answered(_key_answer(key, key.rotated_micros))


def _product(asked: Asked) -> Product:
    product = asked.parts.market.catalog.products.get(asked.path["code"])
    if product is None:
        raise Refused(RefusalKind.NOT_FOUND, f'no product has the code "{asked.path["code"]}"')
    return product


def _key_answer(key: ProductKey, rotated_micros: int | None) -> KeyAnswer:
    return KeyAnswer(version=key.version, pem=key.public_pem, rotated=when(rotated_micros))


CALLS: Final = (
    ControlCall("GET", "/products", "The products.", list_products, Page[ProductAnswer], query=PageQuery),
    ControlCall(
        "POST", "/products", "Lists a product.", make_product, ProductAnswer, 201, body=ProductRow, refusals=(409,)
    ),
    ControlCall("GET", "/products/{code}", "A product.", show_product, ProductAnswer, refusals=(404,)),
    ControlCall(
        "PATCH",
        "/products/{code}",
        "Replaces the members given, lists whole; code, id, seller and integration cannot change.",
        edit_product,
        ProductAnswer,
        body=ProductPatch,
        refusals=(404, 409),
    ),
    ControlCall(
        "POST",
        "/products/{code}/keys",
        "Rotates the key that attests RegisterUsage: a new version takes the place of the newest.",
        rotate_key,
        KeyAnswer,
        201,
        refusals=(404,),
    ),
    ControlCall(
        "GET",
        "/products/{code}/keys/{version}",
        "The public key of a version.",
        show_key,
        KeyAnswer,
        refusals=(404,),
        also={PEM: "The PEM alone, for whoever accepts that."},
    ),
)
