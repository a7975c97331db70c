"""What jobs produced: asked of the dataset gateway."""

from typing import Annotated

from fastapi import APIRouter, Query

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.paths import ArtifactPath, JobPath
from stoker_api.questions import MOST_ATTEMPTS
from stoker_api.responses import NOT_FOUND, UNAUTHORISED, UNAVAILABLE
from stoker_shared.rpc.contract import Empty
from stoker_shared.rpc.dataset_gateway import (
    DELETE_ARTIFACT,
    LIST_ARTIFACTS,
    OPEN_ARTIFACT,
    ArtifactList,
    ArtifactOpened,
    DeleteArtifact,
    ListArtifacts,
    OpenArtifact,
)

router = APIRouter(prefix="/v1", tags=["artifacts"], responses={**UNAUTHORISED, **NOT_FOUND, **UNAVAILABLE})


@router.get("/jobs/{job_id}/artifacts", summary="List artifacts")
async def list_artifacts(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    attempt: Annotated[int | None, Query(ge=1, le=MOST_ATTEMPTS, description="All attempts, unless given")] = None,
) -> ArtifactList:
    """The files that a job has stored."""
    await parts.jobs.get(account.user_id, job_id)
    question = ListArtifacts(owner=account.user_id, job_id=job_id, attempt=attempt)
    return await parts.rpc.ask(LIST_ARTIFACTS, question)


@router.post("/artifacts/{artifact_id}/download", summary="Open an artifact for download")
async def open_artifact(artifact_id: ArtifactPath, account: CurrentAccount, parts: PartsOfRequest) -> ArtifactOpened:
    """A URL for this one file that works until `expires_at` without an API key."""
    return await parts.rpc.ask(OPEN_ARTIFACT, OpenArtifact(owner=account.user_id, artifact_id=artifact_id))


@router.delete(
    "/artifacts/{artifact_id}", summary="Delete an artifact", responses={200: {"description": "It is deleted"}}
)
async def delete_artifact(artifact_id: ArtifactPath, account: CurrentAccount, parts: PartsOfRequest) -> Empty:
    """Delete this one file for good. URLs that were given out for it open nothing any more."""
    return await parts.rpc.ask(DELETE_ARTIFACT, DeleteArtifact(owner=account.user_id, artifact_id=artifact_id))
