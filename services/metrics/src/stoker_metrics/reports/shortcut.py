"""The short way to the endpoints of reports, past layers and routing of the application.

Those cost more processor time than taking a report does: docs/decisions/2026-11-23-many-reports.md.
"""

from starlette.requests import Request
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from stoker_metrics.reports.endpoints import ReportRoute
from stoker_shared.errors import StokerError
from stoker_shared.web.problems import error_response
from stoker_shared.web.tracing import TraceMiddleware

_PARTS = 5
"""Of a path as split at its slashes: nothing, v1, jobs, the job, the kind."""


class ReportShortcut:
    """Answers `POST /v1/jobs/{job_id}/<kind>` as its route does; all else goes to the application."""

    def __init__(self, app: ASGIApp, *, routes: list[BaseRoute]) -> None:
        self._app = app
        self._traced = TraceMiddleware(_answer, begins_traces=False)
        self._routes = {route.path.rpartition("/")[2]: route for route in routes if isinstance(route, ReportRoute)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one connection."""
        parts = scope["path"].split("/") if scope["type"] == "http" and scope["method"] == "POST" else []
        route = self._routes.get(parts[-1]) if len(parts) == _PARTS and parts[:3] == ["", "v1", "jobs"] else None
        if route is None or not parts[3]:
            return await self._app(scope, receive, send)
        scope["route"] = route
        scope["path_params"] = {"job_id": parts[3]}
        return await self._traced(scope, receive, send)


async def _answer(scope: Scope, receive: Receive, send: Send) -> None:
    route: ReportRoute = scope["route"]
    try:
        response = await route.answer(Request(scope, receive))
    except StokerError as error:
        response = error_response(error)
    await response(scope, receive, send)
