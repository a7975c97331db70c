"""What a job's machine has reported: metrics, charts, log lines, alerts."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import httpx

from stoker.client.calls import Calls, segment
from stoker.client.errors import ConnectionLost
from stoker.client.http import send, shown
from stoker_shared.rpc.alerts import MOST_ALERTS, Alerts
from stoker_shared.rpc.log_search import MOST_MATCHES, LogMatches, Match
from stoker_shared.rpc.metrics import AlertFacts, Line, Lines, LinesNotKept, Point, Points
from stoker_shared.rpc.series import Chart, Latest, RunLatest


class ReadingCalls(Calls):
    """A part of `stoker.client.Client`."""

    def metrics(self, job_id: str) -> list[Point]:
        """The stored points of the latest attempt that has any."""
        return list(self._pages(Points, f"/v1/jobs/{segment(job_id)}/metrics", "points"))

    def logs(self, job_id: str) -> Iterator[Line]:
        """The stored log lines of the latest attempt that has any, in order."""
        return self._pages(Lines, f"/v1/jobs/{segment(job_id)}/logs", "lines")

    def log_tail(self, job_id: str, count: int) -> Iterator[Line]:
        """The last lines of the latest attempt that has any, in order."""
        return self._pages(Lines, f"/v1/jobs/{segment(job_id)}/logs", "lines", tail=count)

    def log_cap(self, job_id: str) -> LinesNotKept | None:
        """Where the log is capped, if it is."""
        path = f"/v1/jobs/{segment(job_id)}/logs"
        return self._get(Lines, path, params={"limit": 1, "tail": 1}).not_kept

    def alerts(self, job_id: str) -> Alerts:
        """All that the pods of a job raised for a person to know, in order, and of which levels no more is kept."""
        found: list[AlertFacts] = []
        while True:
            place = {"after_attempt": found[-1].attempt, "after": found[-1].sequence} if found else {}
            page = self._get(Alerts, f"/v1/jobs/{segment(job_id)}/alerts", params={**place, "limit": MOST_ALERTS})
            if not page.alerts:
                return Alerts(alerts=found, capped=page.capped)
            found += page.alerts

    def search_logs(self, job_id: str, pattern: str, *, is_expression: bool = False) -> Iterator[Match]:
        """Lines that contain a text, or match a regular expression, in order; upper and lower case are the same."""
        wanted = {"q": pattern, "expression": is_expression, "limit": MOST_MATCHES}
        after, is_end = 0, False
        while not is_end:
            path = f"/v1/jobs/{segment(job_id)}/logs/search"
            page = self._get(LogMatches, path, params={**wanted, "after": after})
            yield from page.matches
            after, is_end = page.searched_to, page.is_end

    def download_logs(self, job_id: str, to: str | Path) -> Path:
        """The whole log of the latest attempt as a file of text. Nothing is left of one that breaks off."""
        target = Path(to)
        part = target.with_name(f"{target.name}.part")
        path = f"/v1/jobs/{segment(job_id)}/logs/download"

        def fetch() -> None:
            response = send(self._http, self._http.build_request("GET", path), stream=True)
            try:
                with part.open("wb") as file:
                    for block in response.iter_bytes():
                        file.write(block)
            except httpx.TransportError as error:
                raise ConnectionLost(shown(response.request.url), str(error) or type(error).__name__) from error
            finally:
                response.close()

        try:
            self._retry.run(fetch)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)
        return target

    def chart(self, *job_ids: str, metrics: Sequence[str] = (), most_points: int = 1000) -> Chart:
        """Metrics of runs of any length, side by side, down-sampled to so many points at most."""
        wanted = {"job_id": [segment(job_id) for job_id in job_ids], "metric": list(metrics)}
        return self._get(Chart, "/v1/charts", params={**wanted, "most_points": most_points})

    def latest_metrics(self, *job_ids: str) -> list[RunLatest]:
        """The newest value of each metric of jobs, in their order."""
        wanted = {"job_id": [segment(job_id) for job_id in job_ids]}
        return self._get(Latest, "/v1/charts/latest", params=wanted).runs
