"""`POST /v1/jobs/{job_id}/...`: what pods report."""

from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.routing import APIRoute

from stoker_metrics.reports.schemas import Taken
from stoker_metrics.reports.service import Intake
from stoker_metrics.reports.telemetry import ALERT, EXIT, HEARTBEAT, LOGS, METRICS, Kind
from stoker_shared.rpc.metrics import Control
from stoker_shared.web.problems import Problem

ANSWERS: dict[int | str, dict[str, Any]] = {
    401: {"model": Problem, "description": "The job token is unknown, expired, revoked or of another attempt"},
    413: {
        "model": Problem,
        "description": "Too many bytes, packed or plain, or too many items: send half of the batch",
    },
    415: {"model": Problem, "description": "Content-Encoding is neither gzip nor identity"},
    422: {"model": Problem, "description": "Names the fields that are wrong"},
    429: {"model": Problem, "description": "Under pressure: keep the report, see Retry-After"},
    503: {"model": Problem, "description": "Broker or database are away: keep the report, see Retry-After"},
}


class ReportRoute(APIRoute):
    """Calls its endpoint as it is: what FastAPI does around one costs as much as taking a report."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint takes the job and the request, and answers bytes of JSON."""
        return self.answer

    async def answer(self, request: Request) -> Response:
        """Take a report."""
        content = await self.endpoint(job_id=request.path_params["job_id"], request=request)
        return Response(content, status_code=202, media_type="application/json")


def router(intake: Intake) -> APIRouter:
    """Routes for pods."""
    routes = APIRouter(prefix="/v1/jobs/{job_id}", tags=["reports"], route_class=ReportRoute)

    def accept(path: str, kind: Kind, *, summary: str) -> None:
        @routes.post(
            path,
            status_code=202,
            response_model=Taken,
            summary=summary,
            name=kind.name,
            responses=ANSWERS,
            openapi_extra=_body_of(kind),
        )
        async def take(job_id: str, request: Request) -> bytes:
            """202 means durable. A report sent twice counts once. NaN and Infinity are taken for null."""
            taken = await intake.take(kind, job_id=job_id, request=request)
            return b'{"accepted":%d,"control":%b}' % (taken.accepted, _control_json(taken.control))

    accept("/metrics", METRICS, summary="Values of steps")
    accept("/logs", LOGS, summary="Lines of output")
    accept("/heartbeat", HEARTBEAT, summary="Phase and progress")
    accept("/alerts", ALERT, summary="Something that a person should know")
    accept("/exit", EXIT, summary="How the trainer ends")
    return routes


@lru_cache(maxsize=1024)
def _control_json(control: Control) -> bytes:
    return control.model_dump_json().encode()


def _body_of(kind: Kind) -> dict[str, Any]:
    """The body is read by hand, so that the token is checked before a byte of it; this documents it."""
    schema = kind.report.model_json_schema()
    definitions = schema.pop("$defs", {})
    return {
        "requestBody": {"required": True, "content": {"application/json": {"schema": _inlined(schema, definitions)}}},
        "security": [{"jobToken": []}],
    }


def _inlined(schema: Any, definitions: dict[str, Any]) -> Any:
    if isinstance(schema, list):
        return [_inlined(part, definitions) for part in schema]
    if not isinstance(schema, dict):
        return schema
    if reference := schema.get("$ref"):
        return _inlined(definitions[reference.rpartition("/")[2]], definitions)
    return {name: _inlined(part, definitions) for name, part in schema.items()}
