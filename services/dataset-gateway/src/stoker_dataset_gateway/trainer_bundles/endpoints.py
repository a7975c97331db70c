"""GET and HEAD /v1/trainer/{version}/{sha256}: a pod fetches the trainer that it was launched with."""

from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import FileResponse

from stoker_dataset_gateway.trainer_bundles.service import TrainerBundleService
from stoker_shared.web import bearer_token
from stoker_shared.web.problems import Problem

_ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {"content": {"application/octet-stream": {}}, "description": "The whole bundle, a wheel"},
    206: {"content": {"application/octet-stream": {}}, "description": "A range of it"},
    401: {"model": Problem, "description": "No job token, or one that is unknown, expired or revoked"},
    404: {"model": Problem, "description": "No bundle of this version and SHA-256"},
    416: {"description": "No such range"},
}


def trainer_bundle_routes(service: TrainerBundleService) -> APIRouter:
    """The route by which the trainer goes out."""
    router = APIRouter(tags=["trainer"])

    async def fetch(
        request: Request,
        version: Annotated[str, Path(max_length=64)],
        sha256: Annotated[str, Path(pattern=r"^[0-9a-f]{64}$")],
    ) -> FileResponse:
        """Bearer: the job token of any live attempt. Ranges and `If-Range` work; the ETag is the SHA-256."""
        bundle, path = await service.open(version=version, sha256=sha256, token=bearer_token(request))
        return FileResponse(
            path,
            media_type="application/octet-stream",
            filename=bundle.filename,
            headers={
                "ETag": f'"{bundle.sha256}"',
                "Cache-Control": "private, max-age=31536000, immutable",
                "X-Content-Type-Options": "nosniff",
            },
        )

    path = "/v1/trainer/{version}/{sha256}"
    router.add_api_route(
        path,
        fetch,
        methods=["GET"],
        response_class=FileResponse,
        responses=_ANSWERS,
        summary="Fetch the trainer's sources",
    )
    router.add_api_route(path, fetch, methods=["HEAD"], operation_id="look_at_trainer", include_in_schema=False)
    return router
