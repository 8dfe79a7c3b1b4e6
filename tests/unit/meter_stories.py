"""Random stories for MeterUsage and RegisterUsage: workloads that call, agreements that change, and time that passes.

Names are few and times lie near the edges, so that keys and tokens collide and rules meet; most calls are right, and
one in several is wrong in one place.
"""

from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from hypothesis import strategies as st

from tests.unit.batch_model import Deal
from tests.unit.batch_stories import HOUR, MICROSECOND, STARTS, Renewal, Suspension, Wait, one_in
from tests.unit.meter_model import Asked, Body, Offer, Running, World

SELLER: Final = "111122223333"
BUYERS: Final = ("400000000001", "400000000002")
CODES: Final = ("one", "two")
REGIONS: Final = ("us-east-1", "eu-west-1")
PLATFORMS: Final = ("ec2", "ecs", "eks", "fargate", "agentcore", "none")

AGES: Final = [
    timedelta(0),
    timedelta(minutes=10),
    timedelta(minutes=10, microseconds=1),
    timedelta(minutes=25),
    HOUR,
    5 * HOUR,
    6 * HOUR - MICROSECOND,
    timedelta(minutes=-5),
]
"""How long before now usage was, where it is in the window."""
BAD_AGES: Final = [6 * HOUR, 7 * HOUR, timedelta(minutes=-5) - MICROSECOND]
QUANTITIES: Final[list[Body]] = [
    {"UsageQuantity": 17},
    {"UsageQuantity": 17},
    {"UsageQuantityAsDecimal": "17.0"},
    {"UsageQuantity": 4},
    {"UsageQuantityAsDecimal": "0.000001"},
    {"UsageQuantity": 0},
    {},
]
TOKENS: Final = (None, "a", "a", "b", "c")


class MeterCall(NamedTuple):
    """MeterUsage is called."""

    asked: Asked


class RegisterCall(NamedTuple):
    """RegisterUsage is called."""

    asked: Asked


Chapter = MeterCall | RegisterCall | Renewal | Suspension | Wait


class Story(NamedTuple):
    """What there is at first, and what happens."""

    begins: datetime
    world: World
    chapters: list[Chapter]


@st.composite
def offers(draw: st.DrawFn) -> dict[str, Offer]:
    """The products, with their switches this way or that."""
    return {
        code: Offer(
            SELLER,
            frozenset({"users", "hosts"}),
            draw(st.sampled_from((None, None, frozenset({"us-east-1"})))),
            draw(st.booleans()),
            draw(st.booleans()),
            draw(st.integers(0, 2)),
        )
        for code in CODES
    }


