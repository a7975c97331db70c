"""However the lines of a run are cut, repeated and disordered, and packed in between: the same log in the end."""

import itertools
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.lines import repository as line_rows
from stoker_metrics.lines.service import LineReader
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.packing import chunk
from stoker_metrics.packing import repository as chunk_rows
from stoker_metrics.packing import service as packing
from stoker_metrics.packing.service import Packer
from stoker_metrics.storing.service import Store
from stoker_shared.rpc.metrics import Line, LinesQuery, LogBatch
from tests.support.arrivals import Arrival, Course, courses
from tests.support.metrics import OWNER
from tests.support.servers import TestBucket, TestDatabase
from tests.support.storing import AT, StoringWorld, line, store_of, storing_world

_NUMBERS = itertools.count(1)
_MOST = 60


def any_line(sequence: int, chance: random.Random) -> Line:
    text = "".join(chance.choices('ab \t\\"{}\u00e9\U0001f525\x1b', k=chance.randint(1, 20)))
    return line(sequence, text, stream=chance.choice(["stdout", "stderr"]))


def sequence_of(found: Line) -> int:
    return found.sequence


@pytest.fixture
async def world(metrics_database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoringWorld]:
    """Chunks are small, and both ways into the table are used."""
    for module in (chunk, chunk_rows, packing):
        monkeypatch.setattr(module, "MOST_LINES", 4)
    monkeypatch.setattr(line_rows, "COPY_FROM", 12)
    async with storing_world(metrics_database) as made:
        # Every line is old enough to be packed.
        made.clock.advance(timedelta(hours=1))
        yield made


@pytest.fixture
def objects(object_store: TestBucket) -> ObjectStore:
    """Where chunks go."""
    return store_of(object_store)


async def new_job(world: StoringWorld, *, is_over: bool) -> str:
    job_id = f"job-{next(_NUMBERS):016x}"
    await world.admit(job_id)
    if is_over:
        await end(world, job_id)
    return job_id


async def end(world: StoringWorld, job_id: str) -> None:
    await world.execute("UPDATE attempt_reports SET revoked_at = $2 WHERE job_id = $1", job_id, AT)


async def store_lines(
    world: StoringWorld, job_id: str, came: Sequence[Arrival[Line]], *, most: int, packer: Packer
) -> None:
    world = replace(world, store=Store(world.database, clock=world.clock, caps=Caps(lines=most)))
    for arrival in came:
        await world.keep(*(LogBatch(job_id=job_id, attempt=1, lines=batch) for batch in arrival.batches))
        if arrival.then_sweep:
            await packer.sweep()


async def log_of(world: StoringWorld, objects: ObjectStore, job_id: str, *, limit: int) -> list[Line]:
    reader, seen = LineReader(world.database, objects, attempts=world.attempts), list[Line]()
    while True:
        after = seen[-1].sequence if seen else 0
        page = await reader.lines(LinesQuery(owner=OWNER, job_id=job_id, after_sequence=after, limit=limit))
        if not page.lines:
            return seen
        seen += page.lines


async def kept_of(world: StoringWorld, job_id: str) -> dict[str, object]:
    (row,) = await world.rows("SELECT * FROM kept_attempts WHERE job_id = $1", job_id)
    return dict(row)


async def count(world: StoringWorld, query: str, job_id: str) -> int:
    (row,) = await world.rows(query, job_id)
    return int(row[0])


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(
    course=courses(most=_MOST),
    most=st.sampled_from([1000, 30, 1]),
    is_over=st.booleans(),
    limit=st.sampled_from([1000, 7]),
)
async def test_lines_lead_to_the_same_log(
    *,
    world: StoringWorld,
    objects: ObjectStore,
    course: Course,
    most: int,
    is_over: bool,
    limit: int,
) -> None:
    lines = course.items(any_line)
    wanted = [found for found in lines if found.sequence <= most]
    packer = Packer(world.database, objects, clock=world.clock, pack_after=timedelta(minutes=15))
    plain, mixed = await new_job(world, is_over=False), await new_job(world, is_over=is_over)
    await store_lines(world, plain, [Arrival([lines])], most=most, packer=packer)
    await store_lines(world, mixed, course.arrivals(lines, sequence=sequence_of), most=most, packer=packer)
    assert await log_of(world, objects, mixed, limit=limit) == wanted
    same = [{**await kept_of(world, job_id), "job_id": "", "lines_packed": 0} for job_id in (plain, mixed)]
    assert same[0] == same[1]
    for job_id in (plain, mixed):
        await end(world, job_id)
    await packer.sweep()
    assert await log_of(world, objects, mixed, limit=limit) == wanted
    assert (await kept_of(world, mixed))["lines_packed"] == len(wanted)
    assert await count(world, "SELECT count(*) FROM log_lines WHERE job_id = $1", mixed) == 0
    in_chunks = "SELECT coalesce(sum(last_sequence - first_sequence + 1), 0) FROM log_chunks WHERE job_id = $1"
    assert await count(world, in_chunks, mixed) == len(wanted)
