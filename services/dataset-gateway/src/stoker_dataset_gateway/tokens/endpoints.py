"""POST /v1/jobs/{job_id}/downloads: a pod whose download token ran out asks for another."""

from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from stoker_dataset_gateway.tokens.schemas import RenewedDownload
from stoker_dataset_gateway.tokens.service import TokenService
from stoker_shared.web import bearer_token
from stoker_shared.web.problems import Problem


def token_routes(service: TokenService) -> APIRouter:
    """The route by which pods renew."""
    router = APIRouter(tags=["downloads"])

    @router.post(
        "/v1/jobs/{job_id}/downloads",
        status_code=201,
        responses={
            401: {"model": Problem, "description": "The job token is unknown, expired or revoked"},
            403: {"model": Problem, "description": "The token of another job"},
            404: {"model": Problem, "description": "The dataset is gone"},
            429: {"model": Problem, "description": "Too many refused tokens from this address; see Retry-After"},
        },
        summary="Renew the address of the job's dataset",
    )
    async def renew(
        request: Request, response: Response, job_id: Annotated[str, Path(max_length=64)]
    ) -> RenewedDownload:
        """Bearer: the job token. The address leads to the version that the attempt was minted for, and no other."""
        response.headers["Cache-Control"] = "no-store"
        return await service.renew(job_id, job_token=bearer_token(request))

    return router
