"""`/v1/jobs/{job_id}/diagnosis`, `/changes` and `/retry`."""

from typing import Annotated

from fastapi import APIRouter, Query, Response

from stoker_api.dependencies import CurrentAccount, PartsOfRequest, PresentedKey
from stoker_api.diagnosis.schemas import JobDiagnosis, Proposals, RetryJob
from stoker_api.jobs.schemas import Job
from stoker_api.paths import JobPath
from stoker_api.questions import MOST_ATTEMPTS
from stoker_api.responses import CANNOT_LAUNCH, JOB_NOT_DIAGNOSED, NOT_FOUND, UNAUTHORISED, UNAVAILABLE

router = APIRouter(prefix="/v1/jobs", tags=["diagnosis"], responses={**UNAUTHORISED, **NOT_FOUND, **UNAVAILABLE})

Attempt = Annotated[int | None, Query(ge=0, le=MOST_ATTEMPTS, description="The newest end, unless given")]


@router.get("/{job_id}/diagnosis", summary="Why a job failed")
async def get_diagnosis(
    job_id: JobPath, account: CurrentAccount, parts: PartsOfRequest, attempt: Attempt = None
) -> JobDiagnosis:
    """Ranked causes with evidence lines, confidence and advice. The first finding is the verdict."""
    return await parts.diagnosis.diagnosis(account.user_id, job_id, attempt=attempt)


@router.post("/{job_id}/changes", summary="Plan what would do better", responses=JOB_NOT_DIAGNOSED)
async def propose_changes(job_id: JobPath, account: CurrentAccount, parts: PartsOfRequest) -> Proposals:
    """Plans each change that the diagnosis suggests; those that fit and are priced are proposals."""
    return await parts.diagnosis.proposals(account.user_id, job_id)


@router.post(
    "/{job_id}/retry",
    status_code=201,
    summary="Launch a proposal",
    responses={200: {"model": Job, "description": "This proposal was launched before: its job"}, **CANNOT_LAUNCH},
)
async def retry_job(
    job_id: JobPath,
    wanted: RetryJob,
    account: CurrentAccount,
    key_sha256: PresentedKey,
    parts: PartsOfRequest,
    response: Response,
) -> Job:
    """Launch one of the proposals under its hash. Sent again, it finds the job that the first call made."""
    launched = await parts.diagnosis.retry(
        account.user_id,
        key_sha256,
        job_id,
        plan_id=wanted.plan_id,
        plan_hash=wanted.plan_hash,
        priority=wanted.priority,
    )
    if not launched.is_new:
        response.status_code = 200
    return launched.job
