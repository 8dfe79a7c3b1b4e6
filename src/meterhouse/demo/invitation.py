"""How to point a program of one's own at the demo: texts to copy, each complete. The tests run them as they are."""

from collections.abc import Mapping

from meterhouse.demo.control import TOTALS
from meterhouse.demo.marketplace import (
    ACCESS_KEY_ID,
    ADMIN_TOKEN,
    BIRCH,
    PIPELINE,
    REGION,
    SECRET_ACCESS_KEY,
)


def settings(url: str) -> dict[str, str]:
    """The environment in which an AWS SDK, of whatever language, calls the demo as its seller."""
    return {
        "AWS_ENDPOINT_URL_MARKETPLACE_METERING": url,
        "AWS_ACCESS_KEY_ID": ACCESS_KEY_ID,
        "AWS_SECRET_ACCESS_KEY": SECRET_ACCESS_KEY,
        "AWS_REGION": REGION,  # read by the SDKs for JavaScript, Go and others
        "AWS_DEFAULT_REGION": REGION,  # read by boto3 and the AWS CLI
    }


def invitation(url: str) -> Mapping[str, str]:
    """What to type, by what it is: settings first, then one call in each language, then the ledger's answer."""
    return {
        "In another terminal": "\n".join(f"export {name}={value}" for name, value in settings(url).items()),
        "AWS CLI": f"""\
aws meteringmarketplace batch-meter-usage --product-code {PIPELINE.code} --usage-records \\
    "Timestamp=$(date +%s),CustomerAWSAccountId={BIRCH.account},Dimension=users,Quantity=7\"""",
        "Python": f"""\
import boto3, datetime
print(boto3.client("meteringmarketplace").batch_meter_usage(
    ProductCode="{PIPELINE.code}",
    UsageRecords=[{{"Timestamp": datetime.datetime.now(datetime.timezone.utc), "Quantity": 7,
                   "CustomerAWSAccountId": "{BIRCH.account}", "Dimension": "users"}}],
)["Results"])""",
        "JavaScript": f"""\
import {{ MarketplaceMetering }} from "@aws-sdk/client-marketplace-metering";
console.log((await new MarketplaceMetering().batchMeterUsage({{
  ProductCode: "{PIPELINE.code}",
  UsageRecords: [{{ Timestamp: new Date(), Quantity: 7,
                   CustomerAWSAccountId: "{BIRCH.account}", Dimension: "users" }}],
}})).Results);""",
        "What the ledger holds": f'curl -H "Authorization: Bearer {ADMIN_TOKEN}" "{url}{TOTALS}"',
    }
