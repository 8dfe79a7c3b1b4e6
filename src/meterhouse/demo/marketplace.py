"""The demo's marketplace: one seller, two products, three buyers, and the catalog file that says so.

The day is 19 November 2026, whatever day it is: the demo serves with a test clock, so that it tells the same each time
and no month's end comes between. Keys and tokens here open nothing but the demo's own server, for as long as it runs.
"""

from datetime import UTC, datetime
from typing import Final, NamedTuple

OPENING: Final = datetime(2026, 11, 19, 9, tzinfo=UTC)
"""When the demo's day begins; it ends 24 hours later."""
REGION: Final = "us-east-1"
SELLER: Final = "111122223333"
ACCESS_KEY_ID: Final = "AKIADEMOSELLER000001"
SECRET_ACCESS_KEY: Final = "only-for-the-demo"
ADMIN_TOKEN: Final = "demo-admin"
"""The bearer token of the demo's control API."""


class Product(NamedTuple):
    """A product of the demo's seller."""

    name: str
    code: str


class Buyer(NamedTuple):
    """A buyer: a name for people, which the service never hears, and an AWS account id."""

    name: str
    account: str


PIPELINE: Final = Product("Data Pipeline", "3q8zk1d7w0xj5m2b9c4vth6rg")
"""Metered by product code, as most products are."""
GATEWAY: Final = Product("Model Gateway", "8n2y5t0kc6f1s9d3h7w4jxq2p")
"""Metered by license, as products with concurrent agreements are."""

ALDER: Final = Buyer("Alder", "444455556666")
BIRCH: Final = Buyer("Birch", "555566667777")
CEDAR: Final = Buyer("Cedar", "777788889999")
BUYERS: Final = {buyer.account: buyer for buyer in (ALDER, BIRCH, CEDAR)}

SUBSCRIBING: Final = "agmt-alder-pipeline"
"""The agreement that waits to be accepted when the demo begins."""
GATEWAY_LICENSE: Final = f"arn:aws:license-manager::{SELLER}:license:l-0b1c4d2e5f6a47089b8c7d6e5f4a3b2c"

CATALOG: Final = """\
[[products]]
code = "{pipeline.code}"
name = "{pipeline.name}"
seller = "{seller}"
type = "saas"
registration_url = "{registration_url}"

[[products.dimensions]]
key = "users"
unit = "User hours"
price = "0.25"

[[products.dimensions]]
key = "gigabytes"
unit = "GB"
price = "0.09"

[[products]]
code = "{gateway.code}"
name = "{gateway.name}"
seller = "{seller}"
type = "saas"
integration = "concurrent"

[[products.dimensions]]
key = "tokens"
unit = "1,000 tokens"
price = "0.0021"

[[agreements]]
id = "{subscribing}"
product = "{pipeline.code}"
buyer = "{alder.account}"
license_arn = "arn:aws:license-manager::{seller}:license:l-4a3b2c0b1c4d2e5f6a47089b8c7d6e5f"
customer_identifier = "X01ALDERX"
start = {opening}
status = "pending"

[[agreements]]
id = "agmt-birch-pipeline"
product = "{pipeline.code}"
buyer = "{birch.account}"
license_arn = "arn:aws:license-manager::{seller}:license:l-5e6f7a4b8c9d4ea0b1c2d3e4f5a6b7c8"
customer_identifier = "X02BIRCHX"
start = 2026-01-01T00:00:00Z

[[agreements]]
id = "agmt-cedar-pipeline"
product = "{pipeline.code}"
buyer = "{cedar.account}"
license_arn = "arn:aws:license-manager::{seller}:license:l-6f7a8b5c9d0e4fb1c2d3e4f5a6b7c8d9"
customer_identifier = "X03CEDARX"
start = 2026-01-01T00:00:00Z
end = 2026-10-31T12:00:00Z

[[agreements]]
id = "agmt-birch-gateway"
product = "{gateway.code}"
buyer = "{birch.account}"
license_arn = "{gateway_license}"
start = 2026-01-01T00:00:00Z

[[credentials]]
access_key_id = "{access_key_id}"
secret_access_key = "{secret_access_key}"
account = "{seller}"
"""


def catalog_text(registration_url: str) -> str:
    """The catalog file. `registration_url` is where the seller's web application waits for new buyers."""
    return CATALOG.format(
        pipeline=PIPELINE,
        gateway=GATEWAY,
        alder=ALDER,
        birch=BIRCH,
        cedar=CEDAR,
        seller=SELLER,
        registration_url=registration_url,
        opening=OPENING.isoformat(),
        subscribing=SUBSCRIBING,
        gateway_license=GATEWAY_LICENSE,
        access_key_id=ACCESS_KEY_ID,
        secret_access_key=SECRET_ACCESS_KEY,
    )
