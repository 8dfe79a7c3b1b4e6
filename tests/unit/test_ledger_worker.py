"""The thread that runs jobs for the event loop."""

import asyncio
import gc
import threading
import weakref

import pytest

from meterhouse.ledger.worker import Worker


async def test_jobs_run_in_order_in_another_thread() -> None:
    """Jobs run one after another, in one thread that is not the caller's; answers and exceptions come back."""
    worker = Worker("test")
    ran: list[tuple[int, int]] = []
    jobs = [worker.run(lambda number=number: ran.append((number, threading.get_ident()))) for number in range(5)]  # type: ignore[misc] # the default binds the loop's value
    await asyncio.gather(*jobs)
    assert [number for number, _ in ran] == list(range(5))
    assert {thread for _, thread in ran}.isdisjoint({threading.get_ident()})
    assert len({thread for _, thread in ran}) == 1
    assert await worker.run(lambda: 42) == 42
    with pytest.raises(ZeroDivisionError):
        await worker.run(lambda: 1 // 0)
    await worker.close()


async def test_a_job_runs_though_its_asker_left() -> None:
    """A job whose asker was cancelled is done all the same, and `close` waits for it."""
    worker = Worker("test")
    begun, done = threading.Event(), threading.Event()

    def job() -> None:
        begun.set()
        proceed.wait(10)
        done.set()

    proceed = threading.Event()
    task = asyncio.create_task(worker.run(job))
    await asyncio.to_thread(begun.wait, 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    proceed.set()
    await worker.close()
    assert done.is_set()


async def test_an_exception_that_is_no_error_comes_back_too() -> None:
    """What ends a program elsewhere (here SystemExit) reaches the asker and leaves the thread at work."""
    worker = Worker("test")

    def leave() -> None:
        raise SystemExit(3)

    with pytest.raises(SystemExit):
        await worker.run(leave)
    assert await worker.run(lambda: "still here") == "still here"
    await worker.close()


async def test_a_job_that_failed_leaves_no_ring() -> None:
    """What a job held is free once its exception was dealt with, and not only when garbage is looked for."""
    worker = Worker("test")

    class Held:
        pass

    async def fail() -> "weakref.ref[Held]":
        held = Held()

        def job() -> None:
            raise OSError(str(held))

        try:
            await worker.run(job)
        except OSError:
            return weakref.ref(held)
        raise AssertionError("the job's exception was lost")

    gc.disable()
    try:
        held = await fail()
        await worker.run(lambda: None)
        assert held() is None
    finally:
        gc.enable()
    await worker.close()
