"""PUT /v1/uploads/{upload_id}: the bytes of a dataset."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse

from stoker_dataset_gateway.errors import AlreadyStored, DatasetRejected
from stoker_dataset_gateway.objects.incoming import announced_length, incoming_blocks
from stoker_dataset_gateway.uploads.service import UploadService
from stoker_shared.rpc.dataset_gateway import DatasetFacts
from stoker_shared.web import bearer_token
from stoker_shared.web.problems import PROBLEM_MEDIA_TYPE, problem_of

BINARY_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}


def upload_routes(service: UploadService, *, max_upload_bytes: int, idle_timeout: timedelta) -> APIRouter:
    """The routes by which datasets come in."""
    router = APIRouter(tags=["uploads"])

    @router.put(
        "/v1/uploads/{upload_id}",
        status_code=201,
        response_model=DatasetFacts,
        openapi_extra=BINARY_BODY,
        summary="Send the bytes of a dataset",
    )
    async def receive(request: Request, upload_id: Annotated[str, Path(max_length=64)]) -> Any:
        """Bearer: the upload token. The whole file is checked while it streams in.

        201: stored. 422 with `facts`: rows have faults, or `checksum_mismatch`. 409: stored already (with `facts`),
        or being sent by somebody else. 413, 503 and 507: nothing stored, the same upload can be sent again.
        """
        token = bearer_token(request)
        announced = announced_length(request, limit_bytes=max_upload_bytes)
        blocks = incoming_blocks(request, limit_bytes=max_upload_bytes, idle_timeout=idle_timeout)
        try:
            return await service.receive(upload_id, token=token, announced_bytes=announced, blocks=blocks)
        except (DatasetRejected, AlreadyStored) as error:
            return _problem_with_facts(error)

    return router


def _problem_with_facts(error: DatasetRejected | AlreadyStored) -> JSONResponse:
    content = {**problem_of(error).model_dump(), "facts": error.facts.model_dump(mode="json")}
    return JSONResponse(content, status_code=error.status, media_type=PROBLEM_MEDIA_TYPE)
