"""Packing lines into chunks: a packer that dies after any step loses no line and doubles none."""

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pydantic import SecretStr

from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.lines.service import LineReader
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.packing.repository import PackingRepository
from stoker_metrics.packing.service import WRITING_FOR, Packer
from stoker_shared.object_store.address import StoreAddress
from stoker_shared.rpc.log_search import LogSearchQuery
from stoker_shared.rpc.metrics import LinesQuery
from tests.support.metrics import JOB, OWNER
from tests.support.servers import TestBucket, TestDatabase
from tests.support.storing import StoringWorld, line, store_of, storing_world

PACK_AFTER = timedelta(minutes=15)
LATER_JOB = "job-ffffffffffffffff"


class Died(Exception):
    """The process ends here."""


@pytest.fixture
async def logged(metrics_database: TestDatabase) -> AsyncIterator[StoringWorld]:
    """An attempt with 6,000 lines that is over."""
    async with storing_world(metrics_database) as world:
        await world.admit()
        await log(world, range(1, 6_001))
        await end(world)
        yield world


async def log(world: StoringWorld, sequences: range) -> None:
    for first in range(sequences.start, sequences.stop, 1_000):
        part = range(first, min(first + 1_000, sequences.stop))
        await world.keep_lines([line(n, f"step {n} loss 0.{n}") for n in part])


async def end(world: StoringWorld) -> None:
    await world.execute("UPDATE attempt_reports SET revoked_at = now()")


def packer_of(world: StoringWorld, store: ObjectStore) -> Packer:
    return Packer(world.database, store, clock=world.clock, pack_after=PACK_AFTER)


async def all_lines(world: StoringWorld, store: ObjectStore) -> list[int]:
    reader = LineReader(world.database, store, attempts=world.attempts)
    seen: list[int] = []
    while True:
        after = seen[-1] if seen else 0
        page = await reader.lines(LinesQuery(owner=OWNER, job_id=JOB, after_sequence=after, limit=10_000))
        if not page.lines:
            return seen
        assert all(found.text == f"step {found.sequence} loss 0.{found.sequence}" for found in page.lines)
        seen += [found.sequence for found in page.lines]


async def row_count(world: StoringWorld) -> int:
    return int((await world.rows("SELECT count(*) AS n FROM log_lines"))[0]["n"])


def objects(bucket: TestBucket) -> list[str]:
    return [str(entry.object_name) for entry in bucket.client().list_objects(bucket.bucket, recursive=True)]


async def test_lines_of_an_attempt_that_is_over_become_chunks(logged: StoringWorld, object_store: TestBucket) -> None:
    store = store_of(object_store)
    assert await packer_of(logged, store).sweep() == 2
    assert (await row_count(logged), len(objects(object_store))) == (0, 2)
    assert await all_lines(logged, store) == list(range(1, 6_001))
    assert await packer_of(logged, store).sweep() == 0
    (index,) = await logged.rows("SELECT * FROM log_chunks WHERE first_sequence = 1")
    assert (index["last_sequence"], index["streams"], index["state"]) == (5_000, ["stdout"], "stored")
    assert index["stored_bytes"] < index["text_bytes"] / 3


