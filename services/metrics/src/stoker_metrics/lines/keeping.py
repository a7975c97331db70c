"""Storing lines up to what is allowed."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy.ext.asyncio import AsyncSession

from stoker_metrics.keeping.schemas import Kept
from stoker_metrics.lines.repository import LineRepository, StoredLines
from stoker_metrics.storing.schemas import AttemptKey
from stoker_shared.rpc.metrics import Line


class LineKeeper:
    """Stores lines. Whoever calls holds the attempts' locks."""

    def __init__(self) -> None:
        self._rows = LineRepository()

    async def keep(
        self, session: AsyncSession, lines: Mapping[AttemptKey, Sequence[Line]], kept: Mapping[AttemptKey, Kept]
    ) -> dict[AttemptKey, Kept]:
        """Store lines up to what is allowed; returns what is kept then of those attempts."""
        allowed = {
            key: [line for line in found if line.sequence <= kept[key].lines_allowed] for key, found in lines.items()
        }
        stored = await self._rows.store(session, allowed, days={key: kept[key].day for key in lines})
        return {key: _after(kept[key], lines[key], stored.get(key)) for key in lines}


def _after(kept: Kept, came: Sequence[Line], stored: StoredLines | None) -> Kept:
    seen = max(kept.lines_seen, max((line.sequence for line in came), default=0))
    count, size = (stored.count, stored.bytes) if stored else (0, 0)
    moved = replace(kept, lines_seen=seen, lines_stored=kept.lines_stored + count, log_bytes=kept.log_bytes + size)
    if moved.log_bytes >= moved.log_bytes_allowed and moved.lines_capped_by is None and seen <= moved.lines_allowed:
        # From here on nothing later is kept; what lies before and comes late still is.
        return replace(moved, lines_allowed=seen, lines_capped_by="bytes")
    if seen > moved.lines_allowed and moved.lines_capped_by is None:
        return replace(moved, lines_capped_by="lines")
    return moved
