"""Questions that are answered many at once: while some are being answered, the others gather.

For whatever costs as much for many as for one, such as a change of the catalog: however many ask at once, they cost two
changes and not one each. Alone, a question is answered at once.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

question_type = TypeVar("question_type")
answer_type = TypeVar("answer_type")


class _Waiting(NamedTuple, Generic[question_type, answer_type]):
    question: question_type
    answer: "asyncio.Future[answer_type]"


class Together(Generic[question_type, answer_type]):
    """Asks `answer_all` for an answer to each question, in their order. Belongs to one event loop."""

    def __init__(self, answer_all: Callable[[Sequence[question_type]], Awaitable[Sequence[answer_type]]]) -> None:
        self._answer_all = answer_all
        self._waiting: list[_Waiting[question_type, answer_type]] = []
        self._answering: asyncio.Task[None] | None = None

    async def ask(self, question: question_type) -> answer_type:
        """The answer to a question; what `answer_all` raises is raised to each who waits for it.

        Whoever stops waiting takes nothing back: the question is answered all the same.
        """
        loop = asyncio.get_running_loop()
        waiting = _Waiting[question_type, answer_type](question, loop.create_future())
        self._waiting.append(waiting)
        if self._answering is None:
            self._answering = loop.create_task(self._answer())
        return await waiting.answer

    async def _answer(self) -> None:
        try:
            while self._waiting:
                waiting, self._waiting = self._waiting, []
                await self._answer_these(waiting)
        finally:
            self._answering = None

    async def _answer_these(self, waiting: Sequence[_Waiting[question_type, answer_type]]) -> None:
        try:
            answers = await self._answer_all([each.question for each in waiting])
        except Exception as failure:  # noqa: BLE001 - it is the answer of those who wait, not of this task
            for each in waiting:
                if not each.answer.done():
                    each.answer.set_exception(failure)
            return
        for each, answer in zip(waiting, answers, strict=True):
            if not each.answer.done():
                each.answer.set_result(answer)
