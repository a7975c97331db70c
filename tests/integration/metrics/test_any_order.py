"""However the points and lines of a run are cut, repeated, disordered and stored side by side: the same in the end."""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stoker_metrics.charts.service import ChartReader
from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.points import keeping
from stoker_metrics.points import repository as point_rows
from stoker_metrics.retention.repository import DayRepository
from stoker_metrics.storing.service import Store
from stoker_shared.rpc.metrics import MetricsBatch, Point
from stoker_shared.rpc.series import ChartQuery, Run
from tests.support.arrivals import Arrival, Course, courses
from tests.support.metrics import OWNER
from tests.support.servers import TestDatabase
from tests.support.storing import AT, StoringWorld, point, storing_world

_NUMBERS = itertools.count(1)
_MOST = 90
# The loss is judged in the order of arrival, and a point that comes behind another not at all (docs/decisions).
_JUDGED = {"loss_state", "loss_trouble"}
ON_A_DATABASE = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


def any_point(sequence: int, chance: random.Random) -> Point:
    names = [name for name in ("loss", "eval_loss", "reward") if chance.random() < 0.6]
    values = {name: None if chance.random() < 0.2 else chance.uniform(-5, 5) for name in names}
    return point(sequence, step=chance.randint(0, 500), **values)


def sequence_of(item: Point) -> int:
    return item.sequence


@pytest.fixture
async def world(metrics_database: TestDatabase, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[StoringWorld]:
    """Levels often, and uses both ways into the tables."""
    monkeypatch.setattr(keeping, "LEVEL_EVERY", 8)
    monkeypatch.setattr(point_rows, "COPY_FROM", 12)
    async with storing_world(metrics_database) as made:
        yield made


async def new_job(world: StoringWorld) -> str:
    job_id = f"job-{next(_NUMBERS):016x}"
    await world.admit(job_id)
    return job_id


async def store_points(world: StoringWorld, job_id: str, came: Sequence[Arrival[Point]], *, most: int) -> None:
    world = replace(world, store=Store(world.database, clock=world.clock, caps=Caps(points=most)))
    for arrival in came:
        await world.keep(*(MetricsBatch(job_id=job_id, attempt=1, points=batch) for batch in arrival.batches))
        if arrival.then_sweep:
            await level_rest(world)


async def level_rest(world: StoringWorld) -> None:
    """As retention does before it drops points."""
    days, keeper = DayRepository(), keeping.PointKeeper()
    async with world.database.transaction() as session:
        for key, kept in (await days.locked(session, AT.date())).items():
            await days.note_levelled(session, key, await keeper.level_rest(session, key, kept))


async def table_of(world: StoringWorld, table: str, job_id: str, *, but: set[str]) -> list[dict[str, object]]:
    rows = await world.rows(f"SELECT * FROM {table} WHERE job_id = $1", job_id)
    return sorted(({name: row[name] for name in set(row.keys()) - but - {"job_id"}} for row in rows), key=_stable)


def _stable(row: dict[str, object]) -> list[tuple[str, str]]:
    return sorted((name, repr(value)) for name, value in row.items())


async def chart_of(world: StoringWorld, job_id: str, *, most_points: int) -> object:
    reader = ChartReader(world.database, attempts=world.attempts)
    asked = ChartQuery(owner=OWNER, runs=[Run(job_id=job_id)], most_points=most_points)
    return (await reader.chart(asked)).runs[0].model_copy(update={"job_id": ""})


@ON_A_DATABASE
@given(course=courses(most=_MOST), most=st.sampled_from([1000, 40, 1]))
async def test_points_lead_to_the_same_tables_levels_and_standing(
    world: StoringWorld, course: Course, most: int
) -> None:
    points = course.items(any_point)
    plain, mixed = await new_job(world), await new_job(world)
    await store_points(world, plain, [Arrival([[point]]) for point in points], most=most)
    await store_points(world, mixed, course.arrivals(points, sequence=sequence_of), most=most)
    assert await chart_of(world, mixed, most_points=1000) == await chart_of(world, plain, most_points=1000)
    await level_rest(world)
    await assert_same(world, mixed, plain)
    assert await chart_of(world, mixed, most_points=10) == await chart_of(world, plain, most_points=10)


@pytest.mark.parametrize("seed", range(4))
async def test_replicas_that_store_side_by_side_lead_to_the_same(world: StoringWorld, seed: int) -> None:
    chance = random.Random(seed)
    points = [point(n, step=chance.randint(0, 500), loss=chance.uniform(0, 5)) for n in range(1, 200)]
    points += [point(n, eval_loss=chance.uniform(0, 5)) for n in range(200, 220)]
    plain, mixed = await new_job(world), await new_job(world)
    await store_points(world, plain, [Arrival([[found]]) for found in points], most=1000)
    again = chance.sample([*points, *points[::3]], len(points) + len(points[::3]))
    batches = [again[first : first + 9] for first in range(0, len(again), 9)]
    await asyncio.gather(*(store_points(world, mixed, [Arrival([batch])], most=1000) for batch in batches))
    await level_rest(world)
    await assert_same(world, mixed, plain)


async def assert_same(world: StoringWorld, mixed: str, plain: str) -> None:
    for table, but in (
        ("points", set[str]()),
        ("point_buckets", set[str]()),
        ("kept_attempts", set[str]()),
        ("attempt_reports", _JUDGED),
    ):
        assert await table_of(world, table, mixed, but=but) == await table_of(world, table, plain, but=but), table
