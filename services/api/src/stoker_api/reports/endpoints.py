"""What a job's machine reported: asked of the metrics service and the deployer."""

from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from fastapi.responses import StreamingResponse

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.paths import JobPath
from stoker_api.questions import HIGHEST, MOST_ATTEMPTS, After, Attempt
from stoker_api.reports.logs import MOST_LINES, SearchWanted, whole_log
from stoker_api.responses import NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_shared.rpc.alerts import ALERTS, MOST_ALERTS, Alerts, AlertsQuery
from stoker_shared.rpc.deployer import LOGS, MachineLogs, MachineLogsQuery
from stoker_shared.rpc.log_search import LOG_SEARCH, LogMatches
from stoker_shared.rpc.metrics import LINES, MOST_STEPS, POINTS, Lines, LinesQuery, Points, PointsQuery

router = APIRouter(prefix="/v1/jobs", tags=["reports"], responses={**UNAUTHORISED, **NOT_FOUND, **UNAVAILABLE})

Step = Annotated[int, Query(ge=0, le=MOST_STEPS)]
Limit = Annotated[int, Query(ge=1, le=10_000)]


class Range:
    """Which page of points or lines."""

    def __init__(self, attempt: Attempt = None, after: After = 0, limit: Limit = 1000) -> None:
        self.values: dict[str, Any] = {"attempt": attempt, "after_sequence": after, "limit": limit}


@router.get("/{job_id}/metrics", summary="Stored metrics")
async def get_metrics(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    wanted: Annotated[Range, Depends()],
    first_step: Step = 0,
    last_step: Step = MOST_STEPS,
) -> Points:
    """Points in order, every one. Ask on with `after` set to the last sequence. For a chart: `/v1/jobs/{id}/chart`."""
    await parts.jobs.get(account.user_id, job_id)
    steps = {"first_step": first_step, "last_step": last_step}
    question = PointsQuery(owner=account.user_id, job_id=job_id, **wanted.values, **steps)
    return await parts.rpc.ask(POINTS, question)


@router.get("/{job_id}/logs", summary="Stored log lines")
async def get_logs(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    wanted: Annotated[Range, Depends()],
    tail: Annotated[int | None, Query(ge=1, le=10_000, description="Begin so many lines before the end")] = None,
) -> Lines:
    """Lines in order, until a page is empty. Ask on with `after` set to the last sequence. `not_kept`: over the cap."""
    await parts.jobs.get(account.user_id, job_id)
    question = LinesQuery(owner=account.user_id, job_id=job_id, **wanted.values, newest=tail)
    return await parts.rpc.ask(LINES, question)


@router.get("/{job_id}/logs/search", summary="Search the log")
async def search_logs(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    wanted: Annotated[SearchWanted, Depends()],
) -> LogMatches:
    """Lines that contain a text or match an expression, and where.

    One answer takes two seconds at most: ask on with `after` set to `searched_to` until `is_end`.
    """
    await parts.jobs.get(account.user_id, job_id)
    return await parts.rpc.ask(LOG_SEARCH, wanted.query(account.user_id, job_id))


@router.get(
    "/{job_id}/logs/download",
    summary="Download the log",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/plain": {}}, "description": "The lines, one after the other"}},
)
async def download_logs(
    job_id: JobPath, account: CurrentAccount, parts: PartsOfRequest, attempt: Attempt = None
) -> StreamingResponse:
    """The whole log as text, as it stands now. A log that is capped says so at its end."""
    await parts.jobs.get(account.user_id, job_id)
    question = LinesQuery(owner=account.user_id, job_id=job_id, attempt=attempt, limit=MOST_LINES)
    # The first page before the first byte: what is refused is answered as an error.
    first = await parts.rpc.ask(LINES, question)
    name = f"{job_id}-{first.attempt}.log"
    return StreamingResponse(
        whole_log(parts.rpc, question, first),
        media_type="text/plain; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )


@router.get("/{job_id}/alerts", summary="Alerts")
async def get_alerts(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    after_attempt: Annotated[
        int, Query(ge=0, le=MOST_ATTEMPTS, description="With `after`: those after this place")
    ] = 0,
    after: After = 0,
    limit: Annotated[int, Query(ge=1, le=MOST_ALERTS)] = 100,
) -> Alerts:
    """What the job's pods raised for a person to know, in order of attempt and sequence, until a page is empty.

    Ask on with attempt and sequence of the last one. `capped`: levels of which no more are kept.
    """
    await parts.jobs.get(account.user_id, job_id)
    place = {"after_attempt": after_attempt, "after_sequence": after}
    return await parts.rpc.ask(ALERTS, AlertsQuery(owner=account.user_id, job_id=job_id, **place, limit=limit))


@router.get("/{job_id}/machine-logs", summary="Raw output of the machine")
async def get_machine_logs(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    attempt: Attempt = None,
    offset: Annotated[int, Query(ge=0, le=HIGHEST, description="Byte to begin at")] = 0,
) -> MachineLogs:
    """What the provider itself kept of the machine's output. Ask on with `offset` set to `next_offset`."""
    await parts.jobs.get(account.user_id, job_id)
    question = MachineLogsQuery(owner=account.user_id, job_id=job_id, attempt=attempt, offset=offset)
    return await parts.rpc.ask(LOGS, question)
