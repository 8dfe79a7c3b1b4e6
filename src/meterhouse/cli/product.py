"""`meterhouse product`: what sellers list."""

from pathlib import Path
from typing import Annotated, Any, Final

from cyclopts import App, Parameter

from meterhouse.cli.asking import FIRST_PART, HERE, Part, Server
from meterhouse.cli.calling import path_of
from meterhouse.cli.failure import CommandFailed
from meterhouse.cli.telling import Column, count, instant, money, plain, tell, tell_table
from meterhouse.cli.typed import Words, one_of, read_one
from meterhouse.core.catalog import DryRun, IdenticalRepeat, ProductType, WindowEdge

app = App(name="product")

PRODUCT: Final = (
    Column("Code", "code"),
    Column("Product id", "id", listed=False),
    Column("Name", "name"),
    Column("Seller", "seller"),
    Column("Type", "type"),
    Column("Integration", "integration"),
    Column("Registration URL", "registration_url", listed=False),
    Column("Regions", "regions", lambda regions: "all" if regions is None else plain(regions), listed=False),
    Column("Hourly price", "hourly_price", money, listed=False),
    Column("Identical repeat", "identical_repeat", listed=False),
    Column("Window edge", "window_edge", listed=False),
    Column("Dry run", "dry_run", listed=False),
    Column("Dimensions", "dimensions", count, right=True),
)
DIMENSION: Final = (
    Column("Dimension", "key"),
    Column("Unit", "unit"),
    Column("Price", "price", money, right=True),
    Column("Description", "description"),
)
KEY: Final = (Column("Version", "version"), Column("Rotated", "rotated", instant))


def _tell(product: dict[str, Any]) -> None:
    tell(product, PRODUCT)
    if product["dimensions"]:
        print()
        tell_table(product["dimensions"], DIMENSION)


def _tell_key(key: dict[str, Any]) -> None:
    tell(key, KEY)
    _tell_pem(key)


def _tell_pem(key: dict[str, Any]) -> None:
    print(key["pem"].rstrip("\n"))


@app.command(name="list")
def list_products(*, part: Part = FIRST_PART, server: Server = HERE) -> None:
    """List the products.

    Example: meterhouse product list
    """
    server.tell_list(PRODUCT, "/products", "There are no products.", part)


@app.command
def show(code: str, *, server: Server = HERE) -> None:
    """Show a product and its dimensions.

    Example: meterhouse product show a1b2c3d4e5f6g7h8i9j0k1l2m

    Parameters
    ----------
    code
        The product code.
    """
    server.tell(_tell, "GET", path_of("products", code))


@app.command
def create(file: Path, *, server: Server = HERE) -> None:
    """List a product that a file describes.

    Example: meterhouse product create product.toml

    Parameters
    ----------
    file
        TOML or JSON with the members of one product, as `[[products]]` of a catalog file has them; - reads standard
        input.
    """
    server.tell(_tell, "POST", "/products", body=read_one(file, "products"))


@app.command
def update(
    code: str,
    file: Path | None = None,
    *,
    name: str | None = None,
    type_: Annotated[str | None, Parameter(name="--type"), one_of(ProductType)] = None,
    registration_url: str | None = None,
    regions: Words | None = None,
    hourly_price: str | None = None,
    identical_repeat: Annotated[str | None, one_of(IdenticalRepeat)] = None,
    window_edge: Annotated[str | None, one_of(WindowEdge)] = None,
    dry_run: Annotated[str | None, one_of(DryRun)] = None,
    server: Server = HERE,
) -> None:
    """Replace members of a product: those of a file, and those given here.

    Example: meterhouse product update a1b2c3d4e5f6g7h8i9j0k1l2m --name "Data Pipeline 2"

    Parameters
    ----------
    code
        The product code.
    file
        TOML or JSON with the members to replace; a list, such as the dimensions, is replaced whole.
    name
        Its name, for people.
    type_
        What it is, for people.
    registration_url
        Where a buyer's browser is sent with a registration token.
    regions
        The Regions in which it is served, divided by commas.
    hourly_price
        US dollars for an hour of what RegisterUsage meters.
    identical_repeat
        What an identical repeat is answered with.
    window_edge
        Whether an age is counted from the timestamp or from its hour.
    dry_run
        Whether an allowed DryRun is answered as a success or with AWS's literal text.
    """
    given = {
        "name": name,
        "type": type_,
        "registration_url": registration_url,
        "regions": regions,
        "hourly_price": hourly_price,
        "identical_repeat": identical_repeat,
        "window_edge": window_edge,
        "dry_run": dry_run,
    }
    members = {} if file is None else read_one(file, "products")
    members.update({name: value for name, value in given.items() if value is not None})
    if not members:
        raise CommandFailed("Nothing is to be replaced: give a FILE, or members such as --name.", 2)
    server.tell(_tell, "PATCH", path_of("products", code), body=members)


@app.command
def rotate_key(code: str, *, server: Server = HERE) -> None:
    """Rotate the key that attests RegisterUsage: a new version takes the place of the newest.

    Example: meterhouse product rotate-key a1b2c3d4e5f6g7h8i9j0k1l2m

    Parameters
    ----------
    code
        The product code.
    """
    server.tell(_tell_key, "POST", path_of("products", code, "keys"), body={})


@app.command
def public_key(code: str, version: int = 1, *, server: Server = HERE) -> None:
    """Print the public key by which what RegisterUsage answers is verified, as PEM.

    Example: meterhouse product public-key a1b2c3d4e5f6g7h8i9j0k1l2m > key.pem

    Parameters
    ----------
    code
        The product code.
    version
        The version of the key: the PublicKeyVersion of the call.
    """
    server.tell(_tell_pem, "GET", path_of("products", code, "keys", str(version)))
