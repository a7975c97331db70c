"""`/healthz` says that the process lives, `/readyz` that it can do its work."""

from collections.abc import Awaitable, Callable, Mapping

from fastapi import APIRouter
from fastapi.responses import JSONResponse

ReadinessCheck = Callable[[], Awaitable[bool]]


def health_router(checks: Mapping[str, ReadinessCheck]) -> APIRouter:
    """Routes for a supervisor or an orchestrator. `checks` maps a dependency's name to a question about it."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", summary="The process lives")
    async def healthz() -> dict[str, str]:
        return {"status": "alive"}

    @router.get("/readyz", summary="The service can do its work")
    async def readyz() -> JSONResponse:
        results = {name: await check() for name, check in checks.items()}
        is_ready = all(results.values())
        return JSONResponse(
            {"status": "ready" if is_ready else "not ready", "checks": results}, status_code=200 if is_ready else 503
        )

    return router
