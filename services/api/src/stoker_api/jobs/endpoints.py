"""`/v1/jobs`."""

from typing import Annotated

from fastapi import APIRouter, Header, Query, Response

from stoker_api.dependencies import CurrentAccount, PartsOfRequest, PresentedKey
from stoker_api.jobs.schemas import Job, JobList, LaunchPlan
from stoker_api.paths import JobPath
from stoker_api.responses import CANNOT_LAUNCH, JOB_IS_OVER, NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_shared.job_state import JobStatus

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=UNAUTHORISED)

IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        description="A launch that is sent again under the same key finds the job that the first one made",
    ),
]


@router.post(
    "",
    status_code=201,
    summary="Launch a plan",
    responses={
        200: {"model": Job, "description": "This key has launched this job before"},
        **NOT_FOUND,
        **CANNOT_LAUNCH,
        **UNAVAILABLE,
    },
)
async def launch_plan(
    wanted: LaunchPlan,
    key_sha256: PresentedKey,
    parts: PartsOfRequest,
    response: Response,
    idempotency_key: IdempotencyKey = None,
) -> Job:
    """Launch what was approved under `plan_hash`. Without an `Idempotency-Key` every call is a new job."""
    launched = await parts.launches.launch(
        key_sha256,
        plan_id=wanted.plan_id,
        plan_hash=wanted.plan_hash,
        idempotency_key=idempotency_key,
        priority=wanted.priority,
    )
    if not launched.is_new:
        response.status_code = 200
    return launched.job


@router.get("", summary="List jobs")
async def list_jobs(
    account: CurrentAccount,
    parts: PartsOfRequest,
    status: JobStatus | None = None,
    before: Annotated[str | None, Query(max_length=64, description="Only jobs older than this one")] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 50,
) -> JobList:
    """Your jobs, newest first; those that wait with their place in the queue."""
    jobs = await parts.jobs.newest(account.user_id, status=status, before=before, limit=limit)
    return JobList(jobs=jobs)


@router.get("/{job_id}", summary="Get a job", responses=NOT_FOUND)
async def get_job(job_id: JobPath, account: CurrentAccount, parts: PartsOfRequest) -> Job:
    """Status, cost until now, reason and advice; the place in the queue, or the progress of an active job."""
    return await parts.jobs.get_in_full(account.user_id, job_id)


@router.post("/{job_id}/cancel", status_code=202, summary="Cancel a job", responses={**NOT_FOUND, **JOB_IS_OVER})
async def cancel_job(job_id: JobPath, account: CurrentAccount, parts: PartsOfRequest) -> Job:
    """Ask for the end of a job. It is `cancelled` when its machine is verified gone."""
    return await parts.jobs.cancel(account.user_id, job_id)
