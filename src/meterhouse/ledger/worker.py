"""A thread of one's own for calls that block, asked from the event loop: one hand-over each way.

Jobs run one after another in the order they were asked for. A job whose asker was cancelled runs all the same: a
half-done piece of database work is nothing one could leave.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import Any, TypeVar

answer_type = TypeVar("answer_type")

_Asked = tuple[Callable[[], Any], "asyncio.Future[Any]", asyncio.AbstractEventLoop]
"""A job, who waits for it, and where."""


class Worker:
    """A thread that runs jobs for an event loop.

    It does not keep the process alive: ended with it, a job in hand is lost as by a crash, which every job here must
    survive anyway.
    """

    def __init__(self, name: str) -> None:
        self._jobs: SimpleQueue[_Asked | None] = SimpleQueue()
        self._thread = Thread(target=self._serve, name=name, daemon=True)
        self._thread.start()

    async def run(self, job: Callable[[], answer_type]) -> answer_type:
        """The answer of a job, or what it raises."""
        answer = await self._answer_of(job)
        try:
            if isinstance(answer, BaseException):
                raise answer
            return answer
        finally:
            # What is raised holds this frame: a name for it here, or for the future that holds it, would close a ring,
            # and all they hold would stay in memory until the next search for garbage.
            del answer

    def _answer_of(self, job: Callable[[], answer_type]) -> "asyncio.Future[answer_type | BaseException]":
        loop = asyncio.get_running_loop()
        future: asyncio.Future[answer_type | BaseException] = loop.create_future()
        self._jobs.put((job, future, loop))
        return future

    async def close(self) -> None:
        """Returns when the jobs asked for are done and the thread has ended. `run` must not be called after this."""
        ended = self._jobs.put
        await self.run(lambda: ended(None))
        self._thread.join()

    def _serve(self) -> None:
        while (asked := self._jobs.get()) is not None:
            job, future, loop = asked
            answer = _outcome_of(job)
            with suppress(RuntimeError):  # the loop was closed meanwhile: nobody is left to be told
                loop.call_soon_threadsafe(_resolve, future, answer)
            del asked, job, future, loop, answer  # for the same reason as in `run`


def _outcome_of(job: Callable[[], answer_type]) -> answer_type | BaseException:
    """What a job gives or raises."""
    try:
        return job()
    except BaseException as error:  # noqa: BLE001 - carried over to where it is waited for, and raised there
        return error


def _resolve(future: "asyncio.Future[Any]", answer: object) -> None:
    if not future.done():
        future.set_result(answer)
