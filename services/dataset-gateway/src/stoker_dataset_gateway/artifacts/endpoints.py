"""A trainer brings a file in one request, and clears up after itself."""

import re
from datetime import timedelta
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from fastapi.responses import JSONResponse

from stoker_dataset_gateway.artifacts.schemas import CheckpointsPruned
from stoker_dataset_gateway.artifacts.service import ArtifactService, IncomingArtifact
from stoker_dataset_gateway.objects.incoming import announced_length, incoming_blocks
from stoker_dataset_gateway.uploads.endpoints import BINARY_BODY
from stoker_shared.errors import RequestInvalid
from stoker_shared.rpc.dataset_gateway import ArtifactFacts
from stoker_shared.web import bearer_token

CHECKSUM_HEADER = "X-Content-SHA256"
_SHA256 = re.compile(r"[0-9a-f]{64}")


def artifact_routes(service: ArtifactService, *, max_artifact_bytes: int, idle_timeout: timedelta) -> APIRouter:
    """The routes by which results come in whole."""
    router = APIRouter(tags=["artifacts"])

    @router.put(
        "/v1/jobs/{job_id}/artifacts/{name:path}",
        status_code=201,
        response_model=ArtifactFacts,
        openapi_extra=BINARY_BODY,
        responses={200: {"model": ArtifactFacts, "description": "It is stored already"}},
        summary="Store a file of the result",
    )
    async def receive(request: Request, job_id: str, name: str) -> Any:
        """Bearer: the job token. `X-Content-SHA256` is the SHA-256 of the body in hex.

        201: stored. 200: the same content is stored under this name already. Other content takes the place of the
        earlier. 401: the attempt is over. 422: the name, the header or the checksum. 413, 503, 507: nothing stored;
        507 with the numbers when the job's artifacts together would be too large.
        """
        token = bearer_token(request)
        length = announced_length(request, limit_bytes=max_artifact_bytes)
        incoming = IncomingArtifact(
            job_id=job_id,
            name=name,
            sha256=announced_checksum(request),
            size_bytes=length,
        )
        blocks = incoming_blocks(request, limit_bytes=max_artifact_bytes, idle_timeout=idle_timeout)
        facts, is_new = await service.receive(incoming, token=token, blocks=blocks)
        return JSONResponse(facts.model_dump(mode="json"), status_code=201 if is_new else 200)

    @router.delete(
        "/v1/jobs/{job_id}/artifacts/checkpoints",
        response_model=CheckpointsPruned,
        summary="Delete checkpoints that newer ones have made useless",
    )
    async def prune(request: Request, job_id: str, keep: Annotated[int, Query(ge=1, le=1000)]) -> CheckpointsPruned:
        """Bearer: the job token. Of the job's whole checkpoints the newest `keep` stay; older files go.

        A checkpoint is what is named `checkpoints/<step>/...`; it is whole when its `complete.json` is stored.
        """
        deleted = await service.prune_checkpoints(bearer_token(request), job_id=job_id, keep=keep)
        return CheckpointsPruned(deleted_files=deleted)

    return router


def announced_checksum(request: Request) -> str:
    """The SHA-256 that the body should have.

    Raises:
        RequestInvalid: there is none, or it is not one.
    """
    header = request.headers.get(CHECKSUM_HEADER, "").strip().lower()
    if not _SHA256.fullmatch(header):
        fault = "must be the SHA-256 of the body in 64 hex digits"
        raise RequestInvalid(
            f"The header {CHECKSUM_HEADER} {fault}.",
            next_step="Compute it over the bytes that you send.",
            fields={CHECKSUM_HEADER: fault},
        )
    return header