@st.composite
def deals(draw: st.DrawFn, number: int, now: datetime) -> Deal:
    """An agreement whose dates lie around now; mostly it runs."""
    product, buyer = CODES[number % 2], BUYERS[number // 2]
    start = now - draw(st.sampled_from((*[2000 * HOUR] * 6, HOUR, -HOUR)))
    end = draw(st.sampled_from((*[None] * 6, 100 * HOUR, timedelta(0), -HOUR, -HOUR - MICROSECOND)))
    return Deal(
        product,
        buyer,
        f"arn-{number}",
        f"X-{number}",
        start,
        None if end is None else now + end,
        pending=one_in(draw, 12),
        closed=one_in(draw, 12),
    )


@st.composite
def fleets(draw: st.DrawFn, now: datetime) -> list[Running]:
    """A few workloads, of few accounts; the first is nearly always one that can do much."""
    return [
        Running(
            f"workload-{number}",
            draw(st.sampled_from((*PLATFORMS[:5] * 2, PLATFORMS[5]))),
            draw(st.sampled_from((*BUYERS[:1] * 3, BUYERS[1], SELLER))),
            draw(st.sampled_from((*REGIONS[:1] * 3, REGIONS[1]))),
            now - draw(st.sampled_from((2000 * HOUR, 2000 * HOUR, 3 * HOUR, timedelta(minutes=5)))),
        )
        for number in range(4)
    ]


def split(body: Body, draw: st.DrawFn) -> None:
    """Splits the quantity, this way or that, sometimes wrong."""
    whole = "UsageQuantityAsDecimal" not in body
    name = "AllocatedUsageQuantity" if whole else "AllocatedUsageQuantityAsDecimal"
    zero: Any = 0 if whole else "0"
    all_of_it = body.get("UsageQuantity", 0) if whole else body["UsageQuantityAsDecimal"]
    tags = [{"Key": "team", "Value": "a"}, {"Key": "unit", "Value": "x"}]
    body["UsageAllocations"] = draw(
        st.sampled_from(
            [
                [{name: all_of_it, "Tags": tags}, {name: zero}],
                [{name: zero}, {name: all_of_it, "Tags": tags[::-1]}],
                [{name: all_of_it}],
                [{name: all_of_it}, {name: zero}],
                [{name: all_of_it, "Tags": []}],
                [{name: all_of_it, "Tags": tags * 2}],
                [],
            ]
        )
    )


@st.composite
def meterings(draw: st.DrawFn, now: datetime) -> Body:
    """What a MeterUsage says."""
    body: Body = {
        "ProductCode": draw(st.sampled_from((*CODES[:1] * 3, CODES[1]))),
        "Timestamp": now - draw(st.sampled_from(AGES)),
        "UsageDimension": draw(st.sampled_from(("users", "users", "hosts"))),
        **draw(st.sampled_from(QUANTITIES)),
    }
    token = draw(st.sampled_from(TOKENS))
    if token is not None:
        body["ClientToken"] = token
    if one_in(draw, 3):
        split(body, draw)
    if one_in(draw, 3):
        body["DryRun"] = draw(st.sampled_from((True, True, False)))
    if one_in(draw, 8):
        body |= draw(
            st.sampled_from(
                [
                    {"UsageDimension": "nope"},
                    {"ProductCode": "no-such-code"},
                    {"UsageQuantity": 1, "UsageQuantityAsDecimal": "1"},
                    *({"Timestamp": now - age} for age in BAD_AGES),
                ]
            )
        )
    return body


@st.composite
def registrations(draw: st.DrawFn) -> Body:
    """What a RegisterUsage says."""
    code = "no-such-code" if one_in(draw, 12) else draw(st.sampled_from(CODES))
    return {"ProductCode": code, "PublicKeyVersion": draw(st.sampled_from((1, 1, 2, 3)))}


@st.composite
def calls(draw: st.DrawFn, fleet: list[Running], now: datetime) -> MeterCall | RegisterCall:
    """A call by a workload of the fleet, or by nobody's; one in several goes to the wrong place."""
    running: Running | None = draw(st.sampled_from((*fleet[:1] * 3, *fleet)))
    assert running is not None
    account, region, served = running.account, running.region, None
    if one_in(draw, 15):
        running = None
    if one_in(draw, 10):
        region = REGIONS[region == REGIONS[0]]
    if one_in(draw, 12):
        served = {draw(st.sampled_from(REGIONS))}
    if one_in(draw, 4):
        return RegisterCall(Asked(account, running, region, served, draw(registrations())))
    return MeterCall(Asked(account, running, region, served, draw(meterings(now))))


def otherwise(call: MeterCall, draw: st.DrawFn) -> MeterCall:
    """The same call with another quantity, under the same token or another."""
    body = {name: value for name, value in call.asked.body.items() if not name.startswith("Usage")}
    body |= {"UsageDimension": call.asked.body["UsageDimension"], "UsageQuantity": 5}
    if one_in(draw, 2):
        body["ClientToken"] = "d"
    return MeterCall(call.asked._replace(body=body))


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """A market, a fleet, and some twenty chapters."""
    begins = now = draw(st.sampled_from(STARTS))
    found = {f"agmt-{number}": draw(deals(number, now)) for number in range(4)}
    fleet = draw(fleets(now))
    suspended = {buyer for buyer in BUYERS if one_in(draw, 12)}
    chapters: list[Chapter] = []
    for _ in range(draw(st.integers(4, 14))):
        kind = draw(st.integers(0, 11))
        if kind == 0:
            number = draw(st.integers(0, 3))
            chapters.append(Renewal(number, draw(deals(number, now))))
        elif kind == 1:
            chapters.append(Suspension(draw(st.sampled_from(BUYERS)), draw(st.booleans())))
        elif kind == 2:
            span = draw(st.sampled_from((timedelta(seconds=1), timedelta(minutes=30), HOUR, 6 * HOUR)))
            now += span
            chapters.append(Wait(span))
        else:
            call = draw(calls(fleet, now))
            chapters += [call] * draw(st.sampled_from((1, 1, 2)))
            if isinstance(call, MeterCall) and one_in(draw, 4):
                chapters.append(otherwise(call, draw))
    return Story(begins, World(draw(offers()), found, suspended), chapters)
