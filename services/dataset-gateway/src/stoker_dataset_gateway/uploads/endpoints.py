"""/v1/uploads/{upload_id}: the bytes of a dataset, by tus 1.0 or with one PUT."""

from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request, Response
from fastapi.responses import JSONResponse

from stoker_dataset_gateway.errors import AlreadyStored, DatasetRejected
from stoker_dataset_gateway.objects.incoming import announced_length, incoming_blocks
from stoker_dataset_gateway.uploads import tus
from stoker_dataset_gateway.uploads.service import UploadService
from stoker_shared.rpc.dataset_gateway import DatasetFacts, UploadStatus
from stoker_shared.web import bearer_token
from stoker_shared.web.problems import PROBLEM_MEDIA_TYPE, problem_of

UPLOAD_PATH = "/v1/uploads/{upload_id}"
UploadPath = Annotated[str, Path(max_length=64)]


def binary_body(media_type: str = "application/octet-stream") -> dict[str, Any]:
    """What OpenAPI says of a body of bytes."""
    content = {media_type: {"schema": {"type": "string", "format": "binary"}}}
    return {"requestBody": {"required": True, "content": content}}


BINARY_BODY: dict[str, Any] = binary_body()


def upload_routes(service: UploadService, *, max_upload_bytes: int, idle_timeout: timedelta) -> APIRouter:
    """The routes by which datasets come in."""
    router = APIRouter(tags=["uploads"], route_class=tus.TusRoute)
    _asking(router, service, max_upload_bytes)
    _sending(router, service, max_upload_bytes, idle_timeout=idle_timeout)
    return router


def _asking(router: APIRouter, service: UploadService, max_upload_bytes: int) -> None:
    @router.options("/v1/uploads", status_code=204, summary="What this server can do")
    @router.options(UPLOAD_PATH, status_code=204, summary="What this server can do, asked at an upload")
    async def abilities() -> Response:
        """The version and extensions of tus, and the most bytes that an upload may have. Needs no token."""
        return Response(status_code=204, headers=tus.abilities(max_upload_bytes=max_upload_bytes))

    @router.head(UPLOAD_PATH, summary="Where an upload goes on")
    async def position(request: Request, upload_id: UploadPath) -> Response:
        """Bearer: the upload token. `Upload-Offset` bytes of `Upload-Length` are safe, until `Upload-Expires`.

        401: the token. 404, 410: there is no such upload, or not any more. 412: another version of tus.
        """
        tus.require_version(request)
        status = await service.look(upload_id, token=bearer_token(request))
        return Response(headers={**tus.headers_of(status), "Upload-Length": str(status.size_bytes)})

    @router.get(UPLOAD_PATH, response_model=UploadStatus, summary="How far an upload is")
    async def look(request: Request, upload_id: UploadPath, response: Response) -> UploadStatus:
        """Bearer: the upload token. `facts` and `problem` come with the verdict of the check.

        401: the token. 404, 410: there is no such upload, or not any more.
        """
        response.headers["Cache-Control"] = "no-store"
        return await service.look(upload_id, token=bearer_token(request))

    @router.delete(UPLOAD_PATH, status_code=204, summary="Give an upload up")
    async def give_up(request: Request, upload_id: UploadPath) -> Response:
        """Bearer: the upload token. Its bytes are deleted. 409: its version is stored or rejected already."""
        tus.require_version(request)
        await service.give_up(upload_id, token=bearer_token(request))
        return Response(status_code=204)


def _sending(router: APIRouter, service: UploadService, max_upload_bytes: int, *, idle_timeout: timedelta) -> None:
    @router.patch(
        UPLOAD_PATH, status_code=204, openapi_extra=binary_body(tus.BODY_TYPE), summary="Append bytes to an upload"
    )
    async def append(request: Request, upload_id: UploadPath) -> Response:
        """Bearer: the upload token. `Upload-Offset` says where the body begins; `Upload-Checksum` is optional.

        204: all of it is safe. With the last byte the check begins: `GET` tells how it ends. 409: not the offset where
        the upload goes on. 412: another version of tus. 413: more than was announced. 415: another content type.
        423: somebody else is sending. 460: the checksum of the body differs. 503, 507: `HEAD` tells what is safe.
        """
        tus.require_version(request)
        tus.require_body_type(request)
        status = await service.append(
            upload_id,
            token=bearer_token(request),
            offset=tus.offset_of(request),
            announced_bytes=announced_length(request, limit_bytes=max_upload_bytes),
            blocks=incoming_blocks(request, limit_bytes=max_upload_bytes, idle_timeout=idle_timeout),
            body_sha256=tus.body_sha256_of(request),
        )
        return Response(status_code=204, headers=tus.headers_of(status))

    @router.put(
        UPLOAD_PATH,
        status_code=201,
        response_model=DatasetFacts,
        openapi_extra=BINARY_BODY,
        summary="Send a whole dataset and wait for its check",
    )
    async def receive(request: Request, upload_id: UploadPath) -> Any:
        """Bearer: the upload token. Begins at the first byte, whatever has come before.

        201: stored. 422 with `facts`: rows have faults, or `checksum_mismatch`. 409: stored already (with `facts`).
        423: being sent by somebody else. 413, 503 and 507: nothing stored, the same upload can be sent again.
        """
        token = bearer_token(request)
        announced = announced_length(request, limit_bytes=max_upload_bytes)
        blocks = incoming_blocks(request, limit_bytes=max_upload_bytes, idle_timeout=idle_timeout)
        try:
            return await service.receive(upload_id, token=token, announced_bytes=announced, blocks=blocks)
        except (DatasetRejected, AlreadyStored) as error:
            return _problem_with_facts(error)


def _problem_with_facts(error: DatasetRejected | AlreadyStored) -> JSONResponse:
    content = {**problem_of(error).model_dump(), "facts": error.facts.model_dump(mode="json")}
    return JSONResponse(content, status_code=error.status, media_type=PROBLEM_MEDIA_TYPE)
