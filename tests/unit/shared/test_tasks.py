"""Tasks end, even those that miss a cancellation, and none ends unseen."""

import asyncio
import gc
import signal

from structlog.testing import capture_logs

from stoker_shared.tasks import begin_tasks, end_tasks


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


async def test_background_work_that_fails_ends_the_process_in_good_order() -> None:
    asked_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_end.set)

    async def lasts() -> None:
        await asyncio.Event().wait()

    async def fails() -> None:
        raise ValueError("a defect")

    try:
        with capture_logs() as logged:
            tasks = begin_tasks({"one": lasts, "other": fails})
            async with asyncio.timeout(5):
                await asked_to_end.wait()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
        await end_tasks(tasks)
    (entry,) = logged
    assert (entry["log_level"], entry["work"], str(entry["exc_info"])) == ("critical", "other", "a defect")
    assert [task.get_name() for task in tasks] == ["one", "other"]


async def test_work_that_is_ended_ends_nothing_else() -> None:
    asked_to_end = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asked_to_end.set)

    async def lasts() -> None:
        await asyncio.Event().wait()

    try:
        await end_tasks(begin_tasks({"one": lasts}))
        await asyncio.sleep(0)
        assert not asked_to_end.is_set()
    finally:
        asyncio.get_running_loop().remove_signal_handler(signal.SIGTERM)
