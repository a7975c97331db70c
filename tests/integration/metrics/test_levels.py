"""Levels in the database: built as points come, the same in any order, batches and repetition; and charts of them."""

import random

import pytest

from stoker_metrics.charts.service import ChartReader
from stoker_metrics.keeping.schemas import Caps
from stoker_metrics.points.buckets import WIDTHS, Bucket, levels
from stoker_shared.errors import NotFound
from stoker_shared.rpc.metrics import MetricsBatch, Point
from stoker_shared.rpc.series import ChartQuery, LatestQuery, Run, RunChart
from tests.support.metrics import JOB, OWNER
from tests.support.servers import TestDatabase
from tests.support.storing import StoringWorld, point, storing_world

OTHER_JOB = "job-00000000000000bb"
_BUCKETS = f"SELECT width, metric, number, {', '.join(Bucket.__dataclass_fields__)} FROM point_buckets"


def run_of(count: int, *, seed: int = 1) -> list[Point]:
    """A run with a sparse metric, gaps, and steps that are not sequences."""
    choice = random.Random(seed)
    points = []
    for number in range(1, count + 1):
        values: dict[str, float | None] = {"loss": None if choice.random() < 0.05 else choice.uniform(0, 5)}
        if number % 50 == 0:
            values["eval_loss"] = choice.uniform(0, 5)
        points.append(point(number, step=number * 10, **values))
    return points


async def stored_levels(world: StoringWorld) -> dict[int, dict[tuple[str, int], Bucket]]:
    found: dict[int, dict[tuple[str, int], Bucket]] = {width: {} for width in WIDTHS}
    for row in await world.rows(_BUCKETS):
        width, metric, number, *fields = row
        found[width][metric, number] = Bucket(*fields)
    return found


async def chart_of(world: StoringWorld, **query: object) -> RunChart:
    reader = ChartReader(world.database, attempts=world.attempts)
    (run,) = (await reader.chart(ChartQuery(owner=OWNER, runs=[Run(job_id=JOB)], **query))).runs
    return run


