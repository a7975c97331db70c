"""Server-Sent Events as bytes, made once for all streams that send them."""

from sse_starlette import ServerSentEvent

from stoker_api.following.schemas import DroppedUpdate, EventName, job_update
from stoker_api.jobs.tables import JobEventRow

SEPARATOR = "\n"


def telemetry(name: EventName, data: str) -> bytes:
    """What a machine reported."""
    return ServerSentEvent(data, event=name, sep=SEPARATOR).encode()


def dropped(count: int) -> bytes:
    """How much telemetry this client has lost."""
    return telemetry("dropped", DroppedUpdate(dropped=count).model_dump_json())


def job_event(event: JobEventRow) -> bytes:
    """A stored event; its id is what the client comes back with."""
    data = job_update(event.payload).model_dump_json()
    return ServerSentEvent(data, event="job", id=str(event.sequence), sep=SEPARATOR).encode()
