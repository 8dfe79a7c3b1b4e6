"""The marketplace of the control API's tests: two sellers, products of each kind, buyers, time that stands still."""

from typing import Any, Final

from tests.unit.control_server import ControlServer

SELLER: Final = "111122223333"
OTHER_SELLER: Final = "222233334444"
BUYER: Final = "444455556666"
OTHER_BUYER: Final = "777788889999"

PIPELINE: Final = "pipeline"
LAKE: Final = "lake"
BOX: Final = "box"
FOREIGN: Final = "foreign"

CUSTOMER: Final = "X01EXAMPLEX"
LICENSE: Final = "arn:aws:license-manager::111122223333:license:l-00000000000000000000000000000002"
PIPELINE_LICENSE: Final = "arn:aws:license-manager::111122223333:license:l-00000000000000000000000000000001"

NOW: Final = "2026-11-21T12:00:00Z"
NOW_SECONDS: Final = 1_795_262_400

CATALOG: Final = f"""
[[products]]
code = "{PIPELINE}"
id = "prod-pipeline00001"
name = "Data Pipeline"
seller = "{SELLER}"
type = "saas"
registration_url = "http://127.0.0.1:5000/register"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"
[[products.dimensions]]
key = "storage"
unit = "GB"
price = "0.00000001"

[[products]]
code = "{LAKE}"
name = "Data Lake"
seller = "{SELLER}"
type = "saas"
integration = "concurrent"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.3"

[[products]]
code = "{BOX}"
name = "A box"
seller = "{SELLER}"
type = "container"
hourly_price = "0.12"
[[products.dimensions]]
key = "requests"
unit = "Requests"
price = "0.001"

[[products]]
code = "{FOREIGN}"
name = "Another seller's"
seller = "{OTHER_SELLER}"
type = "saas"
[[products.dimensions]]
key = "users"
unit = "Users"
price = "0.25"

[[agreements]]
id = "agmt-pipeline"
product = "{PIPELINE}"
buyer = "{BUYER}"
customer_identifier = "{CUSTOMER}"
license_arn = "{PIPELINE_LICENSE}"
start = 2026-01-01T00:00:00Z

[[agreements]]
id = "agmt-other"
product = "{PIPELINE}"
buyer = "{OTHER_BUYER}"
start = 2026-01-01T00:00:00Z

[[agreements]]
id = "agmt-lake"
product = "{LAKE}"
buyer = "{BUYER}"
license_arn = "{LICENSE}"
start = 2026-01-01T00:00:00Z

[[agreements]]
id = "agmt-box"
product = "{BOX}"
buyer = "{BUYER}"
start = 2026-01-01T00:00:00Z

[[agreements]]
id = "agmt-foreign"
product = "{FOREIGN}"
buyer = "{BUYER}"
start = 2026-01-01T00:00:00Z

[[registration_tokens]]
token = "a token that is known"
agreement = "agmt-pipeline"

[[accounts]]
id = "{OTHER_BUYER}"
suspended = false

[[credentials]]
access_key_id = "AKIDEXAMPLESELLER0001"
secret_access_key = "a secret of the seller's"
account = "{SELLER}"
"""


async def furnish(server: ControlServer) -> ControlServer:
    """Sets the clock and loads the catalog."""
    await server.made("/clock", {"now": NOW}, "PUT")
    await server.made("/catalog", {"toml": CATALOG})
    return server


def record(
    dimension: str = "users",
    quantity: int | str = 1,
    *,
    hours_ago: int = 0,
    customer: str = BUYER,
    license_arn: str | None = None,
    allocations: list[Any] | None = None,
) -> dict[str, Any]:
    """A usage record; a text is a decimal quantity."""
    said: dict[str, Any] = {
        "Timestamp": NOW_SECONDS - 3600 * hours_ago,
        "CustomerAWSAccountId": customer,
        "Dimension": dimension,
        "Quantity" if isinstance(quantity, int) else "QuantityAsDecimal": quantity,
    }
    if license_arn is not None:
        said["LicenseArn"] = license_arn
    if allocations is not None:
        said["UsageAllocations"] = allocations
    return said


async def batch(
    server: ControlServer,
    *records: dict[str, Any],
    product: str | None = PIPELINE,
    seller: str = SELLER,
    region: str = "us-east-1",
) -> Any:
    """Meters a batch; the answer, which must be a success."""
    body = {"UsageRecords": list(records), **({} if product is None else {"ProductCode": product})}
    answer = await server.meter("BatchMeterUsage", body, seller, region)
    assert answer.status == 200, answer.body
    return answer.json