@pytest.mark.parametrize("step", ["begin", "put", "get", "finish"])
async def test_a_packer_that_dies_after_a_step_loses_nothing_and_doubles_nothing(
    logged: StoringWorld, object_store: TestBucket, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    store = store_of(object_store)
    dying = packer_of(logged, store)
    owner = PackingRepository if step in {"begin", "finish"} else ObjectStore
    original = getattr(owner, step)
    if step == "begin":
        # Committed; dead before the object is written.
        original, owner, step = ObjectStore.put, ObjectStore, "put"

        async def dies(*arguments: object, **named: object) -> object:
            raise Died
    else:

        async def dies(*arguments: object, **named: object) -> object:
            await original(*arguments, **named)
            raise Died  # of `finish`: before the commit

    with monkeypatch.context() as patched:
        patched.setattr(owner, step, dies)
        with pytest.raises(Died):
            await dying.sweep()
    assert await row_count(logged) == 6_000
    assert await all_lines(logged, store) == list(range(1, 6_001))
    # Sent again while nobody packs.
    await log(logged, range(2_000, 3_000))
    await packer_of(logged, store).sweep()
    assert await all_lines(logged, store) == list(range(1, 6_001))
    logged.clock.advance(WRITING_FOR + timedelta(minutes=1))
    await logged.execute(
        "UPDATE log_chunks SET created_at = $1 WHERE state = 'writing'", logged.clock.now() - 2 * WRITING_FOR
    )
    await packer_of(logged, store).clean()
    stored = await logged.rows("SELECT object_key FROM log_chunks")
    assert sorted(objects(object_store)) == sorted(row["object_key"] for row in stored)
    assert await all_lines(logged, store) == list(range(1, 6_001))


async def test_lines_that_come_again_or_late_are_there_once(logged: StoringWorld, object_store: TestBucket) -> None:
    store = store_of(object_store)
    await packer_of(logged, store).sweep()
    await log(logged, range(1, 501))
    await log(logged, range(5_900, 6_101))
    assert (await row_count(logged), await all_lines(logged, store)) == (100, list(range(1, 6_101)))
    await log(logged, range(6_201, 6_301))
    await packer_of(logged, store).sweep()
    await log(logged, range(6_050, 6_250))
    assert await all_lines(logged, store) == list(range(1, 6_301))
    await packer_of(logged, store).sweep()
    assert (await row_count(logged), await all_lines(logged, store)) == (0, list(range(1, 6_301)))
    (kept,) = await logged.rows("SELECT lines_stored, lines_packed FROM kept_attempts")
    assert tuple(kept) == (6_300, 6_300)


async def test_two_packers_at_once_pack_each_line_once(logged: StoringWorld, object_store: TestBucket) -> None:
    store = store_of(object_store)
    first, second = packer_of(logged, store), packer_of(logged, store)
    put = ObjectStore.put

    class Overtaken(ObjectStore):
        async def put(self, key: str, content: bytes) -> None:
            await put(self, key, content)
            await second.sweep()

    first._store.__class__ = Overtaken
    second._store = store_of(object_store)
    assert await first.sweep() == 0
    assert (await row_count(logged), await all_lines(logged, store_of(object_store))) == (0, list(range(1, 6_001)))
    chunks = await logged.rows(
        "SELECT sum(last_sequence - first_sequence + 1) AS n FROM log_chunks WHERE state = 'stored'"
    )
    assert chunks[0]["n"] == 6_000


async def test_what_the_store_does_not_give_back_stays_in_rows_and_keeps_no_other_attempt(
    logged: StoringWorld, object_store: TestBucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = store_of(object_store)
    put = ObjectStore.put

    async def spoil(self: ObjectStore, key: str, content: bytes) -> None:
        await put(self, key, content[:-1] + bytes([content[-1] ^ 1]) if JOB in key else content)

    await logged.admit(LATER_JOB)
    await logged.keep_lines([line(1, "of another job")], job_id=LATER_JOB)
    await end(logged)
    monkeypatch.setattr(ObjectStore, "put", spoil)
    assert await packer_of(logged, store).sweep() == 1
    left = await logged.rows("SELECT job_id, count(*) AS n FROM log_lines GROUP BY job_id")
    assert [tuple(row) for row in left] == [(JOB, 6_000)]
    assert await all_lines(logged, store) == list(range(1, 6_001))


async def test_while_an_attempt_goes_on_only_old_lines_and_whole_chunks_are_packed(
    metrics_database: TestDatabase, object_store: TestBucket
) -> None:
    store = store_of(object_store)
    async with storing_world(metrics_database) as world:
        await world.admit()
        await log(world, range(1, 6_001))
        assert await packer_of(world, store).sweep() == 0
        world.clock.advance(PACK_AFTER + timedelta(minutes=1))
        assert await packer_of(world, store).sweep() == 1
        assert (await row_count(world), await all_lines(world, store)) == (1_000, list(range(1, 6_001)))


async def test_search_and_tail_go_over_rows_and_chunks(
    metrics_database: TestDatabase, object_store: TestBucket
) -> None:
    store = store_of(object_store)
    async with storing_world(metrics_database) as world:
        await world.admit()
        await log(world, range(1, 6_001))
        world.clock.advance(PACK_AFTER + timedelta(minutes=1))
        await packer_of(world, store).sweep()
        reader = LineReader(world.database, store, attempts=world.attempts)
        found = await reader.search(LogSearchQuery(owner=OWNER, job_id=JOB, pattern="STEP 4999 "))
        assert [(match.line.sequence, match.spans) for match in found.matches] == [(4_999, [(0, 10)])]
        assert (found.is_end, found.searched_to) == (True, 6_000)
        wanted = LogSearchQuery(owner=OWNER, job_id=JOB, pattern=r"step \d*99 ", is_expression=True, limit=7)
        seen: list[int] = []
        page = await reader.search(wanted)
        while not page.is_end:
            seen += [match.line.sequence for match in page.matches]
            page = await reader.search(wanted.model_copy(update={"after_sequence": page.searched_to}))
        seen += [match.line.sequence for match in page.matches]
        assert seen == [n for n in range(1, 6_001) if n % 100 == 99]
        tail = await reader.lines(LinesQuery(owner=OWNER, job_id=JOB, newest=3))
        assert [found.sequence for found in tail.lines] == [5_998, 5_999, 6_000]
        # Each question searches for a bounded time: this one's is over at once.
        hurried = LineReader(
            world.database, store, attempts=world.attempts, stopwatch=iter(range(0, 10**6, 10)).__next__
        )
        first = await hurried.search(LogSearchQuery(owner=OWNER, job_id=JOB, pattern="step 5999 "))
        assert (first.matches, first.is_end, first.searched_to) == ([], False, 1)


async def test_lines_over_the_cap_are_counted_and_the_log_says_so(metrics_database: TestDatabase) -> None:
    async with storing_world(metrics_database, caps=Caps(lines=1_500)) as world:
        await world.admit()
        for sequences in (range(1, 1_001), range(900, 2_001), range(1_400, 2_001)):
            await log(world, sequences)
        reader = LineReader(world.database, _no_store(), attempts=world.attempts)
        page = await reader.lines(LinesQuery(owner=OWNER, job_id=JOB, limit=10_000))
        assert page.lines[-1].sequence == 1_500
        assert page.not_kept is not None
        assert page.not_kept.model_dump() == {"after_sequence": 1_500, "lines": 500, "capped_by": "lines"}


async def test_bytes_over_the_cap_are_counted_as_lines(metrics_database: TestDatabase) -> None:
    async with storing_world(metrics_database, caps=Caps(log_bytes=10_000)) as world:
        await world.admit()
        for first in range(1, 200, 20):
            await world.keep_lines([line(n, "x" * 100) for n in range(first, first + 20)])
        reader = LineReader(world.database, _no_store(), attempts=world.attempts)
        page = await reader.lines(LinesQuery(owner=OWNER, job_id=JOB))
        assert page.not_kept is not None
        assert page.not_kept.model_dump() == {"after_sequence": 100, "lines": 100, "capped_by": "bytes"}
        assert len(page.lines) == 100


def _no_store() -> ObjectStore:
    nothing = SecretStr("nobody")
    return ObjectStore(StoreAddress("127.0.0.1:9", nothing, nothing, "nothing", "us-east-1", is_secure=False))
