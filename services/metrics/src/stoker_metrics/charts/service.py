"""Charts for those who may see them."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.attempts.service import Attempts
from stoker_metrics.charts.lines import of_buckets, of_points
from stoker_metrics.charts.repository import ChartRepository, Window
from stoker_metrics.keeping.repository import KeptRepository
from stoker_metrics.keeping.tables import KeptAttempt
from stoker_metrics.points.buckets import ALL, WIDTHS, Bucket, Measured, bucketed, merge_into
from stoker_metrics.points.repository import PointRepository
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.database import Database
from stoker_shared.rpc.series import Chart, ChartQuery, Latest, LatestQuery, Run, RunChart, Series

MOST_ENTRIES = 12_000
"""Of an answer, all lines together; an entry of a bucket has up to 75 bytes, and a message of the bus 1 MB."""

_LEAST_POINTS = 10
_NARROW_UNTIL = 1024


@dataclass(frozen=True, slots=True)
class _Range:
    """What of a run lies in the range that is asked for: a window of what is levelled, and points that wait."""

    window: Window
    waiting: Sequence[Measured]

    @property
    def size(self) -> int:
        """Points at most."""
        return max(0, self.window.last - self.window.first + 1) + len(self.waiting)


class ChartReader:
    """Answers `chart` and `latest`."""

    def __init__(self, database: Database, *, attempts: Attempts) -> None:
        self._database = database
        self._attempts = attempts
        self._kept = KeptRepository()
        self._points = PointRepository()
        self._levels = ChartRepository()

    async def latest(self, query: LatestQuery) -> Latest:
        """The newest value of each metric of runs.

        Raises:
            NotFound: one of the jobs is somebody else's.
        """
        await self._check(query.runs, query.owner)
        async with self._database.transaction() as session:
            found = [await self._levels.latest(session, job_id=run.job_id, attempt=run.attempt) for run in query.runs]
        return Latest(runs=found)

    async def chart(self, query: ChartQuery) -> Chart:
        """Lines of runs side by side, each run from the finest level that has no more points than are wanted.

        Raises:
            NotFound: one of the jobs is somebody else's.
        """
        await self._check(query.runs, query.owner)
        async with self._database.transaction() as session:
            return Chart(runs=[await self._run(session, run, query) for run in query.runs])

    async def _check(self, runs: Sequence[Run], owner: str) -> None:
        for job_id in sorted({run.job_id for run in runs}):
            await self._attempts.check_owner(job_id=job_id, owner=owner)

    async def _run(self, session: AsyncSession, run: Run, query: ChartQuery) -> RunChart:
        kept = await self._kept.with_points(session, job_id=run.job_id, attempt=run.attempt)
        if kept is None:
            return RunChart(job_id=run.job_id, attempt=run.attempt or 0, width=1, points=0, metrics=[], series=[])
        waiting = await self._waiting(session, kept)
        known = await self._levels.metrics(session, _key(kept))
        metrics = sorted({*known, *(name for point in waiting for name in point.values)})
        wanted = [name for name in metrics if not query.metrics or name in query.metrics]
        found = await self._range(session, kept, waiting, query)
        most = max(_LEAST_POINTS, min(query.most_points, MOST_ENTRIES // max(1, len(wanted) * len(query.runs))))
        width = _width(found.size, most, has_points=kept.points_dropped_at is None)
        return RunChart(
            job_id=kept.job_id,
            attempt=kept.attempt,
            width=width,
            points=kept.points_stored,
            metrics=metrics,
            series=await self._series(session, kept, wanted, found, width=width),
            not_kept=max(0, kept.points_seen - kept.points_allowed),
        )

    async def _waiting(self, session: AsyncSession, kept: KeptAttempt) -> list[Measured]:
        first = kept.levelled_sequence + 1
        return await self._points.between(session, _key(kept), day=kept.day, first=first, last=kept.points_seen)

    async def _range(
        self, session: AsyncSession, kept: KeptAttempt, waiting: Sequence[Measured], query: ChartQuery
    ) -> _Range:
        """Narrow the window level by level, so that each look is at a bounded number of buckets."""
        inside = [point for point in waiting if query.first_step <= point.step <= query.last_step]
        window = Window(1, kept.levelled_sequence, query.first_step, query.last_step)
        for width in reversed(WIDTHS):
            size = window.last - window.first + 1
            if size <= 0 or size // width > _NARROW_UNTIL:
                break
            span = await self._levels.span(session, _key(kept), width=width, window=window)
            if span is None:
                window = Window(1, 0, query.first_step, query.last_step)
                break
            first, last = max(window.first, span[0] * width + 1), min(window.last, (span[1] + 1) * width)
            window = Window(first, last, query.first_step, query.last_step)
        return _Range(window, inside)

    async def _series(
        self, session: AsyncSession, kept: KeptAttempt, metrics: Sequence[str], found: _Range, *, width: int
    ) -> list[Series]:
        window = found.window
        if width == 1:
            stored = await self._points.between(session, _key(kept), day=kept.day, first=window.first, last=window.last)
            inside = [point for point in stored if window.first_step <= point.step <= window.last_step]
            return [of_points(metric, [*inside, *found.waiting]) for metric in metrics]
        buckets = (
            await self._levels.buckets(session, _key(kept), width=width, metrics=metrics, window=window)
            if window.last >= window.first
            else {}
        )
        merge_into(buckets, bucketed(found.waiting, width))
        lines: dict[str, list[Bucket]] = {metric: [] for metric in metrics}
        for (metric, _number), bucket in sorted(buckets.items(), key=lambda item: item[0]):
            if metric != ALL and metric in lines:
                lines[metric].append(bucket)
        return [of_buckets(metric, line) for metric, line in lines.items()]


def _width(size: int, most: int, *, has_points: bool) -> int:
    """The finest level of which no more than `most` buckets lie in a range of so many points."""
    if size <= most and has_points:
        return 1
    # A range may begin and end in the middle of a bucket.
    return next((width for width in WIDTHS if size // width + 2 <= most), WIDTHS[-1])


def _key(kept: KeptAttempt) -> AttemptKey:
    return kept.job_id, kept.attempt
