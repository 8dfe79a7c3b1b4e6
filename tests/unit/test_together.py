"""Questions that gather: answered in order, many at once, each with its own answer or the failure of all."""

import asyncio
from collections.abc import Sequence

import pytest

from meterhouse.service.together import Together


class Slow:
    """Answers what it is asked with its double, when it is let; remembers what came together."""

    def __init__(self) -> None:
        self.asked: list[list[int]] = []
        self.may_answer = asyncio.Semaphore(0)

    async def __call__(self, questions: Sequence[int]) -> Sequence[int]:
        """The doubles; a question of 0 fails them all."""
        self.asked.append(list(questions))
        await self.may_answer.acquire()
        if 0 in questions:
            raise ZeroDivisionError
        return [2 * question for question in questions]


async def begun(together: Together[int, int], *questions: int) -> list["asyncio.Task[int]"]:
    """Questions that have been asked."""
    tasks = [asyncio.ensure_future(together.ask(question)) for question in questions]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    return tasks


async def test_what_comes_meanwhile_is_answered_together() -> None:
    """The first alone and at once, those that come while it is answered all at once, in their order."""
    slow = Slow()
    together = Together(slow)
    first = await begun(together, 1)
    rest = await begun(together, 2, 3, 4)
    assert slow.asked == [[1]]
    slow.may_answer.release()
    slow.may_answer.release()
    assert await asyncio.gather(*first, *rest) == [2, 4, 6, 8]
    assert slow.asked == [[1], [2, 3, 4]]


async def test_it_rests_and_begins_again() -> None:
    """A question that comes when all are answered is answered too."""
    slow = Slow()
    together = Together(slow)
    for number in range(1, 4):
        slow.may_answer.release()
        assert await together.ask(number) == 2 * number
    assert slow.asked == [[1], [2], [3]]


async def test_a_failure_is_told_to_those_who_wait_for_it() -> None:
    """And to nobody else."""
    slow = Slow()
    together = Together(slow)
    first = await begun(together, 1)
    rest = await begun(together, 2, 0)
    slow.may_answer.release()
    assert await asyncio.gather(*first) == [2]
    last = await begun(together, 5)
    slow.may_answer.release()
    for task in rest:
        with pytest.raises(ZeroDivisionError):
            await task
    slow.may_answer.release()
    assert await asyncio.gather(*last) == [10]


async def test_whoever_stops_waiting_harms_nobody() -> None:
    """A question is answered for the others, whoever has gone."""
    slow = Slow()
    together = Together(slow)
    (gone, waits) = await begun(together, 1, 2)
    gone.cancel()
    slow.may_answer.release()
    slow.may_answer.release()
    assert await waits == 4
    assert gone.cancelled()
