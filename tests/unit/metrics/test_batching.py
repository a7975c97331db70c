"""Many messages, one transaction."""

import asyncio
from collections.abc import Sequence

import pytest

from stoker_metrics.storing.batching import Batcher
from stoker_shared.errors import ServiceUnavailable


async def test_what_arrives_meanwhile_makes_the_next_batch() -> None:
    batches: list[list[int]] = []
    may_go_on = asyncio.Event()

    async def flush(items: Sequence[int]) -> None:
        batches.append(list(items))
        await may_go_on.wait()

    batcher = Batcher(flush, limit=3)
    adding = [asyncio.create_task(batcher.add(number)) for number in range(8)]
    await asyncio.sleep(0)
    may_go_on.set()
    await asyncio.gather(*adding)
    assert sorted(item for batch in batches for item in batch) == list(range(8))
    assert max(map(len, batches)) == 3
    await batcher.add(99)
    assert batches[-1] == [99]


async def test_nobody_is_told_before_the_flush_has_ended() -> None:
    may_end = asyncio.Event()

    async def flush(_items: Sequence[int]) -> None:
        await may_end.wait()

    adding = asyncio.create_task(Batcher(flush, limit=10).add(1))
    await asyncio.sleep(0.01)
    assert not adding.done()
    may_end.set()
    await adding


async def test_one_bad_item_fails_alone() -> None:
    stored: list[int] = []

    async def flush(items: Sequence[int]) -> None:
        if 3 in items:
            raise ValueError("three")
        stored.extend(items)

    batcher = Batcher(flush, limit=10)
    results = await asyncio.gather(*(batcher.add(number) for number in range(6)), return_exceptions=True)
    assert [type(result).__name__ for result in results] == ["NoneType"] * 3 + ["ValueError"] + ["NoneType"] * 2
    assert sorted(stored) == [0, 1, 2, 4, 5]


async def test_an_outage_fails_the_whole_batch_at_once() -> None:
    calls = 0

    async def flush(_items: Sequence[int]) -> None:
        nonlocal calls
        calls += 1
        raise ServiceUnavailable("PostgreSQL", "away")

    batcher = Batcher(flush, limit=10)
    results = await asyncio.gather(*(batcher.add(number) for number in range(6)), return_exceptions=True)
    assert {type(result) for result in results} == {ServiceUnavailable}
    assert calls <= 2


async def test_a_waiter_that_is_cancelled_does_not_disturb_the_others() -> None:
    may_end = asyncio.Event()
    stored: list[int] = []

    async def flush(items: Sequence[int]) -> None:
        await may_end.wait()
        stored.extend(items)

    batcher = Batcher(flush, limit=10)
    first, second = (asyncio.create_task(batcher.add(number)) for number in (1, 2))
    await asyncio.sleep(0.01)
    first.cancel()
    may_end.set()
    await second
    with pytest.raises(asyncio.CancelledError):
        await first
    assert stored == [1, 2]
