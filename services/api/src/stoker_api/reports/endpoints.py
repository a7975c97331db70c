"""What a job's machine reported: asked of the metrics service and the deployer."""

from typing import Annotated

from fastapi import APIRouter, Query

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.paths import JobPath
from stoker_api.responses import NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_shared.rpc.deployer import LOGS, MachineLogs, MachineLogsQuery
from stoker_shared.rpc.metrics import LINES, POINTS, Lines, LinesQuery, Points, PointsQuery

router = APIRouter(prefix="/v1/jobs", tags=["reports"], responses={**UNAUTHORISED, **NOT_FOUND, **UNAVAILABLE})

Attempt = Annotated[int | None, Query(ge=1, description="The latest that has any, unless given")]
After = Annotated[int, Query(ge=0, description="Only those with a higher sequence")]
Limit = Annotated[int, Query(ge=1, le=10_000)]


@router.get("/{job_id}/metrics", summary="Stored metrics")
async def get_metrics(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    attempt: Attempt = None,
    after: After = 0,
    limit: Limit = 1000,
) -> Points:
    """Points in order. Ask on with `after` set to the last sequence."""
    await parts.jobs.get(account.user_id, job_id)
    question = PointsQuery(owner=account.user_id, job_id=job_id, attempt=attempt, after_sequence=after, limit=limit)
    return await parts.rpc.ask(POINTS, question)


@router.get("/{job_id}/logs", summary="Stored log lines")
async def get_logs(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    attempt: Attempt = None,
    after: After = 0,
    limit: Limit = 1000,
) -> Lines:
    """Lines in order. Ask on with `after` set to the last sequence."""
    await parts.jobs.get(account.user_id, job_id)
    question = LinesQuery(owner=account.user_id, job_id=job_id, attempt=attempt, after_sequence=after, limit=limit)
    return await parts.rpc.ask(LINES, question)


@router.get("/{job_id}/machine-logs", summary="Raw output of the machine")
async def get_machine_logs(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    attempt: Attempt = None,
    offset: Annotated[int, Query(ge=0, description="Byte to begin at")] = 0,
) -> MachineLogs:
    """What the provider itself kept of the machine's output. Ask on with `offset` set to `next_offset`."""
    await parts.jobs.get(account.user_id, job_id)
    question = MachineLogsQuery(owner=account.user_id, job_id=job_id, attempt=attempt, offset=offset)
    return await parts.rpc.ask(LOGS, question)
