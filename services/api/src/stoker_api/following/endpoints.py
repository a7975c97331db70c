"""`/v1/jobs/{job_id}/events`."""

from typing import Annotated

from fastapi import APIRouter, Header
from fastapi.responses import Response
from sse_starlette import EventSourceResponse

from stoker_api.dependencies import CurrentAccount, PartsOfRequest
from stoker_api.paths import JobPath
from stoker_api.questions import HIGHEST
from stoker_api.responses import NOT_FOUND, TOO_MANY, UNAUTHORISED, Responses

router = APIRouter(prefix="/v1/jobs", tags=["events"], responses={**UNAUTHORISED, **NOT_FOUND, **TOO_MANY})

_STREAM: Responses = {
    200: {
        "description": (
            "`job` (id = sequence; replayed after `Last-Event-ID`), and live `metrics`, `log`, `progress`, `dropped`"
        ),
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
    },
    204: {"description": "The job is over and `Last-Event-ID` is its last event: there is nothing to come back for"},
}


@router.get("/{job_id}/events", summary="Follow a job", response_class=EventSourceResponse, responses=_STREAM)
async def follow_job(
    job_id: JobPath,
    account: CurrentAccount,
    parts: PartsOfRequest,
    last_event_id: Annotated[int, Header(ge=0, le=HIGHEST, description="The last sequence that you have")] = 0,
) -> Response:
    """Server-Sent Events: what happened after `Last-Event-ID`, then what happens. Ends after the job's last event.

    `job` events come in order and are never left out. The others are live only; a client that is too slow loses the
    oldest of them and is told how many by a `dropped` event. Stored ones are at `/metrics` and `/logs`.
    """
    job = await parts.jobs.get(account.user_id, job_id)
    if job.is_over and last_event_id >= job.sequence > 0:
        return Response(status_code=204)
    parts.follower.hub.require_room()
    heartbeat = parts.follower.heartbeat.total_seconds()
    return EventSourceResponse(parts.follower.follow(job_id, after=last_event_id), ping=heartbeat, sep="\n")
