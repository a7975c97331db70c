"""Following a job: the api's event stream, joined again when it breaks, with nothing lost or told twice.

Job events are replayed by the server after `Last-Event-ID`. Points and log lines are live only, so what a break of the
stream lost is fetched by GET; the sequence numbers tell what is missing.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import timedelta

import httpx
from httpx_sse import EventSource, SSEError

from stoker.client.errors import AnswerNotUnderstood, ConnectionLost, ServerBusy
from stoker.client.http import parsed, send, shown
from stoker.client.news import Entries, JobChanged, JobNews, LogWritten, MetricsReported, read_news
from stoker.client.sequences import Seen
from stoker_shared.rpc.metrics import Lines, Points

PING_TIMEOUT = httpx.Timeout(60.0, connect=5.0)
"""The server sends a comment every 15 s or so; a minute of silence is a dead connection."""

FIRST_PAUSE, LONGEST_PAUSE = 0.3, 5.0
LOOK_EVERY = 2.0
LAST_LOOKS, LAST_LOOK_PAUSE = 6, 0.5
PAGE = 1000

DROPPED = "dropped"
"""What the server says when it had to leave out points or lines because this client was too slow."""


@dataclass(slots=True)
class Follower:
    """One listener of one job. `give_up_after` is how long the server may be away."""

    http: httpx.Client
    job_id: str
    give_up_after: timedelta = timedelta(minutes=5)
    sleep: Callable[[float], None] = time.sleep
    monotonic: Callable[[], float] = time.monotonic
    _seen: Seen = field(default_factory=Seen)
    _job_sequence: int = 0
    _looked_at: float = float("-inf")
    _is_over: bool = False

    def news(self) -> Iterator[JobNews]:
        """Everything about the job from its beginning; ends with the event that ends the job.

        Raises:
            ConnectionLost: the server was away for longer than `give_up_after`.
            NotFound: no such job.
        """
        away_since, pause = self.monotonic(), FIRST_PAUSE
        while True:
            try:
                for item in self._one_stream():
                    yield item
                    away_since, pause = self.monotonic(), FIRST_PAUSE
                    self._is_over = isinstance(item, JobChanged) and item.job.is_over
                    if self._is_over:
                        return
            except (ConnectionLost, ServerBusy):
                if self.monotonic() - away_since > self.give_up_after.total_seconds():
                    raise
            if self._is_over:
                return
            self.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE)

    def _one_stream(self) -> Iterator[JobNews]:
        headers = {"Accept": "text/event-stream", "Cache-Control": "no-store"}
        if self._job_sequence:
            headers["Last-Event-ID"] = str(self._job_sequence)
        request = self.http.build_request("GET", self._path("events"), headers=headers, timeout=PING_TIMEOUT)
        with closing(send(self.http, request, stream=True)) as response:
            if response.status_code == httpx.codes.NO_CONTENT:
                yield from self._last_looks()
                self._is_over = True
                return
            # Not earlier: what is told between this look and the beginning of the stream would be missed.
            yield from self._missed()
            try:
                for event in EventSource(response).iter_sse():
                    if event.event == DROPPED:
                        yield from self._missed()
                    item = read_news(event)
                    if item is not None:
                        yield from self._told_once(item)
            except SSEError as error:  # first: it is a TransportError, too
                raise AnswerNotUnderstood(shown(request.url), str(error)) from error
            except httpx.TransportError as error:
                raise ConnectionLost(shown(request.url), str(error) or type(error).__name__) from error

    def _told_once(self, item: JobNews) -> Iterator[JobNews]:
        if isinstance(item, JobChanged):
            yield from self._job_changed(item)
        elif isinstance(item, MetricsReported | LogWritten):
            if self._seen.would_leave_gap(item) and self.monotonic() - self._looked_at >= LOOK_EVERY:
                yield from self._missed()
            yield from self._fresh(item)
        else:
            yield item

    def _job_changed(self, item: JobChanged) -> Iterator[JobNews]:
        if item.sequence <= self._job_sequence:
            return
        if item.job.is_over:
            yield from self._last_looks()
        self._job_sequence = item.sequence
        yield item

    def _last_looks(self) -> Iterator[JobNews]:
        for look in range(LAST_LOOKS):
            yield from self._missed()
            if not self._seen.has_gap or look == LAST_LOOKS - 1:
                return
            self.sleep(LAST_LOOK_PAUSE)

    def _missed(self) -> Iterator[JobNews]:
        self._looked_at = self.monotonic()
        yield from self._pages(self._points_after, after=self._seen.points.whole_until)
        yield from self._pages(self._lines_after, after=self._seen.lines.whole_until)

    def _pages(self, fetch: Callable[[int], Entries], *, after: int) -> Iterator[JobNews]:
        while True:
            page = fetch(after)
            if self._seen.enter(page.attempt) and after > 0:
                after = 0  # the numbers of the attempt before say nothing about this one
                continue
            yield from self._fresh(page)
            if not page.entries:  # a page that is merely short was cut by size
                return
            after = page.entries[-1].sequence

    def _fresh(self, item: Entries) -> Iterator[JobNews]:
        news = self._seen.fresh(item)
        if news is not None:
            yield news

    def _points_after(self, sequence: int) -> MetricsReported:
        page = parsed(Points, self._get("metrics", after=sequence))
        return MetricsReported(page.attempt, tuple(page.points))

    def _lines_after(self, sequence: int) -> LogWritten:
        page = parsed(Lines, self._get("logs", after=sequence))
        return LogWritten(page.attempt, tuple(page.lines))

    def _get(self, what: str, *, after: int) -> httpx.Response:
        request = self.http.build_request("GET", self._path(what), params={"after": after, "limit": PAGE})
        return send(self.http, request)

    def _path(self, what: str) -> str:
        return f"/v1/jobs/{self.job_id}/{what}"
