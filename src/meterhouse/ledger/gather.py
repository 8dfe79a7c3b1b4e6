"""Gathering: concurrent turns become one group, with one read, one commit and one sync between them.

Theory
    The dear part of a turn is the commit: a sync of the disk, or round trips to a database. A commit costs nearly the
    same for one turn and for fifty. So turns that arrive while a commit is under way wait, and together form the next
    group. Nothing is tuned and nothing sleeps: alone a turn goes at once; under load groups grow by themselves until
    the work in hand and the commits balance.

    What has arrived and was not read yet belongs to the group too: before it is formed, the event loop goes round until
    no new turn comes of it (`_settled`). Under load that makes groups several times as large, and a request a quarter
    cheaper; alone it costs three empty rounds.

Lanes
    Turns of one lane are written one group after another, in order of arrival; lanes do not wait for each other. An
    engine with one writer (a file, a dictionary) has one lane; an engine that locks a partition for a turn (PostgreSQL)
    has one lane per partition. An engine gives `write`, which keeps one group and says what became of each turn. One
    that has to wait before it reads (for a connection, for a lock that another process holds) takes in whoever has come
    meanwhile, by `Group.join`: so waiting makes groups larger, and not more of them.

Rules of this file
  - A turn's failure is its own. What a rule raises is that turn's verdict. Where keeping a group fails for a reason
    that may lie in one turn's content, `write` raises `Unfit`, and the turns are written again, each alone (so a rule
    may be asked more than once; only what was kept counts).
  - Waiting is bounded (promise 7), in seconds and in number. The bound is on *beginning*: a turn whose group is being
    written is never given up, because then nobody could say what became of it.
  - A turn cancelled before its group begins is not judged (promise 8). Cancelled later it is kept whole or not at all.
  - Verdicts travel as values, and become exceptions only where the caller waits: so an exception nobody waits for any
    more troubles nobody.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Final, NamedTuple

from meterhouse.core.usage import Partition
from meterhouse.ledger.judge import Turn, Verdict
from meterhouse.ledger.protocol import Busy, Decision, LedgerFailure

GROUP_TURNS: Final = 128
"""The most turns of a group. More would gain little on the sync and delay the first of them."""
QUEUE_TURNS: Final = 4096
"""The most turns that wait."""
QUIET_ROUNDS: Final = 3
"""So many rounds of the event loop without a new turn mean that nothing which had arrived is still to be taken in: a
request takes one to be read, one to be judged, and one to be sure."""
WAIT_SECONDS: Final = 5.0
"""The longest a turn waits to be begun: shorter than the patience of any client seen."""


OnGroup = Callable[[int, float], None]
"""Told of each group that was kept: how many turns, and in how many seconds."""


def tell_nobody(_turns: int, _seconds: float) -> None:
    """The `OnGroup` of whoever does not want to know."""


class Unfit(Exception):
    """A group could not be kept, perhaps because of the content of one of its turns; `__cause__` says how it failed."""


class _Waiting(NamedTuple):
    turn: Turn
    verdict: "asyncio.Future[Verdict]"
    deadline: float


class Group(list[Turn]):
    """The turns that are written together, in order of arrival."""

    def __init__(self, turns: Iterable[Turn], others: Callable[[], Iterable[Turn]]) -> None:
        super().__init__(turns)
        self._others = others

    def join(self) -> None:
        """Takes in the turns that have come since, as far as there is room: for an engine that has not read yet."""
        self += self._others()


class _Lane:
    __slots__ = ("drain", "expiry", "waiting")

    def __init__(self) -> None:
        self.waiting: deque[_Waiting] = deque()
        self.drain: asyncio.Task[None] | None = None
        self.expiry: asyncio.TimerHandle | None = None


def one_lane(_: Partition) -> Hashable:
    """The lane of an engine with one writer."""
    return None


class Gather:
    """Forms groups of concurrent turns and has them written.

    `write` keeps a group in one synced transaction and returns a verdict per turn, in order. Where it raises, nothing
    of the group was acknowledged, and every turn of it raises the same.
    """

    def __init__(
        self,
        write: Callable[[Group], Awaitable[Sequence[Verdict]]],
        *,
        lane_of: Callable[[Partition], Hashable] = one_lane,
        group_turns: int = GROUP_TURNS,
        queue_turns: int = QUEUE_TURNS,
        wait_seconds: float = WAIT_SECONDS,
        on_group: OnGroup = tell_nobody,
    ) -> None:
        self._write = write
        self._on_group = on_group
        self._lane_of = lane_of
        self._group_turns = group_turns
        self._queue_turns = queue_turns
        self._wait_seconds = wait_seconds
        self._lanes: dict[Hashable, _Lane] = {}
        self._waiting = 0
        self._closed = False

    async def turn(self, turn: Turn) -> Decision:
        """Has a turn written with whoever comes at the same time.

        Raises what its rule raises, `Busy`, `Stale`, `LedgerFailure`.
        """
        if self._closed:
            raise LedgerFailure("the ledger is closed")
        if self._waiting >= self._queue_turns:
            raise Busy(f"{self._waiting} turns are waiting already")
        found = await self._enqueue(turn)
        try:
            if isinstance(found, Exception):
                raise found
            return found
        finally:
            # What is raised holds this frame: a name for it here, or for the future that holds it, would close a ring,
            # and all they hold would stay in memory until the next search for garbage.
            del found

    async def close(self) -> None:
        """Takes no more turns, and returns when those it took are done."""
        self._closed = True
        while drains := [lane.drain for lane in self._lanes.values() if lane.drain is not None]:
            await asyncio.wait(drains)

    def _enqueue(self, turn: Turn) -> "asyncio.Future[Verdict]":
        loop = asyncio.get_running_loop()
        waiting = _Waiting(turn, loop.create_future(), loop.time() + self._wait_seconds)
        name = self._lane_of(turn.partition)
        lane = self._lanes.get(name)
        if lane is None:
            lane = self._lanes[name] = _Lane()
        lane.waiting.append(waiting)
        self._waiting += 1
        if lane.drain is None:
            lane.drain = loop.create_task(self._drain(name, lane))
        elif lane.expiry is None:
            lane.expiry = loop.call_at(waiting.deadline, self._expire, lane)
        return waiting.verdict

    async def _drain(self, name: Hashable, lane: _Lane) -> None:
        try:
            while lane.waiting:
                await self._settled(lane)
                group = self._next(lane, self._group_turns)
                if group:
                    await self._keep(group, lane)
        finally:
            lane.drain = None
            if lane.expiry is not None:
                lane.expiry.cancel()
            for waiting in lane.waiting:  # only where this task itself was cancelled: the loop is being shut down
                waiting.verdict.cancel()
            self._waiting -= len(lane.waiting)
            del self._lanes[name]

    async def _settled(self, lane: _Lane) -> None:
        """Returns once the loop has taken in what had arrived already, or a group is full.

        While a group is written in another thread, requests arrive and nobody reads them, since two threads of Python
        run in turn. Were the next group formed at once, it would be of one or two turns, and the next again.
        """
        quiet = 0
        while quiet < QUIET_ROUNDS and len(lane.waiting) < self._group_turns:
            waiting = len(lane.waiting)
            await asyncio.sleep(0)
            quiet = quiet + 1 if len(lane.waiting) == waiting else 0

    def _next(self, lane: _Lane, most: int) -> list[_Waiting]:
        group: list[_Waiting] = []
        while lane.waiting and len(group) < most:
            waiting = lane.waiting.popleft()
            self._waiting -= 1
            if not waiting.verdict.done():
                group.append(waiting)
        return group

    async def _keep(self, group: list[_Waiting], lane: _Lane | None = None) -> None:
        """Has a group written; others may join it where it is a lane's next."""

        def others() -> Iterable[Turn]:
            joining = [] if lane is None else self._next(lane, self._group_turns - len(group))
            group.extend(joining)
            return [waiting.turn for waiting in joining]

        begun = time.perf_counter()
        try:
            verdicts = await self._write(Group([waiting.turn for waiting in group], others))
            self._on_group(len(group), time.perf_counter() - begun)
        except Unfit as unfit:
            if len(group) > 1:
                for waiting in group:
                    if not waiting.verdict.done():
                        await self._keep([waiting])
                return
            cause = unfit.__cause__
            verdicts = [cause if isinstance(cause, Exception) else unfit]
        except LedgerFailure as failure:  # one each: an exception raised in several places mixes their tracebacks
            verdicts = [_again(failure) for _ in group]
        except Exception as bug:  # noqa: BLE001 - the engine's surprise is the answer of those who wait, not of this task
            verdicts = [bug] * len(group)
        for waiting, verdict in zip(group, verdicts, strict=True):
            if not waiting.verdict.done():
                waiting.verdict.set_result(verdict)

    def _expire(self, lane: _Lane) -> None:
        """Gives up the turns that have waited too long. They stand in order of arrival, so one timer serves all."""
        loop = asyncio.get_running_loop()
        lane.expiry = None
        while lane.waiting:
            waiting = lane.waiting[0]
            if not waiting.verdict.done():
                if waiting.deadline > loop.time():
                    lane.expiry = loop.call_at(waiting.deadline, self._expire, lane)
                    return
                waiting.verdict.set_result(Busy(f"not begun within {self._wait_seconds:g} seconds"))
            lane.waiting.popleft()
            self._waiting -= 1


def _again(failure: LedgerFailure) -> LedgerFailure:
    copy = LedgerFailure(*failure.args)
    copy.__cause__ = failure
    return copy
