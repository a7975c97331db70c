"""`/v1/charts` and `/v1/jobs/{job_id}/chart`: metrics of any length in an answer of bounded size."""

import gzip
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Request, Response

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.paths import JobPath, job_in_path
from stoker_api.questions import Attempt
from stoker_api.responses import NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_shared.rpc.metrics import MOST_STEPS
from stoker_shared.rpc.series import (
    CHART,
    LATEST,
    MOST_CHART_POINTS,
    MOST_METRICS,
    MOST_RUNS,
    Chart,
    ChartQuery,
    Latest,
    LatestQuery,
    Run,
)

router = APIRouter(prefix="/v1", tags=["charts"], responses={**UNAUTHORISED, **NOT_FOUND, **UNAVAILABLE})

# Smaller ones are not worth the time.
_GZIP_FROM_BYTES = 2_000
_GZIP_LEVEL = 1


class Wanted:
    """What a chart shows."""

    def __init__(
        self,
        metric: Annotated[
            list[str] | None, Query(max_length=MOST_METRICS, description="All, unless some are named")
        ] = None,
        first_step: Annotated[int, Query(ge=0, le=MOST_STEPS)] = 0,
        last_step: Annotated[int, Query(ge=0, le=MOST_STEPS)] = MOST_STEPS,
        most_points: Annotated[
            int,
            Query(ge=10, le=MOST_CHART_POINTS, description="Of each line, at most; fewer if there are many lines"),
        ] = 1000,
    ) -> None:
        self.metrics = metric or []
        self.first_step = first_step
        self.last_step = last_step
        self.most_points = most_points

    def query(self, owner: str, runs: list[Run]) -> ChartQuery:
        """As the metrics service is asked."""
        return ChartQuery(owner=owner, runs=runs, **vars(self))


def runs_in_query(
    job_id: Annotated[list[str], Query(min_length=1, max_length=MOST_RUNS, description="Their latest attempts")],
) -> list[Run]:
    """The runs that are asked for.

    Raises:
        NotFound: one is no job's id.
    """
    return [Run(job_id=job_in_path(identifier)) for identifier in job_id]


Runs = Annotated[list[Run], Depends(runs_in_query)]


@router.get("/jobs/{job_id}/chart", summary="Chart of a job", response_model=Chart)
async def get_chart(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    request: Request,
    wanted: Annotated[Wanted, Depends()],
    attempt: Attempt = None,
) -> Response:
    """The metrics of a run, from the finest level that has no more points than wanted. Each says which level it is."""
    await parts.jobs.get(account.user_id, job_id)
    query = wanted.query(account.user_id, [Run(job_id=job_id, attempt=attempt)])
    return _answer(request, await parts.rpc.ask(CHART, query))


@router.get("/charts", summary="Chart of several jobs", response_model=Chart)
async def get_charts(
    runs: Runs, account: CurrentAccount, parts: PartsOfRequest, request: Request, wanted: Annotated[Wanted, Depends()]
) -> Response:
    """Several runs side by side, in the order in which they are named."""
    for run in runs:
        await parts.jobs.get(account.user_id, run.job_id)
    return _answer(request, await parts.rpc.ask(CHART, wanted.query(account.user_id, runs)))


@router.get("/charts/latest", summary="Latest values of several jobs")
async def get_latest(runs: Runs, account: CurrentAccount, parts: PartsOfRequest) -> Latest:
    """The newest value of each metric, in the order in which the jobs are named."""
    for run in runs:
        await parts.jobs.get(account.user_id, run.job_id)
    return await parts.rpc.ask(LATEST, LatestQuery(owner=account.user_id, runs=runs))


def _answer(request: Request, chart: Chart) -> Response:
    # Written here and not by the framework, which would check all of it once more.
    body = chart.model_dump_json().encode()
    headers = {"Vary": "Accept-Encoding"}
    if len(body) >= _GZIP_FROM_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        body = gzip.compress(body, _GZIP_LEVEL)
        headers["Content-Encoding"] = "gzip"
    return Response(body, media_type="application/json", headers=headers)