@pytest.mark.parametrize("seed", range(6))
async def test_any_order_any_repetition_and_any_batches_give_the_same_levels(
    metrics_database: TestDatabase, seed: int
) -> None:
    points = run_of(2600, seed=seed)
    choice = random.Random(seed)
    async with storing_world(metrics_database) as world:
        await world.admit()
        again = points + choice.sample(points, 500)
        if seed % 2:
            choice.shuffle(again)
        else:
            # Nearly in order, as pods send: some batches swapped, the repeated ones at the end.
            again = [*points[400:900], *points[:400], *points[900:], *again[2600:]]
        while again:
            size = choice.choice((1, 7, 100, 1000, 1500))
            batch, again = again[:size], again[size:]
            await world.keep(
                MetricsBatch(job_id=JOB, attempt=1, points=batch[: size // 2 + 1]),
                MetricsBatch(job_id=JOB, attempt=1, points=batch[size // 3 :]),
            )
        (kept,) = await world.rows("SELECT * FROM kept_attempts")
        assert (kept["points_stored"], kept["points_seen"]) == (2600, 2600)
        assert kept["levelled_sequence"] >= 1024
        levelled = [found for found in points if found.sequence <= kept["levelled_sequence"]]
        assert await stored_levels(world) == levels(levelled)
        (row,) = await world.rows("SELECT count(*) AS n, count(DISTINCT sequence) AS m FROM points")
        assert (row["n"], row["m"]) == (2600, 2600)


async def test_a_chart_has_every_point_whether_it_is_levelled_or_waits(metrics_database: TestDatabase) -> None:
    points = run_of(2600)
    losses = [found.values["loss"] for found in points]
    async with storing_world(metrics_database) as world:
        await world.admit()
        for first in range(0, 2600, 130):
            await world.keep_points(points[first : first + 130])
        for most in (10, 50, 200, 1000):
            chart = await chart_of(world, most_points=most)
            (eval_loss, loss) = chart.series
            assert (chart.width > 1, chart.points, chart.metrics) == (True, 2600, ["eval_loss", "loss"])
            assert len(loss.last_steps) <= most
            assert loss.last_steps[-1] == 26_000
            finite = [value for value in losses if value is not None]
            assert min(value for value in loss.minimums if value is not None) == pytest.approx(min(finite), rel=1e-6)
            assert max(value for value in loss.maximums if value is not None) == pytest.approx(max(finite), rel=1e-6)
            assert sum(loss.gaps) == losses.count(None)
            assert eval_loss.last_steps == sorted(eval_loss.last_steps)
            assert loss.first_steps[0] == 10
        raw = await chart_of(world, most_points=5000, metrics=["loss"])
        assert (raw.width, [series.metric for series in raw.series]) == (1, ["loss"])
        assert raw.series[0].last_steps == [found.step for found in points]
        assert raw.series[0].last == [None if value is None else float(f"{value:.7g}") for value in losses]


@pytest.mark.parametrize(("first", "last"), [(0, 5), (10, 990), (10_010, 20_000), (25_000, 30_000), (90_000, 95_000)])
async def test_a_range_of_steps_is_as_fine_as_its_size_allows(
    metrics_database: TestDatabase, first: int, last: int
) -> None:
    points = run_of(2600)
    async with storing_world(metrics_database) as world:
        await world.admit()
        await world.keep_points(points)
        inside = [found.step for found in points if first <= found.step <= last]
        fine = await chart_of(world, first_step=first, last_step=last, most_points=2000, metrics=["loss"])
        assert (fine.width, fine.series[0].last_steps) == (1, inside)
        coarse = await chart_of(world, first_step=first, last_step=last, most_points=10, metrics=["loss"])
        steps = coarse.series[0].last_steps
        assert len(steps) <= 10
        assert bool(steps) == bool(inside)
        if inside:
            assert coarse.series[0].first_steps[0] <= inside[0]
            assert steps[-1] >= inside[-1]


async def test_runs_stand_side_by_side_and_nobody_sees_anothers(metrics_database: TestDatabase) -> None:
    async with storing_world(metrics_database) as world:
        await world.admit()
        await world.admit(OTHER_JOB)
        await world.admit("job-00000000000000cc", owner="user-0000000000000002")
        await world.keep_points([point(1, loss=1.0), point(2, loss=None, kl=0.5)])
        await world.keep_points([point(1, loss=3.0)], job_id=OTHER_JOB)
        reader = ChartReader(world.database, attempts=world.attempts)
        runs = [Run(job_id=OTHER_JOB), Run(job_id=JOB), Run(job_id=JOB, attempt=7)]
        chart = await reader.chart(ChartQuery(owner=OWNER, runs=runs))
        assert [(run.job_id, run.attempt) for run in chart.runs] == [(OTHER_JOB, 1), (JOB, 1), (JOB, 7)]
        assert [[(line.metric, line.last) for line in run.series] for run in chart.runs] == [
            [("loss", [3.0])],
            [("kl", [0.5]), ("loss", [1.0, None])],
            [],
        ]
        latest = await reader.latest(LatestQuery(owner=OWNER, runs=runs[:2]))
        assert [run.values for run in latest.runs] == [{"loss": 3.0}, {"loss": None, "kl": 0.5}]
        for question in (ChartQuery, LatestQuery):
            ask = reader.chart if question is ChartQuery else reader.latest
            with pytest.raises(NotFound):
                await ask(question(owner=OWNER, runs=[Run(job_id="job-00000000000000cc")]))


async def test_what_is_over_the_cap_is_counted_once_and_not_kept(metrics_database: TestDatabase) -> None:
    async with storing_world(metrics_database, caps=Caps(points=1500)) as world:
        await world.admit()
        points = run_of(2000)
        for part in (points[:1000], points[900:1700], points[1600:], points[1600:], points[:10]):
            await world.keep_points(part)
        chart = await chart_of(world, most_points=5000, metrics=["loss"])
        assert (chart.points, chart.not_kept, len(chart.series[0].last)) == (1500, 500, 1500)
        # What another attempt may have is what is left of the job's.
        await world.admit(attempt=2)
        await world.keep_points([point(1, loss=1.0)], attempt=2)
        second = await chart_of(world)
        assert (second.attempt, second.points, second.not_kept) == (2, 0, 1)


async def test_points_of_attempts_of_many_days_lie_in_partitions_of_their_own(metrics_database: TestDatabase) -> None:
    async with storing_world(metrics_database) as world:
        for number, day in enumerate((1, 2, 2, 28), start=1):
            await world.admit(f"job-{number:016d}", at=world.clock.now().replace(day=day))
        await world.keep(
            *(MetricsBatch(job_id=f"job-{n:016d}", attempt=1, points=[point(1, loss=1.0)]) for n in range(1, 5))
        )
        rows = await world.rows(
            "SELECT tableoid::regclass::text AS part, count(*) AS n FROM points GROUP BY 1 ORDER BY 1"
        )
        assert [(row["part"], row["n"]) for row in rows] == [
            ("points_20261101", 1),
            ("points_20261102", 2),
            ("points_20261128", 1),
        ]
