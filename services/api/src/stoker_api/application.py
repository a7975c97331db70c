"""The HTTP application without its parts; also what `docs/openapi.json` is made of."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from pydantic import SecretStr

from stoker_api.accounts.endpoints import router as accounts
from stoker_api.artifacts.endpoints import router as artifacts
from stoker_api.asyncapi.endpoints import router as asyncapi
from stoker_api.budgets.endpoints import router as budgets
from stoker_api.charts.endpoints import router as charts
from stoker_api.datasets.endpoints import router as datasets
from stoker_api.deploy.endpoints import router as deploy
from stoker_api.diagnosis.endpoints import router as diagnosis
from stoker_api.following.endpoints import router as following
from stoker_api.jobs.endpoints import router as jobs
from stoker_api.notifications.endpoints import router as notifications
from stoker_api.plans.endpoints import router as plans
from stoker_api.providers.endpoints import router as providers
from stoker_api.recipes.endpoints import router as recipes
from stoker_api.reports.endpoints import router as reports
from stoker_api.secrets.endpoints import router as secrets
from stoker_shared.web import ReadinessCheck, create_application
from stoker_shared.web.application import Lifespan

_DESCRIPTION = """
Fine-tune language models on machines that cost money by the second.

Send an API key as `Authorization: Bearer stk_...`. Every error is a problem detail (RFC 9457) with a stable `code`, a
`next_step`, and a `trace_id` for your operator. Money is in whole micro-dollars (USD x 1,000,000).

The way to a model: open an upload and send the bytes, make a plan, launch it under its hash, follow its events, fetch
its artifacts.
"""

_ROUTERS = (
    accounts,
    secrets,
    budgets,
    datasets,
    recipes,
    providers,
    plans,
    jobs,
    following,
    reports,
    charts,
    diagnosis,
    artifacts,
    notifications,
    deploy,
    asyncapi,
)


def build_application(
    lifespan: Lifespan, *, checks: Mapping[str, ReadinessCheck], prometheus_token: SecretStr | None = None
) -> FastAPI:
    """All routes. The parts behind them are put into `state.parts` by whoever makes them."""
    application = create_application(
        title="Stoker",
        description=_DESCRIPTION,
        lifespan=lifespan,
        checks=checks,
        prometheus_token=prometheus_token,
    )
    for router in _ROUTERS:
        application.include_router(router)
    return application


def openapi_document() -> dict[str, Any]:
    """What the api promises."""
    return build_application(_nothing, checks={}).openapi()


async def _nothing(_application: FastAPI) -> Any:
    yield
