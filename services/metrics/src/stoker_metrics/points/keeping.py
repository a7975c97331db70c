"""Which points go into the levels, and when: each once, in the transaction that stores it or in a later one."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.keeping.schemas import Kept
from stoker_metrics.points.buckets import levels
from stoker_metrics.points.repository import PointRepository
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.rpc.metrics import Point

LEVEL_EVERY = 1024
"""Points that wait until they are levelled together; a chart adds those that wait by itself."""


class PointKeeper:
    """Stores points and keeps their levels. Whoever calls holds the attempts' locks."""

    def __init__(self) -> None:
        self._rows = PointRepository()

    async def keep(
        self, session: AsyncSession, points: Mapping[AttemptKey, Sequence[Point]], kept: Mapping[AttemptKey, Kept]
    ) -> dict[AttemptKey, Kept]:
        """Store points up to what is allowed; returns what is kept then of those attempts.

        All points up to `levelled_sequence` are in the levels. One that comes late, below it, goes in at once; the
        others wait until there are `LEVEL_EVERY` of them.
        """
        allowed = {key: _allowed(found, kept[key].points_allowed) for key, found in points.items()}
        stored = await self._rows.store(
            session,
            allowed,
            days={key: kept[key].day for key in points},
            levelled={key: kept[key].levelled_sequence for key in points},
        )
        moved: dict[AttemptKey, Kept] = {}
        for key in sorted(points):
            before = kept[key]
            seen = max((point.sequence for point in points[key]), default=0)
            moved[key] = replace(before, points_seen=max(before.points_seen, seen))
            if key in stored:
                moved[key] = replace(moved[key], points_stored=before.points_stored + stored[key].count)
                if late := stored[key].late:
                    await self._rows.merge(
                        session, key, levels(point for point in allowed[key] if point.sequence in late)
                    )
                moved[key] = await self._level(session, key, moved[key], least=LEVEL_EVERY)
        return moved

    async def level_rest(self, session: AsyncSession, key: AttemptKey, kept: Kept) -> Kept:
        """Level what waits, however little it is."""
        return await self._level(session, key, kept, least=1)

    async def _level(self, session: AsyncSession, key: AttemptKey, kept: Kept, *, least: int) -> Kept:
        newest = min(kept.points_seen, kept.points_allowed)
        if newest - kept.levelled_sequence < least:
            return kept
        waiting = await self._rows.between(session, key, day=kept.day, first=kept.levelled_sequence + 1, last=newest)
        await self._rows.merge(session, key, levels(waiting))
        return replace(kept, levelled_sequence=newest)


def _allowed(points: Sequence[Point], limit: int) -> list[Point]:
    # A batch may hold a point twice.
    first: dict[int, Point] = {}
    for point in points:
        if point.sequence <= limit:
            first.setdefault(point.sequence, point)
    return list(first.values())
