"""The marketplace that most end-to-end tests set up: one seller with products of each kind, and buyers in each state.

Dates are far in the past, so that a test may meter any hour that the service takes.
"""

import time
from typing import Final

from meterhouse.wire.keys import SigningCredentials

SELLER: Final = "111122223333"
OTHER_SELLER: Final = "222233334444"
BUYER: Final = "444455556666"
OTHER_BUYER: Final = "777788889999"
FORMER_BUYER: Final = "666677778888"
COMING_BUYER: Final = "888899990000"
SUSPENDED_BUYER: Final = "999900001111"
STRANGER: Final = "123412341234"
"""An account that never bought anything."""

LEGACY: Final = "a1b2c3d4e5f6g7h8i9j0k1l2m"
CONCURRENT: Final = "c1o2n3c4u5r6r7e8n9t0p1r2o"
EUROPEAN: Final = "e1u2r3o4p5e6a7n8p9r0o1d2u"
FOREIGN: Final = "f1o2r3e4i5g6n7p8r9o0d1u2c"

CUSTOMER: Final = "X01CUSTOMER"
FORMER_CUSTOMER: Final = "X02FORMER"
SUSPENDED_CUSTOMER: Final = "X03SUSPENDED"


def license_arn(number: int, seller: str = SELLER) -> str:
    """The license of the agreement with this number below."""
    return f"arn:aws:license-manager::{seller}:license:l-{number:032x}"


LICENSE: Final = license_arn(2)
OTHER_LICENSE: Final = license_arn(5)
FORMER_LICENSE: Final = license_arn(6)
COMING_LICENSE: Final = license_arn(4)
FOREIGN_LICENSE: Final = license_arn(9, OTHER_SELLER)

TOKEN: Final = "token-of-the-legacy-product"
CONCURRENT_TOKEN: Final = "token-of-the-concurrent-product"
STALE_TOKEN: Final = "token-of-two-years-ago"
FOREIGN_TOKEN: Final = "token-of-another-seller"

KEYS: Final = SigningCredentials("AKIDEXAMPLESELLER0001", "a secret of the seller's, 1")
OTHER_KEYS: Final = SigningCredentials("AKIDEXAMPLEOTHER00002", "a secret of the other seller's, 2")
BATCH_ONLY_KEYS: Final = SigningCredentials("AKIDEXAMPLEBATCH00003", "a secret of whoever may only meter, 3")
RESOLVE_ONLY_KEYS: Final = SigningCredentials("AKIDEXAMPLERESOLV0004", "a secret of whoever may only resolve, 4")
TEMPORARY_KEYS: Final = SigningCredentials("ASIAEXAMPLETEMPOR0005", "a secret for a while, 5", "a session token/+==")
EXPIRED_KEYS: Final = SigningCredentials("ASIAEXAMPLEEXPIRE0006", "a secret of the past, 6", "an old session token/+==")


def now_seconds() -> int:
    """The present instant; an hour or four before it are within every window, at any month's end too."""
    return int(time.time())


