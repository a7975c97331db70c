"""`/metrics` for Prometheus, for whoever has the operator's token."""

from fastapi import APIRouter, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from pydantic import SecretStr

from stoker_shared.errors import Unauthorised
from stoker_shared.tokens import hashes_equal, token_hash
from stoker_shared.web.bearer import bearer_token


def prometheus_router(token: SecretStr) -> APIRouter:
    """The route, behind a token: the figures say how busy and how dear an installation is."""
    router = APIRouter()
    expected = token_hash(token)

    @router.get("/metrics", include_in_schema=False)
    async def figures(request: Request) -> Response:
        if not hashes_equal(token_hash(bearer_token(request)), expected):
            raise Unauthorised("This is not the token for Prometheus.", next_step="Send PROMETHEUS_TOKEN as a bearer.")
        return Response(generate_latest(REGISTRY), headers={"Content-Type": CONTENT_TYPE_LATEST})

    return router
