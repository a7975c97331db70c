"""Tasks end, even those that miss a cancellation."""

import asyncio
import gc

from stoker_shared.tasks import end_tasks


async def test_a_task_that_swallows_a_cancellation_is_cancelled_again() -> None:
    swallowed = 0

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                swallowed += 1
                if swallowed == 2:
                    raise

    task = asyncio.create_task(stubborn())
    await asyncio.sleep(0)
    await end_tasks([task])
    assert task.cancelled()
    assert swallowed == 2


async def test_tasks_that_are_done_or_absent_are_no_matter() -> None:
    async def ended() -> None:
        return

    task = asyncio.create_task(ended())
    await task
    await end_tasks([task])
    await end_tasks([])


async def test_an_error_of_a_task_is_not_hidden() -> None:
    told: list[str] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: told.append(str(context["exception"])))

    async def broken() -> None:
        raise ValueError("a defect")

    task = asyncio.create_task(broken())
    await asyncio.sleep(0)
    await end_tasks([task])
    del task
    gc.collect()
    assert told == ["a defect"]
