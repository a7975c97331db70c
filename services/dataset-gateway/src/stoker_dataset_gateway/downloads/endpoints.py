"""GET and HEAD of a file behind a token: datasets for pods, artifacts for users."""

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from stoker_dataset_gateway.downloads.conditions import is_compressible, is_range_valid, verdict, wants_gzip
from stoker_dataset_gateway.downloads.headers import MEDIA_TYPE, common_headers, disposition, gzipped, partial, whole
from stoker_dataset_gateway.downloads.ranges import ByteRange, wanted_ranges
from stoker_dataset_gateway.downloads.response import FileStream, GzipStream
from stoker_dataset_gateway.downloads.service import DownloadService, ServedFile
from stoker_dataset_gateway.errors import PreconditionFailed, RangeUnsatisfiable
from stoker_shared.web.problems import Problem, problem_response

PATHS = {"dataset": "/v1/datasets/download", "artifact": "/v1/artifacts/download"}

_BYTES = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {**_BYTES, "description": "The whole file"},
    206: {
        "content": {**_BYTES["content"], "multipart/byteranges": {"schema": {"type": "string", "format": "binary"}}},
        "description": "The range, or several",
    },
    304: {"description": "The client has this very file (If-None-Match)"},
    307: {"description": "Fetch it from the store itself; the address works for some minutes"},
    **{
        status: {"model": Problem, "description": text}
        for status, text in {
            400: "No token",
            401: "The token is unknown, expired or revoked",
            404: "The bytes are gone",
            412: "Another file than If-Match demands",
            416: "No such range",
            429: "Too often, too many at once, or too many refused tokens from this address; see Retry-After",
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
            responses=ANSWERS,
            summary=f"Fetch the {kind} that the token was minted for, whole or in ranges",
        )
        router.add_api_route(
            path, _endpoint(service, kind), methods=["HEAD"], operation_id=f"look_at_{kind}", include_in_schema=False
        )
    return router


def _endpoint(service: DownloadService, kind: str) -> Any:
    async def download(request: Request, token: Annotated[str, Query()] = "") -> Response:
        return await answer_download(request, service, await service.admit(token, kind=kind))

    return download


async def answer_download(request: Request, service: DownloadService, file: ServedFile) -> Response:
    """The file, or what of it the request's headers ask for.

    Raises:
        PreconditionFailed; ObjectMissing, StoreUnavailable: before a byte is sent.
    """
    is_packed = _is_packed(request, file)
    etag = file.validators.gzip_etag if is_packed else file.validators.etag
    match verdict(request.headers, file.validators):
        case "failed":
            raise PreconditionFailed
        case "not_modified":
            return Response(status_code=304, headers=common_headers(file, etag=etag))
    if request.method == "HEAD":
        await service.ensure_there(file)
        return _without_body(gzipped(file) if is_packed else whole(file)[0])
    if service.is_redirecting:
        return _redirect(service, file)
    try:
        parts = _wanted_parts(request, file)
    except RangeUnsatisfiable as error:
        response = problem_response(error)
        response.headers["Content-Range"] = f"bytes */{error.size_bytes}"
        return response
    return _stream(service, file, parts, is_packed=is_packed)


def _is_packed(request: Request, file: ServedFile) -> bool:
    return (
        is_compressible(file.filename, file.size_bytes)
        and wants_gzip(request.headers.get("accept-encoding"))
        and "range" not in request.headers  # ranges count the bytes of the file as it is
        and request.scope["http_version"] != "1.0"  # which knows no end but the promised length
    )


def _wanted_parts(request: Request, file: ServedFile) -> list[ByteRange] | None:
    if not is_range_valid(request.headers.get("if-range"), file.validators):
        return None
    return wanted_ranges(request.headers.get("range"), size_bytes=file.size_bytes)


def _stream(
    service: DownloadService, file: ServedFile, parts: list[ByteRange] | None, *, is_packed: bool
) -> FileStream:
    if is_packed:
        return GzipStream(service, file, status_code=200, headers=gzipped(file), segments=())
    headers, segments = whole(file) if parts is None else partial(file, parts)
    return FileStream(service, file, status_code=200 if parts is None else 206, headers=headers, segments=segments)


def _redirect(service: DownloadService, file: ServedFile) -> Response:
    service.count_use(file)
    address = service.address_at_store(file, disposition=disposition(file.filename), media_type=MEDIA_TYPE)
    return RedirectResponse(address, status_code=307, headers={"Cache-Control": "no-store"})


def _without_body(headers: dict[str, str]) -> Response:
    response = Response()
    response.raw_headers = [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()]
    return response
