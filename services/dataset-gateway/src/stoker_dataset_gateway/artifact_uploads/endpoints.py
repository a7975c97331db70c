"""A trainer brings a large file in parts: begin, parts in any order, complete."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from stoker_dataset_gateway.artifact_uploads.completing import UploadCompleter
from stoker_dataset_gateway.artifact_uploads.schemas import BeginUpload, PartStored, UploadBegun, UploadChecked
from stoker_dataset_gateway.artifact_uploads.service import ArtifactUploadService, IncomingPart, part_bytes_for
from stoker_dataset_gateway.artifacts.endpoints import announced_checksum
from stoker_dataset_gateway.errors import PartsMissing, WholeDiffers
from stoker_dataset_gateway.objects.incoming import announced_length, incoming_blocks
from stoker_dataset_gateway.uploads.endpoints import BINARY_BODY
from stoker_shared.rpc.dataset_gateway import ArtifactFacts
from stoker_shared.web import bearer_token
from stoker_shared.web.problems import PROBLEM_MEDIA_TYPE, Problem, problem_of

ASK_AGAIN_SECONDS = 1
_PATH = "/v1/jobs/{job_id}/artifacts/uploads"

UploadId = Annotated[str, Path(max_length=64)]


class PartsProblem(Problem):
    """A problem that names parts by their numbers."""

    parts: list[int]


def artifact_upload_routes(
    service: ArtifactUploadService, completer: UploadCompleter, *, max_artifact_bytes: int, idle_timeout: timedelta
) -> APIRouter:
    """The routes by which large results come in. Add them before those that take any name of an artifact."""
    router = APIRouter(tags=["artifacts"])
    _add_begin(router, service)
    _add_put_part(router, service, max_part_bytes=part_bytes_for(max_artifact_bytes), idle_timeout=idle_timeout)
    _add_complete(router, completer)
    return router


def _add_begin(router: APIRouter, service: ArtifactUploadService) -> None:
    @router.post(_PATH, response_model=UploadBegun, summary="Begin, or go on with, an upload by parts")
    async def begin(request: Request, job_id: str, wanted: BeginUpload) -> UploadBegun:
        """Bearer: the job token. The same file again is the same upload, with the parts that it has.

        413: the file is too large. 507: the job's artifacts together would be. Nobody's parts for a day: it is over.
        """
        return await service.begin(wanted, job_id=job_id, token=bearer_token(request))


def _add_put_part(
    router: APIRouter, service: ArtifactUploadService, *, max_part_bytes: int, idle_timeout: timedelta
) -> None:
    @router.put(
        _PATH + "/{upload_id}/parts/{number}",
        response_model=PartStored,
        openapi_extra=BINARY_BODY,
        summary="Store one part",
    )
    async def put_part(
        request: Request, job_id: str, upload_id: UploadId, number: Annotated[int, Path(ge=1, le=2**31 - 1)]
    ) -> PartStored:
        """Bearer: the job token. `X-Content-SHA256` is the SHA-256 of this part. Any order, several at once, again.

        404: begin anew. 408: it came too slowly. 422: number, length or checksum. 503, 507: send it again later.
        """
        token = bearer_token(request)
        part = IncomingPart(
            job_id=job_id,
            upload_id=upload_id,
            number=number,
            sha256=announced_checksum(request),
            length=announced_length(request, limit_bytes=max_part_bytes),
        )
        blocks = incoming_blocks(request, limit_bytes=max_part_bytes, idle_timeout=idle_timeout)
        return await service.put_part(part, token=token, blocks=blocks)


def _add_complete(router: APIRouter, completer: UploadCompleter) -> None:
    @router.post(
        _PATH + "/{upload_id}/complete",
        status_code=201,
        response_model=ArtifactFacts,
        responses={
            200: {"model": ArtifactFacts, "description": "It is stored already"},
            202: {"model": UploadChecked, "description": "It is being read back; ask again after `Retry-After`"},
            409: {"model": PartsProblem, "description": "Parts are missing"},
            422: {"model": PartsProblem, "description": "The whole differs; begin anew"},
        },
        summary="Make the parts one artifact",
    )
    async def complete(request: Request, job_id: str, upload_id: UploadId) -> Any:
        """Bearer: the job token. The whole is read back and its SHA-256 compared before it is listed.

        Ask again whenever no answer came. 409 and 422 name `parts`. 404: begin anew.
        """
        try:
            answer = await completer.complete(upload_id, job_id=job_id, token=bearer_token(request))
        except (PartsMissing, WholeDiffers) as error:
            content = {**problem_of(error).model_dump(), "parts": error.parts}
            return JSONResponse(content, status_code=error.status, media_type=PROBLEM_MEDIA_TYPE)
        if isinstance(answer, UploadChecked):
            headers = {"Retry-After": str(ASK_AGAIN_SECONDS)}
            return JSONResponse(answer.model_dump(mode="json"), status_code=202, headers=headers)
        facts, is_new = answer
        return JSONResponse(facts.model_dump(mode="json"), status_code=201 if is_new else 200)
