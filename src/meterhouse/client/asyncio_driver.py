"""The driver of a flow by tasks: as `thread_driver`, for `AsyncMeteringClient`. Forked flows are tasks of the call."""

import asyncio
from collections.abc import Callable
from typing import Any

from meterhouse.client.errors import TransportError
from meterhouse.client.flow import Blocking, Flow, Fork, Join, Joined, Now, Send, Sleep, value_type
from meterhouse.client.thread_driver import Clock
from meterhouse.client.transport import AsyncTransport


async def run_async(flow: Flow[value_type], transport: AsyncTransport, clock: Clock) -> value_type:
    """Runs a flow to its end; what it returns, or what it raises."""
    forks: _Tasks | None = None
    result: Any = None
    try:
        while True:
            try:
                step = flow.send(result)
            except StopIteration as stop:
                value: value_type = stop.value
                return value
            match step:
                case Send():
                    try:
                        result = await transport.send_async(step.request, step.timeout_seconds)
                    except TransportError as failure:
                        result = failure
                case Now():
                    result = clock.now()
                case Sleep():
                    await clock.sleep_async(step.until)
                    result = None
                case Blocking():
                    result = await asyncio.to_thread(step.call)
                case Fork():
                    if forks is None:
                        forks = _Tasks(lambda forked: run_async(forked, transport, clock))
                    forks.fork(step)
                    result = None
                case Join():
                    assert forks is not None, "a flow waits only for what it has forked"
                    result = await forks.join()
    finally:
        if forks is not None:
            await forks.end()


class _Tasks:
    """The forks of one call."""

    def __init__(self, run_one: Callable[[Flow[Any]], Any]) -> None:
        self._run_one = run_one
        self._ended: asyncio.Queue[asyncio.Task[Joined]] = asyncio.Queue()
        self._waiting: list[Fork] = []
        self._tasks: set[asyncio.Task[Joined]] = set()

    def fork(self, fork: Fork) -> None:
        self._waiting.append(fork)

    async def join(self) -> Joined:
        if len(self._waiting) == 1 and not self._tasks:
            return await self._joined(self._waiting.pop())
        for fork in self._waiting:
            task = asyncio.create_task(self._joined(fork))
            self._tasks.add(task)
            task.add_done_callback(self._ended.put_nowait)
        self._waiting.clear()
        ended = await self._ended.get()
        self._tasks.discard(ended)
        return ended.result()

    async def _joined(self, fork: Fork) -> Joined:
        return Joined(fork.name, await self._run_one(fork.flow))

    async def end(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
