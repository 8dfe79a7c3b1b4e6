"""How turns become groups: with a `write` that the test holds in its hand."""

import asyncio
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import pytest

from meterhouse.core.usage import Partition
from meterhouse.ledger.gather import Gather, Group, Unfit
from meterhouse.ledger.judge import Turn, Verdict
from meterhouse.ledger.protocol import Busy, Decision, Keys, LedgerFailure, View

HERE = Partition("us-east-1", "a")


def nothing(_: View) -> Decision:
    """A rule; no engine asks it here."""
    raise AssertionError


def turn(number: int, partition: Partition = HERE) -> Turn:
    """A turn that is told by its number."""
    return Turn(partition, Keys(), nothing, number)


class Engine:
    """Writes a group when the test says so, and remembers the groups."""

    def __init__(self, **bounds: Any) -> None:
        self.groups: list[list[int]] = []
        self.failing: Callable[[Sequence[int]], Exception | None] = lambda _: None
        self.open = asyncio.Event()
        self.open.set()
        self.waits_first = False
        """Whether it waits before it reads, and then takes in whoever has come."""
        self.gather = Gather(self.write, **bounds)

    async def write(self, turns: Group) -> Sequence[Verdict]:
        """Keeps a group, or fails as the test wants."""
        if self.waits_first:
            await self.open.wait()
            turns.join()
        numbers = [each.revision for each in turns]
        self.groups.append(numbers)
        await self.open.wait()
        if error := self.failing(numbers):
            raise error
        return [Decision(number) for number in numbers]

    def ask(self, number: int, partition: Partition = HERE) -> "asyncio.Task[Decision]":
        """Asks for a turn."""
        return asyncio.create_task(self.gather.turn(turn(number, partition)))


async def settle() -> None:
    """Lets everything happen that can."""
    for _ in range(20):
        await asyncio.sleep(0)


async def answers(tasks: Sequence["asyncio.Task[Decision]"]) -> list[Any]:
    """Of each task its answer, or its exception's type."""
    found = await asyncio.gather(*tasks, return_exceptions=True)
    return [one.answer if isinstance(one, Decision) else type(one) for one in found]


async def test_alone_a_turn_goes_at_once() -> None:
    """A turn that finds nothing under way is its own group."""
    engine = Engine()
    for number in range(3):
        assert await answers([engine.ask(number)]) == [number]
    assert engine.groups == [[0], [1], [2]]


async def test_who_comes_during_a_commit_forms_the_next_group() -> None:
    """Turns that arrive while a group is being written are one group after it, in order of arrival."""
    engine = Engine()
    engine.open.clear()
    tasks = [engine.ask(0)]
    await settle()
    tasks += [engine.ask(number) for number in (1, 2, 3)]
    await settle()
    assert engine.groups == [[0]]
    engine.open.set()
    assert await answers(tasks) == [0, 1, 2, 3]
    assert engine.groups == [[0], [1, 2, 3]]


async def test_a_group_is_bounded() -> None:
    """A group takes no more turns than its bound; the rest follow in the next."""
    engine = Engine(group_turns=4)
    tasks = [engine.ask(number) for number in range(10)]
    assert await answers(tasks) == list(range(10))
    assert engine.groups == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


async def test_who_comes_before_a_group_is_read_joins_it() -> None:
    """An engine that waits before it reads takes in who has come, in order, up to the bound; who was cancelled or has
    waited too long is not among them, and all others are answered.
    """
    engine = Engine(group_turns=4)
    engine.waits_first = True
    engine.open.clear()
    tasks = [engine.ask(0)]
    await settle()
    tasks += [engine.ask(number) for number in range(1, 7)]
    await settle()
    tasks[2].cancel()
    await settle()
    engine.open.set()
    assert await answers(tasks) == [0, 1, asyncio.CancelledError, 3, 4, 5, 6]
    assert engine.groups == [[0, 1, 3, 4], [5, 6]]
    assert engine.gather._waiting == 0


async def test_who_is_written_alone_stays_alone() -> None:
    """Where one turn's content may have spoiled a group, nobody joins those that are written again, each alone."""
    engine = Engine()
    engine.waits_first = True
    engine.failing = lambda numbers: Unfit() if 1 in numbers and len(numbers) > 1 else None
    engine.open.clear()
    tasks = [engine.ask(number) for number in range(3)]
    await settle()
    engine.open.set()
    engine.open.clear()
    tasks.append(engine.ask(3))
    await settle()
    engine.open.set()
    assert await answers(tasks) == [0, 1, 2, 3]
    assert engine.groups[-4:] == [[0], [1], [2], [3]]


async def test_lanes_do_not_wait_for_each_other() -> None:
    """Turns of different lanes are written at the same time; those of one lane are not."""

    def lane_of(partition: Partition) -> Hashable:
        return partition

    engine = Engine(lane_of=lane_of)
    there = Partition("eu-west-1", "a")
    engine.open.clear()
    tasks = [engine.ask(1), engine.ask(2, there)]
    await settle()
    tasks += [engine.ask(3), engine.ask(4, there)]
    await settle()
    assert engine.groups == [[1], [2]]
    engine.open.set()
    assert await answers(tasks) == [1, 2, 3, 4]
    assert engine.groups == [[1], [2], [3], [4]]


async def test_a_full_queue_is_busy() -> None:
    """A turn that would be one too many waiting is refused at once; what is being written does not count as waiting."""
    engine = Engine(queue_turns=2)
    engine.open.clear()
    tasks = [engine.ask(0)]
    await settle()
    tasks += [engine.ask(number) for number in (1, 2, 3)]
    await settle()
    assert tasks[3].done()
    engine.open.set()
    assert await answers(tasks) == [0, 1, 2, Busy]
    assert await answers([engine.ask(4)]) == [4]


