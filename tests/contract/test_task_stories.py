"""What tasks are billed, through every engine, against a clock that counts each second (contract §7).

A story starts tasks, registers them, lets them call, beat and fall silent, ends them, moves the test clock and restarts
the server. Then hours, sums and amounts must be those of a second, dumber model, which remembers every sign of life and
walks through the seconds. Restarts mean nothing to it.
"""

import asyncio
import tempfile
from collections import Counter, defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from decimal import ROUND_HALF_EVEN, Context, Decimal
from pathlib import Path
from typing import Any, Final, NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.contract.engines import Bounds, Engine
from tests.unit.control_market import BOX, BUYER, CATALOG, OTHER_BUYER, SELLER
from tests.unit.control_server import ControlServer, served

BEGINS: Final = ("2026-11-30T23:59:30Z", "2028-02-29T23:59:30.5Z", "2026-12-31T23:59:00Z", "2026-11-21T12:10:00Z")
ACCOUNTS: Final = (BUYER, BUYER, OTHER_BUYER, SELLER)
PRICES: Final = ("0.12", "0.12345678", "0", "0.00000001", "1234.5")
STEPS: Final = (0.25, 0.5, 1, 20, 29, 30, 30, 30, 59, 60, 60, 60, 61, 599, 600, 3600)
EXACT: Final = Context(prec=100)
AGREEMENT: Final = f"""
[[agreements]]
id = "agmt-other-box"
product = "{BOX}"
buyer = "{OTHER_BUYER}"
start = 2026-01-01T00:00:00Z
"""


class Chapter(NamedTuple):
    """Something that happens: to a task, by its number, or to the clock or the server."""

    what: str
    task: int = 0
    seconds: float = 0


class Story(NamedTuple):
    """What happens, and the price of an hour."""

    begins: str
    price: str
    heartbeats: list[int | None]
    chapters: list[Chapter]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    """Four tasks at most, and some twenty chapters; time passes between most of them."""
    heartbeats = draw(st.lists(st.sampled_from((None, None, 30, 60, 600)), min_size=1, max_size=4))
    chapters = []
    if draw(st.booleans()):  # a life shorter than the minimum, perhaps across the hour
        chapters += [Chapter("register"), Chapter("wait", 0, draw(st.sampled_from((20, 30, 45, 59)))), Chapter("end")]
    for _ in range(draw(st.integers(3, 12))):
        what = draw(st.sampled_from(("register", "register", "register", "call", "beat", "end", "restart")))
        chapters.append(Chapter(what, draw(st.integers(0, len(heartbeats) - 1))))
        chapters.append(Chapter("wait", 0, draw(st.sampled_from(STEPS))))
    return Story(draw(st.sampled_from(BEGINS)), draw(st.sampled_from(PRICES)), heartbeats, chapters)


# --- the dumber model -------------------------------------------------------------------------------------------------


class Life:
    """A task's signs of life, and what it has been registered for."""

    def __init__(self, account: str, heartbeat: int | None, launched: datetime) -> None:
        self.account = account
        self.heartbeat = heartbeat
        self.signs = [launched]
        self.since: datetime | None = None
        self.ended: datetime | None = None

    def until(self, now: datetime) -> tuple[datetime, bool]:
        """Up to when it has run, and whether it has ended."""
        if self.ended is not None:
            return self.ended, True
        if self.heartbeat is not None and now - max(self.signs) >= timedelta(seconds=self.heartbeat):
            return max(self.signs), True
        return now, False

    def hours(self, now: datetime) -> dict[datetime, int]:
        """The seconds of each hour, counted one by one."""
        assert self.since is not None
        until, has_ended = self.until(now)
        second, last = self.since.replace(microsecond=0), until.replace(microsecond=0)
        counted: Counter[datetime] = Counter()
        hour = second.replace(minute=0, second=0)
        while second < last:
            hour = second.replace(minute=0, second=0)
            counted[hour] += 1
            second += timedelta(seconds=1)
        if has_ended and counted.total() < 60:
            counted[hour] += 60 - counted.total()
        return counted or {hour: 0}


def amount(seconds: int, price: str) -> Decimal:
    """What so many seconds cost, rounded once."""
    exact = EXACT.divide(EXACT.multiply(Decimal(seconds), Decimal(price)), Decimal(3600))
    return exact.quantize(Decimal("0.00000001"), rounding=ROUND_HALF_EVEN, context=EXACT)


# --- the story, told by both ------------------------------------------------------------------------------------------


def text(moment: datetime) -> str:
    """An instant as the control API writes it."""
    return moment.isoformat().replace("+00:00", "Z")


