"""Random request bodies near the API's shapes: mostly right, here and there wrong, written the way clients write.

A strategy gives JSON *text*, not a tree, so that what only text can hold (a member twice, `5.0` beside `5`, half a
surrogate pair, a number of a hundred digits) is drawn too.
"""

import json
from typing import Final

from hypothesis import strategies as st

Texts = st.SearchStrategy[str]

RIGHT_TEXTS: Final = ("", "a", "users", "444455556666", "17.50", "é😀", 'a "quoted" [{', "x" * 64, "\\", "\u2028")

WRONG: Final = (
    "null",
    "true",
    "5",
    "5.0",
    "5e0",
    "-1",
    "-0",
    "2147483648",
    "9223372036854775807",
    "9223372036854775808",
    "1" * 100,
    "1e400",
    "-62135596801",
    "253402300800",
    "0.1234567",
    '""',
    '"x"',
    '"017"',
    '"5.5.5"',
    '"two words"',
    '"' + "y" * 256 + '"',
    '"\\ud83d\\ude00"',
    '"\\ud800"',
    '"2026-11-21T00:00:00Z"',
    "[]",
    "{}",
    "[null]",
    "[[{}]]",
    '{"Key":"a"}',
    '{"Timestamp":1}',
    "[" + ",".join(['{"Timestamp":1}'] * 26) + "]",
)
"""Values that are out of place somewhere: of another type, off a bound, off a pattern."""

TIMES: Final = (
    "1795219200",
    "1795219200.0",
    "1795219200.456",
    "1795219200.456789",
    "1795219200.4567899",
    "1.795219200456e9",
    "0",
    "-1.5",
    "-62135596800",
    "253402300799.9999999",
    '"2026-11-21T00:00:00Z"',
    '"2026-11-21T01:00:00.5+01:00"',
)

wrong: Final[Texts] = st.sampled_from(WRONG)
spaces: Final[Texts] = st.sampled_from(("", "", "", " ", "\n\t"))


@st.composite
def text_of(draw: st.DrawFn, strings: st.SearchStrategy[str]) -> str:
    """A string as JSON, escaped as one client or another does."""
    return json.dumps(draw(strings), ensure_ascii=draw(st.booleans()))


def near(right: Texts) -> Texts:
    """Mostly a right value, sometimes a wrong one."""
    return st.integers(0, 39).flatmap(lambda die: wrong if die == 0 else right)


strings: Final = text_of(st.sampled_from(RIGHT_TEXTS) | st.text(max_size=12))
names: Final = text_of(st.sampled_from(RIGHT_TEXTS[1:]) | st.text(min_size=1, max_size=12))
codes: Final = text_of(st.text("ab9-/=:_.@", min_size=1, max_size=12))
timestamps: Final = st.sampled_from(TIMES)
whole_numbers: Final = st.integers(0, 2**31 - 1).map(str)
decimals: Final = text_of(st.from_regex(r"(0|[1-9][0-9]{0,9})(\.[0-9]{1,6})?", fullmatch=True))
accounts: Final = text_of(st.text("0123456789", min_size=1, max_size=14))
flags: Final = st.sampled_from(("true", "false"))


@st.composite
def objects(draw: st.DrawFn, members: dict[str, Texts], *, often: tuple[str, ...] = ()) -> str:
    """An object with some of these members, those of `often` nearly always; now and then one twice, or one unknown."""
    said = []
    for name, values in members.items():
        if draw(st.integers(0, 9)) < (9 if name in often else 4):
            said.append((name, draw(near(values))))
        if draw(st.integers(0, 29)) == 0:
            said.append((name, draw(near(values))))
    if draw(st.integers(0, 5)) == 0:
        said.append((draw(st.sampled_from(("Unknown", "__type", "timestamp"))), draw(wrong)))
    space = draw(spaces)
    return "{" + ",".join(f'{space}"{name}"{space}:{value}{space}' for name, value in draw(st.permutations(said))) + "}"


def lists(members: Texts, most: int) -> Texts:
    """A list of up to so many members."""
    return st.lists(members, max_size=most).map(lambda found: f"[{','.join(found)}]")


tags: Final = objects({"Key": strings, "Value": strings}, often=("Key", "Value"))
allocations: Final = objects(
    {
        "AllocatedUsageQuantity": whole_numbers,
        "AllocatedUsageQuantityAsDecimal": decimals,
        "Tags": lists(near(tags), 2),
    }
)
records: Final = objects(
    {
        "Timestamp": timestamps,
        "Dimension": names,
        "CustomerIdentifier": strings,
        "CustomerAWSAccountId": accounts,
        "LicenseArn": strings,
        "Quantity": whole_numbers,
        "QuantityAsDecimal": decimals,
        "UsageAllocations": lists(near(allocations), 2),
    },
    often=("Timestamp", "Dimension"),
)

BODIES: Final = {
    "BatchMeterUsage": objects(
        {
            "UsageRecords": lists(near(records), 3),
            "ProductCode": codes,
        },
        often=("UsageRecords",),
    ),
    "MeterUsage": objects(
        {
            "ProductCode": codes,
            "Timestamp": timestamps,
            "UsageDimension": names,
            "UsageQuantity": whole_numbers,
            "UsageQuantityAsDecimal": decimals,
            "DryRun": flags,
            "UsageAllocations": lists(near(allocations), 2),
            "ClientToken": names,
        },
        often=("ProductCode", "Timestamp", "UsageDimension"),
    ),
    "RegisterUsage": objects(
        {"ProductCode": codes, "PublicKeyVersion": whole_numbers, "Nonce": strings},
        often=("ProductCode", "PublicKeyVersion"),
    ),
    "ResolveCustomer": objects({"RegistrationToken": names}, often=("RegistrationToken",)),
}
"""Bodies of each operation."""
