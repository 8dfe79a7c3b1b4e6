"""Random stories for BatchMeterUsage: a market, then batches, changes of the market and moves of the clock.

Names are few and times lie near the edges, so that keys collide and rules meet; most batches are right, and one in
several is wrong in one place.
"""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from meterhouse.core.moment import datetime_of, micros_of_rfc3339
from tests.unit.batch_model import Deal, Offer, Record, Request, World

SELLERS: Final = ("111122223333", "999988887777")
BUYERS: Final = ("400000000001", "400000000002", "400000000003")
CODES: Final = ("one", "two", "three", "far")
REGIONS: Final = ("us-east-1", "eu-west-1")
DEALS: Final = [
    # product, buyer; each deal's number is its place here
    ("one", 0),
    ("one", 0),
    ("one", 1),
    ("two", 0),
    ("two", 2),
    ("three", 0),
    ("three", 1),
    ("far", 0),
    ("far", 2),
]
STARTS: Final = [
    datetime_of(micros_of_rfc3339(text))
    for text in (
        "2026-11-21T12:30:00Z",
        "2026-11-21T23:58:00Z",
        "2026-12-01T05:30:00Z",
        "2026-12-01T06:00:00Z",
        "2028-02-29T12:00:00Z",
        "2028-03-01T05:59:59.999999Z",
        "2027-01-01T00:00:00Z",
    )
]
HOUR: Final = timedelta(hours=1)
MICROSECOND: Final = timedelta(microseconds=1)

AGES: Final = [
    timedelta(0),
    timedelta(minutes=10),
    timedelta(minutes=25),
    HOUR,
    2 * HOUR,
    5 * HOUR,
    timedelta(hours=23, minutes=59, seconds=59),
    24 * HOUR - MICROSECOND,
    timedelta(minutes=-5),
]
"""How long before now usage was, where it is in the window."""
BAD_AGES: Final = [24 * HOUR, 24 * HOUR + timedelta(seconds=1), timedelta(minutes=-5) - MICROSECOND, 40 * HOUR]


class Batch(NamedTuple):
    """A call."""

    request: Request
    served: set[str] | None


class Renewal(NamedTuple):
    """An agreement's dates or state change."""

    number: int
    deal: Deal


class Suspension(NamedTuple):
    """An account is suspended, or restored."""

    buyer: str
    suspended: bool


class Wait(NamedTuple):
    """Time passes."""

    span: timedelta


Chapter = Batch | Renewal | Suspension | Wait


class Story(NamedTuple):
    """What there is at first, and what happens."""

    begins: datetime
    world: World
    chapters: list[Chapter]


def seller_of(product: str) -> str:
    """Who lists a product."""
    return SELLERS[product == "far"]


def identifier_of(product: str, buyer: str) -> str:
    """The seller's name for a buyer."""
    return f"X-{seller_of(product)[:1]}-{buyer[-1]}"


def one_in(draw: st.DrawFn, count: int) -> bool:
    """True once in so many draws."""
    return draw(st.integers(1, count)) == count


@st.composite
def offers(draw: st.DrawFn) -> dict[str, Offer]:
    """The four products, with their switches this way or that."""
    return {
        code: Offer(
            seller_of(code),
            code == "three",
            frozenset({"users", "hosts"}),
            draw(st.sampled_from((None, None, frozenset({"us-east-1"})))),
            draw(st.booleans()),
            draw(st.booleans()),
        )
        for code in CODES
    }


@st.composite
def deals(draw: st.DrawFn, number: int, now: datetime) -> Deal:
    """An agreement whose dates lie around now; mostly it runs."""
    product, buyer = DEALS[number][0], BUYERS[DEALS[number][1]]
    start = now - draw(st.sampled_from((*[2000 * HOUR] * 6, 30 * HOUR, HOUR, timedelta(minutes=20), -HOUR)))
    end = draw(st.sampled_from((*[None] * 7, 100 * HOUR, timedelta(0), -HOUR, -HOUR - MICROSECOND, -2 * HOUR)))
    identifier = None if product == "three" else identifier_of(product, buyer)
    return Deal(
        product,
        buyer,
        f"arn-{number}",
        identifier,
        start,
        None if end is None else now + end,
        pending=one_in(draw, 16),
        closed=one_in(draw, 16),
    )


@st.composite
def records(draw: st.DrawFn, number: int, now: datetime, *, by_license: bool) -> Record:
    """A record of a deal's customer, right or, one in several, wrong in one place."""
    product, buyer = DEALS[number][0], BUYERS[DEALS[number][1]]
    record: Record = {
        "Timestamp": now - draw(st.sampled_from(AGES)),
        "Dimension": draw(st.sampled_from(("users", "users", "hosts"))),
        "CustomerAWSAccountId": buyer,
    }
    if product != "three" and one_in(draw, 3):
        del record["CustomerAWSAccountId"]
        record["CustomerIdentifier"] = identifier_of(product, buyer)
    if by_license:
        record["LicenseArn"] = f"arn-{number}"
    record |= draw(st.sampled_from(QUANTITIES))
    if one_in(draw, 5):
        record["UsageAllocations"] = draw(st.sampled_from(ALLOCATIONS))(record)
    if one_in(draw, 8):
        draw(st.sampled_from(MISTAKES))(record, draw, now)
    return record


