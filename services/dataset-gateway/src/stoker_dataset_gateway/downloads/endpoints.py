"""GET and HEAD of a file behind a token: datasets for pods, artifacts for users."""

from functools import partial
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from stoker_dataset_gateway.downloads.ranges import ByteRange, wanted_range
from stoker_dataset_gateway.downloads.response import ObjectStream
from stoker_dataset_gateway.downloads.service import DownloadService, ServedFile
from stoker_dataset_gateway.errors import RangeUnsatisfiable
from stoker_shared.web.problems import Problem, problem_response

PATHS = {"dataset": "/v1/datasets/download", "artifact": "/v1/artifacts/download"}

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The whole file"},
    206: {"content": {"application/octet-stream": {}}, "description": "The range"},
    **{
        status: {"model": Problem, "description": text}
        for status, text in {
            400: "No token",
            401: "The token is unknown, expired or revoked",
            404: "The bytes are gone",
            416: "No such range",
            503: "The store is away; see Retry-After",
        }.items()
    },
}


def download_routes(service: DownloadService) -> APIRouter:
    """The routes by which files go out."""
    router = APIRouter(tags=["downloads"])
    for kind, path in PATHS.items():
        router.add_api_route(
            path,
            _endpoint(service, kind),
            methods=["GET"],
            operation_id=f"download_{kind}",
            response_class=Response,
            responses=_ANSWERS,
            summary=f"Fetch the {kind} that the token was minted for, whole or one range of it",
        )
        router.add_api_route(
            path, _endpoint(service, kind), methods=["HEAD"], operation_id=f"look_at_{kind}", include_in_schema=False
        )
    return router


def _endpoint(service: DownloadService, kind: str) -> Any:
    async def download(request: Request, token: Annotated[str, Query()] = "") -> Response:
        is_get = request.method == "GET"
        file = await service.admit(token, kind=kind, is_use=is_get)
        if not is_get:
            await service.ensure_there(file)
            return Response(headers=_headers(file, None), media_type="application/octet-stream")
        try:
            part = wanted_range(
                range_header=request.headers.get("range"),
                if_range=request.headers.get("if-range"),
                etag=file.etag,
                size_bytes=file.size_bytes,
            )
        except RangeUnsatisfiable as error:
            response = problem_response(error)
            response.headers["Content-Range"] = f"bytes */{error.size_bytes}"
            return response
        return await _stream(service, file, part)

    return download


async def _stream(service: DownloadService, file: ServedFile, part: ByteRange | None) -> ObjectStream:
    return ObjectStream(
        await service.open(file, part),
        length=part.length if part else file.size_bytes,
        status_code=206 if part else 200,
        headers=_headers(file, part),
        on_end=partial(service.count_bytes, file),
    )


def _headers(file: ServedFile, part: ByteRange | None) -> dict[str, str]:
    headers = {
        "Content-Length": str(part.length if part else file.size_bytes),
        "ETag": file.etag,
        "Accept-Ranges": "bytes",
        "Cache-Control": "no-store",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(file.filename, safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    if part is not None:
        headers["Content-Range"] = part.content_range(file.size_bytes)
    return headers
