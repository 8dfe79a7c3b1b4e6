"""The forms of single values: which texts, numbers and times may be written where.

Each form's `Meta` is read three times: by the reader, which checks it; by the API's description for machines; and by
the sentence that refuses a value, which ends with `extra["wanted"]`: "… is not …".
"""

from datetime import datetime
from typing import Annotated, Any

from msgspec import Meta

from meterhouse.core.quantity import PRICE_PATTERN
from meterhouse.core.regions import REGION_PATTERN
from meterhouse.core.shapes import LICENSE_ARN_PATTERN


def _whole(pattern: str) -> str:
    """A pattern for a whole text; Python's `$` alone would let a line break follow."""
    return rf"^({pattern})$(?!\n)"


AccountId = Annotated[
    str,
    Meta(
        pattern=_whole("[0-9]{12}"),
        description="An AWS account id.",
        extra={"wanted": "an AWS account id: 12 digits, as text"},
    ),
]
ProductCode = Annotated[
    str,
    Meta(
        pattern=_whole("[-a-zA-Z0-9/=:_.@]{1,255}"),
        description="A product code.",
        extra={"wanted": "a product code: 1 to 255 of A-Z, a-z, 0-9 and -/=:_.@"},
    ),
]
ProductId = Annotated[
    str,
    Meta(
        pattern=_whole("[-a-zA-Z0-9_.]{1,255}"),
        description="A product id, such as `prod-abcdefghijklm`; made up when absent.",
        extra={"wanted": "a product id: 1 to 255 of A-Z, a-z, 0-9 and -_."},
    ),
]
Name = Annotated[
    str, Meta(min_length=1, max_length=255, extra={"wanted": "a name: 1 to 255 characters"}, description="For people.")
]
RegistrationUrl = Annotated[
    str,
    Meta(
        pattern=_whole(r"[hH][tT][tT][pP][sS]?://[^\s/?#\\]+[^\s\\]*"),
        max_length=2048,
        description="Where a buyer's browser is sent with a registration token.",
        extra={"wanted": "a web address: http:// or https:// and a host"},
    ),
]
Region = Annotated[
    str,
    Meta(
        pattern=_whole(REGION_PATTERN),
        description="An AWS Region.",
        extra={"wanted": "the name of a Region, such as us-east-1"},
    ),
]
Regions = Annotated[
    list[Region],
    Meta(
        min_length=1,
        description="Where the product is served; absent: in every Region the server serves.",
        extra={"wanted": "a list of at least one Region (leave it out for all)"},
    ),
]
Price = Annotated[
    str,
    Meta(
        pattern=_whole(PRICE_PATTERN),
        description="US dollars, as text: a plain decimal with up to 8 places.",
        examples=["0.25"],
        extra={"wanted": 'a price: a plain decimal with up to 8 places, as text, such as "0.25"'},
    ),
]
DimensionKey = Annotated[
    str,
    Meta(
        pattern=_whole("[A-Za-z0-9_.-]{1,100}"),
        description="The dimension's name in requests.",
        extra={"wanted": "a dimension's key: 1 to 100 of A-Z, a-z, 0-9 and _.-"},
    ),
]
Unit = Annotated[
    str,
    Meta(min_length=1, max_length=255, description="What is counted.", extra={"wanted": "a unit: 1 to 255 characters"}),
]
Description = Annotated[
    str, Meta(max_length=4096, description="For people.", extra={"wanted": "a text of at most 4096 characters"})
]
AgreementId = Annotated[
    str,
    Meta(
        pattern=_whole("[A-Za-z0-9_/-]{1,64}"),
        description="An agreement id, such as `agmt-1example`.",
        extra={"wanted": "an agreement id: 1 to 64 of A-Z, a-z, 0-9 and _/-"},
    ),
]
LicenseArn = Annotated[
    str,
    Meta(
        pattern=_whole(LICENSE_ARN_PATTERN.removeprefix("^").removesuffix("$")),
        description="The license that the agreement grants; made up when absent.",
        extra={
            "wanted": "a license ARN, such as "
            "arn:aws:license-manager::111122223333:license:l-0123456789abcdef0123456789abcdef"
        },
    ),
]
CustomerIdentifier = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=255,
        description="The seller's opaque name for the buyer, one per seller and buyer; legacy products only; "
        "made up when absent.",
        extra={"wanted": "a customer identifier: 1 to 255 characters"},
    ),
]
Instant = Annotated[
    datetime,
    Meta(
        tz=True,
        description="An instant, with its offset from UTC.",
        examples=["2026-01-01T00:00:00Z"],
        extra={"wanted": "a time with its offset, such as 2026-01-01T00:00:00Z"},
    ),
]
Token = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4096,
        description="A registration token; random when absent, shown once.",
        extra={"wanted": "a registration token: 1 to 4096 characters"},
    ),
]
AccessKeyId = Annotated[
    str,
    Meta(
        pattern=_whole("[-A-Za-z0-9_.]{1,128}"),
        description="An access key id.",
        extra={"wanted": "an access key id: 1 to 128 of A-Z, a-z, 0-9 and -_."},
    ),
]
Secret = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=4096,
        description="A secret; kept encrypted, never shown again.",
        extra={"wanted": "a secret: 1 to 4096 characters"},
    ),
]
EnvironmentName = Annotated[
    str,
    Meta(
        pattern=_whole("[A-Za-z_][A-Za-z0-9_]*"),
        description="The environment variable that holds the secret.",
        extra={"wanted": "the name of an environment variable"},
    ),
]
Principal = Annotated[
    str,
    Meta(
        pattern=_whole(r"arn:[!-~]{1,2043}"),
        description="Who acts, as an ARN; made from the account when absent.",
        extra={"wanted": "an ARN, such as arn:aws:iam::111122223333:user/seller"},
    ),
]
Policy = Annotated[
    dict[str, Any],
    Meta(
        description="An IAM policy (Effect, Action, Resource `*`); absent: all of `aws-marketplace:*` is allowed.",
        extra={"wanted": 'an IAM policy: { Version = "2012-10-17", Statement = [ … ] }'},
    ),
]
ResourceId = Annotated[
    str,
    Meta(
        pattern=_whole("[!-~]{1,255}"),
        description="The instance, task, pod or runtime.",
        extra={"wanted": "a resource id: 1 to 255 printable ASCII characters without spaces"},
    ),
]
HeartbeatSeconds = Annotated[
    int,
    Meta(
        ge=1,
        le=2_147_483_647,
        description="How long without a sign of life until the workload counts as ended; absent: no such time.",
        extra={"wanted": "a whole number of seconds from 1 to 2147483647"},
    ),
]
_ADVANCE = Meta(
    ge=0,
    le=1_000_000_000_000,
    description="Seconds by which the clock is moved ahead; a frozen clock stays frozen.",
    extra={"wanted": "a number of seconds from 0 to a million million (to go back, freeze at an earlier time)"},
)
WholeAdvance = Annotated[int, _ADVANCE]
FineAdvance = Annotated[float, _ADVANCE]