QUANTITIES: Final[list[Record]] = [
    {"Quantity": 17},
    {"Quantity": 17},
    {"QuantityAsDecimal": "17.0"},
    {"QuantityAsDecimal": "17.00"},
    {"Quantity": 18},
    {"QuantityAsDecimal": "17.000001"},
    {"Quantity": 0},
    {},
]


def whole(record: Record) -> list[Record]:
    """The quantity in one part, of its own kind."""
    if "QuantityAsDecimal" in record:
        return [{"AllocatedUsageQuantityAsDecimal": record["QuantityAsDecimal"]}]
    return [{"AllocatedUsageQuantity": record.get("Quantity", 0)}]


ALLOCATIONS: Final = [
    whole,
    lambda record: [*whole(record), {"Tags": [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": "d"}]}],
    lambda record: [*whole(record), {}],
    lambda record: [],
    lambda record: [*whole(record), {"AllocatedUsageQuantity": 1, "Tags": [{"Key": "a", "Value": "b"}]}],
    lambda record: [{"AllocatedUsageQuantityAsDecimal": "17"}],
    lambda record: [whole(record)[0] | {"Tags": [{"Key": "a", "Value": "b"}, {"Key": "a", "Value": "c"}]}],
    lambda record: [whole(record)[0] | {"Tags": [{"Key": "Aws:a", "Value": "b"}]}],
    lambda record: [whole(record)[0] | {"Tags": []}],
    lambda record: [whole(record)[0] | {"AllocatedUsageQuantity": 0, "AllocatedUsageQuantityAsDecimal": "0"}],
    lambda record: [
        *whole(record),
        {"Tags": [{"Key": "a", "Value": "b"}, {"Key": "c", "Value": "d"}]},
        {"Tags": [{"Key": "c", "Value": "d"}, {"Key": "a", "Value": "b"}]},
    ],
]
"""How a quantity is split; from the third on something is wrong with most of them."""


def _renamed(record: Record, identifier: str) -> None:
    record.pop("CustomerAWSAccountId", None)
    record["CustomerIdentifier"] = identifier


def _set(name: str, *values: Any) -> Any:
    return lambda record, draw, now: record.update({name: draw(st.sampled_from(values))})


MISTAKES: Final = [
    _set("Dimension", "Users", "nope"),
    _set("CustomerIdentifier", "", "X-1-1"),
    lambda record, draw, now: _renamed(record, draw(st.sampled_from(("X-1-1", "X-9-1", "X-1-3", "nobody")))),
    lambda record, draw, now: _renamed(record, draw(st.sampled_from(("X-1-2", "X-9-3", "X-1-9")))),
    _set("CustomerAWSAccountId", *BUYERS, "499999999999"),
    _set("LicenseArn", *(f"arn-{number}" for number in range(len(DEALS))), "", "nonsense"),
    _set("QuantityAsDecimal", "17"),
    _set("Quantity", 17),
    lambda record, draw, now: record.pop("CustomerAWSAccountId", None),
    lambda record, draw, now: record.pop("LicenseArn", None),
    lambda record, draw, now: record.update({"Timestamp": now - draw(st.sampled_from(BAD_AGES))}),
]


@st.composite
def batches(draw: st.DrawFn, now: datetime) -> Batch:
    """A batch for one product by one of its two forms, or by both; one in several is sent by or to the wrong place."""
    product = draw(st.sampled_from(("one", "one", "one", "two", "two", "three", "far")))
    numbers = [number for number, (code, _) in enumerate(DEALS) if code == product]
    forms = draw(st.sampled_from(((False,), (True,), (False, True)))) if product != "three" else (True,)
    said = [
        draw(records(draw(st.sampled_from(numbers)), now, by_license=draw(st.sampled_from(forms))))
        for _ in range(draw(st.integers(0, 4)))
    ]
    code = None if product == "three" or (forms == (True,) and draw(st.booleans())) else product
    seller, region, served = seller_of(product), draw(st.sampled_from(REGIONS[:1] * 3 + REGIONS)), None
    if one_in(draw, 12):
        code = draw(st.sampled_from((*CODES, None, "", "no-such-code")))
    if one_in(draw, 20):
        seller = draw(st.sampled_from(SELLERS))
    if one_in(draw, 12):
        served = {draw(st.sampled_from(REGIONS))}
    return Batch(Request(seller, region, code, said), served)


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A market and up to twenty chapters."""
    begins = now = draw(st.sampled_from(STARTS))
    found = {f"agmt-{number}": draw(deals(number, now)) for number in range(len(DEALS))}
    suspended = {buyer for buyer in BUYERS if one_in(draw, 12)}
    chapters: list[Chapter] = []
    for _ in range(draw(st.integers(1, 10))):
        kind = draw(st.integers(0, 9))
        if kind == 0:
            number = draw(st.integers(0, len(DEALS) - 1))
            chapters.append(Renewal(number, draw(deals(number, now))))
        elif kind == 1:
            chapters.append(Suspension(draw(st.sampled_from(BUYERS)), draw(st.booleans())))
        elif kind == 2:
            span = draw(st.sampled_from((timedelta(seconds=1), timedelta(minutes=30), HOUR, 6 * HOUR, 23 * HOUR)))
            now += span
            chapters.append(Wait(span))
        else:
            batch = draw(batches(now))
            chapters.append(batch)
            if one_in(draw, 3):
                chapters.append(batch)
    return Story(begins, World(draw(offers()), found, suspended), chapters)