CATALOG: Final = f"""
[[products]]
code = "{LEGACY}"
id = "prod-legacy0000001"
name = "Data Pipeline"
seller = "{SELLER}"
type = "saas"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"
[[products.dimensions]]
key = "storage"
unit = "GB"
price = "0.001"

[[products]]
code = "{CONCURRENT}"
name = "Data Lake"
seller = "{SELLER}"
type = "saas"
integration = "concurrent"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"

[[products]]
code = "{EUROPEAN}"
name = "Data Pond"
seller = "{SELLER}"
type = "saas"
regions = ["eu-west-1"]
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"

[[products]]
code = "{FOREIGN}"
name = "Another Seller's Product"
seller = "{OTHER_SELLER}"
type = "saas"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "1"

[[agreements]]
id = "agmt-legacy"
product = "{LEGACY}"
buyer = "{BUYER}"
customer_identifier = "{CUSTOMER}"
license_arn = "{license_arn(1)}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-concurrent"
product = "{CONCURRENT}"
buyer = "{BUYER}"
license_arn = "{LICENSE}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-former"
product = "{LEGACY}"
buyer = "{FORMER_BUYER}"
customer_identifier = "{FORMER_CUSTOMER}"
license_arn = "{license_arn(3)}"
start = 2024-01-01T00:00:00Z
end = 2025-01-01T00:00:00Z

[[agreements]]
id = "agmt-coming"
product = "{CONCURRENT}"
buyer = "{COMING_BUYER}"
license_arn = "{COMING_LICENSE}"
status = "pending"

[[agreements]]
id = "agmt-other"
product = "{CONCURRENT}"
buyer = "{OTHER_BUYER}"
license_arn = "{OTHER_LICENSE}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-concurrent-former"
product = "{CONCURRENT}"
buyer = "{FORMER_BUYER}"
license_arn = "{FORMER_LICENSE}"
start = 2024-01-01T00:00:00Z
end = 2025-01-01T00:00:00Z

[[agreements]]
id = "agmt-suspended"
product = "{LEGACY}"
buyer = "{SUSPENDED_BUYER}"
customer_identifier = "{SUSPENDED_CUSTOMER}"
license_arn = "{license_arn(7)}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-european"
product = "{EUROPEAN}"
buyer = "{BUYER}"
license_arn = "{license_arn(8)}"
start = 2024-01-01T00:00:00Z

[[agreements]]
id = "agmt-foreign"
product = "{FOREIGN}"
buyer = "{BUYER}"
license_arn = "{FOREIGN_LICENSE}"
start = 2024-01-01T00:00:00Z

[[accounts]]
id = "{SUSPENDED_BUYER}"
suspended = true

[[registration_tokens]]
token = "{TOKEN}"
agreement = "agmt-legacy"

[[registration_tokens]]
token = "{CONCURRENT_TOKEN}"
agreement = "agmt-concurrent"

[[registration_tokens]]
token = "{STALE_TOKEN}"
agreement = "agmt-legacy"
issued = 2024-06-01T00:00:00Z

[[registration_tokens]]
token = "{FOREIGN_TOKEN}"
agreement = "agmt-foreign"

[[credentials]]
access_key_id = "{KEYS.access_key_id}"
secret_access_key = "{KEYS.secret_access_key}"
account = "{SELLER}"

[[credentials]]
access_key_id = "{OTHER_KEYS.access_key_id}"
secret_access_key = "{OTHER_KEYS.secret_access_key}"
account = "{OTHER_SELLER}"

[[credentials]]
access_key_id = "{BATCH_ONLY_KEYS.access_key_id}"
secret_access_key = "{BATCH_ONLY_KEYS.secret_access_key}"
account = "{SELLER}"
principal = "arn:aws:iam::{SELLER}:user/meter"
[credentials.policy]
Version = "2012-10-17"
Statement = [{{ Effect = "Allow", Action = "aws-marketplace:BatchMeter*", Resource = "*" }}]

[[credentials]]
access_key_id = "{RESOLVE_ONLY_KEYS.access_key_id}"
secret_access_key = "{RESOLVE_ONLY_KEYS.secret_access_key}"
account = "{SELLER}"
principal = "arn:aws:iam::{SELLER}:user/resolve"
[credentials.policy]
Version = "2012-10-17"
Statement = [
  {{ Effect = "Allow", Action = "aws-marketplace:*", Resource = "*" }},
  {{ Effect = "Deny", Action = ["aws-marketplace:BatchMeterUsage"], Resource = "*" }},
]

[[credentials]]
access_key_id = "{TEMPORARY_KEYS.access_key_id}"
secret_access_key = "{TEMPORARY_KEYS.secret_access_key}"
session_token = "{TEMPORARY_KEYS.session_token}"
expires = 2099-01-01T00:00:00Z
account = "{SELLER}"

[[credentials]]
access_key_id = "{EXPIRED_KEYS.access_key_id}"
secret_access_key = "{EXPIRED_KEYS.secret_access_key}"
session_token = "{EXPIRED_KEYS.session_token}"
expires = 2025-01-01T00:00:00Z
account = "{SELLER}"
"""