async def test_waiting_too_long_is_busy() -> None:
    """A turn that is not begun in time is refused and never begun; one that is being written is never given up."""
    engine = Engine(wait_seconds=0.01)
    engine.open.clear()
    tasks = [engine.ask(0)]
    await settle()
    tasks += [engine.ask(1), engine.ask(2)]
    assert await answers(tasks[1:]) == [Busy, Busy]
    assert not tasks[0].done()
    tasks.append(engine.ask(3))
    await settle()
    engine.open.set()
    assert await answers(tasks) == [0, Busy, Busy, 3]
    assert engine.groups == [[0], [3]]


async def test_refused_turns_free_their_places() -> None:
    """Turns that were refused or cancelled no longer count as waiting."""
    engine = Engine(queue_turns=3, wait_seconds=0.01)
    engine.open.clear()
    held = engine.ask(0)
    await settle()
    for _ in range(3):
        waiting = [engine.ask(number) for number in (1, 2, 3)]
        await settle()
        waiting[1].cancel()
        assert await answers(waiting) == [Busy, asyncio.CancelledError, Busy]
    engine.open.set()
    assert await answers([held, engine.ask(4)]) == [0, 4]


async def test_cancelled_while_waiting_is_not_written() -> None:
    """A turn cancelled before its group begins is in no group."""
    engine = Engine()
    engine.open.clear()
    tasks = [engine.ask(0)]
    await settle()
    tasks += [engine.ask(1), engine.ask(2)]
    await settle()
    tasks[1].cancel()
    engine.open.set()
    assert await answers(tasks) == [0, asyncio.CancelledError, 2]
    assert engine.groups == [[0], [2]]


async def test_cancelled_while_written_harms_nobody() -> None:
    """A turn cancelled while its group is written leaves the group as it is."""
    engine = Engine()
    engine.open.clear()
    tasks = [engine.ask(0), engine.ask(1)]
    await settle()
    tasks[0].cancel()
    await settle()
    engine.open.set()
    assert await answers(tasks) == [asyncio.CancelledError, 1]


async def test_a_group_that_fails_by_one_is_written_one_by_one() -> None:
    """Where content may be at fault each turn is written alone, and the one at fault raises what was wrong with it."""
    engine = Engine()

    def failing(numbers: Sequence[int]) -> Exception | None:
        if 2 not in numbers:
            return None
        unfit = Unfit()
        unfit.__cause__ = OverflowError("too large")
        return unfit

    engine.failing = failing
    assert await answers([engine.ask(number) for number in range(4)]) == [0, 1, OverflowError, 3]
    assert engine.groups == [[0, 1, 2, 3], [0], [1], [2], [3]]


async def test_cancelled_before_it_is_written_alone() -> None:
    """A turn cancelled while its neighbours are written alone is not written alone itself."""
    engine = Engine()
    tasks: list[asyncio.Task[Decision]] = []

    def failing(numbers: Sequence[int]) -> Exception | None:
        if numbers == [0]:
            tasks[1].cancel()
        return Unfit() if len(numbers) > 1 else None

    engine.failing = failing
    tasks += [engine.ask(number) for number in range(3)]
    await asyncio.wait(tasks)
    assert await answers(tasks) == [0, asyncio.CancelledError, 2]
    assert engine.groups == [[0, 1, 2], [0], [2]]


async def test_a_failure_is_everybodys_and_passes() -> None:
    """Where the engine fails every turn of the group raises it, each its own exception; the next group goes on."""
    engine = Engine()
    engine.failing = lambda _: LedgerFailure("the disk is full")
    tasks = [engine.ask(number) for number in range(3)]
    failures = await asyncio.gather(*tasks, return_exceptions=True)
    assert [str(failure) for failure in failures] == ["the disk is full"] * 3
    assert len({id(failure) for failure in failures}) == 3
    engine.failing = lambda _: None
    assert await answers([engine.ask(4)]) == [4]


async def test_an_engines_bug_is_seen_by_those_who_wait() -> None:
    """A surprise in the engine reaches the turns of its group, and does not stop the ledger."""
    engine = Engine()
    engine.failing = lambda _: ZeroDivisionError()
    assert await answers([engine.ask(0), engine.ask(1)]) == [ZeroDivisionError] * 2
    engine.failing = lambda _: None
    assert await answers([engine.ask(2)]) == [2]


async def test_closing_finishes_what_was_taken() -> None:
    """`close` returns when all that was asked is answered; afterwards turns are refused."""
    engine = Engine(group_turns=2)
    tasks = [engine.ask(number) for number in range(5)]
    await asyncio.sleep(0)
    await engine.gather.close()
    assert [task.done() for task in tasks] == [True] * 5
    assert await answers(tasks) == list(range(5))
    with pytest.raises(LedgerFailure):
        await engine.gather.turn(turn(6))


async def test_each_group_that_was_kept_is_told() -> None:
    """Whoever watches is told of the size of each group that was kept, and of none that failed."""
    told: list[int] = []
    engine = Engine(group_turns=3, on_group=lambda turns, seconds: told.append(turns if seconds >= 0 else -1))
    engine.failing = lambda numbers: LedgerFailure("disk") if 9 in numbers else None
    await answers([engine.ask(number) for number in range(5)])
    await answers([engine.ask(9)])
    assert (sum(told), max(told)) == (5, 3)
