"""Retention: what is past its time goes a day at a time, what is not stays, and charts outlive their points."""

from datetime import timedelta

from stoker_metrics.charts.service import ChartReader
from stoker_metrics.packing.service import Packer
from stoker_metrics.retention.service import Retention, RetentionRules
from stoker_shared.rpc.series import ChartQuery, Run
from tests.support.metrics import OWNER
from tests.support.servers import TestBucket, TestDatabase
from tests.support.storing import AT, StoringWorld, line, point, store_of, storing_world

OLD, LIVE, NEW = (f"job-{number:016d}" for number in (1, 2, 3))
RULES = RetentionRules(points=timedelta(days=5), charts=timedelta(days=50), logs=timedelta(days=10))


async def three_jobs(world: StoringWorld) -> None:
    """One that is over, one of another day that goes on, one of a later day that ends later."""
    for number, (job_id, day) in enumerate(((OLD, 0), (LIVE, 1), (NEW, 12)), start=1):
        await world.admit(job_id, at=AT + timedelta(days=day))
        await world.keep_points([point(n, loss=n / 10) for n in range(1, 1_100 + number)], job_id=job_id)
        await world.keep_lines([line(1), line(2)], job_id=job_id)
    heard = "UPDATE attempt_reports SET revoked_at = $2, last_heard_at = $3 WHERE job_id = $1"
    await world.execute(heard, OLD, AT + timedelta(hours=1), AT)
    await world.execute(heard, LIVE, None, AT + timedelta(days=15))
    await world.execute(heard, NEW, AT + timedelta(days=13), AT + timedelta(days=13))


async def counts(world: StoringWorld, table: str) -> dict[str, int]:
    rows = await world.rows(f"SELECT job_id, count(*) AS n FROM {table} GROUP BY job_id")
    return {row["job_id"]: row["n"] for row in rows}


async def test_each_thing_goes_when_its_time_is_over_and_charts_stay_whole(
    metrics_database: TestDatabase, object_store: TestBucket
) -> None:
    store = store_of(object_store)
    async with storing_world(metrics_database) as world:
        await three_jobs(world)
        packer = Packer(world.database, store, clock=world.clock, pack_after=timedelta(minutes=15))
        assert await packer.sweep() == 2
        retention = Retention(world.database, clock=world.clock, rules=RULES)
        world.clock.advance(timedelta(days=4))
        await retention.sweep()
        assert set(await counts(world, "points")) == {OLD, LIVE, NEW}

        world.clock.advance(timedelta(days=2))
        await retention.sweep()
        assert set(await counts(world, "points")) == {LIVE, NEW}
        reader = ChartReader(world.database, attempts=world.attempts)
        chart = await reader.chart(ChartQuery(owner=OWNER, runs=[Run(job_id=OLD)], most_points=5_000))
        (loss,) = chart.runs[0].series
        assert (chart.runs[0].width, loss.last_steps[-1], loss.maximums[-1]) == (16, 1_100, 110.0)

        world.clock.advance(timedelta(days=9))
        await retention.sweep()
        await packer.clean()
        assert len(list(object_store.client().list_objects(object_store.bucket, recursive=True))) == 1
        assert set(await counts(world, "log_chunks")) == {NEW}
        assert set(await counts(world, "log_lines")) == {LIVE}
        assert set(await counts(world, "points")) == {LIVE, NEW}

        world.clock.advance(timedelta(days=100))
        await retention.sweep()
        await packer.clean()
        for table in ("points", "point_buckets", "log_lines", "log_chunks"):
            assert await counts(world, table) == {}
        assert not list(object_store.client().list_objects(object_store.bucket, recursive=True))


async def test_a_sweep_again_changes_nothing_and_a_late_report_finds_a_partition(
    metrics_database: TestDatabase,
) -> None:
    async with storing_world(metrics_database) as world:
        await three_jobs(world)
        retention = Retention(world.database, clock=world.clock, rules=RULES)
        world.clock.advance(timedelta(days=6))
        await retention.sweep()
        before = await world.rows("SELECT * FROM kept_attempts ORDER BY job_id")
        await retention.sweep()
        assert await world.rows("SELECT * FROM kept_attempts ORDER BY job_id") == before
        await world.keep_points([point(2_000, loss=1.0)], job_id=OLD)
        assert (await counts(world, "points"))[OLD] == 1
