"""A pod asks how far earlier attempts of its job have got, and fetches what it needs to go on from there."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request, Response

from stoker_dataset_gateway.checkpoints.schemas import CheckpointFacts
from stoker_dataset_gateway.checkpoints.service import CheckpointService
from stoker_dataset_gateway.downloads.endpoints import ANSWERS, answer_download
from stoker_dataset_gateway.downloads.service import DownloadService
from stoker_shared.web import bearer_token
from stoker_shared.web.problems import Problem

_REFUSALS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The job token is unknown, expired or revoked"},
    403: {"model": Problem, "description": "The token of another job"},
    404: {"model": Problem, "description": "The job has no such whole checkpoint"},
    429: {"model": Problem, "description": "Too many refused tokens from this address; see Retry-After"},
}
JobId = Annotated[str, Path(max_length=64)]
# What PostgreSQL takes as a number of an attempt; no step has more digits in a name.
Attempt = Annotated[int, Path(ge=1, le=2**31 - 1)]
Step = Annotated[int, Path(ge=0, lt=10**18)]


def checkpoint_routes(service: CheckpointService, downloads: DownloadService) -> APIRouter:
    """The routes by which checkpoints go out."""
    router = APIRouter(tags=["checkpoints"])

    @router.get(
        "/v1/jobs/{job_id}/checkpoints/latest",
        responses=_REFUSALS,
        summary="The newest whole checkpoint of the job",
    )
    async def latest(
        request: Request, response: Response, job_id: JobId, skip: Annotated[int, Query(ge=0, le=1000)] = 0
    ) -> CheckpointFacts:
        """Bearer: the job token of any live attempt. `skip`: the checkpoint before so many newer ones.

        Whole means that its `complete.json` is stored, which a trainer sends last.
        """
        response.headers["Cache-Control"] = "no-store"
        return await service.latest(bearer_token(request), job_id=job_id, skip=skip)

    @router.get(
        "/v1/jobs/{job_id}/checkpoints/{attempt}/{step}/{name:path}",
        response_class=Response,
        responses={status: answer for status, answer in ANSWERS.items() if status != 400} | _REFUSALS,
        summary="Fetch a file of a checkpoint, whole or in ranges",
    )
    async def fetch(request: Request, job_id: JobId, attempt: Attempt, step: Step, name: str) -> Response:
        """Bearer: the job token of any live attempt. Conditions and ranges work as for datasets."""
        file = await service.file(bearer_token(request), job_id=job_id, attempt=attempt, step=step, name=name)
        downloads.limits.count_request(file.token_hash)
        return await answer_download(request, downloads, file)

    return router