class Teller:
    """Tells a story to a server and to the model."""

    def __init__(self, story: Story) -> None:
        self.story = story
        self.now = datetime.fromisoformat(story.begins)
        self.lives = [
            Life(account, heartbeat, self.now) for account, heartbeat in zip(ACCOUNTS, story.heartbeats, strict=False)
        ]
        self.keys: list[str] = []

    async def begin(self, server: ControlServer) -> None:
        """The market, the clock, the tasks."""
        await server.made("/clock", {"now": self.story.begins}, "PUT")
        await server.made("/catalog", {"toml": CATALOG + AGREEMENT})
        await server.made(f"/products/{BOX}", {"hourly_price": self.story.price}, "PATCH")
        for number, life in enumerate(self.lives):
            task = {"platform": "ecs", "account": life.account, "region": "us-east-1", "resource_id": f"task/{number}"}
            started = await server.made("/workloads", task | {"heartbeat_seconds": life.heartbeat})
            self.keys.append(started["credentials"]["access_key_id"])

    async def tell(self, server: ControlServer, chapter: Chapter) -> None:
        """One chapter, but for restarts."""
        life, path = self.lives[chapter.task], f"/workloads/task%2F{chapter.task}"
        match chapter.what:
            case "wait":
                self.now += timedelta(seconds=chapter.seconds)
                await server.made("/clock", {"advance_seconds": chapter.seconds}, "PUT")
            case "register" | "call":
                operation = "RegisterUsage" if chapter.what == "register" else "ResolveCustomer"
                said = {"ProductCode": BOX, "PublicKeyVersion": 1} if chapter.what == "register" else {}
                answer = await server.meter(operation, said, self.keys[chapter.task])
                taken = life.ended is None and chapter.what == "register"
                assert answer.status == (200 if taken else 400), answer.body
                if life.ended is None:
                    life.signs.append(self.now)
                if taken:
                    life.since = life.since or self.now
            case "beat":
                answer = await server.ask("POST", f"{path}/heartbeat")
                assert answer.status == (200 if life.ended is None else 409)
                if life.ended is None:
                    life.signs.append(self.now)
            case "end":
                answer = await server.ask("POST", f"{path}/end")
                assert answer.status == (200 if life.ended is None else 409)
                life.ended = life.ended or self.now

    async def check(self, server: ControlServer) -> None:
        """Records, workloads and totals are the model's."""
        registered = [(number, life, life.since) for number, life in enumerate(self.lives) if life.since is not None]
        rows = [
            (f"task/{number}", text(max(hour, since)), text(hour), str(seconds), life.account == SELLER)
            for number, life, since in registered
            for hour, seconds in sorted(life.hours(self.now).items())
        ]
        found = await server.listed("/records?limit=1000")
        assert sorted(self._row(one) for one in found) == sorted(rows)
        assert len({one["record_id"] for one in found}) == len(found)
        for number, life, since in registered:
            seconds = sum(life.hours(self.now).values())
            price = "0" if life.account == SELLER else self.story.price
            (shown,) = (await server.made(f"/workloads/task%2F{number}", method="GET"))["registered"]
            assert (shown["product"], shown["since"], shown["seconds"]) == (BOX, text(since), str(seconds))
            assert Decimal(shown["amount"]) == amount(seconds, price)
        months: defaultdict[tuple[str, str], int] = defaultdict(int)
        for _, life, _ in registered:
            for hour, seconds in life.hours(self.now).items():
                if life.account != SELLER:
                    months[text(hour)[:7], life.account] += seconds
        totals = await server.listed("/records?totals=true")
        assert {(one["month"], one["buyer"]): (one["quantity"], Decimal(one["amount"])) for one in totals} == {
            key: (str(seconds), amount(seconds, self.story.price)) for key, seconds in months.items()
        }

    @staticmethod
    def _row(record: dict[str, Any]) -> tuple[str, str, str, str, bool]:
        return (
            record["resource_id"],
            record["timestamp"],
            record["hour"],
            record["quantity"],
            record["preview"],
        )


@asynccontextmanager
async def over(engine: Engine, place: Path) -> AsyncIterator[ControlServer]:
    """A server over an engine's ledger."""
    async with served(ledger=await engine.open(place, Bounds()), signs=False) as server:
        yield server


def parts_of(story: Story, *, durable: bool) -> list[list[Chapter]]:
    """The chapters between restarts; where nothing outlives one there are none."""
    parts: list[list[Chapter]] = [[]]
    for chapter in story.chapters:
        if chapter.what != "restart":
            parts[-1].append(chapter)
        elif durable:
            parts.append([])
    return parts


async def told(engine: Engine, story: Story) -> None:
    """A story, each part in a server of its own; read after each part, and again by the next server."""
    teller = Teller(story)
    with tempfile.TemporaryDirectory() as place:
        for number, part in enumerate(parts_of(story, durable=engine.durable)):
            async with over(engine, Path(place)) as server:
                await (teller.begin(server) if number == 0 else teller.check(server))
                for chapter in part:
                    await teller.tell(server, chapter)
                await teller.check(server)


def test_tasks_are_billed_as_a_clock_would_that_counts(engine: Engine) -> None:
    """Hour by hour, in all, by month and in money; whether the server ran all the time or not."""

    # A durable engine costs a sync a chapter; what is counted is the same for all.
    @settings(max_examples=12 if engine.durable else 60, deadline=None, suppress_health_check=list(HealthCheck))
    @given(stories())
    def listen(story: Story) -> None:
        asyncio.run(told(engine, story))

    listen()


def test_the_model_counts() -> None:
    """The model itself, on one life that can be added up by hand."""
    begun = datetime(2026, 11, 30, 23, 59, 30, tzinfo=UTC)
    life = Life(BUYER, 60, begun)
    life.since = begun
    life.signs.append(begun + timedelta(seconds=40))
    november, december = datetime(2026, 11, 30, 23, tzinfo=UTC), datetime(2026, 12, 1, tzinfo=UTC)
    assert life.hours(begun + timedelta(seconds=99)) == {november: 30, december: 69}
    assert life.hours(begun + timedelta(seconds=100)) == {november: 30, december: 30}
