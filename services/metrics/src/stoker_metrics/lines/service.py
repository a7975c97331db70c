"""Log lines for those who may see them."""

import time
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from typing import cast

from anyio import to_thread

from stoker_metrics.attempts.service import Attempts
from stoker_metrics.keeping.repository import KeptRepository
from stoker_metrics.keeping.tables import KeptAttempt
from stoker_metrics.lines.pages import LinePages, before_the_last
from stoker_metrics.lines.searching import matches_in, pattern_of
from stoker_metrics.object_store import ObjectStore
from stoker_metrics.pages import MAX_PAGE_BYTES, fitting
from stoker_shared.database import Database
from stoker_shared.rpc.log_search import LogMatches, LogSearchQuery, Match
from stoker_shared.rpc.metrics import CappedBy, Lines, LinesNotKept, LinesQuery

SEARCH_FOR = timedelta(seconds=2)
"""How long one answer searches; whoever asked goes on from there."""

_SEARCH_PAGE = 5_000


class LineReader:
    """Answers `lines` and `search`."""

    def __init__(
        self,
        database: Database,
        store: ObjectStore,
        *,
        attempts: Attempts,
        stopwatch: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._attempts = attempts
        self._stopwatch = stopwatch
        self._kept = KeptRepository()
        self._pages = LinePages(database, store)

    async def lines(self, query: LinesQuery) -> Lines:
        """Lines of one attempt in order. No attempt yet: attempt 0, no lines. An empty page is the end.

        Raises:
            NotFound: the job is somebody else's.
            ServiceUnavailable: database or store are away.
        """
        kept = await self._kept_of(query.job_id, query.attempt, owner=query.owner)
        if kept is None:
            return Lines(attempt=query.attempt or 0, lines=[])
        after = query.after_sequence
        if query.newest is not None:
            after = max(after, before_the_last(kept, query.newest))
        page = await self._pages.page(kept, after=after, limit=query.limit)
        return Lines(attempt=kept.attempt, lines=fitting(page), not_kept=_not_kept(kept))

    async def search(self, query: LogSearchQuery) -> LogMatches:
        """Lines that match, as many as are found in two seconds.

        Raises:
            NotFound: the job is somebody else's.
            PatternRefused: the expression is wrong, or takes too long on one line.
            ServiceUnavailable: database or store are away.
        """
        pattern = pattern_of(query)
        kept = await self._kept_of(query.job_id, query.attempt, owner=query.owner)
        if kept is None:
            return LogMatches(attempt=query.attempt or 0, matches=[], searched_to=query.after_sequence, is_end=True)
        end = self._stopwatch() + SEARCH_FOR.total_seconds()
        found: list[Match] = []
        searched_to = query.after_sequence
        while page := await self._pages.page(kept, after=searched_to, limit=_SEARCH_PAGE):
            look = partial(
                matches_in, page, pattern, limit=query.limit - len(found), is_over=lambda: self._stopwatch() >= end
            )
            more, searched_to = await to_thread.run_sync(look)
            found += more
            if len(found) >= query.limit or self._stopwatch() >= end or _size(found) > MAX_PAGE_BYTES // 2:
                return _answer(kept.attempt, found, searched_to, is_end=False)
        return _answer(kept.attempt, found, searched_to, is_end=True)

    async def _kept_of(self, job_id: str, attempt: int | None, *, owner: str) -> KeptAttempt | None:
        await self._attempts.check_owner(job_id=job_id, owner=owner)
        async with self._database.transaction() as session:
            return await self._kept.with_lines(session, job_id=job_id, attempt=attempt)


def _size(found: list[Match]) -> int:
    return sum(len(match.line.text) for match in found)


def _answer(attempt: int, found: list[Match], searched_to: int, *, is_end: bool) -> LogMatches:
    told = fitting(found)
    if len(told) < len(found):  # the rest is found again by the next question
        return LogMatches(attempt=attempt, matches=told, searched_to=told[-1].line.sequence, is_end=False)
    return LogMatches(attempt=attempt, matches=told, searched_to=searched_to, is_end=is_end)


def _not_kept(kept: KeptAttempt) -> LinesNotKept | None:
    over = kept.lines_seen - kept.lines_allowed
    if over <= 0 or kept.lines_capped_by is None:
        return None
    return LinesNotKept(after_sequence=kept.lines_allowed, lines=over, capped_by=cast(CappedBy, kept.lines_capped_by))
